//! Checks of attribute values, strings, ids and times: everything that is looked at in a record.

use model::wire::{Field, Reader, WireError};
use model::{Oversize, Reason, Slice};

use crate::decoder::DecodeContext;

/// Levels of nesting that are walked where no limit is set: keeps the stack bounded.
const DEPTH_MAX: usize = 100;

/// Why a record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes make no sense: the whole request is refused.
    Broken(WireError),
    /// This record is refused, the rest is kept.
    Refused(Refusal),
}

/// One refused record, in figures; words are made only for the example that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// What was measured, such as `a body of bytes`.
    what: &'static str,
    size: i64,
    limit: i64,
    config_key: &'static str,
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Fault::Broken(error)
    }
}

impl Refusal {
    /// One sentence: what, its size, the limit and where it is set.
    pub(super) fn example(&self) -> String {
        let Refusal { what, size, limit, config_key, .. } = self;
        if config_key.is_empty() {
            return (*what).to_owned();
        }
        format!("{what}: {size}; limit limits.ingest.{config_key}={limit}")
    }
}

/// Limits in the form in which they are compared: 0 ("no limit") has become the largest number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    attributes_max: usize,
    attribute_bytes_max: usize,
    pub(super) line_bytes_max: usize,
    /// Whether a longer text is kept without its end.
    pub(super) cuts_lines: bool,
    pub(super) label_value_bytes_max: usize,
    depth_max: usize,
    received_ns: i64,
    age_max_ns: i64,
    future_max_ns: i64,
}

impl Caps {
    pub(super) fn new(ctx: &DecodeContext<'_>) -> Caps {
        let cap = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let limits = ctx.limits;
        Caps {
            attributes_max: cap(limits.attributes_max),
            attribute_bytes_max: cap(limits.attribute_bytes_max),
            line_bytes_max: cap(limits.line_bytes_max),
            cuts_lines: limits.on_oversize == Oversize::Truncate,
            label_value_bytes_max: cap(limits.label_value_bytes_max),
            depth_max: cap(limits.nesting_depth_max).min(DEPTH_MAX),
            received_ns: ctx.received_ns,
            age_max_ns: limits.age_max_ns,
            future_max_ns: limits.future_max_ns,
        }
    }

    /// Refuses times outside of what the tenant may send.
    #[inline]
    pub(super) fn check_time(&self, time_ns: i64) -> Result<(), Fault> {
        let ahead_ns = time_ns.saturating_sub(self.received_ns);
        if self.future_max_ns > 0 && ahead_ns > self.future_max_ns {
            return Err(refused(
                Reason::TooFarInFuture,
                "a time lies too many seconds ahead of this server's clock",
                to_s(ahead_ns),
                to_s(self.future_max_ns),
                "max_future",
            ));
        }
        if self.age_max_ns > 0 && ahead_ns < self.age_max_ns.saturating_neg() {
            return Err(refused(
                Reason::TooOld,
                "a time lies too many seconds in the past",
                to_s(ahead_ns.saturating_neg()),
                to_s(self.age_max_ns),
                "max_age",
            ));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn check_attribute_count(&self, count: usize) -> Result<(), Fault> {
        if count <= self.attributes_max {
            return Ok(());
        }
        Err(too_large(
            Reason::TooManyAttributes,
            "too many attributes",
            (count, self.attributes_max),
            "max_attributes",
        ))
    }

    /// Checks one `KeyValue` message.
    #[inline]
    pub(super) fn check_attribute(&self, key_value: &[u8]) -> Result<(), Fault> {
        if key_value.len() > self.attribute_bytes_max {
            return Err(too_large(
                Reason::AttributeTooLong,
                "an attribute is too many bytes long",
                (key_value.len(), self.attribute_bytes_max),
                "max_attribute_bytes",
            ));
        }
        self.check_key_value(key_value, 0)
    }

    #[inline]
    fn check_key_value(&self, key_value: &[u8], depth: usize) -> Result<(), Fault> {
        let mut reader = Reader::new(key_value);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(key)) => check_text(key)?,
                (2, Field::Bytes(any_value)) => self.check_any_value(any_value, depth)?,
                (1 | 2, _) => return Err(wrong_type(&reader)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks an `AnyValue` message at `depth` levels of arrays and maps.
    #[inline]
    pub(super) fn check_any_value(&self, any_value: &[u8], depth: usize) -> Result<(), Fault> {
        let mut reader = Reader::new(any_value);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(text)) => check_text(text)?,
                (2 | 3, Field::Varint(_)) | (4, Field::Fixed64(_)) | (7, Field::Bytes(_)) => {}
                (5 | 6, Field::Bytes(list)) => {
                    self.check_list(list, number, depth.saturating_add(1))?;
                }
                (1..=7, _) => return Err(wrong_type(&reader)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks an `ArrayValue` (`kind` 5) or a `KeyValueList` (`kind` 6).
    fn check_list(&self, list: &[u8], kind: u32, depth: usize) -> Result<(), Fault> {
        if depth > self.depth_max {
            return Err(too_large(
                Reason::TooDeep,
                "a value nests too many levels deep",
                (depth, self.depth_max),
                "max_nesting_depth",
            ));
        }
        let mut reader = Reader::new(list);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(item)) if kind == 5 => self.check_any_value(item, depth)?,
                (1, Field::Bytes(entry)) => self.check_key_value(entry, depth)?,
                (1, _) => return Err(wrong_type(&reader)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A repeated field's place in the arena: from its first tag to its last byte, with whatever a
/// sender put in between.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) slice: Slice,
    pub(super) count: usize,
}

impl Run {
    /// Takes in a field that lies at `start..end` of the arena.
    #[inline]
    pub(super) fn extend(&mut self, start: usize, end: usize) {
        if self.count == 0 {
            self.slice.start = start as u32;
        }
        self.slice.len = (end as u32).saturating_sub(self.slice.start);
        self.count = self.count.saturating_add(1);
    }
}

/// Where `part`, a part of `arena`, lies in it.
#[inline]
pub(super) fn slice_of(arena: &[u8], part: &[u8]) -> Slice {
    if part.is_empty() {
        return Slice::EMPTY;
    }
    Slice { start: offset_of(arena, part) as u32, len: part.len() as u32 }
}

/// Offset of `part`, a part of `arena`, in it. Bodies are shorter than 4 GiB (`Decoder` checks).
#[inline]
pub(super) fn offset_of(arena: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(arena.as_ptr() as usize)
}

#[inline]
pub(super) fn check_text(text: &[u8]) -> Result<(), Fault> {
    // Most strings are short and ASCII: no call into the vector code for those.
    if text.len() <= 32 && text.is_ascii() || simdutf8::basic::from_utf8(text).is_ok() {
        return Ok(());
    }
    Err(refused(Reason::InvalidRecord, "a string is not valid UTF-8", 0, 0, ""))
}

/// An id of exactly `N` bytes, or zeros where it is empty. Any other length refuses the request, as
/// the OpenTelemetry Collector does.
#[inline]
pub(super) fn id<const N: usize>(reader: &Reader<'_>, bytes: &[u8]) -> Result<[u8; N], Fault> {
    if bytes.is_empty() {
        return Ok([0; N]);
    }
    bytes.try_into().map_err(|_| {
        let what = if N == 16 {
            "a trace id is not 16 bytes long"
        } else {
            "a span id is not 8 bytes long"
        };
        Fault::Broken(WireError { offset: reader.offset(), what })
    })
}

/// A time in ns as OTLP counts it; what lies beyond the year 2262 is held there.
#[inline]
pub(super) fn time_ns(unix_nano: u64) -> i64 {
    i64::try_from(unix_nano).unwrap_or(i64::MAX)
}

#[cold]
pub(super) fn wrong_type(reader: &Reader<'_>) -> Fault {
    Fault::Broken(WireError { offset: reader.offset(), what: "a field has another wire type" })
}

#[cold]
pub(super) fn too_large(
    reason: Reason,
    what: &'static str,
    (size, limit): (usize, usize),
    config_key: &'static str,
) -> Fault {
    refused(reason, what, size as i64, limit as i64, config_key)
}

#[cold]
fn refused(
    reason: Reason,
    what: &'static str,
    size: i64,
    limit: i64,
    config_key: &'static str,
) -> Fault {
    Fault::Refused(Refusal { reason, what, size, limit, config_key })
}

fn to_s(ns: i64) -> i64 {
    ns / model::NS_PER_S
}
