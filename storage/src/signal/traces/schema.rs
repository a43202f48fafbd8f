//! What a segment of traces holds. Format: FORMAT.md, "Trace segment".
//!
//! Three files: `parquet` has a row for each span, sorted by (service, span name, start);
//! `traces.parquet` has the trace IDs, in the order in which the traces begin, and a span names its
//! trace by its row there; `index` leads from IDs to blocks. A column that no span needs is left out.

use crate::columns::{ColumnSpec, Kind};

/// Rows of a block: what a lookup decodes for one span. Smaller blocks cost page headers, larger
/// ones time. Units: rows.
pub(super) const BLOCK_ROWS: usize = 1024;
/// Rows of a row group. Units: rows.
pub(super) const ROW_GROUP_ROWS: usize = 128 * BLOCK_ROWS;
/// Trace IDs of a page of `traces.parquet`. Units: rows.
pub(super) const TRACE_BLOCK_ROWS: usize = 1024;

/// File name extensions, in the order of the files.
pub(super) const EXTENSIONS: [&str; 3] = ["parquet", "traces.parquet", "index"];
/// The only column of `traces.parquet`.
pub(super) const TRACE_ID: &str = "trace_id";

/// Section of the stream table in the main file.
pub(super) const STREAMS_SECTION: &str = "streams";
/// Section of the table of runs.
pub(super) const RUNS_SECTION: &str = "runs";
/// Section of the blocks' first and last start.
pub(super) const TIMES_SECTION: &str = "times";

/// The columns of the main file beside attributes, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Service,
    Name,
    /// Number in the stream table.
    Stream,
    Kind,
    /// Absent when no status was sent.
    Status,
    StatusMessage,
    StartNs,
    /// End less start, wrapping.
    DurationNs,
    /// Row in `traces.parquet`.
    Trace,
    SpanId,
    /// Row of the parent, when it is in this segment.
    Parent,
    /// ID of the parent, when it is not.
    ParentSpanId,
    TraceState,
    Flags,
    DroppedAttributesCount,
    DroppedEventsCount,
    DroppedLinksCount,
    /// A message whose field 1 repeats `Span.Event`.
    Events,
    /// A message whose field 1 repeats `Span.Link`.
    Links,
}

impl Column {
    pub(super) const ALL: [Column; 19] = [
        Column::Service,
        Column::Name,
        Column::Stream,
        Column::Kind,
        Column::Status,
        Column::StatusMessage,
        Column::StartNs,
        Column::DurationNs,
        Column::Trace,
        Column::SpanId,
        Column::Parent,
        Column::ParentSpanId,
        Column::TraceState,
        Column::Flags,
        Column::DroppedAttributesCount,
        Column::DroppedEventsCount,
        Column::DroppedLinksCount,
        Column::Events,
        Column::Links,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Column::Service => "service",
            Column::Name => "name",
            Column::Stream => "stream",
            Column::Kind => "kind",
            Column::Status => "status",
            Column::StatusMessage => "status_message",
            Column::StartNs => "start_ns",
            Column::DurationNs => "duration_ns",
            Column::Trace => "trace",
            Column::SpanId => "span_id",
            Column::Parent => "parent",
            Column::ParentSpanId => "parent_span_id",
            Column::TraceState => "trace_state",
            Column::Flags => "flags",
            Column::DroppedAttributesCount => "dropped_attributes_count",
            Column::DroppedEventsCount => "dropped_events_count",
            Column::DroppedLinksCount => "dropped_links_count",
            Column::Events => "events",
            Column::Links => "links",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Column::Service | Column::Name | Column::StatusMessage | Column::TraceState => {
                Kind::Text
            }
            Column::SpanId | Column::ParentSpanId => Kind::Fixed(8),
            Column::Events | Column::Links => Kind::Bytes,
            _ => Kind::Int,
        }
    }

    pub(super) fn is_optional(self) -> bool {
        !matches!(
            self,
            Column::Service
                | Column::Name
                | Column::Stream
                | Column::Kind
                | Column::StartNs
                | Column::DurationNs
                | Column::Trace
                | Column::SpanId
        )
    }

    pub(super) fn spec(self) -> ColumnSpec {
        ColumnSpec { name: self.name().to_owned(), kind: self.kind(), optional: self.is_optional() }
    }
}

/// Which columns a segment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u32);

impl Present {
    /// The required ones alone.
    pub(super) fn required() -> Present {
        let required = Column::ALL.into_iter().filter(|column| !column.is_optional());
        Present(required.fold(0, |bits, column| bits | 1 << column as u32))
    }

    #[inline]
    pub(super) fn add_if(&mut self, column: Column, is_needed: bool) {
        self.0 |= u32::from(is_needed) << column as u32;
    }

    pub(super) fn has(self, column: Column) -> bool {
        self.0 >> column as u32 & 1 == 1
    }
}
