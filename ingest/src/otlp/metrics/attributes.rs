//! Attributes of points: their bytes, and the check that they make sense.

use std::borrow::Cow;

use model::wire::{Field, Reader, WireError, put_bytes};
use model::{AttributesRef, Limits, Reason};

use crate::series_cache::Refusal;

/// The bytes of all fields `number` of a message: borrowed where they lie together, as every known
/// sender writes them.
pub(super) fn run(message: &[u8], number: u32) -> Result<Cow<'_, [u8]>, WireError> {
    let mut run: Option<(usize, usize)> = None;
    let mut reader = Reader::new(message);
    loop {
        let before = reader.offset();
        let Some((found, _)) = reader.next_field()? else { break };
        if found != number {
            continue;
        }
        match &mut run {
            None => run = Some((before, reader.offset())),
            Some((_, end)) if *end == before => *end = reader.offset(),
            Some(_) => return gathered(message, number).map(Cow::Owned),
        }
    }
    let (start, end) = run.unwrap_or_default();
    Ok(Cow::Borrowed(message.get(start..end).unwrap_or_default()))
}

fn gathered(message: &[u8], wanted: u32) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if let (true, Field::Bytes(bytes)) = (number == wanted, field) {
            put_bytes(&mut out, wanted, bytes);
        }
    }
    Ok(out)
}

/// Checks that attributes are protobuf in UTF-8 and not nested too deeply.
///
/// Errors: InvalidLabels, TooDeep, TooManyAttributes.
pub(super) fn check(attributes: AttributesRef<'_>, limits: &Limits) -> Result<(), Refusal> {
    let depth_max = if limits.nesting_depth_max == 0 { 100 } else { limits.nesting_depth_max };
    let mut reader = Reader::new(attributes.bytes);
    let mut count = 0usize;
    while let Some((number, field)) = reader.next_field().map_err(malformed)? {
        if let (true, Field::Bytes(key_value)) = (number == attributes.field, field) {
            count = count.saturating_add(1);
            check_key_value(key_value, depth_max)?;
        }
    }
    if limits.attributes_max != 0 && count > limits.attributes_max {
        let text = format!(
            "a point or resource has {count} attributes; limit limits.ingest.max_attributes={}",
            limits.attributes_max
        );
        return Err((Reason::TooManyAttributes, text));
    }
    Ok(())
}

fn malformed(error: WireError) -> Refusal {
    (Reason::InvalidLabels, format!("attributes: {error}"))
}

fn check_text(bytes: &[u8]) -> Result<(), Refusal> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err((Reason::InvalidLabels, "an attribute is not UTF-8".to_owned())),
    }
}

fn check_key_value(bytes: &[u8], depth_left: usize) -> Result<(), Refusal> {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field().map_err(malformed)? {
        match (number, field) {
            (1, Field::Bytes(key)) => check_text(key)?,
            (2, Field::Bytes(value)) => check_value(value, depth_left)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_value(bytes: &[u8], depth_left: usize) -> Result<(), Refusal> {
    if depth_left == 0 {
        let text = "an attribute is nested too deeply; limit limits.ingest.max_nesting_depth";
        return Err((Reason::TooDeep, text.to_owned()));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field().map_err(malformed)? {
        match (number, field) {
            (1, Field::Bytes(text)) => check_text(text)?,
            (5, Field::Bytes(list)) => {
                let mut items = Reader::new(list);
                while let Some((_, field)) = items.next_field().map_err(malformed)? {
                    if let Field::Bytes(item) = field {
                        check_value(item, depth_left.saturating_sub(1))?;
                    }
                }
            }
            (6, Field::Bytes(map)) => {
                let mut entries = Reader::new(map);
                while let Some((_, field)) = entries.next_field().map_err(malformed)? {
                    if let Field::Bytes(entry) = field {
                        check_key_value(entry, depth_left.saturating_sub(1))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
