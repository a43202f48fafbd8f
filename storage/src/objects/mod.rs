//! Where immutable objects lie: a local folder or a bucket, behind the few calls that we need.
//!
//! A local folder goes through [`Files`] (staged, synced, then named, then the folder synced: the
//! `object_store` crate of this version cannot sync), a bucket through the `object_store` crate.
//! Objects are never changed. `create` fails where the name exists, and that is the only thing on
//! which the catalog's consistency rests.

mod cache;
mod folder;
mod source;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use model::Secret;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use crate::{Components, ErrorKind, Options, StorageError, Threads};

pub(crate) use cache::ChunkCache;
use folder::Folder;
#[cfg(feature = "fuzzing")]
pub(crate) use source::checksums_of;
pub(crate) use source::{Health, Quarantine, StoredFile, checksums};

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectEntry {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Units: ns since the Unix epoch, on the clock of whoever keeps it.
    pub(crate) modified_ns: i64,
}

/// What came of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is there with our content (perhaps since an earlier, unanswered try).
    Ours,
    /// Somebody else's content has the name.
    Taken,
}

/// A place for objects.
#[derive(Debug, Clone)]
pub(crate) enum Objects {
    Folder(Arc<Folder>),
    Bucket(Arc<Bucket>),
}

/// A bucket, or a part of one.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    runtime: tokio::runtime::Handle,
    threads: Threads,
}

impl Objects {
    /// Opens what the options name. Must be called inside a tokio runtime.
    ///
    /// Errors: Invalid for a bucket address that cannot be understood, Io.
    pub(crate) fn open(
        options: &Options,
        components: &Components,
    ) -> Result<Objects, StorageError> {
        if let Some(store) = &components.object_store {
            let runtime = tokio::runtime::Handle::current();
            let threads = components.threads.clone();
            let store = Arc::clone(store);
            let prefix = ObjectPath::default();
            return Ok(Objects::Bucket(Arc::new(Bucket { store, prefix, runtime, threads })));
        }
        match &options.bucket {
            Some(address) => Objects::bucket(address, &options.bucket_options, components),
            None => {
                let folder = Folder::open(options.data_dir.join("store"), components)?;
                Ok(Objects::Folder(Arc::new(folder)))
            }
        }
    }

    /// Objects below a folder that may not be there yet.
    pub(crate) fn folder(root: PathBuf, components: &Components) -> Objects {
        Objects::Folder(Arc::new(Folder::at(root, components)))
    }

    /// Objects below an address. Must be called inside a tokio runtime.
    ///
    /// Errors: Invalid for an address that cannot be understood.
    pub(crate) fn bucket(
        address: &str,
        options: &[(String, Secret)],
        components: &Components,
    ) -> Result<Objects, StorageError> {
        let runtime = tokio::runtime::Handle::current();
        let threads = components.threads.clone();
        let invalid = |why: String| {
            let why = model::without_credentials(address, &format!("bucket {address}: {why}"));
            StorageError::new(ErrorKind::Invalid, why)
        };
        let url = Url::parse(address).map_err(|error| invalid(error.to_string()))?;
        let settings = options.iter().map(|(name, value)| (name, value.expose()));
        let (store, prefix) = object_store::parse_url_opts(&url, settings)
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Objects::Bucket(Arc::new(Bucket { store: store.into(), prefix, runtime, threads })))
    }

    /// Whether processes on other machines may write there as well.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Objects::Bucket(_))
    }

    /// Removes what writes that were cut short have left. The caller holds the folder's lock.
    pub(crate) async fn remove_unfinished(&self) -> Result<(), StorageError> {
        match self {
            Objects::Folder(folder) => {
                let folder = Arc::clone(folder);
                folder.threads().clone().blocking(move || folder.remove_staged()).await
            }
            // A bucket shows whole objects only.
            Objects::Bucket(_) => Ok(()),
        }
    }

    /// Writes an object under a name that nobody else uses. Returns when it is durable.
    pub(crate) async fn put(&self, path: &str, content: Bytes) -> Result<(), StorageError> {
        match self {
            Objects::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                folder.threads().clone().blocking(move || folder.put(&path, &content)).await
            }
            Objects::Bucket(bucket) => {
                let place = bucket.place(path);
                let put = bucket.store.put(&place, PutPayload::from_bytes(content)).await;
                put.map(|_| ()).map_err(|error| StorageError::io(path, error))
            }
        }
    }

    /// Writes an object unless the name is taken. Returns when it is durable.
    ///
    /// Errors: Io; the object may have been written then, and the same call may be repeated.
    pub(crate) async fn create(&self, path: &str, content: Bytes) -> Result<Created, StorageError> {
        let created = match self {
            Objects::Folder(folder) => {
                let (folder, path, content) =
                    (Arc::clone(folder), path.to_owned(), content.clone());
                folder.threads().clone().blocking(move || folder.create(&path, &content)).await?
            }
            Objects::Bucket(bucket) => {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let payload = PutPayload::from_bytes(content.clone());
                match bucket.store.put_opts(&bucket.place(path), payload, options).await {
                    Ok(_) => true,
                    Err(
                        object_store::Error::AlreadyExists { .. }
                        | object_store::Error::Precondition { .. },
                    ) => false,
                    Err(error) => return Err(StorageError::io(path, error)),
                }
            }
        };
        if created || self.get(path).await?.is_some_and(|present| present == content) {
            return Ok(Created::Ours);
        }
        Ok(Created::Taken)
    }

    /// A whole object, or nothing where there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>, StorageError> {
        match self {
            Objects::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                folder.threads().clone().blocking(move || folder.get(&path)).await
            }
            Objects::Bucket(bucket) => {
                let content = async { bucket.store.get(&bucket.place(path)).await?.bytes().await };
                match content.await {
                    Ok(content) => Ok(Some(content)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(StorageError::io(path, error)),
                }
            }
        }
    }

    /// All objects below `prefix` (a whole path part), sorted by path.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, StorageError> {
        let mut entries = match self {
            Objects::Folder(folder) => {
                let (folder, prefix) = (Arc::clone(folder), prefix.to_owned());
                folder.threads().clone().blocking(move || folder.list(&prefix)).await?
            }
            Objects::Bucket(bucket) => {
                let listed = bucket.store.list(Some(&bucket.place(prefix)));
                let found: Vec<_> = listed
                    .try_collect()
                    .await
                    .map_err(|error| StorageError::io(format_args!("listing {prefix}"), error))?;
                found.into_iter().filter_map(|meta| bucket.entry(&meta)).collect()
            }
        };
        entries.sort_by(|a: &ObjectEntry, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Removes an object; it is no error when there is none.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), StorageError> {
        match self {
            Objects::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                folder.threads().clone().blocking(move || folder.delete(&path)).await
            }
            Objects::Bucket(bucket) => match bucket.store.delete(&bucket.place(path)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(StorageError::io(path, error)),
            },
        }
    }

    /// Returns when a power cut cannot bring back what was deleted.
    pub(crate) async fn settle_deletes(&self, paths: &[String]) -> Result<(), StorageError> {
        match self {
            Objects::Folder(folder) => {
                let (folder, paths) = (Arc::clone(folder), paths.to_vec());
                folder.threads().clone().blocking(move || folder.settle_deletes(&paths)).await
            }
            Objects::Bucket(_) => Ok(()),
        }
    }

    /// A range of an object, read where it may block.
    pub(crate) async fn get_range(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> Result<Bytes, StorageError> {
        let threads = match self {
            Objects::Folder(folder) => folder.threads().clone(),
            Objects::Bucket(bucket) => bucket.threads.clone(),
        };
        let (objects, path) = (self.clone(), path.to_owned());
        threads.blocking(move || objects.read(&path, range)).await
    }

    /// A range of an object. Blocks: for the pool, not for async threads.
    ///
    /// Errors: Corrupt when the object is shorter or missing, Io.
    pub(crate) fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        match self {
            Objects::Folder(folder) => folder.read(path, range),
            Objects::Bucket(bucket) => bucket.read(path, range),
        }
    }
}

impl Bucket {
    fn place(&self, path: &str) -> ObjectPath {
        self.prefix.parts().chain(ObjectPath::from(path).parts()).collect()
    }

    fn entry(&self, meta: &object_store::ObjectMeta) -> Option<ObjectEntry> {
        let parts: Vec<_> = meta.location.prefix_match(&self.prefix)?.collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        Some(ObjectEntry {
            path: parts.join("/"),
            bytes: meta.size,
            modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or(0),
        })
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let length = range.end - range.start;
        if let Threads::Inline(_) = self.threads {
            let read = futures::executor::block_on(store.get_range(&place, range));
            return whole_range(path, read, length);
        }
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // The reader may have gone.
            let _unwanted = answer.send(store.get_range(&place, range).await);
        });
        let read = answered
            .recv()
            .map_err(|_| StorageError::new(ErrorKind::Unavailable, "the runtime has shut down"))?;
        whole_range(path, read, length)
    }
}

/// What a read of a bucket gave, if it is as long as was asked.
fn whole_range(
    path: &str,
    read: object_store::Result<Bytes>,
    length: u64,
) -> Result<Bytes, StorageError> {
    let content = read.map_err(|error| match error {
        object_store::Error::NotFound { .. } => StorageError::corrupt(path, "it is missing"),
        error => StorageError::io(path, error),
    })?;
    if content.len() as u64 != length {
        return Err(StorageError::corrupt(path, "it is too short"));
    }
    Ok(content)
}
