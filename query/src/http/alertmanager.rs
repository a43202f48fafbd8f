//! Alertmanager's API v2 (api.md 7), as far as Grafana needs it to save the data source and to open
//! its pages: there are no rules yet, so that there are no alerts, and nobody to tell.
//!
//! `/alertmanager/api/v2/status` must not be answered under the same base: Grafana would take it for
//! a Mimir. What would be lost if it were taken is refused with 501.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, SecondsFormat};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Query, respond};

/// The least that Grafana's parser takes for a configuration.
const CONFIG: &str = "route:\n  receiver: default\nreceivers:\n- name: default\n";

const NOT_YET: &str =
    "alerting is not there yet: Tercet takes no alerts, keeps no silences and notifies nobody";

pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/alerts", get(none).post(not_yet))
        .route("/api/v2/alerts/groups", get(none))
        .route("/api/v2/silences", get(none).post(not_yet))
        .route("/api/v2/silence/{id}", get(no_silence).delete(not_yet))
        .route("/api/v2/receivers", get(none))
        .with_state(Arc::clone(query))
}

fn answer(status: StatusCode, body: String) -> Response {
    let mut response = respond::json(status, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn status(State(query): State<Arc<Query>>) -> Response {
    let build = &query.options.build;
    let started = DateTime::from_timestamp_nanos(query.options.started_ns);
    let body = json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": {
            "version": build.version,
            "revision": build.revision,
            "branch": build.branch,
            "buildUser": "",
            "buildDate": build.build_date,
            "goVersion": "",
        },
        "config": { "original": CONFIG },
        "uptime": started.to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    answer(StatusCode::OK, body.to_string())
}

async fn none() -> Response {
    answer(StatusCode::OK, "[]".to_owned())
}

async fn no_silence() -> Response {
    answer(StatusCode::NOT_FOUND, json!("silence not found").to_string())
}

async fn not_yet() -> Response {
    answer(StatusCode::NOT_IMPLEMENTED, json!(NOT_YET).to_string())
}
