//! Unflushed metrics, readable at once.
//!
//! Samples lie in an arena of small blocks (arena.rs), late ones, histograms, exemplars and metadata
//! beside it. Series and their index live in a registry (registry.rs) that a memtable shares with its
//! successors. One lock, held for one batch or for one series' reading. What arrives is judged here:
//! order, duplicates, count of series. Locks are taken in the order state, registry.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use model::{
    Exemplar, Histogram, Labels, LimitsOf, MetricMetadata, MetricsBatch, Reason, Rejections,
    Series, ns_to_ms,
};
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use super::arena::{Arena, StreamEnd};
use super::exemplars::StampedMetadata;
use super::histograms;
use super::index::Bitset;
use super::registry::Registry;
use super::samples::SeriesSamples;
use crate::MsRange;
#[cfg(test)]
use crate::Options;
use crate::segment::Append;

/// A series without a sample for so long is forgotten at the next flush. Units: ms.
const IDLE_MS: i64 = 3_600_000;
/// Distinct metadata entries that one memtable keeps; further ones replace nothing and are left out.
const METADATA_MAX: usize = 200_000;
/// Distinct metadata entries kept of one family.
const METADATA_PER_FAMILY: usize = 16;

type Map<K, V> = HashMap<K, V, RandomState>;

/// One tenant's unflushed metrics.
#[derive(Debug)]
pub(crate) struct Memtable {
    registry: Arc<Registry>,
    state: RwLock<State>,
    limits: LimitsOf,
    heap_bytes: AtomicUsize,
    /// What the shared registry kept when this memtable was made. Units: bytes.
    registered_before: usize,
    rows: AtomicU64,
}

/// The newest sample of a series, over all memtables that it has been in.
#[derive(Debug, Clone, Copy)]
struct Newest {
    time_ms: i64,
    /// Of the float; of a histogram the hash of its content.
    bits: u64,
    is_histogram: bool,
    known: bool,
}

const UNKNOWN: Newest = Newest { time_ms: i64::MIN, bits: 0, is_histogram: false, known: false };

#[derive(Debug, Clone, Copy)]
struct Slot {
    end: StreamEnd,
    newest: Newest,
    /// Time of the first sample in the stream. Units: ms.
    first_ms: i64,
    has_late: bool,
    has_histograms: bool,
}

const EMPTY: Slot = Slot {
    end: StreamEnd::NEW,
    newest: UNKNOWN,
    first_ms: 0,
    has_late: false,
    has_histograms: false,
};

impl Slot {
    fn is_empty(&self) -> bool {
        self.end.count == 0 && !self.has_late && !self.has_histograms
    }
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    arena: Arena,
    /// Samples older than the newest of their series; ascending, one a time.
    late: Map<u32, Vec<(i64, u64)>>,
    /// Ascending, one a time.
    histograms: Map<u32, Vec<(i64, Arc<Histogram>)>>,
    exemplars: Vec<SlotExemplar>,
    exemplar_hashes: HashSet<u64, RandomState>,
    metadata: Map<String, Vec<StampedMetadata>>,
    metadata_count: usize,
    other_bytes: usize,
    time_min_ms: i64,
    time_max_ms: i64,
}

/// An exemplar of a slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotExemplar {
    pub(crate) slot: u32,
    pub(crate) time_ms: i64,
    pub(crate) value: f64,
    pub(crate) labels: Labels,
}

impl Memtable {
    /// An empty memtable. `generation` is non-zero and unique in the process.
    #[cfg(test)]
    pub(crate) fn new(generation: u32, options: &Options) -> Memtable {
        let limits = LimitsOf::new(&options.limits, &model::TenantId::default());
        Memtable::judged_by(generation, limits)
    }

    /// The same for a tenant, whose limits at the time of each batch judge it.
    pub(crate) fn judged_by(generation: u32, limits: LimitsOf) -> Memtable {
        assert!(generation != 0, "bug: generation 0 marks an unset hint");
        Memtable::with_registry(Arc::new(Registry::new(generation)), State::new(), limits)
    }

    fn with_registry(registry: Arc<Registry>, state: State, limits: LimitsOf) -> Memtable {
        let registered_before = registry.heap_bytes();
        Memtable {
            registry,
            registered_before,
            state: RwLock::new(state),
            limits,
            heap_bytes: AtomicUsize::new(0),
            rows: AtomicU64::new(0),
        }
    }

    /// An empty memtable that judges order as this one would go on to. It shares the series unless
    /// more than a quarter of them have had no sample in the last hour of data time.
    pub(crate) fn successor(&self, generation: u32) -> Memtable {
        let state = self.state.read();
        let newest = state.slots.iter().filter(|slot| slot.newest.known);
        let newest = newest.map(|slot| slot.newest.time_ms).max().unwrap_or(i64::MIN);
        let oldest_active =
            newest.saturating_sub(IDLE_MS.max(ns_to_ms(self.limits.now().ooo_window_ns)));
        let active = |slot: &Slot| slot.newest.known && slot.newest.time_ms >= oldest_active;
        let active_count = state.slots.iter().filter(|slot| active(slot)).count();
        let mut next = State::new();
        let mut registry = Arc::clone(&self.registry);
        if active_count * 4 >= state.slots.len() * 3 {
            let inherited = state.slots.iter();
            next.slots = inherited.map(|slot| Slot { newest: slot.newest, ..EMPTY }).collect();
        } else {
            registry = Arc::new(Registry::new(generation));
            let table = self.registry.table();
            for (slot, series) in state.slots.iter().zip(&table.series) {
                if active(slot) && registry.insert(series, 0).is_some() {
                    next.slots.push(Slot { newest: slot.newest, ..EMPTY });
                }
            }
        }
        Memtable::with_registry(registry, next, self.limits.clone())
    }

    /// Keeps a batch and says what of it was refused. See [`Append`] for a replayed one.
    pub(crate) fn append(
        &self,
        batch: MetricsBatch,
        received_ns: i64,
        append: Append,
    ) -> Rejections {
        let MetricsBatch { series, samples, histograms, exemplars, metadata } = batch;
        let mut refusals = Refusals { append, series: &series, list: Rejections::default() };
        let limits = self.limits.now();
        let (window_ms, series_max) = match append {
            Append::Replay => (i64::MAX, 0),
            Append::Live => (ns_to_ms(limits.ooo_window_ns), limits.active_series_max),
        };
        let mut state = self.state.write();
        let state = &mut *state;
        let slots = self.resolve(&series, series_max);
        let known = slots.iter().flatten().max().map_or(0, |slot| *slot as usize + 1);
        if state.slots.len() < known {
            state.slots.resize(known, EMPTY);
        }
        let slot_of = |series: u32| slots.get(series as usize).copied().flatten();
        let mut rows = 0;
        for sample in &samples {
            let verdict = match slot_of(sample.series) {
                Some(slot) => state.push_float(slot, sample.time_ms, sample.value, window_ms),
                None => Verdict::NoSlot { series_max },
            };
            rows += u64::from(verdict == Verdict::Kept);
            if verdict.is_refusal() {
                let given = |existing| format!("existing {existing}, new value {}", sample.value);
                refusals.add(&verdict, sample.series, sample.time_ms, given);
            }
        }
        for (series, time_ms, histogram) in histograms {
            let verdict = match slot_of(series) {
                Some(slot) => state.push_histogram(slot, time_ms, histogram, window_ms),
                None => Verdict::NoSlot { series_max },
            };
            rows += u64::from(verdict == Verdict::Kept);
            if verdict.is_refusal() {
                refusals.add(&verdict, series, time_ms, |_| "other histogram".to_owned());
            }
        }
        for exemplar in exemplars {
            if let Some(slot) = slot_of(exemplar.series) {
                state.push_exemplar(slot, exemplar);
            }
        }
        for metadata in metadata {
            state.push_metadata(metadata, received_ns);
        }
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let registered = self.registry.heap_bytes().saturating_sub(self.registered_before);
        self.heap_bytes.store(state.heap_bytes() + registered, Ordering::Relaxed);
        refusals.list
    }

    /// Slots of a batch's series; nothing for one that there is no room for.
    fn resolve(&self, series: &[Arc<Series>], series_max: usize) -> Vec<Option<u32>> {
        let generation = self.registry.generation();
        let mut slots: Vec<Option<u32>> = {
            let table = self.registry.table();
            series.iter().map(|series| table.slot(generation, series)).collect()
        };
        for (slot, series) in slots.iter_mut().zip(series) {
            if slot.is_none() {
                *slot = self.registry.insert(series, series_max);
            }
        }
        slots
    }

    /// Series that are known.
    pub(crate) fn active(&self) -> usize {
        self.registry.table().series.len()
    }

    /// Memory taken since this memtable was made: what it keeps and the series that it was the first
    /// to see. Units: bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap_bytes.load(Ordering::Relaxed)
    }

    /// Samples and histograms.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The slots that have samples in this memtable.
    pub(crate) fn occupied(&self) -> Bitset {
        let state = self.state.read();
        let mut slots = Bitset::empty(state.slots.len());
        let occupied = state.slots.iter().zip(0u32..).filter(|(slot, _)| !slot.is_empty());
        slots.insert_all(occupied.map(|(_, index)| index));
        slots
    }

    /// Those of `slots` that may have a sample in `range`. To be called before the table of the
    /// registry is locked: an append locks it after the state.
    pub(crate) fn meeting(&self, slots: &Bitset, range: MsRange) -> Vec<u32> {
        let state = self.state.read();
        let meets = |slot: &u32| {
            state.slots.get(*slot as usize).is_some_and(|slot| {
                slot.has_late
                    || slot.has_histograms
                    || range.meets(slot.first_ms, slot.newest.time_ms)
            })
        };
        slots.iter().filter(meets).collect()
    }

    /// Closed range of the times of all samples, if there are any. Units: ms.
    pub(crate) fn time_range_ms(&self) -> Option<(i64, i64)> {
        let state = self.state.read();
        (state.time_min_ms <= state.time_max_ms).then_some((state.time_min_ms, state.time_max_ms))
    }

    /// Appends all samples of a slot to `out`, late ones in their place.
    pub(crate) fn read(&self, slot: u32, out: &mut SeriesSamples) {
        self.state.read().read(slot, out);
    }

    /// Exemplars in order of arrival.
    pub(crate) fn exemplars(
        &self,
        wanted: &mut dyn FnMut(&SlotExemplar) -> bool,
    ) -> Vec<SlotExemplar> {
        let state = self.state.read();
        state.exemplars.iter().filter(|exemplar| wanted(exemplar)).cloned().collect()
    }

    /// Metadata, in no order of families, newest of a family first.
    pub(crate) fn metadata(&self, family: Option<&str>) -> Vec<StampedMetadata> {
        let state = self.state.read();
        match family {
            Some(family) => state.metadata.get(family).cloned().unwrap_or_default(),
            None => state.metadata.values().flatten().cloned().collect(),
        }
    }
}

/// What became of one sample.
#[derive(Debug, PartialEq)]
enum Verdict {
    Kept,
    /// The very same is there already.
    Same,
    Older {
        newest_ms: i64,
    },
    Conflict {
        existing: Option<f64>,
    },
    NoSlot {
        series_max: usize,
    },
}

impl Verdict {
    #[inline]
    fn is_refusal(&self) -> bool {
        !matches!(self, Verdict::Kept | Verdict::Same)
    }
}

/// Collects refusals of a batch in Prometheus' words.
struct Refusals<'a> {
    append: Append,
    series: &'a [Arc<Series>],
    list: Rejections,
}

impl Refusals<'_> {
    #[cold]
    fn add(
        &mut self,
        verdict: &Verdict,
        series: u32,
        time_ms: i64,
        conflict: impl FnOnce(String) -> String,
    ) {
        if self.append == Append::Replay {
            return;
        }
        let labels = || match self.series.get(series as usize) {
            Some(series) => format!("{:?}", LabelsText(&series.labels)),
            None => "{}".to_owned(),
        };
        match *verdict {
            Verdict::Kept | Verdict::Same => {}
            Verdict::Older { newest_ms } => self.list.add(Reason::OutOfOrder, 1, || {
                format!(
                    "out of order sample: timestamp {time_ms}, newest {newest_ms}, series {}",
                    labels()
                )
            }),
            Verdict::Conflict { existing } => self.list.add(Reason::DuplicateTimestamp, 1, || {
                let existing = existing.map_or("histogram".to_owned(), |value| value.to_string());
                let values = conflict(existing);
                format!(
                    "duplicate sample for timestamp {time_ms}; overrides not allowed: {values} \
                     for series {}",
                    labels()
                )
            }),
            Verdict::NoSlot { series_max } => self.list.add(Reason::MaxActiveSeries, 1, || {
                format!(
                    "the series is new: {}; limit limits.ingest.max_active_series={series_max}, \
                     current {series_max}",
                    labels()
                )
            }),
        }
    }
}

struct LabelsText<'a>(&'a Labels);

impl std::fmt::Debug for LabelsText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl State {
    fn new() -> State {
        State { time_min_ms: i64::MAX, time_max_ms: i64::MIN, ..State::default() }
    }

    fn heap_bytes(&self) -> usize {
        self.arena.heap_bytes() + self.other_bytes
    }

    #[inline]
    fn push_float(&mut self, index: u32, time_ms: i64, value: f64, window_ms: i64) -> Verdict {
        let slot = &mut self.slots[index as usize];
        let newest = slot.newest;
        if !newest.known || time_ms > newest.time_ms {
            if slot.end.count == 0 {
                slot.first_ms = time_ms;
            }
            self.arena.push(&mut slot.end, time_ms, value.to_bits());
            let bits = value.to_bits();
            slot.newest = Newest { time_ms, bits, is_histogram: false, known: true };
            self.time_min_ms = self.time_min_ms.min(time_ms);
            self.time_max_ms = self.time_max_ms.max(time_ms);
            return Verdict::Kept;
        }
        self.push_float_late(index, time_ms, value, window_ms)
    }

    #[cold]
    fn push_float_late(&mut self, index: u32, time_ms: i64, value: f64, window_ms: i64) -> Verdict {
        let slot = &mut self.slots[index as usize];
        let newest = slot.newest;
        if time_ms == newest.time_ms {
            // The newest may lie in a memtable before this one.
            return match (newest.is_histogram, newest.bits == value.to_bits()) {
                (true, _) => Verdict::Conflict { existing: None },
                (false, true) => Verdict::Same,
                (false, false) => Verdict::Conflict { existing: Some(f64::from_bits(newest.bits)) },
            };
        }
        if newest.time_ms.saturating_sub(time_ms) > window_ms {
            return Verdict::Older { newest_ms: newest.time_ms };
        }
        let mut there = SeriesSamples::default();
        self.read(index, &mut there);
        if there.histograms.binary_search_by_key(&time_ms, |entry| entry.0).is_ok() {
            return Verdict::Conflict { existing: None };
        }
        if let Ok(position) = there.times.binary_search(&time_ms) {
            let existing = there.values[position];
            let same = existing.to_bits() == value.to_bits();
            return if same {
                Verdict::Same
            } else {
                Verdict::Conflict { existing: Some(existing) }
            };
        }
        let late = self.late.entry(index).or_default();
        let position = late.partition_point(|entry| entry.0 < time_ms);
        late.insert(position, (time_ms, value.to_bits()));
        self.other_bytes += 24;
        self.slots[index as usize].has_late = true;
        self.time_min_ms = self.time_min_ms.min(time_ms);
        // The newest sample of the series may lie in a memtable before this one.
        self.time_max_ms = self.time_max_ms.max(time_ms);
        Verdict::Kept
    }

    fn push_histogram(
        &mut self,
        index: u32,
        time_ms: i64,
        histogram: Box<Histogram>,
        window_ms: i64,
    ) -> Verdict {
        let bits = histograms::fingerprint(&histogram);
        let newest = self.slots[index as usize].newest;
        if newest.known && time_ms <= newest.time_ms {
            if time_ms == newest.time_ms && newest.is_histogram && newest.bits == bits {
                return Verdict::Same;
            }
            if time_ms == newest.time_ms {
                let float = (!newest.is_histogram).then(|| f64::from_bits(newest.bits));
                return Verdict::Conflict { existing: float };
            }
            if newest.time_ms.saturating_sub(time_ms) > window_ms {
                return Verdict::Older { newest_ms: newest.time_ms };
            }
            let mut there = SeriesSamples::default();
            self.read(index, &mut there);
            if let Ok(position) = there.times.binary_search(&time_ms) {
                return Verdict::Conflict { existing: Some(there.values[position]) };
            }
            let position = there.histograms.binary_search_by_key(&time_ms, |entry| entry.0);
            if let Some((_, existing)) = position.ok().and_then(|i| there.histograms.get(i)) {
                let same = histograms::fingerprint(existing) == bits;
                return if same { Verdict::Same } else { Verdict::Conflict { existing: None } };
            }
        } else {
            let newest = Newest { time_ms, bits, is_histogram: true, known: true };
            self.slots[index as usize].newest = newest;
        }
        self.slots[index as usize].has_histograms = true;
        self.other_bytes += histograms::heap_bytes(&histogram);
        let list = self.histograms.entry(index).or_default();
        let position = list.partition_point(|entry| entry.0 < time_ms);
        list.insert(position, (time_ms, Arc::new(*histogram)));
        self.time_min_ms = self.time_min_ms.min(time_ms);
        self.time_max_ms = self.time_max_ms.max(time_ms);
        Verdict::Kept
    }

    fn read(&self, index: u32, out: &mut SeriesSamples) {
        let Some(slot) = self.slots.get(index as usize) else { return };
        let start = out.times.len();
        self.arena.read(&slot.end, &mut out.times, &mut out.values);
        if slot.has_late
            && let Some(late) = self.late.get(&index)
        {
            let mut times = out.times.split_off(start).into_iter().peekable();
            let mut values = out.values.split_off(start).into_iter();
            let mut late = late.iter().peekable();
            loop {
                let take_late = match (times.peek(), late.peek()) {
                    (Some(time), Some((late_time, _))) => late_time < time,
                    (None, Some(_)) => true,
                    (Some(_), None) => false,
                    (None, None) => break,
                };
                if take_late {
                    let Some(&(time, bits)) = late.next() else { break };
                    out.times.push(time);
                    out.values.push(f64::from_bits(bits));
                } else {
                    out.times.extend(times.next());
                    out.values.extend(values.next());
                }
            }
        }
        if slot.has_histograms
            && let Some(histograms) = self.histograms.get(&index)
        {
            out.histograms.extend(histograms.iter().cloned());
        }
    }

    fn push_exemplar(&mut self, slot: u32, exemplar: Exemplar) {
        let mut key = Vec::with_capacity(exemplar.labels.as_bytes().len() + 20);
        key.extend_from_slice(&slot.to_le_bytes());
        key.extend_from_slice(&exemplar.time_ms.to_le_bytes());
        key.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        key.extend_from_slice(exemplar.labels.as_bytes());
        if !self.exemplar_hashes.insert(xxh3_64(&key)) {
            return;
        }
        self.other_bytes += size_of::<SlotExemplar>() + exemplar.labels.as_bytes().len() + 32;
        self.time_min_ms = self.time_min_ms.min(exemplar.time_ms);
        self.time_max_ms = self.time_max_ms.max(exemplar.time_ms);
        let Exemplar { time_ms, value, labels, .. } = exemplar;
        self.exemplars.push(SlotExemplar { slot, time_ms, value, labels });
    }

    fn push_metadata(&mut self, metadata: MetricMetadata, received_ns: i64) {
        if let Some(known) = self.metadata.get_mut(&metadata.family) {
            if let Some(at) = known.iter().position(|entry| entry.metadata == metadata) {
                known[at].received_ns = known[at].received_ns.max(received_ns);
                known[..=at].rotate_right(1);
                return;
            }
            if known.len() >= METADATA_PER_FAMILY {
                known.pop();
                self.metadata_count -= 1;
            }
        }
        if self.metadata_count >= METADATA_MAX {
            return;
        }
        self.metadata_count += 1;
        self.other_bytes += size_of::<StampedMetadata>()
            + 2 * metadata.family.len()
            + metadata.help.len()
            + metadata.unit.len();
        let family = self.metadata.entry(metadata.family.clone()).or_default();
        family.insert(0, StampedMetadata { received_ns, metadata });
    }
}
