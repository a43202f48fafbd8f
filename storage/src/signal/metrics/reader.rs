//! Answers about one tenant's metrics, over memtables and segments together.
//!
//! A series is found in every source by the label index and joined by its identity; its samples are read
//! only when [`Selection::read`] asks for them. A segment that cannot be read becomes a notice, never an
//! error and never a silent gap.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Labels, MetricMetadata, SeriesId};
use parking_lot::Mutex;

use super::exemplars::{ExemplarRow, carries, merge_metadata};
use super::index::Bitset;
use super::memtable::Memtable;
use super::samples::SeriesSamples;
use super::scan::{ReadCache, ReadScratch, Segment, SeriesBlock};
use super::schema::BLOCK_SERIES;
use super::{ExemplarHit, MetricsReader, SampleBuf, Selection};
use crate::segment::SegmentHandle;
use crate::{Budget, ErrorKind, IdQuery, Matcher, MsRange, Notices, StorageError, UnreadPart};

/// Where samples of a selection come from; earlier ones win where times are equal.
#[derive(Debug)]
enum Source {
    Segment { segment: Arc<Segment>, cache: ReadCache, blocks: Vec<(u32, Arc<SeriesBlock>)> },
    Memtable(Arc<Memtable>),
}

/// A series in a source: number in the segment or slot.
#[derive(Debug, Clone, Copy)]
struct Place {
    source: u32,
    number: u32,
}

/// What [`Selection`] keeps beside the labels.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Vec<Source>,
    range: MsRange,
    places: Vec<Place>,
    /// End of each series in `places`.
    ends: Vec<u32>,
    /// Buffers of readers that are at rest.
    scratch: Mutex<Vec<Scratch>>,
}

#[derive(Debug, Default)]
struct Scratch {
    merged: SeriesSamples,
    own: SeriesSamples,
    read: ReadScratch,
}

impl Sources {
    pub(super) fn read(
        &self,
        index: usize,
        buf: &mut SampleBuf,
        budget: &Budget,
    ) -> Result<Notices, StorageError> {
        buf.clear();
        budget.check()?;
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        let places = self.places.get(start as usize..end as usize).unwrap_or_default();
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let mut notices = Notices::default();
        scratch.merged.clear();
        for place in places {
            scratch.own.clear();
            if let Some(source) = self.sources.get(place.source as usize)
                && let Err(error) = self.read_place(source, place.number, &mut scratch)
            {
                scratch.own.clear();
                let Source::Segment { segment, .. } = source else { continue };
                notices.unread.push(unread(segment.name(), &error));
            }
            scratch.merged.merge(&mut scratch.own);
        }
        scratch.merged.settle();
        self.cut(&scratch.merged, buf);
        self.scratch.lock().push(scratch);
        budget.take_samples((buf.times.len() + buf.histograms.len()) as u64)?;
        Ok(notices)
    }

    fn read_place(
        &self,
        source: &Source,
        number: u32,
        scratch: &mut Scratch,
    ) -> Result<(), StorageError> {
        match source {
            Source::Memtable(memtable) => {
                memtable.read(number, &mut scratch.own);
                Ok(())
            }
            Source::Segment { segment, cache, blocks } => {
                let block = number / BLOCK_SERIES as u32;
                let found = blocks.binary_search_by_key(&block, |(index, _)| *index);
                let Some((_, block)) = found.ok().and_then(|i| blocks.get(i)) else {
                    return Err(StorageError::corrupt(segment.name(), "bug: a block is missing"));
                };
                let index = number as usize % BLOCK_SERIES;
                let Scratch { own, read, .. } = scratch;
                segment.read(block, index, self.range, cache, own, read)
            }
        }
    }

    /// Copies what lies in the range.
    fn cut(&self, samples: &SeriesSamples, buf: &mut SampleBuf) {
        let MsRange { start_ms, end_ms } = self.range;
        let start = samples.times.partition_point(|&time| time < start_ms);
        let end = samples.times.partition_point(|&time| time <= end_ms);
        if start < end {
            buf.times.extend_from_slice(samples.times.get(start..end).unwrap_or_default());
            buf.values.extend_from_slice(samples.values.get(start..end).unwrap_or_default());
        }
        let start = samples.histograms.partition_point(|entry| entry.0 < start_ms);
        let end = samples.histograms.partition_point(|entry| entry.0 <= end_ms);
        if start < end {
            buf.histograms
                .extend_from_slice(samples.histograms.get(start..end).unwrap_or_default());
        }
    }
}

/// Whether an error is about the query, not about the data that it reads.
fn ends_query(error: &StorageError) -> bool {
    use ErrorKind::{Cancelled, LimitExceeded, Timeout};
    matches!(error.kind(), Cancelled | LimitExceeded | Timeout)
}

fn unread(name: &str, error: &StorageError) -> UnreadPart {
    UnreadPart { name: name.to_owned(), why: error.to_string() }
}

/// Joins the series of several sources.
struct Builder {
    sources: Vec<Source>,
    range: MsRange,
    known: HashMap<SeriesId, u32, RandomState>,
    series: Vec<(Labels, Vec<Place>)>,
}

impl Builder {
    fn new(range: MsRange) -> Builder {
        Builder { sources: Vec::new(), range, known: HashMap::default(), series: Vec::new() }
    }

    fn add(&mut self, labels: Labels, number: u32) {
        let place = Place { source: self.sources.len() as u32, number };
        let next = self.series.len() as u32;
        let at = *self.known.entry(labels.id()).or_insert(next);
        match self.series.get_mut(at as usize) {
            Some((_, places)) => places.push(place),
            None => self.series.push((labels, vec![place])),
        }
    }

    fn finish(mut self) -> (Vec<Labels>, Sources) {
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        let mut labels = Vec::with_capacity(self.series.len());
        let (mut places, mut ends) = (Vec::new(), Vec::with_capacity(self.series.len()));
        for (series, mut own) in self.series {
            labels.push(series);
            places.append(&mut own);
            ends.push(places.len() as u32);
        }
        let scratch = Mutex::default();
        (labels, Sources { sources: self.sources, range: self.range, places, ends, scratch })
    }
}

impl MetricsReader {
    /// A reader over what one snapshot holds, both lists oldest first.
    pub(crate) fn new(
        memtables: Vec<Arc<Memtable>>,
        segments: Vec<Arc<SegmentHandle<Segment>>>,
    ) -> MetricsReader {
        MetricsReader { memtables, segments }
    }

    /// Calls `visit` with every segment that meets `range`; one that cannot be read is noted.
    fn visit_segments(
        &self,
        range: MsRange,
        budget: &Budget,
        notices: &mut Notices,
        mut visit: impl FnMut(&Arc<Segment>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for handle in &self.segments {
            if !handle.meta.meets_ms(range) {
                continue;
            }
            budget.check()?;
            if let Err(error) = handle.get().and_then(|segment| visit(&segment)) {
                if ends_query(&error) {
                    return Err(error);
                }
                notices.unread.push(unread(&handle.meta.id, &error));
            }
        }
        Ok(())
    }

    /// Memtables that may have samples in `range`, with the slots that have any.
    fn visit_memtables(&self, range: MsRange, mut visit: impl FnMut(&Arc<Memtable>, &Bitset)) {
        for memtable in &self.memtables {
            let times = memtable.time_range_ms();
            if times.is_some_and(|(min_ms, max_ms)| range.meets(min_ms, max_ms)) {
                visit(memtable, &memtable.occupied());
            }
        }
    }

    pub(super) fn run_select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<Selection, StorageError> {
        let mut builder = Builder::new(range);
        let mut notices = Notices::default();
        self.visit_segments(range, budget, &mut notices, |segment| {
            let source = select_in_segment(segment, matchers, range, budget, &mut builder)?;
            builder.sources.push(source);
            Ok(())
        })?;
        self.visit_memtables(range, |memtable, occupied| {
            let mut selected = memtable.registry().select(matchers);
            selected.intersect(occupied);
            let found = memtable.meeting(&selected, range);
            let table = memtable.registry().table();
            for slot in found {
                if let Some(series) = table.series.get(slot as usize) {
                    builder.add(series.labels.clone(), slot);
                }
            }
            builder.sources.push(Source::Memtable(Arc::clone(memtable)));
        });
        budget.check()?;
        let (series, sources) = builder.finish();
        Ok(Selection { series, sources, notices })
    }

    pub(super) fn run_label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        let mut names = BTreeSet::new();
        let mut notices = Notices::default();
        self.visit_segments(range, budget, &mut notices, |segment| {
            let set = union_in_segment(segment, selectors)?;
            names.extend(segment.label_names(set.as_ref())?);
            Ok(())
        })?;
        self.visit_memtables(range, |memtable, occupied| {
            let set = union_in_memtable(memtable, selectors, occupied);
            names.extend(memtable.registry().label_names(&set));
        });
        Ok((names.into_iter().collect(), notices))
    }

    pub(super) fn run_label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        // Conditions on the very label need no look at the series.
        let own = |selector: &Vec<Matcher>| selector.iter().all(|matcher| matcher.name == name);
        let direct = selectors.iter().all(own);
        let holds = |value: &str| {
            let all = |selector: &Vec<Matcher>| selector.iter().all(|m| m.matches(value));
            !direct || selectors.is_empty() || selectors.iter().any(all)
        };
        let narrowing = if direct { &[][..] } else { selectors };
        let mut values = BTreeSet::new();
        let mut notices = Notices::default();
        self.visit_segments(range, budget, &mut notices, |segment| {
            let set = union_in_segment(segment, narrowing)?;
            values.extend(segment.label_values(name, &holds, set.as_ref())?);
            Ok(())
        })?;
        self.visit_memtables(range, |memtable, occupied| {
            let set = union_in_memtable(memtable, narrowing, occupied);
            values.extend(memtable.registry().label_values(name, &holds, &set));
        });
        Ok((values.into_iter().collect(), notices))
    }

    pub(super) fn run_metadata(
        &self,
        family: Option<&str>,
        budget: &Budget,
    ) -> Result<(Vec<MetricMetadata>, Notices), StorageError> {
        let mut entries = Vec::new();
        let mut notices = Notices::default();
        self.visit_segments(MsRange::ALL, budget, &mut notices, |segment| {
            let own = segment.metadata()?.into_iter();
            entries.extend(own.filter(|e| family.is_none_or(|f| f == e.metadata.family)));
            Ok(())
        })?;
        for memtable in &self.memtables {
            entries.extend(memtable.metadata(family));
        }
        merge_metadata(&mut entries);
        Ok((entries.into_iter().map(|entry| entry.metadata).collect(), notices))
    }

    pub(super) fn run_exemplars(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        let mut hits = Hits::default();
        let mut notices = Notices::default();
        self.visit_segments(range, budget, &mut notices, |segment| {
            if !segment.has_exemplars() {
                return Ok(());
            }
            let set = segment.select(matchers)?;
            let blocks = segment.exemplar_blocks_of(&set)?;
            let wanted =
                |series, row: &ExemplarRow| set.contains(series) && range.contains(row.time_ms);
            hits.add_segment(segment, &blocks, budget, &wanted)
        })?;
        for memtable in &self.memtables {
            let set = memtable.registry().select(matchers);
            let wanted = |slot, time_ms| set.contains(slot) && range.contains(time_ms);
            hits.add_memtable(memtable, &mut |e| wanted(e.slot, e.time_ms));
        }
        Ok((hits.finish(), notices))
    }

    pub(super) fn run_lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        let mut hits = Hits::default();
        let mut notices = Notices::default();
        self.visit_segments(MsRange::ALL, budget, &mut notices, |segment| {
            if !segment.has_exemplars() || hits.list.len() >= records_max {
                return Ok(());
            }
            let blocks = segment.exemplar_blocks_with(&id.text)?;
            let wanted = |_, row: &ExemplarRow| carries(&row.labels, &id.text);
            hits.add_segment(segment, &blocks, budget, &wanted)
        })?;
        for memtable in &self.memtables {
            hits.add_memtable(memtable, &mut |exemplar| carries(&exemplar.labels, &id.text));
        }
        let mut found = hits.finish();
        found.truncate(records_max);
        Ok((found, notices))
    }
}

/// Adds the series of one segment that match and may have samples in the range.
fn select_in_segment(
    segment: &Arc<Segment>,
    matchers: &[Matcher],
    range: MsRange,
    budget: &Budget,
    builder: &mut Builder,
) -> Result<Source, StorageError> {
    let selected = segment.select(matchers)?;
    let mut blocks = Vec::new();
    let mut open: Option<(u32, SeriesBlock)> = None;
    let mut bytes = Vec::new();
    let mut found = Vec::new();
    for number in selected.iter() {
        let index = number / BLOCK_SERIES as u32;
        if open.as_ref().is_none_or(|(known, _)| *known != index) {
            budget.check()?;
            close_block(open.take(), &mut blocks);
            open = Some((index, segment.block(index as usize)?));
        }
        let Some((_, block)) = &open else { continue };
        let in_block = number as usize % BLOCK_SERIES;
        if segment.meets(block, in_block, range)? {
            found.push((segment.labels_of(block, in_block, &mut bytes)?, number));
        }
    }
    close_block(open, &mut blocks);
    // Only when all of it could be read: a segment is in the answer whole or as a notice.
    for (labels, number) in found {
        builder.add(labels, number);
    }
    Ok(Source::Segment { segment: Arc::clone(segment), cache: ReadCache::new(), blocks })
}

fn close_block(open: Option<(u32, SeriesBlock)>, blocks: &mut Vec<(u32, Arc<SeriesBlock>)>) {
    if let Some((index, mut block)) = open {
        block.forget_labels();
        blocks.push((index, Arc::new(block)));
    }
}

/// Series that match any selector; nothing where there are no selectors, which means all.
fn union_in_segment(
    segment: &Segment,
    selectors: &[Vec<Matcher>],
) -> Result<Option<Bitset>, StorageError> {
    if selectors.is_empty() {
        return Ok(None);
    }
    let mut all = Bitset::empty(segment.series_count());
    for selector in selectors {
        all.unite(&segment.select(selector)?);
    }
    Ok(Some(all))
}

fn union_in_memtable(memtable: &Memtable, selectors: &[Vec<Matcher>], occupied: &Bitset) -> Bitset {
    let mut all = occupied.clone();
    if !selectors.is_empty() {
        let mut any = Bitset::empty(all.capacity());
        for selector in selectors {
            any.unite(&memtable.registry().select(selector));
        }
        all.intersect(&any);
    }
    all
}

/// Exemplars found so far.
#[derive(Default)]
struct Hits {
    list: Vec<ExemplarHit>,
}

impl Hits {
    fn add_segment(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &[usize],
        budget: &Budget,
        wanted: &dyn Fn(u32, &ExemplarRow) -> bool,
    ) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        let mut open: Option<(usize, SeriesBlock)> = None;
        for &block in blocks {
            budget.check()?;
            for (series, row) in segment.exemplar_block(block)? {
                if !wanted(series, &row) {
                    continue;
                }
                let index = series as usize / BLOCK_SERIES;
                if open.as_ref().is_none_or(|(known, _)| *known != index) {
                    open = Some((index, segment.block(index)?));
                }
                let Some((_, block)) = &open else { continue };
                let in_block = series as usize % BLOCK_SERIES;
                let labels = segment.labels_of(block, in_block, &mut bytes)?;
                self.push(labels, row);
            }
        }
        Ok(())
    }

    fn add_memtable(
        &mut self,
        memtable: &Memtable,
        wanted: &mut dyn FnMut(&super::memtable::SlotExemplar) -> bool,
    ) {
        let found = memtable.exemplars(wanted);
        let table = memtable.registry().table();
        for exemplar in found {
            if let Some(series) = table.series.get(exemplar.slot as usize) {
                let super::memtable::SlotExemplar { time_ms, value, labels, .. } = exemplar;
                self.push(series.labels.clone(), ExemplarRow { time_ms, value, labels });
            }
        }
    }

    fn push(&mut self, series: Labels, row: ExemplarRow) {
        let ExemplarRow { time_ms, value, labels } = row;
        self.list.push(ExemplarHit { series, labels, time_ms, value });
    }

    fn finish(mut self) -> Vec<ExemplarHit> {
        self.list.sort_by(|a, b| {
            let order = a.series.cmp(&b.series).then(a.time_ms.cmp(&b.time_ms));
            order.then_with(|| a.labels.cmp(&b.labels))
        });
        self.list.dedup_by(|later, kept| {
            later.value.to_bits() == kept.value.to_bits()
                && (later.time_ms, &later.series, &later.labels)
                    == (kept.time_ms, &kept.series, &kept.labels)
        });
        self.list
    }
}
