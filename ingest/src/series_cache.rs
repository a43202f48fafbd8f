//! From raw label bytes to shared series, so that a warm sample parses nothing.
//!
//! A decoder hashes the bytes that name a series as they lie in the request (xxh3-128) and asks
//! here. A hit is one shard lock and one map probe. A miss makes the labels, and a second map by
//! [`SeriesId`] sees to it that two raw forms of one label set lead to the same `Arc<Series>`.
//!
//! Each shard keeps two generations: what was touched since the last turn, and what was touched in
//! the turn before. When the young half is full the old half is dropped, so memory is bounded and
//! what is in use stays. Keys hold the tenant: a series is never shared by two tenants.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

use model::{Labels, Reason, Series, SeriesId, TenantId};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use crate::otlp::metrics::{DeltaTable, TranslationOptions};

/// Shards of every map here. A power of two.
const SHARDS: usize = 64;
/// Raw forms that are kept in all. Units: entries.
const ENTRIES_MAX: usize = 2_000_000;
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
}

impl<V> Generations<V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Generations {
            young: KeyMap::default(),
            old: KeyMap::default(),
            half_max: (entries_max / 2).max(1),
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
        }
        self.young.insert(key, value);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// From raw bytes to series; shared by all requests and by replay.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    by_raw: Box<[Mutex<Generations<Arc<Series>>>]>,
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

    /// The series that `raw_hash` stands for, from the cache or else from the labels of `make`.
    ///
    /// Errors: those of `make`; they are not remembered.
    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    pub(crate) fn get_or_make(
        &self,
        tenant: &TenantId,
        raw_hash: u128,
        make: impl FnOnce() -> Result<Labels, Refusal>,
    ) -> Result<Arc<Series>, Refusal> {
        let tenant = tenant_hash(tenant);
        let key = raw_hash ^ tenant;
        let shard = &self.by_raw[shard_of(key)];
        if let Some(series) = shard.lock().get_cloned(key) {
            return Ok(series);
        }
        let series = self.shared(tenant, make()?);
        shard.lock().insert(key, Arc::clone(&series));
        Ok(series)
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
        cache.get_or_make(&tenant, mix(7, raw), || Ok(labels(index))).unwrap()
    }

    #[test]
    fn a_hit_makes_nothing_and_two_raw_forms_share_one_series() {
        let cache = SeriesCache::default();
        let first = series(&cache, "a", 1, 1);
        let tenant = TenantId::parse("a").unwrap();
        let again = cache
            .get_or_make(&tenant, mix(7, 1), || Err((Reason::InvalidLabels, String::new())))
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
    fn refusals_are_not_remembered() {
        let cache = SeriesCache::default();
        let tenant = TenantId::default();
        let refused = cache.get_or_make(&tenant, 9, || Err((Reason::MissingLabels, "x".into())));
        assert_eq!(refused.unwrap_err().0, Reason::MissingLabels);
        assert!(cache.get_or_make(&tenant, 9, || Ok(labels(1))).is_ok());
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
