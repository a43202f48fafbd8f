//! Small integers: Parquet's hybrid of runs and bit packing.
//!
//! Source: parquet-format `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid".

use model::wire::{Reader, put_varint};

/// Bits needed for values up to `max`.
pub(super) fn bit_width(max: u64) -> u32 {
    64 - max.leading_zeros()
}

/// Appends `values`, least significant bit first, each in `width` bits (at most 64), and pads the
/// last byte with zeros.
pub(super) fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    let mut buffer = 0u128;
    let mut filled = 0u32;
    for value in values {
        buffer |= u128::from(value) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&(buffer as u64).to_le_bytes());
            buffer >>= 64;
            filled -= 64;
        }
    }
    let bytes = buffer.to_le_bytes();
    out.extend_from_slice(bytes.get(..filled.div_ceil(8) as usize).unwrap_or_default());
}

/// Calls `take` with `count` values of `width` bits (at most 64). `bytes` must hold them all.
#[inline]
pub(super) fn unpack(bytes: &[u8], count: usize, width: u32, mut take: impl FnMut(u64)) {
    let mask = if width >= 64 { u64::MAX } else { (1u64 << width) - 1 };
    let mut bit = 0usize;
    for _ in 0..count {
        let start = bit / 8;
        let shift = (bit % 8) as u32;
        let word = load(bytes, start);
        let mut value = word >> shift;
        if shift + width > 64 {
            let high = bytes.get(start + 8).copied().unwrap_or(0);
            value |= u64::from(high) << (64 - shift);
        }
        take(value & mask);
        bit += width as usize;
    }
}

/// Eight bytes from `start`, with zeros for what lies beyond the end.
#[inline]
fn load(bytes: &[u8], start: usize) -> u64 {
    if let Some(chunk) = bytes.get(start..).and_then(<[u8]>::first_chunk::<8>) {
        return u64::from_le_bytes(*chunk);
    }
    let mut raw = [0u8; 8];
    let rest = bytes.get(start..).unwrap_or_default();
    for (target, &source) in raw.iter_mut().zip(rest) {
        *target = source;
    }
    u64::from_le_bytes(raw)
}

/// Appends `values` as a hybrid of runs and packed groups of eight.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
pub(super) fn put_hybrid(out: &mut Vec<u8>, values: &[u32], width: u32) {
    let mut literals = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|&&other| other == value).count();
        if run < 8 {
            at = (at + 8).min(values.len());
            continue;
        }
        put_literals(out, &values[literals..at], width);
        put_varint(out, (run as u64) << 1);
        out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
        at += run;
        literals = at;
    }
    put_literals(out, &values[literals..], width);
}

fn put_literals(out: &mut Vec<u8>, values: &[u32], width: u32) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    put_varint(out, (groups as u64) << 1 | 1);
    let padding = std::iter::repeat_n(0, groups * 8 - values.len());
    pack(out, values.iter().map(|&value| u64::from(value)).chain(padding), width);
}

/// A stretch of a hybrid.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stretch<'a> {
    /// One value many times.
    Same(u32),
    Packed(&'a [u8]),
}

impl Stretch<'_> {
    /// The value at `index`, which lies in the stretch.
    pub(super) fn get(self, index: usize, width: u32) -> u32 {
        match self {
            Stretch::Same(value) => value,
            Stretch::Packed(bytes) => {
                let bit = index * width as usize;
                let word = load(bytes, bit / 8) >> (bit % 8);
                (word & ((1u64 << width.min(32)) - 1)) as u32
            }
        }
    }
}

/// Calls `take` with the stretches of `count` values of `width` bits and their lengths, until it
/// answers that it has enough; nothing where the bytes do not hold them.
pub(super) fn for_each_stretch<'a>(
    bytes: &'a [u8],
    count: usize,
    width: u32,
    mut take: impl FnMut(Stretch<'a>, usize) -> bool,
) -> Option<()> {
    if width > 32 {
        return None;
    }
    let mut reader = Reader::new(bytes);
    let mut left = count;
    while left > 0 {
        let header = reader.varint().ok()?;
        let length = usize::try_from(header >> 1).ok()?;
        let start = reader.offset();
        let (stretch, run, bytes_taken) = if header & 1 == 0 {
            let value_bytes = width.div_ceil(8) as usize;
            let mut raw = [0u8; 4];
            raw.get_mut(..value_bytes)?
                .copy_from_slice(bytes.get(start..start.checked_add(value_bytes)?)?);
            (Stretch::Same(u32::from_le_bytes(raw)), length, value_bytes)
        } else {
            let packed_bytes = length.checked_mul(width as usize)?;
            let packed = bytes.get(start..start.checked_add(packed_bytes)?)?;
            (Stretch::Packed(packed), length.checked_mul(8)?, packed_bytes)
        };
        reader.skip(bytes_taken)?;
        let run = run.min(left);
        if run == 0 {
            return None;
        }
        left -= run;
        if take(stretch, run) {
            return Some(());
        }
    }
    Some(())
}

/// Reads `count` values of `width` bits; nothing where the bytes do not hold them.
pub(super) fn get_hybrid(bytes: &[u8], count: usize, width: u32) -> Option<Vec<u32>> {
    if width > 32 {
        return None;
    }
    let mut values = Vec::with_capacity(count.min(super::ROW_GROUP_ROWS));
    let mut reader = Reader::new(bytes);
    let value_bytes = width.div_ceil(8) as usize;
    while values.len() < count {
        let header = reader.varint().ok()?;
        let wanted = count - values.len();
        if header & 1 == 0 {
            let run = usize::try_from(header >> 1).ok()?.min(wanted);
            let mut raw = [0u8; 4];
            let start = reader.offset();
            raw.get_mut(..value_bytes)?
                .copy_from_slice(bytes.get(start..start.checked_add(value_bytes)?)?);
            reader.skip(value_bytes)?;
            values.extend(std::iter::repeat_n(u32::from_le_bytes(raw), run));
            if run == 0 {
                return None;
            }
        } else {
            let groups = usize::try_from(header >> 1).ok()?;
            let length = groups.checked_mul(width as usize)?;
            let start = reader.offset();
            let packed = bytes.get(start..start.checked_add(length)?)?;
            reader.skip(length)?;
            let run = groups.checked_mul(8)?.min(wanted);
            if run == 0 {
                return None;
            }
            unpack(packed, run, width, |value| values.push(value as u32));
        }
    }
    Some(values)
}
