//! Logs: records in streams.

pub(crate) mod encode;
mod index;
mod lookup;
#[cfg(feature = "bench")]
mod measure;
pub(crate) mod memtable;
pub(crate) mod merge;
mod read;
pub(crate) mod scan;
mod schema;
#[cfg(test)]
mod tests;
mod wanted;

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{LogRow, LogsBatch, Stream};

use crate::segment::SegmentHandle;
use crate::{Budget, IdQuery, Matcher, Notices, StorageError, TimeRange};

#[cfg(feature = "bench")]
pub use measure::measure_logs;
use memtable::Memtable;
use scan::Segment;

/// Reads one tenant's logs.
#[derive(Debug)]
pub struct LogsReader {
    memtables: Vec<Arc<Memtable>>,
    segments: Vec<Arc<SegmentHandle<Segment>>>,
}

/// Which end of time comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    Forward,
    #[default]
    Backward,
}

/// What to read. All conditions must hold.
#[derive(Debug, Clone)]
pub struct LogScan {
    /// On the stream's labels; checked exactly.
    pub matchers: Vec<Matcher>,
    pub range: TimeRange,
    /// Byte strings that each must occur in the line; checked exactly.
    pub line_contains: Vec<Vec<u8>>,
    /// Values of attributes by name as sent (`http.method`), for pruning alone: rows without it may
    /// come along, the caller checks.
    pub attribute_hints: Vec<(String, String)>,
    /// Records of this trace alone; checked exactly.
    pub trace_id: Option<[u8; 16]>,
    pub direction: Direction,
}

/// Some rows of one batch: a memtable's or a segment block's.
#[derive(Debug, Clone)]
pub struct LogBlock {
    pub batch: Arc<LogsBatch>,
    /// Indices into `batch.rows`, ordered by time in the scan's direction.
    pub rows: Vec<u32>,
}

impl LogBlock {
    /// The selected rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &LogRow> {
        self.rows.iter().filter_map(|&row| self.batch.rows.get(row as usize))
    }
}

impl LogsReader {
    /// Visits blocks with matching rows until `visit` breaks. Blocks come so that, going backward, no
    /// later block holds a row newer than the `bound` handed along (going forward: older): whoever
    /// has enough rows on the near side of `bound` may break. Rows stored twice (a retry across a
    /// crash) come once.
    ///
    /// `visit(block, bound_ns)`: all rows not yet visited are at or beyond `bound_ns`.
    pub fn scan(
        &self,
        scan: &LogScan,
        budget: &Budget,
        visit: &mut dyn FnMut(LogBlock, i64) -> ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        self.scan_all(scan, budget, visit)
    }

    /// Streams with records that may lie in `range` and match, each once.
    pub fn streams(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<(Vec<Arc<Stream>>, Notices), StorageError> {
        self.streams_all(matchers, range, budget)
    }

    /// Records that carry the ID, see [`crate::Snapshot::lookup`].
    pub(crate) fn lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<(Vec<LogBlock>, Notices), StorageError> {
        self.lookup_all(id, records_max, budget)
    }
}
