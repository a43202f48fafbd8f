//! Whether a write may come in: closing, disk, log and memory.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::core::Core;
use crate::{ErrorKind, StorageError};

/// The disk is asked at most once in this time. Units: ns.
const DISK_POLL_NS: u64 = 1_000_000_000;
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
            return Err(self.refuse("the store is shutting down".to_owned()));
        }
        self.poll_disk(core);
        if self.disk_full.load(Ordering::Relaxed) {
            let (free, min) = (self.disk_free(), core.options.disk_free_bytes_min);
            return Err(self.refuse(format!(
                "the disk has {free} bytes left, and {min} are kept free (storage.disk_min_free)"
            )));
        }
        let (log, max) = (self.log_bytes.load(Ordering::Relaxed), core.options.wal_bytes_max);
        if log > max {
            return Err(
                self.refuse(format!("the log has {log} bytes of {max} (storage.wal_max_bytes)"))
            );
        }
        let full = || self.memory() > core.memtable_memory_max();
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
                let why = "records wait in memory to be written to disk".to_owned();
                return Err(self.refuse(why));
            }
        }
        Ok(entered)
    }

    fn refuse(&self, why: String) -> StorageError {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        StorageError::new(ErrorKind::Unavailable, why)
    }

    fn poll_disk(&self, core: &Core) {
        let now = core.components.clock.monotonic_ns().max(1);
        let polled = self.disk_polled_ns.load(Ordering::Relaxed);
        if polled != 0 && now.saturating_sub(polled) < DISK_POLL_NS {
            return;
        }
        self.disk_polled_ns.store(now, Ordering::Relaxed);
        match core.components.files.free_bytes(&core.options.data_dir) {
            Ok(free) => {
                self.disk_free.store(free, Ordering::Relaxed);
                let min = core.options.disk_free_bytes_min;
                // A tenth more than the reserve before writes are taken again.
                let was_full = self.disk_full.load(Ordering::Relaxed);
                let needed = if was_full { min.saturating_add(min / 10) } else { min };
                self.disk_full.store(free < needed, Ordering::Relaxed);
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
