//! Writes an ID index.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use super::bits::{BitWriter, width};

/// First bytes of an index.
pub(super) const MAGIC: [u8; 4] = *b"TIDX";
pub(super) const VERSION: u8 = 1;
/// Size of the fixed part in front. Units: bytes.
pub(super) const HEADER_BYTES: usize = 16;
/// Entries that a bucket holds on average, and the slots it is divided into.
pub(super) const BUCKET_SLOTS: u64 = 64;
/// Bits of a fingerprint that are kept beyond its slot: one absent ID in `2^KEY_BITS` looks present.
pub(super) const KEY_BITS: u32 = 8;

/// Collects (fingerprint, target) pairs. A target is a block's number or what the owner likes.
#[derive(Debug, Default)]
pub(crate) struct IdIndexBuilder {
    pairs: Vec<(u64, u32)>,
}

/// Where a fingerprint lies among `slots`: its slot and the next [`KEY_BITS`] bits.
#[inline]
pub(super) fn place(hash: u64, slots: u64) -> (u64, u32) {
    let product = u128::from(hash) * u128::from(slots);
    ((product >> 64) as u64, (product as u64 >> (64 - KEY_BITS)) as u32)
}

impl IdIndexBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With room for `pairs`.
    pub(crate) fn with_capacity(pairs: usize) -> Self {
        IdIndexBuilder { pairs: Vec::with_capacity(pairs) }
    }

    /// Adds one pair; the same pair may come many times.
    #[inline]
    pub(crate) fn push(&mut self, hash: u64, target: u32) {
        if self.pairs.last() != Some(&(hash, target)) {
            self.pairs.push((hash, target));
        }
    }

    /// The index as bytes. Cost: some 40 ns a pair.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut pairs = sorted(self.pairs);
        pairs.dedup();
        let count = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
        assert!(pairs.len() < u32::MAX as usize, "bug: an ID index of 2^32 pairs");
        let buckets = u64::from(count).div_ceil(BUCKET_SLOTS).max(1);
        let value_bits = width(pairs.iter().map(|pair| pair.1).max().unwrap_or(0));

        let mut starts: Vec<u8> = Vec::with_capacity((buckets as usize + 1) * 4);
        let mut keys = BitWriter::new();
        let mut values = BitWriter::new();
        let mut at = 0;
        for bucket in 0..buckets {
            starts.extend_from_slice(&(at as u32).to_le_bytes());
            let end = at + bucket_len(&pairs[at..], bucket, buckets * BUCKET_SLOTS);
            write_bucket(&pairs[at..end], bucket, buckets * BUCKET_SLOTS, &mut keys);
            for pair in &pairs[at..end] {
                values.push(pair.1, value_bits);
            }
            at = end;
        }
        starts.extend_from_slice(&count.to_le_bytes());

        let (keys, values) = (keys.finish(), values.finish());
        let mut out = Vec::with_capacity(HEADER_BYTES + starts.len() + keys.len() + values.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, KEY_BITS as u8, value_bits as u8, 0]);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&(buckets as u32).to_le_bytes());
        out.extend_from_slice(&starts);
        out.extend_from_slice(&keys);
        out.extend_from_slice(&values);
        out
    }
}

fn bucket_len(pairs: &[(u64, u32)], bucket: u64, slots: u64) -> usize {
    pairs
        .iter()
        .position(|pair| place(pair.0, slots).0 / BUCKET_SLOTS != bucket)
        .unwrap_or(pairs.len())
}

/// For each slot a one for each entry and a zero, then the key bits of all entries.
fn write_bucket(pairs: &[(u64, u32)], bucket: u64, slots: u64, keys: &mut BitWriter) {
    let mut slot = bucket * BUCKET_SLOTS;
    for pair in pairs {
        let target = place(pair.0, slots).0;
        while slot < target {
            keys.push(0, 1);
            slot += 1;
        }
        keys.push(1, 1);
    }
    while slot < (bucket + 1) * BUCKET_SLOTS {
        keys.push(0, 1);
        slot += 1;
    }
    for pair in pairs {
        keys.push(place(pair.0, slots).1, KEY_BITS);
    }
}

/// Sorts by distributing on the top bits, then each small part: fingerprints are uniform, so this
/// is about twice as fast as sorting all at once.
fn sorted(pairs: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    let part_bits = (pairs.len() / 32 + 1).ilog2().clamp(1, 16);
    let part = |hash: u64| (hash >> (64 - part_bits)) as usize;
    let mut starts = vec![0usize; (1 << part_bits) + 1];
    for pair in &pairs {
        starts[part(pair.0) + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut next = starts.clone();
    let mut sorted = vec![(0, 0); pairs.len()];
    for pair in pairs {
        let slot = &mut next[part(pair.0)];
        sorted[*slot] = pair;
        *slot += 1;
    }
    for bounds in starts.windows(2) {
        sorted[bounds[0]..bounds[1]].sort_unstable();
    }
    sorted
}
