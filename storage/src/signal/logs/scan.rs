//! Reads segments: which blocks may hold what is wanted, and which rows of them do.
//!
//! A block is read late: first streams and times, then trace IDs and bodies if they are asked for,
//! and all other columns only for the rows that are left.

use std::collections::HashMap;
use std::sync::Arc;

use model::{BodyKind, LogsBatch, Slice, Stream, Value};

use super::index::{FIELD_IDS_SECTION, ID_FIELDS_SECTION, IDS_SECTION, with_text};
use super::schema::{
    BLOCKS_SECTION, BODY, BODY_ANY, BlockStats, FIELD_COUNT, RecordBlock, RecordFile, STREAM,
    STREAMS_SECTION, TIME, TRACE_ID, decode_blocks, decode_streams,
};
use super::wanted::{Hint, Wanted};
use crate::StorageError;
use crate::columns::{
    AttributeFile, AttributesBlock, BlockAt, BlockValues, ColumnBlock, ColumnFile, Kind,
    ReadScratch, SectionFile,
};
use crate::ids::{IdFields, IdIndex, hash_text, hash_trace_id};
use crate::segment::{OpenSegment, SegmentMeta, SegmentSource};
use crate::text::TextIndex;

/// Of a block of which at most one row in this many is wanted, columns are read by row.
const FEW_ROWS_ONE_IN: usize = 16;

/// An open segment: all that is needed to know which blocks to read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) file: ColumnFile,
    pub(super) records: RecordFile,
    pub(super) attributes: AttributeFile,
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) stats: Vec<BlockStats>,
    pub(super) index: Option<Index>,
}

/// The index of a segment.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) text: TextIndex,
    /// Of trace and span IDs.
    pub(super) ids: IdIndex,
    /// Of the values of ID fields; `ids` has them, too, where there is none.
    pub(super) field_ids: Option<IdIndex>,
    pub(super) id_fields: IdFields,
}

impl OpenSegment for Segment {
    fn open(_meta: &SegmentMeta, sources: &[Arc<dyn SegmentSource>]) -> Result<Self, StorageError> {
        let [main, others @ ..] = sources else {
            return Err(StorageError::corrupt("a segment of logs", "it has no files"));
        };
        let file = ColumnFile::open(Arc::clone(main))?;
        let unreadable = |what: &str| StorageError::corrupt(file.name(), what);
        let records = RecordFile::open(&file)?;
        let attributes = AttributeFile::open(&file)?;
        let streams = decode_streams(file.section(STREAMS_SECTION)?)
            .ok_or_else(|| unreadable("its streams cannot be read"))?;
        let stats = decode_blocks(file.section(BLOCKS_SECTION)?, streams.len())
            .filter(|stats| stats.len() == file.blocks().len())
            .ok_or_else(|| unreadable("its block table cannot be read"))?;
        // Without its index a segment is only slower, so a broken one hides nothing.
        let index = others.first().and_then(|source| match Index::open(source, stats.len()) {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::warn!(file = source.name(), %error, "a log index is not used");
                None
            }
        });
        Ok(Segment { file, records, attributes, streams, stats, index })
    }
}

impl Index {
    fn open(source: &Arc<dyn SegmentSource>, blocks: usize) -> Result<Index, StorageError> {
        let file = SectionFile::open(Arc::clone(source))?;
        let lost = || StorageError::corrupt(source.name(), "a section is missing");
        let ids = IdIndex::open(source, file.place(IDS_SECTION).ok_or_else(lost)?)?;
        let field_ids = file.place(FIELD_IDS_SECTION);
        let field_ids = field_ids.map(|place| IdIndex::open(source, place)).transpose()?;
        let fields = file.read(ID_FIELDS_SECTION)?.ok_or_else(lost)?;
        let fields: Vec<String> = std::str::from_utf8(&fields)
            .map_err(|_| lost())?
            .split_terminator('\n')
            .map(str::to_owned)
            .collect();
        let (text, id_fields) = (TextIndex::open(file, blocks)?, IdFields::new(&fields));
        Ok(Index { text, ids, field_ids, id_fields })
    }

    /// The index of the values of ID fields.
    pub(super) fn of_fields(&self) -> &IdIndex {
        self.field_ids.as_ref().unwrap_or(&self.ids)
    }

    /// Clears the blocks that the ID is not in, by `ids`.
    fn retain_id(ids: &IdIndex, hash: u64, candidates: &mut [bool]) -> Result<(), StorageError> {
        let blocks = ids.lookup(hash)?;
        for (block, candidate) in candidates.iter_mut().enumerate() {
            *candidate &= blocks.binary_search(&(block as u32)).is_ok();
        }
        Ok(())
    }
}

impl Segment {
    /// For each block whether it may hold a wanted row.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn candidates(
        &self,
        wanted: &Wanted<'_>,
        taken: &[bool],
    ) -> Result<Vec<bool>, StorageError> {
        let mut candidates: Vec<bool> = self
            .stats
            .iter()
            .map(|block| {
                wanted.range.meets(block.time_min_ns, block.time_max_ns)
                    && self.streams_of(block, taken).contains(&true)
            })
            .collect();
        let Some(index) = &self.index else { return Ok(candidates) };
        if let Some(id) = wanted.trace_id {
            Index::retain_id(&index.ids, hash_trace_id(&id), &mut candidates)?;
        }
        for needle in &wanted.needles {
            index.text.retain(needle, &mut candidates)?;
        }
        for hint in &wanted.hints {
            self.retain_hint(index, hint, &mut candidates)?;
        }
        Ok(candidates)
    }

    fn streams_of<'a>(&self, block: &BlockStats, taken: &'a [bool]) -> &'a [bool] {
        let range = block.stream_first as usize..=block.stream_last as usize;
        taken.get(range).unwrap_or_default()
    }

    /// Prunes by an attribute, where it can only be one that the index knows.
    fn retain_hint(
        &self,
        index: &Index,
        hint: &Hint,
        candidates: &mut [bool],
    ) -> Result<(), StorageError> {
        let mut keys = self.attributes.keys().filter(|(key, _)| hint.may_mean(key));
        if keys.any(|(_, kind)| kind != Kind::Text) {
            return Ok(());
        }
        let mut holds = candidates.to_vec();
        index.text.retain(&hint.tokens, &mut holds)?;
        if index.id_fields.contains(&hint.name) {
            // Such a value is in the ID index, unless it is one that no ID can be.
            let mut by_id = candidates.to_vec();
            Index::retain_id(index.of_fields(), hash_text(&hint.value), &mut by_id)?;
            holds.iter_mut().zip(by_id).for_each(|(holds, by_id)| *holds |= by_id);
        }
        let by_stream: Vec<bool> =
            self.streams.iter().map(|stream| hint.may_be_of(stream)).collect();
        for ((candidate, holds), block) in candidates.iter_mut().zip(holds).zip(&self.stats) {
            *candidate &= holds || self.streams_of(block, &by_stream).contains(&true);
        }
        Ok(())
    }

    pub(super) fn at(&self, block: usize) -> Result<BlockAt, StorageError> {
        let lost = || StorageError::corrupt(self.file.name(), "a block is missing");
        self.file.blocks().get(block).copied().ok_or_else(lost)
    }

    /// Reads the wanted rows of a block; streams are those in `taken`.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn read(
        &self,
        block: usize,
        wanted: &Wanted<'_>,
        taken: &[bool],
        scratch: &mut ReadScratch,
    ) -> Result<LogsBatch, StorageError> {
        let at = self.at(block)?;
        let mut fields = RecordBlock::default();
        self.records.load(&self.file, at, STREAM..TIME + 1, &mut fields, scratch)?;
        let mut rows = select(&fields, at.rows, |stream, time_ns| {
            wanted.range.contains(time_ns) && taken.get(stream).copied().unwrap_or(false)
        });
        if let Some(id) = wanted.trace_id.filter(|_| !rows.is_empty()) {
            self.records.load(&self.file, at, TRACE_ID..TRACE_ID + 1, &mut fields, scratch)?;
            rows.retain(|&row| fields.bytes(TRACE_ID, row as usize) == id);
        }
        if !wanted.finders.is_empty() && !rows.is_empty() {
            self.records.load(&self.file, at, BODY..BODY_ANY + 1, &mut fields, scratch)?;
            retain_lines(&fields, wanted, &mut rows);
        }
        self.materialise(at, fields, &rows, scratch)
    }

    /// Makes a batch of the rows.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn materialise(
        &self,
        at: BlockAt,
        mut fields: RecordBlock,
        rows: &[u32],
        scratch: &mut ReadScratch,
    ) -> Result<LogsBatch, StorageError> {
        if rows.is_empty() {
            return Ok(LogsBatch::default());
        }
        if rows.len() <= at.rows as usize / FEW_ROWS_ONE_IN {
            let fields = self.records.load_rows(&self.file, at, rows, &fields, scratch)?;
            let attributes = self.attributes.load_rows(&self.file, at, rows, scratch)?;
            return Ok(self.assemble(&fields, &attributes, 0..rows.len() as u32));
        }
        self.records.load(&self.file, at, 0..FIELD_COUNT, &mut fields, scratch)?;
        let attributes = self.attributes.load(&self.file, at, Some(rows), scratch)?;
        Ok(self.assemble(&fields, &attributes, rows.iter().copied()))
    }

    /// Puts rows together whose columns are loaded.
    pub(super) fn assemble(
        &self,
        fields: &RecordBlock,
        attributes: &AttributesBlock,
        rows: impl Iterator<Item = u32>,
    ) -> LogsBatch {
        let mut arena = Vec::new();
        let mut records = Vec::with_capacity(rows.size_hint().0);
        let mut streams: Vec<Arc<Stream>> = Vec::new();
        let mut numbers: HashMap<usize, u32> = HashMap::new();
        for row in rows {
            let row = row as usize;
            let mut record = fields.record(row, &mut arena);
            let start = arena.len() as u32;
            self.attributes.write(attributes, row, &mut arena);
            record.attributes = Slice { start, len: arena.len() as u32 - start };
            let number = stream_number(fields, row);
            record.stream = *numbers.entry(number).or_insert_with(|| {
                streams.extend(self.streams.get(number).map(Arc::clone));
                streams.len().saturating_sub(1) as u32
            });
            records.push(record);
        }
        LogsBatch { arena: arena.into(), streams, rows: records }
    }
}

pub(super) fn stream_number(fields: &RecordBlock, row: usize) -> usize {
    usize::try_from(fields.int(STREAM, row)).unwrap_or(usize::MAX)
}

/// The rows whose stream and time `take` accepts.
fn select(fields: &RecordBlock, rows: u32, take: impl Fn(usize, i64) -> bool) -> Vec<u32> {
    let column = |field: usize| fields.field(field).and_then(ColumnBlock::ints);
    let (Some(streams), Some(times)) = (column(STREAM), column(TIME)) else { return Vec::new() };
    let pairs = streams.iter().zip(times).zip(0..rows);
    pairs
        .filter(|((stream, time_ns), _)| {
            usize::try_from(**stream).is_ok_and(|stream| take(stream, **time_ns))
        })
        .map(|(_, row)| row)
        .collect()
}

/// Keeps the rows whose line has all needles.
fn retain_lines(fields: &RecordBlock, wanted: &Wanted<'_>, rows: &mut Vec<u32>) {
    let mut hits: Vec<bool> = Vec::new();
    let text = fields.field(BODY);
    if let Some(text) = text {
        hits = find_values(text, wanted);
    }
    rows.retain(|&row| {
        let row = row as usize;
        if let Some(slot) = text.and_then(|text| text.slot(row)) {
            return hits.get(slot).copied().unwrap_or(false);
        }
        let (kind, body) = fields.body(row);
        let mut hit = false;
        if kind == BodyKind::Any {
            with_text(Value::parse(body), |line| hit = wanted.takes_line(line));
        }
        hit
    });
}

/// For each value of a column of strings whether it has all needles. The first needle is searched
/// for in the whole page at once, and a hit is brought to the value it lies in.
fn find_values(text: &ColumnBlock, wanted: &Wanted<'_>) -> Vec<bool> {
    match &text.values {
        BlockValues::Dictionary { dictionary, numbers } => {
            let known: Vec<bool> =
                dictionary.iter().map(|entry| wanted.takes_line(entry)).collect();
            numbers.iter().map(|&n| known.get(n as usize).copied().unwrap_or(false)).collect()
        }
        BlockValues::Plain(values) => {
            let mut hits = vec![false; values.len()];
            let Some((first, others)) = wanted.finders.split_first() else { return hits };
            let needle_bytes = first.needle().len();
            let (data, ends) = (values.data(), values.ends());
            let (mut from, mut value) = (0, 0);
            while let Some(found) = data.get(from..).and_then(|rest| first.find(rest)) {
                let start = from + found;
                while ends.get(value).is_some_and(|&end| end as usize <= start) {
                    value += 1;
                }
                let Some(&end) = ends.get(value) else { break };
                let end = end as usize;
                if start + needle_bytes > end {
                    // It reaches into the next line.
                    from = start + 1;
                    continue;
                }
                let line = values.get(value);
                if let Some(hit) = hits.get_mut(value) {
                    *hit = others.iter().all(|finder| finder.find(line).is_some());
                }
                from = end;
            }
            hits
        }
        _ => Vec::new(),
    }
}
