//! Attributes out of columns: a record's list as it was sent.

use model::wire::{Reader, put_varint, varint_len};

use super::attributes::{REST_COLUMN, SHAPE_COLUMN, SHAPES_SECTION, TYPED_PREFIX};
use super::file::{BlockAt, ColumnFile, ReadScratch};
use super::page::ColumnBlock;
use super::shapes::ShapeTable;
use super::{ColumnSpec, Kind};
use crate::StorageError;

/// Where the attributes of a file are.
#[derive(Debug)]
pub(crate) struct AttributeFile {
    shape: usize,
    rest: usize,
    typed: Vec<TypedColumn>,
    shapes: ShapeTable,
}

#[derive(Debug)]
struct TypedColumn {
    /// Number of the column in the file.
    column: usize,
    key: String,
    kind: Kind,
    /// The start of a `KeyValue`: its key, and the tag of its value.
    prefix: Vec<u8>,
}

impl AttributeFile {
    /// Errors: Corrupt when columns or shapes are missing.
    pub(crate) fn open(file: &ColumnFile) -> Result<AttributeFile, StorageError> {
        let lost = |what: &str| StorageError::corrupt(file.name(), format!("it has no {what}"));
        let shapes = ShapeTable::decode(file.section(SHAPES_SECTION)?)
            .ok_or_else(|| StorageError::corrupt(file.name(), "its shapes cannot be read"))?;
        let column = |name: &str| file.column(name).ok_or_else(|| lost(name));
        let typed: Vec<TypedColumn> = file
            .specs()
            .iter()
            .enumerate()
            .filter_map(|(index, spec)| typed_column(index, spec))
            .collect();
        let sound = (0..shapes.len() as u32)
            .all(|shape| shapes.get(shape).iter().all(|&item| usize::from(item) <= typed.len()));
        if !sound {
            return Err(lost("column that a shape names"));
        }
        Ok(AttributeFile {
            shape: column(SHAPE_COLUMN)?,
            rest: column(REST_COLUMN)?,
            typed,
            shapes,
        })
    }

    /// Keys that have a column, in the order of the columns.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.typed.iter().map(|column| (column.key.as_str(), column.kind))
    }

    /// Keys that have a column, with the column's number in the file.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, Kind, usize)> {
        self.typed.iter().map(|column| (column.key.as_str(), column.kind, column.column))
    }

    /// The column in the file in which records that have no column for a key keep it.
    pub(crate) fn rest_column(&self) -> usize {
        self.rest
    }

    pub(super) fn shapes(&self) -> &ShapeTable {
        &self.shapes
    }

    /// Loads the columns that `rows` (all rows if nothing) use.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn load(
        &self,
        file: &ColumnFile,
        block: BlockAt,
        rows: Option<&[u32]>,
        scratch: &mut ReadScratch,
    ) -> Result<AttributesBlock, StorageError> {
        let all = rows.is_none();
        let rows = rows.unwrap_or_default().iter().copied();
        self.load_with(all, rows, &mut |column| file.read(column, block, scratch))
    }

    /// Loads `rows` (ascending) alone: the first of them is row 0 of what is answered.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn load_rows(
        &self,
        file: &ColumnFile,
        block: BlockAt,
        rows: &[u32],
        scratch: &mut ReadScratch,
    ) -> Result<AttributesBlock, StorageError> {
        self.load_with(false, 0..rows.len() as u32, &mut |column| {
            file.read_rows(column, block, rows, scratch)
        })
    }

    /// `rows` are those that count, if not `all` do, among those that `read` gives.
    fn load_with(
        &self,
        all: bool,
        rows: impl Iterator<Item = u32>,
        read: &mut dyn FnMut(usize) -> Result<ColumnBlock, StorageError>,
    ) -> Result<AttributesBlock, StorageError> {
        let shape = read(self.shape)?;
        let mut wanted = vec![all; self.typed.len()];
        let mut rest_wanted = all;
        let mut last = u32::MAX;
        for row in rows {
            let number = shape_number(&shape, row as usize);
            if number == last {
                continue;
            }
            last = number;
            rest_wanted |= number == 0;
            for &item in self.shapes.get(number) {
                match item.checked_sub(1) {
                    None => rest_wanted = true,
                    Some(column) => {
                        if let Some(wanted) = wanted.get_mut(usize::from(column)) {
                            *wanted = true;
                        }
                    }
                }
            }
        }
        let rest = rest_wanted.then(|| read(self.rest)).transpose()?;
        let mut typed = Vec::with_capacity(self.typed.len());
        for (column, wanted) in self.typed.iter().zip(wanted) {
            typed.push(wanted.then(|| read(column.column)).transpose()?);
        }
        Ok(AttributesBlock { shape, rest, typed })
    }

    /// Appends the attributes of `row` as a `KeyValueList` in sending order.
    pub(crate) fn write(&self, block: &AttributesBlock, row: usize, out: &mut Vec<u8>) {
        let shape = self.shapes.get(block.shape_of(row));
        let rest = block.rest.as_ref().and_then(|rest| rest.bytes(row)).unwrap_or_default();
        if shape.is_empty() {
            out.extend_from_slice(rest);
            return;
        }
        let mut entries = Reader::new(rest);
        for &item in shape {
            match item.checked_sub(1) {
                None => {
                    let start = entries.offset();
                    if let Ok(Some(_)) = entries.next_field() {
                        out.extend_from_slice(
                            rest.get(start..entries.offset()).unwrap_or_default(),
                        );
                    }
                }
                Some(column) => {
                    let index = usize::from(column);
                    if let (Some(column), Some(Some(values))) =
                        (self.typed.get(index), block.typed.get(index))
                    {
                        column.write(values, row, out);
                    }
                }
            }
        }
    }
}

fn typed_column(index: usize, spec: &ColumnSpec) -> Option<TypedColumn> {
    let key = spec.name.strip_prefix(TYPED_PREFIX)?;
    let mut prefix = vec![0x0a];
    put_varint(&mut prefix, key.len() as u64);
    prefix.extend_from_slice(key.as_bytes());
    prefix.push(0x12);
    Some(TypedColumn { column: index, key: key.to_owned(), kind: spec.kind, prefix })
}

impl TypedColumn {
    fn write(&self, values: &ColumnBlock, row: usize, out: &mut Vec<u8>) {
        match self.kind {
            Kind::Int => {
                let Some(int) = values.int(row) else { return };
                self.open(out, 1 + varint_len(int as u64));
                out.push(0x18);
                put_varint(out, int as u64);
            }
            Kind::Double => {
                let Some(double) = values.double(row) else { return };
                self.open(out, 9);
                out.push(0x21);
                out.extend_from_slice(&double.to_bits().to_le_bytes());
            }
            Kind::Bool => {
                let Some(flag) = values.bool(row) else { return };
                self.open(out, 2);
                out.extend_from_slice(&[0x10, u8::from(flag)]);
            }
            Kind::Text | Kind::Bytes | Kind::Fixed(_) => {
                let Some(text) = values.bytes(row) else { return };
                self.open(out, 1 + varint_len(text.len() as u64) + text.len());
                out.push(0x0a);
                put_varint(out, text.len() as u64);
                out.extend_from_slice(text);
            }
        }
    }

    /// Appends all of an entry that comes before a value of `value_bytes`.
    fn open(&self, out: &mut Vec<u8>, value_bytes: usize) {
        let length = self.prefix.len() + varint_len(value_bytes as u64) + value_bytes;
        out.push(0x0a);
        put_varint(out, length as u64);
        out.extend_from_slice(&self.prefix);
        put_varint(out, value_bytes as u64);
    }
}

/// Attributes of one block; columns that no wanted row uses are not loaded.
#[derive(Debug)]
pub(crate) struct AttributesBlock {
    shape: ColumnBlock,
    pub(super) rest: Option<ColumnBlock>,
    pub(super) typed: Vec<Option<ColumnBlock>>,
}

impl AttributesBlock {
    pub(super) fn shape_of(&self, row: usize) -> u32 {
        shape_number(&self.shape, row)
    }
}

fn shape_number(shape: &ColumnBlock, row: usize) -> u32 {
    shape.int(row).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}
