//! Reads a tenant's logs: memtables and segments together, in order of time.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::{LogRow, LogsBatch, Stream, StreamId};

use super::lookup::WantedId;
use super::memtable::{MemBatch, Memtable};
use super::scan::Segment;
use super::schema::{BODY_ANY, fingerprint};
use super::wanted::{Wanted, takes_stream};
use super::{Direction, LogBlock, LogScan, LogsReader};
use crate::columns::ReadScratch;
use crate::segment::SegmentHandle;
use crate::{Budget, ErrorKind, IdQuery, Matcher, Notices, StorageError, TimeRange, UnreadPart};

/// A memtable's batch or a segment's block that may hold wanted rows.
#[derive(Debug)]
struct Candidate {
    time_min_ns: i64,
    time_max_ns: i64,
    source: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Batch(MemBatch),
    Block(usize),
}

/// One memtable or segment of a scan.
struct Source {
    /// Nothing for a memtable.
    segment: Option<(Arc<Segment>, Vec<bool>)>,
    name: String,
    time_min_ns: i64,
    time_max_ns: i64,
}

impl LogsReader {
    pub(crate) fn new(
        memtables: Vec<Arc<Memtable>>,
        segments: Vec<Arc<SegmentHandle<Segment>>>,
    ) -> LogsReader {
        LogsReader { memtables, segments }
    }

    pub(super) fn scan_all(
        &self,
        scan: &LogScan,
        budget: &Budget,
        visit: &mut dyn FnMut(LogBlock, i64) -> ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        let wanted = Wanted::new(scan);
        let mut notices = Notices::default();
        let mut sources = Vec::new();
        let mut candidates = Vec::new();
        self.plan_memtables(&wanted, &mut sources, &mut candidates);
        self.plan_segments(&wanted, budget, &mut notices, &mut sources, &mut candidates)?;
        match scan.direction {
            Direction::Forward => candidates.sort_by_key(|candidate| candidate.time_min_ns),
            Direction::Backward => {
                candidates.sort_by_key(|candidate| Reverse(candidate.time_max_ns));
            }
        }
        let mut twins = Twins::new(&sources, scan.direction);
        let mut scratch = ReadScratch::new()?;
        for (index, candidate) in candidates.iter().enumerate() {
            budget.check()?;
            let Some(source) = sources.get(candidate.source) else { continue };
            let mut block = match read(candidate, source, &wanted, &mut scratch) {
                Ok(block) => block,
                Err(error) => {
                    note_unread(&mut notices, &source.name, error)?;
                    continue;
                }
            };
            budget.add_bytes(std::mem::take(&mut scratch.bytes_read));
            twins.drop_known(candidate, &mut block, budget)?;
            if block.rows.is_empty() {
                continue;
            }
            budget.take_samples(block.rows.len() as u64)?;
            sort_rows(&mut block, scan.direction);
            let next = candidates.get(index + 1);
            let bound_ns = match scan.direction {
                Direction::Forward => next.map_or(i64::MAX, |next| next.time_min_ns),
                Direction::Backward => next.map_or(i64::MIN, |next| next.time_max_ns),
            };
            if visit(block, bound_ns).is_break() {
                break;
            }
        }
        Ok(notices)
    }

    fn plan_memtables(
        &self,
        wanted: &Wanted<'_>,
        sources: &mut Vec<Source>,
        candidates: &mut Vec<Candidate>,
    ) {
        for memtable in &self.memtables {
            let structured = memtable.fields()[BODY_ANY];
            let (mut time_min_ns, mut time_max_ns) = (i64::MAX, i64::MIN);
            for batch in memtable.batches() {
                if !may_hold(&batch, wanted, structured) {
                    continue;
                }
                time_min_ns = time_min_ns.min(batch.time_min_ns);
                time_max_ns = time_max_ns.max(batch.time_max_ns);
                candidates.push(Candidate {
                    time_min_ns: batch.time_min_ns,
                    time_max_ns: batch.time_max_ns,
                    source: sources.len(),
                    place: Place::Batch(batch),
                });
            }
            let name = "memtable".to_owned();
            sources.push(Source { segment: None, name, time_min_ns, time_max_ns });
        }
    }

    fn plan_segments(
        &self,
        wanted: &Wanted<'_>,
        budget: &Budget,
        notices: &mut Notices,
        sources: &mut Vec<Source>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), StorageError> {
        for handle in &self.segments {
            budget.check()?;
            if !handle.meta.meets(wanted.range) {
                continue;
            }
            let planned = handle.get().and_then(|segment| {
                let taken: Vec<bool> =
                    segment.streams.iter().map(|stream| wanted.takes_stream(stream)).collect();
                let blocks = segment.candidates(wanted, &taken)?;
                Ok((segment, taken, blocks))
            });
            let (segment, taken, blocks) = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    note_unread(notices, &handle.meta.id, error)?;
                    continue;
                }
            };
            let (mut time_min_ns, mut time_max_ns) = (i64::MAX, i64::MIN);
            for ((block, stats), wanted) in segment.stats.iter().enumerate().zip(blocks) {
                if !wanted {
                    continue;
                }
                time_min_ns = time_min_ns.min(stats.time_min_ns);
                time_max_ns = time_max_ns.max(stats.time_max_ns);
                candidates.push(Candidate {
                    time_min_ns: stats.time_min_ns,
                    time_max_ns: stats.time_max_ns,
                    source: sources.len(),
                    place: Place::Block(block),
                });
            }
            let name = handle.meta.id.clone();
            sources.push(Source {
                segment: Some((segment, taken)),
                name,
                time_min_ns,
                time_max_ns,
            });
        }
        Ok(())
    }

    pub(super) fn streams_all(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<(Vec<Arc<Stream>>, Notices), StorageError> {
        let mut notices = Notices::default();
        let mut found: HashMap<StreamId, Arc<Stream>, FixedState> = HashMap::default();
        let mut enter = |stream: &Arc<Stream>| {
            if !found.contains_key(&stream.id) && takes_stream(matchers, stream) {
                found.insert(stream.id, Arc::clone(stream));
            }
        };
        for memtable in &self.memtables {
            let batches = memtable.batches();
            let meeting =
                batches.iter().filter(|batch| range.meets(batch.time_min_ns, batch.time_max_ns));
            meeting.for_each(|batch| batch.batch.streams.iter().for_each(&mut enter));
        }
        for handle in self.segments.iter().filter(|handle| handle.meta.meets(range)) {
            budget.check()?;
            let segment = match handle.get() {
                Ok(segment) => segment,
                Err(error) => {
                    note_unread(&mut notices, &handle.meta.id, error)?;
                    continue;
                }
            };
            let mut next = 0;
            for block in &segment.stats {
                if range.meets(block.time_min_ns, block.time_max_ns) {
                    let first = next.max(block.stream_first as usize);
                    next = block.stream_last as usize + 1;
                    segment
                        .streams
                        .get(first..next)
                        .unwrap_or_default()
                        .iter()
                        .for_each(&mut enter);
                }
            }
        }
        let mut streams: Vec<Arc<Stream>> = found.into_values().collect();
        super::schema::sort_streams(&mut streams);
        Ok((streams, notices))
    }

    pub(super) fn lookup_all(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<(Vec<LogBlock>, Notices), StorageError> {
        let wanted = WantedId::new(id);
        let mut found = Found { blocks: Vec::new(), rows: 0, rows_max: records_max };
        let mut notices = Notices::default();
        let mut seen: HashMap<u128, usize, FixedState> = HashMap::default();
        let mut source = 0;
        for memtable in &self.memtables {
            source += 1;
            for batch in memtable.batches() {
                budget.check()?;
                let rows = wanted.rows_in(&batch, &memtable.id_fields);
                found.push(LogBlock { batch: batch.batch, rows }, source, &mut seen);
            }
        }
        let mut scratch = ReadScratch::new()?;
        for handle in &self.segments {
            source += 1;
            if found.is_full() {
                break;
            }
            budget.check()?;
            let mut read = || -> Result<(), StorageError> {
                let segment = handle.get()?;
                for block in wanted.candidates(&segment)? {
                    budget.check()?;
                    let batch = wanted.read(&segment, block, &mut scratch)?;
                    let rows = (0..batch.rows.len() as u32).collect();
                    found.push(LogBlock { batch: Arc::new(batch), rows }, source, &mut seen);
                    if found.is_full() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                note_unread(&mut notices, &handle.meta.id, error)?;
            }
            budget.add_bytes(std::mem::take(&mut scratch.bytes_read));
        }
        if found.is_full() {
            notices.warnings.push(format!("more than {records_max} log records carry the ID"));
        }
        Ok((found.blocks, notices))
    }
}

/// What a lookup has found.
struct Found {
    blocks: Vec<LogBlock>,
    rows: usize,
    rows_max: usize,
}

impl Found {
    fn is_full(&self) -> bool {
        self.rows >= self.rows_max
    }

    /// Keeps the rows that no other source has given.
    fn push(
        &mut self,
        mut block: LogBlock,
        source: usize,
        seen: &mut HashMap<u128, usize, FixedState>,
    ) {
        let batch = Arc::clone(&block.batch);
        block.rows.retain(|&row| is_first(&batch, row, source, seen));
        block.rows.truncate(self.rows_max - self.rows);
        if !block.rows.is_empty() {
            self.rows += block.rows.len();
            self.blocks.push(block);
        }
    }
}

/// Whether no other source has given this row.
fn is_first(
    batch: &LogsBatch,
    row: u32,
    source: usize,
    seen: &mut HashMap<u128, usize, FixedState>,
) -> bool {
    let Some(record) = batch.rows.get(row as usize) else { return false };
    *seen.entry(twin_key(batch, record)).or_insert(source) == source
}

/// The same for twins: records of one stream and time with the same content.
fn twin_key(batch: &LogsBatch, record: &LogRow) -> u128 {
    let stream = batch.streams.get(record.stream as usize).map_or(0, |stream| stream.id.0);
    fingerprint(batch, record)
        ^ stream.rotate_left(1)
        ^ u128::from(record.time_ns as u64).rotate_left(64)
}

/// A hole in the answer, unless it is the query itself that has to end.
fn note_unread(notices: &mut Notices, name: &str, error: StorageError) -> Result<(), StorageError> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Unavailable => {
            notices.unread.push(UnreadPart { name: name.to_owned(), why: error.to_string() });
            Ok(())
        }
        _ => Err(error),
    }
}

/// Whether a memtable's batch can hold a wanted row. `structured` says that some lines are made of
/// values and do not stand in the arena.
fn may_hold(batch: &MemBatch, wanted: &Wanted<'_>, structured: bool) -> bool {
    wanted.range.meets(batch.time_min_ns, batch.time_max_ns)
        && batch.batch.streams.iter().any(|stream| wanted.takes_stream(stream))
        && (structured
            || wanted.finders.iter().all(|finder| finder.find(&batch.batch.arena).is_some()))
}

fn read(
    candidate: &Candidate,
    source: &Source,
    wanted: &Wanted<'_>,
    scratch: &mut ReadScratch,
) -> Result<LogBlock, StorageError> {
    match (&candidate.place, &source.segment) {
        (Place::Batch(batch), _) => {
            let batch = &batch.batch;
            let taken: Vec<bool> =
                batch.streams.iter().map(|stream| wanted.takes_stream(stream)).collect();
            let rows = batch.rows.iter().zip(0u32..).filter(|(row, _)| {
                taken.get(row.stream as usize).copied().unwrap_or(false)
                    && wanted.takes_row(batch, row)
            });
            Ok(LogBlock { rows: rows.map(|(_, row)| row).collect(), batch: Arc::clone(batch) })
        }
        (Place::Block(block), Some((segment, taken))) => {
            let batch = segment.read(*block, wanted, taken, scratch)?;
            let rows = (0..batch.rows.len() as u32).collect();
            Ok(LogBlock { batch: Arc::new(batch), rows })
        }
        (Place::Block(_), None) => Ok(LogBlock { batch: Arc::default(), rows: Vec::new() }),
    }
}

fn sort_rows(block: &mut LogBlock, direction: Direction) {
    let batch = Arc::clone(&block.batch);
    let time = |row: &u32| batch.rows.get(*row as usize).map_or(0, |row| row.time_ns);
    match direction {
        Direction::Forward => block.rows.sort_by_key(time),
        Direction::Backward => block.rows.sort_by_key(|row| Reverse(time(row))),
    }
}

/// What a place for a record that may come twice takes. Units: bytes.
const TWIN_BYTES: usize = size_of::<(u128, Met)>() + 1;

/// Knows the rows of times that more than one source covers, so that a row which two of them hold
/// comes once. Rows of times that no block to come has are forgotten when room is short.
struct Twins {
    ranges: Vec<(i64, i64)>,
    direction: Direction,
    seen: HashMap<u128, Met, FixedState>,
    /// Of the budget. Units: bytes.
    taken: usize,
}

/// Where a row was met first.
#[derive(Debug, Clone, Copy)]
struct Met {
    time_ns: i64,
    source: u32,
}

impl Twins {
    fn new(sources: &[Source], direction: Direction) -> Twins {
        let ranges = sources.iter().map(|s| (s.time_min_ns, s.time_max_ns)).collect();
        Twins { ranges, direction, seen: HashMap::default(), taken: 0 }
    }

    /// Errors: LimitExceeded, Unavailable.
    fn drop_known(
        &mut self,
        candidate: &Candidate,
        block: &mut LogBlock,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let others: Vec<(i64, i64)> = self
            .ranges
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != candidate.source)
            .map(|(_, range)| *range)
            .filter(|(min, max)| *min <= candidate.time_max_ns && candidate.time_min_ns <= *max)
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        self.make_room(block.rows.len(), candidate, budget)?;
        let batch = Arc::clone(&block.batch);
        let (seen, source) = (&mut self.seen, candidate.source as u32);
        block.rows.retain(|&row| {
            let Some(record) = batch.rows.get(row as usize) else { return false };
            let time_ns = record.time_ns;
            let shared = others.iter().any(|(min, max)| (*min..=*max).contains(&time_ns));
            let met = || Met { time_ns, source };
            !shared || seen.entry(twin_key(&batch, record)).or_insert_with(met).source == source
        });
        Ok(())
    }

    /// Room for so many rows more, before the blocks from `candidate` on are read.
    fn make_room(
        &mut self,
        rows: usize,
        candidate: &Candidate,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let has_room = |seen: &HashMap<_, _, _>| seen.capacity() - seen.len() >= rows;
        if has_room(&self.seen) {
            return Ok(());
        }
        match self.direction {
            Direction::Forward => self.seen.retain(|_, met| met.time_ns >= candidate.time_min_ns),
            Direction::Backward => self.seen.retain(|_, met| met.time_ns <= candidate.time_max_ns),
        }
        if has_room(&self.seen) && self.seen.len() <= self.seen.capacity() / 2 {
            return Ok(());
        }
        // The table that is grown and the one that it grows from are there at one time.
        let wanted = self.seen.len() + rows.max(self.seen.len());
        let before = self.taken;
        self.taken = (wanted * 8 / 7 + 1).next_power_of_two() * TWIN_BYTES;
        budget.take_memory(self.taken)?;
        self.seen.reserve(wanted - self.seen.len());
        budget.give_memory(before);
        Ok(())
    }
}
