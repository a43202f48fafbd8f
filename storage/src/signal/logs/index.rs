//! Finds blocks without reading them: builds the index of a segment and asks it.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::ops::Range;

use model::{AttributesRef, Value, value_to_json};

use super::schema::{BODY, BODY_ANY, BlockStats, RecordBuilder, SPAN_ID, STREAM, TIME, TRACE_ID};
use crate::StorageError;
use crate::columns::{AttributePart, AttributesBuilder, ColumnBuilder, Met, SectionFileWriter};
use crate::ids::{IdFields, IdIndexBuilder, hash_span_id, hash_text, hash_trace_id, hash_value};
use crate::text::TextIndexBuilder;

/// The section of the index file in which the ID index of trace and span IDs is.
pub(super) const IDS_SECTION: &str = "ids";
/// The section in which the ID index of ID fields is: apart from trace and span IDs, so that a block
/// that has a trace need not be searched for a field that has the trace's ID.
pub(super) const FIELD_IDS_SECTION: &str = "field_ids";
/// The section with the names of the ID fields, one a line: their values are in their ID index alone.
pub(super) const ID_FIELDS_SECTION: &str = "id_fields";

/// The text of a value as a line or a label shows it, if it is not a string already.
pub(super) fn with_text(value: Value<'_>, take: impl FnOnce(&[u8])) {
    match value {
        Value::Str(text) => take(text.as_bytes()),
        Value::Empty => take(b""),
        value => take(value_to_json(value).as_bytes()),
    }
}

/// Builds the index of a segment, row group by row group.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    text: TextIndexBuilder,
    ids: IdIndexBuilder,
    field_ids: IdIndexBuilder,
    id_fields: IdFields,
    id_field_names: String,
    blocks: Vec<BlockStats>,
    /// For each column of a row group what was met in this block.
    met: Vec<Met>,
}

impl IndexBuilder {
    pub(super) fn new(level: u8, id_fields: &[String]) -> Result<IndexBuilder, StorageError> {
        Ok(IndexBuilder {
            text: TextIndexBuilder::new(level)?,
            ids: IdIndexBuilder::new(),
            field_ids: IdIndexBuilder::new(),
            id_fields: IdFields::new(id_fields),
            id_field_names: id_fields.join("\n"),
            blocks: Vec::new(),
            met: Vec::new(),
        })
    }

    /// Adds the blocks of a row group that is about to be written.
    pub(super) fn row_group(
        &mut self,
        records: &RecordBuilder,
        attributes: &AttributesBuilder,
        block_ends: &[u32],
    ) -> Result<(), StorageError> {
        // Values read so far: of the records' columns, then of the attributes'.
        let mut cursors: Vec<usize> = Vec::new();
        let mut start = 0;
        for &end in block_ends {
            let rows = start..end as usize;
            let mut slot = 0;
            let mut next = |column: &ColumnBuilder| {
                cursors.resize(cursors.len().max(slot + 1), 0);
                let from = cursors[slot];
                cursors[slot] += column.values_in(rows.clone());
                slot += 1;
                (slot - 1, from..cursors[slot - 1])
            };
            for field in [BODY, BODY_ANY, TRACE_ID, SPAN_ID] {
                let column = records.builder(field);
                let (slot, values) = next(column);
                self.record_column(field, column, slot, values);
            }
            for part in attributes.parts() {
                let (AttributePart::Typed(_, column) | AttributePart::Rest(column)) = part;
                let (slot, values) = next(column);
                self.attribute_column(part, slot, values);
            }
            self.text.end_block()?;
            self.blocks.push(stats(records, rows));
            start = end as usize;
        }
        Ok(())
    }

    fn met(&mut self, slot: usize) -> Met {
        self.met.resize_with(self.met.len().max(slot + 1), Met::default);
        std::mem::take(&mut self.met[slot])
    }

    fn record_column(
        &mut self,
        field: usize,
        column: &ColumnBuilder,
        slot: usize,
        values: Range<usize>,
    ) {
        let block = self.blocks.len() as u32;
        let mut met = self.met(slot);
        column.each_text(values, &mut met, |bytes| match field {
            BODY => self.text.add(bytes),
            BODY_ANY => with_text(Value::parse(bytes), |line| self.text.add(line)),
            TRACE_ID => {
                if let Ok(id) = bytes.try_into() {
                    self.ids.push(hash_trace_id(id), block);
                }
            }
            _ => {
                if let Ok(id) = bytes.try_into() {
                    self.ids.push(hash_span_id(id), block);
                }
            }
        });
        self.met[slot] = met;
    }

    fn attribute_column(&mut self, part: AttributePart<'_>, slot: usize, values: Range<usize>) {
        let block = self.blocks.len() as u32;
        let mut met = self.met(slot);
        match part {
            AttributePart::Typed(key, column) if self.id_fields.contains(key) => {
                let ints = column.ints().get(values.clone()).unwrap_or_default();
                for &int in ints {
                    self.push_id(Value::Int(int), block);
                }
                column.each_text(values, &mut met, |text| {
                    if let Ok(text) = std::str::from_utf8(text)
                        && !text.is_empty()
                    {
                        self.field_ids.push(hash_text(text), block);
                    }
                });
            }
            AttributePart::Typed(_, column) => {
                column.each_text(values, &mut met, |text| self.text.add(text));
            }
            AttributePart::Rest(column) => {
                column.each_text(values, &mut met, |list| self.add_rest(list, block));
            }
        }
        self.met[slot] = met;
    }

    fn push_id(&mut self, value: Value<'_>, block: u32) {
        if let Some(hash) = hash_value(value) {
            self.field_ids.push(hash, block);
        }
    }

    fn add_rest(&mut self, list: &[u8], block: u32) {
        for (key, value) in AttributesRef::list(list).iter() {
            if self.id_fields.contains(key) {
                self.push_id(value, block);
            }
            with_text(value, |text| self.text.add(text));
        }
    }

    /// The block table and the index file.
    pub(super) fn finish(self) -> Result<(Vec<BlockStats>, bytes::Bytes), StorageError> {
        let mut file = SectionFileWriter::default();
        self.text.finish(&mut file)?;
        file.push(IDS_SECTION, &self.ids.finish());
        file.push(FIELD_IDS_SECTION, &self.field_ids.finish());
        file.push(ID_FIELDS_SECTION, self.id_field_names.as_bytes());
        Ok((self.blocks, file.finish()))
    }
}

fn stats(records: &RecordBuilder, rows: Range<usize>) -> BlockStats {
    let streams = &records.builder(STREAM).ints()[rows.clone()];
    let times = &records.builder(TIME).ints()[rows];
    BlockStats {
        stream_first: streams.first().copied().unwrap_or(0) as u32,
        stream_last: streams.last().copied().unwrap_or(0) as u32,
        time_min_ns: times.iter().copied().min().unwrap_or(0),
        time_max_ns: times.iter().copied().max().unwrap_or(0),
    }
}
