//! Finds series by their labels: for each label name the sorted values and the series that have them.
//!
//! A label section is one compressed section of the segment, loaded when a matcher or an answer first
//! needs that label and then kept. Postings are exact, so nothing found here needs a second check.
//! Format: FORMAT.md "Metric segment", "label section".

use std::ops::Range;

use model::wire::put_varint;

use super::schema::{Cursor, Malformed, put_string};
use crate::{MatchOp, Matcher};

/// A set of series numbers or slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitset {
    words: Vec<u64>,
    /// Numbers are below.
    count: usize,
}

impl Bitset {
    pub(crate) fn empty(count: usize) -> Bitset {
        Bitset { words: vec![0; count.div_ceil(64)], count }
    }

    pub(crate) fn full(count: usize) -> Bitset {
        let mut words = vec![u64::MAX; count.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !count.is_multiple_of(64)
        {
            *last = (1 << (count % 64)) - 1;
        }
        Bitset { words, count }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether `number` is in the set; one out of range is not.
    #[inline]
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    #[inline]
    pub(crate) fn insert(&mut self, number: u32) {
        if (number as usize) < self.count
            && let Some(word) = self.words.get_mut(number as usize / 64)
        {
            *word |= 1 << (number % 64);
        }
    }

    pub(crate) fn insert_all(&mut self, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            self.insert(number);
        }
    }

    fn insert_run(&mut self, run: Range<u32>) {
        let end = run.end.min(self.count as u32);
        let mut number = run.start;
        while number < end {
            let word_end = (number / 64 + 1) * 64;
            let limit = word_end.min(end);
            let mask = (u64::MAX >> (64 - (limit - number))) << (number % 64);
            if let Some(word) = self.words.get_mut(number as usize / 64) {
                *word |= mask;
            }
            number = limit;
        }
    }

    pub(crate) fn intersect(&mut self, other: &Bitset) {
        let with = other.words.iter().copied().chain(std::iter::repeat(0));
        for (word, with) in self.words.iter_mut().zip(with) {
            *word &= with;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Bitset) {
        for (word, without) in self.words.iter_mut().zip(&other.words) {
            *word &= !without;
        }
    }

    pub(crate) fn unite(&mut self, other: &Bitset) {
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word |= with;
        }
    }

    /// Numbers in the set are below.
    pub(crate) fn capacity(&self) -> usize {
        self.count
    }

    fn meets_run(&self, run: Range<u32>) -> bool {
        // Runs are short or the set is dense: looking at each is quick either way.
        (run.start..run.end.min(self.count as u32)).any(|number| self.contains(number))
    }

    /// Numbers in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                if bit == 64 {
                    return None;
                }
                rest &= rest - 1;
                Some(index as u32 * 64 + bit)
            })
        })
    }
}

/// The values of one label name in a segment, and the series that have each.
#[derive(Debug, Default)]
pub(crate) struct LabelSection {
    text: String,
    /// End of each value in `text`.
    text_ends: Vec<u32>,
    postings: Vec<u8>,
    /// End of each value's series in `postings`.
    posting_ends: Vec<u32>,
}

impl LabelSection {
    /// Writes a section. Shape: `values` ascending and distinct, series of each ascending.
    #[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
    pub(crate) fn encode(values: &[(&str, Vec<u32>)]) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, values.len() as u64);
        let mut before = "";
        for (value, _) in values {
            let shared = value.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
            put_varint(&mut out, shared as u64);
            put_string(&mut out, &value.as_bytes()[shared..]);
            before = value;
        }
        let mut runs = Vec::new();
        for (_, series) in values {
            let start = runs.len();
            put_runs(&mut runs, series);
            put_varint(&mut out, (runs.len() - start) as u64);
        }
        out.extend_from_slice(&runs);
        out
    }

    /// Reads a section.
    pub(crate) fn parse(bytes: &[u8]) -> Result<LabelSection, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.count()?;
        let mut section = LabelSection::default();
        let mut value = Vec::new();
        for _ in 0..count {
            let shared = cursor.varint()? as usize;
            if shared > value.len() {
                return Err(Malformed("a label value shares more than there is"));
            }
            value.truncate(shared);
            value.extend_from_slice(cursor.string()?);
            let text = std::str::from_utf8(&value);
            section.text.push_str(text.map_err(|_| Malformed("a label value is not UTF-8"))?);
            let end = u32::try_from(section.text.len());
            section.text_ends.push(end.map_err(|_| Malformed("label values are too long"))?);
        }
        let mut end = 0u32;
        for _ in 0..count {
            end = end.checked_add(cursor.u32()?).ok_or(Malformed("postings are too long"))?;
            section.posting_ends.push(end);
        }
        section.postings = cursor.bytes(end as usize)?.to_vec();
        Ok(section)
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.text_ends.len()
    }

    /// Value number `index`; the empty string when there is none.
    pub(crate) fn value(&self, index: usize) -> &str {
        let range = piece(&self.text_ends, index);
        self.text.get(range).unwrap_or("")
    }

    fn find(&self, value: &str) -> Option<usize> {
        let mut range = 0..self.len();
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            match self.value(middle).cmp(value) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => range.start = middle + 1,
                std::cmp::Ordering::Greater => range.end = middle,
            }
        }
        None
    }

    /// Runs of series that have value number `index`. Stops at bytes that make no sense.
    fn runs(&self, index: usize) -> impl Iterator<Item = Range<u32>> {
        let bytes = self.postings.get(piece(&self.posting_ends, index)).unwrap_or_default();
        let mut cursor = Cursor::new(bytes);
        let mut next = 0u32;
        std::iter::from_fn(move || {
            if cursor.is_empty() {
                return None;
            }
            let packed = cursor.varint().ok()?;
            let start = next.checked_add(u32::try_from(packed >> 1).ok()?)?;
            let more = if packed & 1 == 1 { cursor.u32().ok()? } else { 0 };
            next = start.checked_add(more)?.checked_add(1)?;
            Some(start..next)
        })
    }

    fn add(&self, index: usize, found: &mut Bitset) {
        for run in self.runs(index) {
            found.insert_run(run);
        }
    }

    /// Whether any series of `set` has value number `index`.
    pub(crate) fn meets(&self, index: usize, set: &Bitset) -> bool {
        self.runs(index).any(|run| set.meets_run(run))
    }

    /// Narrows `selected` to the series for which `matcher` holds.
    pub(crate) fn narrow(section: Option<&LabelSection>, matcher: &Matcher, selected: &mut Bitset) {
        let inverted = matcher.matches_empty();
        let mut found = Bitset::empty(selected.count);
        if let Some(section) = section {
            if matcher.op == MatchOp::Equal && !inverted {
                if let Some(index) = section.find(&matcher.value) {
                    section.add(index, &mut found);
                }
            } else {
                for index in 0..section.len() {
                    if matcher.matches(section.value(index)) != inverted {
                        section.add(index, &mut found);
                    }
                }
            }
        }
        if inverted {
            selected.subtract(&found);
        } else {
            selected.intersect(&found);
        }
    }
}

fn piece(ends: &[u32], index: usize) -> Range<usize> {
    let start = index.checked_sub(1).and_then(|i| ends.get(i)).copied().unwrap_or(0);
    start as usize..ends.get(index).copied().unwrap_or(start) as usize
}

/// Each run: `gap to the previous run's end << 1 | (longer than one)`, then its length less one if so.
#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
fn put_runs(out: &mut Vec<u8>, series: &[u32]) {
    let mut next = 0;
    let mut rest = series;
    while let Some(&start) = rest.first() {
        let length = rest.iter().zip(start..).take_while(|(number, want)| *number == want).count();
        put_varint(out, u64::from(start - next) << 1 | u64::from(length > 1));
        if length > 1 {
            put_varint(out, length as u64 - 1);
        }
        next = start + length as u32;
        rest = &rest[length..];
    }
}
