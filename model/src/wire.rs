//! Protocol Buffers on the wire: a reader that borrows, and a writer that appends.
//!
//! The reader is the only way in which this program walks protobuf that came from outside. It never
//! panics, never allocates, and answers [`WireError`] with the offset at which the bytes stop
//! making sense. Groups (wire types 3 and 4) are refused: no protocol we speak uses them.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::fmt;

/// What is wrong with the bytes, and where. `offset` counts from the start of the slice read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireError {
    pub offset: usize,
    pub what: &'static str,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid protobuf at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for WireError {}

/// One field's value as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// The bytes of a length-delimited field, or nothing for any other wire type.
    #[must_use]
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Field::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The integer of a varint or fixed field, or nothing for a length-delimited one.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Field::Varint(n) | Field::Fixed64(n) => Some(n),
            Field::Fixed32(n) => Some(u64::from(n)),
            Field::Bytes(_) => None,
        }
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Offset of the next unread byte.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Passes over `count` bytes; nothing where there are not as many.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).ok().map(|_| ())
    }

    fn error(&self, what: &'static str) -> WireError {
        WireError { offset: self.at, what }
    }

    /// Reads one varint of at most ten bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at = self.at.wrapping_add(1);
                Ok(u64::from(byte))
            }
            Some(_) => self.varint_slow(),
            None => Err(self.error("a number is cut short")),
        }
    }

    fn varint_slow(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        let mut shift = 0u32;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for (index, &byte) in rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(self.error("a number is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift = shift.wrapping_add(7);
            if byte < 0x80 {
                self.at = self.at.wrapping_add(index).wrapping_add(1);
                return Ok(value);
            }
        }
        Err(self.error("a number is cut short"))
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).ok_or_else(|| self.error("a length overflows"))?;
        let taken =
            self.bytes.get(self.at..end).ok_or_else(|| self.error("a field is cut short"))?;
        self.at = end;
        Ok(taken)
    }

    /// Reads the next field: its number and value, or nothing at the end of the message.
    ///
    /// Errors: a truncated field, field number 0, or a group.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|&number| number != 0 && number < (1 << 29))
            .ok_or_else(|| self.error("a field has an impossible number"))?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let mut raw = [0; 8];
                raw.copy_from_slice(self.take(8)?);
                Field::Fixed64(u64::from_le_bytes(raw))
            }
            2 => {
                let length = self.varint()?;
                let length =
                    usize::try_from(length).map_err(|_| self.error("a length overflows"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let mut raw = [0; 4];
                raw.copy_from_slice(self.take(4)?);
                Field::Fixed32(u32::from_le_bytes(raw))
            }
            _ => return Err(self.error("a field has an unknown wire type")),
        };
        Ok(Some((number, field)))
    }
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] takes for `value`.
#[must_use]
pub fn varint_len(value: u64) -> usize {
    70usize.wrapping_sub((value | 1).leading_zeros() as usize) / 7
}

/// Appends a length-delimited field, empty ones included.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field, zero included.
pub fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Appends a fixed 64-bit field.
pub fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed 32-bit field.
pub fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    put_varint(out, u64::from(number) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length-delimited field whose content `write` produces.
pub fn put_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(number) << 3 | 2);
    let length_at = out.len();
    out.push(0);
    let start = out.len();
    write(out);
    let length = out.len().saturating_sub(start) as u64;
    let width = varint_len(length);
    if width == 1 {
        if let Some(place) = out.get_mut(length_at) {
            *place = length as u8;
        }
        return;
    }
    // The length did not fit the one byte kept for it: make room, then write it in place.
    out.splice(length_at..=length_at, std::iter::repeat_n(0, width));
    let mut prefix = Vec::with_capacity(width);
    put_varint(&mut prefix, length);
    let end = length_at.saturating_add(width);
    if let Some(place) = out.get_mut(length_at..end) {
        place.copy_from_slice(&prefix);
    }
}
