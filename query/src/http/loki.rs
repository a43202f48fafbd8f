//! The loki dialect.

use std::sync::Arc;

use axum::Router;

use super::Query;

pub(super) fn router(query: &Arc<Query>) -> Router {
    let _ = &query.source;
    Router::new()
}
