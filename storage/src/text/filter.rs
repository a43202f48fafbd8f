//! Filters of token hashes, one a block, laid out by bucket so that one token costs one read.
//!
//! Each block has a split-block Bloom filter of `buckets` times 256 bits. All filters of a segment
//! have as many buckets, and bucket `j` of all blocks lies together: a token looks into one bucket,
//! so `blocks * 32` contiguous bytes answer for the whole segment.
//! Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters"; the salts are
//! those of Parquet's Bloom filters. Format: FORMAT.md, "Text index".

use crate::StorageError;
use crate::columns::SectionFile;

/// Bits of the filter for each token: one absent token in a hundred looks present.
pub(super) const BITS_PER_TOKEN: usize = 11;
/// Where the filter has identifiers alone: one in three hundred, because each that
/// looks present costs reading a block's lines.
pub(super) const BITS_PER_IDENTIFIER: usize = 14;
const BUCKET_BITS: usize = 256;
const BUCKET_BYTES: usize = 32;
const HEADER_BYTES: usize = 8;

const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The number under which filters know a token.
#[inline]
pub(super) fn filter_hash(token_hash: u64) -> u32 {
    (token_hash >> 32) as u32 ^ token_hash as u32
}

/// The bit of each word of the bucket, for a hash.
#[inline]
fn bits(hash: u32) -> [u32; 8] {
    let mixed = hash.wrapping_mul(0x9e37_79b1) ^ hash >> 15;
    SALTS.map(|salt| 1 << (mixed.wrapping_mul(salt) >> 27))
}

#[inline]
fn bucket_of(hash: u32, buckets: usize) -> usize {
    ((u64::from(hash) * buckets as u64) >> 32) as usize
}

/// Builds the section of the filters of all blocks. `blocks` holds each block's hashes.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
pub(super) fn build(blocks: &[Vec<u32>], bits_per_token: usize) -> Vec<u8> {
    let tokens_max = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let buckets = (tokens_max * bits_per_token).div_ceil(BUCKET_BITS).max(1);
    let mut out = Vec::with_capacity(HEADER_BYTES + buckets * blocks.len() * BUCKET_BYTES);
    out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
    out.extend_from_slice(&(buckets as u32).to_le_bytes());
    out.resize(out.capacity(), 0);
    for (block, hashes) in blocks.iter().enumerate() {
        for &hash in hashes {
            let bucket = bucket_of(hash, buckets);
            let at = HEADER_BYTES + (bucket * blocks.len() + block) * BUCKET_BYTES;
            for (word, bit) in out[at..at + BUCKET_BYTES].chunks_exact_mut(4).zip(bits(hash)) {
                word[(bit.trailing_zeros() / 8) as usize] |= 1 << (bit.trailing_zeros() % 8);
            }
        }
    }
    out
}

/// The filters of a segment's blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filters {
    blocks: usize,
    buckets: usize,
    section: &'static str,
}

impl Filters {
    /// Nothing where the file has no such section.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn open(
        file: &SectionFile,
        section: &'static str,
        blocks_wanted: usize,
    ) -> Result<Option<Filters>, StorageError> {
        let Some(length) = file.len(section) else { return Ok(None) };
        let header = file.read_range(section, 0, HEADER_BYTES as u64)?;
        let number = |at: usize| {
            let chunk = header.get(at..).and_then(<[u8]>::first_chunk::<4>);
            chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk) as usize)
        };
        let (blocks, buckets) = (number(0), number(4));
        let size = (blocks as u64)
            .checked_mul(buckets as u64)
            .and_then(|size| size.checked_mul(BUCKET_BYTES as u64))
            .and_then(|size| size.checked_add(HEADER_BYTES as u64));
        if size != Some(length) || buckets == 0 || blocks != blocks_wanted {
            return Err(StorageError::corrupt(file.name(), "its filters have an odd size"));
        }
        Ok(Some(Filters { blocks, buckets, section }))
    }

    /// Clears the blocks in `candidates` that do not have the token.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn retain(
        self,
        file: &SectionFile,
        hash: u32,
        candidates: &mut [bool],
    ) -> Result<(), StorageError> {
        let length = self.blocks * BUCKET_BYTES;
        let start = HEADER_BYTES + bucket_of(hash, self.buckets) * length;
        let row = file.read_range(self.section, start as u64, length as u64)?;
        let bits = bits(hash);
        for (candidate, bucket) in candidates.iter_mut().zip(row.chunks_exact(BUCKET_BYTES)) {
            *candidate &= bucket.chunks_exact(4).zip(bits).all(|(word, bit)| {
                let word = word.first_chunk::<4>().map_or(0, |word| u32::from_le_bytes(*word));
                word & bit != 0
            });
        }
        Ok(())
    }
}
