//! One tenant's data at one moment: memtables and the catalog's segments, held until dropped.

use std::sync::Arc;

use model::Signal;

use crate::{
    Budget, ExemplarHit, LogBlock, LogsReader, MetricsReader, Notices, SpanBlock, StorageError,
    TracesReader,
};

/// A consistent view for reading. Cheap to clone. A write acknowledged before it was taken is in it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    metrics: Arc<MetricsReader>,
    logs: Arc<LogsReader>,
    traces: Arc<TracesReader>,
    /// In the order of [`Signal::ALL`].
    notices: Arc<[Notices; 3]>,
}

/// An ID somebody pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdQuery {
    /// As it was given, without surrounding white space.
    pub text: String,
    /// If it can be one: 1 to 32 hex digits, padded on the left.
    pub trace_id: Option<[u8; 16]>,
    /// If it can be one: 1 to 16 hex digits, padded on the left.
    pub span_id: Option<[u8; 8]>,
}

/// All that was found for an ID, over all time: the records that carry it themselves.
#[derive(Debug, Default)]
pub struct Found {
    pub spans: Vec<SpanBlock>,
    pub logs: Vec<LogBlock>,
    pub exemplars: Vec<ExemplarHit>,
    pub notices: Notices,
}

impl Snapshot {
    pub(crate) fn new(
        metrics: Arc<MetricsReader>,
        logs: Arc<LogsReader>,
        traces: Arc<TracesReader>,
    ) -> Snapshot {
        Snapshot { metrics, logs, traces, notices: Arc::default() }
    }

    pub(crate) fn with_notices(self, notices: [Notices; 3]) -> Snapshot {
        Snapshot { notices: Arc::new(notices), ..self }
    }

    /// What no answer about a signal can hold, whatever is asked: its log while it is being
    /// replayed, damaged parts of its log or of the catalog. To be merged into every answer.
    #[must_use]
    pub fn notices(&self, signal: Signal) -> &Notices {
        let [metrics, logs, traces] = &*self.notices;
        match signal {
            Signal::Metrics => metrics,
            Signal::Logs => logs,
            Signal::Traces => traces,
        }
    }

    #[must_use]
    pub fn metrics(&self) -> &MetricsReader {
        &self.metrics
    }

    #[must_use]
    pub fn logs(&self) -> &LogsReader {
        &self.logs
    }

    #[must_use]
    pub fn traces(&self) -> &TracesReader {
        &self.traces
    }

    /// Finds every record that carries the ID, in all three signals, without a time range: spans by
    /// trace or span ID or an ID attribute, log records by trace or span ID, an ID attribute, or the
    /// ID standing as a word in the line, exemplars by any label value. At most `records_max` of each.
    ///
    /// Cost: one filter probe a segment, then the blocks that may hold it.
    pub fn lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<Found, StorageError> {
        let mut found = Found::default();
        for signal in Signal::ALL {
            found.notices.merge(self.notices(signal).clone());
        }
        let (spans, notices) = self.traces.lookup(id, records_max, budget)?;
        found.spans = spans;
        found.notices.merge(notices);
        let (logs, notices) = self.logs.lookup(id, records_max, budget)?;
        found.logs = logs;
        found.notices.merge(notices);
        let (exemplars, notices) = self.metrics.lookup(id, records_max, budget)?;
        found.exemplars = exemplars;
        found.notices.merge(notices);
        Ok(found)
    }
}
