//! How many bytes of requests may be in memory at one time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit of the semaphore stands for.
const UNIT_BYTES: usize = 1 << 10;
/// How long a request waits for room before it is told to come back later.
pub(super) const WAIT: Duration = Duration::from_secs(2);

/// A bound on the bytes, compressed and decompressed, of all requests being taken in.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    units: Arc<Semaphore>,
    units_max: usize,
    /// What one tenant may hold, and who holds; nothing where one may hold everything.
    shares: Option<Arc<Shares>>,
}

#[derive(Debug)]
struct Shares {
    units_max: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// Tenants whose share is remembered although they hold nothing.
const TENANTS_MAX: usize = 1000;

impl Shares {
    fn of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if tenants.len() >= TENANTS_MAX {
            tenants.retain(|_, units| Arc::strong_count(units) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.units_max));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(new))
    }
}

/// Room for some bytes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    share: Option<Arc<Semaphore>>,
    held: Option<OwnedSemaphorePermit>,
    of_share: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

/// There was no room within a bounded wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Gate {
    pub(crate) fn new(bytes_max: usize) -> Gate {
        let units_max = units_of(bytes_max);
        Gate { units: Arc::new(Semaphore::new(units_max)), units_max, shares: None }
    }

    /// The same gate, of which one tenant holds `bytes_max` at most.
    pub(crate) fn with_share(self, bytes_max: usize) -> Gate {
        let units_max = units_of(bytes_max);
        if units_max >= self.units_max {
            return self;
        }
        Gate { shares: Some(Arc::new(Shares { units_max, tenants: Mutex::default() })), ..self }
    }

    /// Room for `bytes`. What is larger than the whole gate takes all of it, so that it passes alone.
    pub(crate) async fn enter(&self, tenant: &TenantId, bytes: usize) -> Result<Permit, Full> {
        let share = self.shares.as_ref().map(|shares| shares.of(tenant));
        let mut permit = Permit { gate: self.clone(), share, held: None, of_share: None, bytes: 0 };
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
        let before = self.bytes;
        let more = |units_max: usize| {
            let units = |bytes: usize| bytes.div_ceil(UNIT_BYTES).min(units_max);
            units(bytes).saturating_sub(units(before))
        };
        if let (Some(share), Some(shares)) = (&self.share, &self.gate.shares) {
            take(share, more(shares.units_max), &mut self.of_share).await?;
        }
        take(&self.gate.units, more(self.gate.units_max), &mut self.held).await?;
        self.bytes = self.bytes.max(bytes);
        Ok(())
    }
}

fn units_of(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).clamp(1, u32::MAX as usize)
}

/// Adds `more` units to what is held, after a bounded wait for them.
async fn take(
    units: &Arc<Semaphore>,
    more: usize,
    held: &mut Option<OwnedSemaphorePermit>,
) -> Result<(), Full> {
    if more == 0 {
        return Ok(());
    }
    let count = u32::try_from(more).map_err(|_| Full)?;
    let wanted = Arc::clone(units).acquire_many_owned(count);
    let Ok(Ok(taken)) = tokio::time::timeout(WAIT, wanted).await else { return Err(Full) };
    match held {
        Some(held) => held.merge(taken),
        None => *held = Some(taken),
    }
    Ok(())
}
