//! The HTTP dialects, one file each. Every dialect is served at the root where its paths are its
//! own and under `/ds/<name>` always.

mod alertmanager;
mod jaeger;
mod loki;
mod lookup;
pub(crate) mod params;
mod prometheus;
pub(crate) mod respond;
mod stats;
mod tempo;
#[cfg(test)]
mod tests;
mod zipkin;

use std::sync::Arc;

use axum::Router;
use model::TenantId;

use crate::Source;
use crate::turns::Turns;

pub use stats::{Figure, QueryStats};
use stats::{Stats, counted};

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
    /// Queries that run at one time; a tenant has half of them at most.
    pub places: usize,
}

/// The query side of the server.
#[derive(Debug)]
pub struct Query {
    pub(crate) options: QueryOptions,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stats: Stats,
    pub(crate) turns: Arc<Turns>,
}

impl Query {
    #[must_use]
    pub fn new(options: QueryOptions, source: Arc<dyn Source>) -> Arc<Query> {
        let turns = Turns::new(options.places);
        Arc::new(Query { options, source, stats: Stats::default(), turns })
    }

    /// All dialects; to be merged into the server's router.
    pub fn router(self: &Arc<Self>) -> Router {
        let counted = |dialect, router| counted(router, self, dialect);
        Router::new()
            .merge(counted("prometheus", prometheus::router(self)))
            .nest("/ds/prometheus", counted("prometheus", prometheus::router(self)))
            .merge(counted("loki", loki::router(self)))
            .nest("/ds/loki", counted("loki", loki::router(self)))
            .merge(counted("tempo", tempo::router(self)))
            .nest("/ds/tempo", counted("tempo", tempo::data_source_router(self)))
            .merge(counted("jaeger", jaeger::router(self)))
            .nest("/ds/jaeger", counted("jaeger", jaeger::data_source_router(self)))
            .merge(counted("zipkin", zipkin::router(self)))
            .nest("/ds/zipkin", counted("zipkin", zipkin::router(self)))
            .merge(counted("alertmanager", alertmanager::router(self)))
            .nest("/ds/alertmanager", counted("alertmanager", alertmanager::router(self)))
            .merge(counted("tercet", lookup::router(self)))
    }

    /// Queries of a tenant that run and that wait.
    #[must_use]
    pub fn usage(&self, tenant: &TenantId) -> (usize, usize) {
        self.turns.usage(tenant)
    }

    #[must_use]
    pub fn stats(&self) -> QueryStats {
        self.stats.snapshot()
    }
}
