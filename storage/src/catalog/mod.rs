//! The catalog: which segments there are, and what of each log they hold.
//!
//! It changes only by creating the next numbered commit object; whoever loses the race reads the
//! winner's commit and tries the next number. A checkpoint every [`CHECKPOINT_COMMITS`] commits
//! keeps opening short. Nothing here deletes data: unreadable objects make the catalog fall back to
//! an older generation, look at what lies in the store (`recover.rs`), and say so.

mod commit;
mod recover;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::Signal;
use parking_lot::RwLock;

use crate::objects::{Created, Objects};
use crate::segment::SegmentMeta;
use crate::wal::Watermark;
use crate::{Components, ErrorKind, StorageError};

pub(crate) use commit::{
    CATALOG_VERSION, Checkpoint, Commit, Named, Sidecar, checkpoint_path, commit_path, parse_path,
    seal, unseal,
};
pub use commit::{seal_text, unseal_text};

/// Commits from one checkpoint to the next.
const CHECKPOINT_COMMITS: u64 = 32;
/// Checkpoints that garbage collection leaves.
pub(crate) const CHECKPOINTS_KEPT: usize = 2;
/// Commits of others that one commit gives way to.
const CONFLICTS_MAX: usize = 64;
/// Tries of one create whose answer does not come, with twice the pause each time.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// What a commit changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// Random; the same when the same change is tried again, so that it is made only once.
    pub(crate) nonce: u64,
    pub(crate) added: Vec<SegmentMeta>,
    pub(crate) removed: Vec<String>,
    pub(crate) wal: Option<(Signal, Watermark)>,
}

/// All segments and watermarks after some commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatalogState {
    pub(crate) sequence: u64,
    pub(crate) segments: BTreeMap<String, SegmentMeta>,
    /// Removed segments whose files may still be there, and when they were removed.
    pub(crate) removed: BTreeMap<String, i64>,
    /// By writer, by signal.
    pub(crate) wal: BTreeMap<String, BTreeMap<String, Watermark>>,
}

/// The newest state that can be read, and what could not be, for verification.
pub(crate) async fn read_state(
    objects: &Objects,
) -> Result<(CatalogState, Vec<String>), StorageError> {
    let recovered = recover::load(objects, "").await?;
    Ok((recovered.state, recovered.problems))
}

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Catalog {
    objects: Objects,
    components: Components,
    writer: String,
    state: RwLock<CatalogState>,
    /// Held while a commit is made.
    committing: tokio::sync::Mutex<()>,
    /// What could not be read when it was opened, in words.
    problems: Vec<String>,
    commits: AtomicU64,
    conflicts: AtomicU64,
}

impl Catalog {
    /// Reads the newest generation that can be read.
    ///
    /// Errors: Io when the store cannot be listed or read. Never because of what an object holds.
    pub(crate) async fn open(
        objects: Objects,
        components: Components,
        writer: String,
    ) -> Result<Catalog, StorageError> {
        let recovered = recover::load(&objects, &writer).await?;
        let damaged = recovered.is_damaged;
        let catalog = Catalog {
            objects,
            components,
            writer,
            state: RwLock::new(recovered.state),
            committing: tokio::sync::Mutex::new(()),
            problems: recovered.problems,
            commits: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
        };
        if damaged {
            catalog.checkpoint().await?;
        }
        Ok(catalog)
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Commits made, and conflicts met, by this process.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.conflicts.load(Ordering::Relaxed))
    }

    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// Looks at the present state.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&CatalogState) -> T) -> T {
        look(&self.state.read())
    }

    /// What segments hold of this writer's log.
    pub(crate) fn watermark(&self, signal: Signal) -> Watermark {
        self.with(|state| {
            let signals = state.wal.get(&self.writer);
            signals.and_then(|signals| signals.get(signal.as_str())).cloned().unwrap_or_default()
        })
    }

    /// Makes a change durable. Returns the commits of others that came between, which the caller has
    /// to take into its views as well.
    ///
    /// Errors: Io, or Unavailable when a segment to be removed is gone already; nothing has changed
    /// then, or the same change may be tried again.
    pub(crate) async fn commit(&self, change: Change) -> Result<Vec<Arc<Commit>>, StorageError> {
        let _alone = self.committing.lock().await;
        let mut others = Vec::new();
        for _conflict in 0..CONFLICTS_MAX {
            let commit = self.next_commit(&change)?;
            let path = commit_path(commit.sequence);
            let content = seal(&commit)?;
            match self.create(&path, content).await? {
                Created::Ours => {
                    let checkpoint = commit.sequence.is_multiple_of(CHECKPOINT_COMMITS);
                    self.state.write().apply(&commit);
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    if checkpoint && let Err(error) = self.checkpoint().await {
                        tracing::warn!(%error, "the catalog's checkpoint has to wait");
                    }
                    return Ok(others);
                }
                Created::Taken => {
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                    let Some(other) = self.follow(&path).await? else { continue };
                    if other.writer == self.writer && other.nonce == change.nonce {
                        // An earlier try, whose answer was lost, had succeeded.
                        return Ok(others);
                    }
                    others.push(other);
                }
            }
        }
        let why = "the catalog changes faster than a commit can be made";
        Err(StorageError::new(ErrorKind::Unavailable, why))
    }

    fn next_commit(&self, change: &Change) -> Result<Commit, StorageError> {
        let state = self.state.read();
        if let Some(gone) = change.removed.iter().find(|id| !state.segments.contains_key(*id)) {
            let why = format!("segment {gone} is not in the catalog any more");
            return Err(StorageError::new(ErrorKind::Unavailable, why));
        }
        let wal = change.wal.iter();
        Ok(Commit {
            version: CATALOG_VERSION,
            sequence: state.sequence + 1,
            writer: self.writer.clone(),
            nonce: change.nonce,
            time_ns: self.components.clock.now_ns(),
            added: change.added.clone(),
            removed: change.removed.clone(),
            wal: wal.map(|(signal, mark)| (signal.as_str().to_owned(), mark.clone())).collect(),
        })
    }

    /// Creates, again where no answer came: the content tells whether an earlier try had succeeded.
    async fn create(&self, path: &str, content: bytes::Bytes) -> Result<Created, StorageError> {
        let mut tries = 0;
        loop {
            match self.objects.create(path, content.clone()).await {
                Err(error) if tries + 1 < TRIES_MAX => {
                    tracing::warn!(%error, path, "a commit got no answer; it is tried again");
                    tokio::time::sleep(PAUSE * (1 << tries)).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Takes in the commit that somebody else has made.
    async fn follow(&self, path: &str) -> Result<Option<Arc<Commit>>, StorageError> {
        let content = self.objects.get(path).await?.unwrap_or_default();
        match unseal::<Commit>(path, &content) {
            Ok(commit) => {
                self.state.write().apply(&commit);
                Ok(Some(Arc::new(commit)))
            }
            Err(error) => {
                tracing::error!(%error, "somebody's commit cannot be read; it is passed over");
                self.state.write().sequence += 1;
                Ok(None)
            }
        }
    }

    /// Writes the present state as a checkpoint.
    pub(crate) async fn checkpoint(&self) -> Result<(), StorageError> {
        let (path, content) = {
            let state = self.state.read();
            let checkpoint = state.checkpoint(self.components.clock.now_ns());
            (checkpoint_path(state.sequence), seal(&checkpoint)?)
        };
        // Taken: somebody else has written the same state.
        self.objects.create(&path, content).await.map(|_| ())
    }

    /// Forgets removed segments whose files are gone.
    pub(crate) fn forget(&self, gone: &[String]) {
        let mut state = self.state.write();
        for id in gone {
            state.removed.remove(id);
        }
    }
}

impl CatalogState {
    pub(crate) fn apply(&mut self, commit: &Commit) {
        self.sequence = commit.sequence;
        for id in &commit.removed {
            self.segments.remove(id);
            self.removed.insert(id.clone(), commit.time_ns);
        }
        for meta in &commit.added {
            self.segments.insert(meta.id.clone(), meta.clone());
        }
        let marks = self.wal.entry(commit.writer.clone()).or_default();
        for (signal, mark) in &commit.wal {
            marks.insert(signal.clone(), mark.clone());
        }
    }

    fn checkpoint(&self, time_ns: i64) -> Checkpoint {
        Checkpoint {
            version: CATALOG_VERSION,
            sequence: self.sequence,
            time_ns,
            segments: self.segments.values().cloned().collect(),
            removed: self.removed.clone(),
            wal: self.wal.clone(),
        }
    }

    fn from_checkpoint(checkpoint: Checkpoint) -> CatalogState {
        let segments = checkpoint.segments.into_iter();
        CatalogState {
            sequence: checkpoint.sequence,
            segments: segments.map(|meta| (meta.id.clone(), meta)).collect(),
            removed: checkpoint.removed,
            wal: checkpoint.wal,
        }
    }
}
