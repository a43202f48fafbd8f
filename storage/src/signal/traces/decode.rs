//! Puts rows of a segment together again.
//!
//! A reader serves one query on one segment: it reads single pages, decodes the rows that are asked
//! for, and keeps the pages with trace and span IDs, because spans refer to both.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use model::{AttributesRef, Slice, SpanKind, SpanRow, SpanStatus, SpansBatch, Value};

use super::SpanBlock;
use super::scan::Segment;
use super::schema::Column;
use crate::columns::{AttributesBlock, BlockAt, ColumnBlock, Kind, ReadScratch};
use crate::ids::{hash_text, same_id, same_value};
use crate::{Budget, IdQuery, StorageError};

type Pages = HashMap<u32, Arc<ColumnBlock>, FixedState>;

/// See the module's docs.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    segment: &'a Segment,
    budget: &'a Budget,
    /// Nothing only after the reader was dropped.
    scratch: Option<ReadScratch>,
    traces_scratch: Option<ReadScratch>,
    bytes_counted: u64,
    trace_ids: Pages,
    span_ids: Pages,
}

impl Drop for BlockReader<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.segment.return_scratch(scratch);
        }
    }
}

/// The pages of one block that hold what a row has itself.
struct OwnColumns {
    stream: ColumnBlock,
    kind: ColumnBlock,
    start: ColumnBlock,
    duration: ColumnBlock,
    trace: ColumnBlock,
    span_ids: Arc<ColumnBlock>,
    optional: [Option<ColumnBlock>; Column::ALL.len()],
}

impl<'a> BlockReader<'a> {
    /// Errors: Io.
    pub(super) fn new(segment: &'a Segment, budget: &'a Budget) -> Result<Self, StorageError> {
        let scratch = segment.take_scratch()?;
        Ok(BlockReader {
            segment,
            budget,
            bytes_counted: scratch.bytes_read,
            scratch: Some(scratch),
            traces_scratch: None,
            trace_ids: Pages::default(),
            span_ids: Pages::default(),
        })
    }

    fn scratch(&mut self) -> Result<&mut ReadScratch, StorageError> {
        match &mut self.scratch {
            Some(scratch) => Ok(scratch),
            none => Ok(none.insert(ReadScratch::new()?)),
        }
    }

    /// A page of a column that every segment has.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn read(&mut self, column: Column, block: u32) -> Result<ColumnBlock, StorageError> {
        let segment = self.segment;
        let at = segment.block(block)?;
        let Some(index) = segment.column(column) else {
            return Err(StorageError::corrupt(segment.file.name(), "it lacks a column"));
        };
        segment.file.read(index, at, self.scratch()?)
    }

    fn read_optional(
        &mut self,
        column: Column,
        at: BlockAt,
    ) -> Result<Option<ColumnBlock>, StorageError> {
        let segment = self.segment;
        let Some(index) = segment.column(column) else { return Ok(None) };
        segment.file.read(index, at, self.scratch()?).map(Some)
    }

    /// The ID of a trace of the segment.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn trace_id(&mut self, trace: u64) -> Result<[u8; 16], StorageError> {
        let traces = &self.segment.traces;
        let lost = || StorageError::corrupt(traces.name(), "it has no such trace");
        let blocks = traces.blocks();
        let number = blocks.partition_point(|block| block.first_row <= trace).checked_sub(1);
        let number = number.ok_or_else(lost)?;
        let at = blocks.get(number).copied().ok_or_else(lost)?;
        let key = u32::try_from(number).map_err(|_| lost())?;
        let page = match self.trace_ids.get(&key) {
            Some(page) => page,
            None => {
                let scratch = match &mut self.traces_scratch {
                    Some(scratch) => scratch,
                    none => none.insert(ReadScratch::new()?),
                };
                let page = traces.read(0, at, scratch)?;
                self.trace_ids.entry(key).or_insert(Arc::new(page))
            }
        };
        let row = usize::try_from(trace - at.first_row).map_err(|_| lost())?;
        page.bytes(row).and_then(|id| id.try_into().ok()).ok_or_else(lost)
    }

    fn span_ids(&mut self, block: u32) -> Result<Arc<ColumnBlock>, StorageError> {
        if let Some(page) = self.span_ids.get(&block) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(self.read(Column::SpanId, block)?);
        self.span_ids.insert(block, Arc::clone(&page));
        Ok(page)
    }

    /// The span ID of a row of the segment.
    fn span_id(&mut self, row: i64) -> Result<[u8; 8], StorageError> {
        let lost = || StorageError::corrupt(self.segment.file.name(), "a parent is not there");
        let row = u64::try_from(row).map_err(|_| lost())?;
        let (block, row) = self.segment.locate(row).ok_or_else(lost)?;
        let page = self.span_ids(block)?;
        Ok(fixed(&page, row as usize))
    }

    /// Rows of `block` that belong to `trace`.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn rows_of_trace(
        &mut self,
        block: u32,
        trace: u32,
    ) -> Result<Vec<u32>, StorageError> {
        let traces = self.read(Column::Trace, block)?;
        let wanted = i64::from(trace);
        Ok((0..traces.rows as u32)
            .filter(|&row| traces.int(row as usize) == Some(wanted))
            .collect())
    }

    /// Rows of `block` that belong to `trace` or carry the ID themselves.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn rows_with_id(
        &mut self,
        block: u32,
        id: &IdQuery,
        trace: Option<u32>,
    ) -> Result<Vec<u32>, StorageError> {
        let segment = self.segment;
        let at = segment.block(block)?;
        let mut rows = match trace {
            Some(trace) => self.rows_of_trace(block, trace)?,
            None => Vec::new(),
        };
        if let Some(span_id) = &id.span_id {
            let ids = self.span_ids(block)?;
            rows.extend((0..at.rows).filter(|&row| fixed(&ids, row as usize) == *span_id));
        }
        let might_be_attribute =
            segment.index.ids.lookup(hash_text(&id.text))?.binary_search(&block).is_ok();
        if might_be_attribute {
            let (columns, rest) = (segment.attributes.columns(), segment.attributes.rest_column());
            for (_, kind, column) in
                columns.filter(|column| matches!(column.1, Kind::Text | Kind::Int))
            {
                let page = segment.file.read(column, at, self.scratch()?)?;
                let is_it = |row: &u32| match kind {
                    Kind::Int => page
                        .int(*row as usize)
                        .is_some_and(|int| same_value(Value::Int(int), &id.text)),
                    _ => text(&page, *row as usize).is_some_and(|text| same_id(text, &id.text)),
                };
                rows.extend((0..at.rows).filter(is_it));
            }
            let page = segment.file.read(rest, at, self.scratch()?)?;
            let is_it = |row: &u32| {
                let rest = page.bytes(*row as usize).unwrap_or_default();
                AttributesRef::list(rest).iter().any(|(_, value)| same_value(value, &id.text))
            };
            rows.extend((0..at.rows).filter(is_it));
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Keeps those of `rows` that may have the attribute on the span, its resource or its scope.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn retain_hinted(
        &mut self,
        block: u32,
        rows: &mut Vec<u32>,
        key: &str,
        wanted: &str,
    ) -> Result<(), StorageError> {
        let segment = self.segment;
        let at = segment.block(block)?;
        let streams = self.read(Column::Stream, block)?;
        let column = segment.attributes.columns().find(|column| column.0 == key);
        let typed = match column {
            Some((_, kind, index)) => Some((kind, segment.file.read(index, at, self.scratch()?)?)),
            None => None,
        };
        let rest = segment.file.read(segment.attributes.rest_column(), at, self.scratch()?)?;
        let mut last_stream = (None, false);
        rows.retain(|&row| {
            let row = row as usize;
            let stream = streams.int(row);
            if last_stream.0 != stream || stream.is_none() {
                let known = stream.and_then(|number| usize::try_from(number).ok());
                let known = known.and_then(|number| segment.streams.get(number));
                let may = known.is_none_or(|stream| {
                    may_have(stream.resource(), key, wanted)
                        || may_have(stream.scope_attributes(), key, wanted)
                });
                last_stream = (stream, may);
            }
            let in_column = typed.as_ref().is_some_and(|(kind, page)| match kind {
                Kind::Text => page.bytes(row) == Some(wanted.as_bytes()),
                _ => page.has(row),
            });
            last_stream.1
                || in_column
                || rest
                    .bytes(row)
                    .is_some_and(|rest| may_have(AttributesRef::list(rest), key, wanted))
        });
        Ok(())
    }

    /// Decodes rows of a block (ascending); nothing where there are none.
    ///
    /// Errors: Corrupt, Io, and the budget's.
    pub(super) fn decode(
        &mut self,
        block: u32,
        rows: &[u32],
    ) -> Result<Option<SpanBlock>, StorageError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let segment = self.segment;
        self.budget.take_samples(rows.len() as u64)?;
        let at = segment.block(block)?;
        let own = self.own_columns(block, at)?;
        let some = (rows.len() < at.rows as usize).then_some(rows);
        let attributes = segment.attributes.load(&segment.file, at, some, self.scratch()?)?;
        let mut batch = BatchBuilder::new(segment, rows.len());
        for &row in rows {
            let span = self.row(&own, row as usize)?;
            batch.push(at, row, span, &own, &attributes);
        }
        let read = self.scratch.as_ref().map_or(0, |scratch| scratch.bytes_read);
        self.budget.add_bytes(read.saturating_sub(self.bytes_counted));
        self.bytes_counted = read;
        let rows = (0..rows.len() as u32).collect();
        Ok(Some(SpanBlock { batch: Arc::new(batch.finish()), rows }))
    }

    fn own_columns(&mut self, block: u32, at: BlockAt) -> Result<OwnColumns, StorageError> {
        let mut optional = [const { None }; Column::ALL.len()];
        for column in Column::ALL.into_iter().filter(|column| column.is_optional()) {
            if let Some(slot) = optional.get_mut(column as usize) {
                *slot = self.read_optional(column, at)?;
            }
        }
        Ok(OwnColumns {
            stream: self.read(Column::Stream, block)?,
            kind: self.read(Column::Kind, block)?,
            start: self.read(Column::StartNs, block)?,
            duration: self.read(Column::DurationNs, block)?,
            trace: self.read(Column::Trace, block)?,
            span_ids: self.span_ids(block)?,
            optional,
        })
    }

    /// What a row has that needs no arena.
    fn row(&mut self, own: &OwnColumns, row: usize) -> Result<SpanRow, StorageError> {
        let start_ns = own.start.int(row).unwrap_or(0);
        let duration = own.duration.int(row).unwrap_or(0);
        let trace = own.trace.int(row).and_then(|trace| u64::try_from(trace).ok());
        let parent_span_id =
            match (own.int(Column::Parent, row), own.bytes(Column::ParentSpanId, row)) {
                (Some(parent), _) => self.span_id(parent)?,
                (None, Some(id)) => id.try_into().unwrap_or_default(),
                (None, None) => [0; 8],
            };
        let status = own.int(Column::Status, row);
        Ok(SpanRow {
            trace_id: self.trace_id(trace.unwrap_or(u64::MAX))?,
            span_id: fixed(&own.span_ids, row),
            parent_span_id,
            start_ns,
            end_ns: start_ns.wrapping_add(duration),
            kind: SpanKind::from_number(own.kind.int(row).unwrap_or(0) as u64),
            status: SpanStatus::from_number(status.unwrap_or(0) as u64),
            has_status: status.is_some(),
            flags: own.number(Column::Flags, row),
            dropped_attributes_count: own.number(Column::DroppedAttributesCount, row),
            dropped_events_count: own.number(Column::DroppedEventsCount, row),
            dropped_links_count: own.number(Column::DroppedLinksCount, row),
            attributes_field: 1,
            events_field: 1,
            links_field: 1,
            ..SpanRow::default()
        })
    }
}

impl OwnColumns {
    fn int(&self, column: Column, row: usize) -> Option<i64> {
        self.optional.get(column as usize)?.as_ref()?.int(row)
    }

    fn number(&self, column: Column, row: usize) -> u32 {
        self.int(column, row).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    fn bytes(&self, column: Column, row: usize) -> Option<&[u8]> {
        self.optional.get(column as usize)?.as_ref()?.bytes(row)
    }
}

/// Whether the attributes may have `key` with a value that reads `wanted`.
fn may_have(attributes: AttributesRef<'_>, key: &str, wanted: &str) -> bool {
    attributes
        .iter()
        .any(|(name, value)| name == key && value.as_str().is_none_or(|text| text == wanted))
}

fn fixed(page: &ColumnBlock, row: usize) -> [u8; 8] {
    page.bytes(row).and_then(|id| id.try_into().ok()).unwrap_or_default()
}

fn text(page: &ColumnBlock, row: usize) -> Option<&str> {
    std::str::from_utf8(page.bytes(row)?).ok()
}

/// Fills a batch.
struct BatchBuilder<'a> {
    segment: &'a Segment,
    arena: Vec<u8>,
    streams: Vec<i64>,
    rows: Vec<SpanRow>,
    /// The run of the last row and where its name lies.
    name: Option<(usize, Slice)>,
}

impl<'a> BatchBuilder<'a> {
    fn new(segment: &'a Segment, rows: usize) -> Self {
        BatchBuilder {
            segment,
            arena: Vec::new(),
            streams: Vec::new(),
            rows: Vec::with_capacity(rows),
            name: None,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Slice {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Slice { start, len: bytes.len() as u32 }
    }

    fn put_optional(&mut self, bytes: Option<&[u8]>) -> Slice {
        bytes.map_or(Slice::EMPTY, |bytes| self.put(bytes))
    }

    fn push(
        &mut self,
        at: BlockAt,
        row: u32,
        mut span: SpanRow,
        own: &OwnColumns,
        attributes: &AttributesBlock,
    ) {
        let segment = self.segment;
        let run = segment.run_of(at.first_row + u64::from(row));
        let row = row as usize;
        span.name = match self.name {
            Some((known, name)) if known == run => name,
            _ => {
                let name = segment.runs.list.get(run).map_or("", |run| &run.name);
                let name = self.put(name.as_bytes());
                self.name = Some((run, name));
                name
            }
        };
        let stream = own.stream.int(row).unwrap_or(0);
        span.stream = match self.streams.iter().rposition(|&known| known == stream) {
            Some(index) => index as u32,
            None => {
                self.streams.push(stream);
                self.streams.len() as u32 - 1
            }
        };
        span.status_message = self.put_optional(own.bytes(Column::StatusMessage, row));
        span.trace_state = self.put_optional(own.bytes(Column::TraceState, row));
        span.events = self.put_optional(own.bytes(Column::Events, row));
        span.links = self.put_optional(own.bytes(Column::Links, row));
        let start = self.arena.len() as u32;
        segment.attributes.write(attributes, row, &mut self.arena);
        span.attributes = Slice { start, len: self.arena.len() as u32 - start };
        self.rows.push(span);
    }

    fn finish(self) -> SpansBatch {
        let segment = self.segment;
        let known = |&number: &i64| {
            let stream = usize::try_from(number).ok().and_then(|at| segment.streams.get(at));
            stream.or_else(|| segment.streams.first()).map(Arc::clone)
        };
        SpansBatch {
            arena: Bytes::from(self.arena),
            streams: self.streams.iter().filter_map(known).collect(),
            rows: self.rows,
        }
    }
}
