//! How many bytes of requests may be in memory at one time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit of the semaphore stands for.
const UNIT_BYTES: usize = 1 << 10;
/// How long a request waits for room before it is told to come back later.
const WAIT: Duration = Duration::from_secs(2);

/// A bound on the bytes, compressed and decompressed, of all requests being taken in.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// Room for some bytes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

/// There was no room within a bounded wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Gate {
    pub(crate) fn new(bytes_max: usize) -> Gate {
        let units_max = bytes_max.div_ceil(UNIT_BYTES).clamp(1, u32::MAX as usize);
        Gate { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Room for `bytes`. What is larger than the whole gate takes all of it, so that it passes alone.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Permit, Full> {
        let mut permit = Permit { gate: self.clone(), held: None, bytes: 0 };
        permit.grow_to(bytes).await?;
        Ok(permit)
    }

    /// Units: bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        self.units_max.saturating_sub(self.units.available_permits()).saturating_mul(UNIT_BYTES)
    }
}

impl Permit {
    /// Makes room for `bytes` in all.
    ///
    /// Errors: Full. What was held before is still held.
    pub(crate) async fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        let units = |bytes: usize| bytes.div_ceil(UNIT_BYTES).min(self.gate.units_max);
        let more = units(bytes).saturating_sub(units(self.bytes));
        if more > 0 {
            let count = u32::try_from(more).map_err(|_| Full)?;
            let wanted = Arc::clone(&self.gate.units).acquire_many_owned(count);
            let Ok(Ok(taken)) = tokio::time::timeout(WAIT, wanted).await else {
                return Err(Full);
            };
            match &mut self.held {
                Some(held) => held.merge(taken),
                None => self.held = Some(taken),
            }
        }
        self.bytes = self.bytes.max(bytes);
        Ok(())
    }
}
