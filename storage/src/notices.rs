//! What travels with an answer, and what a query may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Clock, ErrorKind, StorageError};

/// A part of the data that exists and could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadPart {
    /// The segment or log file.
    pub name: String,
    pub why: String,
}

/// Warnings and holes of an answer. An answer with an unread part is partial and must say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    pub warnings: Vec<String>,
    pub unread: Vec<UnreadPart>,
}

impl Notices {
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }

    pub fn merge(&mut self, other: Notices) {
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        for part in other.unread {
            if !self.unread.contains(&part) {
                self.unread.push(part);
            }
        }
    }
}

/// What one query may still use. Cheap to clone; clones share the counters.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    deadline_monotonic_ns: u64,
    cancelled: AtomicBool,
    samples_max: u64,
    samples: AtomicU64,
    bytes_scanned: AtomicU64,
}

impl Budget {
    /// A budget of `timeout_ns` from now and `samples_max` samples or rows (0: no limit).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, timeout_ns: u64, samples_max: u64) -> Budget {
        let deadline_monotonic_ns = clock.monotonic_ns().saturating_add(timeout_ns);
        Budget {
            shared: Arc::new(Shared {
                clock,
                deadline_monotonic_ns,
                cancelled: AtomicBool::new(false),
                samples_max,
                samples: AtomicU64::new(0),
                bytes_scanned: AtomicU64::new(0),
            }),
        }
    }

    /// Tells every holder to stop: the client has gone.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// To be called once a block, a series or some thousand rows.
    ///
    /// Errors: Cancelled, Timeout.
    pub fn check(&self) -> Result<(), StorageError> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            return Err(StorageError::new(ErrorKind::Cancelled, "query was cancelled"));
        }
        if self.shared.clock.monotonic_ns() > self.shared.deadline_monotonic_ns {
            return Err(StorageError::new(ErrorKind::Timeout, "query timed out"));
        }
        Ok(())
    }

    /// Counts samples or rows that the query touches.
    ///
    /// Errors: LimitExceeded beyond the maximum, with Prometheus' wording.
    pub fn take_samples(&self, count: u64) -> Result<(), StorageError> {
        let before = self.shared.samples.fetch_add(count, Ordering::Relaxed);
        let max = self.shared.samples_max;
        if max != 0 && before.saturating_add(count) > max {
            return Err(StorageError::new(
                ErrorKind::LimitExceeded,
                format!(
                    "query processing would load too many samples into memory in query execution \
                     (limits.query.max_samples={max})"
                ),
            ));
        }
        Ok(())
    }

    /// Counts bytes read for the query's statistics.
    pub fn add_bytes(&self, bytes: u64) {
        self.shared.bytes_scanned.fetch_add(bytes, Ordering::Relaxed);
    }

    #[must_use]
    pub fn samples(&self) -> u64 {
        self.shared.samples.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn bytes_scanned(&self) -> u64 {
        self.shared.bytes_scanned.load(Ordering::Relaxed)
    }
}
