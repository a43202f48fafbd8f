//! Memtables into segments: freeze, encode, upload, commit, swap, truncate.
//!
//! Each step may fail and be tried again from there; the frozen memtables stay readable and the log
//! keeps their entries until the commit is durable. A memtable that a bug keeps from becoming a
//! segment is set aside after some tries: it stays readable and in the log, and holds up nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalog::Change;
use crate::store::core::{Counters, Origin, Output, Uploaded};
use crate::store::engine::SignalEngine;
use crate::store::shard::{Shard, Slot, Stage, Tenant};
use crate::wal::Watermark;
use crate::{FaultPoint, StorageError};

/// How often the age of memtables is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Memtables that are crowded are flushed early, but not more often than this. Units: ns.
const CROWDED_NS: u64 = 10_000_000_000;
/// The pause after a failed flush grows up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// So many panics over a memtable, and it is set aside.
const PANICS_MAX: u32 = 3;

/// A tenant and the memtable taken from it.
type Part<E> = (Arc<Tenant<E>>, Arc<Slot<E>>);

/// Memtables of all tenants, frozen at one moment.
pub(super) struct Frozen<E: SignalEngine> {
    parts: Mutex<Vec<Part<E>>>,
    watermark: Mutex<Watermark>,
    nonce: u64,
    /// Set once the segments are in the object store, so that a failed commit is repeated with the
    /// same ones.
    uploaded: Mutex<Option<Uploaded>>,
}

impl<E: SignalEngine> Shard<E> {
    /// Writes everything that was applied before the call into segments.
    ///
    /// Errors: those of encoding and of the object store. What is not written stays in memory and in
    /// the log.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), StorageError> {
        let _alone = self.flushing.lock().await;
        self.freeze();
        while self.flush_oldest().await? {}
        Ok(())
    }

    /// Writes the oldest memtables until the signal's take no more than `bytes`.
    ///
    /// Errors: as [`Shard::flush`].
    pub(super) async fn relieve(self: &Arc<Self>, bytes: u64) -> Result<(), StorageError> {
        let _alone = self.flushing.lock().await;
        while self.memory() > bytes {
            if self.frozen.lock().is_empty() {
                self.freeze();
            }
            if !self.flush_oldest().await? {
                break;
            }
        }
        Ok(())
    }

    /// Writes the oldest frozen memtables; false where there are none.
    async fn flush_oldest(self: &Arc<Self>) -> Result<bool, StorageError> {
        let Some(frozen) = self.frozen.lock().front().cloned() else { return Ok(false) };
        if let Err(error) = self.flush_frozen(&frozen).await {
            Counters::add(&self.core.counters.flush_failures, 1);
            return Err(error);
        }
        self.frozen.lock().pop_front();
        Counters::add(&self.core.counters.flushes, 1);
        Ok(true)
    }

    /// Puts new memtables in place of those that hold something.
    pub(super) fn freeze(&self) {
        let closed = self.gate.write();
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        let mut parts = Vec::new();
        for tenant in tenants {
            let mut view = tenant.view.lock();
            if view.active.appends.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let generation = self.core.generation();
            let next = Slot::new(E::successor(&view.active.memtable, generation));
            let full = std::mem::replace(&mut view.active, next);
            view.flushing.push(Arc::clone(&full));
            drop(view);
            parts.push((tenant, full));
        }
        if parts.is_empty() {
            return;
        }
        let (parts, watermark) = (Mutex::new(parts), Mutex::new(self.wal.watermark()));
        self.wal.roll();
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        self.active_memory.store(0, Ordering::Relaxed);
        self.oldest_ns.store(0, Ordering::Relaxed);
        self.is_crowded.store(false, Ordering::Relaxed);
        self.frozen_ns.store(self.core.components.clock.monotonic_ns(), Ordering::Relaxed);
        let nonce = self.core.components.random.next_u64();
        let frozen = Frozen { parts, watermark, nonce, uploaded: Mutex::default() };
        // Before the gate opens: replay freezes as well, and a later watermark must not come first.
        self.frozen.lock().push_back(Arc::new(frozen));
        drop(closed);
    }

    async fn flush_frozen(self: &Arc<Self>, frozen: &Frozen<E>) -> Result<(), StorageError> {
        let ready = frozen.uploaded.lock().clone();
        let uploaded = match ready {
            Some(uploaded) => uploaded,
            None => {
                // Before the sidecars: where the catalog is lost, a flush counts as soon as they are whole.
                self.save_recent().await?;
                let uploaded = self.encode_and_upload(frozen).await?;
                *frozen.uploaded.lock() = Some(uploaded.clone());
                uploaded
            }
        };
        let change = Change {
            nonce: frozen.nonce,
            added: uploaded.metas.clone(),
            removed: Vec::new(),
            wal: Some((E::SIGNAL, frozen.watermark.lock().clone())),
        };
        if !self.core.catalog.commit(change).await?.is_empty() {
            self.core.views_stale.store(true, Ordering::Relaxed);
        }
        self.swap_in(frozen, &uploaded);
        self.core.uploaded(&uploaded.metas);
        let watermark = frozen.watermark.lock().clone();
        self.truncate(&watermark, false).await;
        Ok(())
    }

    /// Writes the hashes by which retries are recognised, before segments stand for the log's own
    /// entries, which are worthless for that from then on.
    ///
    /// Errors: Io. The flush has to come again then.
    async fn save_recent(self: &Arc<Self>) -> Result<(), StorageError> {
        let shard = Arc::clone(self);
        let save = move || {
            let files = shard.core.components.files.as_ref();
            let saved = shard.dedup.save(files, shard.core.moment());
            saved.map_err(|error| StorageError::io("recent request hashes", error))
        };
        self.core.components.threads.blocking(save).await
    }

    async fn encode_and_upload(
        self: &Arc<Self>,
        frozen: &Frozen<E>,
    ) -> Result<Uploaded, StorageError> {
        let mut outputs = Vec::new();
        let parts = frozen.parts.lock().clone();
        for (tenant, slot) in parts {
            let ctx = self.core.encode_context(0, &tenant.id);
            let memtable = Arc::clone(&slot.memtable);
            let faults = Arc::clone(&self.core.components.faults);
            let encode = move || {
                faults.meet(FaultPoint::Flush);
                E::encode(&memtable, &ctx)
            };
            let segments = match self.core.flush_pool.run(encode).await {
                Ok(encoded) => encoded?,
                Err(panic) => {
                    if slot.panics.fetch_add(1, Ordering::Relaxed) + 1 < PANICS_MAX {
                        return Err(panic);
                    }
                    self.keep_unwritten(frozen, &tenant, &slot);
                    continue;
                }
            };
            outputs.push(Output {
                tenant: tenant.id.clone(),
                received_max_ns: slot.received_max_ns.load(Ordering::Relaxed),
                segments,
            });
        }
        let from = Some(self.core.catalog.watermark(E::SIGNAL));
        let wal = frozen.watermark.lock().clone();
        let origin = Origin { wal, from, ..Origin::default() };
        self.core.upload(E::SIGNAL.as_str(), outputs, &origin).await
    }

    /// Leaves a memtable as it is, in memory and in the log, so that the others can be written.
    fn keep_unwritten(&self, frozen: &Frozen<E>, tenant: &Tenant<E>, slot: &Arc<Slot<E>>) {
        // Nobody takes a watermark meanwhile, and those taken before are made right.
        let _closed = self.gate.write();
        let sequences = slot.sequences.lock().clone();
        self.wal.withhold(&sequences);
        for frozen in &*self.frozen.lock() {
            frozen.watermark.lock().exclude(&sequences);
        }
        frozen.parts.lock().retain(|(_, other)| !Arc::ptr_eq(other, slot));
        self.set_aside.fetch_add(1, Ordering::Relaxed);
        let (signal, tenant) = (E::SIGNAL.as_str(), tenant.id.as_str());
        tracing::error!(
            signal,
            tenant,
            "bug: records cannot be written to a segment; they stay in memory and in the log"
        );
    }

    /// Puts the segments in the memtables' place, for each tenant at once.
    fn swap_in(&self, frozen: &Frozen<E>, uploaded: &Uploaded) {
        for (tenant, slot) in &*frozen.parts.lock() {
            let metas = uploaded.metas.iter().filter(|meta| meta.tenant == tenant.id.as_str());
            let handles: Vec<_> = metas.map(|meta| self.core.handle(meta.clone())).collect();
            let mut view = tenant.view.lock();
            view.flushing.retain(|flushing| !Arc::ptr_eq(flushing, slot));
            for handle in handles {
                view.segments.entry(handle.meta.id.clone()).or_insert(handle);
            }
            drop(view);
            let memory = slot.memory.swap(0, Ordering::Relaxed);
            self.core.admission.add_memory(-(memory as i64));
            self.memory.fetch_sub(memory as i64, Ordering::Relaxed);
        }
        self.core.freed.notify_waiters();
    }

    /// Removes log files that segments stand for. `idle`: nothing will be logged any more.
    pub(super) async fn truncate(self: &Arc<Self>, watermark: &Watermark, idle: bool) {
        let (shard, watermark) = (Arc::clone(self), watermark.clone());
        let truncated = self.core.components.threads.blocking(move || {
            let before = shard.wal.bytes();
            shard.wal.truncate(&watermark, idle)?;
            shard.core.admission.sub_log_bytes(before.saturating_sub(shard.wal.bytes()));
            Ok(())
        });
        if let Err(error) = truncated.await {
            tracing::warn!(%error, "log files that are no longer needed could not be removed");
        }
    }

    fn is_due(&self) -> bool {
        let options = &self.core.options;
        // What was replayed is written once all of it can be read, unless it takes too much memory.
        if self.core.is_replaying() {
            return self.memory() > self.relieved_bytes();
        }
        if !self.frozen.lock().is_empty() {
            return true;
        }
        let oldest = self.oldest_ns.load(Ordering::Relaxed);
        let now = self.core.components.clock.monotonic_ns();
        self.unflushed_bytes.load(Ordering::Relaxed) >= options.flush_wal_bytes
            || self.active_memory() >= options.flush_memory_bytes
            || self.core.admission.memory() > options.memtable_bytes_max
            || (oldest != 0 && now.saturating_sub(oldest) >= options.flush_age_ns)
            || (self.is_crowded.load(Ordering::Relaxed)
                && now.saturating_sub(self.frozen_ns.load(Ordering::Relaxed)) >= CROWDED_NS)
    }

    /// Memory that a signal's memtables may take while some log is being replayed. Units: bytes.
    fn relieved_bytes(&self) -> u64 {
        self.core.replay_share() / 4 * 3
    }

    /// Flushes when it is time, until the store stops.
    pub(super) async fn flush_when_due(self: Arc<Self>) {
        let mut stop = self.core.stop.subscribe();
        let mut pause = TICK;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.wake.notified(), if pause == TICK => {}
                () = tokio::time::sleep(pause) => {}
            }
            if !self.is_due() || *self.stage.borrow() == Stage::Scanning {
                continue;
            }
            let flushed = if self.core.is_replaying() {
                self.relieve(self.relieved_bytes()).await
            } else {
                self.flush().await
            };
            pause = match flushed {
                Ok(()) => TICK,
                Err(error) => {
                    tracing::error!(%error, signal = E::SIGNAL.as_str(), "flush has to wait");
                    (pause * 2).min(PAUSE_MAX)
                }
            };
        }
    }
}
