//! Label sets and the series that they name.
//!
//! The canonical form of a label set is one byte string: for each label in ascending byte order of
//! its name, `varint(len) name varint(len) value`. Empty values are left out. A series is known
//! everywhere by the xxh3-128 of that string, so segments stand alone and need no shared dictionary.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::stream::Hint;
use crate::wire::{Reader, put_varint};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted, de-duplicated set of labels in canonical bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Box<[u8]>);

impl Labels {
    /// Takes bytes that are in canonical form already, such as those read back from a segment.
    #[must_use]
    pub fn from_canonical(bytes: Box<[u8]>) -> Self {
        Labels(bytes)
    }

    /// Builds from pairs in any order; of two labels of one name the first counts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        builder.finish()
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Names and values in ascending order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut reader = Reader::new(&self.0);
        std::iter::from_fn(move || {
            let name = self.part(&mut reader)?;
            Some((name, self.part(&mut reader)?))
        })
    }

    fn part(&self, reader: &mut Reader<'_>) -> Option<&str> {
        let length = usize::try_from(reader.varint().ok()?).ok()?;
        let start = reader.offset();
        reader.skip(length)?;
        std::str::from_utf8(self.0.get(start..start + length)?).ok()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(label, _)| *label == name).map(|(_, value)| value)
    }

    /// The metric's name, or the empty string.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn id(&self) -> SeriesId {
        SeriesId(xxh3_128(&self.0))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Collects labels in any order. The first value pushed under a name counts.
#[derive(Debug, Default)]
pub struct LabelsBuilder {
    text: String,
    /// Offsets into `text`: name start, value start, value end.
    parts: Vec<(u32, u32, u32)>,
}

impl LabelsBuilder {
    /// Adds a label; one with an empty value is the same as none (Prometheus' data model).
    pub fn push(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let start = self.text.len() as u32;
        self.text.push_str(name);
        let middle = self.text.len() as u32;
        self.text.push_str(value);
        self.parts.push((start, middle, self.text.len() as u32));
    }

    /// Empties the builder and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.parts.clear();
    }

    /// The canonical form; the builder can be cleared and used again.
    #[must_use]
    pub fn finish(&mut self) -> Labels {
        let text = &self.text;
        let name = |part: &(u32, u32, u32)| &text.as_bytes()[part.0 as usize..part.1 as usize];
        self.parts.sort_by(|a, b| name(a).cmp(name(b)));
        self.parts.dedup_by(|later, earlier| name(later) == name(earlier));
        let mut bytes = Vec::with_capacity(text.len() + 2 * self.parts.len());
        for part in &self.parts {
            for (start, end) in [(part.0, part.1), (part.1, part.2)] {
                put_varint(&mut bytes, u64::from(end - start));
                bytes.extend_from_slice(&text.as_bytes()[start as usize..end as usize]);
            }
        }
        Labels(bytes.into_boxed_slice())
    }
}

/// The xxh3-128 of a series' canonical labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u128);

/// A series as decoders hand it on: shared, so that its labels lie in memory once.
#[derive(Debug)]
pub struct Series {
    pub id: SeriesId,
    pub labels: Labels,
    /// Where the memtable last kept it.
    pub hint: Hint,
}

impl Series {
    #[must_use]
    pub fn new(labels: Labels) -> Arc<Series> {
        Arc::new(Series { id: labels.id(), labels, hint: Hint::default() })
    }
}
