mod conformance;
mod limits;
mod oracle;
mod random;

use bytes::Bytes;
use model::{Batch, Encoding, Limits, Protocol, TenantId, Wire};

use crate::{DecodeError, Decoded, Decoder};

/// A moment after every recorded time.
const RECEIVED_NS: i64 = 2_000_000_000 * model::NS_PER_S;

fn decode_with(
    decoder: &Decoder,
    protocol: Protocol,
    body: impl Into<Bytes>,
) -> Result<Decoded, DecodeError> {
    let wire = Wire {
        protocol,
        encoding: Encoding::Identity,
        bytes: body.into(),
        received_ns: RECEIVED_NS,
    };
    decoder.decode(&TenantId::default(), &wire)
}

fn decode(protocol: Protocol, body: impl Into<Bytes>) -> Result<Decoded, DecodeError> {
    decode_with(&Decoder::new(Limits::default()), protocol, body)
}

fn logs(decoded: &Decoded) -> &model::LogsBatch {
    let Batch::Logs(batch) = &decoded.batch else { panic!("no logs") };
    batch
}

fn spans(decoded: &Decoded) -> &model::SpansBatch {
    let Batch::Traces(batch) = &decoded.batch else { panic!("no spans") };
    batch
}
