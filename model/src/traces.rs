//! Spans: one arena of bytes and a row for each span, like log records.

use std::sync::Arc;

use bytes::Bytes;

use crate::wire::{Field, Reader};
use crate::{AttributesRef, Slice, Stream};

/// OTLP span kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SpanKind {
    #[default]
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl SpanKind {
    /// Unknown numbers count as unspecified.
    #[must_use]
    pub fn from_number(number: u64) -> SpanKind {
        match number {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    /// The lower-case word that TraceQL and Jaeger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SpanKind::Unspecified => "unspecified",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        }
    }
}

/// OTLP status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SpanStatus {
    #[default]
    Unset = 0,
    Ok = 1,
    Error = 2,
}

impl SpanStatus {
    /// Unknown numbers count as unset.
    #[must_use]
    pub fn from_number(number: u64) -> SpanStatus {
        match number {
            1 => SpanStatus::Ok,
            2 => SpanStatus::Error,
            _ => SpanStatus::Unset,
        }
    }
}

/// One span. Slices point into the batch's arena; the slices of repeated fields are wire bytes in
/// which the field (number beside it) repeats, other fields in between being passed over.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpanRow {
    /// Index into [`SpansBatch::streams`].
    pub stream: u32,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// All zero for a root.
    pub parent_span_id: [u8; 8],
    pub start_ns: i64,
    pub end_ns: i64,
    pub kind: SpanKind,
    pub status: SpanStatus,
    /// Whether the sender sent a status message at all.
    pub has_status: bool,
    pub name: Slice,
    pub status_message: Slice,
    pub trace_state: Slice,
    pub flags: u32,
    /// `KeyValue` under `attributes_field`.
    pub attributes: Slice,
    pub attributes_field: u8,
    /// `Span.Event` under `events_field`.
    pub events: Slice,
    pub events_field: u8,
    /// `Span.Link` under `links_field`.
    pub links: Slice,
    pub links_field: u8,
    pub dropped_attributes_count: u32,
    pub dropped_events_count: u32,
    pub dropped_links_count: u32,
}

impl SpanRow {
    /// Never negative. Units: ns.
    #[must_use]
    pub fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns).max(0)
    }
}

/// Spans of one request or one block.
#[derive(Debug, Clone, Default)]
pub struct SpansBatch {
    pub arena: Bytes,
    pub streams: Vec<Arc<Stream>>,
    pub rows: Vec<SpanRow>,
}

/// A span event, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a> {
    pub time_ns: i64,
    pub name: &'a str,
    pub attributes: AttributesRef<'a>,
    pub dropped_attributes_count: u32,
    /// The whole `Span.Event` message.
    pub wire: &'a [u8],
}

/// A span link, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct LinkRef<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a str,
    pub attributes: AttributesRef<'a>,
    pub dropped_attributes_count: u32,
    pub flags: u32,
    /// The whole `Span.Link` message.
    pub wire: &'a [u8],
}

impl SpansBatch {
    #[must_use]
    pub fn text(&self, slice: Slice) -> &str {
        std::str::from_utf8(slice.of(&self.arena)).unwrap_or("")
    }

    #[must_use]
    pub fn attributes(&self, row: &SpanRow) -> AttributesRef<'_> {
        AttributesRef {
            bytes: row.attributes.of(&self.arena),
            field: u32::from(row.attributes_field),
        }
    }

    /// Events in sending order.
    pub fn events(&self, row: &SpanRow) -> impl Iterator<Item = EventRef<'_>> {
        repeated(row.events.of(&self.arena), row.events_field).map(|wire| {
            let mut event = EventRef {
                time_ns: 0,
                name: "",
                attributes: AttributesRef { bytes: wire, field: 3 },
                dropped_attributes_count: 0,
                wire,
            };
            let mut reader = Reader::new(wire);
            while let Ok(Some((number, field))) = reader.next_field() {
                match (number, field) {
                    (1, Field::Fixed64(time)) => event.time_ns = time as i64,
                    (2, Field::Bytes(name)) => event.name = std::str::from_utf8(name).unwrap_or(""),
                    (4, Field::Varint(count)) => event.dropped_attributes_count = count as u32,
                    _ => {}
                }
            }
            event
        })
    }

    /// Links in sending order.
    pub fn links(&self, row: &SpanRow) -> impl Iterator<Item = LinkRef<'_>> {
        repeated(row.links.of(&self.arena), row.links_field).map(|wire| {
            let mut link = LinkRef {
                trace_id: &[],
                span_id: &[],
                trace_state: "",
                attributes: AttributesRef { bytes: wire, field: 4 },
                dropped_attributes_count: 0,
                flags: 0,
                wire,
            };
            let mut reader = Reader::new(wire);
            while let Ok(Some((number, field))) = reader.next_field() {
                match (number, field) {
                    (1, Field::Bytes(id)) => link.trace_id = id,
                    (2, Field::Bytes(id)) => link.span_id = id,
                    (3, Field::Bytes(text)) => {
                        link.trace_state = std::str::from_utf8(text).unwrap_or("");
                    }
                    (5, Field::Varint(count)) => link.dropped_attributes_count = count as u32,
                    (6, Field::Fixed32(flags)) => link.flags = flags,
                    _ => {}
                }
            }
            link
        })
    }

    /// Memory that this batch keeps. Units: bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.arena.len() + self.rows.len() * size_of::<SpanRow>() + self.streams.len() * 8
    }
}

fn repeated(bytes: &[u8], wanted: u8) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        loop {
            match reader.next_field() {
                Ok(Some((number, Field::Bytes(content)))) if number == u32::from(wanted) => {
                    return Some(content);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    })
}
