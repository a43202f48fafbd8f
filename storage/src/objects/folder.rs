//! Objects in a local folder.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::files::Files;
use crate::objects::ObjectEntry;
use crate::{Components, StorageError, Threads};

/// Names that end so are writes in progress, or were when the process ended.
const STAGED: &str = ".tmp";
/// Folders below which no object of ours lies. Units: levels.
const DEPTH_MAX: usize = 8;

/// A folder in which every object is a file.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    files: Arc<dyn Files>,
    threads: Threads,
    staged: AtomicU64,
}

impl Folder {
    pub(crate) fn open(root: PathBuf, components: &Components) -> Result<Folder, StorageError> {
        let folder = Folder::at(root, components);
        let created = folder.files.create_folder(&folder.root);
        created.map_err(|error| StorageError::io(folder.root.display(), error))?;
        Ok(folder)
    }

    /// The same without making it: it is made with the first object.
    pub(crate) fn at(root: PathBuf, components: &Components) -> Folder {
        let (files, threads) = (Arc::clone(&components.files), components.threads.clone());
        Folder { root, files, threads, staged: AtomicU64::new(0) }
    }

    /// Where calls to this are made.
    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Removes what earlier processes did not finish. The caller holds the data folder's lock.
    pub(crate) fn remove_staged(&self) -> Result<(), StorageError> {
        for entry in self.walk(&self.root, String::new(), true)? {
            if entry.path.ends_with(STAGED) {
                self.delete(&entry.path)?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a synced file beside `place`, and returns its path.
    fn stage(&self, place: &Path, content: &[u8]) -> io::Result<PathBuf> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let mut name = place.as_os_str().to_owned();
        name.push(format!(".{number}{STAGED}"));
        let staged = PathBuf::from(name);
        if let Some(parent) = place.parent() {
            self.files.create_folder(parent)?;
        }
        let written = self.files.create(&staged, 0).and_then(|mut file| {
            file.append(&[content])?;
            file.sync_data()
        });
        if let Err(error) = written {
            // What cannot be written can often not be removed either; the next start does it.
            let _best_effort = self.files.remove(&staged);
            return Err(error);
        }
        Ok(staged)
    }

    fn sync_parent(&self, place: &Path) -> io::Result<()> {
        place.parent().map_or(Ok(()), |parent| self.files.sync_folder(parent))
    }

    pub(crate) fn put(&self, path: &str, content: &[u8]) -> Result<(), StorageError> {
        let place = self.place(path);
        let put = || {
            let staged = self.stage(&place, content)?;
            self.files.rename(&staged, &place)?;
            self.sync_parent(&place)
        };
        put().map_err(|error| StorageError::io(path, error))
    }

    /// False where the name is taken. Either way the name is durable afterwards: what has it may be
    /// of an earlier try that failed before it was.
    pub(crate) fn create(&self, path: &str, content: &[u8]) -> Result<bool, StorageError> {
        let place = self.place(path);
        let create = || {
            let staged = self.stage(&place, content)?;
            let linked = self.files.link(&staged, &place);
            self.files.remove(&staged)?;
            let created = match linked {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            };
            self.sync_parent(&place).map(|()| created)
        };
        create().map_err(|error| StorageError::io(path, error))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Bytes>, StorageError> {
        match self.files.read(&self.place(path)) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io(path, error)),
        }
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, StorageError> {
        self.walk(&self.place(prefix), prefix.to_owned(), false)
    }

    fn walk(
        &self,
        folder: &Path,
        prefix: String,
        staged_too: bool,
    ) -> Result<Vec<ObjectEntry>, StorageError> {
        let mut found = Vec::new();
        let mut folders = vec![(folder.to_owned(), prefix, 0)];
        while let Some((folder, prefix, depth)) = folders.pop() {
            let entries = self
                .files
                .list(&folder)
                .map_err(|error| StorageError::io(folder.display(), error))?;
            for entry in entries {
                let separator = if prefix.is_empty() { "" } else { "/" };
                let path = format!("{prefix}{separator}{}", entry.name);
                if entry.is_folder {
                    if depth < DEPTH_MAX {
                        folders.push((folder.join(&entry.name), path, depth + 1));
                    }
                } else if staged_too || !path.ends_with(STAGED) {
                    let (bytes, modified_ns) = (entry.bytes, entry.modified_ns);
                    found.push(ObjectEntry { path, bytes, modified_ns });
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), StorageError> {
        match self.files.remove(&self.place(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(path, error))
            }
            _ => Ok(()),
        }
    }

    /// Syncs the folders of what was deleted.
    pub(crate) fn settle_deletes(&self, paths: &[String]) -> Result<(), StorageError> {
        let places: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| Some(self.place(path).parent()?.to_owned())).collect();
        places.iter().try_for_each(|folder| {
            let synced = self.files.sync_folder(folder);
            synced.map_err(|error| StorageError::io(folder.display(), error))
        })
    }

    pub(crate) fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let mut buf = vec![0; (range.end - range.start) as usize];
        match self.files.read_at(&self.place(path), range.start, &mut buf) {
            Ok(()) => Ok(buf.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(StorageError::corrupt(path, "it is too short"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::corrupt(path, "it is missing"))
            }
            Err(error) => Err(StorageError::io(path, error)),
        }
    }
}
