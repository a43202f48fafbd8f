//! Records in memory, for tests: what a store would hand out, without one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use model::{AttributesBuilder, Labels, LogRow, LogsBatch, Slice, Stream, StreamParts, Value};
use storage::{Budget, Clock, Direction, LogBlock, LogScan, Notices, StorageError};

use super::super::rows::LogSource;

/// A clock that stands still.
#[derive(Debug)]
struct StillClock;

impl Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

pub(super) fn budget() -> Budget {
    Budget::new(Arc::new(StillClock), 1, 0)
}

#[derive(Debug, Clone)]
struct Entry {
    stream: usize,
    time_ns: i64,
    line: String,
    metadata: Vec<(String, String)>,
}

/// Records and their streams.
#[derive(Debug, Default)]
pub(super) struct MemoryLogs {
    streams: Vec<Arc<Stream>>,
    entries: Vec<Entry>,
}

impl MemoryLogs {
    pub(super) fn push(
        &mut self,
        labels: &BTreeMap<String, String>,
        time_ns: i64,
        line: &str,
        metadata: &[(String, String)],
    ) {
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::from_pairs(pairs);
        let known = self.streams.iter().position(|stream| stream.labels == labels);
        let stream = known.unwrap_or_else(|| {
            self.streams.push(Stream::new(StreamParts { labels, ..StreamParts::default() }));
            self.streams.len() - 1
        });
        let (line, metadata) = (line.to_owned(), metadata.to_vec());
        self.entries.push(Entry { stream, time_ns, line, metadata });
    }

    fn batch(&self, scan: &LogScan) -> LogsBatch {
        let mut arena = Vec::new();
        let mut put = |bytes: &[u8]| {
            let start = arena.len() as u32;
            arena.extend_from_slice(bytes);
            Slice { start, len: bytes.len() as u32 }
        };
        let mut rows = Vec::new();
        for entry in &self.entries {
            let labels = &self.streams[entry.stream].labels;
            let wanted = scan.range.contains(entry.time_ns)
                && scan
                    .matchers
                    .iter()
                    .all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
                && scan
                    .line_contains
                    .iter()
                    .all(|needle| memchr::memmem::find(entry.line.as_bytes(), needle).is_some());
            if !wanted {
                continue;
            }
            let mut attributes = AttributesBuilder::new();
            for (name, value) in &entry.metadata {
                attributes.push(name, Value::Str(value));
            }
            rows.push(LogRow {
                stream: entry.stream as u32,
                time_ns: entry.time_ns,
                body: put(entry.line.as_bytes()),
                attributes: put(&attributes.finish()),
                attributes_field: 1,
                ..LogRow::default()
            });
        }
        match scan.direction {
            Direction::Forward => rows.sort_by_key(|row| row.time_ns),
            Direction::Backward => rows.sort_by_key(|row| std::cmp::Reverse(row.time_ns)),
        }
        LogsBatch { arena: Bytes::from(arena), streams: self.streams.clone(), rows }
    }
}

impl LogSource for MemoryLogs {
    /// Hands out blocks of seven rows, so that limits and bounds are put to the test.
    fn scan(
        &self,
        scan: &LogScan,
        _budget: &Budget,
        visit: &mut dyn FnMut(LogBlock, i64) -> ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        let batch = Arc::new(self.batch(scan));
        let rows: Vec<u32> = (0..batch.rows.len() as u32).collect();
        for chunk in rows.chunks(7) {
            let bound = batch.rows[chunk[chunk.len() - 1] as usize].time_ns;
            let block = LogBlock { batch: Arc::clone(&batch), rows: chunk.to_vec() };
            if visit(block, bound).is_break() {
                break;
            }
        }
        Ok(Notices::default())
    }

    fn detects_level(&self) -> bool {
        false
    }
}
