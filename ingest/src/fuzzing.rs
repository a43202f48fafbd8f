//! Doors for the fuzz targets of `tests/fuzz`, behind the feature `fuzzing` and no part of the
//! crate's face: what requests go through, without a server around it.

use bytes::Bytes;
use model::{Encoding, TenantId, Wire};

use crate::{Decoded, Decoder, body};

/// Decompresses a body that may become `bytes_max` bytes; how many it became.
#[must_use]
pub fn decompressed_bytes(encoding: Encoding, wire: &Bytes, bytes_max: usize) -> Option<usize> {
    let plain = body::decompress(encoding, wire, bytes_max).ok()?;
    assert!(plain.len() <= bytes_max, "bug: a body has passed its cap");
    Some(plain.len())
}

/// Decodes a request's body as the listeners do, under `bytes_max`; the reason where it is none.
///
/// Errors: the text of the refusal.
pub fn decoded(decoder: &Decoder, wire: &Wire, bytes_max: usize) -> Result<Decoded, String> {
    let tenant = TenantId::default();
    decoder.decode_within(&tenant, wire, bytes_max).map_err(|error| error.to_string())
}

/// The message of a gRPC call and whether it is compressed; the reason where it is none.
///
/// Errors: the text of the refusal.
pub fn grpc_message(framed: Bytes) -> Result<(bool, Bytes), String> {
    crate::http::grpc::unframe(framed).map_err(|failure| failure.message)
}
