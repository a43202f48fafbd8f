//! `ExportTraceServiceRequest` to rows.
//!
//! Source: opentelemetry-proto `trace/v1/trace.proto`.

use bytes::Bytes;
use model::wire::{Field, Reader};
use model::{Batch, Signal, SpanKind, SpanRow, SpanStatus, SpansBatch};

use super::envelope::{self, DecodedBatch, RecordContext};
use super::values::{Caps, Fault, Run, check_text, id, offset_of, slice_of, time_ns, wrong_type};
use crate::DecodeError;
use crate::decoder::DecodeContext;

const ATTRIBUTES: u8 = 9;
const EVENTS: u8 = 11;
const LINKS: u8 = 13;

/// Decodes a request; the batch's arena is `body`.
///
/// Errors: Undecodable.
pub(crate) fn decode(body: Bytes, ctx: &DecodeContext<'_>) -> Result<DecodedBatch, DecodeError> {
    let mut records = envelope::decode(&body, ctx, Signal::Traces, span)?;
    envelope::fit(&mut records.rows);
    let batch = SpansBatch { arena: body, streams: records.streams, rows: records.rows };
    Ok((Batch::Traces(batch), records.rejections))
}

fn span(message: &[u8], ctx: &RecordContext<'_>) -> Result<SpanRow, Fault> {
    let (arena, caps) = (ctx.arena, ctx.caps);
    let base = offset_of(arena, message);
    let mut row = SpanRow {
        stream: ctx.stream,
        attributes_field: ATTRIBUTES,
        events_field: EVENTS,
        links_field: LINKS,
        ..SpanRow::default()
    };
    let (mut attributes, mut events, mut links) = (Run::default(), Run::default(), Run::default());
    let mut reader = Reader::new(message);
    loop {
        let start = reader.offset();
        let Some((number, field)) = reader.next_field()? else { break };
        let place = |run: &mut Run| {
            run.extend(base.wrapping_add(start), base.wrapping_add(reader.offset()));
        };
        match (number, field) {
            (1, Field::Bytes(bytes)) => row.trace_id = id(&reader, bytes)?,
            (2, Field::Bytes(bytes)) => row.span_id = id(&reader, bytes)?,
            (3, Field::Bytes(text)) => {
                check_text(text)?;
                row.trace_state = slice_of(arena, text);
            }
            (4, Field::Bytes(bytes)) => row.parent_span_id = id(&reader, bytes)?,
            (5, Field::Bytes(text)) => {
                check_text(text)?;
                row.name = slice_of(arena, text);
            }
            (6, Field::Varint(kind)) => row.kind = SpanKind::from_number(kind),
            (7, Field::Fixed64(time)) => row.start_ns = time_ns(time),
            (8, Field::Fixed64(time)) => row.end_ns = time_ns(time),
            (9, Field::Bytes(key_value)) => {
                caps.check_attribute(key_value)?;
                place(&mut attributes);
            }
            (10, Field::Varint(count)) => row.dropped_attributes_count = count as u32,
            (11, Field::Bytes(event)) => {
                check_event(event, caps)?;
                place(&mut events);
            }
            (12, Field::Varint(count)) => row.dropped_events_count = count as u32,
            (13, Field::Bytes(link)) => {
                check_link(link, caps)?;
                place(&mut links);
            }
            (14, Field::Varint(count)) => row.dropped_links_count = count as u32,
            (15, Field::Bytes(message)) => status(message, arena, &mut row)?,
            (16, Field::Fixed32(flags)) => row.flags = flags,
            (1..=16, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    (row.attributes, row.events, row.links) = (attributes.slice, events.slice, links.slice);
    caps.check_attribute_count(attributes.count)?;
    caps.check_time(row.start_ns)?;
    Ok(row)
}

fn status(message: &[u8], arena: &[u8], row: &mut SpanRow) -> Result<(), Fault> {
    row.has_status = true;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (2, Field::Bytes(text)) => {
                check_text(text)?;
                row.status_message = slice_of(arena, text);
            }
            (3, Field::Varint(code)) => row.status = SpanStatus::from_number(code),
            (2 | 3, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    Ok(())
}

fn check_event(event: &[u8], caps: &Caps) -> Result<(), Fault> {
    let mut count = 0usize;
    let mut reader = Reader::new(event);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(_)) | (4, Field::Varint(_)) => {}
            (2, Field::Bytes(name)) => check_text(name)?,
            (3, Field::Bytes(key_value)) => {
                caps.check_attribute(key_value)?;
                count = count.saturating_add(1);
            }
            (1..=4, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    caps.check_attribute_count(count)
}

fn check_link(link: &[u8], caps: &Caps) -> Result<(), Fault> {
    let mut count = 0usize;
    let mut reader = Reader::new(link);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => drop(id::<16>(&reader, bytes)?),
            (2, Field::Bytes(bytes)) => drop(id::<8>(&reader, bytes)?),
            (3, Field::Bytes(text)) => check_text(text)?,
            (4, Field::Bytes(key_value)) => {
                caps.check_attribute(key_value)?;
                count = count.saturating_add(1);
            }
            (5, Field::Varint(_)) | (6, Field::Fixed32(_)) => {}
            (1..=6, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    caps.check_attribute_count(count)
}
