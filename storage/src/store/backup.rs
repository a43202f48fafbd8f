//! What a backup reads: a snapshot of a store that is being served, or a folder that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use futures::future::BoxFuture;
use model::Signal;

use crate::backup::{BackupSource, CHECKPOINT_PATH, PIECE_BYTES, is_extra};
use crate::catalog::{CatalogState, read_state, seal};
use crate::files::FileLock;
use crate::objects::Objects;
use crate::store::core::{Core, segment_base};
use crate::store::identity::Identity;
use crate::store::pins::Pinned;
use crate::store::{unavailable, versions};
use crate::{Components, ErrorKind, Options, StorageError, Store};

/// A snapshot that a backup may read, until it is ended or left alone.
#[derive(Debug, Clone)]
pub struct BackupSnapshot {
    pub id: String,
    pub segments: u64,
    pub bytes: u64,
    /// What the store itself cannot read, in words.
    pub unread: Vec<String>,
}

/// The state as one object of the catalog. What was removed before is none of a backup's business.
fn checkpoint(state: &CatalogState, now_ns: i64) -> Result<Bytes, StorageError> {
    let mut checkpoint = state.checkpoint(now_ns);
    checkpoint.removed = BTreeMap::new();
    seal(&checkpoint)
}

/// Every object that a state needs, with its size where it is known.
fn files_of(state: &CatalogState) -> BTreeMap<String, Option<u64>> {
    let mut files = BTreeMap::new();
    for meta in state.segments.values() {
        let base = segment_base(meta);
        for file in &meta.files {
            files.insert(format!("{base}.{}", file.extension), Some(file.bytes));
        }
        files.insert(format!("{base}.meta"), None);
    }
    files
}

/// A piece of an object. One that is damaged gives what there is of it.
async fn piece_of(
    objects: &Objects,
    path: &str,
    bytes: Option<u64>,
    offset: u64,
) -> Result<Option<Bytes>, StorageError> {
    if let Some(bytes) = bytes {
        let end = offset.saturating_add(PIECE_BYTES).min(bytes);
        if offset >= end {
            return Ok(Some(Bytes::new()));
        }
        match objects.get_range(path, offset..end).await {
            Ok(piece) => return Ok(Some(piece)),
            Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
            // It is shorter than it should be, or missing.
            Err(_) => {}
        }
    }
    let Some(content) = objects.get(path).await? else { return Ok(None) };
    Ok(Some(piece(&content, offset)))
}

/// A piece of what is in memory.
fn piece(content: &Bytes, offset: u64) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let end = start.saturating_add(PIECE_BYTES as usize).min(content.len());
    content.slice(start..end)
}

impl Core {
    /// Pins the segments of this moment.
    ///
    /// Errors: Unavailable where too many backups are under way.
    pub(super) fn pin_snapshot(&self) -> Result<BackupSnapshot, StorageError> {
        let id = format!("{:016x}", self.components.random.next_u64());
        let (wall_ns, now_ns) = (self.now_ns(), self.components.clock.monotonic_ns());
        let mut sealed = Ok(Bytes::new());
        let mut bytes = 0;
        let pinned = self.pins.pin(&id, now_ns, || {
            self.catalog.with(|state| {
                sealed = checkpoint(state, wall_ns);
                let files = files_of(state);
                bytes = files.values().flatten().sum();
                let made = sealed.clone().unwrap_or_default();
                let made = BTreeMap::from([(CHECKPOINT_PATH.to_owned(), made)]);
                let segments: BTreeSet<String> = state.segments.keys().cloned().collect();
                Pinned { segments, files, made }
            })
        });
        let pinned =
            pinned.ok_or_else(|| unavailable("too many backups are under way; try again later"))?;
        if let Err(error) = sealed {
            self.pins.unpin(&id);
            return Err(error);
        }
        let segments = pinned.segments.len() as u64;
        Ok(BackupSnapshot { id, segments, bytes, unread: Vec::new() })
    }

    pub(super) async fn backup_piece(
        &self,
        id: &str,
        path: &str,
        offset: u64,
    ) -> Result<Option<Bytes>, StorageError> {
        let invalid = |why: &str| StorageError::new(ErrorKind::Invalid, why);
        let pinned = self.pins.renew(id, self.components.clock.monotonic_ns());
        let pinned = pinned.ok_or_else(|| {
            invalid("no such backup is under way: it was ended, or left alone for too long")
        })?;
        if let Some(content) = pinned.made.get(path) {
            return Ok(Some(piece(content, offset)));
        }
        let bytes = pinned.files.get(path);
        let bytes = bytes.ok_or_else(|| invalid("this is no file of the backup"))?;
        piece_of(&self.objects, path, *bytes, offset).await
    }
}

impl Store {
    /// Writes memory into segments and pins all of them, so that a backup can read everything that
    /// was acknowledged before the call. Each read renews the pin.
    ///
    /// Errors: Unavailable where the log cannot be read or too many backups are under way; those of
    /// the flush.
    pub async fn begin_backup(&self) -> Result<BackupSnapshot, StorageError> {
        self.wait_until_ready().await;
        if !self.is_ready() {
            return Err(unavailable("a log cannot be opened: see the notices of answers"));
        }
        self.flush(None).await?;
        let mut snapshot = self.core.pin_snapshot()?;
        let unread = self.notices().into_iter().flat_map(|notices| notices.unread);
        let unread: BTreeSet<String> =
            unread.map(|part| format!("{}: {}", part.name, part.why)).collect();
        snapshot.unread = unread.into_iter().collect();
        Ok(snapshot)
    }

    /// A piece of a file of a pinned snapshot, empty behind its end; nothing where the file is
    /// missing.
    ///
    /// Errors: Invalid for a snapshot that is not pinned (any more) and for what is no file of it.
    pub async fn backup_piece(
        &self,
        id: &str,
        path: &str,
        offset: u64,
    ) -> Result<Option<Bytes>, StorageError> {
        self.core.backup_piece(id, path, offset).await
    }

    /// Lets go of a snapshot. False where there is none.
    pub fn end_backup(&self, id: &str) -> bool {
        self.core.pins.unpin(id)
    }
}

/// A data folder that nobody serves, locked while it is read. The log is part of it.
#[derive(Debug)]
pub struct Folder {
    data_dir: PathBuf,
    components: Components,
    objects: Objects,
    checkpoint: Bytes,
    files: BTreeMap<String, Option<u64>>,
    extras: Vec<String>,
    /// Of the extras. Units: bytes.
    sizes: BTreeMap<String, u64>,
    problems: Vec<String>,
    _lock: Box<dyn FileLock>,
}

impl Folder {
    /// Locks a folder and reads its catalog.
    ///
    /// Errors: Unavailable when a process serves it, Invalid when it is none of ours or of a newer
    /// version, Io.
    pub async fn open(options: &Options, components: &Components) -> Result<Folder, StorageError> {
        let (folder, files) = (options.data_dir.clone(), components.files.clone());
        let looked = components.threads.blocking(move || {
            if files.read(&folder.join("writer")).is_err() {
                let why = format!("{} is no data folder: it has no name", folder.display());
                return Err(StorageError::new(ErrorKind::Invalid, why));
            }
            let lock = files.lock(&folder.join("lock")).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => unavailable(format!(
                    "{} is used by another process: back it up with --from and its address",
                    folder.display()
                )),
                _ => StorageError::io(folder.display(), error),
            })?;
            versions::check_log(files.as_ref(), &folder)?;
            let identity = Identity::parse(&files.read(&folder.join("writer")).unwrap_or_default());
            let mut sizes = BTreeMap::new();
            let folders = Signal::ALL.map(|signal| format!("wal/{}/", signal.as_str()));
            for below in folders.iter().map(String::as_str).chain(["wal/", ""]) {
                let listed = files.list(&folder.join(below));
                let listed = listed.map_err(|error| StorageError::io(below, error))?;
                let listed = listed.into_iter().filter(|entry| !entry.is_folder);
                sizes.extend(listed.map(|entry| (format!("{below}{}", entry.name), entry.bytes)));
            }
            sizes.retain(|path, _| is_extra(path));
            Ok((lock, sizes, identity.name.unwrap_or_default()))
        });
        let (lock, sizes, writer) = looked.await?;
        let objects = Objects::open(options, components)?;
        versions::check_catalog(&objects).await?;
        let (state, problems) = read_state(&objects, &writer).await?;
        Ok(Folder {
            data_dir: options.data_dir.clone(),
            components: components.clone(),
            checkpoint: checkpoint(&state, components.clock.now_ns())?,
            files: files_of(&state),
            objects,
            extras: sizes.keys().cloned().collect(),
            sizes,
            problems,
            _lock: lock,
        })
    }
}

impl BackupSource for Folder {
    fn extras(&self) -> &[String] {
        &self.extras
    }

    fn unread(&self) -> &[String] {
        &self.problems
    }

    fn piece<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StorageError>> {
        Box::pin(async move {
            if path == CHECKPOINT_PATH {
                return Ok(Some(piece(&self.checkpoint, offset)));
            }
            if let Some(bytes) = self.files.get(path) {
                return piece_of(&self.objects, path, *bytes, offset).await;
            }
            let Some(&bytes) = self.sizes.get(path) else { return Ok(None) };
            let length = bytes.saturating_sub(offset).min(PIECE_BYTES);
            let (place, files) = (self.data_dir.join(path), self.components.files.clone());
            let read = self.components.threads.blocking(move || {
                let mut buf = vec![0; usize::try_from(length).unwrap_or_default()];
                let read = files.read_at(&place, offset, &mut buf);
                read.map_err(|error| StorageError::io(place.display(), error))?;
                Ok(Some(buf.into()))
            });
            read.await
        })
    }
}
