//! What log records and spans have in common with their neighbours: resource and scope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use crate::wire::put_varint;
use crate::{AttributesRef, Labels};

/// The xxh3-128 of everything that [`Stream::new`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u128);

/// A slot that a memtable writes into a shared series or stream, so that the next batch finds its
/// place without a map. It is a hint: the reader checks that the slot holds what it thinks it does.
#[derive(Debug, Default)]
pub struct Hint(AtomicU64);

impl Hint {
    /// The slot, if it was written for `generation` (never 0).
    #[must_use]
    pub fn get(&self, generation: u32) -> Option<u32> {
        let packed = self.0.load(Ordering::Relaxed);
        ((packed >> 32) as u32 == generation).then_some(packed as u32)
    }

    pub fn set(&self, generation: u32, slot: u32) {
        self.0.store(u64::from(generation) << 32 | u64::from(slot), Ordering::Relaxed);
    }
}

/// An instrumentation scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    pub name: Box<str>,
    pub version: Box<str>,
    /// A `KeyValueList`.
    pub attributes: Box<[u8]>,
    pub schema_url: Box<str>,
    pub dropped_attributes_count: u32,
}

/// The source of log records or spans: stored once, not with every row.
#[derive(Debug)]
pub struct Stream {
    pub id: StreamId,
    /// Loki's index labels: the ones pushed, or those made of the resource (api.md 10.5). Holds
    /// `service_name` always. Empty for spans.
    pub labels: Labels,
    /// The resource's attributes as a `KeyValueList`; empty for a Loki push.
    pub resource: Box<[u8]>,
    pub resource_schema_url: Box<str>,
    pub resource_dropped_attributes_count: u32,
    pub scope: Scope,
    pub hint: Hint,
}

/// What a [`Stream`] is made of.
#[derive(Debug, Default)]
pub struct StreamParts {
    pub labels: Labels,
    pub resource: Box<[u8]>,
    pub resource_schema_url: Box<str>,
    pub resource_dropped_attributes_count: u32,
    pub scope: Scope,
}

impl Stream {
    #[must_use]
    pub fn new(parts: StreamParts) -> Arc<Stream> {
        let id = StreamId(xxh3_128(&parts.encode()));
        let StreamParts {
            labels,
            resource,
            resource_schema_url,
            resource_dropped_attributes_count,
            scope,
        } = parts;
        Arc::new(Stream {
            id,
            labels,
            resource,
            resource_schema_url,
            resource_dropped_attributes_count,
            scope,
            hint: Hint::default(),
        })
    }

    /// The resource's attributes.
    #[must_use]
    pub fn resource(&self) -> AttributesRef<'_> {
        AttributesRef::list(&self.resource)
    }

    /// The scope's attributes.
    #[must_use]
    pub fn scope_attributes(&self) -> AttributesRef<'_> {
        AttributesRef::list(&self.scope.attributes)
    }

    /// `service.name` of the resource, else the label `service_name`, else the empty string.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource()
            .get("service.name")
            .and_then(crate::Value::as_str)
            .or_else(|| self.labels.get("service_name"))
            .unwrap_or("")
    }

    /// The parts again, for writing them into a segment.
    #[must_use]
    pub fn parts(&self) -> StreamParts {
        StreamParts {
            labels: self.labels.clone(),
            resource: self.resource.clone(),
            resource_schema_url: self.resource_schema_url.clone(),
            resource_dropped_attributes_count: self.resource_dropped_attributes_count,
            scope: self.scope.clone(),
        }
    }
}

impl StreamParts {
    /// Stored form, written down in `storage/FORMAT.md` ("stream"): each part as `varint(len) bytes`
    /// in the order labels, resource, resource schema URL, scope name, scope version, scope
    /// attributes, scope schema URL, then both dropped counts as varints.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parts: [&[u8]; 7] = [
            self.labels.as_bytes(),
            &self.resource,
            self.resource_schema_url.as_bytes(),
            self.scope.name.as_bytes(),
            self.scope.version.as_bytes(),
            &self.scope.attributes,
            self.scope.schema_url.as_bytes(),
        ];
        let mut out =
            Vec::with_capacity(parts.iter().map(|part| part.len() + 2).sum::<usize>() + 2);
        for part in parts {
            put_varint(&mut out, part.len() as u64);
            out.extend_from_slice(part);
        }
        put_varint(&mut out, u64::from(self.resource_dropped_attributes_count));
        put_varint(&mut out, u64::from(self.scope.dropped_attributes_count));
        out
    }

    /// Reads what [`StreamParts::encode`] wrote; nothing where the bytes are not of that form.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<StreamParts> {
        let mut reader = crate::wire::Reader::new(bytes);
        let mut part = || -> Option<&[u8]> {
            let length = usize::try_from(reader.varint().ok()?).ok()?;
            let start = reader.offset();
            let part = bytes.get(start..start.checked_add(length)?)?;
            reader.skip(length)?;
            Some(part)
        };
        let text = |bytes: &[u8]| Some(Box::<str>::from(std::str::from_utf8(bytes).ok()?));
        let labels = Labels::from_canonical(part()?.into());
        let resource = part()?.into();
        let resource_schema_url = text(part()?)?;
        let name = text(part()?)?;
        let version = text(part()?)?;
        let attributes = part()?.into();
        let schema_url = text(part()?)?;
        let resource_dropped_attributes_count = u32::try_from(reader.varint().ok()?).ok()?;
        let dropped_attributes_count = u32::try_from(reader.varint().ok()?).ok()?;
        Some(StreamParts {
            labels,
            resource,
            resource_schema_url,
            resource_dropped_attributes_count,
            scope: Scope { name, version, attributes, schema_url, dropped_attributes_count },
        })
    }
}
