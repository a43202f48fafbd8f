//! Pages: values of one column and one block, and the dictionaries they may point into.
//!
//! We write data pages of version 1 with four encodings: dictionary numbers (hybrid), delta for
//! integers, delta lengths for strings, plain for the rest. Reading accepts exactly these; every
//! length is checked, because a page may come from a file that is not what it says.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;

use super::delta::{get_delta, put_delta};
use super::packing::{bit_width, get_hybrid, pack, put_hybrid, unpack};
use super::spans::Spans;
use super::{Kind, PAGE_BYTES_MAX};

/// Values of one block as they were read.
#[derive(Debug)]
pub(crate) enum BlockValues {
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    Plain(Spans),
    Dictionary { dictionary: Arc<Spans>, numbers: Vec<u32> },
}

/// One column of one block.
#[derive(Debug)]
pub(crate) struct ColumnBlock {
    pub(crate) rows: usize,
    /// For each row where its value is, and at the end how many there are; a row that has none has
    /// the same as the next. Nothing when every row has one. Shape: `rows + 1`.
    pub(super) slots: Option<Vec<u32>>,
    pub(crate) values: BlockValues,
}

impl ColumnBlock {
    /// Where the values of rows `range` are.
    pub(super) fn value_range(&self, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
        match &self.slots {
            None => range,
            Some(slots) => {
                let at = |row: usize| slots.get(row).copied().unwrap_or(0) as usize;
                at(range.start)..at(range.end)
            }
        }
    }

    /// Whether `row` has a value.
    #[inline]
    pub(crate) fn has(&self, row: usize) -> bool {
        match &self.slots {
            None => row < self.rows,
            Some(slots) => match slots.get(row..) {
                Some([here, next, ..]) => here != next,
                _ => false,
            },
        }
    }

    /// Where the value of `row` is among the values.
    #[inline]
    pub(crate) fn slot(&self, row: usize) -> Option<usize> {
        match &self.slots {
            None => (row < self.rows).then_some(row),
            Some(slots) => match slots.get(row..) {
                Some([here, next, ..]) if here != next => Some(*here as usize),
                _ => None,
            },
        }
    }

    #[inline]
    pub(crate) fn int(&self, row: usize) -> Option<i64> {
        let BlockValues::Int(values) = &self.values else { return None };
        values.get(self.slot(row)?).copied()
    }

    #[inline]
    pub(crate) fn double(&self, row: usize) -> Option<f64> {
        let BlockValues::Double(values) = &self.values else { return None };
        values.get(self.slot(row)?).copied()
    }

    #[inline]
    pub(crate) fn bool(&self, row: usize) -> Option<bool> {
        let BlockValues::Bool(values) = &self.values else { return None };
        values.get(self.slot(row)?).copied()
    }

    #[inline]
    pub(crate) fn bytes(&self, row: usize) -> Option<&[u8]> {
        let slot = self.slot(row)?;
        match &self.values {
            BlockValues::Plain(values) => Some(values.get(slot)),
            BlockValues::Dictionary { dictionary, numbers } => {
                Some(dictionary.get(*numbers.get(slot)? as usize))
            }
            _ => None,
        }
    }

    /// All integers, when every row has one.
    pub(crate) fn ints(&self) -> Option<&[i64]> {
        match (&self.values, &self.slots) {
            (BlockValues::Int(values), None) => Some(values),
            _ => None,
        }
    }
}

/// Appends definition levels: which rows have a value.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
pub(super) fn put_levels(out: &mut Vec<u8>, present: impl ExactSizeIterator<Item = bool>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let levels: Vec<u32> = present.map(u32::from).collect();
    put_hybrid(out, &levels, 1);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends dictionary numbers with their width before them.
pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: &[u32], dictionary_len: usize) {
    let width = bit_width(dictionary_len.saturating_sub(1) as u64).max(1);
    out.push(width as u8);
    put_hybrid(out, numbers, width);
}

/// Appends the lengths of `strings` and then the strings.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
pub(super) fn put_strings(out: &mut Vec<u8>, data: &[u8], ends: &[u32], first: u32) {
    let mut start = first;
    let lengths = ends.iter().map(|&end| i64::from(end - std::mem::replace(&mut start, end)));
    put_delta(out, lengths);
    let last = ends.last().copied().unwrap_or(first);
    out.extend_from_slice(&data[first as usize..last as usize]);
}

/// Appends strings, each with its length before it, as dictionary pages hold them.
pub(super) fn put_plain_strings<'a>(out: &mut Vec<u8>, strings: impl Iterator<Item = &'a [u8]>) {
    for string in strings {
        out.extend_from_slice(&(string.len() as u32).to_le_bytes());
        out.extend_from_slice(string);
    }
}

pub(super) fn put_ints(out: &mut Vec<u8>, values: &[i64]) {
    put_delta(out, values.iter().copied());
}

pub(super) fn put_doubles(out: &mut Vec<u8>, values: &[f64]) {
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

pub(super) fn put_bools(out: &mut Vec<u8>, values: &[bool]) {
    pack(out, values.iter().map(|&value| u64::from(value)), 1);
}

/// A dictionary as it was read.
#[derive(Debug, Clone)]
pub(super) enum Dictionary {
    Strings(Arc<Spans>),
    Words(Vec<u64>),
}

/// What a page's header says.
#[derive(Debug, Default)]
pub(super) struct PageHeader {
    /// 0 data, 2 dictionary.
    pub(super) page_type: i64,
    pub(super) uncompressed_bytes: usize,
    pub(super) compressed_bytes: usize,
    pub(super) values: usize,
    pub(super) encoding: i64,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

/// Reads a dictionary page.
pub(super) fn decode_dictionary(page: Vec<u8>, count: usize, kind: Kind) -> Option<Dictionary> {
    match kind {
        Kind::Int | Kind::Double => {
            let words: Vec<u64> = page
                .chunks_exact(8)
                .take(count)
                .filter_map(|chunk| Some(u64::from_le_bytes(*chunk.first_chunk()?)))
                .collect();
            (words.len() == count).then_some(Dictionary::Words(words))
        }
        Kind::Fixed(width) => {
            let length = count.checked_mul(usize::from(width))?;
            let ends = fixed_ends(count, width)?;
            (page.len() == length)
                .then_some(())
                .and_then(|()| Spans::new(page.into(), ends))
                .map(|spans| Dictionary::Strings(Arc::new(spans)))
        }
        Kind::Text | Kind::Bytes => {
            let mut data = Vec::with_capacity(page.len());
            let mut ends = Vec::with_capacity(count.min(page.len() / 4));
            let mut rest = page.as_slice();
            for _ in 0..count {
                let (length, tail) = rest.split_first_chunk::<4>()?;
                let (string, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                data.extend_from_slice(string);
                ends.push(data.len() as u32);
                rest = tail;
            }
            Some(Dictionary::Strings(Arc::new(Spans::new(data.into(), ends)?)))
        }
        Kind::Bool => None,
    }
}

pub(super) fn fixed_ends(count: usize, width: u16) -> Option<Vec<u32>> {
    let width = u32::from(width);
    u32::try_from(count).ok()?.checked_mul(width)?;
    Some((1..=count as u32).map(|end| end * width).collect())
}

/// Reads a data page of `rows` rows.
pub(super) fn decode_page(
    page: Vec<u8>,
    rows: usize,
    spec: (Kind, bool),
    encoding: i64,
    dictionary: Option<&Dictionary>,
) -> Option<ColumnBlock> {
    let (kind, optional) = spec;
    let page = Bytes::from(page);
    let (slots, body) = if optional {
        let (length, rest) = page.split_first_chunk::<4>()?;
        let (levels, _) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let body = page.slice(4 + levels.len()..);
        (read_slots(levels, rows)?, body)
    } else {
        (None, page)
    };
    let count = match &slots {
        Some(slots) => slots.last().copied()? as usize,
        None => rows,
    };
    let values = decode_values(body, count, kind, encoding, dictionary)?;
    Some(ColumnBlock { rows, slots, values })
}

fn read_slots(levels: &[u8], rows: usize) -> Option<Option<Vec<u32>>> {
    let mut slots = get_hybrid(levels, rows, 1)?;
    let mut count = 0;
    for slot in &mut slots {
        let here = count;
        count += *slot & 1;
        *slot = here;
    }
    slots.push(count);
    Some((count as usize != rows).then_some(slots))
}

fn decode_values(
    body: Bytes,
    count: usize,
    kind: Kind,
    encoding: i64,
    dictionary: Option<&Dictionary>,
) -> Option<BlockValues> {
    if encoding == i64::from(Encoding::RLE_DICTIONARY as i32) {
        let (&width, rest) = body.split_first()?;
        let numbers = get_hybrid(rest, count, u32::from(width))?;
        return look_up(numbers, dictionary?, kind);
    }
    let delta = encoding == i64::from(Encoding::DELTA_BINARY_PACKED as i32);
    let lengths = encoding == i64::from(Encoding::DELTA_LENGTH_BYTE_ARRAY as i32);
    let plain = encoding == i64::from(Encoding::PLAIN as i32);
    match kind {
        Kind::Int if delta => {
            let (values, _) = get_delta(&body, count)?;
            (values.len() == count).then_some(BlockValues::Int(values))
        }
        Kind::Double if plain => {
            let bytes = body.get(..count.checked_mul(8)?)?;
            let values = bytes.chunks_exact(8).filter_map(|chunk| {
                Some(f64::from_bits(u64::from_le_bytes(*chunk.first_chunk()?)))
            });
            Some(BlockValues::Double(values.collect()))
        }
        Kind::Bool if plain => {
            body.get(..count.div_ceil(8))?;
            let mut values = Vec::with_capacity(count);
            unpack(&body, count, 1, |value| values.push(value != 0));
            Some(BlockValues::Bool(values))
        }
        Kind::Fixed(width) if plain => {
            let bytes = body.slice(..count.checked_mul(usize::from(width))?.min(body.len()));
            Some(BlockValues::Plain(Spans::new(bytes, fixed_ends(count, width)?)?))
        }
        Kind::Text | Kind::Bytes if lengths => {
            let (lengths, taken) = get_delta(&body, count)?;
            let mut end = 0u32;
            let mut ends = Vec::with_capacity(lengths.len());
            for length in lengths {
                end = end.checked_add(u32::try_from(length).ok()?)?;
                ends.push(end);
            }
            (ends.len() == count).then_some(())?;
            Some(BlockValues::Plain(Spans::new(body.slice(taken..), ends)?))
        }
        _ => None,
    }
}

pub(super) fn look_up(
    numbers: Vec<u32>,
    dictionary: &Dictionary,
    kind: Kind,
) -> Option<BlockValues> {
    let known = |len: usize| numbers.iter().all(|&number| (number as usize) < len);
    match dictionary {
        Dictionary::Strings(strings) => known(strings.len())
            .then(|| BlockValues::Dictionary { dictionary: strings.clone(), numbers }),
        Dictionary::Words(words) if known(words.len()) => {
            let words = numbers.iter().filter_map(|&number| words.get(number as usize).copied());
            Some(match kind {
                Kind::Double => BlockValues::Double(words.map(f64::from_bits).collect()),
                _ => BlockValues::Int(words.map(|word| word as i64).collect()),
            })
        }
        Dictionary::Words(_) => None,
    }
}

impl PageHeader {
    /// Reads a `PageHeader` in Thrift's compact protocol; nothing where it is not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<PageHeader> {
        let mut thrift = Thrift { reader: model::wire::Reader::new(bytes), bytes };
        let mut header = PageHeader::default();
        let mut field = 0;
        while let Some(kind) = thrift.next_field(&mut field)? {
            match (field, kind) {
                (1, 5) => header.page_type = thrift.int()?,
                (2, 5) => header.uncompressed_bytes = usize::try_from(thrift.int()?).ok()?,
                (3, 5) => header.compressed_bytes = usize::try_from(thrift.int()?).ok()?,
                (5 | 7, 12) => {
                    let mut inner = 0;
                    while let Some(kind) = thrift.next_field(&mut inner)? {
                        match (inner, kind) {
                            (1, 5) => header.values = usize::try_from(thrift.int()?).ok()?,
                            (2, 5) => header.encoding = thrift.int()?,
                            _ => thrift.skip(kind, 0)?,
                        }
                    }
                }
                _ => thrift.skip(kind, 0)?,
            }
        }
        header.bytes = thrift.reader.offset();
        (header.uncompressed_bytes <= PAGE_BYTES_MAX).then_some(header)
    }
}

/// The little of Thrift's compact protocol that page headers need.
struct Thrift<'a> {
    reader: model::wire::Reader<'a>,
    bytes: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.reader.offset())?;
        self.reader.skip(1)?;
        Some(byte)
    }

    fn int(&mut self) -> Option<i64> {
        let value = self.reader.varint().ok()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The kind of the next field, whose number goes to `field`; `Some(None)` at the end.
    #[expect(clippy::option_option, reason = "the outer one is broken bytes, the inner the end")]
    fn next_field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *field = match head >> 4 {
            0 => self.int()?,
            delta => *field + i64::from(delta),
        };
        Some(Some(head & 15))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > 4 {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.reader.skip(1),
            4..=6 => self.int().map(|_| ()),
            7 => self.reader.skip(8),
            8 => {
                let length = usize::try_from(self.reader.varint().ok()?).ok()?;
                self.reader.skip(length)
            }
            12 => {
                let mut field = 0;
                while let Some(kind) = self.next_field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}
