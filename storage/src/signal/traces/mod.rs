//! Traces: spans.
//!
//! Spans of a trace lie in many blocks, because segments are sorted by what searches ask for
//! (service, span name, start). The index leads from a trace to its blocks, and a block is small, so
//! that a whole trace is put together in well under a millisecond.

#[cfg(feature = "bench")]
pub(crate) mod bench;
mod decode;
pub(crate) mod encode;
mod index;
mod link;
pub(crate) mod memtable;
pub(crate) mod merge;
mod read;
mod runs;
pub(crate) mod scan;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{SpanRow, SpansBatch};

use crate::segment::SegmentHandle;
use crate::{Budget, IdQuery, Notices, StorageError, TimeRange};

use memtable::Memtable;
use scan::Segment;

/// Reads one tenant's traces.
#[derive(Debug, Default)]
pub struct TracesReader {
    memtables: Vec<Arc<Memtable>>,
    segments: Vec<Arc<SegmentHandle<Segment>>>,
}

/// What to read. All conditions must hold; all are checked exactly but the hints.
#[derive(Debug, Clone)]
pub struct SpanScan {
    /// On the start time.
    pub range: TimeRange,
    pub service: Option<String>,
    pub name: Option<String>,
    /// Span or resource attributes by name and text of the value, for pruning alone.
    pub attribute_hints: Vec<(String, String)>,
    /// Units: ns. Closed at both ends.
    pub duration_min_ns: Option<i64>,
    pub duration_max_ns: Option<i64>,
}

/// Some rows of one batch: a memtable's or a segment block's.
#[derive(Debug, Clone)]
pub struct SpanBlock {
    pub batch: Arc<SpansBatch>,
    /// Indices into `batch.rows`.
    pub rows: Vec<u32>,
}

impl SpanBlock {
    /// The selected rows.
    pub fn iter(&self) -> impl Iterator<Item = &SpanRow> {
        self.rows.iter().filter_map(|&row| self.batch.rows.get(row as usize))
    }
}

impl TracesReader {
    /// Reads these, in whatever order they come.
    pub(crate) fn new(
        memtables: Vec<Arc<Memtable>>,
        mut segments: Vec<Arc<SegmentHandle<Segment>>>,
    ) -> TracesReader {
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.meta.time_max_ns));
        TracesReader { memtables, segments }
    }

    /// All spans of a trace, over all time, each (trace ID, span ID, kind, start) once; in no order.
    pub fn trace(
        &self,
        trace_id: &[u8; 16],
        budget: &Budget,
    ) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
        read::trace(self, trace_id, budget)
    }

    /// Visits blocks with matching spans, newest segments first, until `visit` breaks.
    pub fn scan(
        &self,
        scan: &SpanScan,
        budget: &Budget,
        visit: &mut dyn FnMut(SpanBlock) -> ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        read::scan(self, scan, budget, visit)
    }

    /// Service names, sorted. Cheap: kept in segment statistics and memtables.
    pub fn services(
        &self,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        read::services(self, range, budget)
    }

    /// (span name, kind) of one service, sorted.
    pub fn operations(
        &self,
        service: &str,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<(Vec<(String, model::SpanKind)>, Notices), StorageError> {
        read::operations(self, service, range, budget)
    }

    /// Spans that carry the ID, see [`crate::Snapshot::lookup`].
    pub(crate) fn lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
        read::lookup(self, id, records_max, budget)
    }
}
