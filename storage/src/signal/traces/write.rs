//! Writes the files of a segment, row by row in their final order. Encoding and merging differ in
//! where the rows come from and share this.

use std::sync::Arc;

use bytes::Bytes;
use model::Stream;
use model::wire::put_varint;

use super::index::IndexBuilder;
use super::link::{NONE, SpanKey};
use super::runs::Runs;
use super::schema::{
    BLOCK_ROWS, Column, EXTENSIONS, Present, ROW_GROUP_ROWS, RUNS_SECTION, STREAMS_SECTION,
    TIMES_SECTION, TRACE_BLOCK_ROWS, TRACE_ID,
};
use crate::StorageError;
use crate::columns::{
    AttributePlan, AttributesBuilder, ColumnBuilder, ColumnFileWriter, ColumnSpec, Kind,
};
use crate::ids::{hash_span_id, hash_trace_id};
use crate::segment::{EncodeContext, EncodedFile, EncodedSegment};

/// What a span takes in a row group that is being made, about. Units: bytes.
const SPAN_BYTES: usize = 512;

/// What a row's own columns hold that are computed, not copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) key: SpanKey,
    /// Rank of the trace.
    pub(super) trace: u32,
    /// Row of the parent, or [`NONE`].
    pub(super) parent: u32,
    /// Number in the stream table.
    pub(super) stream: u32,
    pub(super) end_ns: i64,
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    file: ColumnFileWriter,
    level: i32,
    columns: Vec<Option<ColumnBuilder>>,
    pub(super) attributes: AttributesBuilder,
    pub(super) index: IndexBuilder,
    runs: Runs,
    service: String,
    name: String,
    run: Option<u32>,
    /// First and last start of each block.
    times: Vec<(i64, i64)>,
    block_ends: Vec<u32>,
    /// A multiple of a block's.
    group_rows_max: usize,
    /// Rows of the row group, and of all.
    group_rows: usize,
    rows: usize,
    time: (i64, i64),
}

/// zstd's level for a segment's level: what is rewritten soon is written fast.
fn zstd_level(level: u8) -> i32 {
    match level {
        0 => 1,
        _ => 3,
    }
}

impl SegmentWriter {
    pub(super) fn new(
        present: Present,
        plan: &Arc<AttributePlan>,
        ctx: &EncodeContext,
        rows: usize,
    ) -> Result<SegmentWriter, StorageError> {
        let level = zstd_level(ctx.level);
        let group_rows_max = (ctx.row_group_bytes() / SPAN_BYTES).clamp(BLOCK_ROWS, ROW_GROUP_ROWS);
        let own = Column::ALL.into_iter().filter(|&column| present.has(column));
        let specs = own.map(Column::spec).chain(plan.specs()).collect();
        let columns = Column::ALL
            .map(|column| present.has(column).then(|| ColumnBuilder::new(column.kind())));
        Ok(SegmentWriter {
            file: ColumnFileWriter::new(specs, level)?,
            level,
            columns: columns.into(),
            attributes: AttributesBuilder::new(Arc::clone(plan)),
            index: IndexBuilder::with_capacity(rows),
            runs: Runs::default(),
            service: String::new(),
            name: String::new(),
            run: None,
            times: Vec::new(),
            block_ends: Vec::new(),
            group_rows_max: group_rows_max / BLOCK_ROWS * BLOCK_ROWS,
            group_rows: 0,
            rows: 0,
            time: (i64::MAX, i64::MIN),
        })
    }

    /// The number of the block that the next row goes to.
    #[inline]
    pub(super) fn next_block(&self) -> u32 {
        self.times.len() as u32 - u32::from(!self.at_block_start())
    }

    #[inline]
    fn at_block_start(&self) -> bool {
        self.group_rows.is_multiple_of(BLOCK_ROWS)
    }

    /// Rows that can be written before [`SegmentWriter::end_rows`] has to be called.
    pub(super) fn room(&self) -> usize {
        self.group_rows_max - self.group_rows
    }

    /// The row in the row group that comes next.
    #[inline]
    pub(super) fn row(&self) -> usize {
        self.group_rows
    }

    /// A column of the row group; nothing where the segment does not have it.
    #[inline]
    pub(super) fn column(&mut self, column: Column) -> Option<&mut ColumnBuilder> {
        self.columns.get_mut(column as usize)?.as_mut()
    }

    /// Starts the rows of a service and name.
    pub(super) fn begin_run(&mut self, run: u32, service: &str, name: &str) {
        if self.run == Some(run) {
            return;
        }
        self.run = Some(run);
        self.runs.begin(service, name);
        service.clone_into(&mut self.service);
        name.clone_into(&mut self.name);
    }

    #[inline]
    pub(super) fn put_int(&mut self, column: Column, row: usize, value: i64) {
        if let Some(builder) = self.column(column) {
            builder.push_int(row, value);
        }
    }

    #[inline]
    pub(super) fn put_bytes(&mut self, column: Column, row: usize, value: &[u8]) {
        if let Some(builder) = self.column(column) {
            builder.push_bytes(row, value);
        }
    }

    /// Fills the computed columns of the next row. Its other columns are filled for the row number
    /// that this answers, before or after.
    pub(super) fn push(&mut self, new: &Row) -> usize {
        let row = self.group_rows;
        let key = &new.key;
        if self.at_block_start() {
            self.times.push((key.start_ns, key.start_ns));
        }
        if let Some(times) = self.times.last_mut() {
            *times = (times.0.min(key.start_ns), times.1.max(key.start_ns));
        }
        self.time = (self.time.0.min(key.start_ns), self.time.1.max(key.start_ns));
        let columns = &mut self.columns;
        if let Some(Some(column)) = columns.get_mut(Column::Service as usize) {
            column.push_bytes(row, self.service.as_bytes());
        }
        if let Some(Some(column)) = columns.get_mut(Column::Name as usize) {
            column.push_bytes(row, self.name.as_bytes());
        }
        self.put_int(Column::Stream, row, i64::from(new.stream));
        self.put_int(Column::Kind, row, i64::from(key.kind));
        self.put_int(Column::StartNs, row, key.start_ns);
        self.put_int(Column::DurationNs, row, new.end_ns.wrapping_sub(key.start_ns));
        self.put_int(Column::Trace, row, i64::from(new.trace));
        let span_id = key.span_id.to_be_bytes();
        self.put_bytes(Column::SpanId, row, &span_id);
        if new.parent != NONE {
            self.put_int(Column::Parent, row, i64::from(new.parent));
        } else if key.parent_id != 0 {
            self.put_bytes(Column::ParentSpanId, row, &key.parent_id.to_be_bytes());
        }
        let block = self.times.len() as u32 - 1;
        self.index.trace_in_block(new.trace, block);
        self.index.ids.push(hash_span_id(&span_id), block);
        self.runs.count(key.kind, key.start_ns);
        self.group_rows += 1;
        self.rows += 1;
        if self.at_block_start() {
            self.block_ends.push(self.group_rows as u32);
        }
        row
    }

    /// To be called when all columns of the rows pushed so far are filled: writes the row group if
    /// it is full.
    ///
    /// Errors: Io.
    pub(super) fn end_rows(&mut self) -> Result<(), StorageError> {
        if self.group_rows >= self.group_rows_max {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), StorageError> {
        if self.group_rows == 0 {
            return Ok(());
        }
        if !self.at_block_start() {
            self.block_ends.push(self.group_rows as u32);
        }
        let own = self.columns.iter_mut().flatten();
        let mut columns: Vec<_> = own.chain(self.attributes.columns()).map(Some).collect();
        self.file.row_group(&mut columns, &self.block_ends)?;
        self.block_ends.clear();
        self.group_rows = 0;
        Ok(())
    }

    /// The files.
    ///
    /// Errors: Io.
    pub(super) fn finish(
        mut self,
        streams: &[Arc<Stream>],
        trace_ids: impl ExactSizeIterator<Item = [u8; 16]>,
    ) -> Result<EncodedSegment, StorageError> {
        self.write_group()?;
        let trace_count = trace_ids.len() as u32;
        let mut traces = TracesWriter::new(self.level)?;
        for (trace, id) in trace_ids.enumerate() {
            traces.push(&id)?;
            self.index.traces.push(hash_trace_id(&id), trace as u32);
        }
        let mut stream_table = Vec::new();
        for stream in streams {
            let parts = stream.parts().encode();
            put_varint(&mut stream_table, parts.len() as u64);
            stream_table.extend_from_slice(&parts);
        }
        let mut times = Vec::with_capacity(self.times.len() * 16);
        for (first, last) in &self.times {
            times.extend_from_slice(&first.to_le_bytes());
            times.extend_from_slice(&last.to_le_bytes());
        }
        let (name, shapes) = self.attributes.section();
        self.file.section(name, shapes);
        self.file.section(STREAMS_SECTION, stream_table);
        self.file.section(RUNS_SECTION, self.runs.encode());
        self.file.section(TIMES_SECTION, times);
        let index = self.index.finish(trace_count, self.times.len() as u32);
        let files: [Bytes; 3] = [self.file.finish()?, traces.finish()?, index];
        let files = EXTENSIONS.into_iter().zip(files);
        Ok(EncodedSegment {
            files: files.map(|(extension, bytes)| EncodedFile { extension, bytes }).collect(),
            rows: self.rows as u64,
            time_min_ns: self.time.0,
            time_max_ns: self.time.1,
            stats: self.runs.stats(),
        })
    }
}

/// Writes `traces.parquet`.
struct TracesWriter {
    file: ColumnFileWriter,
    column: ColumnBuilder,
    rows: usize,
}

impl TracesWriter {
    fn new(level: i32) -> Result<TracesWriter, StorageError> {
        let specs = vec![ColumnSpec::required(TRACE_ID, Kind::Fixed(16))];
        Ok(TracesWriter {
            file: ColumnFileWriter::new(specs, level)?,
            column: ColumnBuilder::new(Kind::Fixed(16)),
            rows: 0,
        })
    }

    fn push(&mut self, id: &[u8; 16]) -> Result<(), StorageError> {
        self.column.push_bytes(self.rows, id);
        self.rows += 1;
        if self.rows >= ROW_GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), StorageError> {
        let rows = self.rows as u32;
        let ends = (1..).map(|block| block * TRACE_BLOCK_ROWS as u32);
        let mut ends: Vec<u32> = ends.take_while(|&end| end < rows).collect();
        ends.push(rows);
        self.file.row_group(&mut [Some(&mut self.column)], &ends)?;
        self.rows = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Bytes, StorageError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.file.finish()
    }
}
