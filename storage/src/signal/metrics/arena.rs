//! Samples of the memtable: one stream of bytes a series, in blocks of one cache line.
//!
//! A sample is a control byte, then what changed: the low half tells how the value is kept (same as
//! before, whole-number difference, or exclusive-or without its trailing zero bytes), the high half
//! how the time is (same step as before, or the change of step). Regular samples of whole numbers take
//! 1 to 3 bytes and everything comes back bit for bit. Appending touches one block and the series'
//! slot, nothing else. Only this process reads these bytes, so their form is no format.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

/// Bytes of a block that hold samples; the other four link to the next block.
const BLOCK_BYTES: usize = 60;
/// Blocks that are allocated together.
const PAGE_BLOCKS: usize = 4096;
/// No block.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Block {
    bytes: [u8; BLOCK_BYTES],
    next: u32,
}

const EMPTY: Block = Block { bytes: [0; BLOCK_BYTES], next: NONE };

/// Blocks of all series.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pages: Vec<Box<[Block]>>,
    used: u32,
}

/// Where a series' stream begins and ends, and its newest sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamEnd {
    head: u32,
    tail: u32,
    tail_used: u32,
    pub(crate) count: u32,
    time_ms: i64,
    step_ms: i64,
    bits: u64,
}

impl StreamEnd {
    pub(crate) const NEW: StreamEnd = StreamEnd {
        head: NONE,
        tail: NONE,
        tail_used: BLOCK_BYTES as u32,
        count: 0,
        time_ms: 0,
        step_ms: 0,
        bits: 0,
    };
}

impl Arena {
    /// Memory taken. Units: bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pages.len() * PAGE_BLOCKS * size_of::<Block>()
    }

    /// Appends a sample to a series; times may come in any order.
    #[inline]
    pub(crate) fn push(&mut self, end: &mut StreamEnd, time_ms: i64, bits: u64) {
        let mut record = [0u8; 32];
        let (value_code, value, value_bytes) = value_code(end.bits, bits);
        record[1..9].copy_from_slice(&value.to_le_bytes());
        let mut length = 1 + value_bytes;
        let step = time_ms.wrapping_sub(end.time_ms);
        let mut time_code = 0u8;
        if step != end.step_ms {
            let change = super::schema::zigzag(step.wrapping_sub(end.step_ms));
            let bytes = byte_length(change);
            record[length..length + 8].copy_from_slice(&change.to_le_bytes());
            length += bytes;
            time_code = bytes as u8;
        }
        record[0] = value_code | time_code << 4;
        end.time_ms = time_ms;
        end.step_ms = step;
        end.bits = bits;
        end.count += 1;
        self.write(end, &record[..length]);
    }

    #[inline]
    fn write(&mut self, end: &mut StreamEnd, mut record: &[u8]) {
        loop {
            let used = end.tail_used as usize;
            let fits = record.len().min(BLOCK_BYTES - used);
            if fits > 0 {
                let block = self.block_mut(end.tail);
                block.bytes[used..used + fits].copy_from_slice(&record[..fits]);
                end.tail_used += fits as u32;
                record = &record[fits..];
            }
            if record.is_empty() {
                return;
            }
            self.extend(end);
        }
    }

    #[inline]
    fn block_mut(&mut self, index: u32) -> &mut Block {
        &mut self.pages[index as usize / PAGE_BLOCKS][index as usize % PAGE_BLOCKS]
    }

    #[cold]
    fn extend(&mut self, end: &mut StreamEnd) {
        let index = self.used;
        if index as usize == self.pages.len() * PAGE_BLOCKS {
            self.pages.push(vec![EMPTY; PAGE_BLOCKS].into_boxed_slice());
        }
        self.used += 1;
        if end.tail == NONE {
            end.head = index;
        } else {
            self.block_mut(end.tail).next = index;
        }
        end.tail = index;
        end.tail_used = 0;
    }

    /// Appends all samples of a series to `times` and `values`.
    pub(crate) fn read(&self, end: &StreamEnd, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let mut scratch = Vec::with_capacity(end.count as usize * 4 + BLOCK_BYTES);
        let mut index = end.head;
        while index != NONE {
            let block = &self.pages[index as usize / PAGE_BLOCKS][index as usize % PAGE_BLOCKS];
            let used = if index == end.tail { end.tail_used as usize } else { BLOCK_BYTES };
            scratch.extend_from_slice(&block.bytes[..used]);
            index = if index == end.tail { NONE } else { block.next };
        }
        // Numbers are read eight bytes at a time, also the last one.
        scratch.extend_from_slice(&[0; 16]);
        decode(&scratch, end.count as usize, times, values);
    }
}

fn decode(bytes: &[u8], count: usize, times: &mut Vec<i64>, values: &mut Vec<f64>) {
    times.reserve(count);
    values.reserve(count);
    let (mut time, mut step, mut bits) = (0i64, 0i64, 0u64);
    let mut at = 0;
    for _ in 0..count {
        let control = bytes[at];
        at += 1;
        let code = usize::from(control & 15);
        if code != 0 {
            let width = if code < 8 { code } else { code - 7 };
            let number = load(bytes, at, width);
            at += width;
            bits = if code < 8 {
                let difference = super::schema::unzigzag(number);
                ((f64::from_bits(bits) as i64 + difference) as f64).to_bits()
            } else {
                bits ^ number << (8 * (8 - width))
            };
        }
        let width = usize::from(control >> 4);
        if width != 0 {
            step = step.wrapping_add(super::schema::unzigzag(load(bytes, at, width)));
            at += width;
        }
        time = time.wrapping_add(step);
        times.push(time);
        values.push(f64::from_bits(bits));
    }
}

#[inline]
fn load(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw) & (u64::MAX >> (64 - 8 * width))
}

/// Code, number and its width in bytes for a value after another one.
#[inline]
fn value_code(before: u64, bits: u64) -> (u8, u64, usize) {
    if before == bits {
        return (0, 0, 0);
    }
    if let (Some(old), Some(new)) = (whole(before), whole(bits)) {
        let difference = super::schema::zigzag(new - old);
        let width = byte_length(difference);
        return (width as u8, difference, width);
    }
    let changed = before ^ bits;
    let width = 8 - changed.trailing_zeros() as usize / 8;
    ((7 + width) as u8, changed >> (8 * (8 - width)), width)
}

/// The whole number that a float is, if it comes back bit for bit and differences fit seven bytes.
#[inline]
fn whole(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let number = value as i64;
    let exact = (number as f64).to_bits() == bits && number.unsigned_abs() < 1 << 53;
    exact.then_some(number)
}

#[inline]
fn byte_length(number: u64) -> usize {
    (71 - (number | 1).leading_zeros() as usize) / 8
}
