//! Verified chunks of files in memory, shared by all queries and bounded in bytes.
//!
//! Sixteen shards, each a ring of slots with a clock hand: a chunk that was used since the hand last
//! passed is spared once. Only verified bytes come in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::segment::CHECKSUM_CHUNK_BYTES;

const SHARDS: usize = 16;

/// A chunk: number of the file, number of the chunk in it.
type Key = (u64, u32);

/// Recently read chunks.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    shards: Vec<Mutex<Shard>>,
    slots_max: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    places: HashMap<Key, usize, RandomState>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    chunk: Bytes,
    used: bool,
}

impl ChunkCache {
    pub(crate) fn new(bytes_max: u64) -> ChunkCache {
        let slots_max = (bytes_max / (CHECKSUM_CHUNK_BYTES * SHARDS) as u64).max(1) as usize;
        ChunkCache {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            slots_max,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let mixed = (key.0 ^ u64::from(key.1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        &self.shards[mixed as usize % SHARDS]
    }

    pub(crate) fn get(&self, key: Key) -> Option<Bytes> {
        let mut shard = self.shard(key).lock();
        let place = shard.places.get(&key).copied();
        let chunk = place.and_then(|place| shard.slots.get_mut(place)).map(|slot| {
            slot.used = true;
            slot.chunk.clone()
        });
        let counter = if chunk.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        chunk
    }

    pub(crate) fn insert(&self, key: Key, chunk: Bytes) {
        let mut shard = self.shard(key).lock();
        if shard.places.contains_key(&key) {
            return;
        }
        let slot = Slot { key, chunk, used: false };
        if shard.slots.len() < self.slots_max {
            let place = shard.slots.len();
            shard.slots.push(slot);
            shard.places.insert(key, place);
            return;
        }
        let place = shard.victim();
        let old = std::mem::replace(&mut shard.slots[place], slot);
        shard.places.remove(&old.key);
        shard.places.insert(key, place);
    }

    /// What all chunks hold. Units: bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let of = |shard: &Mutex<Shard>| -> u64 {
            shard.lock().slots.iter().map(|slot| slot.chunk.len() as u64).sum()
        };
        self.shards.iter().map(of).sum()
    }

    /// Hits and misses since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

impl Shard {
    /// Ends after two rounds at most: the first clears every mark.
    fn victim(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[place].used) {
                return place;
            }
        }
    }
}
