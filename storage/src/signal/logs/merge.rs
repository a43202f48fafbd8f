//! Segments into fewer segments.
//!
//! The inputs are read block by block and written run by run: a run is a stretch of rows of one
//! input and one stream that comes before all rows of the others. Columns stay columns; only an
//! input whose attributes are typed otherwise than the output's is put together and taken apart
//! again. A record that two inputs hold is written once.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::{LogsBatch, Stream};

use super::encode::{RunRemap, SegmentWriter};
use super::scan::{Segment, stream_number};
use super::schema::{FIELD_COUNT, FIELDS_ALWAYS, RecordBlock, TIME, fingerprint, sort_streams};
use crate::StorageError;
use crate::columns::{AttributePlan, AttributePlanner, AttributesBlock, ReadScratch, Remap};
use crate::segment::{EncodeContext, EncodedSegment};

/// Where a row stands in the output's order.
type Key = (u32, i64);

/// Merges `inputs` into segments of about the context's size.
///
/// Errors: Corrupt, Io; nothing is written then.
/// Cost: one block of each input and one row group of the output in memory, besides the output.
pub(crate) fn merge(
    inputs: &[Arc<Segment>],
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let streams = all_streams(inputs);
    let mut fields = FIELDS_ALWAYS;
    let mut planner = AttributePlanner::default();
    for input in inputs {
        for (field, used) in fields.iter_mut().zip(input.records.fields()) {
            *field |= used;
        }
        let rows = input.file.blocks().iter().map(|block| u64::from(block.rows)).sum();
        planner.observe_file(&input.attributes, rows);
    }
    let plan = planner.finish(ctx.columns_max);
    let mut merge = Merge { streams, segments: Vec::new(), twins: Twins::default() };
    let mut cursors = Vec::new();
    for input in inputs {
        let mut cursor = Cursor::new(Arc::clone(input), &merge.streams)?;
        if cursor.load()? {
            cursors.push(cursor);
        }
    }
    let open = || SegmentWriter::new(fields, Arc::<AttributePlan>::clone(&plan), ctx);
    let mut writer = open()?;
    cursors.iter_mut().for_each(|cursor| cursor.remap(&mut writer));
    while !cursors.is_empty() {
        merge.step(&mut cursors, &mut writer)?;
        if writer.is_full() {
            let next = open()?;
            merge.segments.push(std::mem::replace(&mut writer, next).finish()?);
            cursors.iter_mut().for_each(|cursor| cursor.remap(&mut writer));
        }
    }
    if !writer.is_empty() {
        merge.segments.push(writer.finish()?);
    }
    Ok(merge.segments)
}

fn all_streams(inputs: &[Arc<Segment>]) -> Vec<Arc<Stream>> {
    let mut streams: Vec<Arc<Stream>> =
        inputs.iter().flat_map(|input| input.streams.iter().map(Arc::clone)).collect();
    sort_streams(&mut streams);
    streams.dedup_by(|a, b| a.id == b.id);
    streams
}

struct Merge {
    /// In the output's order.
    streams: Vec<Arc<Stream>>,
    segments: Vec<EncodedSegment>,
    twins: Twins,
}

/// The records of the key at which more than one input stands.
#[derive(Default)]
struct Twins {
    key: Option<Key>,
    /// Which input has given which record.
    seen: HashMap<u128, usize, FixedState>,
}

impl Merge {
    /// Writes the next run.
    fn step(
        &mut self,
        cursors: &mut Vec<Cursor>,
        writer: &mut SegmentWriter,
    ) -> Result<(), StorageError> {
        let Some(first) = (0..cursors.len()).min_by_key(|&index| (cursors[index].key(), index))
        else {
            return Ok(());
        };
        let limit = (0..cursors.len())
            .filter(|&index| index != first)
            .map(|index| cursors[index].key())
            .min();
        let cursor = &mut cursors[first];
        let key = cursor.key();
        let Some(stream) = self.streams.get(key.0 as usize) else {
            return Err(StorageError::corrupt(cursor.segment.file.name(), "a stream is unknown"));
        };
        let rows = if limit == Some(key) || self.twins.key == Some(key) {
            if self.twins.key != Some(key) {
                self.twins.key = Some(key);
                self.twins.seen.clear();
            }
            let print = cursor.fingerprint();
            if *self.twins.seen.entry(print).or_insert(cursor.number) == cursor.number {
                cursor.write(stream, 1, writer)?
            } else {
                1
            }
        } else {
            cursor.write(stream, cursor.run(limit), writer)?
        };
        cursor.row += rows;
        if cursor.row >= cursor.rows && !cursor.load()? {
            cursors.remove(first);
        }
        Ok(())
    }
}

/// One input and how far it has been read.
struct Cursor {
    segment: Arc<Segment>,
    /// Tells the inputs apart.
    number: usize,
    /// For each stream of the input its place in the output's order.
    ranks: Vec<u32>,
    next_block: usize,
    row_group: Option<u32>,
    rows: usize,
    row: usize,
    fields: RecordBlock,
    attributes: Option<AttributesBlock>,
    scratch: ReadScratch,
    /// Nothing when attributes have to be taken apart again.
    remap: Option<RunRemap>,
}

impl Cursor {
    fn new(segment: Arc<Segment>, streams: &[Arc<Stream>]) -> Result<Cursor, StorageError> {
        let ranks: HashMap<u128, u32, FixedState> =
            streams.iter().enumerate().map(|(rank, stream)| (stream.id.0, rank as u32)).collect();
        let ranks = segment
            .streams
            .iter()
            .map(|stream| ranks.get(&stream.id.0).copied().unwrap_or(u32::MAX))
            .collect();
        Ok(Cursor {
            number: Arc::as_ptr(&segment) as usize,
            segment,
            ranks,
            next_block: 0,
            row_group: None,
            rows: 0,
            row: 0,
            fields: RecordBlock::default(),
            attributes: None,
            scratch: ReadScratch::new()?,
            remap: None,
        })
    }

    /// Prepares for another output.
    fn remap(&mut self, writer: &mut SegmentWriter) {
        let attributes = writer.attributes().remap(&self.segment.attributes);
        self.remap = attributes.map(|attributes| RunRemap {
            records: std::array::from_fn::<Remap, FIELD_COUNT, _>(|_| Remap::default()),
            attributes,
        });
    }

    /// Goes on to the next block with rows; answers whether there was one.
    fn load(&mut self) -> Result<bool, StorageError> {
        loop {
            let Some(&at) = self.segment.file.blocks().get(self.next_block) else {
                return Ok(false);
            };
            self.next_block += 1;
            if at.rows == 0 {
                continue;
            }
            let segment = &self.segment;
            let mut fields = RecordBlock::default();
            segment.records.load(
                &segment.file,
                at,
                0..FIELD_COUNT,
                &mut fields,
                &mut self.scratch,
            )?;
            self.attributes =
                Some(segment.attributes.load(&segment.file, at, None, &mut self.scratch)?);
            self.fields = fields;
            self.rows = at.rows as usize;
            self.row = 0;
            if self.row_group != Some(at.row_group) {
                self.row_group = Some(at.row_group);
                if let Some(remap) = &mut self.remap {
                    remap.records.iter_mut().for_each(Remap::clear);
                    remap.attributes.next_row_group();
                }
            }
            return Ok(true);
        }
    }

    fn key_at(&self, row: usize) -> Key {
        let rank = self.ranks.get(stream_number(&self.fields, row)).copied();
        (rank.unwrap_or(u32::MAX), self.fields.int(TIME, row))
    }

    fn key(&self) -> Key {
        self.key_at(self.row)
    }

    /// Rows of this stream from here on that come before `limit`.
    fn run(&self, limit: Option<Key>) -> usize {
        let (stream, _) = self.key();
        (self.row..self.rows)
            .take_while(|&row| {
                let key = self.key_at(row);
                key.0 == stream && limit.is_none_or(|limit| key < limit)
            })
            .count()
            .max(1)
    }

    fn fingerprint(&self) -> u128 {
        let batch = self.batch(1);
        batch.rows.first().map_or(0, |row| fingerprint(&batch, row))
    }

    fn batch(&self, rows: usize) -> LogsBatch {
        let Some(attributes) = &self.attributes else { return LogsBatch::default() };
        let range = self.row as u32..(self.row + rows) as u32;
        self.segment.assemble(&self.fields, attributes, range)
    }

    /// Writes the next `rows` rows; answers how many of them fitted.
    fn write(
        &mut self,
        stream: &Arc<Stream>,
        rows: usize,
        writer: &mut SegmentWriter,
    ) -> Result<usize, StorageError> {
        if let (Some(remap), Some(attributes)) = (&mut self.remap, &self.attributes) {
            let range = self.row..self.row + rows;
            return writer.append(stream, (&self.fields, attributes), range, remap);
        }
        let batch = self.batch(rows);
        for row in &batch.rows {
            writer.push(stream, &batch, row)?;
        }
        Ok(rows)
    }
}
