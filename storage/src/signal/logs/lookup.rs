//! Finds the records that carry an ID, whenever they were.

use memchr::memmem::Finder;
use model::{AttributesRef, BodyKind, LogRow, LogsBatch, Value};

use super::index::with_text;
use super::memtable::MemBatch;
use super::scan::Segment;
use super::schema::{BODY, BODY_ANY, RecordBlock, SPAN_ID, TRACE_ID};
use crate::columns::{BlockAt, ColumnBlock, ReadScratch};
use crate::ids::{IdFields, OneId, hash_span_id, hash_text, hash_trace_id, same_value};
use crate::text::{NeedleTokens, in_token};
use crate::{IdQuery, StorageError};

/// An ID in all the forms in which a record may carry it.
#[derive(Debug)]
pub(super) struct WantedId<'a> {
    id: &'a IdQuery,
    /// The text as given and, if that differs, in lower case: as a word of a line.
    words: Vec<String>,
    /// One for each of `words`.
    finders: Vec<Finder<'static>>,
    /// Of the text, and of the IDs that it was read as: `0x` before the digits is no part of them.
    fingerprints: Vec<u64>,
}

/// A block that may hold an ID, and where in it: nothing else has to be searched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Candidate {
    block: usize,
    /// As the trace or span ID of a record.
    own: bool,
    /// In an ID field.
    fields: bool,
    /// In a line.
    lines: bool,
}

impl<'a> WantedId<'a> {
    pub(super) fn new(id: &'a IdQuery) -> WantedId<'a> {
        let mut words = Vec::new();
        if id.text.bytes().any(in_token) {
            words.push(id.text.clone());
            let lower = id.text.to_ascii_lowercase();
            if lower != id.text {
                words.push(lower);
            }
        }
        let finders = words.iter().map(|word| Finder::new(word).into_owned()).collect();
        let mut fingerprints = vec![hash_text(&id.text)];
        fingerprints.extend(id.trace_id.as_ref().map(hash_trace_id));
        fingerprints.extend(id.span_id.as_ref().map(hash_span_id));
        fingerprints.sort_unstable();
        fingerprints.dedup();
        WantedId { id, words, finders, fingerprints }
    }

    fn is_id(&self, trace_id: &[u8], span_id: &[u8]) -> bool {
        self.id.trace_id.is_some_and(|id| id == trace_id && id != [0; 16])
            || self.id.span_id.is_some_and(|id| id == span_id && id != [0; 8])
    }

    fn is_in_line(&self, line: &[u8]) -> bool {
        self.finders.iter().any(|finder| has_word(line, finder))
    }

    fn is_in_attributes(&self, attributes: AttributesRef<'_>, id_fields: &IdFields) -> bool {
        attributes
            .iter()
            .any(|(key, value)| id_fields.contains(key) && same_value(value, &self.id.text))
    }

    /// The records of a memtable's batch that carry it. Texts lie in the batch's arena as they
    /// came, so one search of the arena and one of the fingerprints pass over nearly all batches.
    pub(super) fn rows_in(&self, batch: &MemBatch, id_fields: &IdFields) -> Vec<u32> {
        let ids = batch.ids(id_fields);
        let batch = &batch.batch;
        let may_hold = ids.is_structured
            || self.fingerprints.iter().any(|&fingerprint| ids.may_hold(fingerprint))
            || self.finders.iter().any(|finder| finder.find(&batch.arena).is_some());
        if !may_hold {
            return Vec::new();
        }
        let rows = batch.rows.iter().zip(0u32..);
        rows.filter(|(row, _)| self.is_in(batch, row, id_fields))
            .map(|(_, number)| number)
            .collect()
    }

    fn is_in(&self, batch: &LogsBatch, row: &LogRow, id_fields: &IdFields) -> bool {
        self.is_id(&row.trace_id, &row.span_id)
            || self.is_in_line(batch.line(row).as_bytes())
            || self.is_in_attributes(batch.attributes(row), id_fields)
    }

    /// Blocks of a segment that may hold it, ascending.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn candidates(&self, segment: &Segment) -> Result<Vec<Candidate>, StorageError> {
        let blocks = segment.stats.len();
        let Some(index) = &segment.index else {
            let anywhere = |block| Candidate { block, own: true, fields: true, lines: true };
            return Ok((0..blocks).map(anywhere).collect());
        };
        let mut candidates: Vec<Candidate> =
            (0..blocks).map(|block| Candidate { block, ..Candidate::default() }).collect();
        for &fingerprint in &self.fingerprints {
            for block in index.ids.lookup(fingerprint)? {
                if let Some(candidate) = candidates.get_mut(block as usize) {
                    candidate.own = true;
                }
            }
            for block in index.of_fields().lookup(fingerprint)? {
                if let Some(candidate) = candidates.get_mut(block as usize) {
                    candidate.fields = true;
                }
            }
        }
        for word in &self.words {
            let mut holds = vec![true; blocks];
            index.text.retain(&NeedleTokens::of_text(word.as_bytes()), &mut holds)?;
            for (candidate, holds) in candidates.iter_mut().zip(holds) {
                candidate.lines |= holds;
            }
        }
        candidates.retain(|candidate| candidate.own || candidate.fields || candidate.lines);
        Ok(candidates)
    }

    /// The records of a block that carry it, which [`WantedId::candidates`] gave.
    ///
    /// Errors: Corrupt, Io.
    pub(super) fn read(
        &self,
        segment: &Segment,
        candidate: Candidate,
        scratch: &mut ReadScratch,
    ) -> Result<LogsBatch, StorageError> {
        let at = segment.at(candidate.block)?;
        let mut fields = RecordBlock::default();
        let mut hits = vec![false; at.rows as usize];
        if candidate.own {
            let ids = [
                (TRACE_ID, self.id.trace_id.as_ref().map(<[u8; 16]>::as_slice)),
                (SPAN_ID, self.id.span_id.as_ref().map(<[u8; 8]>::as_slice)),
            ];
            for (field, id) in ids {
                let Some(id) = id.filter(|id| id.iter().any(|&byte| byte != 0)) else { continue };
                segment.records.load(&segment.file, at, field..field + 1, &mut fields, scratch)?;
                if let Some(column) = fields.field(field) {
                    column.mark_equal(id, &mut hits);
                }
            }
        }
        if candidate.lines && !self.words.is_empty() {
            segment.records.load(&segment.file, at, BODY..BODY_ANY + 1, &mut fields, scratch)?;
            self.mark_lines(&fields, &mut hits);
        }
        if candidate.fields {
            self.mark_attributes(segment, at, &mut hits, scratch)?;
        }
        let hits = (0..at.rows).zip(&hits).filter(|(_, hit)| **hit);
        let rows: Vec<u32> = hits.map(|(row, _)| row).collect();
        segment.materialise(at, fields, &rows, scratch)
    }

    fn mark_lines(&self, fields: &RecordBlock, hits: &mut [bool]) {
        // One search of the whole page passes over most blocks that a filter took for one that has
        // the word.
        let may_hold = |text: &ColumnBlock| self.finders.iter().any(|finder| text.holds(finder));
        if fields.field(BODY_ANY).is_none() && !fields.field(BODY).is_some_and(may_hold) {
            return;
        }
        for (row, hit) in hits.iter_mut().enumerate() {
            let (kind, body) = fields.body(row);
            if kind == BodyKind::Any {
                with_text(Value::parse(body), |line| *hit |= self.is_in_line(line));
            } else {
                *hit |= self.is_in_line(body);
            }
        }
    }

    fn mark_attributes(
        &self,
        segment: &Segment,
        at: BlockAt,
        hits: &mut [bool],
        scratch: &mut ReadScratch,
    ) -> Result<(), StorageError> {
        // Without an index nobody knows which fields were declared: then any may be the ID.
        let is_field =
            |key: &str| segment.index.as_ref().is_none_or(|index| index.id_fields.contains(key));
        let id = OneId::new(&self.id.text);
        for (key, _, column) in segment.attributes.columns() {
            if is_field(key) {
                let values = segment.file.read(column, at, scratch)?;
                self.mark(hits, &values, |text| id.is(text));
            }
        }
        let rest = segment.file.read(segment.attributes.rest_column(), at, scratch)?;
        for (row, hit) in hits.iter_mut().enumerate() {
            let Some(list) = rest.bytes(row) else { continue };
            *hit |= AttributesRef::list(list)
                .iter()
                .any(|(key, value)| is_field(key) && same_value(value, &self.id.text));
        }
        Ok(())
    }

    fn mark(&self, hits: &mut [bool], values: &ColumnBlock, is_id: impl Fn(&str) -> bool) {
        for (row, hit) in hits.iter_mut().enumerate() {
            if let Some(int) = values.int(row) {
                *hit |= is_id(&int.to_string());
            } else if let Some(text) = values.bytes(row) {
                *hit |= std::str::from_utf8(text).is_ok_and(&is_id);
            }
        }
    }
}

/// Whether `word` stands in `line` and no token reaches beyond its ends.
fn has_word(line: &[u8], word: &Finder<'_>) -> bool {
    let needle = word.needle();
    let joins = |at: Option<usize>, end: Option<&u8>| {
        let neighbour = at.and_then(|at| line.get(at));
        neighbour.is_some_and(|&byte| in_token(byte)) && end.is_some_and(|&byte| in_token(byte))
    };
    word.find_iter(line).any(|start| {
        let end = start + needle.len();
        !joins(start.checked_sub(1), needle.first()) && !joins(Some(end), needle.last())
    })
}
