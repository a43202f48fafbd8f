//! What an operator does to a server that runs: backups, and the answer to what retention asks.
//!
//! The endpoints are here and in `backup`; `remote` is the other side of them, for the command line.
//! All of them need the role admin.

mod backup;
mod remote;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use storage::{ErrorKind, StorageError, Waiting};

use crate::admin::Admin;
pub(crate) use remote::{Remote, RemoteBackup};

pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/-/backup", post(backup::begin))
        .route("/-/backup/{id}", get(backup::piece).delete(backup::end))
        .route("/-/retention", get(retention))
        .route("/-/retention/confirm", post(confirm))
        .with_state(admin)
}

/// What retention would drop and does not until it is confirmed.
async fn retention(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let waiting = admin.store.retention_waiting();
    Json(json!({ "waiting": rows(waiting) }))
}

/// Lets retention drop what it asks about, and says what that was.
async fn confirm(State(admin): State<Arc<Admin>>) -> Response {
    match admin.store.confirm_retention().await {
        Ok(dropped) => Json(json!({ "dropped": rows(dropped) })).into_response(),
        Err(error) => refused(&error),
    }
}

fn rows(waiting: impl IntoIterator<Item = (&'static str, Waiting)>) -> Vec<Value> {
    let row = |(signal, waiting): (&'static str, Waiting)| {
        json!({
            "signal": signal,
            "segments": waiting.segments,
            "bytes": waiting.bytes,
            "ofBytes": waiting.of_bytes,
            "beforeNs": waiting.before_ns.to_string(),
            "leapNs": waiting.leap_ns.to_string(),
        })
    };
    waiting.into_iter().map(row).collect()
}

/// What the status of the server has to say about retention; nothing in daily life.
pub(crate) fn notices(admin: &Admin) -> Vec<String> {
    let waiting = admin.store.retention_waiting();
    let line = |(signal, waiting): (&str, &Waiting)| {
        let percent = waiting.bytes.saturating_mul(100) / waiting.of_bytes.max(1);
        let hours = waiting.leap_ns / 3_600_000_000_000;
        format!(
            "Retention waits: it would drop {percent} % of {signal} ({} segments, {} bytes), because \
             the clock or the setting has leapt by {hours} h. If the clock and limits.retention are \
             right, confirm with `tercet retention --confirm`.",
            waiting.segments, waiting.bytes
        )
    };
    waiting.iter().map(|(signal, waiting)| line((signal, waiting))).collect()
}

/// An error of the store in HTTP's words.
fn refused(error: &StorageError) -> Response {
    let status = match error.kind() {
        ErrorKind::Invalid => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{error}\n")).into_response()
}
