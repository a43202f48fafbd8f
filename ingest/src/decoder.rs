//! One decoder for requests and for replay: the same bytes always become the same batch.
//!
//! A body is decompressed by `body`, then handed to the one function of its protocol. Nothing here
//! or below asks for the time or for chance: times that a sender left out are the time of arrival
//! that the log keeps beside the bytes.

use bytes::Bytes;
use model::{Batch, Limits, Protocol, Rejections, Signal, TenantId, Wire};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::body::{self, DecompressError};
use crate::raw_cache::{STREAMS_MAX, StreamCache};
use crate::series_cache::SeriesCache;
use crate::{IngestOptions, TranslationOptions, loki, otlp, remote_write};

/// Turns bodies into batches. Holds the caches from raw bytes to series and streams, so one is
/// shared by all requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    decompressed_bytes_max: usize,
    series: SeriesCache,
    streams: StreamCache,
}

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
    /// A decoder with the default cap on decompressed bodies.
    #[must_use]
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            limits,
            decompressed_bytes_max: IngestOptions::default().decompressed_bytes_max,
            series: SeriesCache::default(),
            streams: StreamCache::new(STREAMS_MAX),
        }
    }

    /// The same decoder, with OTLP metrics translated by `options`.
    #[must_use]
    pub fn with_translation(self, options: TranslationOptions) -> Decoder {
        Decoder { series: SeriesCache::new(options), ..self }
    }

    /// Decompresses and decodes `wire`.
    ///
    /// Errors: Undecodable, TooBig.
    pub fn decode(&self, tenant: &TenantId, wire: &Wire) -> Result<Decoded, DecodeError> {
        self.decode_within(tenant, wire, self.decompressed_bytes_max)
    }

    /// The same with another cap on the decompressed body. Units: bytes.
    pub(crate) fn decode_within(
        &self,
        tenant: &TenantId,
        wire: &Wire,
        decompressed_bytes_max: usize,
    ) -> Result<Decoded, DecodeError> {
        let plain = body::decompress(wire.encoding, &wire.bytes, decompressed_bytes_max)?;
        if u32::try_from(plain.len()).is_err() {
            return Err(DecodeError::TooBig("body is larger than 4 GiB".to_owned()));
        }
        let body_hash = xxh3_128_with_seed(&plain, wire.protocol as u64);
        let ctx = DecodeContext {
            tenant,
            limits: &self.limits,
            received_ns: wire.received_ns,
            series: &self.series,
            streams: &self.streams,
        };
        let (batch, rejections) = decode_plain(wire.protocol, plain, &ctx)?;
        Ok(Decoded { batch, rejections, body_hash })
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
