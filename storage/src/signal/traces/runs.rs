//! The runs of a segment: spans of one service and name lie together, and there are few such pairs.
//!
//! The table answers services and operations, leads a scan to its rows, and saves reading the name.
//! The same form, cut off at a size, goes into the catalog as the segment's stats.

use bytes::Bytes;
use model::SpanKind;
use model::wire::{Reader, put_varint};

use crate::segment::SEGMENT_STATS_BYTES_MAX;

const VERSION: u64 = 1;

/// Spans of one service and one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Index into [`Runs::services`].
    pub(super) service: u32,
    pub(super) name: Box<str>,
    pub(super) rows: u64,
    /// A bit for each [`SpanKind`] that occurs.
    pub(super) kinds: u8,
    /// Closed range of starts. Units: ns.
    pub(super) start_min_ns: i64,
    pub(super) start_max_ns: i64,
}

/// All runs in the order of their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) services: Vec<Box<str>>,
    pub(super) list: Vec<Run>,
    /// Whether some were left out for want of room.
    pub(super) is_cut: bool,
}

impl Runs {
    /// Starts the next run.
    pub(super) fn begin(&mut self, service: &str, name: &str) {
        if self.services.last().is_none_or(|last| **last != *service) {
            self.services.push(service.into());
        }
        self.list.push(Run {
            service: self.services.len() as u32 - 1,
            name: name.into(),
            rows: 0,
            kinds: 0,
            start_min_ns: i64::MAX,
            start_max_ns: i64::MIN,
        });
    }

    /// Counts a row of the run that was begun last.
    #[inline]
    pub(super) fn count(&mut self, kind: u8, start_ns: i64) {
        if let Some(run) = self.list.last_mut() {
            run.rows += 1;
            run.kinds |= 1u8.checked_shl(u32::from(kind)).unwrap_or(0);
            run.start_min_ns = run.start_min_ns.min(start_ns);
            run.start_max_ns = run.start_max_ns.max(start_ns);
        }
    }

    pub(super) fn service(&self, run: &Run) -> &str {
        self.services.get(run.service as usize).map_or("", |service| service)
    }

    /// All of it, as the section holds it.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.encode_within(usize::MAX)
    }

    /// As much of it as the catalog takes.
    pub(super) fn stats(&self) -> Bytes {
        self.encode_within(SEGMENT_STATS_BYTES_MAX).into()
    }

    fn encode_within(&self, bytes_max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, VERSION);
        put_varint(&mut out, u64::from(self.is_cut));
        let is_cut_at = out.len() - 1;
        let mut service = None;
        for run in &self.list {
            let before = out.len();
            let is_new = service != Some(run.service);
            put_varint(&mut out, u64::from(is_new));
            if is_new {
                put_text(&mut out, self.service(run));
            }
            put_text(&mut out, &run.name);
            put_varint(&mut out, run.rows);
            put_varint(&mut out, u64::from(run.kinds));
            put_varint(&mut out, run.start_min_ns as u64);
            put_varint(&mut out, run.start_max_ns.wrapping_sub(run.start_min_ns) as u64);
            if out.len() > bytes_max {
                out.truncate(before);
                if let Some(is_cut) = out.get_mut(is_cut_at) {
                    *is_cut = 1;
                }
                break;
            }
            service = Some(run.service);
        }
        out
    }

    /// Reads what was encoded; nothing where the bytes are not of that form.
    pub(super) fn decode(bytes: &[u8]) -> Option<Runs> {
        let mut reader = Reader::new(bytes);
        let mut runs = Runs::default();
        if reader.varint().ok()? != VERSION {
            return None;
        }
        runs.is_cut = reader.varint().ok()? != 0;
        while !reader.is_empty() {
            if reader.varint().ok()? != 0 {
                runs.services.push(take_text(&mut reader, bytes)?.into());
            }
            let service = u32::try_from(runs.services.len().checked_sub(1)?).ok()?;
            let name = take_text(&mut reader, bytes)?.into();
            let rows = reader.varint().ok()?;
            let kinds = u8::try_from(reader.varint().ok()?).ok()?;
            let start_min_ns = reader.varint().ok()? as i64;
            let start_max_ns = start_min_ns.wrapping_add(reader.varint().ok()? as i64);
            runs.list.push(Run { service, name, rows, kinds, start_min_ns, start_max_ns });
        }
        Some(runs)
    }
}

impl Run {
    /// The kinds that occur.
    pub(super) fn kinds(&self) -> impl Iterator<Item = SpanKind> {
        let kinds = self.kinds;
        (0..=SpanKind::Consumer as u64)
            .filter(move |kind| kinds >> kind & 1 == 1)
            .map(SpanKind::from_number)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(reader: &mut Reader<'_>, bytes: &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(reader.varint().ok()?).ok()?;
    let start = reader.offset();
    reader.skip(length)?;
    std::str::from_utf8(bytes.get(start..start.checked_add(length)?)?).ok()
}
