//! A memtable into a segment.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::wire::{Field, Reader, put_bytes};
use model::{SpanRow, SpansBatch, Stream, StreamId};

use super::link::{self, NONE, Plan, SpanKey};
use super::memtable::Memtable;
use super::schema::{Column, Present};
use super::write::{Row, SegmentWriter};
use crate::StorageError;
use crate::columns::{AttributePlan, AttributePlanner};
use crate::ids::{IdFields, hash_value};
use crate::segment::{EncodeContext, EncodedSegment};

/// Every how manieth span's attributes are counted to decide on columns.
const PLAN_ONE_IN: usize = 8;

/// Encodes all rows of `memtable`; nothing when it has none.
///
/// Errors: Io.
pub(crate) fn encode(
    memtable: &Memtable,
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let groups = memtable.groups();
    let batches: Vec<&SpansBatch> = groups
        .iter()
        .flat_map(|group| group.batches().iter().map(|batch| &**batch))
        .filter(|batch| !batch.rows.is_empty())
        .collect();
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let mut survey = Survey::of(&batches);
    let attributes = std::mem::take(&mut survey.attributes).finish(ctx.columns_max);
    let plan = link::plan(&survey.keys, survey.traces.len(), survey.runs.len());
    let segment = write(&batches, &survey, &plan, &attributes, ctx)?;
    Ok(vec![segment])
}

/// What one pass over all rows finds out.
struct Survey<'a> {
    keys: Vec<SpanKey>,
    /// Batch and row of each key.
    places: Vec<(u32, u32)>,
    /// Trace IDs by number.
    traces: Vec<[u8; 16]>,
    /// Service and name by rank.
    runs: Vec<(&'a str, &'a str)>,
    streams: StreamTable,
    present: Present,
    attributes: AttributePlanner,
}

impl<'a> Survey<'a> {
    fn of(batches: &[&'a SpansBatch]) -> Survey<'a> {
        let rows = batches.iter().map(|batch| batch.rows.len()).sum();
        let mut survey = Survey {
            keys: Vec::with_capacity(rows),
            places: Vec::with_capacity(rows),
            traces: Vec::new(),
            runs: Vec::new(),
            streams: StreamTable::new(batches.iter().flat_map(|batch| &batch.streams)),
            present: Present::required(),
            attributes: AttributePlanner::default(),
        };
        let mut traces: HashMap<[u8; 16], u32, FixedState> = HashMap::default();
        let mut services = Services::default();
        let mut runs: HashMap<(u32, &[u8]), u32, FixedState> = HashMap::default();
        let mut last_trace = ([0; 16], NONE);
        for (batch, batch_number) in batches.iter().zip(0..) {
            let service_of: Vec<u32> =
                batch.streams.iter().map(|stream| services.number(stream.service())).collect();
            for (row, row_number) in batch.rows.iter().zip(0..) {
                let service = service_of.get(row.stream as usize).copied().unwrap_or(0);
                let run = (service, row.name.of(&batch.arena));
                let next = runs.len() as u32;
                let run = *runs.entry(run).or_insert_with(|| {
                    survey.runs.push((services.name(service), batch.text(row.name)));
                    next
                });
                if last_trace.0 != row.trace_id || last_trace.1 == NONE {
                    let next = survey.traces.len() as u32;
                    let trace = *traces.entry(row.trace_id).or_insert_with(|| {
                        survey.traces.push(row.trace_id);
                        next
                    });
                    last_trace = (row.trace_id, trace);
                }
                if survey.keys.len().is_multiple_of(PLAN_ONE_IN) {
                    survey.attributes.observe(batch.attributes(row));
                }
                note_present(&mut survey.present, row);
                survey.keys.push(key_of(row, last_trace.1, run));
                survey.places.push((batch_number, row_number));
            }
        }
        survey.rank_runs();
        survey
    }

    /// Numbers the runs by service and name.
    fn rank_runs(&mut self) {
        let mut sorted: Vec<u32> = (0..self.runs.len() as u32).collect();
        sorted.sort_by_key(|&run| self.runs[run as usize]);
        let mut ranks = vec![0; sorted.len()];
        let mut runs: Vec<(&str, &str)> = Vec::with_capacity(sorted.len());
        for &run in &sorted {
            // Names that are not UTF-8 all read as empty.
            if runs.last() != Some(&self.runs[run as usize]) {
                runs.push(self.runs[run as usize]);
            }
            ranks[run as usize] = runs.len() as u32 - 1;
        }
        self.runs = runs;
        for key in &mut self.keys {
            key.run = ranks[key.run as usize];
        }
    }
}

fn key_of(row: &SpanRow, trace: u32, run: u32) -> SpanKey {
    SpanKey {
        span_id: u64::from_be_bytes(row.span_id),
        parent_id: u64::from_be_bytes(row.parent_span_id),
        start_ns: row.start_ns,
        trace,
        run,
        kind: row.kind as u8,
    }
}

#[inline]
fn note_present(present: &mut Present, row: &SpanRow) {
    let has_parent = row.parent_span_id != [0; 8];
    present.add_if(Column::Parent, has_parent);
    present.add_if(Column::ParentSpanId, has_parent);
    present.add_if(Column::Status, row.has_status);
    present.add_if(Column::StatusMessage, !row.status_message.is_empty());
    present.add_if(Column::TraceState, !row.trace_state.is_empty());
    present.add_if(Column::Flags, row.flags != 0);
    present.add_if(Column::DroppedAttributesCount, row.dropped_attributes_count != 0);
    present.add_if(Column::DroppedEventsCount, row.dropped_events_count != 0);
    present.add_if(Column::DroppedLinksCount, row.dropped_links_count != 0);
    present.add_if(Column::Events, !row.events.is_empty());
    present.add_if(Column::Links, !row.links.is_empty());
}

/// Numbers services in order of appearance.
#[derive(Default)]
struct Services<'a> {
    names: Vec<&'a str>,
    numbers: HashMap<&'a str, u32, FixedState>,
}

impl<'a> Services<'a> {
    fn number(&mut self, name: &'a str) -> u32 {
        let next = self.names.len() as u32;
        *self.numbers.entry(name).or_insert_with(|| {
            self.names.push(name);
            next
        })
    }

    fn name(&self, number: u32) -> &'a str {
        self.names.get(number as usize).copied().unwrap_or("")
    }
}

/// All streams of a segment, sorted by service.
#[derive(Debug, Default)]
pub(super) struct StreamTable {
    pub(super) list: Vec<Arc<Stream>>,
    numbers: HashMap<StreamId, u32, FixedState>,
}

impl StreamTable {
    pub(super) fn new<'a>(streams: impl Iterator<Item = &'a Arc<Stream>>) -> StreamTable {
        let mut table = StreamTable::default();
        for stream in streams {
            table.numbers.entry(stream.id).or_insert_with(|| {
                table.list.push(Arc::clone(stream));
                0
            });
        }
        table.list.sort_by(|a, b| a.service().cmp(b.service()).then(a.id.cmp(&b.id)));
        for (number, stream) in table.list.iter().enumerate() {
            table.numbers.insert(stream.id, number as u32);
        }
        table
    }

    pub(super) fn number(&self, stream: &Stream) -> u32 {
        self.numbers.get(&stream.id).copied().unwrap_or(0)
    }
}

fn write(
    batches: &[&SpansBatch],
    survey: &Survey<'_>,
    plan: &Plan,
    attributes: &Arc<AttributePlan>,
    ctx: &EncodeContext,
) -> Result<EncodedSegment, StorageError> {
    let mut writer = SegmentWriter::new(survey.present, attributes, ctx, plan.order.len())?;
    let stream_numbers: Vec<Vec<u32>> = batches
        .iter()
        .map(|batch| batch.streams.iter().map(|stream| survey.streams.number(stream)).collect())
        .collect();
    let id_fields = IdFields::new(&ctx.id_fields);
    let mut payload = Payload { id_fields, buf: Vec::new() };
    for &span in &plan.order {
        let key = survey.keys[span as usize];
        let (batch_number, row_number) = survey.places[span as usize];
        let batch = batches[batch_number as usize];
        let row = &batch.rows[row_number as usize];
        let (service, name) = survey.runs[key.run as usize];
        writer.begin_run(key.run, service, name);
        let numbers = &stream_numbers[batch_number as usize];
        payload.write(&mut writer, batch, row);
        writer.push(&Row {
            key,
            trace: plan.ranks[key.trace as usize],
            parent: plan.parents[span as usize],
            stream: numbers.get(row.stream as usize).copied().unwrap_or(0),
            end_ns: row.end_ns,
        });
        writer.end_rows()?;
    }
    let trace_ids = plan.traces.iter().map(|&trace| survey.traces[trace as usize]);
    writer.finish(&survey.streams.list, trace_ids)
}

/// Fills the columns that are copied.
struct Payload {
    id_fields: IdFields,
    buf: Vec<u8>,
}

impl Payload {
    fn write(&mut self, writer: &mut SegmentWriter, batch: &SpansBatch, span: &SpanRow) {
        let row = writer.row();
        if span.has_status {
            writer.put_int(Column::Status, row, span.status as i64);
        }
        if !span.status_message.is_empty() {
            let message = batch.text(span.status_message);
            writer.put_bytes(Column::StatusMessage, row, message.as_bytes());
        }
        if !span.trace_state.is_empty() {
            writer.put_bytes(Column::TraceState, row, batch.text(span.trace_state).as_bytes());
        }
        for (column, number) in [
            (Column::Flags, span.flags),
            (Column::DroppedAttributesCount, span.dropped_attributes_count),
            (Column::DroppedEventsCount, span.dropped_events_count),
            (Column::DroppedLinksCount, span.dropped_links_count),
        ] {
            if number != 0 {
                writer.put_int(column, row, i64::from(number));
            }
        }
        for (column, slice, field) in [
            (Column::Events, span.events, span.events_field),
            (Column::Links, span.links, span.links_field),
        ] {
            if !slice.is_empty() {
                self.buf.clear();
                repeat_as_first_field(slice.of(&batch.arena), field, &mut self.buf);
                if !self.buf.is_empty() {
                    writer.put_bytes(column, row, &self.buf);
                }
            }
        }
        let attributes = batch.attributes(span);
        writer.attributes.push(row, attributes);
        let block = writer.next_block();
        for (key, value) in attributes.iter() {
            if self.id_fields.contains(key)
                && let Some(hash) = hash_value(value)
            {
                writer.index.ids.push(hash, block);
            }
        }
    }
}

/// Appends the messages under `field` again under field 1.
fn repeat_as_first_field(bytes: &[u8], field: u8, out: &mut Vec<u8>) {
    let mut reader = Reader::new(bytes);
    while let Ok(Some((number, content))) = reader.next_field() {
        if number == u32::from(field)
            && let Field::Bytes(message) = content
        {
            put_bytes(out, 1, message);
        }
    }
}
