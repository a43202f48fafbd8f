//! Tempo's dialect: trace by ID (v1 and v2, protobuf and JSON) and echo (api.md 5).
//!
//! `/api/traces/{id}` is both Tempo's and Jaeger's (api.md 1.1): at the root the `Accept` header tells
//! (Tempo's plugin asks for protobuf), under `/ds/tempo` it is always this one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode, header};
use model::Signal;
use model::wire::{put_bytes, put_uint};
use serde_json::json;
use storage::{Notices, StorageError};

use super::Query;
use super::lookup::status_of;
use super::params::{BadRequest, Params};
use super::respond;
use crate::traces::assemble::{self, Span};
use crate::traces::id::parse_trace_id;
use crate::traces::otlp;

/// Paths served at the root.
pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/echo", get(echo))
        .route("/api/v2/traces/{id}", get(trace_v2))
        .with_state(Arc::clone(query))
}

/// Paths served under `/ds/tempo`.
pub(super) fn data_source_router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/echo", get(echo))
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/status/buildinfo", get(build_info))
        .route("/ready", get(|| async { "ready\n" }))
        .with_state(Arc::clone(query))
}

async fn echo() -> &'static str {
    "echo"
}

async fn build_info(State(query): State<Arc<Query>>) -> Response {
    let build = &query.options.build;
    let body = json!({
        // Older Grafana gates features by Tempo's version, not by ours.
        "version": "2.8.0",
        "revision": build.revision,
        "branch": build.branch,
        "buildDate": build.build_date,
        "buildUser": "",
        "goVersion": "",
    });
    respond::json(StatusCode::OK, body.to_string())
}

/// What the caller wants to read.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| {
        accept.contains("application/protobuf") || accept.contains("application/x-protobuf")
    })
}

/// Whether a request for `/api/traces/{id}` at the root is Tempo's.
pub(super) fn is_tempo(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    wants_protobuf(headers) || accept == Some("application/json")
}

async fn trace_v2(
    state: State<Arc<Query>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let protobuf = wants_protobuf(request.headers());
    let (spans, notices) = match load(state, &id, request).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let partial = notices.is_partial();
    let message = messages(&notices);
    if protobuf {
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &otlp::to_protobuf(&spans));
        if partial {
            put_uint(&mut body, 3, 1);
            put_bytes(&mut body, 4, message.as_bytes());
        }
        return protobuf_response(body);
    }
    let mut body = json!({ "trace": {}, "metrics": {} });
    if !spans.is_empty() {
        body["trace"]["resourceSpans"] = otlp::to_json(&spans);
    }
    if partial {
        body["status"] = json!("PARTIAL");
        body["message"] = json!(message);
    }
    respond::json(StatusCode::OK, body.to_string())
}

/// Tempo's first form of a trace.
pub(super) async fn trace_v1(
    state: State<Arc<Query>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let protobuf = wants_protobuf(request.headers());
    let (spans, _notices) = match load(state, &id, request).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    if spans.is_empty() {
        return respond::text(StatusCode::NOT_FOUND, format!("trace not found: {id}"));
    }
    if protobuf {
        return protobuf_response(otlp::to_protobuf(&spans));
    }
    let body = json!({ "batches": otlp::to_json(&spans) });
    respond::json(StatusCode::OK, body.to_string())
}

fn protobuf_response(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/protobuf")], body).into_response()
}

fn messages(notices: &Notices) -> String {
    let parts: Vec<String> =
        notices.unread.iter().map(|part| format!("{} not read: {}", part.name, part.why)).collect();
    parts.join("; ")
}

/// The spans of the trace a request asks for, or the refusal.
async fn load(
    State(query): State<Arc<Query>>,
    id: &str,
    request: Request<Body>,
) -> Result<(Vec<Span>, Notices), Box<Response>> {
    let params = Params::read(request)
        .await
        .map_err(|BadRequest { status, message }| Box::new(respond::text(status, message)))?;
    let Some(trace_id) = parse_trace_id(id) else {
        let message = format!("trace IDs can only contain hex characters, 1 to 32 of them: {id:?}");
        return Err(Box::new(respond::text(StatusCode::BAD_REQUEST, message)));
    };
    let budget = query.source.budget(&params.tenant);
    let outcome = respond::run(&query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        let (blocks, mut notices) = snapshot.traces().trace(&trace_id, budget)?;
        notices.merge(snapshot.notices(Signal::Traces).clone());
        Ok((assemble::spans(&blocks), notices))
    })
    .await;
    outcome
        .and_then(|inner: Result<_, StorageError>| inner)
        .map_err(|error| Box::new(respond::text(status_of(&error), error.to_string())))
}
