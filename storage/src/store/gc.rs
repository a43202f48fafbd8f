//! Upkeep: retention, garbage collection, views that follow others' commits.
//!
//! Nothing is deleted because the catalog does not list it before `gc_grace` is over, nor while a
//! snapshot or a backup holds it, nor when it is quarantined, nor (for what the catalog never listed)
//! when the catalog itself was damaged or the clock may be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog::{CHECKPOINTS_KEPT, Checkpoint, Named, Sidecar, parse_path, unseal};
use crate::objects::ObjectEntry;
use crate::retention::Consent;
use crate::store::core::Counters;
use crate::{StorageError, Store};

const TICK: Duration = Duration::from_secs(10);
const SIDECAR: &str = ".meta";
/// Ticks between passes of retention and garbage collection.
const PASS_TICKS: u64 = 30;
/// Runs until the store is gone or stops.
pub(super) async fn upkeep(store: Weak<Store>) {
    let Some(mut stop) = store.upgrade().map(|store| store.core.stop.subscribe()) else { return };
    let mut ticks = 0u64;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let Some(store) = store.upgrade() else { return };
        if store.core.objects.is_shared() {
            match store.core.catalog.look().await {
                Ok(true) => store.core.views_stale.store(true, Ordering::Relaxed),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "others' commits have to wait"),
            }
        }
        if store.core.views_stale.swap(false, Ordering::Relaxed) {
            store.metrics.sync_views();
            store.logs.sync_views();
            store.traces.sync_views();
        }
        ticks += 1;
        if !ticks.is_multiple_of(PASS_TICKS) {
            continue;
        }
        let passed = async {
            store.retire_expired(Consent::Unasked).await?;
            store.collect_garbage().await
        };
        if let Err(error) = passed.await {
            tracing::warn!(%error, "retention or garbage collection has to wait");
        }
    }
}

/// Objects to be deleted, in an order that a crash and a lost catalog may cut short anywhere: what an
/// orphan claims to replace must not be taken for replaced once its data are gone, and what a removed
/// segment has replaced must not come back while its data are there.
#[derive(Debug, Default)]
struct Doomed {
    /// Sidecars of orphans.
    before: Vec<String>,
    data: Vec<String>,
    /// Sidecars of removed segments.
    after: Vec<String>,
    /// Objects of orphans.
    orphans: usize,
}

impl Store {
    /// Deletes files that nobody can need any more.
    pub(super) async fn collect_garbage(&self) -> Result<(), StorageError> {
        let core = &self.core;
        let held: BTreeSet<String> = {
            let mut retired = core.retired.lock();
            retired.retain(|(_, handle)| handle.strong_count() > 0);
            retired.iter().map(|(id, _)| id.clone()).collect()
        };
        let mut files: BTreeMap<String, Vec<ObjectEntry>> = BTreeMap::new();
        for entry in core.objects.list("segments").await? {
            if let Some(id) = segment_of(&entry.path) {
                files.entry(id.to_owned()).or_default().push(entry);
            }
        }
        let before = core.now_ns().saturating_sub(core.options.gc_grace_ns);
        let quarantined = core.quarantine.list();
        let uploading = core.uploading.lock().clone();
        // After the listing, so that nothing committed since is taken for an orphan.
        let (live, removed) = core.catalog.with(|state| {
            let live: BTreeSet<String> = state.segments.keys().cloned().collect();
            (live, state.removed.clone())
        });
        // After the catalog: whoever pins takes what it lists.
        let pinned = core.pins.segments(core.components.clock.monotonic_ns());
        let spares_orphans =
            !self.retention_waiting().is_empty() || !core.catalog.problems().is_empty();
        let mut gone: Vec<String> =
            removed.keys().filter(|id| !files.contains_key(*id)).cloned().collect();
        let mut doomed = Doomed::default();
        for (id, entries) in files {
            if live.contains(&id)
                || held.contains(&id)
                || uploading.contains(&id)
                || quarantined.contains_key(&id)
                || pinned.contains(&id)
            {
                continue;
            }
            let is_orphan = !removed.contains_key(&id);
            let since = removed.get(&id).copied().unwrap_or_else(|| {
                entries.iter().map(|entry| entry.modified_ns).max().unwrap_or(i64::MAX)
            });
            if since > before || (is_orphan && spares_orphans) {
                continue;
            }
            // Its sidecar tells that the set of its living siblings was whole, and what an orphan that
            // is still there did in vain.
            let stays = !is_orphan && (spares_orphans || self.has_sibling(&entries, &live).await?);
            let paths = entries.into_iter().map(|entry| entry.path);
            let (sidecars, data): (Vec<_>, Vec<_>) = paths.partition(|it| it.ends_with(SIDECAR));
            if is_orphan {
                doomed.orphans += sidecars.len() + data.len();
                doomed.before.extend(sidecars);
            } else if !stays {
                doomed.after.extend(sidecars);
            }
            doomed.data.extend(data);
            if !stays {
                gone.push(id);
            }
        }
        let Doomed { before: first, data, after, orphans } = doomed;
        for paths in [first, data, after] {
            for path in &paths {
                core.objects.delete(path).await?;
            }
            core.objects.settle_deletes(&paths).await?;
        }
        Counters::add(&core.counters.orphans_removed, orphans as u64);
        core.catalog.forget(&gone);
        self.prune_catalog(before).await
    }

    /// Whether one of the segments that were made together with this one is still listed.
    async fn has_sibling(
        &self,
        entries: &[ObjectEntry],
        live: &BTreeSet<String>,
    ) -> Result<bool, StorageError> {
        for entry in entries.iter().filter(|entry| entry.path.ends_with(SIDECAR)) {
            let Some(content) = self.core.objects.get(&entry.path).await? else { continue };
            if let Ok(sidecar) = unseal::<Sidecar>(&entry.path, &content) {
                return Ok(sidecar.siblings.iter().any(|id| live.contains(id)));
            }
        }
        Ok(false)
    }

    /// Deletes commits and checkpoints that the newest checkpoints stand for.
    async fn prune_catalog(&self, before_ns: i64) -> Result<(), StorageError> {
        let objects = &self.core.objects;
        let entries = objects.list("catalog").await?;
        let mut kept = Vec::new();
        for entry in entries.iter().rev() {
            let Named::Checkpoint(sequence) = parse_path(&entry.path) else { continue };
            let content = objects.get(&entry.path).await?.unwrap_or_default();
            if unseal::<Checkpoint>(&entry.path, &content).is_ok() {
                kept.push(sequence);
            }
            if kept.len() == CHECKPOINTS_KEPT {
                break;
            }
        }
        let (CHECKPOINTS_KEPT, Some(oldest)) = (kept.len(), kept.last().copied()) else {
            return Ok(());
        };
        for entry in &entries {
            let is_old = match parse_path(&entry.path) {
                Named::Commit(sequence) => sequence <= oldest,
                Named::Checkpoint(sequence) => sequence < oldest,
                Named::Other => false,
            };
            if is_old && entry.modified_ns < before_ns {
                objects.delete(&entry.path).await?;
            }
        }
        Ok(())
    }
}

/// The segment's ID in an object's path.
fn segment_of(path: &str) -> Option<&str> {
    let (id, _extension) = path.rsplit_once('/')?.1.split_once('.')?;
    Some(id)
}
