//! Writes one segment: series in ascending order go in, the finished file comes out.
//!
//! Numbers go to their pages at once; what must wait for the end is small: label numbers (names and
//! values are numbered in their sorted order, known only then), postings, the timeline table.
//! Format: FORMAT.md "Metric segment".

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use model::wire::put_varint;
use model::{Histogram, Labels, ms_to_ns};
use xxhash_rust::xxh3::xxh3_128;

use super::exemplars::{ExemplarRow, ExemplarWriter, StampedMetadata};
use super::histograms;
use super::index::LabelSection;
use super::pages::PageWriter;
use super::schema::{
    BLOCK_SERIES, Footer, LabelEntry, MAGIC, PART_SAMPLES_MAX, Section, VERSION, put_zigzag,
};
use super::values::{CLASS_NONE, CLASSES, HeaderColumns, VectorEncoder, VectorHeader};
use crate::StorageError;
use crate::segment::{EncodeContext, EncodedFile, EncodedSegment};

type Map<K, V> = HashMap<K, V, RandomState>;

/// See the module.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    out: Vec<u8>,
    zstd_level: i32,
    pages: PageWriter,
    encoder: VectorEncoder,
    timelines: TimelineWriter,
    labels: LabelCollector,
    block: OpenBlock,
    /// Everything of finished blocks but their labels.
    blocks: Vec<Vec<u8>>,
    histogram_blobs: Vec<Section>,
    exemplars: ExemplarWriter,
    metadata: Vec<u8>,
    footer: Footer,
    time_min_ms: i64,
    time_max_ms: i64,
    received_max_ns: i64,
}

#[derive(Debug, Default)]
struct OpenBlock {
    series: usize,
    /// Positions of the value streams when the block began.
    bases: Vec<u8>,
    part_counts: Vec<u8>,
    blob_flags: Vec<u8>,
    timelines: Vec<u8>,
    last_timeline: i64,
    headers: HeaderColumns,
}

#[derive(Debug, Default)]
struct TimelineWriter {
    known: Map<u128, u32>,
    headers: HeaderColumns,
    starts: Vec<u8>,
    bounds: Vec<u8>,
    last_min_ms: i64,
}

impl SegmentWriter {
    pub(crate) fn new(ctx: &EncodeContext) -> SegmentWriter {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        // A flush is read soon and rewritten soon: it takes the quick settings.
        let (pco_level, zstd_level) = if ctx.level == 0 { (4, 1) } else { (8, 6) };
        SegmentWriter {
            out,
            zstd_level,
            pages: PageWriter::new(pco_level),
            encoder: VectorEncoder::default(),
            timelines: TimelineWriter::default(),
            labels: LabelCollector::default(),
            block: OpenBlock::default(),
            blocks: Vec::new(),
            histogram_blobs: Vec::new(),
            exemplars: ExemplarWriter::new(zstd_level),
            metadata: Vec::new(),
            footer: Footer::default(),
            time_min_ms: i64::MAX,
            time_max_ms: i64::MIN,
            received_max_ns: 0,
        }
    }

    /// Bytes of numbers so far.
    pub(crate) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing worth a file has been pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.footer.series == 0 && self.metadata.is_empty()
    }

    /// Appends a series. Shape: series ascending by (metric name, labels) and distinct; times
    /// ascending and distinct, no time among both floats and histograms.
    pub(crate) fn push_series(
        &mut self,
        labels: &Labels,
        times: &[i64],
        values: &[f64],
        histograms: &[(i64, Arc<Histogram>)],
    ) -> Result<(), StorageError> {
        assert_eq!(times.len(), values.len(), "bug: times and values must agree");
        if self.block.series == 0 {
            for class in 0..CLASSES {
                put_varint(&mut self.block.bases, self.pages.position(class));
            }
        }
        self.labels.push(self.footer.series, labels);
        let parts = times.len().div_ceil(PART_SAMPLES_MAX);
        let part_samples = times.len().div_ceil(parts.max(1)).max(1);
        put_varint(&mut self.block.part_counts, parts as u64);
        for (times, values) in times.chunks(part_samples).zip(values.chunks(part_samples)) {
            self.push_part(times, values)?;
        }
        self.block.blob_flags.push(u8::from(!histograms.is_empty()));
        if !histograms.is_empty() {
            let blob = histograms::encode(histograms, self)?;
            let section = Section::write(&blob, self.zstd_level, &mut self.out)?;
            self.histogram_blobs.push(section);
            self.footer.histograms += histograms.len() as u64;
            self.note_times(
                histograms.first().map(|entry| entry.0),
                histograms.last().map(|e| e.0),
            );
        }
        self.note_times(times.first().copied(), times.last().copied());
        self.footer.samples += times.len() as u64;
        self.footer.series += 1;
        self.block.series += 1;
        if self.block.series == BLOCK_SERIES {
            self.close_block();
        }
        Ok(())
    }

    /// Appends exemplars of the series pushed last. Shape: ascending by time.
    pub(crate) fn push_exemplars(&mut self, rows: &[ExemplarRow]) -> Result<(), StorageError> {
        let series = self.footer.series.saturating_sub(1);
        for row in rows {
            self.note_times(Some(row.time_ms), Some(row.time_ms));
            self.exemplars.push(series, row, &mut self.out)?;
        }
        Ok(())
    }

    /// Sets the metadata of the segment.
    pub(crate) fn set_metadata(&mut self, entries: &[StampedMetadata]) {
        self.metadata = super::exemplars::encode_metadata(entries);
        let newest = entries.iter().map(|entry| entry.received_ns).max();
        self.received_max_ns = newest.unwrap_or(0);
    }

    fn note_times(&mut self, first: Option<i64>, last: Option<i64>) {
        self.time_min_ms = self.time_min_ms.min(first.unwrap_or(i64::MAX));
        self.time_max_ms = self.time_max_ms.max(last.unwrap_or(i64::MIN));
    }

    fn push_part(&mut self, times: &[i64], values: &[f64]) -> Result<(), StorageError> {
        let timeline = i64::from(self.timeline(times)?);
        let block = &mut self.block;
        put_zigzag(&mut block.timelines, timeline - block.last_timeline);
        block.last_timeline = timeline;
        let header = self.encoder.floats(values);
        if header.class != CLASS_NONE {
            let stream = usize::from(header.class);
            self.pages.push(stream, &self.encoder.residuals, &mut self.out)?;
        }
        header.put(&mut self.block.headers);
        Ok(())
    }

    /// The number of a vector of times, which is stored once however many series share it.
    pub(crate) fn timeline(&mut self, times: &[i64]) -> Result<u32, StorageError> {
        let key = timeline_key(times);
        if let Some(&known) = self.timelines.known.get(&key) {
            return Ok(known);
        }
        let header = self.encoder.integers(times);
        let header = self.push_side(header)?;
        let number = self.footer.timelines;
        self.footer.timelines += 1;
        let timelines = &mut self.timelines;
        timelines.known.insert(key, number);
        header.put(&mut timelines.headers);
        put_varint(&mut timelines.starts, header.start);
        let min_ms = times.first().copied().unwrap_or(0);
        let max_ms = times.last().copied().unwrap_or(0);
        put_zigzag(&mut timelines.bounds, min_ms.wrapping_sub(timelines.last_min_ms));
        put_varint(&mut timelines.bounds, max_ms.wrapping_sub(min_ms) as u64);
        timelines.last_min_ms = min_ms;
        Ok(number)
    }

    /// Stores a vector of floats that is no series' values; the header knows where it starts.
    pub(crate) fn side_floats(&mut self, values: &[f64]) -> Result<VectorHeader, StorageError> {
        let header = self.encoder.floats(values);
        self.push_side(header)
    }

    fn push_side(&mut self, mut header: VectorHeader) -> Result<VectorHeader, StorageError> {
        if header.class != CLASS_NONE {
            let stream = CLASSES + usize::from(header.class);
            header.start = self.pages.push(stream, &self.encoder.residuals, &mut self.out)?;
        }
        Ok(header)
    }

    fn close_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let mut raw = Vec::new();
        raw.extend_from_slice(&block.bases);
        raw.extend_from_slice(&block.part_counts);
        // Blobs are numbered through the segment; a block knows its first.
        let own = block.blob_flags.iter().filter(|&&flag| flag == 1).count();
        put_varint(&mut raw, (self.histogram_blobs.len() - own) as u64);
        raw.extend_from_slice(&block.blob_flags);
        super::schema::put_string(&mut raw, &block.timelines);
        block.headers.write(&mut raw);
        self.blocks.push(raw);
    }

    /// Finishes the file; nothing if nothing was pushed.
    pub(crate) fn finish(mut self) -> Result<Option<EncodedSegment>, StorageError> {
        if self.is_empty() {
            return Ok(None);
        }
        if self.block.series > 0 {
            self.close_block();
        }
        let level = self.zstd_level;
        let mut footer = std::mem::take(&mut self.footer);
        let mut out = std::mem::take(&mut self.out);
        let directory = self.pages.finish(&mut out)?;
        footer.pages = Section::write(&directory, level, &mut out)?;
        footer.timeline_table = Section::write(&self.timelines.finish(), level, &mut out)?;
        let labels = std::mem::take(&mut self.labels).finish();
        for (index, rest) in self.blocks.iter().enumerate() {
            let start = index * BLOCK_SERIES;
            let count = BLOCK_SERIES.min(footer.series as usize - start);
            let mut raw = labels.columns(start, count);
            raw.extend_from_slice(rest);
            footer.blocks.push(Section::write(&raw, level, &mut out)?);
        }
        for (name, raw) in labels.sections() {
            let section = Section::write(&raw, level, &mut out)?;
            footer.labels.push(LabelEntry { name, section });
        }
        footer.histogram_blobs = std::mem::take(&mut self.histogram_blobs);
        let (table, blocks) = self.exemplars.finish(&mut out)?;
        footer.exemplar_table = Section::write(&table, level, &mut out)?;
        footer.exemplar_blocks = blocks;
        footer.metadata = Section::write(&self.metadata, level, &mut out)?;
        footer.write(&mut out);
        let (min_ns, max_ns) = if self.time_min_ms <= self.time_max_ms {
            (ms_to_ns(self.time_min_ms), ms_to_ns(self.time_max_ms))
        } else {
            // Metadata alone has no time but that of its arrival.
            (self.received_max_ns, self.received_max_ns)
        };
        Ok(Some(EncodedSegment {
            files: vec![EncodedFile { extension: "metrics", bytes: Bytes::from(out) }],
            rows: footer.samples + footer.histograms,
            time_min_ns: min_ns,
            time_max_ns: max_ns,
            stats: Bytes::new(),
        }))
    }
}

/// The hash by which equal vectors of times are found.
fn timeline_key(times: &[i64]) -> u128 {
    // The bytes of the numbers, a cache line at a time, without a copy of the whole.
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let mut raw = [0u8; 512];
    for chunk in times.chunks(64) {
        for (bytes, time) in raw.chunks_exact_mut(8).zip(chunk) {
            bytes.copy_from_slice(&time.to_le_bytes());
        }
        if times.len() <= 64 {
            return xxh3_128(&raw[..chunk.len() * 8]);
        }
        hasher.update(&raw[..chunk.len() * 8]);
    }
    hasher.digest128()
}

impl TimelineWriter {
    fn finish(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        self.headers.write(&mut raw);
        super::schema::put_string(&mut raw, &self.starts);
        super::schema::put_string(&mut raw, &self.bounds);
        raw
    }
}

/// Numbers label names and values as they come, and renumbers them in sorted order at the end.
#[derive(Debug, Default)]
struct LabelCollector {
    names: Map<Box<str>, u32>,
    values: Vec<ValueCollector>,
    /// Name and value of every label of every series.
    pairs: Vec<(u32, u32)>,
    /// End of each series in `pairs`.
    ends: Vec<u32>,
    last: Labels,
}

#[derive(Debug, Default)]
struct ValueCollector {
    numbers: Map<Box<str>, u32>,
    postings: Vec<Vec<u32>>,
}

impl LabelCollector {
    fn push(&mut self, series: u32, labels: &Labels) {
        let last = std::mem::take(&mut self.last);
        let mut before = last.iter();
        let first_before = self.ends.iter().rev().nth(1).map_or(0, |end| *end as usize);
        for (before_pair, (name, value)) in (first_before..).zip(labels.iter()) {
            // Neighbours share most labels, often at the same place.
            let known = before.next().filter(|(n, _)| *n == name);
            let pair = self.pairs.get(before_pair).copied().unwrap_or_default();
            let name_number = match known {
                Some(_) => pair.0,
                None => self.name_number(name),
            };
            let collector = &mut self.values[name_number as usize];
            let value_number = match known {
                Some((_, before)) if before == value => pair.1,
                _ => collector.number(value),
            };
            collector.postings[value_number as usize].push(series);
            self.pairs.push((name_number, value_number));
        }
        self.ends.push(self.pairs.len() as u32);
        self.last = labels.clone();
    }

    fn name_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.names.get(name) {
            return number;
        }
        let number = self.values.len() as u32;
        self.names.insert(name.into(), number);
        self.values.push(ValueCollector::default());
        number
    }

    fn finish(self) -> SortedLabels {
        let mut names: Vec<(Box<str>, u32)> = self.names.into_iter().collect();
        names.sort_unstable();
        let mut name_ranks = vec![0; names.len()];
        let mut value_ranks = vec![Vec::new(); names.len()];
        let mut values = self.values;
        let mut sorted = Vec::new();
        for (rank, (name, number)) in names.into_iter().enumerate() {
            let collector = std::mem::take(&mut values[number as usize]);
            let mut list: Vec<(Box<str>, u32)> = collector.numbers.into_iter().collect();
            list.sort_unstable();
            let mut ranks = vec![0; list.len()];
            let mut postings = collector.postings;
            let mut entries = Vec::new();
            for (value_rank, (value, value_number)) in list.into_iter().enumerate() {
                ranks[value_number as usize] = value_rank as u32;
                entries.push((value, std::mem::take(&mut postings[value_number as usize])));
            }
            name_ranks[number as usize] = rank as u32;
            value_ranks[number as usize] = ranks;
            sorted.push((name, entries));
        }
        let mut pairs = self.pairs;
        for pair in &mut pairs {
            let value = value_ranks[pair.0 as usize][pair.1 as usize];
            *pair = (name_ranks[pair.0 as usize], value);
        }
        SortedLabels { sorted, pairs, ends: self.ends }
    }
}

impl ValueCollector {
    fn number(&mut self, value: &str) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = self.postings.len() as u32;
        self.numbers.insert(value.into(), number);
        self.postings.push(Vec::new());
        number
    }
}

/// A value and its series.
type Entry = (Box<str>, Vec<u32>);

struct SortedLabels {
    sorted: Vec<(Box<str>, Vec<Entry>)>,
    pairs: Vec<(u32, u32)>,
    ends: Vec<u32>,
}

impl SortedLabels {
    /// Label columns of `count` series from `start` on: shapes (sets of names), the shape of each
    /// series, then for each name that occurs the numbers of the values.
    fn columns(&self, start: usize, count: usize) -> Vec<u8> {
        let mut shapes: Vec<Vec<u32>> = Vec::new();
        let mut shape_column = Vec::new();
        let mut columns: Map<u32, (Vec<u8>, i64)> = Map::default();
        for series in start..start + count {
            let pairs = self.pairs_of(series);
            let is_shape =
                |shape: &Vec<u32>| shape.iter().copied().eq(pairs.iter().map(|pair| pair.0));
            let shape = shapes.iter().position(is_shape).unwrap_or_else(|| {
                shapes.push(pairs.iter().map(|pair| pair.0).collect());
                shapes.len() - 1
            });
            put_varint(&mut shape_column, shape as u64);
            for &(name, value) in pairs {
                let (column, last) = columns.entry(name).or_default();
                put_zigzag(column, i64::from(value) - *last);
                *last = i64::from(value);
            }
        }
        let mut raw = Vec::new();
        put_varint(&mut raw, count as u64);
        put_varint(&mut raw, shapes.len() as u64);
        for shape in &shapes {
            put_varint(&mut raw, shape.len() as u64);
            for &name in shape {
                put_varint(&mut raw, u64::from(name));
            }
        }
        raw.extend_from_slice(&shape_column);
        let mut names: Vec<u32> = columns.keys().copied().collect();
        names.sort_unstable();
        put_varint(&mut raw, names.len() as u64);
        for name in names {
            put_varint(&mut raw, u64::from(name));
            let column = columns.get(&name).map_or(&[][..], |(column, _)| column);
            super::schema::put_string(&mut raw, column);
        }
        raw
    }

    fn pairs_of(&self, series: usize) -> &[(u32, u32)] {
        let start = series.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.pairs[start..self.ends[series] as usize]
    }

    fn sections(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.sorted.into_iter().map(|(name, entries)| {
            let values: Vec<(&str, Vec<u32>)> =
                entries.iter().map(|(value, series)| (&**value, series.clone())).collect();
            (name.into(), LabelSection::encode(&values))
        })
    }
}
