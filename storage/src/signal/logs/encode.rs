//! A memtable into a segment; and the writer of segments, which a merge uses too.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::{LogRow, LogsBatch, Stream};

use super::index::IndexBuilder;
use super::memtable::{MemBatch, Memtable};
use super::schema::{
    BLOCKS_SECTION, FIELD_COUNT, FieldSet, RecordBlock, RecordBuilder, STREAMS_SECTION,
    encode_blocks, encode_streams, sort_streams, specs,
};
use crate::StorageError;
use crate::columns::{
    AttributePlan, AttributePlanner, AttributesBlock, AttributesBuilder, AttributesRemap,
    BlockCutter, ColumnFileWriter, Remap,
};
use crate::segment::{EncodeContext, EncodedFile, EncodedSegment};

/// Up to this many records all are looked at to choose columns; of more, as many spread over all.
const PLAN_RECORDS: usize = 32 << 10;
/// What a record costs in a block beside its texts. Units: bytes.
const RECORD_BYTES: usize = 24;

/// Writes all records of `memtable`, sorted by stream and time.
///
/// Errors: Io.
pub(crate) fn encode(
    memtable: &Memtable,
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let batches = memtable.batches();
    let mut streams = memtable.streams();
    sort_streams(&mut streams);
    let order = sort_rows(&batches, &streams);
    if order.is_empty() {
        return Ok(Vec::new());
    }
    let plan = plan(&batches, &order, ctx.columns_max);
    let mut segments = Vec::new();
    let mut writer = SegmentWriter::new(memtable.fields(), Arc::clone(&plan), ctx)?;
    for key in &order {
        let (Some(batch), Some(stream)) =
            (batches.get(key.batch as usize), streams.get(key.stream as usize))
        else {
            continue;
        };
        let Some(row) = batch.batch.rows.get(key.row as usize) else { continue };
        writer.push(stream, &batch.batch, row)?;
        if writer.is_full() {
            let next = SegmentWriter::new(memtable.fields(), Arc::clone(&plan), ctx)?;
            segments.push(std::mem::replace(&mut writer, next).finish()?);
        }
    }
    if !writer.is_empty() {
        segments.push(writer.finish()?);
    }
    Ok(segments)
}

/// Where a record is, ordered as segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    stream: u32,
    time_ns: i64,
    /// Order of arrival decides between equal times.
    batch: u32,
    row: u32,
}

fn sort_rows(batches: &[MemBatch], streams: &[Arc<Stream>]) -> Vec<RowKey> {
    let ranks: HashMap<u128, u32, FixedState> =
        streams.iter().enumerate().map(|(rank, stream)| (stream.id.0, rank as u32)).collect();
    let mut keys =
        Vec::with_capacity(batches.iter().map(|batch| batch.batch.rows.len()).sum::<usize>());
    let mut known: Vec<u32> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        known.clear();
        known.extend(
            batch.batch.streams.iter().map(|s| ranks.get(&s.id.0).copied().unwrap_or(u32::MAX)),
        );
        for (row, record) in batch.batch.rows.iter().enumerate() {
            let Some(&stream) = known.get(record.stream as usize) else { continue };
            keys.push(RowKey {
                stream,
                time_ns: record.time_ns,
                batch: number as u32,
                row: row as u32,
            });
        }
    }
    // Stable sorting is the faster one here: the keys come in sorted runs.
    keys.sort();
    keys
}

fn plan(batches: &[MemBatch], order: &[RowKey], columns_max: usize) -> Arc<AttributePlan> {
    let mut planner = AttributePlanner::default();
    for key in order.iter().step_by(order.len().div_ceil(PLAN_RECORDS).max(1)) {
        let batch = batches.get(key.batch as usize);
        if let Some((batch, row)) =
            batch.and_then(|b| Some((&b.batch, b.batch.rows.get(key.row as usize)?)))
        {
            planner.observe(batch.attributes(row));
        }
    }
    planner.finish(columns_max)
}

/// Writes one segment from records that come sorted by stream and time.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    records: RecordBuilder,
    attributes: AttributesBuilder,
    cutter: BlockCutter,
    file: ColumnFileWriter,
    index: IndexBuilder,
    streams: Vec<Arc<Stream>>,
    rows: u64,
    bytes_target: usize,
}

/// What an input's columns are in the output of a merge.
#[derive(Debug)]
pub(super) struct RunRemap {
    pub(super) records: [Remap; FIELD_COUNT],
    pub(super) attributes: AttributesRemap,
}

impl SegmentWriter {
    pub(super) fn new(
        fields: FieldSet,
        plan: Arc<AttributePlan>,
        ctx: &EncodeContext,
    ) -> Result<SegmentWriter, StorageError> {
        let mut columns = specs(&fields);
        columns.extend(plan.specs());
        let level = match ctx.level {
            0 => 1,
            _ => 3,
        };
        Ok(SegmentWriter {
            records: RecordBuilder::new(fields),
            attributes: AttributesBuilder::new(plan),
            cutter: BlockCutter::new(ctx.row_group_bytes()),
            file: ColumnFileWriter::new(columns, level)?,
            index: IndexBuilder::new(ctx.level, &ctx.id_fields)?,
            streams: Vec::new(),
            rows: 0,
            bytes_target: ctx.segment_bytes_target,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the file has reached the size that segments aim for. It is asked between row groups.
    pub(super) fn is_full(&self) -> bool {
        self.cutter.rows() == 0 && self.file.bytes_written() >= self.bytes_target
    }

    /// The number of `stream` in this segment. Streams come one after the other.
    fn number(&mut self, stream: &Arc<Stream>) -> u32 {
        if self.streams.last().is_none_or(|last| last.id != stream.id) {
            self.streams.push(Arc::clone(stream));
        }
        self.streams.len() as u32 - 1
    }

    /// Writes one record.
    pub(super) fn push(
        &mut self,
        stream: &Arc<Stream>,
        batch: &LogsBatch,
        row: &LogRow,
    ) -> Result<(), StorageError> {
        let number = self.number(stream);
        let at = self.cutter.rows();
        self.records.push(at, number, row, &batch.arena);
        self.attributes.push(at, batch.attributes(row));
        let bytes = RECORD_BYTES + (row.body.len + row.attributes.len) as usize;
        self.rows += 1;
        if self.cutter.push(bytes) {
            self.end_row_group()?;
        }
        Ok(())
    }

    /// Writes rows `range` of a block, all of one stream, column by column. Answers how many of them
    /// fitted into this row group.
    pub(super) fn append(
        &mut self,
        stream: &Arc<Stream>,
        block: (&RecordBlock, &AttributesBlock),
        range: Range<usize>,
        remap: &mut RunRemap,
    ) -> Result<usize, StorageError> {
        let number = self.number(stream);
        let at = self.cutter.rows();
        let mut taken = 0;
        let mut full = false;
        for row in range.clone() {
            let (_, body) = block.0.body(row);
            taken += 1;
            full = self.cutter.push(RECORD_BYTES + 2 * body.len());
            if full {
                break;
            }
        }
        let range = range.start..range.start + taken;
        self.records.append(at, block.0, range.clone(), number, &mut remap.records);
        self.attributes.append(at, block.1, range, &mut remap.attributes);
        self.rows += taken as u64;
        if full {
            self.end_row_group()?;
        }
        Ok(taken)
    }

    pub(super) fn attributes(&mut self) -> &mut AttributesBuilder {
        &mut self.attributes
    }

    fn end_row_group(&mut self) -> Result<(), StorageError> {
        let ends = self.cutter.finish();
        if ends.is_empty() {
            return Ok(());
        }
        self.index.row_group(&self.records, &self.attributes, &ends)?;
        let columns = self.records.columns().chain(self.attributes.columns());
        let mut columns: Vec<_> = columns.map(Some).collect();
        self.file.row_group(&mut columns, &ends)
    }

    /// The segment's files.
    pub(super) fn finish(mut self) -> Result<EncodedSegment, StorageError> {
        self.end_row_group()?;
        let (blocks, index) = self.index.finish()?;
        let (name, shapes) = self.attributes.section();
        self.file.section(name, shapes);
        self.file.section(STREAMS_SECTION, encode_streams(&self.streams));
        self.file.section(BLOCKS_SECTION, encode_blocks(&blocks));
        let bytes = self.file.finish()?;
        Ok(EncodedSegment {
            files: vec![
                EncodedFile { extension: "parquet", bytes },
                EncodedFile { extension: "index", bytes: index },
            ],
            rows: self.rows,
            time_min_ns: blocks.iter().map(|block| block.time_min_ns).min().unwrap_or(0),
            time_max_ns: blocks.iter().map(|block| block.time_max_ns).max().unwrap_or(0),
            stats: bytes::Bytes::new(),
        })
    }
}
