//! The tempo dialect. `/api/traces/{id}` is both Tempo's and Jaeger's (api.md 1.1): at the root the
//! `Accept` header tells, under `/ds/tempo` it is always this one.

use std::sync::Arc;

use axum::Router;

use super::Query;

/// Paths served at the root.
pub(super) fn router(query: &Arc<Query>) -> Router {
    let _ = &query.source;
    Router::new()
}

/// Paths served under `/ds/tempo`.
pub(super) fn data_source_router(query: &Arc<Query>) -> Router {
    let _ = &query.source;
    Router::new()
}
