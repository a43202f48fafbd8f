//! `GET /tercet/api/v1/lookup/{id}`: our own dialect. Ours is the only answer with a verdict.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{Request, StatusCode};
use serde_json::json;
use storage::{ErrorKind, StorageError};

use super::Query;
use super::params::{BadRequest, Params};
use super::respond;
use crate::lookup;
use crate::traces::id;

/// Longer IDs are a mistake. Units: bytes.
const ID_BYTES_MAX: usize = 1024;

pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new().route("/tercet/api/v1/lookup/{*id}", get(look_up)).with_state(Arc::clone(query))
}

async fn look_up(
    State(query): State<Arc<Query>>,
    Path(text): Path<String>,
    request: Request<Body>,
) -> Response {
    let params = match Params::read(request).await {
        Ok(params) => params,
        Err(BadRequest { status, message }) => return error(status, &message),
    };
    let id = id::parse_any(&text);
    if id.text.is_empty() || id.text.len() > ID_BYTES_MAX {
        let message = format!("an ID has 1 to {ID_BYTES_MAX} bytes, this one {}", id.text.len());
        return error(StatusCode::BAD_REQUEST, &message);
    }
    let budget = query.source.budget(&params.tenant);
    let started_ns = query.source.now_ns();
    let outcome = respond::run(&query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        let story = lookup::find(&snapshot, id, budget)?;
        let took_ns = source.now_ns().saturating_sub(started_ns);
        Ok(lookup::to_json(&story, took_ns as f64 / 1e6).to_string())
    })
    .await;
    match outcome.and_then(|inner: Result<String, StorageError>| inner) {
        Ok(body) => respond::json(StatusCode::OK, body),
        Err(problem) => error(status_of(&problem), &problem.to_string()),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    respond::json(status, json!({ "error": message }).to_string())
}

/// The status of a storage error in the dialects that have no table of their own.
pub(super) fn status_of(error: &StorageError) -> StatusCode {
    match error.kind() {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::LimitExceeded => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unavailable | ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        ErrorKind::Corrupt | ErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
