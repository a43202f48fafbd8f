//! One decoder for requests and for replay: the same bytes always become the same batch.

use model::{Batch, Limits, Rejections, TenantId, Wire};

/// Turns bodies into batches. Holds the caches from raw bytes to series and streams, so one is
/// shared by all requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
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

/// What a protocol's decoder may look at beside the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeContext<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) limits: &'a Limits,
    pub(crate) received_ns: i64,
    pub(crate) series: &'a crate::series_cache::SeriesCache,
}

impl Decoder {
    #[must_use]
    pub fn new(limits: Limits) -> Decoder {
        Decoder { limits }
    }

    /// Decompresses and decodes `wire`.
    ///
    /// Errors: Undecodable, TooBig.
    pub fn decode(&self, _tenant: &TenantId, _wire: &Wire) -> Result<Decoded, DecodeError> {
        let _limits = &self.limits;
        Err(DecodeError::Undecodable("no protocol is spoken yet".to_owned()))
    }
}
