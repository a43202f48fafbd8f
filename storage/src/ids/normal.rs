//! The normal form of an ID.
//!
//! A text of hexadecimal digits (dashes between them passed over, at most 32 digits) is the number
//! that it writes, so case, dashes and leading zeros do not matter and `4bf92f35...` is equal to
//! the sixteen bytes of a trace ID. Any other text is itself, in ASCII lower case. White space at
//! both ends is passed over.

use model::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Digits of the longest ID that counts as a number.
const DIGITS_MAX: usize = 32;
/// Longer texts are hashed as they are, upper case letters included. Units: bytes.
const LOWER_CASE_BYTES_MAX: usize = 256;

/// Fingerprint of a trace ID.
#[inline]
pub(crate) fn hash_trace_id(id: &[u8; 16]) -> u64 {
    hash_number(u128::from_be_bytes(*id))
}

/// Fingerprint of a span ID.
#[inline]
pub(crate) fn hash_span_id(id: &[u8; 8]) -> u64 {
    hash_number(u128::from(u64::from_be_bytes(*id)))
}

/// Fingerprint of an ID that was sent as text.
pub(crate) fn hash_text(text: &str) -> u64 {
    let text = text.trim().as_bytes();
    if let Some(number) = parse_number(text) {
        return hash_number(number);
    }
    let mut lower = [0u8; LOWER_CASE_BYTES_MAX];
    match lower.get_mut(..text.len()) {
        Some(lower) => {
            lower.copy_from_slice(text);
            lower.make_ascii_lowercase();
            xxh3_64(lower)
        }
        None => xxh3_64(text),
    }
}

/// Whether two texts write the same ID.
pub(crate) fn same_id(left: &str, right: &str) -> bool {
    let (left, right) = (left.trim().as_bytes(), right.trim().as_bytes());
    match (parse_number(left), parse_number(right)) {
        (Some(left), Some(right)) => left == right,
        (None, None) if left.len() <= LOWER_CASE_BYTES_MAX => left.eq_ignore_ascii_case(right),
        (None, None) => left == right,
        _ => false,
    }
}

/// Fingerprint of an attribute's value: text, or an integer as it is written in decimal.
pub(crate) fn hash_value(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Str("") => None,
        Value::Str(text) => Some(hash_text(text)),
        Value::Int(int) => Some(hash_text(&int.to_string())),
        _ => None,
    }
}

/// An ID to compare many texts with, read once.
#[derive(Debug)]
pub(crate) struct OneId<'a> {
    text: &'a str,
    number: Option<u128>,
    /// What a text must end with, in lower case, if it ends with a letter or a digit.
    last: Option<u8>,
}

impl<'a> OneId<'a> {
    pub(crate) fn new(text: &'a str) -> OneId<'a> {
        let trimmed = text.trim().as_bytes();
        let number = parse_number(trimmed);
        let last = match number {
            Some(number) => b"0123456789abcdef".get((number & 15) as usize).copied(),
            None => trimmed.last().map(u8::to_ascii_lowercase),
        };
        OneId { text, number, last }
    }

    /// Whether `other` writes the same ID, as [`same_id`] has it. Cost: nearly always one byte.
    #[inline]
    pub(crate) fn is(&self, other: &str) -> bool {
        if let Some(last) = other.as_bytes().last()
            && last.is_ascii_alphanumeric()
            && Some(last.to_ascii_lowercase()) != self.last
        {
            return false;
        }
        match self.number {
            Some(_) => parse_number(other.trim().as_bytes()) == self.number,
            None => same_id(self.text, other),
        }
    }
}

/// Whether an attribute's value is the ID that `text` writes.
pub(crate) fn same_value(value: Value<'_>, text: &str) -> bool {
    match value {
        Value::Str(value) => same_id(value, text),
        Value::Int(int) => same_id(&int.to_string(), text),
        _ => false,
    }
}

#[inline]
fn hash_number(number: u128) -> u64 {
    xxh3_64(&number.to_le_bytes())
}

fn parse_number(text: &[u8]) -> Option<u128> {
    let mut number = 0u128;
    let mut digits = 0;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'-' if digits > 0 => continue,
            _ => return None,
        };
        digits += 1;
        if digits > DIGITS_MAX {
            return None;
        }
        number = number << 4 | u128::from(digit);
    }
    (digits > 0).then_some(number)
}
