//! Single rows of a page: what an answer needs of a block of thousands.
//!
//! The values before a wanted one are passed over where the encoding allows it, and the bytes behind
//! the last wanted one are not looked at, so that a page need not be decompressed to its end. What
//! comes out is a [`ColumnBlock`] that has the wanted rows alone, in their order.

use bytes::Bytes;
use memchr::memmem::Finder;
use parquet::basic::Encoding;

use super::Kind;
use super::delta::get_delta_until;
use super::packing::{Stretch, for_each_stretch};
use super::page::{BlockValues, ColumnBlock, Dictionary, PageHeader, fixed_ends, look_up};
use super::spans::{Spans, SpansBuilder};

/// Reads `rows` (ascending) of a data page, of which `page` is the start. Nothing where a byte that
/// is needed lies behind it, or the page contradicts its header.
pub(super) fn decode_rows(
    page: &[u8],
    header: &PageHeader,
    (kind, optional): (Kind, bool),
    dictionary: Option<&Dictionary>,
    rows: &[u32],
) -> Option<ColumnBlock> {
    if rows.last().is_some_and(|&last| last as usize >= header.values) {
        return None;
    }
    let (places, body) = if optional {
        let (length, rest) = page.split_first_chunk::<4>()?;
        let (levels, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        (read_places(levels, header.values, rows)?, body)
    } else {
        (Places { values: rows.to_vec(), slots: None }, page)
    };
    let values = decode_values(body, header, kind, dictionary, &places.values)?;
    Some(ColumnBlock { rows: rows.len(), slots: places.slots, values })
}

/// Where the values of the wanted rows are among those of the page, ascending, and among themselves.
struct Places {
    values: Vec<u32>,
    slots: Option<Vec<u32>>,
}

fn read_places(levels: &[u8], count: usize, rows: &[u32]) -> Option<Places> {
    let mut values = Vec::with_capacity(rows.len());
    let mut slots = Vec::with_capacity(rows.len() + 1);
    // Rows, and values, before the stretch.
    let (mut before, mut present) = (0usize, 0u32);
    let mut next = rows.iter().peekable();
    for_each_stretch(levels, count, 1, |stretch, length| {
        while let Some(&&row) = next.peek()
            && (row as usize) < before + length
        {
            next.next();
            let index = row as usize - before;
            slots.push(values.len() as u32);
            if stretch.get(index, 1) == 1 {
                values.push(present + ones(stretch, index));
            }
        }
        before += length;
        present += ones(stretch, length);
        next.peek().is_none()
    })?;
    slots.push(values.len() as u32);
    let slots = (values.len() != rows.len()).then_some(slots);
    Some(Places { values, slots })
}

/// How many of the first `count` levels are one.
fn ones(stretch: Stretch<'_>, count: usize) -> u32 {
    match stretch {
        Stretch::Same(level) => (level & 1) * count as u32,
        Stretch::Packed(bytes) => {
            let (whole, rest) = bytes.split_at((count / 8).min(bytes.len()));
            let whole: u32 = whole.iter().map(|byte| byte.count_ones()).sum();
            let last = rest.first().copied().unwrap_or(0);
            whole + (last & ((1u8 << (count % 8)) - 1)).count_ones()
        }
    }
}

/// The values at `places`, which are ascending.
fn decode_values(
    body: &[u8],
    header: &PageHeader,
    kind: Kind,
    dictionary: Option<&Dictionary>,
    places: &[u32],
) -> Option<BlockValues> {
    // Values of the page up to the last wanted one.
    let limit = places.last().map_or(0, |&last| last as usize + 1);
    let is = |encoding: Encoding| header.encoding == i64::from(encoding as i32);
    if is(Encoding::RLE_DICTIONARY) {
        let (&width, rest) = body.split_first()?;
        let mut numbers = Vec::with_capacity(places.len());
        let mut before = 0;
        let mut next = places.iter().peekable();
        for_each_stretch(rest, limit, u32::from(width), |stretch, length| {
            while let Some(&&place) = next.peek()
                && (place as usize) < before + length
            {
                next.next();
                numbers.push(stretch.get(place as usize - before, u32::from(width)));
            }
            before += length;
            next.peek().is_none()
        })?;
        return look_up(numbers, dictionary?, kind);
    }
    match kind {
        Kind::Int if is(Encoding::DELTA_BINARY_PACKED) => {
            let (values, _) = get_delta_until(body, header.values, limit)?;
            let picked = places.iter().map(|&place| values.get(place as usize).copied());
            picked.collect::<Option<_>>().map(BlockValues::Int)
        }
        Kind::Double if is(Encoding::PLAIN) => {
            let picked = places.iter().map(|&place| {
                let bytes = body.get(place as usize * 8..)?.first_chunk::<8>()?;
                Some(f64::from_bits(u64::from_le_bytes(*bytes)))
            });
            picked.collect::<Option<_>>().map(BlockValues::Double)
        }
        Kind::Bool if is(Encoding::PLAIN) => {
            let picked = places
                .iter()
                .map(|&place| Some(body.get(place as usize / 8)? >> (place % 8) & 1 == 1));
            picked.collect::<Option<_>>().map(BlockValues::Bool)
        }
        Kind::Fixed(width) if is(Encoding::PLAIN) => {
            let width_bytes = usize::from(width);
            let mut data = Vec::with_capacity(places.len() * width_bytes);
            for &place in places {
                let start = place as usize * width_bytes;
                data.extend_from_slice(body.get(start..start + width_bytes)?);
            }
            let ends = fixed_ends(places.len(), width)?;
            Some(BlockValues::Plain(Spans::new(Bytes::from(data), ends)?))
        }
        Kind::Text | Kind::Bytes if is(Encoding::DELTA_LENGTH_BYTE_ARRAY) => {
            let (lengths, taken) = get_delta_until(body, header.values, limit)?;
            pick_strings(body.get(taken..)?, &lengths, places).map(BlockValues::Plain)
        }
        _ => None,
    }
}

fn pick_strings(data: &[u8], lengths: &[i64], places: &[u32]) -> Option<Spans> {
    let mut picked = SpansBuilder::default();
    let (mut start, mut at) = (0usize, 0);
    for &place in places {
        for &length in lengths.get(at..place as usize)? {
            start = start.checked_add(usize::try_from(length).ok()?)?;
        }
        at = place as usize;
        let length = usize::try_from(*lengths.get(at)?).ok()?;
        picked.push(data.get(start..start.checked_add(length)?)?);
    }
    Some(picked.finish())
}

impl ColumnBlock {
    /// The block with `rows` (ascending) alone.
    pub(crate) fn pick(&self, rows: &[u32]) -> ColumnBlock {
        let mut slots = Vec::with_capacity(rows.len() + 1);
        let mut places: Vec<usize> = Vec::with_capacity(rows.len());
        for &row in rows {
            slots.push(places.len() as u32);
            places.extend(self.slot(row as usize));
        }
        slots.push(places.len() as u32);
        let values = match &self.values {
            BlockValues::Int(values) => BlockValues::Int(pick(values, &places)),
            BlockValues::Double(values) => BlockValues::Double(pick(values, &places)),
            BlockValues::Bool(values) => BlockValues::Bool(pick(values, &places)),
            BlockValues::Plain(values) => {
                let mut picked = SpansBuilder::default();
                places.iter().for_each(|&place| picked.push(values.get(place)));
                BlockValues::Plain(picked.finish())
            }
            BlockValues::Dictionary { dictionary, numbers } => BlockValues::Dictionary {
                dictionary: dictionary.clone(),
                numbers: pick(numbers, &places),
            },
        };
        let slots = (places.len() != rows.len()).then_some(slots);
        ColumnBlock { rows: rows.len(), slots, values }
    }

    /// Whether the bytes are found among the strings of the block, if only across the end of one.
    pub(crate) fn holds(&self, finder: &Finder<'_>) -> bool {
        match &self.values {
            BlockValues::Plain(strings) => finder.find(strings.data()).is_some(),
            BlockValues::Dictionary { dictionary, .. } => finder.find(dictionary.data()).is_some(),
            _ => false,
        }
    }

    /// Marks the rows whose value is `bytes`, which are not empty.
    pub(crate) fn mark_equal(&self, bytes: &[u8], hits: &mut [bool]) {
        let mut mark = |slot: usize| {
            if let Some(hit) = self.row_of(slot).and_then(|row| hits.get_mut(row)) {
                *hit = true;
            }
        };
        match &self.values {
            BlockValues::Plain(values) => find_equal(values, bytes).for_each(&mut mark),
            BlockValues::Dictionary { dictionary, numbers } => {
                for wanted in find_equal(dictionary, bytes) {
                    let slots = numbers.iter().enumerate();
                    let slots = slots.filter(|(_, number)| **number as usize == wanted);
                    slots.for_each(|(slot, _)| mark(slot));
                }
            }
            _ => {}
        }
    }

    /// The row whose value is at `slot`.
    fn row_of(&self, slot: usize) -> Option<usize> {
        match &self.slots {
            None => (slot < self.rows).then_some(slot),
            // The last row of those that have as many values before them is the one with a value.
            Some(slots) => slots.partition_point(|&first| first as usize <= slot).checked_sub(1),
        }
    }
}

/// Where `wanted`, which is not empty, is among `values`: one search of all their bytes.
fn find_equal<'a>(values: &'a Spans, wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let (data, ends) = (values.data(), values.ends());
    let finder = Finder::new(wanted);
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + finder.find(data.get(from..)?)?;
            let slot = ends.partition_point(|&end| end as usize <= start);
            let end = *ends.get(slot)? as usize;
            let is_whole = end - start == wanted.len() && values.get(slot).len() == wanted.len();
            // Where it began in the middle of a value, the next one may overlap it.
            from = if is_whole { end } else { start + 1 };
            if is_whole {
                return Some(slot);
            }
        }
    })
}

fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().filter_map(|&place| values.get(place).copied()).collect()
}
