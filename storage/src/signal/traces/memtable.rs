//! Unflushed traces, readable at once.
//!
//! Batches are kept as they came, in groups of some thousand spans. A full group is sorted by trace
//! ID, and by the other IDs, when somebody first looks for one in it; in the group that is being
//! filled the spans' fingerprints lie one after the other and are compared one by one. So an append
//! costs next to nothing and a lookup some microseconds a group.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use model::{Limits, LimitsOf, Reason, Rejections, SpanRow, SpansBatch, Stream, StreamId};
use parking_lot::RwLock;

use super::SpanBlock;
use crate::Options;
use crate::ids::{IdFields, hash_span_id, hash_trace_id, hash_value};
use crate::segment::Append;

/// Spans after which a group is full. Larger batches make larger groups.
const GROUP_ROWS: usize = 8192;
/// What a trace costs where traces are counted. Units: bytes.
const TRACE_OVERHEAD_BYTES: usize = 48;
/// What a span counts for beside its texts, attributes, events and links. Units: bytes.
const SPAN_FIXED_BYTES: u64 = 64;
/// What a span costs beside its batch, once its group has been searched. Units: bytes.
const ROW_OVERHEAD_BYTES: usize = 32;

/// See the module's docs. All methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Memtable {
    generation: u32,
    limits: LimitsOf,
    id_fields: IdFields,
    shared: RwLock<Shared>,
    heap_bytes: AtomicUsize,
    rows: AtomicUsize,
    live: AtomicUsize,
    is_crowded: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    full: Vec<Arc<Group>>,
    filling: Group,
    /// Fingerprints of the trace IDs of `filling`.
    filling_traces: Vec<u64>,
    streams: Vec<Arc<Stream>>,
    slots: HashMap<StreamId, u32, FixedState>,
    /// The bytes of each trace, where a limit has them counted.
    traces: HashMap<u128, u64, FixedState>,
}

/// Batches that are searched together.
#[derive(Debug, Default)]
pub(super) struct Group {
    batches: Vec<Arc<SpansBatch>>,
    /// Rows before each batch. Shape: one a batch.
    starts: Vec<u32>,
    rows: u32,
    by_trace: OnceLock<Vec<(u64, u32)>>,
    by_id: OnceLock<Vec<(u64, u32)>>,
}

impl Group {
    pub(super) fn batches(&self) -> &[Arc<SpansBatch>] {
        &self.batches
    }

    fn push(&mut self, batch: Arc<SpansBatch>) {
        self.starts.push(self.rows);
        self.rows += batch.rows.len() as u32;
        self.batches.push(batch);
    }

    /// All rows with their numbers in the group.
    fn numbered(&self) -> impl Iterator<Item = (u32, &SpansBatch, &SpanRow)> {
        self.batches.iter().zip(&self.starts).flat_map(|(batch, &start)| {
            batch.rows.iter().zip(start..).map(|(row, number)| (number, &**batch, row))
        })
    }

    fn by_trace(&self) -> &[(u64, u32)] {
        self.by_trace.get_or_init(|| {
            let pairs = self.numbered();
            let mut pairs: Vec<_> =
                pairs.map(|(number, _, row)| (fingerprint(&row.trace_id), number)).collect();
            pairs.sort_unstable();
            pairs
        })
    }

    /// Hashes of trace IDs, span IDs and declared ID fields.
    fn by_id(&self, id_fields: &IdFields) -> &[(u64, u32)] {
        self.by_id.get_or_init(|| {
            let mut pairs = Vec::with_capacity(2 * self.rows as usize);
            for (number, batch, row) in self.numbered() {
                each_id(batch, row, id_fields, |hash| pairs.push((hash, number)));
            }
            pairs.sort_unstable();
            pairs
        })
    }

    /// Blocks of the rows `numbers` (ascending) that satisfy `is_hit`.
    fn select(
        &self,
        numbers: impl Iterator<Item = u32>,
        is_hit: &dyn Fn(&SpansBatch, &SpanRow) -> bool,
        blocks: &mut Vec<SpanBlock>,
    ) {
        let mut last = None;
        for number in numbers {
            let index = self.starts.partition_point(|&start| start <= number) - 1;
            let (batch, row) = (&self.batches[index], number - self.starts[index]);
            if !batch.rows.get(row as usize).is_some_and(|span| is_hit(batch, span)) {
                continue;
            }
            if last != Some(index) {
                blocks.push(SpanBlock { batch: Arc::clone(batch), rows: Vec::new() });
                last = Some(index);
            }
            if let Some(block) = blocks.last_mut() {
                block.rows.push(row);
            }
        }
    }
}

/// Calls `take` with the hash of every ID that a span carries: trace, span, declared fields.
pub(super) fn each_id(
    batch: &SpansBatch,
    row: &SpanRow,
    id_fields: &IdFields,
    mut take: impl FnMut(u64),
) {
    take(hash_trace_id(&row.trace_id));
    take(hash_span_id(&row.span_id));
    for (key, value) in batch.attributes(row).iter() {
        if id_fields.contains(key)
            && let Some(hash) = hash_value(value)
        {
            take(hash);
        }
    }
}

#[inline]
fn fingerprint(trace_id: &[u8; 16]) -> u64 {
    let id = u128::from_le_bytes(*trace_id);
    (id >> 64) as u64 ^ id as u64
}

/// Second parts of the pairs whose first is `wanted`, ascending.
fn equal_range(pairs: &[(u64, u32)], wanted: u64) -> impl Iterator<Item = u32> {
    let start = pairs.partition_point(|pair| pair.0 < wanted);
    pairs[start..].iter().take_while(move |pair| pair.0 == wanted).map(|pair| pair.1)
}

impl Memtable {
    #[cfg(test)]
    pub(crate) fn new(generation: u32, options: &Options) -> Memtable {
        let limits = LimitsOf::new(&options.limits, &model::TenantId::default());
        Memtable::judged_by(generation, limits, options)
    }

    /// Of a tenant, whose limits at the time of each batch judge it.
    pub(crate) fn judged_by(generation: u32, limits: LimitsOf, options: &Options) -> Memtable {
        Self::empty(generation, limits, IdFields::new(&options.id_fields))
    }

    /// The empty table that takes over when this one is flushed.
    pub(crate) fn successor(&self, generation: u32) -> Memtable {
        Self::empty(generation, self.limits.clone(), self.id_fields.clone())
    }

    fn empty(generation: u32, limits: LimitsOf, id_fields: IdFields) -> Memtable {
        Memtable {
            generation,
            limits,
            id_fields,
            shared: RwLock::default(),
            heap_bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(false),
        }
    }

    /// Keeps a batch. Spans of streams and traces beyond the limits are refused, but for those from
    /// the log. Cost: some nanoseconds a span.
    pub(crate) fn append(
        &self,
        mut batch: SpansBatch,
        _received_ns: i64,
        append: Append,
    ) -> Rejections {
        let mut fingerprints: Vec<u64> =
            batch.rows.iter().map(|row| fingerprint(&row.trace_id)).collect();
        let mut rejections = Rejections::default();
        let limits = self.limits.now();
        let is_live = append == Append::Live;
        let mut shared = self.shared.write();
        let limit = if is_live { limits.active_streams_max } else { 0 };
        let refused = shared.enter_streams(&batch.streams, self.generation, limit);
        if !refused.is_empty() {
            let is_kept = |row: &SpanRow| !refused.contains(&row.stream);
            let count = batch.rows.iter().filter(|row| !is_kept(row)).count();
            rejections.add(Reason::MaxActiveStreams, count as u64, || {
                format!(
                    "the stream is new; limit limits.ingest.max_active_streams={limit}, \
                     current {limit}"
                )
            });
            batch.rows.retain(is_kept);
            fingerprints = batch.rows.iter().map(|row| fingerprint(&row.trace_id)).collect();
        }
        let traces = shared.traces.len();
        if limits.live_traces_max != 0 || limits.trace_bytes_max != 0 {
            let refused = shared.enter_traces(&batch.rows, &limits, is_live, &mut rejections);
            if !refused.is_empty() {
                let mut is_refused = vec![false; batch.rows.len()];
                refused.iter().for_each(|index| is_refused[*index] = true);
                let mut marks = is_refused.iter();
                fingerprints.retain(|_| marks.next() == Some(&false));
                let mut marks = is_refused.iter();
                batch.rows.retain(|_| marks.next() == Some(&false));
            }
        }
        let known = shared.traces.len();
        let new_traces = known - traces;
        let half = limits.live_traces_max / 2;
        self.is_crowded.store(limits.live_traces_max != 0 && known >= half, Ordering::Relaxed);
        self.live.fetch_add(new_traces, Ordering::Relaxed);
        shared.filling_traces.extend_from_slice(&fingerprints);
        if batch.rows.is_empty() {
            return rejections;
        }
        let rows = batch.rows.len();
        let heap_bytes =
            batch.heap_bytes() + rows * ROW_OVERHEAD_BYTES + new_traces * TRACE_OVERHEAD_BYTES;
        shared.filling.push(Arc::new(batch));
        if shared.filling.rows as usize >= GROUP_ROWS {
            let full = std::mem::take(&mut shared.filling);
            shared.full.push(Arc::new(full));
            shared.filling_traces.clear();
        }
        drop(shared);
        self.heap_bytes.fetch_add(heap_bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        rejections
    }

    /// Streams that are known.
    pub(crate) fn active(&self) -> usize {
        self.shared.read().streams.len()
    }

    /// Traces that are known, where a limit has them counted.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether half of the traces are there that may be, at the last batch.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Memory kept. Units: bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed) as u64
    }

    /// All batches at this moment.
    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        let shared = self.shared.read();
        let mut groups = shared.full.clone();
        let filling = &shared.filling;
        groups.push(Arc::new(Group {
            batches: filling.batches.clone(),
            starts: filling.starts.clone(),
            rows: filling.rows,
            ..Group::default()
        }));
        groups
    }

    /// Blocks with the spans of a trace.
    pub(super) fn trace(&self, trace_id: &[u8; 16]) -> Vec<SpanBlock> {
        let wanted = fingerprint(trace_id);
        let is_hit = |_: &SpansBatch, row: &SpanRow| row.trace_id == *trace_id;
        let mut blocks = Vec::new();
        let full = {
            let shared = self.shared.read();
            let numbers = shared.filling_traces.iter().zip(0u32..);
            let hits = numbers.filter(|pair| *pair.0 == wanted).map(|pair| pair.1);
            shared.filling.select(hits, &is_hit, &mut blocks);
            shared.full.clone()
        };
        for group in full {
            group.select(equal_range(group.by_trace(), wanted), &is_hit, &mut blocks);
        }
        blocks
    }

    /// Blocks with spans that carry one of the hashed IDs and satisfy `is_hit`, newest first.
    pub(super) fn with_ids(
        &self,
        hashes: &[u64],
        is_hit: &dyn Fn(&SpansBatch, &SpanRow) -> bool,
    ) -> Vec<SpanBlock> {
        let mut blocks = Vec::new();
        for group in self.groups().iter().rev() {
            let by_id = group.by_id(&self.id_fields);
            let mut numbers: Vec<u32> =
                hashes.iter().flat_map(|&hash| equal_range(by_id, hash)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            group.select(numbers.into_iter(), is_hit, &mut blocks);
        }
        blocks
    }
}

impl Shared {
    /// Enters the streams of a batch. Answers the indices of those that are beyond the limit.
    fn enter_streams(
        &mut self,
        streams: &[Arc<Stream>],
        generation: u32,
        limit: usize,
    ) -> Vec<u32> {
        let mut refused = Vec::new();
        for (stream, index) in streams.iter().zip(0u32..) {
            let is_known = stream.hint.get(generation).is_some_and(|slot| {
                self.streams.get(slot as usize).is_some_and(|known| known.id == stream.id)
            });
            if is_known {
                continue;
            }
            let slot = match self.slots.get(&stream.id) {
                Some(&slot) => slot,
                None if limit != 0 && self.streams.len() >= limit => {
                    refused.push(index);
                    continue;
                }
                None => {
                    let slot = self.streams.len() as u32;
                    self.slots.insert(stream.id, slot);
                    self.streams.push(Arc::clone(stream));
                    slot
                }
            };
            stream.hint.set(generation, slot);
        }
        refused
    }

    /// Counts the traces of a batch and their bytes. Answers the places of spans that are beyond a
    /// limit, ascending; of those from the log none is.
    fn enter_traces(
        &mut self,
        rows: &[SpanRow],
        limits: &Limits,
        is_live: bool,
        rejections: &mut Rejections,
    ) -> Vec<usize> {
        let limit_of = |limit: usize| if is_live && limit != 0 { limit } else { usize::MAX };
        let live_max = limit_of(limits.live_traces_max);
        let bytes_max = limit_of(limits.trace_bytes_max) as u64;
        let mut refused = Vec::new();
        let mut index = 0;
        // Spans of one trace mostly stand together.
        for run in rows.chunk_by(|one, other| one.trace_id == other.trace_id) {
            let first = index;
            index += run.len();
            let known = self.traces.len();
            let bytes = match self.traces.entry(u128::from_be_bytes(run[0].trace_id)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(_) if known >= live_max => {
                    refused.extend(first..index);
                    rejections.add(Reason::LiveTraces, run.len() as u64, || {
                        format!(
                            "the trace is new; limit limits.ingest.max_live_traces={live_max}, \
                             current {known}"
                        )
                    });
                    continue;
                }
                Entry::Vacant(entry) => entry.insert(0),
            };
            for (row, place) in run.iter().zip(first..) {
                let more = span_bytes(row);
                if bytes.saturating_add(more) <= bytes_max {
                    *bytes += more;
                    continue;
                }
                refused.push(place);
                let current = *bytes;
                rejections.add(Reason::TraceTooLarge, 1, || {
                    let id = u128::from_be_bytes(row.trace_id);
                    format!(
                        "trace {id:032x} is too large; limit \
                         limits.ingest.max_bytes_per_trace={bytes_max}, current {current}"
                    )
                });
            }
        }
        refused
    }
}

/// What a span counts for in the size of its trace. Units: bytes.
#[inline]
fn span_bytes(row: &SpanRow) -> u64 {
    let parts = [row.name, row.attributes, row.events, row.links];
    parts.iter().map(|part| u64::from(part.len)).sum::<u64>() + SPAN_FIXED_BYTES
}
