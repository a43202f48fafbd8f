//! Segments into one segment: what is sorted stays so, what is columnar is copied as columns.
//!
//! Two passes over the inputs: the first reads what order and connections depend on (some 60 bytes
//! a span in memory, and the number of spans of an output is bounded), the second copies the rows
//! in stretches that lie together in an input, one block of each input in memory.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::AttributesRef;

use super::encode::StreamTable;
use super::link::{self, Plan, SpanKey};
use super::scan::Segment;
use super::schema::{Column, Present};
use super::write::{Row, SegmentWriter};
use crate::StorageError;
use crate::columns::{
    AttributePlanner, AttributesBlock, AttributesRemap, BlockAt, ColumnBlock, Kind, ReadScratch,
    Remap,
};
use crate::ids::{IdFields, hash_text, hash_value};
use crate::segment::{EncodeContext, EncodedSegment};

/// Columns that are copied as they are.
const COPIED: [Column; 9] = [
    Column::Status,
    Column::StatusMessage,
    Column::TraceState,
    Column::Flags,
    Column::DroppedAttributesCount,
    Column::DroppedEventsCount,
    Column::DroppedLinksCount,
    Column::Events,
    Column::Links,
];

/// Merges `inputs` into as few segments as memory allows. Of spans with equal (trace ID, span ID,
/// kind, start) one is kept.
///
/// Errors: Corrupt, Io.
pub(crate) fn merge(
    inputs: &[Arc<Segment>],
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let mut outputs = Vec::new();
    let mut rest = inputs;
    while !rest.is_empty() {
        let mut rows = 0;
        let count = rest.iter().take_while(|input| {
            rows += input.row_count();
            rows <= ctx.rows_max()
        });
        let count = count.count().max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        outputs.extend(merge_all(now, ctx)?);
    }
    Ok(outputs)
}

fn merge_all(
    inputs: &[Arc<Segment>],
    ctx: &EncodeContext,
) -> Result<Option<EncodedSegment>, StorageError> {
    let survey = Survey::of(inputs)?;
    if survey.keys.is_empty() {
        return Ok(None);
    }
    let plan = link::plan(&survey.keys, survey.traces.len(), survey.runs.len());
    let mut attributes = AttributePlanner::default();
    for input in inputs {
        attributes.observe_file(&input.attributes, input.row_count());
    }
    let attributes = attributes.finish(ctx.columns_max);
    let mut writer = SegmentWriter::new(survey.present, &attributes, ctx, plan.order.len())?;
    let id_fields = IdFields::new(&ctx.id_fields);
    let mut cursors = Vec::with_capacity(inputs.len());
    for input in inputs {
        cursors.push(Cursor::new(input, &mut writer, &survey.streams, &id_fields)?);
    }
    copy(&survey, &plan, &mut cursors, &mut writer)?;
    let trace_ids = plan.traces.iter().map(|&trace| survey.traces[trace as usize]);
    writer.finish(&survey.streams.list, trace_ids).map(Some)
}

/// What the first pass finds out.
struct Survey<'a> {
    keys: Vec<SpanKey>,
    /// The first key of each input, and the number of all keys.
    starts: Vec<usize>,
    traces: Vec<[u8; 16]>,
    runs: Vec<(&'a str, &'a str)>,
    streams: StreamTable,
    present: Present,
}

impl<'a> Survey<'a> {
    fn of(inputs: &'a [Arc<Segment>]) -> Result<Survey<'a>, StorageError> {
        let mut runs: Vec<(&str, &str)> = inputs
            .iter()
            .flat_map(|input| {
                input.runs.list.iter().map(|run| (input.runs.service(run), &*run.name))
            })
            .collect();
        runs.sort_unstable();
        runs.dedup();
        let mut survey = Survey {
            keys: Vec::new(),
            starts: vec![0],
            traces: Vec::new(),
            streams: StreamTable::new(inputs.iter().flat_map(|input| &input.streams)),
            runs,
            present: Present::required(),
        };
        let mut numbers: HashMap<[u8; 16], u32, FixedState> = HashMap::default();
        for input in inputs {
            for column in Column::ALL {
                survey.present.add_if(column, input.column(column).is_some());
            }
            let traces = survey.read_traces(input, &mut numbers)?;
            survey.read_keys(input, &traces)?;
            survey.starts.push(survey.keys.len());
        }
        // A parent may have been in another input.
        let has_parent =
            survey.present.has(Column::Parent) || survey.present.has(Column::ParentSpanId);
        survey.present.add_if(Column::Parent, has_parent);
        survey.present.add_if(Column::ParentSpanId, has_parent);
        Ok(survey)
    }

    /// The number of each of the input's traces.
    fn read_traces(
        &mut self,
        input: &Segment,
        numbers: &mut HashMap<[u8; 16], u32, FixedState>,
    ) -> Result<Vec<u32>, StorageError> {
        let mut scratch = ReadScratch::new()?;
        let mut traces = Vec::with_capacity(input.index.trace_count as usize);
        for &block in input.traces.blocks() {
            let page = input.traces.read(0, block, &mut scratch)?;
            for row in 0..page.rows {
                let id = page.bytes(row).and_then(|id| id.try_into().ok());
                let id: [u8; 16] = id.unwrap_or_default();
                let next = self.traces.len() as u32;
                traces.push(*numbers.entry(id).or_insert_with(|| {
                    self.traces.push(id);
                    next
                }));
            }
        }
        Ok(traces)
    }

    fn read_keys(&mut self, input: &Segment, traces: &[u32]) -> Result<(), StorageError> {
        let corrupt = |why: &str| StorageError::corrupt(input.file.name(), why);
        let mut scratch = ReadScratch::new()?;
        let base = self.keys.len();
        let ranks: Vec<u32> = input
            .runs
            .list
            .iter()
            .map(|run| {
                let run = (input.runs.service(run), &*run.name);
                self.runs.binary_search(&run).unwrap_or(0) as u32
            })
            .collect();
        let mut parents: Vec<(u32, u64)> = Vec::new();
        let mut run = 0;
        for &at in input.file.blocks() {
            let mut page = |column: Column| match input.column(column) {
                Some(index) => input.file.read(index, at, &mut scratch).map(Some),
                None => Ok(None),
            };
            let [kinds, starts, trace, ids, parent, parent_ids] = [
                page(Column::Kind)?,
                page(Column::StartNs)?,
                page(Column::Trace)?,
                page(Column::SpanId)?,
                page(Column::Parent)?,
                page(Column::ParentSpanId)?,
            ];
            let int = |page: &Option<ColumnBlock>, row| page.as_ref()?.int(row);
            let id = |page: &Option<ColumnBlock>, row| {
                Some(u64::from_be_bytes(page.as_ref()?.bytes(row)?.try_into().ok()?))
            };
            for row in 0..at.rows as usize {
                while input.run_ends.get(run).is_some_and(|&end| end <= at.first_row + row as u64) {
                    run += 1;
                }
                let trace = int(&trace, row).and_then(|trace| usize::try_from(trace).ok());
                let trace = trace.and_then(|trace| traces.get(trace)).copied();
                if let Some(parent) = int(&parent, row) {
                    parents.push((self.keys.len() as u32, parent as u64));
                }
                self.keys.push(SpanKey {
                    span_id: id(&ids, row).unwrap_or(0),
                    parent_id: id(&parent_ids, row).unwrap_or(0),
                    start_ns: int(&starts, row).unwrap_or(0),
                    trace: trace.ok_or_else(|| corrupt("a span's trace is not there"))?,
                    run: ranks.get(run).copied().unwrap_or(0),
                    kind: u8::try_from(int(&kinds, row).unwrap_or(0)).unwrap_or(0),
                });
            }
        }
        for (key, parent) in parents {
            let parent = usize::try_from(parent).ok().and_then(|row| self.keys.get(base + row));
            let parent = parent.ok_or_else(|| corrupt("a parent is not there"))?;
            self.keys[key as usize].parent_id = parent.span_id;
        }
        Ok(())
    }
}

/// Copies all rows of the plan, a stretch of neighbours of one input at a time.
fn copy(
    survey: &Survey<'_>,
    plan: &Plan,
    cursors: &mut [Cursor<'_>],
    writer: &mut SegmentWriter,
) -> Result<(), StorageError> {
    let mut at = 0;
    while let Some(&first) = plan.order.get(at) {
        let input = survey.starts.partition_point(|&start| start <= first as usize) - 1;
        let cursor = &mut cursors[input];
        let row = first as usize - survey.starts[input];
        let inside = cursor.go_to(row as u64)?;
        let room = writer.room().min(cursor.at.rows as usize - inside);
        let stretch = plan.order[at..].iter().take(room).zip(first..);
        let count = stretch.take_while(|(span, expected)| *span == expected).count();
        let start = writer.row();
        for (offset, &span) in plan.order[at..at + count].iter().enumerate() {
            let key = survey.keys[span as usize];
            let (service, name) = survey.runs[key.run as usize];
            writer.begin_run(key.run, service, name);
            let block = writer.next_block();
            cursor.each_id(inside + offset, |hash| writer.index.ids.push(hash, block));
            writer.push(&Row {
                key,
                trace: plan.ranks[key.trace as usize],
                parent: plan.parents[span as usize],
                stream: cursor.stream(inside + offset),
                end_ns: key
                    .start_ns
                    .wrapping_add(cursor.duration.int(inside + offset).unwrap_or(0)),
            });
        }
        cursor.copy(start, inside..inside + count, writer);
        writer.end_rows()?;
        at += count;
    }
    Ok(())
}

/// One input, with one of its blocks loaded.
struct Cursor<'a> {
    segment: &'a Segment,
    id_fields: &'a IdFields,
    scratch: ReadScratch,
    /// Number in the output of each of the input's streams.
    streams: Vec<u32>,
    /// What the input's attribute columns are in the output; nothing where they do not fit.
    attributes_remap: Option<AttributesRemap>,
    /// Columns that hold IDs.
    id_columns: Vec<(usize, Kind)>,
    remaps: [Remap; COPIED.len()],

    block: u32,
    at: BlockAt,
    pages: [Option<ColumnBlock>; COPIED.len()],
    stream: ColumnBlock,
    duration: ColumnBlock,
    attributes: AttributesBlock,
    id_pages: Vec<ColumnBlock>,
    rest: ColumnBlock,
    buf: Vec<u8>,
}

impl<'a> Cursor<'a> {
    fn new(
        segment: &'a Segment,
        writer: &mut SegmentWriter,
        streams: &StreamTable,
        id_fields: &'a IdFields,
    ) -> Result<Cursor<'a>, StorageError> {
        let columns = segment.attributes.columns();
        let id_columns: Vec<(usize, Kind)> = columns
            .filter(|(key, kind, _)| {
                id_fields.contains(key) && matches!(kind, Kind::Text | Kind::Int)
            })
            .map(|(_, kind, column)| (column, kind))
            .collect();
        let mut scratch = ReadScratch::new()?;
        let at = segment.block(0)?;
        let read = |column: Column, scratch: &mut ReadScratch| match segment.column(column) {
            Some(index) => segment.file.read(index, at, scratch),
            None => Err(StorageError::corrupt(segment.file.name(), "it lacks a column")),
        };
        let mut cursor = Cursor {
            attributes_remap: writer.attributes.remap(&segment.attributes),
            streams: segment.streams.iter().map(|stream| streams.number(stream)).collect(),
            remaps: Default::default(),
            block: 0,
            at,
            pages: [const { None }; COPIED.len()],
            stream: read(Column::Stream, &mut scratch)?,
            duration: read(Column::DurationNs, &mut scratch)?,
            attributes: segment.attributes.load(&segment.file, at, None, &mut scratch)?,
            id_pages: Vec::new(),
            rest: segment.file.read(segment.attributes.rest_column(), at, &mut scratch)?,
            buf: Vec::new(),
            segment,
            id_fields,
            scratch,
            id_columns,
        };
        cursor.load_optional()?;
        Ok(cursor)
    }

    /// Loads the block that has `row`; answers the row's number in it.
    fn go_to(&mut self, row: u64) -> Result<usize, StorageError> {
        let segment = self.segment;
        let lost = || StorageError::corrupt(segment.file.name(), "a row is not there");
        let (block, inside) = segment.locate(row).ok_or_else(lost)?;
        if block == self.block {
            return Ok(inside as usize);
        }
        let at = segment.block(block)?;
        if at.row_group != self.at.row_group {
            self.remaps.iter_mut().for_each(Remap::clear);
            if let Some(remap) = &mut self.attributes_remap {
                remap.next_row_group();
            }
        }
        (self.block, self.at) = (block, at);
        let file = &segment.file;
        let column = |column| segment.column(column).ok_or_else(lost);
        self.stream = file.read(column(Column::Stream)?, at, &mut self.scratch)?;
        self.duration = file.read(column(Column::DurationNs)?, at, &mut self.scratch)?;
        self.attributes = segment.attributes.load(file, at, None, &mut self.scratch)?;
        self.rest = file.read(segment.attributes.rest_column(), at, &mut self.scratch)?;
        self.load_optional()?;
        Ok(inside as usize)
    }

    fn load_optional(&mut self) -> Result<(), StorageError> {
        let segment = self.segment;
        for (page, column) in self.pages.iter_mut().zip(COPIED) {
            *page = match segment.column(column) {
                Some(index) => Some(segment.file.read(index, self.at, &mut self.scratch)?),
                None => None,
            };
        }
        self.id_pages.clear();
        for &(column, _) in &self.id_columns {
            self.id_pages.push(segment.file.read(column, self.at, &mut self.scratch)?);
        }
        Ok(())
    }

    fn stream(&self, row: usize) -> u32 {
        let number = self.stream.int(row).and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.streams.get(number)).copied().unwrap_or(0)
    }

    /// Calls `take` with the hash of every declared ID of a row.
    fn each_id(&self, row: usize, mut take: impl FnMut(u64)) {
        for page in &self.id_pages {
            let text = page.bytes(row).and_then(|text| std::str::from_utf8(text).ok());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                take(hash_text(text));
            } else if let Some(hash) =
                page.int(row).and_then(|int| hash_value(model::Value::Int(int)))
            {
                take(hash);
            }
        }
        let rest = self.rest.bytes(row).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        for (key, value) in AttributesRef::list(rest).iter() {
            if self.id_fields.contains(key)
                && let Some(hash) = hash_value(value)
            {
                take(hash);
            }
        }
    }

    /// Appends the copied columns of `range` as the rows from `row` on.
    fn copy(&mut self, row: usize, range: Range<usize>, writer: &mut SegmentWriter) {
        for ((page, column), remap) in self.pages.iter().zip(COPIED).zip(&mut self.remaps) {
            if let (Some(page), Some(builder)) = (page, writer.column(column)) {
                builder.append(row, page, range.clone(), remap);
            }
        }
        if let Some(remap) = &mut self.attributes_remap {
            writer.attributes.append(row, &self.attributes, range, remap);
            return;
        }
        for (offset, inside) in range.enumerate() {
            self.buf.clear();
            self.segment.attributes.write(&self.attributes, inside, &mut self.buf);
            writer.attributes.push(row + offset, AttributesRef::list(&self.buf));
        }
    }
}
