//! Endpoints about the server itself: health, readiness, `/metrics`, flush, compact, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use ingest::Ingest;
use model::{Signal, TenantId};
use query::Query;
use storage::Store;

use crate::config::{Config, Origin, SETTINGS};
use crate::reload::Reloader;
use crate::{limits, stats};

/// What these endpoints look at.
#[derive(Debug)]
pub(crate) struct Admin {
    /// As it was at the start.
    pub(crate) config: Config,
    pub(crate) reloader: Arc<Reloader>,
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
        .route("/-/reload", post(reload))
        .route("/tercet/api/v1/ingest", get(ingest))
        .route("/tercet/api/v1/limits", get(own_limits))
        .route("/api/v1/tenants/{id}/limits", get(limits_of))
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

/// Reads the settings again: what counts from now on and what after the next start, or what is
/// wrong, a line for each.
async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    match admin.reloader.reload().await {
        Ok(reloaded) => Json(serde_json::json!({
            "changed": reloaded.changed,
            "atStart": reloaded.at_start,
        }))
        .into_response(),
        Err(problems) => (StatusCode::BAD_REQUEST, format!("{problems}\n")).into_response(),
    }
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
    let now = admin.reloader.config();
    let list: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            // The start has settled what was left open.
            let is_limit = setting.name.starts_with("limits.") || setting.name.starts_with("otlp.");
            let config = if is_limit { &*now } else { &admin.config };
            serde_json::json!({
                "name": setting.name,
                "flag": format!("--{}", setting.flag()),
                "variable": setting.variable(),
                "value": (setting.get)(config),
                "source": config.sources.origin(setting.name).map_or("default", Origin::as_str),
                "doc": setting.doc,
            })
        })
        .collect();
    Json(serde_json::Value::Array(list))
}

/// The limits of the tenant that asks, and how much of them is used.
async fn own_limits(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let name = headers.get("x-scope-orgid").and_then(|value| value.to_str().ok());
    limits_response(&admin, name.filter(|name| !name.is_empty()).unwrap_or(TenantId::DEFAULT))
}

/// The same of any tenant.
async fn limits_of(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    limits_response(&admin, &id)
}

fn limits_response(admin: &Admin, tenant: &str) -> Response {
    match TenantId::parse(tenant) {
        Ok(tenant) => Json(limits::describe(admin, &tenant)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// What has arrived, by signal and service, and what was refused lately and why.
async fn ingest(State(admin): State<Arc<Admin>>) -> Json<serde_json::Value> {
    let arrivals = admin.ingest.arrivals();
    let counters = admin.ingest.stats().counters;
    let has = |labels: &[(&str, String)], name: &str, value: &str| {
        labels.iter().any(|(label, held)| *label == name && held == value)
    };
    let total = |name: &str, signal: Signal| {
        counters
            .iter()
            .filter(|(counter, labels, _)| {
                *counter == name && has(labels, "signal", signal.as_str())
            })
            .map(|(_, _, value)| value)
            .sum::<f64>() as u64
    };
    let signals: Vec<_> = Signal::ALL
        .into_iter()
        .map(|signal| {
            let of_signal = arrivals.iter().filter(|arrival| arrival.signal == signal);
            serde_json::json!({
                "signal": signal.as_str(),
                "records": total("ingest_received_records_total", signal),
                "bytes": total("ingest_received_bytes_total", signal),
                "requests": total("ingest_requests_total", signal),
                "lastNs": of_signal.map(|arrival| arrival.last_ns).max().unwrap_or(0).to_string(),
            })
        })
        .collect();
    let services: Vec<_> = arrivals
        .iter()
        .map(|arrival| {
            serde_json::json!({
                "service": arrival.service,
                "signal": arrival.signal.as_str(),
                "lastNs": arrival.last_ns.to_string(),
            })
        })
        .collect();
    let discarded: Vec<_> = counters
        .iter()
        .filter(|(name, ..)| *name == "ingest_discarded_records_total")
        .map(|(_, labels, records)| {
            let mut row: serde_json::Map<_, _> = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
                .collect();
            row.insert("records".to_owned(), (*records as u64).into());
            row
        })
        .collect();
    let problems: Vec<_> = admin
        .ingest
        .problems()
        .into_iter()
        .map(|problem| {
            serde_json::json!({
                "timeNs": problem.time_ns.to_string(),
                "signal": problem.signal.as_str(),
                "kind": problem.what,
                "tenant": problem.tenant,
                "records": problem.records,
                "message": problem.message,
            })
        })
        .collect();
    Json(serde_json::json!({
        "nowNs": admin.store.components().clock.now_ns().to_string(),
        "signals": signals,
        "services": services,
        "discarded": discarded,
        "problems": problems,
    }))
}
