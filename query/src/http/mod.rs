//! The HTTP dialects, one file each. Every dialect is served at the root where its paths are its
//! own and under `/ds/<name>` always.

mod alertmanager;
mod jaeger;
mod loki;
mod lookup;
pub(crate) mod params;
mod prometheus;
pub(crate) mod respond;
mod tempo;
mod zipkin;

use std::sync::Arc;

use axum::Router;

use crate::Source;

/// What `status/buildinfo` says.
#[derive(Debug, Clone)]
pub struct BuildInfo {
    pub version: String,
    pub revision: String,
    pub branch: String,
    pub build_date: String,
}

/// Settings of the query side.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    pub build: BuildInfo,
    /// PromQL's lookback. Units: ms.
    pub lookback_ms: i64,
    /// When the server started. Units: ns since the Unix epoch.
    pub started_ns: i64,
}

/// Name (without `tercet_`), labels, value.
pub type Figure = (&'static str, Vec<(&'static str, String)>, f64);

/// Figures for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct QueryStats {
    pub counters: Vec<Figure>,
}

/// The query side of the server.
#[derive(Debug)]
pub struct Query {
    pub(crate) options: QueryOptions,
    pub(crate) source: Arc<dyn Source>,
}

impl Query {
    #[must_use]
    pub fn new(options: QueryOptions, source: Arc<dyn Source>) -> Arc<Query> {
        Arc::new(Query { options, source })
    }

    /// All dialects; to be merged into the server's router.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .merge(prometheus::router(self))
            .nest("/ds/prometheus", prometheus::router(self))
            .merge(loki::router(self))
            .nest("/ds/loki", loki::router(self))
            .merge(tempo::router(self))
            .nest("/ds/tempo", tempo::data_source_router(self))
            .merge(jaeger::router(self))
            .nest("/ds/jaeger", jaeger::data_source_router(self))
            .merge(zipkin::router(self))
            .nest("/ds/zipkin", zipkin::router(self))
            .merge(alertmanager::router(self))
            .nest("/ds/alertmanager", alertmanager::router(self))
            .merge(lookup::router(self))
    }

    #[must_use]
    pub fn stats(&self) -> QueryStats {
        let _ = &self.options;
        QueryStats::default()
    }
}
