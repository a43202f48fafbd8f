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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::Signal;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::objects::{Created, Objects};
use crate::segment::SegmentMeta;
use crate::wal::Watermark;
use crate::{Components, ErrorKind, StorageError};

#[cfg(feature = "fuzzing")]
pub(crate) use commit::seal_of;
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
/// Reads of one object whose seal does not fit.
const READS_MAX: u32 = 6;
/// Tries of one create whose answer does not come, with twice the pause each time.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// An object of the catalog, or why it cannot be used; nothing where there is none. Read again where
/// its seal does not fit: what was damaged may be the answer alone.
async fn fetch<T: DeserializeOwned>(
    objects: &Objects,
    path: &str,
) -> Result<Option<Result<T, StorageError>>, StorageError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(content) = objects.get(path).await? else { return Ok(None) };
        let read = unseal::<T>(path, &content);
        if read.is_ok() || tries == READS_MAX {
            return Ok(Some(read));
        }
    }
}

/// Who commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A process that takes over: what was committed under its name before is its predecessor's.
    Opening,
    Announced,
}

fn fenced() -> StorageError {
    let why = "another process has taken over this data folder's name in the bucket";
    StorageError::new(ErrorKind::Unavailable, why)
}

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

/// The newest state that can be read, and what could not be. `writer` is the name of the data folder,
/// if it is known.
pub(crate) async fn read_state(
    objects: &Objects,
    writer: &str,
) -> Result<(CatalogState, Vec<String>), StorageError> {
    let opener = recover::Opener { writer, has_lived: false };
    let recovered = recover::load(objects, opener).await?;
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
    /// Nonces of this process's changes that may have come in without its knowing.
    tried: Mutex<BTreeSet<u64>>,
    /// Another process has announced itself under this writer's name since this one did.
    fenced: watch::Sender<bool>,
}

impl Catalog {
    /// Reads the newest generation that can be read. `has_lived`: this writer may have written to the
    /// store before.
    ///
    /// Errors: Io when the store cannot be listed or read. Never because of what an object holds.
    pub(crate) async fn open(
        objects: Objects,
        components: Components,
        writer: String,
        has_lived: bool,
    ) -> Result<Catalog, StorageError> {
        let opener = recover::Opener { writer: &writer, has_lived };
        let recovered = recover::load(&objects, opener).await?;
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
            tried: Mutex::default(),
            fenced: watch::Sender::new(false),
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
        if *self.fenced.borrow() {
            return Err(fenced());
        }
        let others = self.commit_as(&change, Owner::Announced).await?;
        self.tried.lock().remove(&change.nonce);
        Ok(others)
    }

    /// Commits that this process is now the one that writes under its writer's name. Whoever did so
    /// before (a process that was stopped and runs again on a copy of the folder) finds this commit
    /// when it commits or looks, and is fenced off.
    pub(crate) async fn announce(&self) -> Result<(), StorageError> {
        let _alone = self.committing.lock().await;
        let nonce = self.components.random.next_u64();
        let change = Change { nonce, ..Change::default() };
        self.commit_as(&change, Owner::Opening).await.map(|_| ())
    }

    /// Takes in what others have committed since. True where there was something.
    pub(crate) async fn look(&self) -> Result<bool, StorageError> {
        let _alone = self.committing.lock().await;
        for seen in 0..CONFLICTS_MAX {
            let next = commit_path(self.with(|state| state.sequence) + 1);
            let Some(commit) = fetch(&self.objects, &next).await? else { return Ok(seen > 0) };
            if let Some(other) = self.follow(commit) {
                self.judge(&other);
            }
        }
        Ok(true)
    }

    /// Says when another process has taken this writer's name.
    pub(crate) fn fenced(&self) -> watch::Receiver<bool> {
        self.fenced.subscribe()
    }

    /// Whether a commit under this writer's name comes from this process; if not, it is fenced off.
    fn judge(&self, other: &Commit) -> bool {
        let is_foreign = other.writer == self.writer && !self.tried.lock().contains(&other.nonce);
        if is_foreign {
            tracing::error!(commit = other.sequence, "another process writes under our name");
            self.fenced.send_replace(true);
        }
        !is_foreign
    }

    async fn commit_as(
        &self,
        change: &Change,
        owner: Owner,
    ) -> Result<Vec<Arc<Commit>>, StorageError> {
        self.tried.lock().insert(change.nonce);
        let mut others = Vec::new();
        for _conflict in 0..CONFLICTS_MAX {
            let commit = self.next_commit(change)?;
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
                    let Some(commit) = fetch(&self.objects, &path).await? else { continue };
                    let Some(other) = self.follow(commit) else { continue };
                    if other.writer == self.writer && other.nonce == change.nonce {
                        // An earlier try, whose answer was lost, had succeeded.
                        return Ok(others);
                    }
                    if owner == Owner::Announced && !self.judge(&other) {
                        return Err(fenced());
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
    fn follow(&self, commit: Result<Commit, StorageError>) -> Option<Arc<Commit>> {
        match commit {
            Ok(commit) => {
                self.state.write().apply(&commit);
                Some(Arc::new(commit))
            }
            Err(error) => {
                tracing::error!(%error, "somebody's commit cannot be read; it is passed over");
                self.state.write().sequence += 1;
                None
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

    pub(crate) fn checkpoint(&self, time_ns: i64) -> Checkpoint {
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
