//! Endpoints about the server itself: health, readiness, `/metrics`, flush, compact, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use ingest::Ingest;
use query::Query;
use storage::Store;

use crate::config::{Config, SETTINGS};
use crate::stats;

/// What these endpoints look at.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) query: Arc<Query>,
    pub(crate) stopping: AtomicBool,
    pub(crate) started_ns: i64,
}

pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/health/live", get(healthy))
        .route("/-/ready", get(ready))
        .route("/health/ready", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/-/flush", post(flush))
        .route("/-/compact", post(compact))
        .route("/tercet/api/v1/status", get(status))
        .route("/tercet/api/v1/settings", get(settings))
        .with_state(admin)
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if !admin.store.is_ready() {
        let body = "replaying the log: writes are taken, answers say what they do not see yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let body = stats::render(&admin);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

async fn flush(State(admin): State<Arc<Admin>>) -> Response {
    done(admin.store.flush(None).await)
}

async fn compact(State(admin): State<Arc<Admin>>) -> Response {
    done(admin.store.compact().await)
}

fn done(outcome: Result<(), storage::StorageError>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<serde_json::Value> {
    let tenants = admin.store.tenants();
    Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startedNs": admin.started_ns.to_string(),
        "ready": admin.store.is_ready(),
        "tenants": tenants.iter().map(model::TenantId::as_str).collect::<Vec<_>>(),
        "http": admin.config.http.to_string(),
        "otlpHttp": admin.config.otlp_http.to_string(),
        "otlpGrpc": admin.config.otlp_grpc.to_string(),
    }))
}

async fn settings(State(admin): State<Arc<Admin>>) -> Json<serde_json::Value> {
    let list: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            serde_json::json!({
                "name": setting.name,
                "flag": format!("--{}", setting.flag()),
                "variable": setting.variable(),
                "value": (setting.get)(&admin.config),
                "doc": setting.doc,
            })
        })
        .collect();
    Json(serde_json::Value::Array(list))
}
