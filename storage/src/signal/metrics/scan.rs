//! Reads a segment: footer when it is opened, every other section when it is first needed.
//!
//! Sections that a query needs again (page directory, timeline table, labels) are kept with the open
//! segment; decoded pages and timelines only as long as the selection or merge that reads them
//! ([`ReadCache`]). Format: FORMAT.md "Metric segment".

use std::sync::{Arc, OnceLock};

use model::wire::put_varint;
use model::{Labels, METRIC_NAME};
use parking_lot::Mutex;

use super::exemplars::{self, ExemplarRow, ExemplarTable, StampedMetadata};
use super::histograms::{self, VectorSource};
use super::index::{Bitset, LabelSection};
use super::pages::{ChunkCache, PageDirectory, PageId};
use super::samples::SeriesSamples;
use super::schema::{BLOCK_SERIES, Cursor, Footer, Malformed};
use super::values::{
    CLASS_NONE, CLASSES, HeaderReader, VectorHeader, decode_floats, decode_integers,
};
use crate::segment::{OpenSegment, SegmentMeta, SegmentSource};
use crate::{Matcher, MsRange, StorageError};

type Loaded<T> = OnceLock<Result<Arc<T>, StorageError>>;

/// An open segment of metrics.
#[derive(Debug)]
pub(crate) struct Segment {
    source: Arc<dyn SegmentSource>,
    footer: Footer,
    pages: Loaded<PageDirectory>,
    timelines: Loaded<Vec<Timeline>>,
    labels: Vec<Loaded<LabelSection>>,
    exemplars: Loaded<ExemplarTable>,
}

impl OpenSegment for Segment {
    fn open(_meta: &SegmentMeta, sources: &[Arc<dyn SegmentSource>]) -> Result<Self, StorageError> {
        let Some(source) = sources.first() else {
            return Err(StorageError::corrupt("a segment of metrics", "it has no file"));
        };
        let footer = Footer::load(source)?;
        let labels = footer.labels.iter().map(|_| OnceLock::new()).collect();
        Ok(Segment {
            source: Arc::clone(source),
            footer,
            pages: OnceLock::new(),
            timelines: OnceLock::new(),
            labels,
            exemplars: OnceLock::new(),
        })
    }
}

/// A deduplicated vector of times.
#[derive(Debug)]
struct Timeline {
    header: VectorHeader,
    min_ms: i64,
    max_ms: i64,
}

/// A run of a series' samples that is decoded at once.
#[derive(Debug)]
struct Part {
    timeline: u32,
    header: VectorHeader,
}

/// No histograms.
const NO_BLOB: u32 = u32::MAX;

/// A block of the series table, decoded.
#[derive(Debug, Default)]
pub(crate) struct SeriesBlock {
    /// Name number and value number of all labels of all series.
    pairs: Vec<(u32, u32)>,
    pair_ends: Vec<u32>,
    parts: Vec<Part>,
    part_ends: Vec<u32>,
    blobs: Vec<u32>,
}

fn piece<'a, T>(items: &'a [T], ends: &[u32], index: usize) -> &'a [T] {
    let start = index.checked_sub(1).and_then(|i| ends.get(i)).copied().unwrap_or(0);
    let end = ends.get(index).copied().unwrap_or(start);
    items.get(start as usize..end as usize).unwrap_or_default()
}

impl SeriesBlock {
    /// How many series it holds.
    pub(crate) fn len(&self) -> usize {
        self.pair_ends.len()
    }

    fn parse(bytes: &[u8]) -> Result<SeriesBlock, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let mut block = SeriesBlock::default();
        let count = cursor.count()?;
        if count > BLOCK_SERIES {
            return Err(Malformed("a block holds too many series"));
        }
        block.parse_labels(count, &mut cursor)?;
        block.parse_parts(count, &mut cursor)?;
        Ok(block)
    }

    fn parse_labels(&mut self, count: usize, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let mut shapes = Vec::new();
        for _ in 0..cursor.count()? {
            let mut shape = Vec::new();
            for _ in 0..cursor.count()? {
                shape.push(cursor.u32()?);
            }
            shapes.push(shape);
        }
        let mut shape_of = Vec::with_capacity(count);
        for _ in 0..count {
            shape_of.push(cursor.u32()? as usize);
        }
        let mut columns: Vec<Option<(Cursor<'_>, i64)>> = Vec::new();
        for _ in 0..cursor.count()? {
            let name = cursor.u32()? as usize;
            if name > 1 << 20 {
                return Err(Malformed("a label name is unknown"));
            }
            if columns.len() <= name {
                columns.resize_with(name + 1, || None);
            }
            let column = Cursor::new(cursor.string()?);
            if let Some(place) = columns.get_mut(name) {
                *place = Some((column, 0));
            }
        }
        for shape in shape_of {
            let shape = shapes.get(shape).ok_or(Malformed("a shape is unknown"))?;
            for &name in shape {
                let column = columns.get_mut(name as usize).and_then(Option::as_mut);
                let (column, last) = column.ok_or(Malformed("a label column is missing"))?;
                *last = last.wrapping_add(column.zigzag()?);
                let value = u32::try_from(*last);
                self.pairs.push((name, value.map_err(|_| Malformed("a value is unknown"))?));
            }
            self.pair_ends.push(self.pairs.len() as u32);
        }
        Ok(())
    }

    fn parse_parts(&mut self, count: usize, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let mut positions = [0u64; CLASSES];
        for position in &mut positions {
            *position = cursor.varint()?;
        }
        let mut part_count = 0u32;
        for _ in 0..count {
            part_count = part_count.saturating_add(cursor.u32()?);
            self.part_ends.push(part_count);
        }
        let mut blob = cursor.u32()?;
        for _ in 0..count {
            let has_blob = cursor.byte()? != 0;
            self.blobs.push(if has_blob { blob } else { NO_BLOB });
            blob = blob.wrapping_add(u32::from(has_blob));
        }
        let mut timelines = Cursor::new(cursor.string()?);
        let mut headers = HeaderReader::new(cursor)?;
        let mut timeline = 0i64;
        for _ in 0..part_count {
            timeline = timeline.wrapping_add(timelines.zigzag()?);
            let mut header = headers.next()?;
            if let Some(position) = positions.get_mut(usize::from(header.class)) {
                header.start = *position;
                *position = position.saturating_add(header.residuals() as u64);
            }
            let timeline = u32::try_from(timeline);
            let timeline = timeline.map_err(|_| Malformed("a timeline is unknown"))?;
            self.parts.push(Part { timeline, header });
        }
        Ok(())
    }

    /// Gives back the memory that only labels need.
    pub(crate) fn forget_labels(&mut self) {
        self.pairs = Vec::new();
    }
}

/// What lies in one place of a cache: the newest of those that share the place.
type CacheSlot<K> = Mutex<Option<(K, Arc<Vec<i64>>)>>;

/// Pages and timelines decoded lately, for one reader of one segment.
#[derive(Debug)]
pub(crate) struct ReadCache {
    pages: Vec<CacheSlot<PageId>>,
    timelines: Vec<CacheSlot<u32>>,
    chunks: ChunkCache,
}

impl ReadCache {
    /// Pages kept: two of each class.
    const PAGES: usize = 2 * CLASSES;
    /// Timelines kept.
    const TIMELINES: usize = 32;

    pub(crate) fn new() -> Self {
        ReadCache {
            pages: (0..Self::PAGES).map(|_| Mutex::new(None)).collect(),
            timelines: (0..Self::TIMELINES).map(|_| Mutex::new(None)).collect(),
            chunks: ChunkCache::new(),
        }
    }
}

/// Scratch of a reader.
#[derive(Debug, Default)]
pub(crate) struct ReadScratch {
    numbers: Vec<i64>,
}

fn loaded<T>(
    place: &Loaded<T>,
    load: impl FnOnce() -> Result<T, StorageError>,
) -> Result<Arc<T>, StorageError> {
    place.get_or_init(|| load().map(Arc::new)).clone()
}

impl Segment {
    pub(crate) fn series_count(&self) -> usize {
        self.footer.series as usize
    }

    pub(crate) fn block_count(&self) -> usize {
        self.footer.blocks.len()
    }

    pub(crate) fn has_exemplars(&self) -> bool {
        !self.footer.exemplar_blocks.is_empty()
    }

    pub(crate) fn name(&self) -> &str {
        self.source.name()
    }

    fn malformed(&self, malformed: Malformed) -> StorageError {
        malformed.in_file(self.source.name())
    }

    fn pages(&self) -> Result<Arc<PageDirectory>, StorageError> {
        loaded(&self.pages, || {
            let raw = self.footer.pages.load(&self.source)?;
            PageDirectory::parse(&raw).map_err(|error| self.malformed(error))
        })
    }

    fn timelines(&self) -> Result<Arc<Vec<Timeline>>, StorageError> {
        loaded(&self.timelines, || {
            let raw = self.footer.timeline_table.load(&self.source)?;
            parse_timelines(&raw, self.footer.timelines).map_err(|error| self.malformed(error))
        })
    }

    /// The values of label number `index`.
    fn label(&self, index: usize) -> Result<Arc<LabelSection>, StorageError> {
        let (Some(place), Some(entry)) = (self.labels.get(index), self.footer.labels.get(index))
        else {
            return Err(self.malformed(Malformed("a label name is unknown")));
        };
        loaded(place, || {
            let raw = entry.section.load(&self.source)?;
            LabelSection::parse(&raw).map_err(|error| self.malformed(error))
        })
    }

    fn label_index(&self, name: &str) -> Option<usize> {
        self.footer.labels.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()
    }

    /// Series for which all matchers hold.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Bitset, StorageError> {
        let mut selected = Bitset::full(self.series_count());
        // The metric's name first: it narrows most.
        let (named, others): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.name == METRIC_NAME);
        for matcher in named.into_iter().chain(others) {
            let section = match self.label_index(&matcher.name) {
                Some(index) => Some(self.label(index)?),
                None => None,
            };
            LabelSection::narrow(section.as_deref(), matcher, &mut selected);
            if selected.is_empty() {
                break;
            }
        }
        Ok(selected)
    }

    /// Label names that any series of `set` has (no set: any).
    pub(crate) fn label_names(&self, set: Option<&Bitset>) -> Result<Vec<String>, StorageError> {
        let mut names = Vec::new();
        for (index, entry) in self.footer.labels.iter().enumerate() {
            let wanted = match set {
                None => true,
                Some(set) => {
                    let section = self.label(index)?;
                    (0..section.len()).any(|value| section.meets(value, set))
                }
            };
            if wanted {
                names.push(entry.name.clone());
            }
        }
        Ok(names)
    }

    /// Values of label `name` that satisfy `value_wanted` and that any series of `set` has.
    pub(crate) fn label_values(
        &self,
        name: &str,
        value_wanted: &dyn Fn(&str) -> bool,
        set: Option<&Bitset>,
    ) -> Result<Vec<String>, StorageError> {
        let Some(index) = self.label_index(name) else { return Ok(Vec::new()) };
        let section = self.label(index)?;
        let wanted = |&value: &usize| {
            value_wanted(section.value(value)) && set.is_none_or(|set| section.meets(value, set))
        };
        Ok((0..section.len()).filter(wanted).map(|value| section.value(value).to_owned()).collect())
    }

    /// Reads block `index` of the series table.
    pub(crate) fn block(&self, index: usize) -> Result<SeriesBlock, StorageError> {
        let section = self.footer.blocks.get(index);
        let section = section.ok_or_else(|| self.malformed(Malformed("a block is unknown")))?;
        let raw = section.load(&self.source)?;
        let block = SeriesBlock::parse(&raw).map_err(|error| self.malformed(error))?;
        let want = BLOCK_SERIES.min(self.series_count().saturating_sub(index * BLOCK_SERIES));
        if block.len() != want {
            return Err(self.malformed(Malformed("a block has the wrong count of series")));
        }
        Ok(block)
    }

    /// The labels of series `index` of a block. `bytes` is scratch.
    pub(crate) fn labels_of(
        &self,
        block: &SeriesBlock,
        index: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<Labels, StorageError> {
        bytes.clear();
        for &(name, value) in piece(&block.pairs, &block.pair_ends, index) {
            let section = self.label(name as usize)?;
            if value as usize >= section.len() {
                return Err(self.malformed(Malformed("a label value is unknown")));
            }
            let name = self.footer.labels.get(name as usize).map_or("", |entry| &entry.name);
            for text in [name, section.value(value as usize)] {
                put_varint(bytes, text.len() as u64);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Labels::from_canonical(bytes.as_slice().into()))
    }

    /// Whether series `index` of a block may have a sample in `range`.
    pub(crate) fn meets(
        &self,
        block: &SeriesBlock,
        index: usize,
        range: MsRange,
    ) -> Result<bool, StorageError> {
        if block.blobs.get(index).is_some_and(|&blob| blob != NO_BLOB) {
            return Ok(true);
        }
        let timelines = self.timelines()?;
        let parts = piece(&block.parts, &block.part_ends, index);
        Ok(parts.iter().any(|part| {
            let timeline = timelines.get(part.timeline as usize);
            timeline.is_none_or(|timeline| range.meets(timeline.min_ms, timeline.max_ms))
        }))
    }

    /// Appends the samples of series `index` of a block, in whole parts that meet `range`.
    pub(crate) fn read(
        &self,
        block: &SeriesBlock,
        index: usize,
        range: MsRange,
        cache: &ReadCache,
        out: &mut SeriesSamples,
        scratch: &mut ReadScratch,
    ) -> Result<(), StorageError> {
        let timelines = self.timelines()?;
        for part in piece(&block.parts, &block.part_ends, index) {
            let timeline = timelines.get(part.timeline as usize);
            let timeline =
                timeline.ok_or_else(|| self.malformed(Malformed("a timeline is unknown")))?;
            if !range.meets(timeline.min_ms, timeline.max_ms) {
                continue;
            }
            if timeline.header.count != part.header.count {
                return Err(self.malformed(Malformed("a part does not fit its timeline")));
            }
            let times = self.times(part.timeline, timeline, cache)?;
            let stream = usize::from(part.header.class);
            self.with_residuals(&part.header, stream, cache, |residuals| {
                decode_floats(&part.header, residuals, &mut scratch.numbers, &mut out.values)
            })?;
            out.times.extend_from_slice(&times);
        }
        if let Some(&blob) = block.blobs.get(index).filter(|&&blob| blob != NO_BLOB) {
            let section = self.footer.histogram_blobs.get(blob as usize);
            let section = section.ok_or_else(|| self.malformed(Malformed("an unknown blob")))?;
            let raw = section.load(&self.source)?;
            let source = BlobSource { segment: self, range, cache };
            histograms::decode(&raw, &source, &mut out.histograms)?;
        }
        Ok(())
    }

    fn times(
        &self,
        number: u32,
        timeline: &Timeline,
        cache: &ReadCache,
    ) -> Result<Arc<Vec<i64>>, StorageError> {
        let place = cache.timelines.get(number as usize % ReadCache::TIMELINES);
        if let Some((known, times)) = place.and_then(|place| place.lock().clone())
            && known == number
        {
            return Ok(times);
        }
        let mut times = Vec::with_capacity(timeline.header.count as usize);
        let stream = CLASSES + usize::from(timeline.header.class);
        self.with_residuals(&timeline.header, stream, cache, |residuals| {
            decode_integers(&timeline.header, residuals, &mut times)
        })?;
        let times = Arc::new(times);
        if let Some(place) = place {
            *place.lock() = Some((number, Arc::clone(&times)));
        }
        Ok(times)
    }

    /// Finds the residuals of a vector and gives them to `decode`.
    fn with_residuals(
        &self,
        header: &VectorHeader,
        stream: usize,
        cache: &ReadCache,
        decode: impl FnOnce(&[i64]) -> Result<(), Malformed>,
    ) -> Result<(), StorageError> {
        let wanted = header.residuals();
        if header.class == CLASS_NONE || wanted == 0 {
            return decode(&[]).map_err(|error| self.malformed(error));
        }
        let pages = self.pages()?;
        let (id, offset) =
            pages.find(stream, header.start).map_err(|error| self.malformed(error))?;
        let place = (id.stream as usize % CLASSES) * 2 + id.page as usize % 2;
        let place = cache.pages.get(place);
        let known = place.and_then(|place| place.lock().clone()).filter(|(kept, _)| *kept == id);
        let page = match known {
            Some((_, page)) => page,
            None => {
                let page = Arc::new(pages.decode(id, &self.source, &cache.chunks)?);
                if let Some(place) = place {
                    *place.lock() = Some((id, Arc::clone(&page)));
                }
                page
            }
        };
        let residuals = page.get(offset..offset.saturating_add(wanted));
        let residuals =
            residuals.ok_or_else(|| self.malformed(Malformed("a vector leaves its page")))?;
        decode(residuals).map_err(|error| self.malformed(error))
    }

    fn exemplar_table(&self) -> Result<Arc<ExemplarTable>, StorageError> {
        loaded(&self.exemplars, || {
            let raw = self.footer.exemplar_table.load(&self.source)?;
            let blocks = self.footer.exemplar_blocks.len();
            ExemplarTable::parse(&raw, blocks).map_err(|error| self.malformed(error))
        })
    }

    /// Reads block `index` of the exemplars.
    pub(crate) fn exemplar_block(
        &self,
        index: usize,
    ) -> Result<Vec<(u32, ExemplarRow)>, StorageError> {
        let section = self.footer.exemplar_blocks.get(index);
        let section =
            section.ok_or_else(|| self.malformed(Malformed("an exemplar block is unknown")))?;
        exemplars::load_block(*section, &self.source)
    }

    /// Numbers of the exemplar blocks that may hold exemplars of `series`.
    pub(crate) fn exemplar_blocks_of(&self, set: &Bitset) -> Result<Vec<usize>, StorageError> {
        let table = self.exemplar_table()?;
        let firsts = &table.first_series;
        let mut blocks = Vec::new();
        for (index, &first) in firsts.iter().enumerate() {
            let end = firsts.get(index + 1).copied().unwrap_or(u32::MAX);
            if set.iter().any(|series| first <= series && series <= end) {
                blocks.push(index);
            }
        }
        Ok(blocks)
    }

    /// Numbers of the exemplar blocks in which the ID may stand, each once.
    pub(crate) fn exemplar_blocks_with(&self, id: &str) -> Result<Vec<usize>, StorageError> {
        let table = self.exemplar_table()?;
        Ok(table.blocks_of(id).map(|block| block as usize).collect())
    }

    /// How many exemplar blocks there are.
    pub(crate) fn exemplar_block_count(&self) -> usize {
        self.footer.exemplar_blocks.len()
    }

    /// All metadata, sorted by family, newest first.
    pub(crate) fn metadata(&self) -> Result<Vec<StampedMetadata>, StorageError> {
        let raw = self.footer.metadata.load(&self.source)?;
        exemplars::parse_metadata(&raw).map_err(|error| self.malformed(error))
    }
}

fn parse_timelines(bytes: &[u8], count: u32) -> Result<Vec<Timeline>, Malformed> {
    let mut timelines = Vec::new();
    if count == 0 {
        return Ok(timelines);
    }
    let mut cursor = Cursor::new(bytes);
    let mut headers = HeaderReader::new(&mut cursor)?;
    let mut starts = Cursor::new(cursor.string()?);
    let mut bounds = Cursor::new(cursor.string()?);
    let mut min_ms = 0i64;
    for _ in 0..count {
        let mut header = headers.next()?;
        header.start = starts.varint()?;
        min_ms = min_ms.wrapping_add(bounds.zigzag()?);
        let max_ms = min_ms.wrapping_add(bounds.varint()? as i64);
        timelines.push(Timeline { header, min_ms, max_ms });
    }
    Ok(timelines)
}

/// A segment as the histograms of one reader see it.
struct BlobSource<'a> {
    segment: &'a Segment,
    range: MsRange,
    cache: &'a ReadCache,
}

impl VectorSource for BlobSource<'_> {
    fn times(&self, number: u32) -> Result<(Arc<Vec<i64>>, bool), StorageError> {
        let segment = self.segment;
        let timelines = segment.timelines()?;
        let timeline = timelines.get(number as usize);
        let timeline =
            timeline.ok_or_else(|| segment.malformed(Malformed("a timeline is unknown")))?;
        let wanted = self.range.meets(timeline.min_ms, timeline.max_ms);
        let times =
            if wanted { segment.times(number, timeline, self.cache)? } else { Arc::default() };
        Ok((times, wanted))
    }

    fn floats(&self, header: &VectorHeader, out: &mut Vec<f64>) -> Result<(), StorageError> {
        let mut numbers = Vec::new();
        let stream = CLASSES + usize::from(header.class);
        self.segment.with_residuals(header, stream, self.cache, |residuals| {
            decode_floats(header, residuals, &mut numbers, out)
        })
    }

    fn name(&self) -> &str {
        self.segment.name()
    }
}
