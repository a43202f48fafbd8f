//! Restoring: the backup is read and checked as a whole, then written into an empty place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use crate::backup::manifest::{BACKUPS, BackupFile, Manifest, id_of};
use crate::backup::{
    CHECKPOINT_PATH, FILES_AT_ONCE, Place, Progress, RESTORING, Room, digest, named,
};
use crate::catalog::{CATALOG_VERSION, Checkpoint, checkpoint_path, unseal};
use crate::files;
use crate::objects::{ObjectEntry, Objects};
use crate::store::segment_base;
use crate::{Components, ErrorKind, Options, StorageError};

/// Which of the backups of a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Which {
    #[default]
    Newest,
    Named(String),
}

/// How a backup is to be restored or checked.
#[derive(Debug)]
pub struct Restore<'a> {
    pub from: &'a Place,
    pub which: Which,
    pub components: &'a Components,
}

/// A backup that was checked, or restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    pub id: String,
    pub began_ns: i64,
    pub files: u64,
    pub bytes: u64,
    /// What the backup says that its source could not give.
    pub missing: Vec<String>,
}

impl Restore<'_> {
    /// The backups of the place, oldest first.
    ///
    /// Errors: Io.
    pub async fn list(&self) -> Result<Vec<String>, StorageError> {
        let entries = self.manifests(&self.from.open(self.components)?).await?;
        Ok(entries.iter().filter_map(|entry| id_of(&entry.path)).map(str::to_owned).collect())
    }

    /// Reads every file of a backup and checks it. Writes nothing.
    ///
    /// Errors: Corrupt for a backup that is not whole, naming its files; Invalid where there is none;
    /// Io.
    pub async fn check(
        &self,
        say: &(dyn Fn(Progress) + Sync),
    ) -> Result<RestoreReport, StorageError> {
        let source = self.from.open(self.components)?;
        let manifest = self.choose(&source).await?;
        self.check_files(&source, &manifest, say).await?;
        Ok(report(&manifest))
    }

    /// Checks a backup, then writes it into the empty folder (and bucket) of the options.
    ///
    /// Errors: those of [`Restore::check`], with nothing written; Invalid where the target is not
    /// empty; Io, which leaves a folder that no server opens.
    pub async fn run(
        &self,
        options: &Options,
        say: &(dyn Fn(Progress) + Sync),
    ) -> Result<RestoreReport, StorageError> {
        let source = self.from.open(self.components)?;
        let manifest = self.choose(&source).await?;
        self.check_empty(options).await?;
        let checkpoint = self.check_files(&source, &manifest, say).await?;
        let folder = &options.data_dir;
        let marker = folder.join(RESTORING);
        self.place(marker.clone(), manifest.id.clone().into()).await?;
        let target = Objects::open(options, self.components)?;
        if !target.list("catalog").await?.is_empty() || !target.list("segments").await?.is_empty() {
            return Err(not_empty("the bucket"));
        }
        let sizes = sizes(&source, &manifest).await?;
        let (room, progress) = (Room::new(), Mutex::new(whole_of(&manifest)));
        let files = manifest.files.iter().filter(|file| file.path != CHECKPOINT_PATH);
        futures::stream::iter(files)
            .map(|file| async {
                let _room = room.take(file.bytes).await?;
                let content = fetch(&source, &sizes, &manifest, file).await?;
                let content = content.map_err(|why| StorageError::corrupt(&file.path, why))?;
                if file.path.starts_with("segments/") {
                    target.put(&file.path, content).await?;
                } else {
                    self.place(folder.join(&file.path), content).await?;
                }
                step(&progress, file, say);
                Ok(())
            })
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let (sequence, content) = checkpoint;
        target.put(&checkpoint_path(sequence), content).await?;
        self.remove(marker).await?;
        Ok(report(&manifest))
    }

    async fn manifests(&self, source: &Objects) -> Result<Vec<ObjectEntry>, StorageError> {
        let mut entries = source.list(BACKUPS).await?;
        entries.retain(|entry| id_of(&entry.path).is_some());
        Ok(entries)
    }

    /// The manifest of the backup that is asked for.
    async fn choose(&self, source: &Objects) -> Result<Manifest, StorageError> {
        let entries = self.manifests(source).await?;
        let place = self.from.name();
        let chosen = match &self.which {
            Which::Newest => entries.last(),
            Which::Named(id) => {
                entries.iter().find(|entry| id_of(&entry.path) == Some(id.as_str()))
            }
        };
        let Some(entry) = chosen else {
            let why = match &self.which {
                Which::Newest => {
                    format!(
                        "there is no finished backup in {place}: no manifest lies in {BACKUPS}/"
                    )
                }
                Which::Named(id) => format!("there is no finished backup {id:?} in {place}"),
            };
            return Err(StorageError::new(ErrorKind::Invalid, why));
        };
        Manifest::load(source, entry).await
    }

    /// Reads every file of a backup. Gives the catalog's checkpoint and its number.
    async fn check_files(
        &self,
        source: &Objects,
        manifest: &Manifest,
        say: &(dyn Fn(Progress) + Sync),
    ) -> Result<(u64, Bytes), StorageError> {
        let sizes = sizes(source, manifest).await?;
        let (room, progress) = (Room::new(), Mutex::new(whole_of(manifest)));
        let damages: Vec<Option<String>> = futures::stream::iter(&manifest.files)
            .map(|file| async {
                let _room = room.take(file.bytes).await?;
                let found = fetch(source, &sizes, manifest, file).await?;
                step(&progress, file, say);
                Ok::<_, StorageError>(found.err().map(|why| format!("{}: {why}", file.path)))
            })
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let mut damages: Vec<String> = damages.into_iter().flatten().collect();
        damages.sort();
        let id = &manifest.id;
        if !damages.is_empty() {
            let why = format!("{} of its files are not whole:\n{}", damages.len(), named(&damages));
            return Err(StorageError::corrupt(format_args!("backup {id}"), why));
        }
        let file = manifest.files.iter().find(|file| file.path == CHECKPOINT_PATH);
        let content = match file {
            Some(file) => fetch(source, &sizes, manifest, file).await?.ok(),
            None => None,
        };
        let content = content.ok_or_else(|| {
            StorageError::corrupt(format_args!("backup {id}"), "it has no catalog")
        })?;
        let checkpoint: Checkpoint = unseal(CHECKPOINT_PATH, &content)?;
        if checkpoint.version > CATALOG_VERSION {
            let why =
                format!("backup {id} was made from data of a newer tercet; nothing was written");
            return Err(StorageError::new(ErrorKind::Invalid, why));
        }
        // What the source lacked was named when it was made.
        let listed = checkpoint.segments.iter().map(|meta| meta.files.len() + 1).sum::<usize>();
        let segments = manifest.files.iter().filter(|file| file.path.starts_with("segments/"));
        let bases: BTreeSet<String> = checkpoint.segments.iter().map(segment_base).collect();
        let strange = segments.clone().find(|file| {
            let base = file
                .path
                .rsplit_once('/')
                .and_then(|(folder, name)| Some(format!("{folder}/{}", name.split_once('.')?.0)));
            base.is_none_or(|base| !bases.contains(&base))
        });
        if let Some(file) = strange {
            let why = format!("{} is not in its catalog", file.path);
            return Err(StorageError::corrupt(format_args!("backup {id}"), why));
        }
        if segments.count() < listed && manifest.missing.is_empty() {
            let why = "its catalog lists files that its manifest does not";
            return Err(StorageError::corrupt(format_args!("backup {id}"), why));
        }
        Ok((checkpoint.sequence, content))
    }

    /// Refuses a folder in which anything lies.
    async fn check_empty(&self, options: &Options) -> Result<(), StorageError> {
        let (folder, files) = (options.data_dir.clone(), Arc::clone(&self.components.files));
        let listed = self.components.threads.blocking(move || {
            let listed = files.list(&folder);
            let listed = listed.map_err(|error| StorageError::io(folder.display(), error))?;
            // A file system of its own has this.
            let has_any = listed.iter().any(|entry| entry.name != "lost+found");
            if has_any { Err(not_empty(&folder.display().to_string())) } else { Ok(()) }
        });
        listed.await?;
        if let Some(address) = &options.bucket {
            let bucket = Objects::bucket(address, &options.bucket_options, self.components)?;
            for prefix in ["catalog", "segments"] {
                if !bucket.list(prefix).await?.is_empty() {
                    return Err(not_empty(&model::without_credentials(address, address)));
                }
            }
        }
        Ok(())
    }

    /// Writes a file of the data folder, durably.
    async fn place(&self, path: std::path::PathBuf, content: Bytes) -> Result<(), StorageError> {
        let files = Arc::clone(&self.components.files);
        let placed = self.components.threads.blocking(move || {
            let parent = path.parent().unwrap_or(Path::new("."));
            files
                .create_folder(parent)
                .and_then(|()| files::replace(files.as_ref(), &path, &content))
                .map_err(|error| StorageError::io(path.display(), error))
        });
        placed.await
    }

    async fn remove(&self, path: std::path::PathBuf) -> Result<(), StorageError> {
        let files = Arc::clone(&self.components.files);
        let removed = self.components.threads.blocking(move || {
            let parent = path.parent().unwrap_or(Path::new("."));
            files
                .remove(&path)
                .and_then(|()| files.sync_folder(parent))
                .map_err(|error| StorageError::io(path.display(), error))
        });
        removed.await
    }
}

fn not_empty(what: &str) -> StorageError {
    let why = format!("{what} is not empty: a restore writes into an empty place only");
    StorageError::new(ErrorKind::Invalid, why)
}

/// What lies in the place, by path. Units: bytes.
async fn sizes(
    source: &Objects,
    manifest: &Manifest,
) -> Result<BTreeMap<String, u64>, StorageError> {
    let own = source.list(&format!("{BACKUPS}/{}", manifest.id)).await?;
    let entries = source.list("segments").await?.into_iter().chain(own);
    Ok(entries.map(|entry| (entry.path, entry.bytes)).collect())
}

/// A file of a backup, or in words why it is not whole.
async fn fetch(
    source: &Objects,
    sizes: &BTreeMap<String, u64>,
    manifest: &Manifest,
    file: &BackupFile,
) -> Result<Result<Bytes, String>, StorageError> {
    let place = Manifest::place_of(&manifest.id, &file.path);
    let Some(&found) = sizes.get(&place) else { return Ok(Err("it is missing".to_owned())) };
    if found != file.bytes {
        return Ok(Err(format!("it has {found} bytes instead of {}", file.bytes)));
    }
    let Some(content) = source.get(&place).await? else {
        return Ok(Err("it is missing".to_owned()));
    };
    if digest(&content) != file.checksum {
        return Ok(Err("its checksum does not fit".to_owned()));
    }
    Ok(Ok(content))
}

fn whole_of(manifest: &Manifest) -> Progress {
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    Progress { files: manifest.files.len() as u64, bytes, ..Progress::default() }
}

fn step(progress: &Mutex<Progress>, file: &BackupFile, say: &(dyn Fn(Progress) + Sync)) {
    let progress = {
        let mut progress = progress.lock();
        progress.files_done += 1;
        progress.bytes_done += file.bytes;
        *progress
    };
    say(progress);
}

fn report(manifest: &Manifest) -> RestoreReport {
    RestoreReport {
        id: manifest.id.clone(),
        began_ns: manifest.began_ns,
        files: manifest.files.len() as u64,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        missing: manifest.missing.clone(),
    }
}
