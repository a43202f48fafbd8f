//! Whether a write may come in: closing, disk, log and memory.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::{ErrorId, Exceeded};
use tokio::sync::Notify;

use crate::files::Space;
use crate::store::core::Core;
use crate::{ErrorKind, StorageError};

/// The disk is asked at most once in this time. Units: ns.
const DISK_POLL_NS: u64 = 1_000_000_000;
/// Files that must be left to the file system, where it counts them.
const FILES_FREE_MIN: u64 = 1000;
/// The reserve where no setting says one: this, or a twentieth of the disk if that is more, but
/// never more than a fifth of it. Units: bytes.
const RESERVE_BYTES: u64 = 1 << 30;
/// How long a write waits for memory before it is refused.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// Counts and gates.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    closing: AtomicBool,
    in_flight: AtomicU64,
    left: Notify,
    disk_polled_ns: AtomicU64,
    disk_free: AtomicU64,
    disk_full: AtomicBool,
    /// Units: bytes.
    disk_reserve: AtomicU64,
    /// Memory of all memtables, those being flushed included. Units: bytes.
    memory: AtomicI64,
    /// Bytes of all logs.
    log_bytes: AtomicU64,
    refusals: AtomicU64,
}

/// A write under way.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Admission);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Admission {
    /// Lets a write in, after a bounded wait for memory.
    ///
    /// Errors: Unavailable.
    pub(crate) async fn enter(&self, core: &Core) -> Result<Entered<'_>, StorageError> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(self);
        if self.closing.load(Ordering::SeqCst) {
            let why = format!(
                "tercet-err-{}: the store is shutting down",
                ErrorId::ShuttingDown.as_str()
            );
            return Err(self.refuse(why));
        }
        self.poll_disk(core);
        if self.disk_full.load(Ordering::Relaxed) {
            let min = self.disk_reserve.load(Ordering::Relaxed);
            return Err(self.refuse_for(Exceeded {
                id: ErrorId::DiskFull,
                what: "the disk has too little room left, or too few files".to_owned(),
                key: "storage.disk_min_free",
                limit: min.to_string(),
                current: self.disk_free().to_string(),
                tenant: None,
            }));
        }
        let (log, max) = (self.log_bytes.load(Ordering::Relaxed), core.options.wal_bytes_max);
        if log > max {
            return Err(self.refuse_for(Exceeded {
                id: ErrorId::LogFull,
                what: "the log is full, for segments cannot be written".to_owned(),
                key: "storage.wal_max_bytes",
                limit: max.to_string(),
                current: log.to_string(),
                tenant: None,
            }));
        }
        let full = || self.memory() > core.options.memtable_bytes_max;
        if full() {
            let wait = async {
                while full() {
                    let freed = core.freed.notified();
                    if full() {
                        freed.await;
                    }
                }
            };
            if tokio::time::timeout(MEMORY_WAIT, wait).await.is_err() {
                return Err(self.refuse_for(Exceeded {
                    id: ErrorId::MemtablesFull,
                    what: "records wait in memory to be written to disk".to_owned(),
                    key: "storage.memtable_max_bytes",
                    limit: core.options.memtable_bytes_max.to_string(),
                    current: self.memory().to_string(),
                    tenant: None,
                }));
            }
        }
        Ok(entered)
    }

    fn refuse(&self, why: String) -> StorageError {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        StorageError::new(ErrorKind::Unavailable, why)
    }

    /// Refuses a write for a limit of the whole process.
    fn refuse_for(&self, exceeded: Exceeded) -> StorageError {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        StorageError::unavailable(exceeded)
    }

    fn poll_disk(&self, core: &Core) {
        let now = core.components.clock.monotonic_ns().max(1);
        let polled = self.disk_polled_ns.load(Ordering::Relaxed);
        if polled != 0 && now.saturating_sub(polled) < DISK_POLL_NS {
            return;
        }
        self.disk_polled_ns.store(now, Ordering::Relaxed);
        match core.components.files.space(&core.options.data_dir) {
            Ok(space) => {
                self.disk_free.store(space.free_bytes, Ordering::Relaxed);
                let min = reserve_bytes(core.options.disk_free_bytes_min, &space);
                self.disk_reserve.store(min, Ordering::Relaxed);
                let files_min = space.files.map_or(0, |files| (files / 20).min(FILES_FREE_MIN));
                let files_free = space.free_files.unwrap_or(u64::MAX);
                // A tenth more than the reserve before writes are taken again.
                let was_full = self.disk_full.load(Ordering::Relaxed);
                let needed = |min: u64| if was_full { min.saturating_add(min / 10) } else { min };
                let is_full = space.free_bytes < needed(min) || files_free < needed(files_min);
                if is_full != was_full {
                    let (free, files) = (space.free_bytes, space.free_files);
                    tracing::warn!(is_full, free, reserve = min, files, "the disk's room");
                }
                self.disk_full.store(is_full, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the disk's free space is unknown"),
        }
    }

    pub(crate) fn disk_free(&self) -> u64 {
        self.disk_free.load(Ordering::Relaxed)
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn memory(&self) -> u64 {
        u64::try_from(self.memory.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn add_memory(&self, bytes: i64) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_log_bytes(&self, bytes: u64) {
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub_log_bytes(&self, bytes: u64) {
        let less = |log: u64| Some(log.saturating_sub(bytes));
        let _always = self.log_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Refuses new writes and returns when none is under way.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        loop {
            let left = self.left.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

/// What must stay free of a disk. Units: bytes.
fn reserve_bytes(setting: u64, space: &Space) -> u64 {
    match (setting, space.total_bytes) {
        (0, Some(total)) => RESERVE_BYTES.max(total / 20).min(total / 5),
        (0, None) => RESERVE_BYTES,
        (given, _) => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_fits_the_disk_unless_it_is_set() {
        let check = |setting, total: Option<u64>, want| {
            let space = Space { free_bytes: 0, total_bytes: total, free_files: None, files: None };
            assert_eq!(reserve_bytes(setting, &space), want, "{setting} {total:?}");
        };
        check(0, Some(256 << 20), (256 << 20) / 5);
        check(0, Some(10 << 30), 1 << 30);
        check(0, Some(100 << 30), 5 << 30);
        check(0, None, 1 << 30);
        check(7, Some(100 << 30), 7);
    }
}
