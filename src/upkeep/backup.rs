//! The endpoints that a backup of a running server reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::refused;
use crate::admin::Admin;

/// Writes memory to disk and holds everything that is there, until the backup ends or is left alone.
pub(super) async fn begin(State(admin): State<Arc<Admin>>) -> Response {
    match admin.store.begin_backup().await {
        Ok(snapshot) => Json(json!({
            "id": snapshot.id,
            "segments": snapshot.segments,
            "bytes": snapshot.bytes,
            "unread": snapshot.unread,
        }))
        .into_response(),
        Err(error) => refused(&error),
    }
}

/// A piece of a file; 410 where the file is missing.
pub(super) async fn piece(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let path = query.get("path").map(String::as_str).unwrap_or_default();
    let offset = query.get("offset").map_or(Ok(0), |offset| offset.parse());
    let Ok(offset) = offset else {
        return (StatusCode::BAD_REQUEST, "offset: write a number of bytes\n").into_response();
    };
    match admin.store.backup_piece(&id, path, offset).await {
        Ok(Some(piece)) => ([(CONTENT_TYPE, "application/octet-stream")], piece).into_response(),
        Ok(None) => (StatusCode::GONE, "the file is missing\n").into_response(),
        Err(error) => refused(&error),
    }
}

/// Lets go of what the backup held.
pub(super) async fn end(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> StatusCode {
    if admin.store.end_backup(&id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
