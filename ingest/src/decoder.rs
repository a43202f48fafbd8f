//! One decoder for requests and for replay: the same bytes always become the same batch.
//!
//! A body is decompressed by `body`, then handed to the one function of its protocol. Nothing here
//! or below asks for the time or for chance: times that a sender left out are the time of arrival
//! that the log keeps beside the bytes.

use std::sync::Arc;

use bytes::Bytes;
use model::{Batch, Limits, Protocol, Rejections, Signal, TenantId, TenantLimits, Wire};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::body::{self, DecompressError};
use crate::raw_cache::{STREAMS_MAX, StreamCache};
use crate::series_cache::SeriesCache;
use crate::{TranslationOptions, loki, otlp, remote_write};

/// Turns bodies into batches. Holds the caches from raw bytes to series and streams, so one is
/// shared by all requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Arc<TenantLimits>,
    series: SeriesCache,
    streams: StreamCache,
}

/// Slices of an arena count in `u32`.
const ARENA_BYTES_MAX: usize = u32::MAX as usize;

/// What every protocol's `decode` is given beside the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeContext<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) limits: &'a Limits,
    /// Stands in for times that the sender left out. Units: ns.
    pub(crate) received_ns: i64,
    pub(crate) series: &'a SeriesCache,
    pub(crate) streams: &'a StreamCache,
}

/// A body, decoded.
#[derive(Debug)]
pub struct Decoded {
    pub batch: Batch,
    /// Records left out of the batch, and why.
    pub rejections: Rejections,
    /// See [`crate::Accepted::body_hash`].
    pub body_hash: u128,
    /// Of the decompressed body.
    pub plain_bytes: usize,
}

/// Why a body is no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Undecodable(String),
    #[error("{0}")]
    TooBig(String),
}

impl From<DecompressError> for DecodeError {
    fn from(error: DecompressError) -> Self {
        match error {
            DecompressError::Broken { .. } => DecodeError::Undecodable(error.to_string()),
            DecompressError::TooBig { .. } => DecodeError::TooBig(error.to_string()),
        }
    }
}

impl From<model::wire::WireError> for DecodeError {
    fn from(error: model::wire::WireError) -> Self {
        DecodeError::Undecodable(error.to_string())
    }
}

impl Decoder {
    /// A decoder that judges records by `limits`.
    #[must_use]
    pub fn new(limits: impl Into<TenantLimits>) -> Decoder {
        Decoder::of(Arc::new(limits.into()))
    }

    /// A decoder that judges each tenant's records by its limits.
    #[must_use]
    pub fn of(limits: Arc<TenantLimits>) -> Decoder {
        Decoder { limits, series: SeriesCache::default(), streams: StreamCache::new(STREAMS_MAX) }
    }

    /// The same decoder, with OTLP metrics translated by `options`.
    #[must_use]
    pub fn with_translation(self, options: TranslationOptions) -> Decoder {
        Decoder { series: SeriesCache::new(options), ..self }
    }

    /// A tenant's limits, as this decoder knows them.
    #[must_use]
    pub fn limits(&self, tenant: &TenantId) -> &Limits {
        self.limits.of(tenant)
    }

    /// Decompresses and decodes `wire`, which was accepted once and comes from the log: the cap on
    /// decompressed bodies may have been larger then, so that only the arena's own size counts here.
    ///
    /// Errors: Undecodable, TooBig.
    pub fn decode(&self, tenant: &TenantId, wire: &Wire) -> Result<Decoded, DecodeError> {
        self.decode_within(tenant, wire, ARENA_BYTES_MAX)
    }

    /// The same for bytes from the network, with the cap that they are under. Units: bytes.
    pub(crate) fn decode_within(
        &self,
        tenant: &TenantId,
        wire: &Wire,
        decompressed_bytes_max: usize,
    ) -> Result<Decoded, DecodeError> {
        let plain = body::decompress(wire.encoding, &wire.bytes, decompressed_bytes_max)?;
        if plain.len() > ARENA_BYTES_MAX {
            return Err(DecodeError::TooBig("body is larger than 4 GiB".to_owned()));
        }
        let plain_bytes = plain.len();
        let body_hash = xxh3_128_with_seed(&plain, wire.protocol as u64);
        let ctx = DecodeContext {
            tenant,
            limits: self.limits.of(tenant),
            received_ns: wire.received_ns,
            series: &self.series,
            streams: &self.streams,
        };
        let (batch, rejections) = decode_plain(wire.protocol, plain, &ctx)?;
        Ok(Decoded { batch, rejections, body_hash, plain_bytes })
    }
}

/// The table of protocols: JSON of OTLP becomes its protobuf first, so that both mean the same.
fn decode_plain(
    protocol: Protocol,
    body: Bytes,
    ctx: &DecodeContext<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    match protocol {
        Protocol::OtlpLogsProtobuf => otlp::logs::decode(body, ctx),
        Protocol::OtlpLogsJson => {
            otlp::logs::decode(otlp::json::to_protobuf(Signal::Logs, &body)?, ctx)
        }
        Protocol::OtlpTracesProtobuf => otlp::traces::decode(body, ctx),
        Protocol::OtlpTracesJson => {
            otlp::traces::decode(otlp::json::to_protobuf(Signal::Traces, &body)?, ctx)
        }
        Protocol::OtlpMetricsProtobuf => otlp::metrics::decode(body, ctx),
        Protocol::OtlpMetricsJson => {
            otlp::metrics::decode(otlp::json::to_protobuf(Signal::Metrics, &body)?, ctx)
        }
        Protocol::RemoteWrite1 => remote_write::decode(body, ctx),
        Protocol::LokiPushJson => loki::decode_json(body, ctx),
        Protocol::LokiPushProtobuf => loki::decode_protobuf(body, ctx),
    }
}
