//! What one request carried, decoded.

use crate::{LogsBatch, MetricsBatch, SpansBatch};

/// The three kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    pub const ALL: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

    /// The word used in paths, stats and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
            Signal::Traces => "traces",
        }
    }
}

/// One request's records of one signal.
#[derive(Debug)]
pub enum Batch {
    Metrics(MetricsBatch),
    Logs(LogsBatch),
    Traces(SpansBatch),
}

impl Batch {
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Batch::Metrics(_) => Signal::Metrics,
            Batch::Logs(_) => Signal::Logs,
            Batch::Traces(_) => Signal::Traces,
        }
    }

    /// Samples (native histograms included), log records or spans.
    #[must_use]
    pub fn record_count(&self) -> usize {
        match self {
            Batch::Metrics(batch) => batch.samples.len() + batch.histograms.len(),
            Batch::Logs(batch) => batch.rows.len(),
            Batch::Traces(batch) => batch.rows.len(),
        }
    }
}

/// A range of a batch's arena. Units: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slice {
    pub start: u32,
    pub len: u32,
}

impl Slice {
    pub const EMPTY: Slice = Slice { start: 0, len: 0 };

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes this slice names, or none where it reaches outside of `arena`.
    #[must_use]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        let start = self.start as usize;
        arena.get(start..start.saturating_add(self.len as usize)).unwrap_or_default()
    }
}
