//! What export requests of logs and traces have in common: resources, scopes, records.
//!
//! `Export*ServiceRequest` repeats (1) a message per resource: resource (1), messages per scope (2),
//! schema URL (3); a message per scope: scope (1), records (2), schema URL (3). Fields come in any
//! order (the Collector writes them backwards), so each level's own fields are found first.
//! Source: opentelemetry-proto `logs/v1/logs.proto`, `trace/v1/trace.proto`.

use std::sync::Arc;

use model::wire::{Field, Reader, put_bytes};
use model::{AttributesRef, Batch, Labels, Rejections, Scope, Signal, Stream, StreamParts};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::labels;
use super::values::{Caps, Fault, Refusal, check_text, wrong_type};
use crate::DecodeError;
use crate::decoder::DecodeContext;

/// Resources and scopes that are larger are made anew each time: what the cache may hold stays
/// bounded in bytes too. Units: bytes of both messages.
const CACHED_BYTES_MAX: usize = 4 << 10;

/// What a record's decoder sees beside the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordContext<'a> {
    pub(super) arena: &'a [u8],
    pub(super) caps: &'a Caps,
    /// Index of the record's stream.
    pub(super) stream: u32,
    pub(super) received_ns: i64,
}

/// Streams and rows of one request.
#[derive(Debug)]
pub(super) struct Records<R> {
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) rows: Vec<R>,
    pub(super) rejections: Rejections,
}

/// Walks a request; `record` makes a row of each record.
pub(super) fn decode<R>(
    body: &[u8],
    ctx: &DecodeContext<'_>,
    signal: Signal,
    record: impl Fn(&[u8], &RecordContext<'_>) -> Result<R, Fault> + Copy,
) -> Result<Records<R>, DecodeError> {
    let caps = Caps::new(ctx);
    let mut walk = Walk {
        arena: body,
        ctx,
        caps: &caps,
        signal,
        streams: Vec::new(),
        rows: Vec::new(),
        rejections: Rejections::default(),
    };
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(message)) => walk.resource(message, record)?,
            (1, _) => return Err(DecodeError::Undecodable("this is no OTLP request".to_owned())),
            _ => {}
        }
    }
    let Walk { streams, rows, rejections, .. } = walk;
    Ok(Records { streams, rows, rejections })
}

struct Walk<'a, R> {
    arena: &'a [u8],
    ctx: &'a DecodeContext<'a>,
    caps: &'a Caps,
    signal: Signal,
    streams: Vec<Arc<Stream>>,
    rows: Vec<R>,
    rejections: Rejections,
}

/// A message of either level, taken apart: its head (resource or scope), its schema URL, and how
/// many messages it repeats.
#[derive(Debug, Clone, Copy, Default)]
struct Level<'a> {
    head: &'a [u8],
    schema_url: &'a [u8],
    count: usize,
}

impl<'a> Level<'a> {
    fn read(message: &'a [u8]) -> Result<Level<'a>, DecodeError> {
        let mut level = Level::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(head)) => level.head = head,
                (2, Field::Bytes(_)) => level.count = level.count.saturating_add(1),
                (3, Field::Bytes(url)) => level.schema_url = url,
                (1..=3, _) => return Err(to_error(wrong_type(&reader))),
                _ => {}
            }
        }
        Ok(level)
    }

    fn hash(&self) -> u128 {
        xxh3_128(self.head) ^ u128::from(xxh3_64(self.schema_url)).rotate_left(64)
    }
}

impl<R> Walk<'_, R> {
    fn resource(
        &mut self,
        message: &[u8],
        record: impl Fn(&[u8], &RecordContext<'_>) -> Result<R, Fault> + Copy,
    ) -> Result<(), DecodeError> {
        let resource = Level::read(message)?;
        let resource_hash = resource.hash();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            let (2, Field::Bytes(message)) = (number, field) else { continue };
            let scope = Level::read(message)?;
            if scope.count == 0 {
                continue;
            }
            match self.stream(&resource, resource_hash, &scope) {
                Ok(stream) => {
                    self.streams.push(stream);
                    self.rows.reserve(scope.count);
                    self.records(message, record)?;
                }
                Err(Fault::Refused(refusal)) => self.refuse(refusal, scope.count),
                Err(broken) => return Err(to_error(broken)),
            }
        }
        Ok(())
    }

    fn records(
        &mut self,
        scope: &[u8],
        record: impl Fn(&[u8], &RecordContext<'_>) -> Result<R, Fault>,
    ) -> Result<(), DecodeError> {
        let ctx = RecordContext {
            arena: self.arena,
            caps: self.caps,
            stream: self.streams.len().saturating_sub(1) as u32,
            received_ns: self.ctx.received_ns,
        };
        let kept_before = self.rows.len();
        let mut reader = Reader::new(scope);
        while let Some((number, field)) = reader.next_field()? {
            let (2, Field::Bytes(message)) = (number, field) else { continue };
            match record(message, &ctx) {
                Ok(row) => self.rows.push(row),
                Err(Fault::Refused(refusal)) => self.refuse(refusal, 1),
                Err(broken) => return Err(to_error(broken)),
            }
        }
        // A stream of which nothing was kept is not handed on.
        if self.rows.len() == kept_before {
            self.streams.pop();
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal, count: usize) {
        self.rejections.add(refusal.reason, count as u64, || refusal.example());
    }

    fn stream(
        &self,
        resource: &Level<'_>,
        resource_hash: u128,
        scope: &Level<'_>,
    ) -> Result<Arc<Stream>, Fault> {
        if resource.head.len().saturating_add(scope.head.len()) > CACHED_BYTES_MAX {
            return make_stream(resource, scope, self.signal, self.caps);
        }
        let mut key = [0; 33];
        key[..16].copy_from_slice(&resource_hash.to_le_bytes());
        key[16..32].copy_from_slice(&scope.hash().to_le_bytes());
        key[32] = self.signal as u8;
        self.ctx.streams.get_or_make(self.ctx.tenant, xxh3_128(&key), || {
            make_stream(resource, scope, self.signal, self.caps)
        })
    }
}

fn make_stream(
    resource: &Level<'_>,
    scope: &Level<'_>,
    signal: Signal,
    caps: &Caps,
) -> Result<Arc<Stream>, Fault> {
    check_text(resource.schema_url)?;
    check_text(scope.schema_url)?;
    let (attributes, resource_dropped_attributes_count) = read_resource(resource.head, caps)?;
    let labels = match signal {
        Signal::Logs => labels::of_resource(AttributesRef::list(&attributes), caps)?,
        Signal::Metrics | Signal::Traces => Labels::default(),
    };
    let mut scope_read = read_scope(scope.head, caps)?;
    scope_read.schema_url = text(scope.schema_url);
    Ok(Stream::new(StreamParts {
        labels,
        resource: attributes.into_boxed_slice(),
        resource_schema_url: text(resource.schema_url),
        resource_dropped_attributes_count,
        scope: scope_read,
    }))
}

/// Attributes as a `KeyValueList`, and the dropped count.
fn read_resource(message: &[u8], caps: &Caps) -> Result<(Vec<u8>, u32), Fault> {
    let mut attributes = Vec::new();
    let mut count = 0usize;
    let mut dropped = 0;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(key_value)) => {
                caps.check_attribute(key_value)?;
                put_bytes(&mut attributes, 1, key_value);
                count = count.saturating_add(1);
            }
            (2, Field::Varint(number)) => dropped = number as u32,
            (1 | 2, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    caps.check_attribute_count(count)?;
    Ok((attributes, dropped))
}

fn read_scope(message: &[u8], caps: &Caps) -> Result<Scope, Fault> {
    let mut scope = Scope::default();
    let mut attributes = Vec::new();
    let mut count = 0usize;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(name)) => {
                check_text(name)?;
                scope.name = text(name);
            }
            (2, Field::Bytes(version)) => {
                check_text(version)?;
                scope.version = text(version);
            }
            (3, Field::Bytes(key_value)) => {
                caps.check_attribute(key_value)?;
                put_bytes(&mut attributes, 1, key_value);
                count = count.saturating_add(1);
            }
            (4, Field::Varint(number)) => scope.dropped_attributes_count = number as u32,
            (1..=4, _) => return Err(wrong_type(&reader)),
            _ => {}
        }
    }
    caps.check_attribute_count(count)?;
    scope.attributes = attributes.into_boxed_slice();
    Ok(scope)
}

/// Text that has been checked.
fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

fn to_error(fault: Fault) -> DecodeError {
    match fault {
        Fault::Broken(error) => error.into(),
        Fault::Refused(refusal) => DecodeError::Undecodable(refusal.example()),
    }
}

/// Gives back memory that the rows did not need, since a batch lives as long as its memtable.
pub(super) fn fit<R>(rows: &mut Vec<R>) {
    if rows.capacity() > rows.len().saturating_add(rows.len() / 4) {
        rows.shrink_to_fit();
    }
}

/// The pair that every protocol's `decode` returns.
pub(super) type DecodedBatch = (Batch, Rejections);
