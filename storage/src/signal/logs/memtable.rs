//! Unflushed logs, readable at once.
//!
//! Batches are kept as they came, in order of arrival, so an append touches each row once to know
//! the batch's range of times. A scan looks at the batches whose range meets its own and asks their
//! arenas for its needles before it looks at rows.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use model::{BodyKind, Limits, LimitsOf, LogsBatch, Reason, Rejections, Stream, StreamId};
use parking_lot::RwLock;

use super::schema::{FIELDS_ALWAYS, FieldSet, mark_fields};
use crate::Options;
use crate::ids::{IdFields, hash_span_id, hash_trace_id, hash_value};
use crate::segment::Append;

/// What a batch costs beside its own memory. Units: bytes.
const BATCH_OVERHEAD_BYTES: usize = 128;

/// See the module's docs. All methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Memtable {
    generation: u32,
    limits: LimitsOf,
    pub(super) id_fields: Arc<IdFields>,
    shared: RwLock<Shared>,
    heap_bytes: AtomicUsize,
    rows: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shared {
    batches: Vec<MemBatch>,
    streams: Vec<Arc<Stream>>,
    slots: HashMap<StreamId, u32, FixedState>,
    fields: FieldSet,
}

/// A batch and the closed range of its times.
#[derive(Debug, Clone)]
pub(super) struct MemBatch {
    pub(super) batch: Arc<LogsBatch>,
    pub(super) time_min_ns: i64,
    pub(super) time_max_ns: i64,
    /// Made by the first lookup of an ID, so that the way in does not pay for it.
    ids: Arc<OnceLock<BatchIds>>,
}

/// What tells that no record of a batch carries an ID.
#[derive(Debug)]
pub(super) struct BatchIds {
    /// Fingerprints of trace IDs, span IDs and ID attributes, ascending, each once.
    fingerprints: Vec<u64>,
    /// Whether a body is structured, so that its line does not lie in the arena as it reads.
    pub(super) is_structured: bool,
}

impl BatchIds {
    fn new(batch: &LogsBatch, id_fields: &IdFields) -> BatchIds {
        let mut fingerprints = Vec::with_capacity(batch.rows.len() * 2);
        let mut is_structured = false;
        let mut last = ([0; 16], [0; 8]);
        for row in &batch.rows {
            is_structured |= row.body_kind == BodyKind::Any;
            // Neighbours often belong to the same span.
            if (row.trace_id, row.span_id) != last {
                last = (row.trace_id, row.span_id);
                fingerprints.push(hash_trace_id(&row.trace_id));
                fingerprints.push(hash_span_id(&row.span_id));
            }
            let attributes = batch.attributes(row);
            let ids = attributes.iter().filter(|(key, _)| id_fields.contains(key));
            fingerprints.extend(ids.filter_map(|(_, value)| hash_value(value)));
        }
        fingerprints.sort_unstable();
        fingerprints.dedup();
        BatchIds { fingerprints, is_structured }
    }

    pub(super) fn may_hold(&self, fingerprint: u64) -> bool {
        self.fingerprints.binary_search(&fingerprint).is_ok()
    }
}

impl MemBatch {
    /// Cost: some 50 ns a record at the first call, nothing later.
    pub(super) fn ids(&self, id_fields: &IdFields) -> &BatchIds {
        self.ids.get_or_init(|| BatchIds::new(&self.batch, id_fields))
    }
}

impl Memtable {
    #[cfg(test)]
    pub(crate) fn new(generation: u32, options: &Options) -> Memtable {
        let limits = LimitsOf::new(&options.limits, &model::TenantId::default());
        Memtable::judged_by(generation, limits, options)
    }

    /// Of a tenant, whose limits at the time of each batch judge it.
    pub(crate) fn judged_by(generation: u32, limits: LimitsOf, options: &Options) -> Memtable {
        Memtable {
            generation,
            limits,
            id_fields: Arc::new(IdFields::new(&options.id_fields)),
            shared: RwLock::default(),
            heap_bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
        }
    }

    /// An empty one to take over from this one.
    pub(crate) fn successor(&self, generation: u32) -> Memtable {
        Memtable {
            generation,
            limits: self.limits.clone(),
            id_fields: Arc::clone(&self.id_fields),
            shared: RwLock::default(),
            heap_bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
        }
    }

    /// Keeps a batch; records beyond a limit are refused. Nothing from the log is: it was
    /// acknowledged, perhaps under other limits and in more than one memtable.
    pub(crate) fn append(
        &self,
        mut batch: LogsBatch,
        received_ns: i64,
        append: Append,
    ) -> Rejections {
        let mut rejections = Rejections::default();
        let mut streams_max = 0;
        if append == Append::Live {
            let limits = self.limits.now();
            drop_out_of_time(&limits, &mut batch, received_ns, &mut rejections);
            streams_max = limits.active_streams_max;
        }
        let mut shared = self.shared.write();
        self.enter_streams(&mut shared, &mut batch, streams_max, &mut rejections);
        let (mut time_min_ns, mut time_max_ns) = (i64::MAX, i64::MIN);
        for row in &batch.rows {
            time_min_ns = time_min_ns.min(row.time_ns);
            time_max_ns = time_max_ns.max(row.time_ns);
            mark_fields(&mut shared.fields, row);
        }
        if !batch.rows.is_empty() {
            self.rows.fetch_add(batch.rows.len(), Ordering::Relaxed);
            self.heap_bytes.fetch_add(batch.heap_bytes() + BATCH_OVERHEAD_BYTES, Ordering::Relaxed);
            let batch = Arc::new(batch);
            let ids = Arc::default();
            shared.batches.push(MemBatch { batch, time_min_ns, time_max_ns, ids });
        }
        rejections
    }

    /// Makes the batch's streams known, and refuses rows of those beyond `streams_max`
    /// (0: takes all).
    fn enter_streams(
        &self,
        shared: &mut Shared,
        batch: &mut LogsBatch,
        streams_max: usize,
        rejections: &mut Rejections,
    ) {
        let mut refused: Vec<bool> = Vec::new();
        for (index, stream) in batch.streams.iter_mut().enumerate() {
            let hinted = stream.hint.get(self.generation);
            let known = hinted
                .and_then(|slot| Some((slot, shared.streams.get(slot as usize)?)))
                .filter(|(_, known)| known.id == stream.id)
                .map(|(slot, _)| slot)
                .or_else(|| shared.slots.get(&stream.id).copied());
            if let Some(slot) = known {
                stream.hint.set(self.generation, slot);
                // One copy of each stream is enough: a decoder may have made many.
                if let Some(kept) = shared.streams.get(slot as usize) {
                    *stream = Arc::clone(kept);
                }
                continue;
            }
            if streams_max != 0 && shared.streams.len() >= streams_max {
                refused.resize(index + 1, false);
                refused[index] = true;
                continue;
            }
            let slot = shared.streams.len() as u32;
            stream.hint.set(self.generation, slot);
            shared.slots.insert(stream.id, slot);
            shared.streams.push(Arc::clone(stream));
        }
        if refused.is_empty() {
            return;
        }
        batch.rows.retain(|row| {
            let refused = refused.get(row.stream as usize).copied().unwrap_or(false);
            if refused {
                rejections.add(Reason::MaxActiveStreams, 1, || {
                    format!(
                        "the stream is new; limit limits.ingest.max_active_streams={streams_max}, \
                         current {streams_max}"
                    )
                });
            }
            !refused
        });
    }

    /// Streams that are known.
    pub(crate) fn active(&self) -> usize {
        self.shared.read().streams.len()
    }

    /// Memory that is kept. Units: bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed) as u64
    }

    /// All batches in order of arrival.
    pub(super) fn batches(&self) -> Vec<MemBatch> {
        self.shared.read().batches.clone()
    }

    /// All streams, each once.
    pub(super) fn streams(&self) -> Vec<Arc<Stream>> {
        self.shared.read().streams.clone()
    }

    /// The fields that some record uses.
    pub(super) fn fields(&self) -> FieldSet {
        let mut fields = self.shared.read().fields;
        for (field, always) in fields.iter_mut().zip(FIELDS_ALWAYS) {
            *field |= always;
        }
        fields
    }
}

fn drop_out_of_time(
    limits: &Limits,
    batch: &mut LogsBatch,
    received_ns: i64,
    rejections: &mut Rejections,
) {
    let newest = match limits.future_max_ns {
        0 => i64::MAX,
        future_max_ns => received_ns.saturating_add(future_max_ns),
    };
    let oldest = match limits.age_max_ns {
        0 => i64::MIN,
        age_max_ns => received_ns.saturating_sub(age_max_ns),
    };
    if batch.rows.iter().all(|row| (oldest..=newest).contains(&row.time_ns)) {
        return;
    }
    let (future_max_ns, age_max_ns) = (limits.future_max_ns, limits.age_max_ns);
    batch.rows.retain(|row| {
        let time_ns = row.time_ns;
        if time_ns > newest {
            rejections.add(Reason::TooFarInFuture, 1, || {
                format!("time {time_ns} ns is more than {future_max_ns} ns after its arrival")
            });
        } else if time_ns < oldest {
            rejections.add(Reason::TooOld, 1, || {
                format!("time {time_ns} ns is more than {age_max_ns} ns before its arrival")
            });
        }
        (oldest..=newest).contains(&time_ns)
    });
}
