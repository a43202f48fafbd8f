//! What a segment of logs holds: its columns, its stream table and its block table.
//!
//! Besides these a row has attributes, which `columns` takes apart. Columns that no record of the
//! segment uses are not written. Format: FORMAT.md, "Log segment".

use std::ops::Range;
use std::sync::Arc;

use model::wire::{Reader, put_varint};
use model::{BodyKind, LogRow, LogsBatch, Slice, Stream, StreamParts};

use crate::StorageError;
use crate::columns::{
    BlockAt, ColumnBlock, ColumnBuilder, ColumnFile, ColumnSpec, Kind, ReadScratch, Remap,
};

pub(super) const STREAM: usize = 0;
pub(super) const TIME: usize = 1;
pub(super) const OBSERVED: usize = 2;
pub(super) const SEVERITY_NUMBER: usize = 3;
pub(super) const SEVERITY_TEXT: usize = 4;
pub(super) const BODY: usize = 5;
pub(super) const BODY_ANY: usize = 6;
pub(super) const TRACE_ID: usize = 7;
pub(super) const SPAN_ID: usize = 8;
pub(super) const FLAGS: usize = 9;
pub(super) const EVENT_NAME: usize = 10;
pub(super) const DROPPED: usize = 11;
pub(super) const FIELD_COUNT: usize = 12;

/// Name, kind, and whether rows may lack it.
const FIELDS: [(&str, Kind, bool); FIELD_COUNT] = [
    ("stream", Kind::Int, false),
    ("time_ns", Kind::Int, false),
    ("observed_after_ns", Kind::Int, true),
    ("severity_number", Kind::Int, false),
    ("severity_text", Kind::Text, true),
    ("body", Kind::Text, true),
    ("body.any", Kind::Bytes, true),
    ("trace_id", Kind::Fixed(16), true),
    ("span_id", Kind::Fixed(8), true),
    ("flags", Kind::Int, true),
    ("event_name", Kind::Text, true),
    ("dropped_attributes_count", Kind::Int, true),
];

/// Sections of the main file.
pub(super) const STREAMS_SECTION: &str = "streams";
pub(super) const BLOCKS_SECTION: &str = "blocks";

/// Which fields some record of a segment uses.
pub(super) type FieldSet = [bool; FIELD_COUNT];

/// The fields that every segment has.
pub(super) const FIELDS_ALWAYS: FieldSet = {
    let mut fields = [false; FIELD_COUNT];
    fields[STREAM] = true;
    fields[TIME] = true;
    fields[SEVERITY_NUMBER] = true;
    fields[BODY] = true;
    fields
};

/// Marks the fields that `row` uses.
pub(super) fn mark_fields(fields: &mut FieldSet, row: &LogRow) {
    fields[OBSERVED] |= row.observed_ns != 0;
    fields[SEVERITY_TEXT] |= !row.severity_text.is_empty();
    fields[BODY_ANY] |= row.body_kind == BodyKind::Any;
    fields[TRACE_ID] |= row.trace_id != [0; 16];
    fields[SPAN_ID] |= row.span_id != [0; 8];
    fields[FLAGS] |= row.flags != 0;
    fields[EVENT_NAME] |= !row.event_name.is_empty();
    fields[DROPPED] |= row.dropped_attributes_count != 0;
}

/// The columns of these fields.
pub(super) fn specs(fields: &FieldSet) -> Vec<ColumnSpec> {
    let used = FIELDS.iter().zip(fields).filter(|(_, used)| **used);
    used.map(|((name, kind, optional), _)| ColumnSpec {
        name: (*name).to_owned(),
        kind: *kind,
        optional: *optional,
    })
    .collect()
}

/// Where the fields are in a file.
#[derive(Debug)]
pub(super) struct RecordFile {
    columns: [Option<usize>; FIELD_COUNT],
}

impl RecordFile {
    /// Errors: Corrupt when a field that every segment has is missing, or one is of another kind.
    pub(super) fn open(file: &ColumnFile) -> Result<RecordFile, StorageError> {
        let mut columns = [None; FIELD_COUNT];
        let fields = FIELDS.iter().zip(FIELDS_ALWAYS).zip(&mut columns);
        for (((name, kind, optional), always), column) in fields {
            *column = file.column(name);
            let spec = column.and_then(|column| file.specs().get(column));
            let sound = match spec {
                Some(spec) => spec.kind == *kind && (*optional || !spec.optional),
                None => !always,
            };
            if !sound {
                let why = format!("its column {name} is missing or of another kind");
                return Err(StorageError::corrupt(file.name(), why));
            }
        }
        Ok(RecordFile { columns })
    }

    pub(super) fn fields(&self) -> FieldSet {
        self.columns.map(|column| column.is_some())
    }

    /// Reads `fields` of a block into `block`, unless they are there already.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn load(
        &self,
        file: &ColumnFile,
        at: BlockAt,
        fields: Range<usize>,
        block: &mut RecordBlock,
        scratch: &mut ReadScratch,
    ) -> Result<(), StorageError> {
        for field in fields {
            let column = self.columns.get(field).copied().flatten();
            if let (Some(column), Some(slot @ None)) = (column, block.fields.get_mut(field)) {
                *slot = Some(file.read(column, at, scratch)?);
            }
        }
        Ok(())
    }
}

impl RecordFile {
    /// All fields of `rows` (ascending) of a block alone; `loaded` are some of the whole block.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn load_rows(
        &self,
        file: &ColumnFile,
        at: BlockAt,
        rows: &[u32],
        loaded: &RecordBlock,
        scratch: &mut ReadScratch,
    ) -> Result<RecordBlock, StorageError> {
        let mut block = RecordBlock::default();
        let fields = self.columns.iter().zip(&loaded.fields).zip(&mut block.fields);
        for ((column, loaded), field) in fields {
            *field = match (loaded, column) {
                (Some(loaded), _) => Some(loaded.pick(rows)),
                (None, Some(column)) => Some(file.read_rows(*column, at, rows, scratch)?),
                (None, None) => None,
            };
        }
        Ok(block)
    }
}

/// Fields of one block; those that are not loaded or not there are absent.
#[derive(Debug, Default)]
pub(super) struct RecordBlock {
    fields: [Option<ColumnBlock>; FIELD_COUNT],
}

impl RecordBlock {
    #[inline]
    pub(super) fn field(&self, field: usize) -> Option<&ColumnBlock> {
        self.fields.get(field)?.as_ref()
    }

    #[inline]
    pub(super) fn int(&self, field: usize, row: usize) -> i64 {
        self.field(field).and_then(|column| column.int(row)).unwrap_or(0)
    }

    #[inline]
    pub(super) fn bytes(&self, field: usize, row: usize) -> &[u8] {
        self.field(field).and_then(|column| column.bytes(row)).unwrap_or_default()
    }

    pub(super) fn fixed<const N: usize>(&self, field: usize, row: usize) -> [u8; N] {
        self.bytes(field, row).try_into().unwrap_or([0; N])
    }

    /// What the body is and its bytes.
    pub(super) fn body(&self, row: usize) -> (BodyKind, &[u8]) {
        match self.field(BODY_ANY).and_then(|column| column.bytes(row)) {
            Some(bytes) => (BodyKind::Any, bytes),
            None => (BodyKind::Text, self.bytes(BODY, row)),
        }
    }

    /// The record at `row` without its attributes; its texts go to `arena`.
    pub(super) fn record(&self, row: usize, arena: &mut Vec<u8>) -> LogRow {
        let mut keep = |bytes: &[u8]| {
            let start = arena.len() as u32;
            arena.extend_from_slice(bytes);
            Slice { start, len: bytes.len() as u32 }
        };
        let (body_kind, body) = self.body(row);
        let time_ns = self.int(TIME, row);
        let after = self.field(OBSERVED).and_then(|column| column.int(row));
        LogRow {
            stream: 0,
            time_ns,
            observed_ns: after.map_or(0, |after| time_ns.wrapping_add(after)),
            severity_number: self.int(SEVERITY_NUMBER, row) as u8,
            body_kind,
            severity_text: keep(self.bytes(SEVERITY_TEXT, row)),
            body: keep(body),
            attributes: Slice::EMPTY,
            attributes_field: 1,
            event_name: keep(self.bytes(EVENT_NAME, row)),
            dropped_attributes_count: self.int(DROPPED, row) as u32,
            flags: self.int(FLAGS, row) as u32,
            trace_id: self.fixed(TRACE_ID, row),
            span_id: self.fixed(SPAN_ID, row),
        }
    }
}

/// Fields of the rows of one row group.
#[derive(Debug)]
pub(super) struct RecordBuilder {
    fields: FieldSet,
    builders: [ColumnBuilder; FIELD_COUNT],
}

#[expect(clippy::indexing_slicing, reason = "fields are those of FIELDS")]
impl RecordBuilder {
    pub(super) fn new(fields: FieldSet) -> RecordBuilder {
        RecordBuilder { fields, builders: FIELDS.map(|(_, kind, _)| ColumnBuilder::new(kind)) }
    }

    pub(super) fn builder(&self, field: usize) -> &ColumnBuilder {
        &self.builders[field]
    }

    /// The builders of the columns that [`specs`] names.
    pub(super) fn columns(&mut self) -> impl Iterator<Item = &mut ColumnBuilder> {
        let used = self.builders.iter_mut().zip(self.fields);
        used.filter(|(_, used)| *used).map(|(builder, _)| builder)
    }

    /// Takes a record apart, all but its attributes. `stream` is its number in this segment.
    pub(super) fn push(&mut self, at: usize, stream: u32, row: &LogRow, arena: &[u8]) {
        let builders = &mut self.builders;
        builders[STREAM].push_int(at, i64::from(stream));
        builders[TIME].push_int(at, row.time_ns);
        builders[SEVERITY_NUMBER].push_int(at, i64::from(row.severity_number));
        if row.observed_ns != 0 {
            builders[OBSERVED].push_int(at, row.observed_ns.wrapping_sub(row.time_ns));
        }
        let body = if row.body_kind == BodyKind::Any { BODY_ANY } else { BODY };
        builders[body].push_bytes(at, row.body.of(arena));
        for (field, slice) in [(SEVERITY_TEXT, row.severity_text), (EVENT_NAME, row.event_name)] {
            if !slice.is_empty() {
                builders[field].push_bytes(at, slice.of(arena));
            }
        }
        if row.trace_id != [0; 16] {
            builders[TRACE_ID].push_bytes(at, &row.trace_id);
        }
        if row.span_id != [0; 8] {
            builders[SPAN_ID].push_bytes(at, &row.span_id);
        }
        if row.flags != 0 {
            builders[FLAGS].push_int(at, i64::from(row.flags));
        }
        if row.dropped_attributes_count != 0 {
            builders[DROPPED].push_int(at, i64::from(row.dropped_attributes_count));
        }
    }

    /// Appends rows `range` of `block` from row `at` on; `stream` gives each input row's number
    /// here.
    pub(super) fn append(
        &mut self,
        at: usize,
        block: &RecordBlock,
        range: Range<usize>,
        stream: u32,
        remaps: &mut [Remap; FIELD_COUNT],
    ) {
        for offset in 0..range.len() {
            self.builders[STREAM].push_int(at + offset, i64::from(stream));
        }
        for (field, remap) in remaps.iter_mut().enumerate().skip(TIME) {
            if let Some(column) = block.field(field) {
                self.builders[field].append(at, column, range.clone(), remap);
            }
        }
    }
}

/// What is known of a block without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockStats {
    /// Closed range of its streams' numbers.
    pub(super) stream_first: u32,
    pub(super) stream_last: u32,
    /// Closed range. Units: ns.
    pub(super) time_min_ns: i64,
    pub(super) time_max_ns: i64,
}

const BLOCK_STATS_BYTES: usize = 24;

pub(super) fn encode_blocks(blocks: &[BlockStats]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blocks.len() * BLOCK_STATS_BYTES);
    for block in blocks {
        out.extend_from_slice(&block.stream_first.to_le_bytes());
        out.extend_from_slice(&block.stream_last.to_le_bytes());
        out.extend_from_slice(&block.time_min_ns.to_le_bytes());
        out.extend_from_slice(&block.time_max_ns.to_le_bytes());
    }
    out
}

/// Nothing where the bytes are not what [`encode_blocks`] writes for as many streams.
pub(super) fn decode_blocks(bytes: &[u8], streams: usize) -> Option<Vec<BlockStats>> {
    let mut blocks = Vec::with_capacity(bytes.len() / BLOCK_STATS_BYTES);
    for chunk in bytes.chunks(BLOCK_STATS_BYTES) {
        let (first, rest) = chunk.split_first_chunk::<4>()?;
        let (last, rest) = rest.split_first_chunk::<4>()?;
        let (min, rest) = rest.split_first_chunk::<8>()?;
        let block = BlockStats {
            stream_first: u32::from_le_bytes(*first),
            stream_last: u32::from_le_bytes(*last),
            time_min_ns: i64::from_le_bytes(*min),
            time_max_ns: i64::from_le_bytes(*rest.first_chunk::<8>()?),
        };
        if block.stream_first > block.stream_last || block.stream_last as usize >= streams {
            return None;
        }
        blocks.push(block);
    }
    Some(blocks)
}

pub(super) fn encode_streams(streams: &[Arc<Stream>]) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in streams {
        let parts = stream.parts().encode();
        put_varint(&mut out, parts.len() as u64);
        out.extend_from_slice(&parts);
    }
    out
}

/// Nothing where the bytes are not what [`encode_streams`] writes.
pub(super) fn decode_streams(bytes: &[u8]) -> Option<Vec<Arc<Stream>>> {
    let mut reader = Reader::new(bytes);
    let mut streams = Vec::new();
    while !reader.is_empty() {
        let length = usize::try_from(reader.varint().ok()?).ok()?;
        let start = reader.offset();
        reader.skip(length)?;
        let parts = StreamParts::decode(bytes.get(start..start + length)?)?;
        streams.push(Stream::new(parts));
    }
    Some(streams)
}

/// The order of streams in every segment: neighbours have similar labels.
pub(super) fn sort_streams(streams: &mut [Arc<Stream>]) {
    streams.sort_by(|a, b| (a.labels.as_bytes(), a.id).cmp(&(b.labels.as_bytes(), b.id)));
}

/// The hash of all that makes a record itself beside stream and time, to know a record that was
/// stored twice.
pub(super) fn fingerprint(batch: &LogsBatch, row: &LogRow) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(&[row.body_kind as u8, row.severity_number]);
    part(row.body.of(&batch.arena));
    part(row.severity_text.of(&batch.arena));
    part(row.event_name.of(&batch.arena));
    part(&row.trace_id);
    part(&row.span_id);
    let mut reader = Reader::new(row.attributes.of(&batch.arena));
    while let Ok(Some((number, field))) = reader.next_field() {
        if number == u32::from(row.attributes_field) {
            part(field.bytes().unwrap_or_default());
        }
    }
    hasher.digest128()
}
