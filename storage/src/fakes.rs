//! Components for tests: a clock that stands until moved, seeded randomness, files that fail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::files::{AppendFile, DiskFiles, FileEntry, FileLock, Files};
use crate::sim::world::Dice;
use crate::{Clock, Components, Random};

/// Moves only when told.
#[derive(Debug)]
pub(crate) struct FakeClock {
    wall_ns: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl FakeClock {
    pub(crate) fn new() -> Arc<FakeClock> {
        let wall_ns = AtomicI64::new(1_700_000_000_000_000_000);
        Arc::new(FakeClock { wall_ns, monotonic_ns: AtomicU64::new(1_000_000_000) })
    }

    /// Sets the clock on the wall, and no time passes.
    pub(crate) fn jump_ns(&self, ns: i64) {
        self.wall_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(crate) fn advance_ns(&self, ns: i64) {
        self.wall_ns.fetch_add(ns, Ordering::Relaxed);
        self.monotonic_ns.fetch_add(ns.unsigned_abs(), Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> i64 {
        self.wall_ns.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }
}

/// The dice of the simulation.
#[derive(Debug, Default)]
pub(crate) struct FakeRandom(Mutex<Dice>);

impl FakeRandom {
    pub(crate) fn seeded(seed: u64) -> Arc<FakeRandom> {
        Arc::new(FakeRandom(Mutex::new(Dice::new(seed))))
    }
}

impl Random for FakeRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().next()
    }
}

/// The real disk, with faults on demand.
#[derive(Debug, Default)]
pub(crate) struct FaultyFiles {
    pub(crate) fail_syncs: Arc<AtomicBool>,
    pub(crate) fail_appends: Arc<AtomicBool>,
    pub(crate) fail_folder_syncs: AtomicBool,
    /// Folders that were synced.
    pub(crate) folder_syncs: AtomicU64,
    /// A file that cannot be read.
    pub(crate) unreadable: Mutex<Option<PathBuf>>,
    /// What the disk claims to have left; 0 asks the disk.
    pub(crate) free_bytes: AtomicU64,
}

#[derive(Debug)]
struct FaultyAppend {
    inner: Box<dyn AppendFile>,
    fail_syncs: Arc<AtomicBool>,
    fail_appends: Arc<AtomicBool>,
}

impl AppendFile for FaultyAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.fail_appends.load(Ordering::Relaxed) {
            // A short write, then no space.
            if let Some(first) = parts.first() {
                self.inner.append(&[&first[..first.len() / 2]])?;
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.append(parts)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if self.fail_syncs.load(Ordering::Relaxed) {
            return Err(io::Error::other("injected"));
        }
        self.inner.sync_data()
    }
}

impl Files for FaultyFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DiskFiles.create_folder(path)
    }

    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(FaultyAppend {
            inner: DiskFiles.create(path, reserve_bytes)?,
            fail_syncs: Arc::clone(&self.fail_syncs),
            fail_appends: Arc::clone(&self.fail_appends),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.unreadable.lock().as_deref() == Some(path) {
            return Err(io::Error::other("injected"));
        }
        DiskFiles.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        DiskFiles.read_at(path, offset, buf)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileEntry>> {
        DiskFiles.list(path)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        DiskFiles.rename(source, target)
    }

    fn link(&self, source: &Path, target: &Path) -> io::Result<()> {
        DiskFiles.link(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskFiles.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if self.fail_folder_syncs.load(Ordering::Relaxed) {
            return Err(io::Error::other("injected"));
        }
        self.folder_syncs.fetch_add(1, Ordering::Relaxed);
        DiskFiles.sync_folder(path)
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        DiskFiles.settle(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self.free_bytes.load(Ordering::Relaxed) {
            0 => DiskFiles.free_bytes(path),
            free => Ok(free),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        DiskFiles.lock(path)
    }
}

/// A standing clock, seeded randomness and faultless files.
pub(crate) fn components(seed: u64) -> Components {
    Components::new(FakeClock::new(), FakeRandom::seeded(seed))
}
