//! The write-ahead log of one signal: what was accepted is here before it is acknowledged.
//!
//! One writer thread takes all requests that wait, appends them as they came, and answers them after
//! one `fdatasync`. Sequence numbers are given in the order of the queue, and every number is
//! *outstanding* until its batch is in a memtable (or has failed), so that a flush can say exactly
//! which entries its segments hold ([`Watermark`]). A file whose write or sync fails is never
//! synced again: the log goes on in a new one. Files are removed only by [`Wal::truncate`].
//! Format: FORMAT.md, "Log".

mod frame;
#[cfg(feature = "fuzzing")]
mod heal;
mod replay;
mod skim;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Signal, TenantId, Wire};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};

use crate::{Components, Durability, ErrorKind, Options, StorageError, Threads};

pub(crate) use frame::LOG_VERSION;
#[cfg(feature = "fuzzing")]
pub(crate) use heal::{frames_in, heal};
pub(crate) use replay::{Depth, Piece, Replayed};

/// Requests that wait for the writer may keep this much. Units: bytes.
const QUEUE_BYTES_MAX: u64 = 256 << 20;

/// A request to be logged.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) tenant: TenantId,
    pub(crate) wire: Wire,
    pub(crate) body_hash: u128,
}

impl Entry {
    /// What the entry takes in the log.
    pub(crate) fn logged_bytes(&self) -> u64 {
        (frame::FRAME_HEADER_BYTES + self.tenant.as_str().len() + self.wire.bytes.len()) as u64
    }
}

/// Which entries of a log are in segments: all up to `sequence` but those in `holes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Watermark {
    pub(crate) sequence: u64,
    /// Closed ranges, ascending.
    #[serde(default)]
    pub(crate) holes: Vec<(u64, u64)>,
}

impl Watermark {
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        sequence <= self.sequence
            && !self.holes.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }

    /// Takes out closed ranges that are not in segments after all.
    pub(crate) fn exclude(&mut self, ranges: &[(u64, u64)]) {
        let mut holes = std::mem::take(&mut self.holes);
        holes.extend(ranges.iter().filter(|(first, _)| *first <= self.sequence));
        holes.sort_unstable();
        for (first, last) in holes {
            let last = last.min(self.sequence);
            match self.holes.last_mut() {
                Some(hole) if first <= hole.1.saturating_add(1) => hole.1 = hole.1.max(last),
                _ => self.holes.push((first, last)),
            }
        }
    }

    /// Covers what `other` covers as well.
    pub(crate) fn join(&mut self, other: &Watermark) {
        let sequence = self.sequence.max(other.sequence);
        let (ours, theirs) = (self.missing(sequence), other.missing(sequence));
        self.sequence = sequence;
        self.holes.clear();
        let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
        while let (Some(&&(first, last)), Some(&&(other_first, other_last))) =
            (ours.peek(), theirs.peek())
        {
            let (from, to) = (first.max(other_first), last.min(other_last));
            if from <= to {
                self.holes.push((from, to));
            }
            let _done = if last < other_last { ours.next() } else { theirs.next() };
        }
    }

    /// Closed ranges up to `sequence` that are not covered.
    fn missing(&self, sequence: u64) -> Vec<(u64, u64)> {
        let mut missing = self.holes.clone();
        if self.sequence < sequence {
            missing.push((self.sequence + 1, sequence));
        }
        missing
    }

    /// Whether all entries of a closed range are in segments. A range that ends before it starts
    /// has none.
    pub(crate) fn covers_all(&self, first: u64, last: u64) -> bool {
        let is_free = |hole: &(u64, u64)| hole.1 < first || last < hole.0;
        last < first || (last <= self.sequence && self.holes.iter().all(is_free))
    }
}

/// One file of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) first_sequence: u64,
    /// Highest sequence number in it; the one before its first where there is none.
    pub(crate) last_sequence: u64,
    /// Bytes used, of those that may have been reserved.
    pub(crate) bytes: u64,
}

/// Figures of one log.
#[derive(Debug, Default)]
pub(crate) struct WalStats {
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_ns: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) torn_tails: AtomicU64,
    pub(crate) corruptions: AtomicU64,
    /// The last write failed and no later one has succeeded.
    pub(crate) failed: AtomicBool,
}

#[derive(Debug, Clone)]
struct Settings {
    folder: PathBuf,
    segment_bytes: u64,
    group_wait: Duration,
    durability: Durability,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    entry: Entry,
    answer: oneshot::Sender<Result<(), StorageError>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    waiting_bytes: u64,
    next_sequence: u64,
    outstanding: BTreeSet<u64>,
    /// The next group goes to a new file.
    roll: bool,
    /// No writer is there: not yet, or no longer.
    closed: bool,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    components: Components,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// The same for a writer that is a task.
    arrived_inline: Notify,
    /// Ascending by sequence; the last may be the one being written.
    files: Mutex<Vec<LogFile>>,
    /// Why a sync failed: what the disk holds of that file nobody knows.
    sync_failed: watch::Sender<Option<String>>,
    stats: WalStats,
}

/// The log of one signal.
#[derive(Debug)]
pub(crate) struct Wal {
    shared: Arc<Shared>,
    writer: Mutex<Option<Running>>,
}

/// The writer at work.
#[derive(Debug)]
enum Running {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Wal {
    /// A log that takes nothing before [`Wal::start`].
    pub(crate) fn new(signal: Signal, options: &Options, components: &Components) -> Wal {
        let settings = Settings {
            folder: Wal::folder(options, signal),
            segment_bytes: options.wal_segment_bytes,
            group_wait: Duration::from_micros(options.group_commit_us),
            durability: options.durability,
        };
        let queue = Queue { closed: true, ..Queue::default() };
        Wal {
            shared: Arc::new(Shared {
                settings,
                components: components.clone(),
                queue: Mutex::new(queue),
                arrived: Condvar::new(),
                arrived_inline: Notify::new(),
                files: Mutex::new(Vec::new()),
                sync_failed: watch::Sender::new(None),
                stats: WalStats::default(),
            }),
            writer: Mutex::new(None),
        }
    }

    pub(crate) fn folder(options: &Options, signal: Signal) -> PathBuf {
        options.data_dir.join("wal").join(signal.as_str())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.shared.settings.folder
    }

    /// Says why a sync failed, once one has.
    pub(crate) fn sync_failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.sync_failed.subscribe()
    }

    pub(crate) fn stats(&self) -> &WalStats {
        &self.shared.stats
    }

    /// Begins to take entries, numbered from `next_sequence`. `outstanding` are older entries that
    /// are not in a memtable yet.
    pub(crate) fn start(
        &self,
        next_sequence: u64,
        files: Vec<LogFile>,
        outstanding: impl IntoIterator<Item = u64>,
    ) -> Result<(), StorageError> {
        *self.shared.files.lock() = files;
        let mut queue = self.shared.queue.lock();
        queue.next_sequence = next_sequence;
        queue.outstanding = outstanding.into_iter().collect();
        queue.closed = false;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let running = match &self.shared.components.threads {
            Threads::Real => std::thread::Builder::new()
                .name("wal".to_owned())
                .spawn(move || writer::run(&shared))
                .map(Running::Thread)
                .map_err(|error| StorageError::io("the log's thread", error))?,
            Threads::Inline(_) => Running::Task(tokio::spawn(writer::run_inline(shared))),
        };
        *self.writer.lock() = Some(running);
        Ok(())
    }

    /// Logs an entry and returns its sequence number when it is as durable as the options say. The
    /// number stays outstanding until [`Wal::applied`].
    ///
    /// Errors: Unavailable; the number is not outstanding then.
    pub(crate) async fn append(&self, entry: Entry) -> Result<u64, StorageError> {
        let bytes = entry.wire.bytes.len();
        if bytes > frame::PAYLOAD_BYTES_MAX {
            return Err(StorageError::new(ErrorKind::Invalid, "the body is too long for the log"));
        }
        let (answer, answered) = oneshot::channel();
        let sequence = {
            let mut queue = self.shared.queue.lock();
            if queue.closed || queue.stopping {
                return Err(closed());
            }
            if queue.waiting_bytes > QUEUE_BYTES_MAX {
                return Err(StorageError::new(ErrorKind::Unavailable, "the log's queue is full"));
            }
            let sequence = queue.next_sequence;
            queue.next_sequence += 1;
            queue.outstanding.insert(sequence);
            queue.waiting_bytes += bytes as u64;
            queue.waiting.push(Waiting { sequence, entry, answer });
            sequence
        };
        self.shared.arrived.notify_one();
        self.shared.arrived_inline.notify_one();
        match answered.await {
            Ok(Ok(())) => Ok(sequence),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(closed()),
        }
    }

    /// The entry's batch is in a memtable.
    pub(crate) fn applied(&self, sequence: u64) {
        self.shared.queue.lock().outstanding.remove(&sequence);
    }

    /// Entries, in closed ranges, that are in a memtable which cannot become a segment: no watermark
    /// covers them from now on.
    pub(crate) fn withhold(&self, ranges: &[(u64, u64)]) {
        let mut queue = self.shared.queue.lock();
        queue.outstanding.extend(ranges.iter().flat_map(|(first, last)| *first..=*last));
    }

    /// What the memtables hold at this moment. The caller keeps batches from being applied.
    pub(crate) fn watermark(&self) -> Watermark {
        let queue = self.shared.queue.lock();
        let mut holes: Vec<(u64, u64)> = Vec::new();
        for &sequence in &queue.outstanding {
            match holes.last_mut() {
                Some((_, last)) if *last + 1 == sequence => *last = sequence,
                _ => holes.push((sequence, sequence)),
            }
        }
        Watermark { sequence: queue.next_sequence.saturating_sub(1), holes }
    }

    /// The next entry goes to a new file, so that those before can be removed soon.
    pub(crate) fn roll(&self) {
        self.shared.queue.lock().roll = true;
    }

    /// Bytes in all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.files.lock().iter().map(|file| file.bytes).sum()
    }

    /// Removes files all of whose entries are in segments, but never the one being written unless
    /// `idle` says that no more will be written.
    ///
    /// Errors: Io. Files that could not be removed stay until after the next start.
    pub(crate) fn truncate(&self, watermark: &Watermark, idle: bool) -> Result<(), StorageError> {
        let mut files = self.shared.files.lock();
        let mut left = if idle { files.len() } else { files.len().saturating_sub(1) };
        let mut gone: Vec<LogFile> = Vec::new();
        files.retain(|file| {
            let in_use = left == 0;
            left = left.saturating_sub(1);
            let kept = in_use || !watermark.covers_all(file.first_sequence, file.last_sequence);
            if !kept {
                gone.push(file.clone());
            }
            kept
        });
        drop(files);
        if gone.is_empty() {
            return Ok(());
        }
        let disk = &self.shared.components.files;
        for file in &gone {
            match disk.remove(&file.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io(file.path.display(), error));
                }
                _ => {}
            }
        }
        let folder = self.path();
        disk.sync_folder(folder).map_err(|error| StorageError::io(folder.display(), error))
    }

    /// Writes what waits, and ends the thread. Later entries are refused.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.arrived.notify_all();
        self.shared.arrived_inline.notify_one();
        let mut writer = self.writer.lock();
        if let Some(Running::Thread(thread)) = writer.take_if(|it| matches!(it, Running::Thread(_)))
        {
            // The thread's panic, if there was one, has closed the queue.
            let _outcome = thread.join();
        }
    }

    /// Returns when a stopped writer that is a task has ended.
    pub(crate) async fn ended(&self) {
        let writer = self.writer.lock().take();
        if let Some(Running::Task(task)) = writer {
            let _outcome = task.await;
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.stop();
    }
}

fn closed() -> StorageError {
    StorageError::new(ErrorKind::Unavailable, "the log takes no entries now")
}

impl WalStats {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
