//! Integers by their differences.
//!
//! Source: parquet-format `Encodings.md`, "Delta Encoding (DELTA_BINARY_PACKED = 5)".

use model::wire::{Reader, put_varint};

use super::packing::{bit_width, pack, unpack};

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends `values`.
pub(super) fn put_delta(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = i64>) {
    put_varint(out, BLOCK as u64);
    put_varint(out, MINIBLOCKS as u64);
    put_varint(out, values.len() as u64);
    let mut values = values;
    let first = values.next().unwrap_or(0);
    put_varint(out, zigzag(first));
    let mut previous = first;
    let mut deltas = [0i64; BLOCK];
    loop {
        let mut count = 0;
        for (slot, value) in deltas.iter_mut().zip(values.by_ref()) {
            *slot = value.wrapping_sub(previous);
            previous = value;
            count += 1;
        }
        if count == 0 {
            return;
        }
        put_block(out, deltas.get(..count).unwrap_or_default());
    }
}

#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
fn put_block(out: &mut Vec<u8>, deltas: &[i64]) {
    let min = deltas.iter().copied().min().unwrap_or(0);
    put_varint(out, zigzag(min));
    let widths_at = out.len();
    out.extend_from_slice(&[0; MINIBLOCKS]);
    for (index, miniblock) in deltas.chunks(MINIBLOCK).enumerate() {
        let all = miniblock.iter().fold(0, |all, delta| all | delta.wrapping_sub(min) as u64);
        let width = bit_width(all);
        out[widths_at + index] = width as u8;
        let padding = std::iter::repeat_n(0, MINIBLOCK - miniblock.len());
        let values = miniblock.iter().map(|delta| delta.wrapping_sub(min) as u64);
        pack(out, values.chain(padding), width);
    }
}

/// Reads at most `count_max` values and the bytes they took; nothing where the bytes are not of this
/// form.
pub(super) fn get_delta(bytes: &[u8], count_max: usize) -> Option<(Vec<i64>, usize)> {
    get_delta_until(bytes, count_max, usize::MAX)
}

/// As [`get_delta`], but unpacks only about the first `limit` values (at least these).
pub(super) fn get_delta_until(
    bytes: &[u8],
    count_max: usize,
    limit: usize,
) -> Option<(Vec<i64>, usize)> {
    let mut reader = Reader::new(bytes);
    let block = usize::try_from(reader.varint().ok()?).ok()?;
    let miniblocks = usize::try_from(reader.varint().ok()?).ok()?;
    let count = usize::try_from(reader.varint().ok()?).ok()?;
    if block != BLOCK || miniblocks != MINIBLOCKS || count > count_max {
        return None;
    }
    let mut value = unzigzag(reader.varint().ok()?);
    let mut values = Vec::with_capacity(count.min(limit.saturating_add(MINIBLOCK)));
    if count > 0 {
        values.push(value);
    }
    let mut passed = values.len();
    while passed < count {
        let min = unzigzag(reader.varint().ok()?);
        let widths = *bytes.get(reader.offset()..)?.first_chunk::<MINIBLOCKS>()?;
        reader.skip(MINIBLOCKS)?;
        for width in widths {
            let wanted = (count - passed).min(MINIBLOCK);
            if wanted == 0 {
                break;
            }
            if width > 64 {
                return None;
            }
            let length = usize::from(width) * MINIBLOCK / 8;
            let start = reader.offset();
            let packed = bytes.get(start..start + length)?;
            reader.skip(length)?;
            passed += wanted;
            if values.len() >= limit {
                continue;
            }
            unpack(packed, wanted, u32::from(width), |delta| {
                value = value.wrapping_add(min).wrapping_add(delta as i64);
                values.push(value);
            });
        }
    }
    Some((values, reader.offset()))
}
