//! Reads an ID index.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::bits::read_bits;
use super::build::{BUCKET_SLOTS, HEADER_BYTES, KEY_BITS, MAGIC, VERSION, place};
use crate::StorageError;
use crate::segment::SegmentSource;

/// The fingerprints of an index up to this size are kept once read. Units: bytes.
const KEYS_KEPT_BYTES_MAX: u64 = 4 << 20;

/// An open index: the number of entries before each bucket is in memory, and after the first
/// lookup the fingerprints, too.
#[derive(Debug)]
pub(crate) struct IdIndex {
    source: Arc<dyn SegmentSource>,
    /// `u32` for each bucket and one for the end.
    starts: Bytes,
    buckets: u64,
    value_bits: u32,
    keys: Range<u64>,
    values: Range<u64>,
    keys_kept: OnceLock<Bytes>,
}

impl IdIndex {
    /// Reads header and bucket starts of the index that lies at `range` of `source`.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn open(
        source: &Arc<dyn SegmentSource>,
        range: Range<u64>,
    ) -> Result<IdIndex, StorageError> {
        let corrupt =
            |why: &str| StorageError::corrupt(format!("{} (ID index)", source.name()), why);
        let header_end = range.start.checked_add(HEADER_BYTES as u64);
        let header_end = header_end.filter(|&end| end <= range.end && range.end <= source.len());
        let header_end = header_end.ok_or_else(|| corrupt("its range is outside the file"))?;
        let header = source.read(range.start..header_end)?;
        let [m0, m1, m2, m3, version, key_bits, value_bits, _, c0, c1, c2, c3, b0, b1, b2, b3] =
            header[..]
        else {
            return Err(corrupt("the header is cut short"));
        };
        if [m0, m1, m2, m3] != MAGIC || version != VERSION {
            return Err(corrupt("unknown magic or version"));
        }
        let count = u64::from(u32::from_le_bytes([c0, c1, c2, c3]));
        let buckets = u64::from(u32::from_le_bytes([b0, b1, b2, b3]));
        if u32::from(key_bits) != KEY_BITS || value_bits > 32 || buckets == 0 {
            return Err(corrupt("impossible widths"));
        }
        let value_bits = u32::from(value_bits);
        // Neither sum can overflow: both counts are below 2^32.
        let starts_end = header_end + (buckets + 1) * 4;
        let key_bits = buckets * BUCKET_SLOTS + count * u64::from(1 + KEY_BITS);
        let keys_end = starts_end + key_bits.div_ceil(8);
        let values_end = keys_end + (count * u64::from(value_bits)).div_ceil(8);
        if values_end > range.end {
            return Err(corrupt("it is cut short"));
        }
        let index = IdIndex {
            starts: source.read(header_end..starts_end)?,
            source: Arc::clone(source),
            buckets,
            value_bits,
            keys: starts_end..keys_end,
            values: keys_end..values_end,
            keys_kept: OnceLock::new(),
        };
        let mut last = 0;
        for bucket in 0..=buckets {
            let start = index.start(bucket);
            if start < last || start > count {
                return Err(corrupt("its buckets are out of order"));
            }
            last = start;
        }
        if index.start(0) != 0 || last != count {
            return Err(corrupt("its buckets do not add up"));
        }
        Ok(index)
    }

    /// Targets of all entries whose fingerprint looks like `hash`, ascending, each once.
    ///
    /// Errors: Corrupt, Io.
    /// Cost: one small read (none when the fingerprints are kept) to prove absence, two for a hit.
    pub(crate) fn lookup(&self, hash: u64) -> Result<Vec<u32>, StorageError> {
        let (slot, key) = place(hash, self.buckets * BUCKET_SLOTS);
        let bucket = slot / BUCKET_SLOTS;
        let (start, end) = (self.start(bucket), self.start(bucket + 1));
        if start == end {
            return Ok(Vec::new());
        }
        let hits = self.with_bucket(bucket, |bytes, at| {
            find(bytes, at, Wanted { slot: slot % BUCKET_SLOTS, key, entries: end - start })
        })?;
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let mut targets = self.targets(start + hits.start..start + hits.end)?;
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }

    fn start(&self, bucket: u64) -> u64 {
        u64::from(read_bits(&self.starts, bucket * 32, 32))
    }

    /// Hands over bytes that hold the bucket's fingerprints and the bit at which they start.
    fn with_bucket<T>(
        &self,
        bucket: u64,
        read: impl FnOnce(&[u8], u64) -> T,
    ) -> Result<T, StorageError> {
        let bit = |bucket| bucket * BUCKET_SLOTS + self.start(bucket) * u64::from(1 + KEY_BITS);
        let (start, end) = (bit(bucket), bit(bucket + 1));
        if self.keys.end - self.keys.start > KEYS_KEPT_BYTES_MAX {
            let bytes =
                self.source.read(self.keys.start + start / 8..self.keys.start + end.div_ceil(8))?;
            return Ok(read(&bytes, start % 8));
        }
        let kept = match self.keys_kept.get() {
            Some(kept) => kept,
            None => {
                let keys = self.source.read(self.keys.clone())?;
                self.keys_kept.get_or_init(|| keys)
            }
        };
        Ok(read(kept, start))
    }

    fn targets(&self, entries: Range<u64>) -> Result<Vec<u32>, StorageError> {
        let width = u64::from(self.value_bits);
        let (start, end) = (entries.start * width, entries.end * width);
        let bytes =
            self.source.read(self.values.start + start / 8..self.values.start + end.div_ceil(8))?;
        let first = start % 8;
        let count = entries.end - entries.start;
        Ok((0..count).map(|i| read_bits(&bytes, first + i * width, self.value_bits)).collect())
    }
}

struct Wanted {
    slot: u64,
    key: u32,
    entries: u64,
}

/// The entries of a bucket (counted from its first) that have the wanted slot and key. Keys of one
/// slot are sorted, so the hits are one range.
fn find(bytes: &[u8], at: u64, wanted: Wanted) -> Range<u64> {
    let unary_bits = BUCKET_SLOTS + wanted.entries;
    let Some((slot_start, slot_end)) = ones_of_slot(bytes, at, unary_bits, wanted.slot) else {
        return 0..0;
    };
    let keys_at = at + unary_bits;
    let key = |entry: u64| read_bits(bytes, keys_at + entry * u64::from(KEY_BITS), KEY_BITS);
    let first = (slot_start..slot_end).find(|&entry| key(entry) >= wanted.key).unwrap_or(slot_end);
    let end = (first..slot_end).find(|&entry| key(entry) != wanted.key).unwrap_or(slot_end);
    first..end
}

/// Entries before the slot and those up to its end: ones are entries, zeros end slots.
fn ones_of_slot(bytes: &[u8], at: u64, bits: u64, slot: u64) -> Option<(u64, u64)> {
    let (mut zeros, mut ones, mut done) = (0u64, 0u64, 0u64);
    while done < bits {
        let take = (bits - done).min(32) as u32;
        let word = read_bits(bytes, at + done, take);
        let zeros_here = u64::from(take - word.count_ones());
        if zeros + zeros_here < slot {
            zeros += zeros_here;
            ones += u64::from(word.count_ones());
            done += u64::from(take);
            continue;
        }
        break;
    }
    let mut start = (slot == zeros).then_some(ones);
    while done < bits {
        if read_bits(bytes, at + done, 1) == 1 {
            ones += 1;
        } else if let Some(start) = start {
            return Some((start, ones));
        } else {
            zeros += 1;
            if zeros == slot {
                start = Some(ones);
            }
        }
        done += 1;
    }
    None
}
