//! Segments into fewer segments, series by series.
//!
//! Inputs are read block by block of their series tables in one common order, so that memory holds
//! one block, one series and the output. Of two samples of one series and time the one of the first
//! input stays.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::cmp::Ordering;
use std::sync::Arc;

use model::Labels;

use super::exemplars::{ExemplarRow, merge_metadata};
use super::samples::SeriesSamples;
use super::scan::{ReadCache, ReadScratch, Segment, SeriesBlock};
use super::schema::BLOCK_SERIES;
use super::writer::SegmentWriter;
use crate::segment::{EncodeContext, EncodedSegment};
use crate::{MsRange, StorageError};

/// Merges `inputs`, oldest first, into segments of about the target size.
pub(crate) fn merge(
    inputs: &[Arc<Segment>],
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let mut cursors = Vec::with_capacity(inputs.len());
    let mut metadata = Vec::new();
    for input in inputs {
        cursors.push(SeriesCursor::new(input)?);
        metadata.extend(input.metadata()?);
    }
    merge_metadata(&mut metadata);
    let mut writer = SegmentWriter::new(ctx);
    writer.set_metadata(&metadata);
    let mut segments = Vec::new();
    let mut merged = SeriesSamples::default();
    let mut own = SeriesSamples::default();
    let mut rows: Vec<ExemplarRow> = Vec::new();
    while let Some(first) = first_of(&cursors) {
        let labels = cursors[first].labels.clone();
        merged.clear();
        rows.clear();
        // Cursors before the first one stand at later series.
        for cursor in &mut cursors[first..] {
            if !cursor.done && cursor.labels == labels {
                own.clear();
                cursor.take(&mut own, &mut rows)?;
                merged.merge(&mut own);
            }
        }
        merged.settle();
        writer.push_series(&labels, &merged.times, &merged.values, &merged.histograms)?;
        settle_exemplars(&mut rows);
        writer.push_exemplars(&rows)?;
        if writer.bytes() >= ctx.segment_bytes_target {
            let full = std::mem::replace(&mut writer, SegmentWriter::new(ctx));
            segments.extend(full.finish()?);
        }
    }
    segments.extend(writer.finish()?);
    Ok(segments)
}

/// The cursor with the smallest series, the first of equals.
fn first_of(cursors: &[SeriesCursor]) -> Option<usize> {
    let mut first: Option<usize> = None;
    for (index, cursor) in cursors.iter().enumerate() {
        let smaller = first.is_none_or(|best| cursor.order(&cursors[best]) == Ordering::Less);
        if !cursor.done && smaller {
            first = Some(index);
        }
    }
    first
}

fn settle_exemplars(rows: &mut Vec<ExemplarRow>) {
    let key = |row: &ExemplarRow| (row.time_ms, row.value.to_bits());
    rows.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.labels.cmp(&b.labels)));
    rows.dedup_by(|later, kept| key(later) == key(kept) && later.labels == kept.labels);
}

/// Walks the series of one input.
struct SeriesCursor {
    segment: Arc<Segment>,
    cache: ReadCache,
    scratch: ReadScratch,
    block: SeriesBlock,
    block_index: usize,
    in_block: usize,
    done: bool,
    labels: Labels,
    name: String,
    bytes: Vec<u8>,
    exemplar_block: usize,
    /// Exemplars of the current block that are still to come, the next one last.
    exemplars: Vec<(u32, ExemplarRow)>,
}

impl SeriesCursor {
    fn new(segment: &Arc<Segment>) -> Result<SeriesCursor, StorageError> {
        let mut cursor = SeriesCursor {
            segment: Arc::clone(segment),
            cache: ReadCache::new(),
            scratch: ReadScratch::default(),
            block: SeriesBlock::default(),
            block_index: 0,
            in_block: 0,
            done: false,
            labels: Labels::default(),
            name: String::new(),
            bytes: Vec::new(),
            exemplar_block: 0,
            exemplars: Vec::new(),
        };
        cursor.load()?;
        Ok(cursor)
    }

    /// Loads block and labels of the current series.
    fn load(&mut self) -> Result<(), StorageError> {
        if self.in_block == self.block.len() {
            if self.block_index == self.segment.block_count() {
                self.done = true;
                return Ok(());
            }
            self.block = self.segment.block(self.block_index)?;
            self.block_index += 1;
            self.in_block = 0;
        }
        self.labels = self.segment.labels_of(&self.block, self.in_block, &mut self.bytes)?;
        self.name.clear();
        self.name.push_str(self.labels.metric_name());
        Ok(())
    }

    fn order(&self, other: &SeriesCursor) -> Ordering {
        self.name.cmp(&other.name).then_with(|| self.labels.cmp(&other.labels))
    }

    /// Reads the current series and goes on to the next.
    fn take(
        &mut self,
        samples: &mut SeriesSamples,
        rows: &mut Vec<ExemplarRow>,
    ) -> Result<(), StorageError> {
        let (block, index) = (&self.block, self.in_block);
        self.segment.read(block, index, MsRange::ALL, &self.cache, samples, &mut self.scratch)?;
        let series = ((self.block_index - 1) * BLOCK_SERIES + self.in_block) as u32;
        loop {
            if self.exemplars.is_empty()
                && self.exemplar_block < self.segment.exemplar_block_count()
            {
                self.exemplars = self.segment.exemplar_block(self.exemplar_block)?;
                self.exemplars.reverse();
                self.exemplar_block += 1;
            }
            match self.exemplars.pop() {
                Some((owner, row)) if owner <= series => rows.push(row),
                Some(later) => {
                    self.exemplars.push(later);
                    break;
                }
                None => break,
            }
        }
        self.in_block += 1;
        self.load()
    }
}
