//! The index file: from an ID to the traces and blocks that may have it.
//!
//! Three parts: an ID index from trace IDs to traces (rows of `traces.parquet`), the blocks of each
//! trace, and an ID index from span IDs and declared ID fields to blocks.
//! Format: FORMAT.md, "Trace segment".

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::StorageError;
use crate::ids::{BitWriter, IdIndex, IdIndexBuilder, read_bits};
use crate::segment::SegmentSource;

const MAGIC: [u8; 4] = *b"TTIX";
const VERSION: u32 = 1;
/// Magic, version, counts of traces and pairs, bits of a block number, 4 bytes of nothing, then the
/// ends of the parts.
const HEADER_BYTES: usize = 24 + 3 * 8;
/// Traces of a group.
const GROUP: u64 = 64;

/// Collects what the index leads to.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    pub(super) traces: IdIndexBuilder,
    pub(super) ids: IdIndexBuilder,
    /// (trace, block), blocks ascending.
    pairs: Vec<(u32, u32)>,
}

impl IndexBuilder {
    pub(super) fn with_capacity(rows: usize) -> Self {
        IndexBuilder {
            traces: IdIndexBuilder::new(),
            ids: IdIndexBuilder::with_capacity(rows),
            pairs: Vec::with_capacity(rows),
        }
    }

    /// Says that `block` has a span of `trace`. Blocks come in ascending order.
    #[inline]
    pub(super) fn trace_in_block(&mut self, trace: u32, block: u32) {
        self.pairs.push((trace, block));
    }

    /// The file.
    pub(super) fn finish(self, trace_count: u32, block_count: u32) -> Bytes {
        let block_bits = 32 - block_count.saturating_sub(1).leading_zeros();
        let (blocks, pair_count) = encode_blocks(&self.pairs, trace_count, block_bits);
        let parts = [self.traces.finish(), blocks, self.ids.finish()];
        let mut out = Vec::with_capacity(HEADER_BYTES + parts.iter().map(Vec::len).sum::<usize>());
        out.extend_from_slice(&MAGIC);
        for number in [VERSION, trace_count, pair_count, block_bits, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut end = HEADER_BYTES as u64;
        for part in &parts {
            end += part.len() as u64;
            out.extend_from_slice(&end.to_le_bytes());
        }
        for part in parts {
            out.extend_from_slice(&part);
        }
        out.into()
    }
}

/// For each group of traces the pairs before it, then for each group: for each trace a one for each
/// block and a zero, and the block numbers.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
fn encode_blocks(pairs: &[(u32, u32)], trace_count: u32, block_bits: u32) -> (Vec<u8>, u32) {
    let mut starts = vec![0u32; trace_count as usize + 1];
    for pair in pairs {
        starts[pair.0 as usize + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut next = starts.clone();
    let mut blocks = vec![0u32; pairs.len()];
    for &(trace, block) in pairs {
        let slot = &mut next[trace as usize];
        blocks[*slot as usize] = block;
        *slot += 1;
    }

    let mut directory = Vec::new();
    let mut bits = BitWriter::new();
    let mut count = 0u32;
    let mut group = Vec::new();
    for first in (0..trace_count as usize).step_by(GROUP as usize) {
        directory.extend_from_slice(&count.to_le_bytes());
        group.clear();
        for trace in first..first + GROUP as usize {
            let range = match (starts.get(trace), starts.get(trace + 1)) {
                (Some(&start), Some(&end)) => start as usize..end as usize,
                _ => 0..0,
            };
            let before = group.len();
            group.extend_from_slice(&blocks[range]);
            // Blocks come ascending, so equal ones are neighbours.
            dedup_tail(&mut group, before);
            for _ in before..group.len() {
                bits.push(1, 1);
            }
            bits.push(0, 1);
        }
        for &block in &group {
            bits.push(block, block_bits);
        }
        count += group.len() as u32;
    }
    directory.extend_from_slice(&count.to_le_bytes());
    directory.extend_from_slice(&bits.finish());
    (directory, count)
}

#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
fn dedup_tail(list: &mut Vec<u32>, start: usize) {
    let mut kept = start;
    for at in start..list.len() {
        if kept == start || list[kept - 1] != list[at] {
            list[kept] = list[at];
            kept += 1;
        }
    }
    list.truncate(kept);
}

/// An open index file.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) traces: IdIndex,
    pub(super) ids: IdIndex,
    source: Arc<dyn SegmentSource>,
    pub(super) trace_count: u32,
    block_bits: u32,
    /// Pairs before each group of traces, `u32` each, and all of them at the end.
    directory: Bytes,
    /// Where the groups' bits are in the file.
    bits: Range<u64>,
}

impl Index {
    /// Errors: Corrupt, Io.
    pub(super) fn open(source: &Arc<dyn SegmentSource>) -> Result<Index, StorageError> {
        let corrupt = |why: &str| StorageError::corrupt(source.name(), why);
        if source.len() < HEADER_BYTES as u64 {
            return Err(corrupt("it is shorter than its header"));
        }
        let header = source.read(0..HEADER_BYTES as u64)?;
        let number = |index: u64| read_bits(&header, index * 32, 32);
        if !header.starts_with(&MAGIC) || number(1) != VERSION {
            return Err(corrupt("unknown magic or version"));
        }
        let (trace_count, pair_count, block_bits) = (number(2), number(3), number(4));
        let end = |part: u64| {
            let low = u64::from(number(6 + 2 * part));
            low | u64::from(number(7 + 2 * part)) << 32
        };
        let (traces_end, blocks_end, ids_end) = (end(0), end(1), end(2));
        let groups = u64::from(trace_count).div_ceil(GROUP);
        let directory_end = traces_end.saturating_add((groups + 1) * 4);
        let bits_len = groups * GROUP + u64::from(pair_count) * u64::from(1 + block_bits.min(32));
        let bits_end = directory_end.saturating_add(bits_len.div_ceil(8));
        let is_sound = block_bits <= 32
            && HEADER_BYTES as u64 <= traces_end
            && bits_end <= blocks_end
            && blocks_end <= ids_end
            && ids_end <= source.len();
        if !is_sound {
            return Err(corrupt("its parts do not fit"));
        }
        let directory = source.read(traces_end..directory_end)?;
        let index = Index {
            traces: IdIndex::open(source, HEADER_BYTES as u64..traces_end)?,
            ids: IdIndex::open(source, blocks_end..ids_end)?,
            source: Arc::clone(source),
            trace_count,
            block_bits,
            directory,
            bits: directory_end..bits_end,
        };
        let starts = (0..=groups).map(|group| index.pairs_before(group));
        if !starts.is_sorted() || index.pairs_before(groups) != u64::from(pair_count) {
            return Err(corrupt("its groups are out of order"));
        }
        Ok(index)
    }

    fn pairs_before(&self, group: u64) -> u64 {
        u64::from(read_bits(&self.directory, group * 32, 32))
    }

    /// Blocks that have spans of `trace`, ascending.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn blocks_of(&self, trace: u32) -> Result<Vec<u32>, StorageError> {
        if trace >= self.trace_count {
            return Ok(Vec::new());
        }
        let group = u64::from(trace) / GROUP;
        let (start, end) = (self.pairs_before(group), self.pairs_before(group + 1));
        let width = u64::from(1 + self.block_bits);
        let (first_bit, end_bit) =
            (group * GROUP + start * width, (group + 1) * GROUP + end * width);
        let bytes = self
            .source
            .read(self.bits.start + first_bit / 8..self.bits.start + end_bit.div_ceil(8))?;
        let at = first_bit % 8;
        let entries = ones_of(&bytes, at, GROUP + end - start, u64::from(trace) % GROUP);
        let numbers_at = at + GROUP + (end - start);
        let bits = self.block_bits;
        Ok(entries.map(|i| read_bits(&bytes, numbers_at + i * u64::from(bits), bits)).collect())
    }
}

/// The ones between the zeros `slot - 1` and `slot`, counted from the first one.
fn ones_of(bytes: &[u8], at: u64, bits: u64, slot: u64) -> Range<u64> {
    let (mut zeros, mut ones, mut start) = (0, 0, 0);
    for bit in 0..bits {
        if read_bits(bytes, at + bit, 1) == 1 {
            ones += 1;
            continue;
        }
        if zeros == slot {
            return start..ones;
        }
        zeros += 1;
        start = ones;
    }
    0..0
}
