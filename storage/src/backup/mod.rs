//! Copies of a store: written while it is served or at rest, checked, and restored.
//!
//! A backup is a checkpoint of the catalog, the segments that it lists and, of a folder at rest, its
//! log. Segments never change, so that all backups in one place share them and each copies only what
//! is new. Its manifest names every file with size and checksum and is created last: without it there
//! is no backup. A restore believes nothing: it reads and checks all of it before it writes anything.
//! Format: FORMAT.md, "Backups".

mod manifest;
mod restore;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use model::Secret;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::objects::{Objects, checksums};
use crate::{Components, ErrorKind, StorageError};

#[cfg(feature = "fuzzing")]
pub(crate) use manifest::Manifest;
pub(crate) use manifest::is_extra;
pub use restore::{Restore, RestoreReport, Which};
pub use write::{Backup, BackupReport};

/// The checkpoint among a backup's files. It gets its name in the catalog when it is restored.
pub(crate) const CHECKPOINT_PATH: &str = "checkpoint.json";
/// Lies in a data folder until the restore into it is whole.
pub(crate) const RESTORING: &str = "restoring";
/// Files are read in pieces of this size. Units: bytes.
pub(crate) const PIECE_BYTES: u64 = 8 << 20;
/// A manifest and a checkpoint have at most this: enough for a million files. Units: bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Files under way at a time.
const FILES_AT_ONCE: usize = 4;
/// ... and their bytes. Units: MiB.
const MIB_AT_ONCE: u32 = 512;
/// Damaged files that a message names.
const NAMED_MAX: usize = 10;

/// Where backups lie.
#[derive(Debug, Clone)]
pub enum Place {
    Folder(PathBuf),
    Bucket {
        address: String,
        /// As [`crate::Options::bucket_options`].
        options: Vec<(String, Secret)>,
    },
}

impl Place {
    fn open(&self, components: &Components) -> Result<Objects, StorageError> {
        match self {
            Place::Folder(folder) => Ok(Objects::folder(folder.clone(), components)),
            Place::Bucket { address, options } => Objects::bucket(address, options, components),
        }
    }

    fn name(&self) -> String {
        match self {
            Place::Folder(folder) => folder.display().to_string(),
            Place::Bucket { address, .. } => model::without_credentials(address, address),
        }
    }
}

/// What is backed up.
pub trait BackupSource: Send + Sync {
    /// Files beside the catalog and its segments: those of the log.
    fn extras(&self) -> &[String];

    /// What the source itself could not read, in words.
    fn unread(&self) -> &[String];

    /// A piece of a file of the snapshot, as long as there are that many bytes; nothing where the
    /// file is missing.
    fn piece<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StorageError>>;
}

/// How far a backup or a restore has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: u64,
    pub files: u64,
    pub bytes_done: u64,
    pub bytes: u64,
}

/// The checksum of a file: of the checksums of its chunks, so that it follows from the catalog.
fn digest(content: &[u8]) -> String {
    digest_of(&checksums(content))
}

/// The same from the hex of the checksums of its chunks.
fn digest_of(checksums: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(checksums.as_bytes()))
}

/// Bounds the memory of files under way.
#[derive(Debug)]
struct Room(Semaphore);

impl Room {
    fn new() -> Arc<Room> {
        Arc::new(Room(Semaphore::new(MIB_AT_ONCE as usize)))
    }

    /// Waits for room for a file; one that is larger than all of it gets all of it.
    async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>, StorageError> {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1);
        let room = self.0.acquire_many(mib.min(MIB_AT_ONCE)).await;
        room.map_err(|_| StorageError::new(ErrorKind::Unavailable, "bug: the room is closed"))
    }
}

/// The first of a list of damages, and how many there are.
fn named(damages: &[String]) -> String {
    let mut text = damages.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("\n");
    if damages.len() > NAMED_MAX {
        text.push_str(&format!("\nand {} more", damages.len() - NAMED_MAX));
    }
    text
}
