//! Log records: one arena of bytes and a row for each record.
//!
//! The same type is what a decoder makes of a request, what the memtable keeps, and what a segment's
//! block decodes into.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::{AttributesRef, Slice, Stream, Value, value_to_json};

/// How [`LogRow::body`] is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// The slice is the text itself (UTF-8).
    #[default]
    Text,
    /// The slice is an `AnyValue` message that holds something else than a string.
    Any,
}

/// One log record. Slices point into the batch's arena.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRow {
    /// Index into [`LogsBatch::streams`].
    pub stream: u32,
    /// Event time; where the sender gave none the observed time, else the time of arrival. Units: ns.
    pub time_ns: i64,
    /// 0 where none was sent. Units: ns.
    pub observed_ns: i64,
    /// OTLP severity 1..=24, 0 where none was sent.
    pub severity_number: u8,
    pub body_kind: BodyKind,
    pub severity_text: Slice,
    pub body: Slice,
    /// Wire bytes with `KeyValue` repeated under field `attributes_field`.
    pub attributes: Slice,
    pub attributes_field: u8,
    pub event_name: Slice,
    pub dropped_attributes_count: u32,
    pub flags: u32,
    /// All zero where there is none.
    pub trace_id: [u8; 16],
    /// All zero where there is none.
    pub span_id: [u8; 8],
}

/// Log records of one request or one block.
#[derive(Debug, Clone, Default)]
pub struct LogsBatch {
    pub arena: Bytes,
    pub streams: Vec<Arc<Stream>>,
    pub rows: Vec<LogRow>,
}

impl LogsBatch {
    #[must_use]
    pub fn text(&self, slice: Slice) -> &str {
        std::str::from_utf8(slice.of(&self.arena)).unwrap_or("")
    }

    #[must_use]
    pub fn attributes(&self, row: &LogRow) -> AttributesRef<'_> {
        AttributesRef {
            bytes: row.attributes.of(&self.arena),
            field: u32::from(row.attributes_field),
        }
    }

    #[must_use]
    pub fn body(&self, row: &LogRow) -> Value<'_> {
        match row.body_kind {
            BodyKind::Text => Value::Str(self.text(row.body)),
            BodyKind::Any => Value::parse(row.body.of(&self.arena)),
        }
    }

    /// The record as a line: its text, or its structured body as JSON (api.md 10.5).
    #[must_use]
    pub fn line(&self, row: &LogRow) -> Cow<'_, str> {
        match self.body(row) {
            Value::Str(text) => Cow::Borrowed(text),
            Value::Empty => Cow::Borrowed(""),
            // Bytes and numbers that JSON spells as strings stand alone here: no quotes.
            value @ (Value::Bytes(_) | Value::Double(_)) => {
                Cow::Owned(value_to_json(value).trim_matches('"').to_owned())
            }
            value => Cow::Owned(value_to_json(value)),
        }
    }

    /// Memory that this batch keeps. Units: bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.arena.len() + self.rows.len() * size_of::<LogRow>() + self.streams.len() * 8
    }
}
