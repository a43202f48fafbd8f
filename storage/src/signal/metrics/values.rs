//! Vectors of numbers as headers and residuals.
//!
//! A vector (the values of one part of a series, or a timeline) becomes whole numbers: decimals are
//! scaled by the power of ten that brings every one of them back bit for bit, other floats keep their
//! bits in an order-preserving form. Then come the differences of the order (0, 1 or 2) that costs
//! least, divided by what they have in common. What is left, the residuals, goes into the stream of
//! its class (vectors whose residuals are about as wide), where pages are entropy-coded together;
//! a vector whose residuals are all zero (constants, straight lines) takes nothing there.
//! Format: FORMAT.md "Metric segment", "vector". Source of the scaling: ALP (Afroozeh et al., 2023).

use super::schema::{Cursor, Malformed, put_zigzag, zigzag};
use model::wire::put_varint;

/// Classes of residual width; see [`class_of`].
pub(crate) const CLASSES: usize = 24;
/// The class of a vector without residuals.
pub(crate) const CLASS_NONE: u8 = 31;
/// Largest power of ten that is tried.
const EXPONENT_MAX: usize = 14;
/// Kind of a vector that keeps the bits of its floats.
const KIND_BITS: u8 = 15;
/// Whole numbers beyond this are not scaled: adding 1.5 x 2^52 rounds up to here.
const SCALED_MAX: f64 = 2_251_799_813_685_248.0;
const ROUND: f64 = 6_755_399_441_055_744.0;

const POWERS: [f64; EXPONENT_MAX + 1] =
    [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

const FLAG_MULTIPLE: u8 = 0x40;
const FLAG_EXCEPTIONS: u8 = 0x80;

/// What is known of a vector beside its residuals.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorHeader {
    /// Power of ten, or [`KIND_BITS`].
    pub(crate) kind: u8,
    /// Order of the differences: 0 (from a middle value), 1, 2.
    pub(crate) order: u8,
    pub(crate) class: u8,
    pub(crate) count: u32,
    /// Order 0: the middle value; else the first.
    pub(crate) first: i64,
    /// Order 2: the first difference, divided by `multiple`.
    pub(crate) second: i64,
    /// What all differences have in common.
    pub(crate) multiple: i64,
    /// Positions and bits of floats that the kind cannot express.
    pub(crate) exceptions: Vec<(u32, u64)>,
    /// Position of the first residual in the class' stream; not part of the stored header of values.
    pub(crate) start: u64,
}

impl VectorHeader {
    /// How many residuals lie in the stream.
    pub(crate) fn residuals(&self) -> usize {
        if self.class == CLASS_NONE {
            return 0;
        }
        (self.count as usize).saturating_sub(usize::from(self.order))
    }

    /// Appends the header to columns.
    pub(crate) fn put(&self, columns: &mut HeaderColumns) {
        let mut describe = self.kind | self.order << 4;
        if self.multiple != 1 {
            describe |= FLAG_MULTIPLE;
        }
        if !self.exceptions.is_empty() {
            describe |= FLAG_EXCEPTIONS;
        }
        columns.describe.push(describe);
        columns.classes.push(self.class);
        put_varint(&mut columns.counts, u64::from(self.count));
        put_zigzag(&mut columns.firsts, self.first);
        if self.order == 2 {
            put_zigzag(&mut columns.rest, self.second);
        }
        if self.multiple != 1 {
            put_varint(&mut columns.rest, self.multiple as u64);
        }
        if !self.exceptions.is_empty() {
            put_varint(&mut columns.rest, self.exceptions.len() as u64);
            for (position, bits) in &self.exceptions {
                put_varint(&mut columns.rest, u64::from(*position));
                columns.rest.extend_from_slice(&bits.to_le_bytes());
            }
        }
    }
}

/// Headers of many vectors, column by column.
#[derive(Debug, Default)]
pub(crate) struct HeaderColumns {
    describe: Vec<u8>,
    classes: Vec<u8>,
    counts: Vec<u8>,
    firsts: Vec<u8>,
    rest: Vec<u8>,
}

impl HeaderColumns {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for column in [&self.describe, &self.classes, &self.counts, &self.firsts, &self.rest] {
            super::schema::put_string(out, column);
        }
    }
}

/// Reads what [`HeaderColumns`] wrote.
#[derive(Debug)]
pub(crate) struct HeaderReader<'a> {
    describe: Cursor<'a>,
    classes: Cursor<'a>,
    counts: Cursor<'a>,
    firsts: Cursor<'a>,
    rest: Cursor<'a>,
}

impl<'a> HeaderReader<'a> {
    pub(crate) fn new(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let mut column = || cursor.string().map(Cursor::new);
        Ok(HeaderReader {
            describe: column()?,
            classes: column()?,
            counts: column()?,
            firsts: column()?,
            rest: column()?,
        })
    }

    /// The next header; `start` is left at 0.
    pub(crate) fn next(&mut self) -> Result<VectorHeader, Malformed> {
        let describe = self.describe.byte()?;
        let class = self.classes.byte()?;
        let order = (describe >> 4) & 3;
        if order > 2 || (usize::from(class) >= CLASSES && class != CLASS_NONE) {
            return Err(Malformed("a vector is of an unknown kind"));
        }
        let count = self.counts.u32()?;
        if count as usize > PART_COUNT_MAX {
            return Err(Malformed("a vector is too long"));
        }
        let first = self.firsts.zigzag()?;
        let second = if order == 2 { self.rest.zigzag()? } else { 0 };
        let multiple = if describe & FLAG_MULTIPLE == 0 { 1 } else { self.rest.varint()? as i64 };
        let mut exceptions = Vec::new();
        if describe & FLAG_EXCEPTIONS != 0 {
            for _ in 0..self.rest.count()? {
                exceptions.push((self.rest.u32()?, self.rest.u64_fixed()?));
            }
        }
        let kind = describe & 15;
        Ok(VectorHeader {
            kind,
            order,
            class,
            count,
            first,
            second,
            multiple,
            exceptions,
            start: 0,
        })
    }
}

/// Cap of a vector's length that a reader accepts.
const PART_COUNT_MAX: usize = 1 << 20;

/// Encodes vectors; keeps its buffers between them.
#[derive(Debug, Default)]
pub(crate) struct VectorEncoder {
    numbers: Vec<i64>,
    /// Residuals of the vector encoded last.
    pub(crate) residuals: Vec<i64>,
}

impl VectorEncoder {
    /// Makes the header of `values` and leaves the residuals in `self.residuals`.
    pub(crate) fn floats(&mut self, values: &[f64]) -> VectorHeader {
        let (kind, exceptions) = match self.scale(values) {
            Some((exponent, exceptions)) => (exponent as u8, exceptions),
            None => {
                self.numbers.clear();
                self.numbers.extend(values.iter().map(|value| ordered(value.to_bits())));
                (KIND_BITS, Vec::new())
            }
        };
        let mut header = self.differences(kind != KIND_BITS);
        header.kind = kind;
        header.exceptions = exceptions;
        header
    }

    /// The same for whole numbers, such as times.
    pub(crate) fn integers(&mut self, numbers: &[i64]) -> VectorHeader {
        self.numbers.clear();
        self.numbers.extend_from_slice(numbers);
        let small = numbers.iter().all(|number| number.unsigned_abs() < 1 << 60);
        self.differences(small)
    }

    /// Fills `numbers` with `values` times a power of ten, if nearly all of them come back exactly.
    fn scale(&mut self, values: &[f64]) -> Option<(usize, Vec<(u32, u64)>)> {
        let step = (values.len() / 16).max(1);
        let mut exponent = 0;
        for &value in values.iter().step_by(step) {
            if let Some(needed) = (exponent..=EXPONENT_MAX).find(|&e| scaled(value, e).is_some()) {
                exponent = needed;
            }
        }
        let allowed = values.len() / 32 + 1;
        self.try_exponent(values, exponent, allowed)
            .map(|exceptions| (exponent, exceptions))
            .or_else(|| {
                let exponent = values
                    .iter()
                    .filter_map(|&value| (0..=EXPONENT_MAX).find(|&e| scaled(value, e).is_some()))
                    .max()?;
                let exceptions = self.try_exponent(values, exponent, allowed)?;
                Some((exponent, exceptions))
            })
    }

    fn try_exponent(
        &mut self,
        values: &[f64],
        exponent: usize,
        allowed: usize,
    ) -> Option<Vec<(u32, u64)>> {
        self.numbers.clear();
        let mut exceptions = Vec::new();
        let mut last = 0;
        for (position, &value) in values.iter().enumerate() {
            match scaled(value, exponent) {
                Some(number) => last = number,
                None => {
                    if exceptions.len() >= allowed {
                        return None;
                    }
                    exceptions.push((position as u32, value.to_bits()));
                }
            }
            self.numbers.push(last);
        }
        Some(exceptions)
    }

    /// Chooses order and multiple for `numbers` and writes `residuals`.
    #[expect(clippy::indexing_slicing, reason = "orders are below three")]
    fn differences(&mut self, small: bool) -> VectorHeader {
        let numbers = &self.numbers;
        let count = numbers.len();
        let mut header = VectorHeader {
            kind: 0,
            order: 1,
            class: CLASS_NONE,
            count: count as u32,
            first: numbers.first().copied().unwrap_or(0),
            second: 0,
            multiple: 1,
            exceptions: Vec::new(),
            start: 0,
        };
        self.residuals.clear();
        if count < 2 || numbers.iter().all(|&number| number == header.first) {
            return header;
        }
        if small {
            header.multiple = common_multiple(numbers);
        }
        let middle = middle_of(numbers, header.multiple, small);
        let costs = costs(numbers, middle, header.multiple);
        // A tie goes to the lower order, whose errors do not add up; order 1 before order 0.
        let order = if costs[2] < costs[1] && costs[2] < costs[0] {
            2
        } else {
            usize::from(costs[1] <= costs[0])
        };
        header.order = order as u8;
        write_residuals(numbers, middle, &mut header, &mut self.residuals);
        if self.residuals.iter().all(|&residual| residual == 0) {
            self.residuals.clear();
        } else {
            header.class = class_of(costs[order], self.residuals.len());
        }
        header
    }
}

/// The whole number that `value` times ten to the `exponent` is, if dividing it again gives the very
/// same bits.
#[inline]
#[expect(clippy::indexing_slicing, reason = "exponents are those of POWERS")]
fn scaled(value: f64, exponent: usize) -> Option<i64> {
    let power = POWERS[exponent];
    let product = value * power;
    // Not a number, infinite or too large: the comparison is false.
    if product.abs() < SCALED_MAX {
        let number = (product + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i64;
        if (number as f64 / power).to_bits() == value.to_bits() {
            return Some(number);
        }
    }
    None
}

/// Maps bits of floats to whole numbers of the same order; its own inverse on the magnitude.
#[inline]
fn ordered(bits: u64) -> i64 {
    let bits = bits as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// Greatest common divisor of all differences.
#[expect(clippy::indexing_slicing, reason = "windows are two long")]
fn common_multiple(numbers: &[i64]) -> i64 {
    let mut common = 0u64;
    for pair in numbers.windows(2) {
        let difference = pair[1].wrapping_sub(pair[0]).unsigned_abs();
        if difference != 0 {
            common = gcd(common, difference);
            if common == 1 {
                return 1;
            }
        }
    }
    i64::try_from(common).ok().filter(|&common| common > 0).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A value near the mean that differs from all numbers by a multiple of `multiple`.
#[expect(clippy::indexing_slicing, reason = "the caller has two numbers or more")]
fn middle_of(numbers: &[i64], multiple: i64, small: bool) -> i64 {
    let first = numbers[0];
    let sum: i128 = numbers.iter().map(|&number| i128::from(number)).sum();
    let mean = (sum / numbers.len() as i128) as i64;
    if small { first + (mean - first) / multiple * multiple } else { mean }
}

/// Bits that the residuals of each order have together.
#[expect(clippy::indexing_slicing, reason = "the caller has two numbers or more")]
fn costs(numbers: &[i64], middle: i64, multiple: i64) -> [u64; 3] {
    let mut costs = [0u64; 3];
    let mut last = numbers[0];
    let mut last_difference = numbers[1].wrapping_sub(numbers[0]);
    costs[0] += bits(last.wrapping_sub(middle));
    for &number in &numbers[1..] {
        let difference = number.wrapping_sub(last);
        costs[0] += bits(number.wrapping_sub(middle));
        costs[1] += bits(difference);
        costs[2] += bits(difference.wrapping_sub(last_difference));
        last = number;
        last_difference = difference;
    }
    // A common multiple narrows the residuals that are not zero; about all of them in order 0.
    let saved = u64::from(multiple.ilog2());
    if saved > 0 {
        let scaled = |cost: u64, n: u64| cost.saturating_sub(saved * n.min(cost / (saved + 1)));
        costs = costs.map(|cost| scaled(cost, numbers.len() as u64));
    }
    costs
}

#[inline]
fn bits(residual: i64) -> u64 {
    u64::from(64 - zigzag(residual).leading_zeros())
}

#[expect(clippy::indexing_slicing, reason = "the caller has two numbers or more")]
fn write_residuals(
    numbers: &[i64],
    middle: i64,
    header: &mut VectorHeader,
    residuals: &mut Vec<i64>,
) {
    let multiple = header.multiple;
    match header.order {
        0 => {
            header.first = middle;
            residuals.extend(numbers.iter().map(|number| number.wrapping_sub(middle)));
        }
        1 => residuals.extend(numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]))),
        _ => {
            header.second = numbers[1].wrapping_sub(numbers[0]) / multiple;
            residuals.extend(numbers.windows(3).map(|three| {
                let before = three[1].wrapping_sub(three[0]);
                three[2].wrapping_sub(three[1]).wrapping_sub(before)
            }));
        }
    }
    if multiple != 1 {
        for residual in residuals {
            *residual /= multiple;
        }
    }
}

/// Upper bounds of the mean width of the classes' residuals. Units: 1/16 bit.
const CLASS_BOUNDS: [u64; CLASSES - 1] = [
    1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 400, 512, 640,
    800,
];

fn class_of(cost: u64, residuals: usize) -> u8 {
    let mean = cost * 16 / residuals.max(1) as u64;
    CLASS_BOUNDS.partition_point(|&bound| bound < mean) as u8
}

/// Rebuilds whole numbers from residuals into the end of `out`.
///
/// Errors: a count of residuals that does not fit the header.
pub(crate) fn decode_integers(
    header: &VectorHeader,
    residuals: &[i64],
    out: &mut Vec<i64>,
) -> Result<(), Malformed> {
    if residuals.len() != header.residuals() {
        return Err(Malformed("a vector does not fit its residuals"));
    }
    if header.class != CLASS_NONE && residuals.is_empty() {
        return Err(Malformed("a vector lacks its residuals"));
    }
    let count = header.count as usize;
    let multiple = header.multiple;
    let mut number = header.first;
    match (header.class == CLASS_NONE, header.order) {
        (true, 2) => {
            let step = header.second.wrapping_mul(multiple);
            out.extend((0..count as i64).map(|i| number.wrapping_add(step.wrapping_mul(i))));
        }
        (true, _) => out.extend(std::iter::repeat_n(number, count)),
        (false, 0) => {
            out.extend(residuals.iter().map(|r| number.wrapping_add(r.wrapping_mul(multiple))));
        }
        (false, 1) => {
            out.push(number);
            out.extend(residuals.iter().map(|residual| {
                number = number.wrapping_add(residual.wrapping_mul(multiple));
                number
            }));
        }
        (false, _) => {
            let mut difference = header.second.wrapping_mul(multiple);
            out.push(number);
            number = number.wrapping_add(difference);
            out.push(number);
            out.extend(residuals.iter().map(|residual| {
                difference = difference.wrapping_add(residual.wrapping_mul(multiple));
                number = number.wrapping_add(difference);
                number
            }));
        }
    }
    Ok(())
}

/// Rebuilds floats into the end of `out`. `numbers` is scratch.
///
/// Errors: as [`decode_integers`].
pub(crate) fn decode_floats(
    header: &VectorHeader,
    residuals: &[i64],
    numbers: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let start = out.len();
    numbers.clear();
    decode_integers(header, residuals, numbers)?;
    match header.kind {
        0 => out.extend(numbers.iter().map(|&number| number as f64)),
        KIND_BITS => {
            out.extend(numbers.iter().map(|&n| f64::from_bits(ordered(n as u64) as u64)));
        }
        exponent => {
            let power = POWERS.get(usize::from(exponent)).ok_or(Malformed("a power is unknown"))?;
            out.extend(numbers.iter().map(|&number| number as f64 / power));
        }
    }
    for &(position, bits) in &header.exceptions {
        let value = out.get_mut(start + position as usize);
        *value.ok_or(Malformed("an exception lies outside its vector"))? = f64::from_bits(bits);
    }
    Ok(())
}
