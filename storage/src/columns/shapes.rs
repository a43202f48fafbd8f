//! Shapes: which attributes a record has, in which order.
//!
//! A shape lists, in sending order, where each attribute's value is: 0 for the next entry of the
//! record's residual list, `n + 1` for the segment's typed column `n`. Records repeat few shapes, so
//! a record keeps the number of its shape and is put together again exactly as it was sent. Shape 0
//! is special: the residual list is the whole list.

use std::collections::HashMap;

use model::wire::{Reader, put_varint};

/// Shapes of one segment; records beyond keep all their attributes in the residual list.
const SHAPES_MAX: usize = 4096;
/// Attributes of a record beyond this go to the residual list as a whole.
pub(super) const SHAPE_ITEMS_MAX: usize = 1024;

/// The shapes of a segment by number.
#[derive(Debug)]
pub(crate) struct ShapeTable {
    shapes: Vec<Box<[u16]>>,
    numbers: HashMap<Box<[u16]>, u32, foldhash::fast::FixedState>,
    last: u32,
}

impl Default for ShapeTable {
    fn default() -> Self {
        ShapeTable { shapes: vec![Box::default()], numbers: HashMap::default(), last: 0 }
    }
}

impl ShapeTable {
    /// The number of `shape`, new or known; nothing where the table is full.
    #[inline]
    pub(super) fn intern(&mut self, shape: &[u16]) -> Option<u32> {
        if shape.is_empty() {
            return Some(0);
        }
        if self.get(self.last) == shape {
            return Some(self.last);
        }
        if let Some(&number) = self.numbers.get(shape) {
            self.last = number;
            return Some(number);
        }
        if self.shapes.len() >= SHAPES_MAX || shape.len() > SHAPE_ITEMS_MAX {
            return None;
        }
        let number = self.shapes.len() as u32;
        self.shapes.push(shape.into());
        self.numbers.insert(shape.into(), number);
        self.last = number;
        Some(number)
    }

    /// The shape of that number, empty where there is none.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &[u16] {
        self.shapes.get(number as usize).map_or(&[], |shape| shape)
    }

    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Stored form: `varint(count)`, then for each shape but the first `varint(len)` and its items
    /// as varints.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.shapes.len() as u64);
        for shape in self.shapes.iter().skip(1) {
            put_varint(&mut out, shape.len() as u64);
            for &item in shape {
                put_varint(&mut out, u64::from(item));
            }
        }
        out
    }

    /// Reads what [`ShapeTable::encode`] wrote; nothing where the bytes are not of that form.
    pub(crate) fn decode(bytes: &[u8]) -> Option<ShapeTable> {
        let mut reader = Reader::new(bytes);
        let count = reader.varint().ok().filter(|&count| count <= SHAPES_MAX as u64)?;
        let mut table = ShapeTable::default();
        for number in 1..count {
            let length = reader.varint().ok().filter(|&len| len <= SHAPE_ITEMS_MAX as u64)?;
            let mut shape = Vec::with_capacity(length as usize);
            for _ in 0..length {
                shape.push(u16::try_from(reader.varint().ok()?).ok()?);
            }
            if table.intern(&shape)? != number as u32 {
                return None;
            }
        }
        Some(table)
    }
}
