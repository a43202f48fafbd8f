//! From raw bytes that senders repeat with every request to what they name.
//!
//! A decoder hashes the bytes of a resource and a scope, or of a series' labels, in place of reading
//! them, and finds the shared stream or series here. The cache is bounded: a shard that is full
//! forgets what was not asked for since it was last full (two generations). Forgetting costs time
//! only, since the id of a stream or series follows from its content. Tenants never share an entry.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Stream, TenantId};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

const SHARDS: usize = 16;

/// Raw bytes of resource, scope and signal to their stream.
pub(crate) type StreamCache = RawCache<Stream>;

/// Streams kept at most, each with its resource attributes.
pub(crate) const STREAMS_MAX: usize = 64 << 10;

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct RawCache<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    generation_max: usize,
}

type Generation<T> = HashMap<u128, Arc<T>, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Shard<T> {
    young: Generation<T>,
    old: Generation<T>,
}

impl<T> RawCache<T> {
    /// A cache that never holds more than `entries_max`.
    pub(crate) fn new(entries_max: usize) -> RawCache<T> {
        let shard = || Mutex::new(Shard { young: HashMap::default(), old: HashMap::default() });
        RawCache {
            shards: std::array::from_fn(|_| shard()),
            generation_max: (entries_max / SHARDS / 2).max(1),
        }
    }

    /// What `raw_hash` stands for, made by `make` where it is not known. `raw_hash` must cover
    /// everything that `make` reads.
    ///
    /// Errors: what `make` says; it is asked again next time.
    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    pub(crate) fn get_or_make<E>(
        &self,
        tenant: &TenantId,
        raw_hash: u128,
        make: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let key = raw_hash ^ (u128::from(xxh3_64(tenant.as_str().as_bytes())) << 32);
        let shard = &self.shards[key as usize % SHARDS];
        if let Some(known) = shard.lock().get(key, self.generation_max) {
            return Ok(known);
        }
        let made = make()?;
        shard.lock().put(key, Arc::clone(&made), self.generation_max);
        Ok(made)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Shard<T>| shard.young.len() + shard.old.len();
        self.shards.iter().map(|shard| len(&shard.lock())).sum()
    }
}

impl<T> Shard<T> {
    fn get(&mut self, key: u128, generation_max: usize) -> Option<Arc<T>> {
        if let Some(known) = self.young.get(&key) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(&key)?;
        self.put(key, Arc::clone(&known), generation_max);
        Some(known)
    }

    fn put(&mut self, key: u128, entry: Arc<T>, generation_max: usize) {
        if self.young.len() >= generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_entry_is_shared_and_tenants_are_apart() {
        let cache = RawCache::new(1000);
        let make = || Ok::<_, ()>(Arc::new(1));
        let (one, two) = (TenantId::default(), TenantId::parse("two").unwrap());
        let first = cache.get_or_make(&one, 7, make).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get_or_make(&one, 7, make).unwrap()));
        assert!(!Arc::ptr_eq(&first, &cache.get_or_make(&two, 7, make).unwrap()));
        assert_eq!(cache.get_or_make(&one, 8, || Err("no")), Err("no"));
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = RawCache::new(64 * SHARDS);
        let make = || Ok::<_, ()>(Arc::new(1));
        let tenant = TenantId::default();
        let first = cache.get_or_make(&tenant, 0, make).unwrap();
        for key in 0..20_000u128 {
            cache.get_or_make(&tenant, key, make).unwrap();
            assert!(Arc::ptr_eq(&first, &cache.get_or_make(&tenant, 0, make).unwrap()));
        }
        assert!(cache.len() <= 64 * SHARDS, "{}", cache.len());
    }
}
