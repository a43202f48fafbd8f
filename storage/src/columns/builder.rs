//! One column of a row group while it is being filled.
//!
//! Strings start as a dictionary and turn into plain ones when they do not repeat; what decides is
//! looked at when the number of values passes a power of two.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::ops::Range;

use super::Kind;
use super::page::{BlockValues, ColumnBlock};
use super::spans::{Interner, SpansBuilder};

/// A dictionary larger than this is given up. Units: bytes.
const DICTIONARY_BYTES_MAX: usize = 2 << 20;
/// Values after which a dictionary must have proved itself.
const DICTIONARY_PROBE: usize = 1024;

#[derive(Debug)]
pub(super) enum Values {
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    Plain(SpansBuilder),
    Dictionary { strings: Interner, numbers: Vec<u32> },
}

impl Values {
    fn new(kind: Kind) -> Values {
        match kind {
            Kind::Int => Values::Int(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Text | Kind::Bytes | Kind::Fixed(_) => {
                Values::Dictionary { strings: Interner::default(), numbers: Vec::new() }
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Values::Int(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Plain(values) => values.len(),
            Values::Dictionary { numbers, .. } => numbers.len(),
        }
    }
}

/// One column of a row group. Rows that are passed over have no value.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    kind: Kind,
    /// For each row up to the last one with a value.
    pub(super) present: Vec<bool>,
    pub(super) values: Values,
    /// Counts the row groups, so that a [`Remap`] knows when it is stale.
    epoch: u32,
}

impl ColumnBuilder {
    pub(crate) fn new(kind: Kind) -> ColumnBuilder {
        ColumnBuilder { kind, present: Vec::new(), values: Values::new(kind), epoch: 1 }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Values pushed since the row group began.
    pub(crate) fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Starts the next row group.
    pub(crate) fn clear(&mut self) {
        self.present.clear();
        self.epoch += 1;
        match &mut self.values {
            Values::Int(values) => values.clear(),
            Values::Double(values) => values.clear(),
            Values::Bool(values) => values.clear(),
            // What was plain in one row group is likely to be so in the next.
            Values::Plain(values) => values.clear(),
            values @ Values::Dictionary { .. } => *values = Values::new(self.kind),
        }
    }

    /// Rows before `row` that nothing was pushed for have none.
    #[inline]
    fn mark(&mut self, row: usize) {
        debug_assert!(row >= self.present.len(), "bug: a row is filled twice");
        if row > self.present.len() {
            self.present.resize(row, false);
        }
        self.present.push(true);
    }

    #[inline]
    pub(crate) fn push_int(&mut self, row: usize, value: i64) {
        if let Values::Int(values) = &mut self.values {
            values.push(value);
            self.mark(row);
        }
    }

    #[inline]
    pub(crate) fn push_double(&mut self, row: usize, value: f64) {
        if let Values::Double(values) = &mut self.values {
            values.push(value);
            self.mark(row);
        }
    }

    #[inline]
    pub(crate) fn push_bool(&mut self, row: usize, value: bool) {
        if let Values::Bool(values) = &mut self.values {
            values.push(value);
            self.mark(row);
        }
    }

    #[inline]
    pub(crate) fn push_bytes(&mut self, row: usize, value: &[u8]) {
        match &mut self.values {
            Values::Plain(values) => values.push(value),
            Values::Dictionary { strings, numbers } => {
                // Neighbours are often alike: a comparison is cheaper than a hash.
                let number = match numbers.last() {
                    Some(&last) if strings.get(last) == value => last,
                    _ => strings.intern(value),
                };
                numbers.push(number);
                if numbers.len().is_power_of_two() || number as usize + 1 == strings.len() {
                    self.judge();
                }
            }
            _ => return,
        }
        self.mark(row);
    }

    /// Turns a dictionary that does not pay into plain strings.
    fn judge(&mut self) {
        let Values::Dictionary { strings, numbers } = &mut self.values else { return };
        let bytes = strings.strings.data.len();
        let repeats_little = numbers.len() >= DICTIONARY_PROBE && strings.len() * 2 > numbers.len();
        if bytes <= DICTIONARY_BYTES_MAX && !repeats_little {
            return;
        }
        let strings = std::mem::take(strings).into_strings();
        let mut plain = SpansBuilder::default();
        for &number in numbers.iter() {
            plain.push(strings.get(number as usize));
        }
        self.values = Values::Plain(plain);
    }

    /// Appends the rows `range` of `block` as the rows from `row` on. `remap` belongs to the
    /// dictionary that `block` uses.
    pub(crate) fn append(
        &mut self,
        row: usize,
        block: &ColumnBlock,
        range: Range<usize>,
        remap: &mut Remap,
    ) {
        let slots = block.value_range(range.clone());
        if slots.is_empty() {
            return;
        }
        self.append_presence(row, block, range);
        match (&mut self.values, &block.values) {
            (Values::Int(values), BlockValues::Int(source)) => {
                values.extend_from_slice(source.get(slots).unwrap_or_default());
            }
            (Values::Double(values), BlockValues::Double(source)) => {
                values.extend_from_slice(source.get(slots).unwrap_or_default());
            }
            (Values::Bool(values), BlockValues::Bool(source)) => {
                values.extend_from_slice(source.get(slots).unwrap_or_default());
            }
            (Values::Plain(values), BlockValues::Plain(source)) => values.extend(source, slots),
            (Values::Plain(values), BlockValues::Dictionary { dictionary, numbers }) => {
                for &number in numbers.get(slots).unwrap_or_default() {
                    values.push(dictionary.get(number as usize));
                }
            }
            (
                Values::Dictionary { strings, numbers },
                BlockValues::Dictionary { dictionary, numbers: source },
            ) => {
                remap.renew(self.epoch, dictionary.len());
                for &number in source.get(slots).unwrap_or_default() {
                    let Some(known) = remap.numbers.get_mut(number as usize) else { continue };
                    if *known == u32::MAX {
                        *known = strings.intern(dictionary.get(number as usize));
                    }
                    numbers.push(*known);
                }
                self.judge();
            }
            (Values::Dictionary { .. }, BlockValues::Plain(source)) => {
                // It was plain there, so it is not likely to repeat here.
                for slot in slots {
                    self.push_value(source.get(slot));
                }
            }
            _ => {}
        }
    }

    fn push_value(&mut self, value: &[u8]) {
        match &mut self.values {
            Values::Plain(values) => values.push(value),
            Values::Dictionary { strings, numbers } => {
                let number = strings.intern(value);
                numbers.push(number);
                if numbers.len().is_power_of_two() || number as usize + 1 == strings.len() {
                    self.judge();
                }
            }
            _ => {}
        }
    }

    fn append_presence(&mut self, row: usize, block: &ColumnBlock, range: Range<usize>) {
        if row > self.present.len() {
            self.present.resize(row, false);
        }
        match &block.slots {
            None => self.present.resize(row + range.len(), true),
            Some(_) => self.present.extend(range.map(|at| block.has(at))),
        }
        while self.present.last() == Some(&false) {
            self.present.pop();
        }
    }
}

/// What the numbers of one dictionary are in a builder's dictionary.
#[derive(Debug, Default)]
pub(crate) struct Remap {
    epoch: u32,
    numbers: Vec<u32>,
}

impl Remap {
    fn renew(&mut self, epoch: u32, len: usize) {
        if self.epoch != epoch {
            self.numbers.clear();
            self.epoch = epoch;
        }
        self.numbers.resize(len, u32::MAX);
    }

    /// To be called when the source goes on to another dictionary.
    pub(crate) fn clear(&mut self) {
        self.epoch = 0;
    }
}

/// Which entries of a dictionary were met already, for [`ColumnBuilder::each_text`].
#[derive(Debug, Default)]
pub(crate) struct Met {
    round: u32,
    rounds: Vec<u32>,
}

impl ColumnBuilder {
    /// Values that rows `range` have.
    pub(crate) fn values_in(&self, range: Range<usize>) -> usize {
        let end = range.end.min(self.present.len());
        let present = self.present.get(range.start.min(end)..end).unwrap_or_default();
        present.iter().filter(|&&present| present).count()
    }

    /// Calls `take` with the strings at `values`, equal ones once if they are in a dictionary.
    pub(crate) fn each_text(
        &self,
        values: Range<usize>,
        met: &mut Met,
        mut take: impl FnMut(&[u8]),
    ) {
        match &self.values {
            Values::Plain(strings) => {
                for value in values {
                    take(strings.get(value));
                }
            }
            Values::Dictionary { strings, numbers } => {
                met.round += 1;
                met.rounds.resize(met.rounds.len().max(strings.len()), 0);
                for &number in numbers.get(values).unwrap_or_default() {
                    let round = &mut met.rounds[number as usize];
                    if *round != met.round {
                        *round = met.round;
                        take(strings.get(number));
                    }
                }
            }
            _ => {}
        }
    }

    /// The integers pushed since the row group began.
    pub(crate) fn ints(&self) -> &[i64] {
        match &self.values {
            Values::Int(values) => values,
            _ => &[],
        }
    }
}
