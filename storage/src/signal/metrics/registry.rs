//! The series that memtables know: slots that outlive a flush, and the index over their labels.
//!
//! A memtable and its successors share one registry, so a flush costs no look-up and no re-indexing:
//! slots only grow, and a [`Series::hint`] stays right. When too many series have gone idle the
//! successor starts a new registry. The label index is brought up to date by the first query that
//! needs it, never by a write.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Series, SeriesId};
use parking_lot::{RwLock, RwLockReadGuard};

use super::index::Bitset;
use crate::Matcher;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Slots by series and series by slot.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The generation under which hints are written.
    generation: u32,
    table: RwLock<Table>,
    index: RwLock<LabelIndex>,
    /// Slots in the order of segments, as far as they have been sorted.
    order: RwLock<Arc<Vec<u32>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) series: Vec<Arc<Series>>,
    /// By the low half of the identity; the slot is verified.
    slots: Map<u64, u32>,
    /// Series whose low half another one had first.
    collided: Map<SeriesId, u32>,
    label_bytes: usize,
}

impl Table {
    /// The slot of a series, from its hint if that is right.
    #[inline]
    pub(crate) fn slot(&self, generation: u32, series: &Arc<Series>) -> Option<u32> {
        if let Some(slot) = series.hint.get(generation)
            && let Some(kept) = self.series.get(slot as usize)
            && (Arc::ptr_eq(kept, series) || kept.id == series.id)
        {
            return Some(slot);
        }
        let slot = self.find(series.id)?;
        series.hint.set(generation, slot);
        Some(slot)
    }

    fn find(&self, id: SeriesId) -> Option<u32> {
        let slot = *self.slots.get(&(id.0 as u64))?;
        if self.series.get(slot as usize).is_some_and(|kept| kept.id == id) {
            return Some(slot);
        }
        self.collided.get(&id).copied()
    }

    fn insert(&mut self, series: &Arc<Series>) -> u32 {
        let slot = self.series.len() as u32;
        self.series.push(Arc::clone(series));
        self.label_bytes += series.labels.as_bytes().len() + size_of::<Series>() + 16;
        let first = *self.slots.entry(series.id.0 as u64).or_insert(slot);
        if first != slot {
            self.collided.insert(series.id, slot);
        }
        slot
    }
}

#[derive(Debug, Default)]
struct LabelIndex {
    /// Slots below are indexed.
    indexed: usize,
    labels: Map<Box<str>, Values>,
}

#[derive(Debug, Default)]
struct Values {
    postings: Map<Box<str>, Vec<u32>>,
}

impl Registry {
    pub(crate) fn new(generation: u32) -> Registry {
        Registry {
            generation,
            table: RwLock::default(),
            index: RwLock::default(),
            order: RwLock::default(),
        }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    /// Gives `series` a slot if it has none; nothing when `series_max` (0: no limit) are there.
    pub(crate) fn insert(&self, series: &Arc<Series>, series_max: usize) -> Option<u32> {
        let mut table = self.table.write();
        if let Some(slot) = table.slot(self.generation, series) {
            return Some(slot);
        }
        if series_max != 0 && table.series.len() >= series_max {
            return None;
        }
        let slot = table.insert(series);
        series.hint.set(self.generation, slot);
        Some(slot)
    }

    /// Memory of slots and labels, index left out. Units: bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let table = self.table.read();
        table.label_bytes + table.series.capacity() * 8 + table.slots.capacity() * 18
    }

    /// All slots, ascending by metric name and labels.
    pub(crate) fn sorted(&self) -> Arc<Vec<u32>> {
        let table = self.table.read();
        let known = Arc::clone(&self.order.read());
        if known.len() == table.series.len() {
            return known;
        }
        let mut order = known.as_ref().clone();
        order.extend(known.len() as u32..table.series.len() as u32);
        let name = |slot: &u32| table.series[*slot as usize].labels.metric_name();
        let mut names: Vec<&str> = order.iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        let ranks: Map<&str, u32> =
            names.iter().zip(0..).map(|(name, rank)| (*name, rank)).collect();
        let mut keyed: Vec<(u32, u32)> =
            order.iter().map(|slot| (ranks.get(name(slot)).copied().unwrap_or(0), *slot)).collect();
        // Stable, and made for input that is sorted in part.
        keyed.sort_by(|a, b| {
            let labels = |slot: u32| &table.series[slot as usize].labels;
            a.0.cmp(&b.0).then_with(|| labels(a.1).cmp(labels(b.1)))
        });
        let order = Arc::new(keyed.into_iter().map(|(_, slot)| slot).collect::<Vec<u32>>());
        *self.order.write() = Arc::clone(&order);
        order
    }

    /// Brings the label index up to date and gives it to `read`.
    fn with_index<T>(&self, read: impl FnOnce(&LabelIndex, usize) -> T) -> T {
        let count = self.table.read().series.len();
        if self.index.read().indexed < count {
            self.extend_index();
        }
        read(&self.index.read(), count)
    }

    fn extend_index(&self) {
        let mut index = self.index.write();
        let table = self.table.read();
        for slot in index.indexed..table.series.len() {
            for (name, value) in table.series[slot].labels.iter() {
                let values = entry(&mut index.labels, name);
                entry(&mut values.postings, value).push(slot as u32);
            }
        }
        index.indexed = table.series.len();
    }

    /// Slots for which all matchers hold.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Bitset {
        self.with_index(|index, count| {
            let mut selected = Bitset::full(count);
            for matcher in matchers {
                // Series without the label count as empty: where that matches, what does not match
                // is taken away; else only what matches stays.
                let inverted = matcher.matches_empty();
                let mut found = Bitset::empty(count);
                if let Some(values) = index.labels.get(matcher.name.as_str()) {
                    values.union(matcher, inverted, &mut found);
                }
                if inverted {
                    selected.subtract(&found);
                } else {
                    selected.intersect(&found);
                }
                if selected.is_empty() {
                    break;
                }
            }
            selected
        })
    }

    /// Names of labels that any slot of `set` has.
    pub(crate) fn label_names(&self, set: &Bitset) -> Vec<String> {
        self.with_index(|index, _| {
            let has =
                |values: &Values| values.postings.values().flatten().any(|&s| set.contains(s));
            let names = index.labels.iter().filter(|(_, values)| has(values));
            names.map(|(name, _)| name.to_string()).collect()
        })
    }

    /// Values of label `name` that satisfy `value_wanted` and that any slot of `set` has.
    pub(crate) fn label_values(
        &self,
        name: &str,
        value_wanted: &dyn Fn(&str) -> bool,
        set: &Bitset,
    ) -> Vec<String> {
        self.with_index(|index, _| {
            let Some(values) = index.labels.get(name) else { return Vec::new() };
            let has = |slots: &[u32]| slots.iter().any(|&slot| set.contains(slot));
            let found = values.postings.iter().filter(|(v, slots)| value_wanted(v) && has(slots));
            found.map(|(value, _)| value.to_string()).collect()
        })
    }
}

impl Values {
    /// Adds the slots of all values for which `matcher` says other than `inverted`.
    fn union(&self, matcher: &Matcher, inverted: bool, found: &mut Bitset) {
        if matcher.op == crate::MatchOp::Equal && !inverted {
            found.insert_all(
                self.postings.get(matcher.value.as_str()).into_iter().flatten().copied(),
            );
            return;
        }
        for (value, postings) in &self.postings {
            if matcher.matches(value) != inverted {
                found.insert_all(postings.iter().copied());
            }
        }
    }
}

fn entry<'a, V: Default>(map: &'a mut Map<Box<str>, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.into(), V::default());
    }
    map.get_mut(key).unwrap_or_else(|| unreachable!("bug: the key was inserted above"))
}
