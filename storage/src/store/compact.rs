//! Merging of one signal: runs the decisions of `compaction.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::Pressure;

use crate::catalog::Change;
use crate::compaction::{self, Plan, Sizes, bytes_of};
use crate::segment::{SegmentHandle, SegmentMeta};
use crate::store::core::{Counters, Origin, Output};
use crate::store::engine::SignalEngine;
use crate::store::shard::{Shard, Stage, Tenant};
use crate::store::unavailable;
use crate::{ErrorKind, FaultPoint, StorageError};

/// How often segments are looked at.
const TICK: Duration = Duration::from_secs(5);
/// So many panics of a merge, and its inputs are merged no more.
const PANICS_MAX: u32 = 2;
/// The pause after a failed merge.
const PAUSE: Duration = Duration::from_secs(60);

impl<E: SignalEngine> Shard<E> {
    /// Merges in the background until the store stops.
    pub(super) async fn compact_when_due(self: Arc<Self>) {
        let mut stop = self.core.stop.subscribe();
        let mut pause = TICK;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = TICK;
            // A merge takes memory that others need more.
            let is_short = self.core.options.memory.pressure() != Pressure::None;
            if is_short || *self.stage.borrow() != Stage::Ready {
                continue;
            }
            // One merge after the other, so that no more than one is lost at a stop.
            match self.compact_once(compaction::plan).await {
                Ok(true) => pause = Duration::ZERO,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, signal = E::SIGNAL.as_str(), "a merge failed");
                    pause = PAUSE;
                }
            }
        }
    }

    /// Merges until nothing is left to merge.
    pub(super) async fn compact_fully(self: &Arc<Self>) -> Result<(), StorageError> {
        while self.compact_once(compaction::plan_full).await? {}
        Ok(())
    }

    /// Does one merge if `choose` finds one. True if it did.
    async fn compact_once(
        self: &Arc<Self>,
        choose: fn(&[SegmentMeta], &BTreeSet<String>, Sizes) -> Option<Plan>,
    ) -> Result<bool, StorageError> {
        let _alone = self.compacting.lock().await;
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        for tenant in tenants {
            let mut excluded: BTreeSet<String> = self.core.quarantine.list().into_keys().collect();
            excluded.extend(self.unmergeable.lock().iter().cloned());
            let metas = self.metas(&tenant);
            let Some(plan) = choose(&metas, &excluded, Sizes::of(&self.core.options)) else {
                continue;
            };
            if let Err(error) = self.merge(&tenant, &plan).await {
                Counters::add(&self.core.counters.compaction_failures, 1);
                if error.kind() != ErrorKind::Corrupt {
                    return Err(error);
                }
                // One of them cannot be read or contradicts itself: they stay as they are.
                tracing::error!(%error, inputs = ?plan.inputs, "segments cannot be merged");
                self.unmergeable.lock().extend(plan.inputs);
            }
            return Ok(true);
        }
        Ok(false)
    }

    pub(super) fn metas(&self, tenant: &Tenant<E>) -> Vec<SegmentMeta> {
        tenant.view.lock().segments.values().map(|handle| handle.meta.clone()).collect()
    }

    async fn merge(self: &Arc<Self>, tenant: &Tenant<E>, plan: &Plan) -> Result<(), StorageError> {
        let handles: Vec<Arc<SegmentHandle<E::Segment>>> = {
            let view = tenant.view.lock();
            plan.inputs.iter().filter_map(|id| view.segments.get(id).cloned()).collect()
        };
        if handles.len() != plan.inputs.len() {
            return Err(unavailable("segments to be merged are gone"));
        }
        let ctx = self.core.encode_context(plan.level, &tenant.id);
        let inputs = handles.clone();
        let faults = Arc::clone(&self.core.components.faults);
        let merged = self.core.compaction_pool.run(move || {
            faults.meet(FaultPoint::Merge);
            let opened: Result<Vec<_>, _> = inputs.iter().map(|handle| handle.get()).collect();
            E::merge(&opened?, &ctx)
        });
        let segments = match merged.await {
            Ok(merged) => merged?,
            Err(panic) => return Err(self.panicked(plan, &panic)),
        };
        let received = handles.iter().map(|handle| handle.meta.received_max_ns).max();
        let output = Output {
            tenant: tenant.id.clone(),
            received_max_ns: received.unwrap_or(i64::MIN),
            segments,
        };
        if output.segments.len() >= plan.inputs.len() && plan.level > 1 {
            // It would be chosen again and again: the outputs are as many as the inputs.
            self.unmergeable.lock().extend(plan.inputs.iter().cloned());
            return Ok(());
        }
        let (replaces, level) = (plan.inputs.clone(), plan.level);
        // The flushes that it replaces take their watermarks with them.
        let wal = self.core.catalog.watermark(E::SIGNAL);
        let origin = Origin { level, replaces, wal, from: None };
        let uploaded = self.core.upload(E::SIGNAL.as_str(), vec![output], &origin).await?;
        let committed = self.replace(tenant, &plan.inputs, uploaded.metas.clone()).await;
        // Where the commit failed, the files are left to garbage collection: it may have succeeded.
        self.core.uploaded(&uploaded.metas);
        committed?;
        Counters::add(&self.core.counters.compactions, 1);
        let bytes = handles.iter().map(|handle| bytes_of(&handle.meta)).sum();
        Counters::add(&self.core.counters.compacted_bytes, bytes);
        Ok(())
    }

    /// A merge that panicked is tried once more; then its inputs are left alone.
    fn panicked(&self, plan: &Plan, panic: &StorageError) -> StorageError {
        let first = plan.inputs.first().cloned().unwrap_or_default();
        let mut panics = self.merge_panics.lock();
        let count = panics.entry(first.clone()).or_default();
        *count += 1;
        if *count < PANICS_MAX {
            return panic.clone();
        }
        StorageError::corrupt(first, panic)
    }

    /// Puts `added` in the place of `removed`, in the catalog and then in the view.
    pub(super) async fn replace(
        &self,
        tenant: &Tenant<E>,
        removed: &[String],
        added: Vec<SegmentMeta>,
    ) -> Result<(), StorageError> {
        let nonce = self.core.components.random.next_u64();
        let handles: Vec<_> = added.iter().map(|meta| self.core.handle(meta.clone())).collect();
        let change = Change { nonce, added, removed: removed.to_vec(), wal: None };
        if !self.core.catalog.commit(change).await?.is_empty() {
            self.core.views_stale.store(true, Ordering::Relaxed);
        }
        let mut view = tenant.view.lock();
        for id in removed {
            self.retire(&mut view, id);
        }
        for handle in handles {
            view.segments.insert(handle.meta.id.clone(), handle);
        }
        Ok(())
    }
}
