//! Traces: spans.

mod encode;
mod index;
mod memtable;
mod merge;
mod scan;
mod schema;

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{SpanRow, SpansBatch};

use crate::{Budget, IdQuery, Notices, StorageError, TimeRange};

/// Reads one tenant's traces.
#[derive(Debug)]
pub struct TracesReader {}

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
    /// All spans of a trace, over all time, each (trace ID, span ID, kind, start) once; in no order.
    pub fn trace(
        &self,
        _trace_id: &[u8; 16],
        _budget: &Budget,
    ) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Visits blocks with matching spans, newest segments first, until `visit` breaks.
    pub fn scan(
        &self,
        _scan: &SpanScan,
        _budget: &Budget,
        _visit: &mut dyn FnMut(SpanBlock) -> ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        Ok(Notices::default())
    }

    /// Service names, sorted. Cheap: kept in segment statistics and memtables.
    pub fn services(
        &self,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// (span name, kind) of one service, sorted.
    pub fn operations(
        &self,
        _service: &str,
        _range: TimeRange,
        _budget: &Budget,
    ) -> Result<(Vec<(String, model::SpanKind)>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Spans that carry the ID, see [`crate::Snapshot::lookup`].
    pub(crate) fn lookup(
        &self,
        _id: &IdQuery,
        _records_max: usize,
        _budget: &Budget,
    ) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
        Ok(Default::default())
    }
}
