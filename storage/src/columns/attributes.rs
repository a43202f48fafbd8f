//! Attributes into columns: which keys get a column of their own, and how a record is taken apart.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use model::AttributesRef;
use model::wire::{Field, Reader, put_bytes};

use super::assemble::{AttributeFile, AttributesBlock};
use super::builder::{ColumnBuilder, Remap};
use super::shapes::{SHAPE_ITEMS_MAX, ShapeTable};
use super::{ColumnSpec, Kind};

/// Typed columns of a segment at most, whatever a tenant's limit says.
const TYPED_COLUMNS_MAX: usize = 1000;
/// Different keys that a plan counts at most.
const KEYS_COUNTED_MAX: usize = 16 << 10;
/// A key gets a column when more than one record in this many has it.
const TYPED_ONE_IN: u64 = 100;

/// Columns of attributes start with this.
pub(super) const TYPED_PREFIX: &str = "attr.";
pub(super) const SHAPE_COLUMN: &str = "attributes.shape";
pub(super) const REST_COLUMN: &str = "attributes.rest";
/// The section in which the shapes are.
pub(super) const SHAPES_SECTION: &str = "shapes";

const KINDS: [Kind; 4] = [Kind::Text, Kind::Int, Kind::Double, Kind::Bool];

/// A value that a typed column can hold.
#[derive(Debug, Clone, Copy)]
enum Simple<'a> {
    Text(&'a [u8]),
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl Simple<'_> {
    fn kind(self) -> Kind {
        match self {
            Simple::Text(_) => Kind::Text,
            Simple::Int(_) => Kind::Int,
            Simple::Double(_) => Kind::Double,
            Simple::Bool(_) => Kind::Bool,
        }
    }
}

/// Counts keys and their kinds.
#[derive(Debug, Default)]
pub(crate) struct AttributePlanner {
    counts: HashMap<Box<[u8]>, [u64; 4], foldhash::fast::FixedState>,
    records: u64,
}

#[expect(clippy::indexing_slicing, reason = "a kind is one of four")]
impl AttributePlanner {
    /// Counts one record.
    pub(crate) fn observe(&mut self, attributes: AttributesRef<'_>) {
        self.records += 1;
        walk(attributes, |key_value| {
            let Some((key, value)) = parse_simple(key_value) else { return };
            let kind = KINDS.iter().position(|&kind| kind == value.kind()).unwrap_or(0);
            if let Some(counts) = self.counts.get_mut(key) {
                counts[kind] += 1;
            } else if self.counts.len() < KEYS_COUNTED_MAX && std::str::from_utf8(key).is_ok() {
                let mut counts = [0; 4];
                counts[kind] = 1;
                self.counts.insert(key.into(), counts);
            }
        });
    }

    /// Counts the columns of a file that is to be merged, at full weight.
    pub(crate) fn observe_file(&mut self, file: &AttributeFile, rows: u64) {
        self.records += rows;
        for (key, kind) in file.keys() {
            let Some(kind) = KINDS.iter().position(|&known| known == kind) else { continue };
            self.counts.entry(key.as_bytes().into()).or_default()[kind] += rows;
        }
    }

    /// Decides. `columns_max` is `limits.ingest.max_columns_per_stream`: the most frequent keys have a
    /// column, 0 is no limit.
    pub(crate) fn finish(self, columns_max: usize) -> Arc<AttributePlan> {
        let records = self.records;
        let mut keys: Vec<(u64, String, Kind)> = self
            .counts
            .into_iter()
            .filter_map(|(key, counts)| {
                let (kind, count) =
                    KINDS.into_iter().zip(counts).rev().max_by_key(|(_, count)| *count)?;
                let key = String::from_utf8(key.into_vec()).ok()?;
                (count * TYPED_ONE_IN > records).then_some((count, key, kind))
            })
            .collect();
        keys.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let columns_max = if columns_max == 0 { TYPED_COLUMNS_MAX } else { columns_max };
        keys.truncate(columns_max.min(TYPED_COLUMNS_MAX));
        keys.sort_by(|a, b| a.1.cmp(&b.1));
        Arc::new(AttributePlan::new(keys.into_iter().map(|(_, key, kind)| (key, kind)).collect()))
    }
}

/// The keys that have a column, by number of the column.
#[derive(Debug)]
pub(crate) struct AttributePlan {
    keys: Vec<(String, Kind)>,
    by_key: HashMap<Box<[u8]>, u16, foldhash::fast::FixedState>,
}

impl AttributePlan {
    fn new(keys: Vec<(String, Kind)>) -> AttributePlan {
        let by_key = keys
            .iter()
            .enumerate()
            .map(|(index, (key, _))| (key.as_bytes().into(), index as u16))
            .collect();
        AttributePlan { keys, by_key }
    }

    /// Columns that a file needs: shape, rest, then the typed ones.
    pub(crate) fn specs(&self) -> Vec<ColumnSpec> {
        let fixed = [
            ColumnSpec::required(SHAPE_COLUMN, Kind::Int),
            ColumnSpec::optional(REST_COLUMN, Kind::Bytes),
        ];
        let typed = self
            .keys
            .iter()
            .map(|(key, kind)| ColumnSpec::optional(&format!("{TYPED_PREFIX}{key}"), *kind));
        fixed.into_iter().chain(typed).collect()
    }

    fn column(&self, key: &[u8], guess: Option<u16>) -> Option<u16> {
        if let Some(guess) = guess
            && self.keys.get(usize::from(guess)).is_some_and(|(known, _)| known.as_bytes() == key)
        {
            return Some(guess);
        }
        self.by_key.get(key).copied()
    }
}

/// Attributes of the rows of one row group, taken apart.
#[derive(Debug)]
pub(crate) struct AttributesBuilder {
    plan: Arc<AttributePlan>,
    shapes: ShapeTable,
    shape: ColumnBuilder,
    rest: ColumnBuilder,
    typed: Vec<ColumnBuilder>,
    /// The row's items: column plus one, or 0; and the value's bits, or start and length in the row.
    items: Vec<u16>,
    values: Vec<(u16, u64)>,
    /// The items of the row before: the next row is likely to be the same.
    guess: Vec<u16>,
    rest_bytes: Vec<u8>,
    /// For each column the last row that used it, plus one.
    used: Vec<u64>,
    pushed: u64,
}

#[expect(clippy::indexing_slicing, reason = "columns are those of the plan")]
impl AttributesBuilder {
    pub(crate) fn new(plan: Arc<AttributePlan>) -> AttributesBuilder {
        let typed = plan.keys.iter().map(|(_, kind)| ColumnBuilder::new(*kind)).collect();
        AttributesBuilder {
            shapes: ShapeTable::default(),
            shape: ColumnBuilder::new(Kind::Int),
            rest: ColumnBuilder::new(Kind::Bytes),
            typed,
            items: Vec::new(),
            values: Vec::new(),
            guess: Vec::new(),
            rest_bytes: Vec::new(),
            used: vec![0; plan.keys.len()],
            pushed: 0,
            plan,
        }
    }

    /// Takes the attributes of `row` apart. Rows come in order and none twice.
    pub(crate) fn push(&mut self, row: usize, attributes: AttributesRef<'_>) {
        if attributes.bytes.is_empty() {
            self.shape.push_int(row, 0);
            return;
        }
        self.pushed += 1;
        self.items.clear();
        self.values.clear();
        self.rest_bytes.clear();
        let base = attributes.bytes.as_ptr() as usize;
        walk(attributes, |key_value| {
            let (item, value) = self.place(key_value, base);
            if item == 0 {
                put_bytes(&mut self.rest_bytes, 1, key_value);
            } else {
                self.values.push((item - 1, value));
            }
            self.items.push(item);
        });
        std::mem::swap(&mut self.items, &mut self.guess);
        let Some(shape) = self.shapes.intern(&self.guess) else {
            return self.push_whole(row, attributes);
        };
        self.shape.push_int(row, i64::from(shape));
        if !self.rest_bytes.is_empty() {
            self.rest.push_bytes(row, &self.rest_bytes);
        }
        for &(column, bits) in &self.values {
            let builder = &mut self.typed[usize::from(column)];
            match builder.kind() {
                Kind::Int => builder.push_int(row, bits as i64),
                Kind::Double => builder.push_double(row, f64::from_bits(bits)),
                Kind::Bool => builder.push_bool(row, bits != 0),
                _ => {
                    let (start, length) = ((bits >> 32) as usize, bits as u32 as usize);
                    let text = attributes.bytes.get(start..start + length).unwrap_or_default();
                    builder.push_bytes(row, text);
                }
            }
        }
    }

    /// Where an attribute goes: its item and the value's bits.
    #[inline]
    fn place(&mut self, key_value: &[u8], base: usize) -> (u16, u64) {
        let Some((key, value)) = parse_simple(key_value) else { return (0, 0) };
        let guess = self.guess.get(self.items.len()).and_then(|item| item.checked_sub(1));
        let Some(column) = self.plan.column(key, guess) else { return (0, 0) };
        let index = usize::from(column);
        if self.plan.keys[index].1 != value.kind() || self.used[index] == self.pushed {
            return (0, 0);
        }
        let bits = match value {
            Simple::Text(text) => {
                if !text.is_ascii() && std::str::from_utf8(text).is_err() {
                    return (0, 0);
                }
                ((text.as_ptr() as usize - base) as u64) << 32 | text.len() as u64
            }
            Simple::Int(int) => int as u64,
            Simple::Double(double) => double.to_bits(),
            Simple::Bool(flag) => u64::from(flag),
        };
        self.used[index] = self.pushed;
        (column + 1, bits)
    }

    /// Keeps the whole list as it is: there are too many shapes.
    fn push_whole(&mut self, row: usize, attributes: AttributesRef<'_>) {
        self.rest_bytes.clear();
        walk(attributes, |key_value| put_bytes(&mut self.rest_bytes, 1, key_value));
        self.shape.push_int(row, 0);
        self.rest.push_bytes(row, &self.rest_bytes);
    }

    /// Appends the rows `range` of a block, all of whose columns are loaded, column by column.
    pub(crate) fn append(
        &mut self,
        row: usize,
        block: &AttributesBlock,
        range: Range<usize>,
        remap: &mut AttributesRemap,
    ) {
        for (offset, at) in range.clone().enumerate() {
            let shape = remap.shapes.get(block.shape_of(at) as usize).copied().unwrap_or(0);
            self.shape.push_int(row + offset, i64::from(shape));
        }
        if let Some(rest) = &block.rest {
            self.rest.append(row, rest, range.clone(), &mut remap.rest);
        }
        let columns = block.typed.iter().zip(remap.columns.iter_mut());
        for (source, (column, numbers)) in columns {
            if let Some(source) = source {
                self.typed[usize::from(*column)].append(row, source, range.clone(), numbers);
            }
        }
    }

    /// What columns and shapes of `file` are here; nothing where some are not, so that its records
    /// have to be taken apart again.
    pub(crate) fn remap(&mut self, file: &AttributeFile) -> Option<AttributesRemap> {
        let mut columns = Vec::new();
        for (key, kind) in file.keys() {
            let column = self.plan.column(key.as_bytes(), None)?;
            if self.plan.keys[usize::from(column)].1 != kind {
                return None;
            }
            columns.push((column, Remap::default()));
        }
        let mut shapes = Vec::with_capacity(file.shapes().len());
        let mut shape = Vec::new();
        for number in 0..file.shapes().len() as u32 {
            shape.clear();
            for &item in file.shapes().get(number) {
                shape.push(match item.checked_sub(1) {
                    None => 0,
                    Some(column) => columns.get(usize::from(column))?.0 + 1,
                });
            }
            shapes.push(self.shapes.intern(&shape)?);
        }
        Some(AttributesRemap { columns, shapes, rest: Remap::default() })
    }

    /// The builders of this row group, in the order of [`AttributePlan::specs`].
    pub(crate) fn columns(&mut self) -> impl Iterator<Item = &mut ColumnBuilder> {
        [&mut self.shape, &mut self.rest].into_iter().chain(self.typed.iter_mut())
    }

    /// Name and content of the section that the file needs besides the columns.
    pub(crate) fn section(&self) -> (&'static str, Vec<u8>) {
        (SHAPES_SECTION, self.shapes.encode())
    }
}

/// What an input's attribute columns and shapes are in the output of a merge.
#[derive(Debug)]
pub(crate) struct AttributesRemap {
    columns: Vec<(u16, Remap)>,
    shapes: Vec<u32>,
    rest: Remap,
}

impl AttributesRemap {
    /// To be called when the input goes on to another row group.
    pub(crate) fn next_row_group(&mut self) {
        self.rest.clear();
        for (_, remap) in &mut self.columns {
            remap.clear();
        }
    }
}

/// Calls `take` with each `KeyValue` message.
#[inline]
fn walk<'a>(attributes: AttributesRef<'a>, mut take: impl FnMut(&'a [u8])) {
    let mut reader = Reader::new(attributes.bytes);
    while let Ok(Some((number, field))) = reader.next_field() {
        if let (true, Field::Bytes(key_value)) = (number == attributes.field, field) {
            take(key_value);
        }
    }
}

/// Key and value of a `KeyValue` that is written in the usual way and holds a string, integer,
/// double or bool; nothing for any other, which is then kept as it is.
#[inline]
fn parse_simple(key_value: &[u8]) -> Option<(&[u8], Simple<'_>)> {
    let (key, rest) = take_bytes(key_value, 0x0a)?;
    let (value, rest) = take_bytes(rest, 0x12)?;
    if !rest.is_empty() {
        return None;
    }
    let (&tag, content) = value.split_first()?;
    let value = match tag {
        0x0a => {
            let (text, rest) = take_bytes(value, 0x0a)?;
            rest.is_empty().then_some(Simple::Text(text))?
        }
        0x10 => {
            let [flag @ (0 | 1)] = content else { return None };
            Simple::Bool(*flag == 1)
        }
        0x18 => {
            let mut reader = Reader::new(content);
            let int = reader.varint().ok()?;
            reader.is_empty().then_some(Simple::Int(int as i64))?
        }
        0x21 => {
            let bits = content.first_chunk::<8>()?;
            (content.len() == 8)
                .then_some(Simple::Double(f64::from_bits(u64::from_le_bytes(*bits))))?
        }
        _ => return None,
    };
    Some((key, value))
}

/// The content of the length-delimited field `tag` at the start, and what follows.
#[inline]
fn take_bytes(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let mut reader = Reader::new(bytes.get(1..)?);
    let length = usize::try_from(reader.varint().ok()?).ok()?;
    bytes.get(1 + reader.offset()..)?.split_at_checked(length)
}

const _: () = assert!(TYPED_COLUMNS_MAX < SHAPE_ITEMS_MAX);

/// A part of the attributes of a row group, for indexes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttributePart<'a> {
    /// A typed column and its key.
    Typed(&'a str, &'a ColumnBuilder),
    /// `KeyValueList`s of what has no column.
    Rest(&'a ColumnBuilder),
}

impl AttributesBuilder {
    /// All columns with values.
    pub(crate) fn parts(&self) -> impl Iterator<Item = AttributePart<'_>> {
        let typed = self.plan.keys.iter().zip(&self.typed);
        let typed = typed.map(|((key, _), column)| AttributePart::Typed(key, column));
        [AttributePart::Rest(&self.rest)].into_iter().chain(typed)
    }
}
