//! Endpoints about the server itself: health, readiness, `/metrics`, flush, compact, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use ingest::Ingest;
use model::{Signal, TenantId};
use query::Query;
use storage::Store;

use crate::config::{Config, Origin, SETTINGS};
use crate::doors::{Doors, Principal, Tls, all_permissions, scope_of};
use crate::reload::{Reloader, is_hot};
use crate::{limits, stats, upkeep};

/// What these endpoints look at.
#[derive(Debug)]
pub(crate) struct Admin {
    /// As it was at the start.
    pub(crate) config: Config,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) store: Arc<Store>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) query: Arc<Query>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) tls: Option<Arc<Tls>>,
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
        .route("/tercet/api/v1/limits", get(limits_of))
        .route("/api/v1/tenants/{id}/limits", get(limits_of))
        .route("/tercet/api/v1/status", get(status))
        .route("/tercet/api/v1/settings", get(settings))
        .route("/tercet/api/v1/permissions", get(permissions))
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

/// Whoever has been let in; nobody is asked where there is no authentication.
type Visitor = Option<Extension<Arc<Principal>>>;

async fn status(State(admin): State<Arc<Admin>>, visitor: Visitor) -> Json<serde_json::Value> {
    let scope = scope_of(visitor.as_ref().map(|visitor| &visitor.0));
    let mut tenants = admin.store.tenants();
    tenants.retain(|tenant| scope.holds(tenant.as_str()));
    Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startedNs": admin.started_ns.to_string(),
        "ready": admin.store.is_ready(),
        "tenants": tenants.iter().map(model::TenantId::as_str).collect::<Vec<_>>(),
        "http": admin.config.http.to_string(),
        "otlpHttp": admin.config.otlp_http.to_string(),
        "otlpGrpc": admin.config.otlp_grpc.to_string(),
        "notices": upkeep::notices(&admin),
    }))
}

async fn settings(State(admin): State<Arc<Admin>>) -> Json<serde_json::Value> {
    let now = admin.reloader.config();
    let list: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            // The start has settled what was left open.
            let config = if is_hot(setting.name) { &*now } else { &admin.config };
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

/// The limits of a tenant, and how much of them is used.
async fn limits_of(
    State(admin): State<Arc<Admin>>,
    tenant: Option<Extension<TenantId>>,
) -> Response {
    match tenant {
        Some(Extension(tenant)) => Json(limits::describe(&admin, &tenant)).into_response(),
        None => (StatusCode::BAD_REQUEST, "that is no name of a tenant\n").into_response(),
    }
}

/// What every route needs.
async fn permissions() -> Json<serde_json::Value> {
    let routes: Vec<_> = all_permissions()
        .into_iter()
        .map(|(route, needs)| {
            serde_json::json!({
                "route": route,
                "get": needs.look.as_str(),
                "other": needs.change.as_str(),
            })
        })
        .collect();
    Json(serde_json::Value::Array(routes))
}

/// What has arrived, by signal and service, and what was refused lately and why; of the visitor's
/// tenants only.
async fn ingest(State(admin): State<Arc<Admin>>, visitor: Visitor) -> Json<serde_json::Value> {
    let scope = scope_of(visitor.as_ref().map(|visitor| &visitor.0));
    let mut arrivals = admin.ingest.arrivals();
    arrivals.retain(|arrival| scope.holds(&arrival.tenant));
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
            let of_signal = || arrivals.iter().filter(|arrival| arrival.signal == signal);
            let sums = if scope.is_every() {
                [
                    "ingest_received_records_total",
                    "ingest_received_bytes_total",
                    "ingest_requests_total",
                ]
                .map(|name| total(name, signal))
            } else {
                of_signal().fold([0; 3], |[records, bytes, requests], arrival| {
                    [records + arrival.records, bytes + arrival.bytes, requests + arrival.requests]
                })
            };
            serde_json::json!({
                "signal": signal.as_str(),
                "records": sums[0],
                "bytes": sums[1],
                "requests": sums[2],
                "lastNs": of_signal().map(|arrival| arrival.last_ns).max().unwrap_or(0).to_string(),
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
        .filter(|(_, labels, _)| {
            let tenant = labels.iter().find(|(label, _)| *label == "tenant");
            scope.is_every() || tenant.is_some_and(|(_, tenant)| scope.holds(tenant))
        })
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
        .filter(|problem| scope.holds(&problem.tenant))
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
