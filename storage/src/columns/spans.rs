//! Many byte strings in one buffer, and the table that gives equal ones one number.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// Byte strings one after the other, read only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans {
    data: Bytes,
    /// Shape: never falling, the last one at most `data.len()`.
    ends: Vec<u32>,
}

impl Spans {
    /// Nothing where `ends` fall or reach beyond `data`.
    pub(crate) fn new(data: Bytes, ends: Vec<u32>) -> Option<Spans> {
        let sound = ends.is_sorted() && ends.last().is_none_or(|&end| end as usize <= data.len());
        sound.then_some(Spans { data, ends })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All strings without anything between them.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The string at `index`, empty where there is none.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.data.get(start.unwrap_or(0) as usize..end as usize).unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Byte strings one after the other, growing.
#[derive(Debug, Default)]
pub(crate) struct SpansBuilder {
    pub(super) data: Vec<u8>,
    pub(super) ends: Vec<u32>,
}

#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
impl SpansBuilder {
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.ends.push(self.data.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.data[start as usize..end as usize]
    }

    /// Appends the strings `range` of `source`.
    pub(crate) fn extend(&mut self, source: &Spans, range: std::ops::Range<usize>) {
        let Some(ends) = source.ends.get(range.clone()) else { return };
        let Some(&last) = ends.last() else { return };
        let first = range.start.checked_sub(1).map_or(0, |before| source.ends[before]);
        let base = self.data.len() as u32;
        self.data.extend_from_slice(&source.data[first as usize..last as usize]);
        self.ends.extend(ends.iter().map(|end| end - first + base));
    }

    pub(crate) fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
    }

    pub(crate) fn finish(self) -> Spans {
        Spans { data: self.data.into(), ends: self.ends }
    }
}

/// Gives equal byte strings one number, in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    pub(super) strings: SpansBuilder,
    /// Open addressing, a power of two: the hash's high half and the number plus one; 0 is empty.
    slots: Vec<(u32, u32)>,
}

#[expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]
impl Interner {
    pub(crate) fn len(&self) -> usize {
        self.strings.len()
    }

    pub(crate) fn get(&self, number: u32) -> &[u8] {
        self.strings.get(number as usize)
    }

    /// The number of `bytes`, new or known.
    #[inline]
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> u32 {
        if self.strings.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = xxh3_64(bytes);
        let tag = (hash >> 32) as u32;
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (slot_tag, number) = self.slots[at];
            if number == 0 {
                self.strings.push(bytes);
                let number = self.strings.len() as u32;
                self.slots[at] = (tag, number);
                return number - 1;
            }
            if slot_tag == tag && self.strings.get(number as usize - 1) == bytes {
                return number - 1;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        self.slots.clear();
        self.slots.resize(size, (0, 0));
        for index in 0..self.strings.len() {
            let hash = xxh3_64(self.strings.get(index));
            let mut at = hash as usize & (size - 1);
            while self.slots[at].1 != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = ((hash >> 32) as u32, index as u32 + 1);
        }
    }

    /// The strings by number.
    pub(crate) fn finish(self) -> Spans {
        self.strings.finish()
    }

    pub(super) fn into_strings(self) -> SpansBuilder {
        self.strings
    }
}
