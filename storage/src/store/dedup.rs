//! Recognises a byte-identical retry, so that it is acknowledged and not stored twice.
//!
//! Hashes of the last minutes are kept in memory. They survive a restart: those of entries that are
//! still in the log by its replay, those of older ones in a small file that is written before log
//! files are removed (FORMAT.md, "Log"). A request whose twin is still under way waits for it.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::files::{self, Files};

/// More hashes than this are not remembered, the oldest going first.
const HASHES_MAX: usize = 1_000_000;
const MAGIC: [u8; 8] = *b"TERCDUP\x01";
/// A time, a sequence number and a hash. Units: bytes.
const RECORD_BYTES: usize = 32;

/// The hash of a request's tenant and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestHash(u128);

impl RequestHash {
    pub(super) fn new(tenant: &TenantId, body_hash: u128) -> RequestHash {
        RequestHash(body_hash.wrapping_add(xxh3_128(tenant.as_str().as_bytes())))
    }
}

#[derive(Debug)]
enum State {
    /// Under way; the channel closes when it is over.
    Pending(watch::Receiver<()>),
    /// Stored, as the log's entry of this number.
    Kept(u64),
}

/// What two clocks say: the one on the wall may be set, the other one never is. Units: ns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall_ns: i64,
    pub(super) monotonic_ns: u64,
}

/// A request that is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) hash: RequestHash,
    /// Units: ns.
    pub(super) received_ns: i64,
    /// Of its entry in the log.
    pub(super) sequence: u64,
}

#[derive(Debug, Default)]
struct Known {
    states: HashMap<RequestHash, State, RandomState>,
    /// Those kept, by time of arrival (nearly).
    order: VecDeque<Kept>,
    /// The time by which hashes grow old. It never runs ahead of how much time has passed, so that a
    /// clock that is set does not make us forget.
    believed: Option<Moment>,
}

/// Requests of one signal in the last minutes.
#[derive(Debug)]
pub(super) struct Dedup {
    window_ns: i64,
    path: PathBuf,
    known: Mutex<Known>,
}

/// What is known of a request.
pub(super) enum Seen {
    New(Claim),
    /// Its twin is under way: wait until the channel closes, and ask again.
    Pending(watch::Receiver<()>),
    Duplicate,
}

/// The right to store a request. Dropped without [`Claim::keep`], a retry may claim it again.
pub(super) struct Claim {
    dedup: Arc<Dedup>,
    hash: RequestHash,
    kept: bool,
    /// Closes the channel when dropped.
    _over: watch::Sender<()>,
}

impl Dedup {
    pub(super) fn new(window_ns: i64, path: PathBuf) -> Arc<Dedup> {
        Arc::new(Dedup { window_ns, path, known: Mutex::default() })
    }

    pub(super) fn claim(self: &Arc<Dedup>, hash: RequestHash, now: Moment) -> Seen {
        let mut known = self.known.lock();
        let now_ns = known.believe(now);
        known.forget(now_ns.saturating_sub(self.window_ns));
        let (over, pending) = watch::channel(());
        match known.states.entry(hash) {
            MapEntry::Occupied(entry) => match entry.get() {
                State::Kept(_) => Seen::Duplicate,
                State::Pending(over) => Seen::Pending(over.clone()),
            },
            MapEntry::Vacant(entry) => {
                entry.insert(State::Pending(pending));
                Seen::New(Claim { dedup: Arc::clone(self), hash, kept: false, _over: over })
            }
        }
    }

    /// Takes in an entry of the log. Gives the number of the entry with the same hash that came
    /// before it inside the window; that may be the entry itself, where the file held it already.
    pub(super) fn learn(&self, kept: Kept) -> Option<u64> {
        let mut known = self.known.lock();
        // What is older than the window, seen from this entry, was no twin of it when it came.
        known.forget(kept.received_ns.saturating_sub(self.window_ns));
        if let Some(State::Kept(first)) = known.states.get(&kept.hash) {
            return Some(*first);
        }
        known.states.insert(kept.hash, State::Kept(kept.sequence));
        known.order.push_back(kept);
        None
    }

    /// Forgets requests that are not stored after all, and gives the numbers of their entries.
    pub(super) fn forget_lost(&self, is_stored: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut known = self.known.lock();
        let (kept, lost): (VecDeque<Kept>, VecDeque<Kept>) =
            known.order.drain(..).partition(|kept| is_stored(kept.sequence));
        known.order = kept;
        for lost in &lost {
            known.states.remove(&lost.hash);
        }
        lost.into_iter().map(|lost| lost.sequence).collect()
    }

    /// Forgets a request whose entry in the log turns out to be damaged: a retry is to be stored.
    pub(super) fn unlearn(&self, hash: RequestHash, sequence: u64) {
        let mut known = self.known.lock();
        if let Some(State::Kept(kept)) = known.states.get(&hash)
            && *kept == sequence
        {
            known.states.remove(&hash);
            known.order.retain(|kept| kept.sequence != sequence);
        }
    }

    /// Begins to count time, once everything older has been learned: what was the newest then has
    /// just come, as far as is known.
    pub(super) fn begin(&self, now: Moment) {
        let mut known = self.known.lock();
        let newest_ns = known.order.iter().map(|kept| kept.received_ns).max();
        let away_ns = newest_ns.map_or(0, |newest_ns| now.wall_ns.saturating_sub(newest_ns));
        for kept in &mut known.order {
            kept.received_ns = kept.received_ns.saturating_add(away_ns);
        }
        known.believed = Some(now);
        known.forget(now.wall_ns.saturating_sub(self.window_ns));
    }

    /// Writes what is remembered, so that log files can be removed.
    pub(super) fn save(&self, files: &dyn Files, now: Moment) -> std::io::Result<()> {
        let mut out = MAGIC.to_vec();
        {
            let mut known = self.known.lock();
            let now_ns = known.believe(now);
            known.forget(now_ns.saturating_sub(self.window_ns));
            // By the clock on the wall, as in the log, with whose entries the next start compares.
            let lag_ns = now.wall_ns.saturating_sub(now_ns);
            out.reserve(known.order.len() * RECORD_BYTES + 8);
            for kept in &known.order {
                out.extend_from_slice(&kept.received_ns.saturating_add(lag_ns).to_le_bytes());
                out.extend_from_slice(&kept.sequence.to_le_bytes());
                out.extend_from_slice(&kept.hash.0.to_le_bytes());
            }
        }
        out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
        files::replace(files, &self.path, &out)
    }

    /// Reads what [`Dedup::save`] wrote. False when the file is damaged: then a retry of what was
    /// acknowledged before the restart may be stored a second time.
    pub(super) fn load(&self, files: &dyn Files) -> bool {
        let content = match files.read(&self.path) {
            Ok(content) => content,
            Err(error) => return error.kind() == std::io::ErrorKind::NotFound,
        };
        let Some((body, sum)) = content.split_last_chunk::<8>() else { return false };
        let Some(records) = body.strip_prefix(&MAGIC) else { return false };
        if u64::from_le_bytes(*sum) != xxh3_64(body) {
            return false;
        }
        for record in records.as_chunks::<RECORD_BYTES>().0 {
            let Some((time, rest)) = record.split_first_chunk::<8>() else { continue };
            let Some((sequence, hash)) = rest.split_first_chunk::<8>() else { continue };
            let Ok(hash) = hash.try_into() else { continue };
            self.learn(Kept {
                hash: RequestHash(u128::from_le_bytes(hash)),
                received_ns: i64::from_le_bytes(*time),
                sequence: u64::from_le_bytes(*sequence),
            });
        }
        true
    }
}

impl Known {
    fn believe(&mut self, mut now: Moment) -> i64 {
        if let Some(before) = self.believed {
            // Whoever asked first may come last.
            now.monotonic_ns = now.monotonic_ns.max(before.monotonic_ns);
        }
        let wall_ns = self.believed.map_or(now.wall_ns, |before| {
            let passed = i64::try_from(now.monotonic_ns.saturating_sub(before.monotonic_ns));
            let most = before.wall_ns.saturating_add(passed.unwrap_or(i64::MAX));
            now.wall_ns.min(most)
        });
        self.believed = Some(Moment { wall_ns, ..now });
        wall_ns
    }

    fn forget(&mut self, before_ns: i64) {
        while let Some(&Kept { hash, received_ns, .. }) = self.order.front() {
            if received_ns >= before_ns && self.order.len() <= HASHES_MAX {
                return;
            }
            self.order.pop_front();
            self.states.remove(&hash);
        }
    }
}

impl Claim {
    /// The request is stored as entry `sequence` of the log: retries of it are duplicates from now
    /// on.
    pub(super) fn keep(mut self, received_ns: i64, sequence: u64) {
        self.kept = true;
        let mut known = self.dedup.known.lock();
        let received_ns = known.believed.map_or(received_ns, |believed| believed.wall_ns);
        known.states.insert(self.hash, State::Kept(sequence));
        known.order.push_back(Kept { hash: self.hash, received_ns, sequence });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.dedup.known.lock().states.remove(&self.hash);
        }
    }
}
