//! Collecting a body from the network.

use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use model::TenantId;

use super::gate::{Gate, Permit, WAIT};

/// Of a body that is not taken as much is read and dropped as a body may have, and this. Units: bytes.
const DRAINED_MIN: usize = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// What we may add to a client's time: a wait for room, and the reading of a rest that is refused.
const OWN_TIME: Duration = WAIT.saturating_add(DRAIN_TIME);

/// Why a body was not received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadError {
    TooBig,
    /// No room in the gate.
    Full,
    /// It did not arrive in time.
    Late,
    /// The connection broke.
    Broken(String),
}

/// Receives a whole body of at most `bytes_max` bytes, and the room that it takes in `gate`. A client
/// that takes longer than `deadline` is ended where the body comes from; here the wait as a whole is.
pub(crate) async fn collect(
    body: Body,
    gate: &Gate,
    tenant: &TenantId,
    bytes_max: usize,
    deadline: Duration,
) -> Result<(Bytes, Permit), ReadError> {
    let collected = collect_in_time(body, gate, tenant, bytes_max);
    match tokio::time::timeout(deadline.saturating_add(OWN_TIME), collected).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(ReadError::Late),
    }
}

async fn collect_in_time(
    mut body: Body,
    gate: &Gate,
    tenant: &TenantId,
    bytes_max: usize,
) -> Result<(Bytes, Permit), ReadError> {
    let hint = body.size_hint();
    let declared = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        drain(body, bytes_max).await;
        return Err(ReadError::TooBig);
    }
    let Ok(mut permit) = gate.enter(tenant, declared).await else {
        drain(body, bytes_max).await;
        return Err(ReadError::Full);
    };
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Broken(error.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        let length = first.len().saturating_add(rest.as_ref().map_or(0, BytesMut::len));
        let total = length.saturating_add(chunk.remaining());
        if total > bytes_max {
            drop((first, rest, chunk, permit));
            drain(body, bytes_max).await;
            return Err(ReadError::TooBig);
        }
        if permit.grow_to(total).await.is_err() {
            drop((first, rest, chunk, permit));
            drain(body, bytes_max).await;
            return Err(ReadError::Full);
        }
        if length == 0 {
            first = chunk;
            continue;
        }
        let rest = rest.get_or_insert_with(|| {
            let mut joined = BytesMut::with_capacity(declared.max(total));
            joined.extend_from_slice(&first);
            first = Bytes::new();
            joined
        });
        rest.extend_from_slice(&chunk);
    }
    Ok((rest.map_or(first, BytesMut::freeze), permit))
}

/// Takes the rest of a body that is refused off the connection and drops it, within bounds: a
/// client that is cut off while it still sends may never see the answer, and try again at once.
pub(crate) async fn drain(mut body: Body, bytes_max: usize) {
    let drain = async {
        let mut left = bytes_max.saturating_add(DRAINED_MIN);
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else { return };
            left = less;
        }
    };
    // Whether it came to its end or not, the answer is the same.
    let _drained = tokio::time::timeout(DRAIN_TIME, drain).await;
}
