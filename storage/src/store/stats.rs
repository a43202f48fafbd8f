//! The store's figures for `/metrics`. Names after reliability.md 5.2, without the program's prefix.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Signal;

use crate::compaction::bytes_of;
use crate::store::engine::SignalEngine;
use crate::store::shard::{Shard, Stage};
use crate::{Store, StoreStats};

type Labels = Vec<(&'static str, String)>;

impl StoreStats {
    fn gauge(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.gauges.push((name, labels, value));
    }

    fn summary(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.summaries.push((name, labels, value));
    }

    fn counter(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.counters.push((name, labels, value));
    }
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}

fn of(signal: Signal) -> Labels {
    vec![("signal", signal.as_str().to_owned())]
}

pub(super) fn stats(store: &Store) -> StoreStats {
    let mut out = StoreStats::default();
    shard(&mut out, &store.metrics);
    shard(&mut out, &store.logs);
    shard(&mut out, &store.traces);
    segments(&mut out, store);
    retention(&mut out, store);
    whole(&mut out, store);
    out
}

fn shard<E: SignalEngine>(out: &mut StoreStats, shard: &Shard<E>) {
    let wal = shard.wal.stats();
    let signal = E::SIGNAL;
    let stage = shard.stage.borrow().clone();
    out.gauge("wal_bytes", of(signal), shard.wal.bytes() as f64);
    out.gauge("wal_replay_active", of(signal), flag(stage == Stage::Replaying));
    let failed = wal.failed.load(Ordering::Relaxed) || matches!(stage, Stage::Failed(_));
    out.gauge("wal_failed", of(signal), flag(failed));
    out.gauge("memtable_rows", of(signal), shard.rows_in_memory() as f64);
    let unflushed = shard.unflushed_bytes.load(Ordering::Relaxed);
    out.gauge("wal_unflushed_bytes", of(signal), unflushed as f64);
    out.summary("wal_fsync_seconds_sum", of(signal), load(&wal.sync_ns) / 1e9);
    out.summary("wal_fsync_seconds_count", of(signal), load(&wal.syncs));
    out.counter("wal_entries_total", of(signal), load(&wal.frames));
    out.counter("wal_appended_bytes_total", of(signal), load(&wal.appended_bytes));
    out.counter("wal_write_errors_total", of(signal), load(&wal.write_errors));
    out.counter("wal_torn_tail_total", of(signal), load(&wal.torn_tails));
    out.counter("wal_corruptions_total", of(signal), load(&wal.corruptions));
}

fn segments(out: &mut StoreStats, store: &Store) {
    let mut counts: BTreeMap<(String, u8), (u64, u64, u64)> = BTreeMap::new();
    store.core.catalog.with(|state| {
        for meta in state.segments.values() {
            let count = counts.entry((meta.signal.clone(), meta.level)).or_default();
            count.0 += 1;
            count.1 += bytes_of(meta);
            count.2 += meta.rows;
        }
    });
    for ((signal, level), (segments, bytes, rows)) in counts {
        let labels = || vec![("signal", signal.clone()), ("level", level.to_string())];
        out.gauge("segments", labels(), segments as f64);
        out.gauge("segment_bytes", labels(), bytes as f64);
        out.gauge("segment_rows", labels(), rows as f64);
    }
}

fn retention(out: &mut StoreStats, store: &Store) {
    let all = store.retention_waiting();
    for signal in Signal::ALL {
        let waiting = all.get(signal.as_str());
        let bytes = waiting.map_or(0, |waiting| waiting.bytes);
        let segments = waiting.map_or(0, |waiting| waiting.segments);
        out.gauge("retention_waiting_bytes", of(signal), bytes as f64);
        out.gauge("retention_waiting_segments", of(signal), segments as f64);
    }
}

fn whole(out: &mut StoreStats, store: &Store) {
    let core = &store.core;
    let (counters, admission) = (&core.counters, &core.admission);
    out.gauge("memtable_bytes", Vec::new(), admission.memory() as f64);
    out.gauge("backups_active", Vec::new(), core.pins.count() as f64);
    out.gauge("segments_quarantined", Vec::new(), core.quarantine.count() as f64);
    out.gauge("disk_free_bytes", Vec::new(), admission.disk_free() as f64);
    let disk_full = vec![("reason", "disk_full".to_owned())];
    out.gauge("read_only", disk_full, flag(admission.is_disk_full()));
    out.gauge("prev_shutdown_unclean", Vec::new(), flag(store.was_unclean));
    let damage = !core.catalog.problems().is_empty()
        || store.metrics.wal.corruptions() > 0
        || store.logs.wal.corruptions() > 0
        || store.traces.wal.corruptions() > 0
        || core.quarantine.count() > 0;
    out.gauge("data_loss_suspected", Vec::new(), flag(damage));
    let problems = core.catalog.problems().len();
    out.gauge("catalog_problems", Vec::new(), problems as f64);
    let plain: [(&'static str, &AtomicU64); 10] = [
        ("flushes_total", &counters.flushes),
        ("flush_failures_total", &counters.flush_failures),
        ("compactions_total", &counters.compactions),
        ("compaction_failures_total", &counters.compaction_failures),
        ("compacted_bytes_total", &counters.compacted_bytes),
        ("wal_replayed_entries_total", &counters.replayed),
        ("wal_replay_failures_total", &counters.replay_failures),
        ("retention_dropped_segments_total", &counters.retired_segments),
        ("retention_refusals_total", &counters.retention_refusals),
        ("orphan_files_removed_total", &counters.orphans_removed),
    ];
    for (name, counter) in plain {
        out.counter(name, Vec::new(), load(counter));
    }
    let set_aside = [&store.metrics.set_aside, &store.logs.set_aside, &store.traces.set_aside];
    for (signal, count) in Signal::ALL.into_iter().zip(set_aside) {
        let labels = vec![("signal", signal.as_str().to_owned())];
        out.gauge("memtables_set_aside", labels, load(count));
    }
    let unmergeable = [
        store.metrics.unmergeable.lock().len(),
        store.logs.unmergeable.lock().len(),
        store.traces.unmergeable.lock().len(),
    ];
    for (signal, count) in Signal::ALL.into_iter().zip(unmergeable) {
        let labels = vec![("signal", signal.as_str().to_owned())];
        out.gauge("segments_unmergeable", labels, count as f64);
    }
    let (commits, conflicts) = core.catalog.counts();
    out.counter("catalog_commits_total", Vec::new(), commits as f64);
    out.counter("catalog_conflicts_total", Vec::new(), conflicts as f64);
    let (hits, misses) = core.cache.counts();
    out.counter("cache_hits_total", Vec::new(), hits as f64);
    out.counter("cache_misses_total", Vec::new(), misses as f64);
    let corruptions = core.quarantine.corruptions();
    out.counter("segment_corruptions_total", Vec::new(), corruptions as f64);
    out.counter("writes_refused_total", Vec::new(), admission.refusals() as f64);
}
