//! Bringing back what was acknowledged: the log's bodies are read and decoded by several threads and
//! appended in their order, in bounded memory.
//!
//! Memtables that are full are frozen and not written: that can wait until everything can be read
//! again. Only where they take more than the signal's share of `replay_memory_max` the oldest are
//! flushed meanwhile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use model::Batch;

use crate::files;
use crate::segment::Append;
use crate::store::core::{Core, Counters};
use crate::store::dedup::{Kept, RequestHash};
use crate::store::engine::SignalEngine;
use crate::store::shard::{Logged, Shard};
use crate::wal::{Piece, Replayed};
use crate::{Replay, StorageError, UnreadPart};

/// Threads that decode the log of a signal.
const DECODERS: usize = 2;
/// Pieces of the log that wait, decoded by one of them, to be appended.
const DECODED_MAX: usize = 2;
/// After a flush that failed the next is tried no sooner. Units: ns.
const RETRY_NS: u64 = 5_000_000_000;

/// How far the signals are together.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    /// Signals whose log is not yet replayed.
    starting: AtomicUsize,
    /// Those of them that have something to replay.
    backlogs: AtomicUsize,
    /// Memory that the others' memtables took when they were done. Units: bytes.
    settled_bytes: AtomicU64,
    /// What was replayed may still be in memory, beside what came since.
    holds_replayed: AtomicBool,
}

impl CatchingUp {
    /// The log of another signal is about to be read.
    pub(super) fn begin(&self) {
        self.starting.fetch_add(1, Ordering::Relaxed);
    }

    /// There is something in it.
    pub(super) fn note_backlog(&self) {
        self.backlogs.fetch_add(1, Ordering::Relaxed);
        self.holds_replayed.store(true, Ordering::Relaxed);
    }

    /// A signal is through, with `memory_bytes` in its memtables.
    pub(super) fn end(&self, had_backlog: bool, memory_bytes: u64) {
        if had_backlog {
            self.settled_bytes.fetch_add(memory_bytes, Ordering::Relaxed);
            self.backlogs.fetch_sub(1, Ordering::Relaxed);
        }
        self.starting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Core {
    /// Whether some signal's log is not yet replayed.
    pub(super) fn is_replaying(&self) -> bool {
        self.catching_up.starting.load(Ordering::Relaxed) > 0
    }

    /// Memory that memtables of one signal may take before replay waits for a flush. Units: bytes.
    pub(super) fn replay_share(&self) -> u64 {
        let backlogs = self.catching_up.backlogs.load(Ordering::Relaxed).max(1) as u64;
        let settled = self.catching_up.settled_bytes.load(Ordering::Relaxed);
        self.options.replay_memory_max.saturating_sub(settled) / backlogs
    }

    /// Memory that all memtables may take before writes wait: what was replayed, until it has been
    /// flushed, keeps nobody out. Units: bytes.
    pub(super) fn memtable_memory_max(&self) -> u64 {
        let max = self.options.memtable_bytes_max;
        let holds_replayed = &self.catching_up.holds_replayed;
        if !holds_replayed.load(Ordering::Relaxed) {
            return max;
        }
        if !self.is_replaying() && self.admission.memory() <= max {
            holds_replayed.store(false, Ordering::Relaxed);
        }
        max.saturating_add(self.options.replay_memory_max)
    }
}

/// How entries become batches again.
pub(super) struct Decoding<'a, E: SignalEngine> {
    pub(super) replay: &'a dyn Replay,
    /// Turns a batch into one of this signal.
    pub(super) unwrap: Unwrap<E>,
}

/// Turns a decoded batch into one of this signal.
pub(super) type Unwrap<E> = fn(Batch) -> Option<<E as SignalEngine>::Batch>;

/// What is to be replayed.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) entries: usize,
    /// In order of sequence.
    pub(super) pieces: Vec<Piece>,
    /// Numbers of entries whose like came before, and of that one.
    pub(super) doubled: BTreeMap<u64, u64>,
    /// Of entries that others repeat, the numbers of those: one watermark covers all, or the hash that
    /// tells them from new ones might be forgotten before the last is covered.
    pub(super) twins: BTreeMap<u64, Vec<u64>>,
}

/// An entry of the log, looked at again.
enum Decoded<B> {
    Batch(B),
    /// Its like came before it, inside the window, as the entry of this number.
    Twin(u64),
    Unusable(String),
    Damaged,
}

/// What has become of an entry that another one repeats.
enum First {
    /// It was flushed, or brought back.
    Stored,
    /// It comes later; both are covered then.
    ToCome,
    /// It could not be read or is damaged. The numbers of all that repeat it.
    Missing(Vec<u64>),
}

/// The entries of a piece.
type Looked<E> = Result<Vec<(Replayed, Decoded<<E as SignalEngine>::Batch>)>, StorageError>;

/// What replay has come across.
struct Brought {
    outcome: Result<(), StorageError>,
    /// As in [`Backlog`], of what is not stored yet.
    twins: BTreeMap<u64, Vec<u64>>,
    /// Monotonic time of the last flush that failed.
    failed_ns: Option<u64>,
}

impl Brought {
    fn new(twins: BTreeMap<u64, Vec<u64>>) -> Brought {
        Brought { outcome: Ok(()), twins, failed_ns: None }
    }

    fn first_of(&mut self, twin: u64, first: u64) -> First {
        match self.twins.entry(first) {
            Entry::Vacant(_) => First::Stored,
            Entry::Occupied(_) if first > twin => First::ToCome,
            Entry::Occupied(twins) => First::Missing(twins.remove()),
        }
    }
}

impl<E: SignalEngine> Shard<E> {
    pub(super) fn replay_log(
        self: &Arc<Self>,
        backlog: Backlog,
        decoding: &Decoding<'_, E>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(), StorageError> {
        let start = self.core.components.clock.monotonic_ns();
        let Backlog { entries, pieces, doubled, twins } = backlog;
        let doubled = &doubled;
        let mut lanes: [Vec<Piece>; DECODERS] = Default::default();
        for (index, piece) in pieces.into_iter().enumerate() {
            lanes[index % DECODERS].push(piece);
        }
        let mut brought = Brought::new(twins);
        let joined = std::thread::scope(|scope| {
            let mut ends = Vec::new();
            let mut threads = Vec::new();
            for pieces in lanes {
                let (decoded, end) = sync_channel(DECODED_MAX);
                let decode = move || self.decode_pieces(pieces, doubled, decoding, &decoded);
                threads.push(scope.spawn(decode));
                ends.push(end);
            }
            self.bring_back_all(&ends, decoding, runtime, &mut brought);
            drop(ends);
            threads.into_iter().map(|thread| thread.join()).collect::<Result<Vec<()>, _>>()
        });
        joined.map_err(|_| StorageError::io("the log", "bug: its replay panicked"))?;
        if entries > 0 {
            let ms = self.core.components.clock.monotonic_ns().saturating_sub(start) / 1_000_000;
            tracing::info!(signal = E::SIGNAL.as_str(), entries, ms, "the log is replayed");
        }
        brought.outcome
    }

    fn decode_pieces(
        &self,
        pieces: Vec<Piece>,
        doubled: &BTreeMap<u64, u64>,
        decoding: &Decoding<'_, E>,
        decoded: &SyncSender<Looked<E>>,
    ) {
        for piece in pieces {
            let looked = self.look_at(piece, doubled, decoding);
            if self.core.is_stopping() || decoded.send(looked).is_err() {
                return;
            }
        }
    }

    /// Takes pieces from the threads in turn, which is their order in the log.
    fn bring_back_all(
        self: &Arc<Self>,
        ends: &[Receiver<Looked<E>>],
        decoding: &Decoding<'_, E>,
        runtime: &tokio::runtime::Handle,
        brought: &mut Brought,
    ) {
        for end in ends.iter().cycle() {
            let Ok(piece) = end.recv() else { return };
            self.bring_back(piece, decoding, brought);
            if self.needs_room(brought) {
                let flushed = runtime.block_on(self.relieve(self.core.replay_share()));
                self.note_flush(flushed, brought);
            }
        }
    }

    /// The same in a task, for simulations.
    pub(super) async fn replay_inline(
        self: &Arc<Self>,
        backlog: Backlog,
        decoding: &Decoding<'_, E>,
    ) -> Result<(), StorageError> {
        let mut brought = Brought::new(backlog.twins);
        for piece in backlog.pieces {
            let looked = match self.look_at(piece, &backlog.doubled, decoding) {
                Ok(entries) => entries.into_iter().map(|entry| Ok(vec![entry])).collect(),
                Err(error) => vec![Err(error)],
            };
            for entry in looked {
                self.core.components.threads.blocking(|| Ok(())).await?;
                self.bring_back(entry, decoding, &mut brought);
                if self.needs_room(&brought) {
                    let flushed = self.relieve(self.core.replay_share()).await;
                    self.note_flush(flushed, &mut brought);
                }
            }
        }
        brought.outcome
    }

    fn look_at(
        &self,
        piece: Piece,
        doubled: &BTreeMap<u64, u64>,
        decoding: &Decoding<'_, E>,
    ) -> Looked<E> {
        let entries = self.wal.read(piece)?;
        let look = |entry: Replayed| {
            let decoded = match doubled.get(&entry.sequence) {
                _ if entry.damaged.is_some() => Decoded::Damaged,
                Some(first) => Decoded::Twin(*first),
                None => decoding.decode(&entry),
            };
            (entry, decoded)
        };
        Ok(entries.into_iter().map(look).collect())
    }

    fn bring_back(&self, piece: Looked<E>, decoding: &Decoding<'_, E>, brought: &mut Brought) {
        let entries = match piece {
            Ok(entries) => entries,
            // Its entries stay outstanding: the next start tries again.
            Err(error) => {
                brought.outcome = Err(error);
                return;
            }
        };
        for (entry, decoded) in entries {
            let sequence = entry.sequence;
            let (decoded, twins) = match decoded {
                Decoded::Twin(first) => match brought.first_of(sequence, first) {
                    First::Stored => (decoded, Vec::new()),
                    First::ToCome => continue,
                    // This one stands for all of them.
                    First::Missing(mut twins) => {
                        twins.push(first);
                        let hash = RequestHash::new(&entry.tenant, entry.body_hash);
                        let received_ns = entry.wire.received_ns;
                        self.dedup.learn(Kept { hash, received_ns, sequence });
                        (decoding.decode(&entry), twins)
                    }
                },
                Decoded::Damaged => (decoded, Vec::new()),
                Decoded::Batch(_) | Decoded::Unusable(_) => {
                    (decoded, brought.twins.remove(&sequence).unwrap_or_default())
                }
            };
            self.bring_back_entry(entry, decoded, twins);
        }
        // Of the size that a flush usually has, so that they can be written one by one.
        let options = &self.core.options;
        let memory_max = options.flush_memory_bytes.min(self.core.replay_share() / 4);
        let unflushed = self.unflushed_bytes.load(Ordering::Relaxed);
        if self.active_memory() >= memory_max || unflushed >= options.flush_wal_bytes {
            self.freeze();
        }
    }

    fn bring_back_entry(&self, entry: Replayed, decoded: Decoded<E::Batch>, twins: Vec<u64>) {
        let sequence = entry.sequence;
        match decoded {
            Decoded::Batch(batch) => {
                let Replayed { tenant, wire, .. } = entry;
                let (received_ns, bytes) = (wire.received_ns, wire.bytes.len());
                let append = Append::Replay;
                let logged = Logged { tenant, sequence, received_ns, bytes, append, twins };
                self.apply(&logged, batch, None);
                Counters::add(&self.core.counters.replayed, 1);
            }
            Decoded::Twin(_) => self.wal.applied(sequence),
            Decoded::Unusable(why) => {
                Counters::add(&self.core.counters.replay_failures, 1);
                self.set_aside(sequence, &entry.wire.bytes, &why);
                self.wal.applied(sequence);
            }
            Decoded::Damaged => {
                let quarantine = self.core.options.data_dir.join("quarantine");
                self.unread.lock().extend(self.wal.set_aside_damaged(&entry, &quarantine));
                self.dedup.unlearn(RequestHash::new(&entry.tenant, entry.body_hash), sequence);
                self.wal.applied(sequence);
            }
        }
    }

    /// Whether replay has to wait for a flush. Above three quarters of what it may take one is begun
    /// beside it.
    fn needs_room(&self, brought: &Brought) -> bool {
        let (memory, share) = (self.memory(), self.core.replay_share());
        if memory > share / 4 * 3 {
            self.wake.notify_one();
        }
        let now = self.core.components.clock.monotonic_ns();
        let may_try = brought.failed_ns.is_none_or(|at| now.saturating_sub(at) >= RETRY_NS);
        memory > share && may_try
    }

    fn note_flush(&self, flushed: Result<(), StorageError>, brought: &mut Brought) {
        brought.failed_ns = None;
        if let Err(error) = flushed {
            tracing::warn!(%error, "replay goes on in memory: a flush has to wait");
            brought.failed_ns = Some(self.core.components.clock.monotonic_ns());
        }
    }

    /// Keeps the body of an entry that cannot be decoded any more, and says so in answers.
    fn set_aside(&self, sequence: u64, body: &[u8], why: &str) {
        let signal = E::SIGNAL.as_str();
        tracing::error!(signal, sequence, why, "an entry of the log cannot be decoded");
        let name = format!("entry-{signal}-{sequence}");
        let part = UnreadPart { name: name.clone(), why: why.to_owned() };
        self.unread.lock().push(part);
        let disk = self.core.components.files.as_ref();
        let folder = self.core.options.data_dir.join("quarantine");
        let kept = disk
            .create_folder(&folder)
            .and_then(|()| files::replace(disk, &folder.join(name), body));
        if let Err(error) = kept {
            tracing::warn!(%error, "the entry could not be copied aside");
        }
    }
}

impl<E: SignalEngine> Decoding<'_, E> {
    fn decode(&self, entry: &Replayed) -> Decoded<E::Batch> {
        let decode = || self.replay.replay(&entry.tenant, &entry.wire);
        let decoded = catch_unwind(AssertUnwindSafe(decode))
            .unwrap_or_else(|_| Err("bug: the decoder panicked".to_owned()));
        match decoded.map(self.unwrap) {
            Ok(Some(batch)) => Decoded::Batch(batch),
            Ok(None) => Decoded::Unusable("it is of another signal".to_owned()),
            Err(why) => Decoded::Unusable(why),
        }
    }
}
