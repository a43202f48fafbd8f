//! Verified reading of segment files, and what becomes of those that fail it.
//!
//! Files are fetched in aligned chunks of 64 KiB, each checked against the catalog's checksum before
//! a byte of it is handed on or cached. A chunk that differs is fetched once more; if it still
//! differs, the segment is quarantined: never deleted, never merged, and named in every answer that
//! needed it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::files::Files;
use crate::objects::{ChunkCache, Objects};
use crate::segment::{CHECKSUM_CHUNK_BYTES, FileMeta, SegmentSource};
use crate::{ErrorKind, StorageError};

const CHUNK: u64 = CHECKSUM_CHUNK_BYTES as u64;
/// Longer reads (a merge, a whole file) pass the cache by. Units: chunks.
const CACHED_RUN_MAX: usize = 64;

/// Hex of the xxh3-64 of each chunk, as the catalog keeps it.
pub(crate) fn checksums(content: &[u8]) -> String {
    let mut sums = Vec::with_capacity(content.len().div_ceil(CHECKSUM_CHUNK_BYTES) * 8);
    for chunk in content.chunks(CHECKSUM_CHUNK_BYTES) {
        sums.extend_from_slice(&xxh3_64(chunk).to_le_bytes());
    }
    hex::encode(sums)
}

/// The checksums of a file's chunks; none where the catalog's text is no hex.
pub(crate) fn checksums_of(meta: &FileMeta) -> Vec<u64> {
    let sums = hex::decode(&meta.checksums).unwrap_or_default();
    sums.as_chunks::<8>().0.iter().map(|sum| u64::from_le_bytes(*sum)).collect()
}

/// Segments whose bytes contradict the catalog.
#[derive(Debug)]
pub(crate) struct Quarantine {
    folder: PathBuf,
    files: Arc<dyn Files>,
    found: Mutex<BTreeMap<String, String>>,
    corruptions: AtomicU64,
}

impl Quarantine {
    pub(crate) fn new(folder: PathBuf, files: Arc<dyn Files>) -> Quarantine {
        let corruptions = AtomicU64::new(0);
        Quarantine { folder, files, found: Mutex::new(BTreeMap::new()), corruptions }
    }

    /// Segment IDs and what is wrong with each.
    pub(crate) fn list(&self) -> BTreeMap<String, String> {
        self.found.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.found.lock().len()
    }

    pub(crate) fn corruptions(&self) -> u64 {
        self.corruptions.load(Ordering::Relaxed)
    }

    /// Notes that `segment` cannot be trusted. The note also lies in the folder, for people.
    pub(crate) fn report(&self, segment: &str, why: &str) {
        self.corruptions.fetch_add(1, Ordering::Relaxed);
        if self.found.lock().insert(segment.to_owned(), why.to_owned()).is_some() {
            return;
        }
        tracing::error!(segment, why, "a segment is damaged; it is kept, left out and reported");
        let path = self.folder.join(format!("segment-{segment}.txt"));
        let noted = self
            .files
            .create_folder(&self.folder)
            .and_then(|()| crate::files::replace(self.files.as_ref(), &path, why.as_bytes()));
        if let Err(error) = noted {
            tracing::warn!(path = %path.display(), %error, "the note could not be written");
        }
    }
}

/// Whether a segment can still be trusted; shared by its files.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) segment: String,
    pub(crate) quarantine: Arc<Quarantine>,
    damaged: AtomicBool,
}

impl Health {
    pub(crate) fn new(segment: String, quarantine: Arc<Quarantine>) -> Arc<Health> {
        Arc::new(Health { segment, quarantine, damaged: AtomicBool::new(false) })
    }

    fn report(&self, error: &StorageError) {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            self.quarantine.report(&self.segment, &error.to_string());
        }
    }
}

/// One file of a segment in the object store.
#[derive(Debug)]
pub(crate) struct StoredFile {
    path: String,
    bytes: u64,
    checksums: Vec<u64>,
    /// Number of this file in the cache.
    number: u64,
    objects: Objects,
    cache: Arc<ChunkCache>,
    health: Arc<Health>,
}

impl StoredFile {
    pub(crate) fn new(
        path: String,
        meta: &FileMeta,
        objects: Objects,
        cache: Arc<ChunkCache>,
        health: Arc<Health>,
    ) -> StoredFile {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let checksums = checksums_of(meta);
        StoredFile { path, bytes: meta.bytes, checksums, number, objects, cache, health }
    }

    /// Fetches chunks `first..limit` and verifies each; a second time if they do not pass.
    fn fetch(&self, first: usize, limit: usize) -> Result<Bytes, StorageError> {
        let range = first as u64 * CHUNK..(limit as u64 * CHUNK).min(self.bytes);
        let mut outcome = Ok(());
        for _attempt in 0..2 {
            match self.objects.read(&self.path, range.clone()) {
                Ok(content) => {
                    outcome = self.check(first, &content);
                    if outcome.is_ok() {
                        return Ok(content);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => outcome = Err(error),
                Err(error) => return Err(error),
            }
        }
        match outcome {
            Err(error) => {
                self.health.report(&error);
                Err(error)
            }
            Ok(()) => Err(StorageError::corrupt(&self.path, "it cannot be read")),
        }
    }

    fn check(&self, first: usize, content: &[u8]) -> Result<(), StorageError> {
        for (index, chunk) in content.chunks(CHECKSUM_CHUNK_BYTES).enumerate() {
            let number = first + index;
            if self.checksums.get(number) != Some(&xxh3_64(chunk)) {
                let why = format!("checksum differs at offset {}", number as u64 * CHUNK);
                return Err(StorageError::corrupt(&self.path, why));
            }
        }
        Ok(())
    }

    /// One chunk, through the cache.
    fn chunk(&self, number: usize) -> Result<Bytes, StorageError> {
        let key = (self.number, number as u32);
        if let Some(chunk) = self.cache.get(key) {
            return Ok(chunk);
        }
        let chunk = self.fetch(number, number + 1)?;
        self.cache.insert(key, chunk.clone());
        Ok(chunk)
    }

    /// Several chunks: those in the cache, and one fetch for each run of those that are not.
    fn chunks(&self, first: usize, limit: usize) -> Result<Vec<Bytes>, StorageError> {
        let mut chunks: Vec<Option<Bytes>> =
            (first..limit).map(|number| self.cache.get((self.number, number as u32))).collect();
        let mut index = 0;
        while index < chunks.len() {
            if chunks[index].is_some() {
                index += 1;
                continue;
            }
            let missing = chunks[index..].iter().take_while(|chunk| chunk.is_none()).count();
            let run = self.fetch(first + index, first + index + missing)?;
            for (offset, part) in run.chunks(CHECKSUM_CHUNK_BYTES).enumerate() {
                // A copy, so that what the cache keeps is what it counts.
                let chunk = Bytes::copy_from_slice(part);
                let number = first + index + offset;
                self.cache.insert((self.number, number as u32), chunk.clone());
                if let Some(place) = chunks.get_mut(index + offset) {
                    *place = Some(chunk);
                }
            }
            index += missing;
        }
        Ok(chunks.into_iter().flatten().collect())
    }
}

impl SegmentSource for StoredFile {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.start > range.end || range.end > self.bytes {
            return Err(StorageError::corrupt(&self.path, "a range reaches beyond its end"));
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let first = (range.start / CHUNK) as usize;
        let limit = range.end.div_ceil(CHUNK) as usize;
        let start = (range.start - first as u64 * CHUNK) as usize;
        let length = (range.end - range.start) as usize;
        if limit - first == 1 {
            return Ok(self.chunk(first)?.slice(start..start + length));
        }
        if limit - first > CACHED_RUN_MAX {
            return Ok(self.fetch(first, limit)?.slice(start..start + length));
        }
        let mut joined = BytesMut::with_capacity((limit - first) * CHECKSUM_CHUNK_BYTES);
        for chunk in self.chunks(first, limit)? {
            joined.extend_from_slice(&chunk);
        }
        Ok(joined.freeze().slice(start..start + length))
    }

    fn name(&self) -> &str {
        &self.path
    }
}
