//! Reads memtables and segments: which rows an answer needs. How rows are put together again stands
//! in `decode.rs`.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use model::{Stream, StreamParts};
use parking_lot::Mutex;

use super::decode::BlockReader;
use super::index::Index;
use super::runs::Runs;
use super::schema::{Column, RUNS_SECTION, STREAMS_SECTION, TIMES_SECTION, TRACE_ID};
use super::{SpanBlock, SpanScan};
use crate::columns::{AttributeFile, BlockAt, ColumnFile, ReadScratch};
use crate::ids::{hash_span_id, hash_text, hash_trace_id};
use crate::segment::{OpenSegment, SegmentMeta, SegmentSource};
use crate::{Budget, IdQuery, StorageError};

/// Readers' buffers and dictionaries kept for the next query.
const SCRATCHES_KEPT: usize = 2;

/// An open segment of traces.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) file: ColumnFile,
    pub(super) attributes: AttributeFile,
    /// Number of each column in the file. Shape: [`Column::ALL`].
    columns: [Option<usize>; Column::ALL.len()],
    pub(super) traces: ColumnFile,
    pub(super) index: Index,
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) runs: Runs,
    /// Rows up to the end of each run.
    pub(super) run_ends: Vec<u64>,
    /// First and last start of each block.
    times: Vec<(i64, i64)>,
    scratches: Mutex<Vec<ReadScratch>>,
}

impl OpenSegment for Segment {
    fn open(meta: &SegmentMeta, sources: &[Arc<dyn SegmentSource>]) -> Result<Self, StorageError> {
        let corrupt = |why: &str| StorageError::corrupt(&meta.id, why);
        let [main, traces, index] = sources else {
            return Err(corrupt("a segment of traces has three files"));
        };
        let file = ColumnFile::open(Arc::clone(main))?;
        let columns = Column::ALL.map(|column| {
            let index = file.column(column.name())?;
            (file.specs().get(index)?.kind == column.kind()).then_some(index)
        });
        let mut all = Column::ALL.iter().zip(&columns);
        if all.any(|(column, place)| !column.is_optional() && place.is_none()) {
            return Err(corrupt("it lacks a column that every segment has"));
        }
        let streams = decode_streams(file.section(STREAMS_SECTION)?)
            .ok_or_else(|| corrupt("its stream table cannot be read"))?;
        let runs = Runs::decode(file.section(RUNS_SECTION)?)
            .ok_or_else(|| corrupt("its table of runs cannot be read"))?;
        let rows = file.blocks().last().map_or(0, |last| last.first_row + u64::from(last.rows));
        let run_ends = sum_up(&runs, rows).ok_or_else(|| corrupt("its runs do not add up"))?;
        let times = decode_times(file.section(TIMES_SECTION)?);
        if times.len() != file.blocks().len() {
            return Err(corrupt("its times do not fit its blocks"));
        }
        let traces = ColumnFile::open(Arc::clone(traces))?;
        if traces.column(TRACE_ID) != Some(0) {
            return Err(corrupt("its trace IDs are missing"));
        }
        Ok(Segment {
            attributes: AttributeFile::open(&file)?,
            file,
            columns,
            traces,
            index: Index::open(index)?,
            streams,
            runs,
            run_ends,
            times,
            scratches: Mutex::default(),
        })
    }
}

fn decode_streams(bytes: &[u8]) -> Option<Vec<Arc<Stream>>> {
    let mut reader = model::wire::Reader::new(bytes);
    let mut streams = Vec::new();
    while !reader.is_empty() {
        let length = usize::try_from(reader.varint().ok()?).ok()?;
        let start = reader.offset();
        reader.skip(length)?;
        streams.push(Stream::new(StreamParts::decode(bytes.get(start..start + length)?)?));
    }
    Some(streams)
}

fn sum_up(runs: &Runs, rows: u64) -> Option<Vec<u64>> {
    let mut end = 0u64;
    let mut ends = Vec::with_capacity(runs.list.len());
    for run in &runs.list {
        end = end.checked_add(run.rows)?;
        ends.push(end);
    }
    (end == rows).then_some(ends)
}

fn decode_times(bytes: &[u8]) -> Vec<(i64, i64)> {
    let (pairs, _) = bytes.as_chunks::<16>();
    pairs
        .iter()
        .map(|pair| {
            let both = u128::from_le_bytes(*pair);
            (both as i64, (both >> 64) as i64)
        })
        .collect()
}

impl Segment {
    pub(super) fn row_count(&self) -> u64 {
        self.run_ends.last().copied().unwrap_or(0)
    }

    pub(super) fn column(&self, column: Column) -> Option<usize> {
        self.columns.get(column as usize).copied().flatten()
    }

    /// Buffers for a reader, with what the last one left in them.
    pub(super) fn take_scratch(&self) -> Result<ReadScratch, StorageError> {
        match self.scratches.lock().pop() {
            Some(scratch) => Ok(scratch),
            None => ReadScratch::new(),
        }
    }

    pub(super) fn return_scratch(&self, scratch: ReadScratch) {
        let mut kept = self.scratches.lock();
        if kept.len() < SCRATCHES_KEPT {
            kept.push(scratch);
        }
    }

    /// The block that holds `row`, and the row in it.
    pub(super) fn locate(&self, row: u64) -> Option<(u32, u32)> {
        let blocks = self.file.blocks();
        let index = blocks.partition_point(|block| block.first_row <= row).checked_sub(1)?;
        let inside = row - blocks.get(index)?.first_row;
        (inside < u64::from(blocks.get(index)?.rows)).then_some((index as u32, inside as u32))
    }

    pub(super) fn block(&self, number: u32) -> Result<BlockAt, StorageError> {
        self.file
            .blocks()
            .get(number as usize)
            .copied()
            .ok_or_else(|| StorageError::corrupt(self.file.name(), "its index names no block"))
    }

    /// The service and name of a row.
    pub(super) fn run_of(&self, row: u64) -> usize {
        self.run_ends.partition_point(|&end| end <= row)
    }

    /// The spans of a trace.
    ///
    /// Errors: Corrupt, Io, and the budget's.
    pub(super) fn trace(
        &self,
        trace_id: &[u8; 16],
        budget: &Budget,
    ) -> Result<Vec<SpanBlock>, StorageError> {
        let candidates = self.index.traces.lookup(hash_trace_id(trace_id))?;
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = BlockReader::new(self, budget)?;
        let mut found = Vec::new();
        for trace in candidates {
            if reader.trace_id(u64::from(trace))? != *trace_id {
                continue;
            }
            for block in self.index.blocks_of(trace)? {
                let rows = reader.rows_of_trace(block, trace)?;
                found.extend(reader.decode(block, &rows)?);
            }
        }
        Ok(found)
    }

    /// Spans that carry an ID, at most about `records_max`.
    ///
    /// Errors: Corrupt, Io, and the budget's.
    pub(super) fn lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<Vec<SpanBlock>, StorageError> {
        let mut blocks = self.index.ids.lookup(hash_text(&id.text))?;
        if let Some(span_id) = &id.span_id {
            blocks.extend(self.index.ids.lookup(hash_span_id(span_id))?);
        }
        let mut trace = None;
        let mut reader = None;
        if let Some(trace_id) = &id.trace_id {
            for candidate in self.index.traces.lookup(hash_trace_id(trace_id))? {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    None => reader.insert(BlockReader::new(self, budget)?),
                };
                if reader.trace_id(u64::from(candidate))? == *trace_id {
                    trace = Some(candidate);
                    blocks.extend(self.index.blocks_of(candidate)?);
                }
            }
        }
        blocks.sort_unstable();
        blocks.dedup();
        let mut found = Vec::new();
        let mut count = 0;
        for block in blocks {
            if count >= records_max {
                break;
            }
            let reader = match &mut reader {
                Some(reader) => reader,
                None => reader.insert(BlockReader::new(self, budget)?),
            };
            let rows = reader.rows_with_id(block, id, trace)?;
            count += rows.len();
            found.extend(reader.decode(block, &rows)?);
        }
        Ok(found)
    }

    /// Hands all rows that `scan` wants to `visit`, block by block.
    ///
    /// Errors: Corrupt, Io, and the budget's.
    pub(super) fn scan(
        &self,
        scan: &SpanScan,
        budget: &Budget,
        visit: &mut dyn FnMut(SpanBlock) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StorageError> {
        let ranges = self.ranges(scan);
        if ranges.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut reader = BlockReader::new(self, budget)?;
        for ((number, block), times) in (0u32..).zip(self.file.blocks()).zip(&self.times) {
            let rows = rows_in(block, &ranges);
            if rows.is_empty() || !scan.range.meets(times.0, times.1) {
                continue;
            }
            budget.check()?;
            let rows = self.filter(&mut reader, number, rows, scan)?;
            if let Some(block) = reader.decode(number, &rows)?
                && visit(block).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn ranges(&self, scan: &SpanScan) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut start = 0;
        for (run, &end) in self.runs.list.iter().zip(&self.run_ends) {
            let is_wanted = scan.name.as_ref().is_none_or(|name| **name == *run.name)
                && scan.service.as_ref().is_none_or(|name| **name == *self.runs.service(run))
                && scan.range.meets(run.start_min_ns, run.start_max_ns);
            if is_wanted {
                match ranges.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => ranges.push(start..end),
                }
            }
            start = end;
        }
        ranges
    }

    /// Of `rows` those that satisfy the scan's other conditions.
    fn filter(
        &self,
        reader: &mut BlockReader<'_>,
        number: u32,
        mut rows: Vec<u32>,
        scan: &SpanScan,
    ) -> Result<Vec<u32>, StorageError> {
        let times = self.times.get(number as usize);
        let (first, last) = times.copied().unwrap_or((i64::MIN, i64::MAX));
        if !(scan.range.contains(first) && scan.range.contains(last)) {
            let starts = reader.read(Column::StartNs, number)?;
            rows.retain(|&row| starts.int(row as usize).is_some_and(|at| scan.range.contains(at)));
        }
        if !rows.is_empty() && (scan.duration_min_ns.is_some() || scan.duration_max_ns.is_some()) {
            let durations = reader.read(Column::DurationNs, number)?;
            rows.retain(|&row| {
                durations.int(row as usize).is_some_and(|duration| scan.takes(duration.max(0)))
            });
        }
        for (key, text) in &scan.attribute_hints {
            if !rows.is_empty() {
                reader.retain_hinted(number, &mut rows, key, text)?;
            }
        }
        Ok(rows)
    }
}

/// Rows of `block` that lie in `ranges`, which are half-open and ascending.
fn rows_in(block: &BlockAt, ranges: &[Range<u64>]) -> Vec<u32> {
    let end = block.first_row + u64::from(block.rows);
    let first = ranges.partition_point(|range| range.end <= block.first_row);
    let mut rows = Vec::new();
    for range in ranges.iter().skip(first).take_while(|range| range.start < end) {
        let from = range.start.max(block.first_row) - block.first_row;
        let to = range.end.min(end) - block.first_row;
        rows.extend(from as u32..to as u32);
    }
    rows
}

impl SpanScan {
    /// Whether a span of this duration is wanted. Units: ns.
    pub(super) fn takes(&self, duration_ns: i64) -> bool {
        self.duration_min_ns.is_none_or(|min| min <= duration_ns)
            && self.duration_max_ns.is_none_or(|max| duration_ns <= max)
    }
}
