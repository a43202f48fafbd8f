//! Loki push: JSON (with the legacy form) and protobuf.
//!
//! A stream's labels are parsed once and then found by the hash of their text. Lines and structured
//! metadata are copied into one arena, the metadata in the form in which attributes are kept
//! everywhere. Levels are not detected here: that is the reader's work (`model::detected_level`).
//! As in Loki, an entry that is not taken leaves the others of the request be.
//! Source: Loki 3.7 `pkg/loghttp/push`, `pkg/logproto/push.proto`, `pkg/distributor/validator.go`.

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod json;
mod labels;
mod protobuf;
#[cfg(test)]
mod tests;
mod time;

use bytes::Bytes;
use model::wire::{put_bytes, put_message};
use model::{
    Batch, Labels, LogRow, LogsBatch, Oversize, Reason, Rejections, Slice, Stream, StreamParts,
};

use crate::checks::{TimeWindow, check_limits, cut_text};
use crate::decoder::{DecodeContext, DecodeError};
use crate::series_cache::{Refusal, mix};

/// Decodes a JSON push, of today's or of the legacy form.
///
/// Errors: Undecodable where the body is not such JSON.
pub(crate) fn decode_json(
    body: Bytes,
    ctx: &DecodeContext<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    let mut push = Push::new(ctx, body.len());
    match json::read(&body, &mut push) {
        Ok(()) => Ok(push.finish()),
        Err(error) => Err(DecodeError::Undecodable(format!("Loki push: {error}"))),
    }
}

/// Decodes a `logproto.PushRequest`.
///
/// Errors: Undecodable where the body is no such message.
pub(crate) fn decode_protobuf(
    body: Bytes,
    ctx: &DecodeContext<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    let mut push = Push::new(ctx, body.len());
    match protobuf::read(&body, &mut push) {
        Ok(()) => Ok(push.finish()),
        Err(error) => Err(DecodeError::Undecodable(format!("Loki push: {error}"))),
    }
}

/// Labels of which the first that is there names the service (Loki's default list).
const SERVICE_NAME_SOURCES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Sets the keys of pushed streams apart from those of OTLP ones.
const LOKI_STREAM: u128 = 0x6c6f_6b69_5f73_7472_6561_6d00_0000_0001;

/// The batch that a push becomes.
struct Push<'a> {
    ctx: &'a DecodeContext<'a>,
    window: TimeWindow,
    arena: Vec<u8>,
    streams: Vec<std::sync::Arc<Stream>>,
    rows: Vec<LogRow>,
    rejections: Rejections,
}

/// A row that is being read: where in the arena its parts began.
struct Entry {
    time_ns: i64,
    line_start: usize,
    line_end: usize,
    metadata_count: usize,
    problem: Option<Refusal>,
}

impl<'a> Push<'a> {
    fn new(ctx: &'a DecodeContext<'a>, body_bytes: usize) -> Push<'a> {
        Push {
            ctx,
            window: TimeWindow::of(ctx),
            arena: Vec::with_capacity(body_bytes),
            streams: Vec::new(),
            rows: Vec::new(),
            rejections: Rejections::default(),
        }
    }

    fn finish(self) -> (Batch, Rejections) {
        let batch =
            LogsBatch { arena: Bytes::from(self.arena), streams: self.streams, rows: self.rows };
        (Batch::Logs(batch), self.rejections)
    }

    /// Gives the rows from `first_row` on to the stream whose labels `parse` makes of a text that
    /// hashes to `text_hash`; without valid labels they are refused.
    fn close_stream(
        &mut self,
        first_row: usize,
        text_hash: u128,
        parse: impl FnOnce() -> Result<Labels, Refusal>,
    ) {
        let ctx = self.ctx;
        let rows = self.rows.get_mut(first_row..).unwrap_or_default();
        if rows.is_empty() {
            return;
        }
        let make = || {
            let labels = parse()?;
            check_limits(&labels, ctx.limits)?;
            let labels = with_service_name(labels);
            Ok(Stream::new(StreamParts { labels, ..StreamParts::default() }))
        };
        match ctx.streams.get_or_make(ctx.tenant, mix(LOKI_STREAM, text_hash), make) {
            Ok(stream) => {
                let index = self.streams.len() as u32;
                for row in rows {
                    row.stream = index;
                }
                self.streams.push(stream);
            }
            Err((reason, example)) => {
                let reason: Reason = reason;
                self.rejections.add(reason, rows.len() as u64, || example);
                self.rows.truncate(first_row);
            }
        }
    }

    /// Starts a row with its line.
    fn open_entry(&mut self, time_ns: i64, line: &[u8]) -> Entry {
        let line_start = self.arena.len();
        let mut problem = None;
        let limit = self.ctx.limits.line_bytes_max;
        let cuts = limit != 0 && self.ctx.limits.on_oversize == Oversize::Truncate;
        let line = if cuts { cut_text(line, limit) } else { line };
        if limit != 0 && line.len() > limit {
            let text = format!(
                "max entry size {limit} bytes exceeded by a line of {} bytes; limit \
                 limits.ingest.max_line_bytes={limit}",
                line.len()
            );
            problem = Some((Reason::LineTooLong, text));
        } else {
            match simdutf8::basic::from_utf8(line) {
                Ok(_) => self.arena.extend_from_slice(line),
                Err(_) => {
                    self.arena.extend_from_slice(String::from_utf8_lossy(line).as_bytes());
                }
            }
        }
        let line_end = self.arena.len();
        Entry { time_ns, line_start, line_end, metadata_count: 0, problem }
    }

    /// Adds a pair of structured metadata to the row that is open.
    fn metadata(&mut self, entry: &mut Entry, name: &[u8], value: &[u8]) {
        entry.metadata_count = entry.metadata_count.saturating_add(1);
        let limit = self.ctx.limits.attribute_bytes_max;
        if limit != 0 && value.len() > limit {
            let text = format!(
                "structured metadata has a value of {} bytes; limit \
                 limits.ingest.max_attribute_bytes={limit}",
                value.len()
            );
            entry.problem.get_or_insert((Reason::AttributeTooLong, text));
            return;
        }
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(value);
        put_message(&mut self.arena, 1, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_message(out, 2, |out| put_bytes(out, 1, value.as_bytes()));
        });
    }

    /// Ends a row: it stands in the batch, or is counted as refused.
    fn close_entry(&mut self, entry: Entry) {
        let limit = self.ctx.limits.attributes_max;
        let mut problem = entry.problem;
        if limit != 0 && entry.metadata_count > limit {
            let text = format!(
                "an entry has {} pairs of structured metadata; limit \
                 limits.ingest.max_attributes={limit}",
                entry.metadata_count
            );
            problem.get_or_insert((Reason::TooManyAttributes, text));
        }
        if let Some((reason, example)) = problem {
            self.rejections.add(reason, 1, || example);
            self.arena.truncate(entry.line_start);
            return;
        }
        let time_ms = model::ns_to_ms(entry.time_ns);
        if !self.window.takes(time_ms, &mut self.rejections, self.ctx.limits) {
            self.arena.truncate(entry.line_start);
            return;
        }
        let body = slice(entry.line_start, entry.line_end);
        let attributes = slice(entry.line_end, self.arena.len());
        let (Some(body), Some(attributes)) = (body, attributes) else {
            let text = || "a push unpacks to more than 4 GiB".to_owned();
            self.rejections.add(Reason::InvalidRecord, 1, text);
            self.arena.truncate(entry.line_start);
            return;
        };
        self.rows.push(LogRow {
            time_ns: entry.time_ns,
            body,
            attributes,
            attributes_field: 1,
            ..LogRow::default()
        });
    }
}

fn slice(start: usize, end: usize) -> Option<Slice> {
    let len = u32::try_from(end.checked_sub(start)?).ok()?;
    u32::try_from(end).ok()?;
    Some(Slice { start: u32::try_from(start).ok()?, len })
}

/// The labels with `service_name`, taken from the first label that can name a service.
fn with_service_name(labels: Labels) -> Labels {
    if labels.get("service_name").is_some() {
        return labels;
    }
    let service = SERVICE_NAME_SOURCES
        .iter()
        .find_map(|name| labels.get(name))
        .unwrap_or("unknown_service")
        .to_owned();
    let added = [("service_name", service.as_str())];
    Labels::from_pairs(labels.iter().chain(added))
}
