//! The start of a signal: read its log's headers, open it for writes, bring back what was
//! acknowledged (`replay.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::store::dedup::{Kept, RequestHash};
use crate::store::engine::SignalEngine;
use crate::store::replay::{Backlog, Decoding};
use crate::store::shard::{Shard, Stage};
use crate::wal::Depth;
use crate::{StorageError, UnreadPart};

impl<E: SignalEngine> Shard<E> {
    /// Scans and replays the log. Blocks: runs on a thread of its own.
    pub(super) fn start(
        self: &Arc<Self>,
        decoding: &Decoding<'_, E>,
        runtime: &tokio::runtime::Handle,
    ) {
        let mut has_backlog = false;
        let start = || {
            let backlog = self.open_log()?;
            has_backlog = backlog.entries > 0;
            self.stage.send_replace(Stage::Replaying);
            self.replay_log(backlog, decoding, runtime)
        };
        let outcome = catch_unwind(AssertUnwindSafe(start));
        let panicked = |_| Err(StorageError::io("the log", "bug: its replay panicked"));
        self.started(outcome.unwrap_or_else(panicked), has_backlog);
    }

    /// The same in a task, for simulations.
    pub(super) async fn start_inline(self: Arc<Self>, decoding: Decoding<'_, E>) {
        let mut has_backlog = false;
        let outcome = match self.open_log() {
            Ok(backlog) => {
                has_backlog = backlog.entries > 0;
                self.stage.send_replace(Stage::Replaying);
                self.replay_inline(backlog, &decoding).await
            }
            Err(error) => Err(error),
        };
        self.started(outcome, has_backlog);
    }

    fn started(&self, outcome: Result<(), StorageError>, had_backlog: bool) {
        self.core.catching_up.end(had_backlog, self.memory());
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

    /// Reads the headers in the log's files and begins to take entries.
    fn open_log(&self) -> Result<Backlog, StorageError> {
        let disk = &self.core.components.files;
        let context = |error| StorageError::io(self.wal.path().display(), error);
        disk.create_folder(self.wal.path()).map_err(context)?;
        let watermark = self.core.catalog.watermark(E::SIGNAL);
        let quarantine = self.core.options.data_dir.join("quarantine");
        let scan = self.wal.scan(&watermark, Some(&quarantine), Depth::Headers)?;
        if !self.dedup.load(disk.as_ref()) {
            tracing::warn!("the hashes of recent requests cannot be read and are forgotten");
        }
        let present: BTreeSet<u64> = scan.outstanding.iter().copied().collect();
        // What was not durable when the power went is gone from the log, and a retry of it is new. No
        // watermark may run over its number while the file still names it.
        let mut outstanding =
            self.dedup.forget_lost(|number| watermark.covers(number) || present.contains(&number));
        outstanding.extend(&scan.outstanding);
        // What segments hold is known from the file alone: an entry below the watermark may also be
        // one whose write failed, which nobody was told to be stored.
        let mut doubled = BTreeMap::new();
        let mut twins: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for entry in scan.hashes.iter().filter(|entry| !watermark.covers(entry.sequence)) {
            let (received_ns, sequence) = (entry.received_ns, entry.sequence);
            let hash = RequestHash::new(&entry.tenant, entry.body_hash);
            let first = self.dedup.learn(Kept { hash, received_ns, sequence });
            if let Some(first) = first.filter(|first| *first != sequence) {
                doubled.insert(sequence, first);
                if !watermark.covers(first) {
                    twins.entry(first).or_default().push(sequence);
                }
            }
        }
        self.dedup.begin(self.core.moment());
        self.unread.lock().extend(scan.unread.iter().cloned());
        self.core.admission.add_log_bytes(scan.bytes);
        let next = scan.next_sequence.max(self.core.first_entry);
        self.wal.start(next, scan.files(), outstanding)?;
        let entries = scan.outstanding.len();
        if entries > 0 {
            self.core.catching_up.note_backlog();
        }
        Ok(Backlog { entries, pieces: scan.into_pieces(), doubled, twins })
    }
}
