//! Writing a backup: what is not there yet is copied, then the manifest is created.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use crate::backup::manifest::{BACKUP_VERSION, BACKUPS, BackupFile, Manifest, id_of, is_ours};
use crate::backup::{
    BackupSource, CHECKPOINT_PATH, FILES_AT_ONCE, MANIFEST_BYTES_MAX, PIECE_BYTES, Place, Progress,
    Room, digest, digest_of,
};
use crate::catalog::{Checkpoint, Sidecar, seal, unseal};
use crate::files::FileLock;
use crate::objects::{Created, Objects};
use crate::store::segment_base;
use crate::{Components, ErrorKind, StorageError};

/// Reads of a file whose checksum does not fit: what was damaged may be the answer alone.
const READS_MAX: u32 = 2;

/// How a backup is to be made.
#[derive(Debug)]
pub struct Backup<'a> {
    pub to: &'a Place,
    /// Finished backups that stay, this one counted; 0 keeps all.
    pub keep: usize,
    pub components: &'a Components,
}

/// A backup that is finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupReport {
    pub id: String,
    pub files: u64,
    pub bytes: u64,
    /// Files that an earlier backup had brought.
    pub files_kept: u64,
    pub bytes_copied: u64,
    /// What is damaged or missing at the source, in words. It is told by the backup as well.
    pub missing: Vec<String>,
    /// Older backups that were removed.
    pub removed: Vec<String>,
}

/// A file to be in the backup, and what is known of it.
#[derive(Debug)]
struct Wanted {
    path: String,
    bytes: Option<u64>,
    checksum: Option<String>,
}

/// What all copies of one backup share.
struct Copying<'a, S: ?Sized> {
    source: &'a S,
    target: Objects,
    id: String,
    /// What lies in the target already. Units: bytes.
    there: BTreeMap<String, u64>,
    /// By path, what earlier backups say of it.
    known: BTreeMap<String, BackupFile>,
    room: Arc<Room>,
    report: Mutex<BackupReport>,
    progress: Mutex<Progress>,
    say: &'a (dyn Fn(Progress) + Sync),
}

impl Backup<'_> {
    /// Copies what a source has into a backup of its own.
    ///
    /// Errors: Unavailable where another backup is being written to the same folder; those of source
    /// and target. Nothing counts then, and the next backup finds what has been copied.
    pub async fn run<S: BackupSource + ?Sized>(
        &self,
        source: &S,
        say: &(dyn Fn(Progress) + Sync),
    ) -> Result<BackupReport, StorageError> {
        let began_ns = self.components.clock.now_ns();
        let _lock = self.lock().await?;
        let target = self.to.open(self.components)?;
        target.remove_unfinished().await?;
        let content = whole(source, CHECKPOINT_PATH, None).await?;
        let content = content.ok_or_else(|| StorageError::corrupt(CHECKPOINT_PATH, "missing"))?;
        let checkpoint: Checkpoint = unseal(CHECKPOINT_PATH, &content)?;
        let (earlier, unreadable) = manifests(&target).await?;
        let id = self.next_id(&target, began_ns).await?;
        let copying = Copying {
            source,
            there: listed(&target, "segments").await?,
            known: known(&earlier),
            target: target.clone(),
            id: id.clone(),
            room: Room::new(),
            report: Mutex::new(BackupReport { id: id.clone(), ..BackupReport::default() }),
            progress: Mutex::default(),
            say,
        };
        let mut wanted = wanted(&checkpoint);
        let extras = source.extras().iter();
        wanted.extend(extras.map(|path| Wanted {
            path: path.clone(),
            bytes: None,
            checksum: None,
        }));
        // The source may be a server of somebody else.
        if let Some(wanted) = wanted.iter().find(|wanted| !is_ours(&wanted.path)) {
            let why = format!("it names {:?}, which is no file of a store", wanted.path);
            return Err(StorageError::corrupt("the source's catalog", why));
        }
        {
            let mut progress = copying.progress.lock();
            progress.files = wanted.len() as u64;
            progress.bytes = wanted.iter().filter_map(|file| file.bytes).sum();
        }
        let copied: Vec<Option<BackupFile>> = futures::stream::iter(wanted)
            .map(|wanted| copying.copy(wanted))
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let mut files: Vec<BackupFile> = copied.into_iter().flatten().collect();
        files.push(copying.put(CHECKPOINT_PATH, content).await?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut report = copying.report.into_inner();
        report.missing.extend(source.unread().iter().cloned());
        report.missing.sort();
        report.files = files.len() as u64;
        report.bytes = files.iter().map(|file| file.bytes).sum();
        let manifest = Manifest {
            version: BACKUP_VERSION,
            id: id.clone(),
            began_ns,
            sequence: checkpoint.sequence,
            files,
            missing: report.missing.clone(),
        };
        match target.create(&Manifest::path(&id), seal(&manifest)?).await? {
            Created::Ours => {}
            Created::Taken => {
                let why = format!("another backup has the name {id}");
                return Err(StorageError::new(ErrorKind::Unavailable, why));
            }
        }
        if self.keep > 0 && unreadable.is_empty() {
            let mut all = earlier;
            all.push(manifest);
            report.removed = thin_out(&target, all, self.keep).await?;
        }
        Ok(report)
    }

    /// A name behind those of all backups that are there, whatever the clock says. What backups that
    /// were cut short have left for themselves is removed where nobody else can be writing.
    async fn next_id(&self, target: &Objects, began_ns: i64) -> Result<String, StorageError> {
        let entries = target.list(BACKUPS).await?;
        let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| id_of(&entry.path)).collect();
        if let Place::Folder(_) = self.to {
            let own = |path: &str| path.split('/').nth(1).is_some_and(|id| ids.contains(id));
            let is_left =
                |path: &&str| id_of(path).is_none() && path.split('/').count() > 2 && !own(path);
            for path in entries.iter().map(|entry| entry.path.as_str()).filter(is_left) {
                target.delete(path).await?;
            }
        }
        let number = |id: &&str| id.split('-').next()?.parse::<u64>().ok();
        let last = ids.iter().filter_map(number).max().unwrap_or(0);
        let random = self.components.random.next_u64() >> 32;
        Ok(format!("{:06}-{}-{random:08x}", last.saturating_add(1), stamp(began_ns)))
    }

    /// One backup at a time writes to a folder.
    async fn lock(&self) -> Result<Option<Box<dyn FileLock>>, StorageError> {
        let Place::Folder(folder) = self.to else { return Ok(None) };
        let (folder, files) = (folder.clone(), Arc::clone(&self.components.files));
        let locked = self.components.threads.blocking(move || {
            let context = |error| StorageError::io(folder.display(), error);
            // A data folder has a name; backups in it would be taken for its own files.
            if files.read(&folder.join("writer")).is_ok() {
                let why = format!("{} is a data folder: name another one", folder.display());
                return Err(StorageError::new(ErrorKind::Invalid, why));
            }
            files.create_folder(&folder).map_err(context)?;
            files.lock(&folder.join("lock")).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => StorageError::new(
                    ErrorKind::Unavailable,
                    format!("another backup is being written to {}", folder.display()),
                ),
                _ => context(error),
            })
        });
        locked.await.map(Some)
    }
}

impl<S: BackupSource + ?Sized> Copying<'_, S> {
    /// Sees to it that a file is in the target. Nothing where the source does not have it.
    async fn copy(&self, wanted: Wanted) -> Result<Option<BackupFile>, StorageError> {
        let kept = self.kept(&wanted).await?;
        let file = match kept {
            Some(file) => {
                self.report.lock().files_kept += 1;
                Some(file)
            }
            None => self.fetch(&wanted).await?,
        };
        let progress = {
            let mut progress = self.progress.lock();
            progress.files_done += 1;
            let bytes = file.as_ref().map_or(0, |file| file.bytes);
            if wanted.bytes.is_none() {
                progress.bytes += bytes;
            }
            progress.bytes_done += wanted.bytes.unwrap_or(bytes);
            *progress
        };
        (self.say)(progress);
        Ok(file)
    }

    /// The file as it lies in the target, if it is whole there.
    async fn kept(&self, wanted: &Wanted) -> Result<Option<BackupFile>, StorageError> {
        let known = self.known.get(&wanted.path);
        let (Some(&bytes), Some(checksum)) = (
            self.there.get(&wanted.path),
            wanted.checksum.as_ref().or(known.map(|known| &known.checksum)),
        ) else {
            return Ok(None);
        };
        if wanted.bytes.or(known.map(|known| known.bytes)) != Some(bytes) {
            return Ok(None);
        }
        let file = BackupFile { path: wanted.path.clone(), bytes, checksum: checksum.clone() };
        // A bucket keeps what it has taken; reading all of it again would cost as much as copying.
        if self.target.is_shared() && known == Some(&file) {
            return Ok(Some(file));
        }
        let _room = self.room.take(bytes).await?;
        let content = self.target.get(&wanted.path).await?;
        Ok(content.filter(|content| digest(content) == file.checksum).map(|_| file))
    }

    /// Copies a file from the source, whatever state it is in there.
    async fn fetch(&self, wanted: &Wanted) -> Result<Option<BackupFile>, StorageError> {
        let path = &wanted.path;
        let _room = self.room.take(wanted.bytes.unwrap_or(PIECE_BYTES)).await?;
        let mut reads = 0;
        let (content, damage) = loop {
            reads += 1;
            let Some(content) = whole(self.source, path, wanted.bytes).await? else {
                self.report.lock().missing.push(format!("{path} is missing"));
                return Ok(None);
            };
            let damage = match (&wanted.checksum, wanted.bytes) {
                (Some(_), Some(bytes)) if content.len() as u64 != bytes => {
                    Some(format!("{path} has {} bytes instead of {bytes}", content.len()))
                }
                (Some(checksum), _) if digest(&content) != *checksum => {
                    Some(format!("{path} is damaged: its checksum does not fit"))
                }
                (None, _) if path.ends_with(".meta") => {
                    unseal::<Sidecar>(path, &content).err().map(|error| error.to_string())
                }
                _ => None,
            };
            if damage.is_none() || reads == READS_MAX {
                break (content, damage);
            }
        };
        self.report.lock().missing.extend(damage);
        self.put(path, content).await.map(Some)
    }

    async fn put(&self, path: &str, content: Bytes) -> Result<BackupFile, StorageError> {
        let checksum = digest(&content);
        let bytes = content.len() as u64;
        self.target.put(&Manifest::place_of(&self.id, path), content).await?;
        self.report.lock().bytes_copied += bytes;
        Ok(BackupFile { path: path.to_owned(), bytes, checksum })
    }
}

/// A whole file of the source; nothing where it is missing.
async fn whole<S: BackupSource + ?Sized>(
    source: &S,
    path: &str,
    bytes: Option<u64>,
) -> Result<Option<Bytes>, StorageError> {
    let most = bytes.unwrap_or(MANIFEST_BYTES_MAX);
    let mut content = BytesMut::new();
    loop {
        let Some(piece) = source.piece(path, content.len() as u64).await? else { return Ok(None) };
        let is_last = (piece.len() as u64) < PIECE_BYTES;
        if content.is_empty() && (is_last || piece.len() as u64 == most) {
            return Ok(Some(piece));
        }
        content.extend_from_slice(&piece);
        if is_last || content.len() as u64 == most {
            return Ok(Some(content.freeze()));
        }
        if content.len() as u64 > most {
            return Err(StorageError::corrupt(path, "it is longer than it can be"));
        }
    }
}

/// Every object that a checkpoint needs.
fn wanted(checkpoint: &Checkpoint) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for meta in &checkpoint.segments {
        let base = segment_base(meta);
        wanted.extend(meta.files.iter().map(|file| Wanted {
            path: format!("{base}.{}", file.extension),
            bytes: Some(file.bytes),
            checksum: Some(digest_of(&file.checksums)),
        }));
        wanted.push(Wanted { path: format!("{base}.meta"), bytes: None, checksum: None });
    }
    wanted
}

async fn listed(objects: &Objects, prefix: &str) -> Result<BTreeMap<String, u64>, StorageError> {
    let entries = objects.list(prefix).await?.into_iter();
    Ok(entries.map(|entry| (entry.path, entry.bytes)).collect())
}

/// All finished backups, oldest first, and those whose manifest cannot be used.
async fn manifests(objects: &Objects) -> Result<(Vec<Manifest>, Vec<String>), StorageError> {
    let (mut whole, mut unreadable) = (Vec::new(), Vec::new());
    for entry in objects.list(BACKUPS).await? {
        if id_of(&entry.path).is_none() {
            continue;
        }
        match Manifest::load(objects, &entry).await {
            Ok(manifest) => whole.push(manifest),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "an earlier backup cannot be used; none is removed");
                unreadable.push(entry.path);
            }
        }
    }
    Ok((whole, unreadable))
}

/// By path, what the newest of the backups says of the segments.
fn known(manifests: &[Manifest]) -> BTreeMap<String, BackupFile> {
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    let segments = files.filter(|file| file.path.starts_with("segments/"));
    segments.map(|file| (file.path.clone(), file.clone())).collect()
}

/// Removes all but the newest backups: manifests first, then what no other one needs.
async fn thin_out(
    objects: &Objects,
    mut manifests: Vec<Manifest>,
    keep: usize,
) -> Result<Vec<String>, StorageError> {
    manifests.sort_by(|a, b| a.id.cmp(&b.id));
    let gone: Vec<Manifest> = manifests.drain(..manifests.len().saturating_sub(keep)).collect();
    let needed = known(&manifests);
    for manifest in &gone {
        objects.delete(&Manifest::path(&manifest.id)).await?;
    }
    for manifest in &gone {
        for file in manifest.files.iter().filter(|file| !needed.contains_key(&file.path)) {
            objects.delete(&Manifest::place_of(&manifest.id, &file.path)).await?;
        }
    }
    Ok(gone.into_iter().map(|manifest| manifest.id).collect())
}

/// A time that sorts by its text: `20261121T180000Z`.
fn stamp(time_ns: i64) -> String {
    crate::store::utc(time_ns).replace(['-', ':'], "")
}
