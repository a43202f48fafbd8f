//! From raw label bytes to shared series, so that a warm sample parses nothing.
//!
//! A decoder hashes the bytes that name a series as they lie in the request (xxh3-128) and asks
//! here. A hit is one shard lock and one map probe. A miss makes the labels, and a second map by
//! [`SeriesId`] sees to it that two raw forms of one label set lead to the same `Arc<Series>`.
//!
//! Each shard keeps two generations: what was touched since the last turn, and what was touched in
//! the turn before. When the young half is full the old half is dropped, so memory is bounded and
//! what is in use stays. Keys hold the tenant: a series is never shared by two tenants.
//!
//! Senders name their series in the same order each time. So the cache also keeps the keys in the
//! order in which they came first, and a [`Follower`] looks for a key right behind the one before
//! it: that memory is read in a line, where each probe of a map waits for memory of its own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use model::{Labels, Reason, Series, SeriesId, TenantId};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::xxh3_128;

use crate::otlp::metrics::{DeltaTable, TranslationOptions};

/// Shards of every map here. A power of two.
const SHARDS: usize = 64;
/// Raw forms that are kept in all. Units: entries.
const ENTRIES_MAX: usize = 2_000_000;
/// Places behind the one before that are looked at, because requests that came at the same time
/// stand between each other.
const FOLLOWING: usize = 8;
/// How long a metric's metadata is not sent on again. Units: ns.
const METADATA_REPEAT_NS: i64 = 300 * model::NS_PER_S;

/// Why no series could be made.
pub(crate) type Refusal = (Reason, String);

/// Passes a key that is a hash already through.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// A map whose keys are 128-bit hashes.
pub(crate) type KeyMap<V> = HashMap<u128, V, BuildHasherDefault<KeyHasher>>;

/// Folds `part` into the key `base`; the order of folding matters.
#[inline]
pub(crate) fn mix(base: u128, part: u128) -> u128 {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let mixed = (base ^ part.rotate_left(64)).wrapping_mul(ODD);
    mixed ^ (mixed >> 64)
}

/// A bounded map in two generations: reading keeps an entry young, the old half goes as a whole.
#[derive(Debug)]
pub(crate) struct Generations<V> {
    young: KeyMap<V>,
    old: KeyMap<V>,
    half_max: usize,
    /// How often the old half went.
    turns: u64,
}

impl<V> Generations<V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Generations {
            young: KeyMap::default(),
            old: KeyMap::default(),
            half_max: (entries_max / 2).max(1),
            turns: 0,
        }
    }

    /// The entry, which counts as used now.
    #[inline]
    pub(crate) fn get(&mut self, key: u128) -> Option<&mut V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.insert(key, value);
        }
        self.young.get_mut(&key)
    }

    /// A copy of the entry, by one probe where it is young.
    #[inline]
    pub(crate) fn get_cloned(&mut self, key: u128) -> Option<V>
    where
        V: Clone,
    {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        self.get(key).cloned()
    }

    pub(crate) fn insert(&mut self, key: u128, value: V) {
        if self.young.len() >= self.half_max {
            self.old = std::mem::take(&mut self.young);
            self.turns += 1;
        }
        self.young.insert(key, value);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A series and where it stood in the order when it was last looked up in the map.
#[derive(Debug, Clone)]
struct Known {
    series: Arc<Series>,
    place: u32,
}

/// Keys and their series in the order in which they came. It is forgotten when a half of a shard
/// goes: what is in use is looked up in the maps then, which keeps it young.
type Order = Vec<(u128, Arc<Series>)>;

/// From raw bytes to series; shared by all requests and by replay.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    by_raw: Box<[Mutex<Generations<Known>>]>,
    order: RwLock<Order>,
    order_max: usize,
    /// Whether a half of a shard went since the order was begun.
    has_turned: AtomicBool,
    by_id: Box<[Mutex<KeyMap<Weak<Series>>>]>,
    /// When each metric's metadata was last sent on. Units: ns.
    metadata_sent: Mutex<Generations<i64>>,
    ids_max: usize,
    translation: TranslationOptions,
    deltas: DeltaTable,
}

impl Default for SeriesCache {
    fn default() -> Self {
        SeriesCache::new(TranslationOptions::default())
    }
}

impl SeriesCache {
    /// A cache for about two million raw forms; OTLP metrics are translated by `translation`.
    pub(crate) fn new(translation: TranslationOptions) -> Self {
        SeriesCache::with_entries_max(translation, ENTRIES_MAX)
    }

    fn with_entries_max(translation: TranslationOptions, entries_max: usize) -> Self {
        let shard_max = entries_max.div_ceil(SHARDS);
        SeriesCache {
            by_raw: (0..SHARDS).map(|_| Mutex::new(Generations::new(shard_max))).collect(),
            order: RwLock::default(),
            order_max: entries_max,
            has_turned: AtomicBool::new(false),
            by_id: (0..SHARDS).map(|_| Mutex::new(KeyMap::default())).collect(),
            metadata_sent: Mutex::new(Generations::new(shard_max.max(1024) * 4)),
            ids_max: shard_max,
            translation,
            deltas: DeltaTable::default(),
        }
    }

    /// How OTLP metrics become Prometheus series.
    pub(crate) fn translation(&self) -> &TranslationOptions {
        &self.translation
    }

    /// What delta streams have added up to.
    pub(crate) fn deltas(&self) -> &DeltaTable {
        &self.deltas
    }

    /// Looks up the series of one request of `tenant`, one after the other.
    pub(crate) fn follow(&self, tenant: &TenantId) -> Follower<'_> {
        Follower {
            cache: self,
            tenant: tenant_hash(tenant),
            order: None,
            next: 0,
            missed: Vec::new(),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    fn shard<T>(&self, key: u128, take: impl FnOnce(&mut Generations<Known>) -> T) -> T {
        let mut shard = self.by_raw[shard_of(key)].lock();
        let turns = shard.turns;
        let taken = take(&mut shard);
        if shard.turns != turns {
            self.has_turned.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Adds what a request was the first to name to the order, unless somebody is reading it: then
    /// the next request does.
    fn append(&self, missed: &[(u128, Arc<Series>)]) {
        let Some(mut order) = self.order.try_write() else { return };
        let is_full = order.len() + missed.len() > self.order_max;
        if self.has_turned.swap(false, Ordering::Relaxed) || is_full {
            order.clear();
        }
        for (key, series) in missed.iter().take(self.order_max) {
            let place = order.len() as u32;
            order.push((*key, Arc::clone(series)));
            self.shard(*key, |shard| {
                if let Some(known) = shard.get(*key) {
                    known.place = place;
                }
            });
        }
    }

    /// The one series of these labels that is alive.
    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    fn shared(&self, tenant: u128, labels: Labels) -> Arc<Series> {
        let SeriesId(id) = labels.id();
        let key = id ^ tenant;
        let mut ids = self.by_id[shard_of(key)].lock();
        if let Some(known) = ids.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let series = Series::new(labels);
        if ids.len() >= self.ids_max {
            ids.retain(|_, known| known.strong_count() > 0);
            if ids.len() >= self.ids_max {
                // Sharing is a saving, not a promise: start afresh rather than grow.
                ids.clear();
            }
        }
        ids.insert(key, Arc::downgrade(&series));
        series
    }

    /// Whether metadata should go into a batch: not where the same went less than five minutes
    /// before. Marks it as sent.
    pub(crate) fn metadata_is_due(
        &self,
        tenant: &TenantId,
        raw_hash: u128,
        received_ns: i64,
    ) -> bool {
        let key = raw_hash ^ tenant_hash(tenant);
        let mut sent = self.metadata_sent.lock();
        match sent.get(key) {
            Some(at) if received_ns.abs_diff(*at) < METADATA_REPEAT_NS as u64 => false,
            Some(at) => {
                *at = received_ns;
                true
            }
            None => {
                sent.insert(key, received_ns);
                true
            }
        }
    }
}

/// Looks up series in the order of a request; see the module's docs.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    cache: &'a SeriesCache,
    tenant: u128,
    /// Held from one look-up to the next.
    order: Option<RwLockReadGuard<'a, Order>>,
    /// Where the next key is looked for first.
    next: usize,
    /// What was not in the order.
    missed: Order,
}

impl Follower<'_> {
    /// The series that `raw_hash` stands for, from the cache or else from the labels of `make`.
    ///
    /// Errors: those of `make`; they are not remembered.
    #[inline]
    pub(crate) fn get_or_make(
        &mut self,
        raw_hash: u128,
        make: impl FnOnce() -> Result<Labels, Refusal>,
    ) -> Result<Arc<Series>, Refusal> {
        let key = raw_hash ^ self.tenant;
        let order = self.order.get_or_insert_with(|| self.cache.order.read());
        let following = order.iter().skip(self.next).take(FOLLOWING);
        for (ahead, (known, series)) in following.enumerate() {
            if *known == key {
                self.next += ahead + 1;
                return Ok(Arc::clone(series));
            }
        }
        self.probe(key, make)
    }

    #[inline(never)]
    fn probe(
        &mut self,
        key: u128,
        make: impl FnOnce() -> Result<Labels, Refusal>,
    ) -> Result<Arc<Series>, Refusal> {
        let series = match self.cache.shard(key, |shard| shard.get_cloned(key)) {
            Some(Known { series, place }) => {
                let order = self.order.as_ref();
                let there = order.and_then(|order| order.get(place as usize));
                if there.is_some_and(|(known, _)| *known == key) {
                    self.next = place as usize + 1;
                    return Ok(series);
                }
                series
            }
            None => {
                let series = self.cache.shared(self.tenant, make()?);
                let known = Known { series: Arc::clone(&series), place: u32::MAX };
                self.cache.shard(key, |shard| shard.insert(key, known));
                series
            }
        };
        self.missed.push((key, Arc::clone(&series)));
        Ok(series)
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.order = None;
        if !self.missed.is_empty() {
            self.cache.append(&self.missed);
        }
    }
}

/// The part of a key that stands for the tenant.
#[inline]
pub(crate) fn tenant_hash(tenant: &TenantId) -> u128 {
    xxh3_128(tenant.as_str().as_bytes())
}

/// The shard of a key; other bits than the ones that the maps use.
#[inline]
fn shard_of(key: u128) -> usize {
    (key >> 96) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(index: usize) -> Labels {
        Labels::from_pairs([("__name__", "m"), ("index", index.to_string().as_str())])
    }

    fn series(cache: &SeriesCache, tenant: &str, raw: u128, index: usize) -> Arc<Series> {
        let tenant = TenantId::parse(tenant).unwrap();
        cache.follow(&tenant).get_or_make(mix(7, raw), || Ok(labels(index))).unwrap()
    }

    #[test]
    fn a_hit_makes_nothing_and_two_raw_forms_share_one_series() {
        let cache = SeriesCache::default();
        let first = series(&cache, "a", 1, 1);
        let tenant = TenantId::parse("a").unwrap();
        let again = cache
            .follow(&tenant)
            .get_or_make(mix(7, 1), || Err((Reason::InvalidLabels, String::new())))
            .unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(Arc::ptr_eq(&first, &series(&cache, "a", 2, 1)));
        assert!(!Arc::ptr_eq(&first, &series(&cache, "b", 1, 1)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let cache = SeriesCache::with_entries_max(TranslationOptions::default(), 6400);
        let warm = series(&cache, "a", 0, 0);
        for index in 1..50_000usize {
            series(&cache, "a", index as u128, index);
            if index % 10 == 0 {
                assert!(Arc::ptr_eq(&warm, &series(&cache, "a", 0, 0)));
            }
        }
        let kept: usize = cache.by_raw.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= 6400 + SHARDS, "{kept}");
        let ids: usize = cache.by_id.iter().map(|shard| shard.lock().len()).sum();
        assert!(ids <= 6400 + SHARDS, "{ids}");
    }

    #[test]
    fn the_order_of_a_sender_is_followed_and_another_order_is_right_too() {
        let cache = SeriesCache::default();
        let tenant = TenantId::parse("a").unwrap();
        let key = |index: usize| mix(7, index as u128);
        let mut follower = cache.follow(&tenant);
        let first: Vec<_> = (0..500)
            .map(|index| follower.get_or_make(key(index), || Ok(labels(index))).unwrap())
            .collect();
        drop(follower);
        let never = || Err((Reason::InvalidLabels, "made again".to_owned()));
        for step in [1, 3, 7, 499] {
            let mut follower = cache.follow(&tenant);
            for at in 0..500 {
                let index = at * step % 500;
                let series = follower.get_or_make(key(index), never).unwrap();
                assert!(Arc::ptr_eq(&series, &first[index]), "{index} of step {step}");
            }
        }
        let other = TenantId::parse("b").unwrap();
        assert!(cache.follow(&other).get_or_make(key(0), never).is_err());
        assert_eq!(cache.order.read().len(), 500, "nothing was added again");
    }

    #[test]
    fn the_order_is_bounded_and_outlives_turns() {
        let cache = SeriesCache::with_entries_max(TranslationOptions::default(), 640);
        let tenant = TenantId::default();
        for round in 0..6usize {
            let mut follower = cache.follow(&tenant);
            for index in 0..900 {
                let index = index + round * 300;
                let series =
                    follower.get_or_make(mix(7, index as u128), || Ok(labels(index))).unwrap();
                assert_eq!(series.labels, labels(index));
            }
            drop(follower);
            assert!(cache.order.read().len() <= 640);
        }
    }

    #[test]
    fn refusals_are_not_remembered() {
        let cache = SeriesCache::default();
        let tenant = TenantId::default();
        let refused =
            cache.follow(&tenant).get_or_make(9, || Err((Reason::MissingLabels, "x".into())));
        assert_eq!(refused.unwrap_err().0, Reason::MissingLabels);
        assert!(cache.follow(&tenant).get_or_make(9, || Ok(labels(1))).is_ok());
    }

    #[test]
    fn metadata_is_due_once_in_five_minutes() {
        let cache = SeriesCache::default();
        let tenant = TenantId::default();
        assert!(cache.metadata_is_due(&tenant, 1, 0));
        assert!(!cache.metadata_is_due(&tenant, 1, METADATA_REPEAT_NS - 1));
        assert!(cache.metadata_is_due(&tenant, 1, METADATA_REPEAT_NS));
        assert!(!cache.metadata_is_due(&tenant, 1, METADATA_REPEAT_NS + 5));
    }
}
