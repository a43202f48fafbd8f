//! The start of a signal: read its log, open it for writes, bring back what was acknowledged.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use model::Batch;

use crate::files;
use crate::segment::Append;
use crate::store::core::Counters;
use crate::store::dedup::{Kept, RequestHash};
use crate::store::engine::SignalEngine;
use crate::store::shard::{Logged, Shard, Stage};
use crate::wal::{LogScan, Replayed};
use crate::{Replay, StorageError, UnreadPart};

/// Batches that wait, decoded, to be appended.
const DECODED_MAX: usize = 16;

/// An entry of the log, looked at again.
enum Decoded<B> {
    Batch(B),
    /// Its like came before it, inside the window.
    Twin,
    Unusable(String),
}

/// Turns a decoded batch into one of this signal.
pub(super) type Unwrap<E> = fn(Batch) -> Option<<E as SignalEngine>::Batch>;

impl<E: SignalEngine> Shard<E> {
    /// Scans and replays the log. Blocks: runs on a thread of its own.
    pub(super) fn start(
        self: &Arc<Self>,
        replay: &dyn Replay,
        unwrap: Unwrap<E>,
        runtime: &tokio::runtime::Handle,
    ) {
        let outcome = self.open_log().and_then(|(scan, doubled)| {
            self.stage.send_replace(Stage::Replaying);
            self.replay_log(scan, &doubled, replay, unwrap, runtime)
        });
        self.started(outcome);
    }

    /// The same in a task, for simulations.
    pub(super) async fn start_inline(self: Arc<Self>, replay: Arc<dyn Replay>, unwrap: Unwrap<E>) {
        let outcome = match self.open_log() {
            Ok((scan, doubled)) => {
                self.stage.send_replace(Stage::Replaying);
                self.replay_inline(scan, &doubled, replay.as_ref(), unwrap).await
            }
            Err(error) => Err(error),
        };
        self.started(outcome);
    }

    async fn replay_inline(
        self: &Arc<Self>,
        scan: LogScan,
        doubled: &BTreeSet<u64>,
        replay: &dyn Replay,
        unwrap: Unwrap<E>,
    ) -> Result<(), StorageError> {
        let mut entries = Vec::new();
        let read = self.wal.replay(scan, |entry| entries.push(entry));
        for entry in entries {
            self.core.components.threads.blocking(|| Ok(())).await?;
            let batch = decode_new::<E>(&entry, doubled, replay, unwrap);
            self.replay_entry(entry, batch);
            if self.core.is_memory_full()
                && let Err(error) = self.flush().await
            {
                tracing::warn!(%error, "replay goes on in memory: a flush has to wait");
            }
        }
        read
    }

    fn started(&self, outcome: Result<(), StorageError>) {
        match outcome {
            Ok(()) => {
                self.stage.send_replace(Stage::Ready);
            }
            Err(error) => {
                tracing::error!(%error, signal = E::SIGNAL.as_str(), "the log cannot be opened");
                let name = format!("log of {}", E::SIGNAL.as_str());
                self.unread.lock().push(UnreadPart { name, why: error.to_string() });
                // Where the log takes writes, it goes on taking them.
                self.stage.send_if_modified(|stage| {
                    let next = match stage {
                        Stage::Replaying => Stage::Ready,
                        _ => Stage::Failed(error.clone()),
                    };
                    *stage = next;
                    true
                });
            }
        }
    }

    /// Reads the log's files and begins to take entries. Returns, with what was read, the sequence
    /// numbers of entries whose like came before.
    fn open_log(&self) -> Result<(LogScan, BTreeSet<u64>), StorageError> {
        let disk = &self.core.components.files;
        let context = |error| StorageError::io(self.wal.path().display(), error);
        disk.create_folder(self.wal.path()).map_err(context)?;
        let watermark = self.core.catalog.watermark(E::SIGNAL);
        let quarantine = self.core.options.data_dir.join("quarantine");
        let scan = self.wal.scan(&watermark, Some(&quarantine))?;
        if !self.dedup.load(disk.as_ref()) {
            tracing::warn!("the hashes of recent requests cannot be read and are forgotten");
        }
        let present: BTreeSet<u64> = scan.outstanding.iter().copied().collect();
        // What segments hold is known from the file alone: an entry below the watermark may also be
        // one whose write failed, which nobody was told to be stored.
        let mut doubled = BTreeSet::new();
        for entry in scan.hashes.iter().filter(|entry| !watermark.covers(entry.sequence)) {
            let (received_ns, sequence) = (entry.received_ns, entry.sequence);
            let hash = RequestHash::new(&entry.tenant, entry.body_hash);
            let first = self.dedup.learn(Kept { hash, received_ns, sequence });
            // Left out only where the other copy is stored for certain.
            let is_stored = |first: u64| watermark.covers(first) || present.contains(&first);
            if first.is_some_and(|first| first != sequence && is_stored(first)) {
                doubled.insert(sequence);
            }
        }
        self.dedup.begin(self.core.moment());
        self.unread.lock().extend(scan.unread.iter().cloned());
        self.core.admission.add_log_bytes(scan.bytes);
        self.wal.start(scan.next_sequence, scan.files(), scan.outstanding.iter().copied())?;
        Ok((scan, doubled))
    }

    fn replay_log(
        self: &Arc<Self>,
        scan: LogScan,
        doubled: &BTreeSet<u64>,
        replay: &dyn Replay,
        unwrap: Unwrap<E>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(), StorageError> {
        let start = self.core.components.clock.monotonic_ns();
        let entries = scan.outstanding.len();
        // One thread decodes, this one appends.
        let (decoded, decoding) = std::sync::mpsc::sync_channel(DECODED_MAX);
        let read = std::thread::scope(|scope| {
            let decoder = scope.spawn(move || {
                self.wal.replay(scan, |entry| {
                    if !self.core.is_stopping() {
                        let batch = decode_new::<E>(&entry, doubled, replay, unwrap);
                        // Whoever takes them lives as long as this thread.
                        let _taken = decoded.send((entry, batch));
                    }
                })
            });
            for (entry, batch) in decoding {
                self.replay_entry(entry, batch);
                if self.core.is_memory_full()
                    && let Err(error) = runtime.block_on(self.flush())
                {
                    tracing::warn!(%error, "replay goes on in memory: a flush has to wait");
                }
            }
            decoder.join()
        });
        read.map_err(|_| StorageError::io("the log", "bug: its replay panicked"))??;
        if entries > 0 {
            let ms = self.core.components.clock.monotonic_ns().saturating_sub(start) / 1_000_000;
            tracing::info!(signal = E::SIGNAL.as_str(), entries, ms, "the log is replayed");
        }
        Ok(())
    }

    fn replay_entry(&self, entry: Replayed, batch: Decoded<E::Batch>) {
        let Replayed { sequence, tenant, wire } = entry;
        match batch {
            Decoded::Batch(batch) => {
                let (received_ns, bytes) = (wire.received_ns, wire.bytes.len());
                let append = Append::Replay;
                self.apply(&Logged { tenant, sequence, received_ns, bytes, append }, batch, None);
                Counters::add(&self.core.counters.replayed, 1);
            }
            Decoded::Twin => self.wal.applied(sequence),
            Decoded::Unusable(why) => {
                Counters::add(&self.core.counters.replay_failures, 1);
                self.set_aside(sequence, &wire.bytes, &why);
                self.wal.applied(sequence);
            }
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

/// Decodes an entry unless its like came before.
fn decode_new<E: SignalEngine>(
    entry: &Replayed,
    doubled: &BTreeSet<u64>,
    replay: &dyn Replay,
    unwrap: Unwrap<E>,
) -> Decoded<E::Batch> {
    if doubled.contains(&entry.sequence) {
        return Decoded::Twin;
    }
    decode::<E>(entry, replay, unwrap)
}

fn decode<E: SignalEngine>(
    entry: &Replayed,
    replay: &dyn Replay,
    unwrap: Unwrap<E>,
) -> Decoded<E::Batch> {
    let decoded = catch_unwind(AssertUnwindSafe(|| replay.replay(&entry.tenant, &entry.wire)))
        .unwrap_or_else(|_| Err("bug: the decoder panicked".to_owned()));
    match decoded.map(unwrap) {
        Ok(Some(batch)) => Decoded::Batch(batch),
        Ok(None) => Decoded::Unusable("it is of another signal".to_owned()),
        Err(why) => Decoded::Unusable(why),
    }
}
