//! `ExportLogsServiceRequest` to rows.
//!
//! Source: opentelemetry-proto `logs/v1/logs.proto`.

use bytes::Bytes;
use model::wire::{Field, Reader};
use model::{Batch, BodyKind, LogRow, LogsBatch, Reason, Signal, Slice};

use super::envelope::{self, DecodedBatch, RecordContext};
use super::values::{
    Caps, Fault, Run, check_text, id, offset_of, slice_of, time_ns, too_large, wrong_type,
};
use crate::DecodeError;
use crate::checks;
use crate::decoder::DecodeContext;

const ATTRIBUTES: u8 = 6;

/// Decodes a request; the batch's arena is `body`.
///
/// Errors: Undecodable.
pub(crate) fn decode(body: Bytes, ctx: &DecodeContext<'_>) -> Result<DecodedBatch, DecodeError> {
    let mut records = envelope::decode(&body, ctx, Signal::Logs, record)?;
    envelope::fit(&mut records.rows);
    let batch = LogsBatch { arena: body, streams: records.streams, rows: records.rows };
    Ok((Batch::Logs(batch), records.rejections))
}

fn record(message: &[u8], ctx: &RecordContext<'_>) -> Result<LogRow, Fault> {
    let arena = ctx.arena;
    let base = offset_of(arena, message);
    let mut row = LogRow { stream: ctx.stream, attributes_field: ATTRIBUTES, ..LogRow::default() };
    let mut attributes = Run::default();
    let mut reader = Reader::new(message);
    loop {
        let start = reader.offset();
        let Some((number, field)) = reader.next_field()? else { break };
        match (number, field) {
            (1, Field::Fixed64(time)) => row.time_ns = time_ns(time),
            (2, Field::Varint(number)) => row.severity_number = u8::try_from(number).unwrap_or(0),
            (3, Field::Bytes(text)) => {
                check_text(text)?;
                row.severity_text = slice_of(arena, text);
            }
            (5, Field::Bytes(any_value)) => {
                (row.body_kind, row.body) = body(any_value, ctx)?;
            }
            (6, Field::Bytes(key_value)) => {
                ctx.caps.check_attribute(key_value)?;
                attributes.extend(base.wrapping_add(start), base.wrapping_add(reader.offset()));
            }
            (7, Field::Varint(count)) => row.dropped_attributes_count = count as u32,
            (8, Field::Fixed32(flags)) => row.flags = flags,
            (9, Field::Bytes(bytes)) => row.trace_id = id(&reader, bytes)?,
            (10, Field::Bytes(bytes)) => row.span_id = id(&reader, bytes)?,
            (11, Field::Fixed64(time)) => row.observed_ns = time_ns(time),
            (12, Field::Bytes(text)) => {
                check_text(text)?;
                row.event_name = slice_of(arena, text);
            }
            (1..=3 | 5..=12, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    row.attributes = attributes.slice;
    ctx.caps.check_attribute_count(attributes.count)?;
    if row.time_ns == 0 {
        row.time_ns = if row.observed_ns != 0 { row.observed_ns } else { ctx.received_ns };
    }
    ctx.caps.check_time(row.time_ns)?;
    Ok(row)
}

/// A body that is one string becomes the text itself; all else stays the `AnyValue`.
fn body(any_value: &[u8], ctx: &RecordContext<'_>) -> Result<(BodyKind, Slice), Fault> {
    let caps = ctx.caps;
    let mut reader = Reader::new(any_value);
    if let Some((1, Field::Bytes(text))) = reader.next_field()?
        && reader.is_empty()
    {
        if text.len() > caps.line_bytes_max && caps.cuts_lines {
            check_text(text)?;
            let kept = checks::cut_text(text, caps.line_bytes_max);
            return Ok((BodyKind::Text, slice_of(ctx.arena, kept)));
        }
        check_line(text.len(), caps)?;
        check_text(text)?;
        return Ok((BodyKind::Text, slice_of(ctx.arena, text)));
    }
    check_line(any_value.len(), caps)?;
    caps.check_any_value(any_value, 0)?;
    if any_value.is_empty() {
        return Ok((BodyKind::Text, Slice::EMPTY));
    }
    Ok((BodyKind::Any, slice_of(ctx.arena, any_value)))
}

fn check_line(bytes: usize, caps: &Caps) -> Result<(), Fault> {
    if bytes <= caps.line_bytes_max {
        return Ok(());
    }
    Err(too_large(
        Reason::LineTooLong,
        "a body is too many bytes long",
        (bytes, caps.line_bytes_max),
        "max_line_bytes",
    ))
}
