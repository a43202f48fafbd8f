//! What travels with an answer, and what a query may use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

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

/// Why a query got no answer although nothing was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Timeout,
    ClientGone,
    MaxSamples,
    MaxSeries,
}

impl Ended {
    pub const ALL: [Ended; 4] =
        [Ended::Timeout, Ended::ClientGone, Ended::MaxSamples, Ended::MaxSeries];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Timeout => "timeout",
            Ended::ClientGone => "client_gone",
            Ended::MaxSamples => "max_samples",
            Ended::MaxSeries => "max_series",
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
    /// Nothing inside: the query went its way to the end.
    ended: OnceLock<Option<Ended>>,
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
                ended: OnceLock::new(),
            }),
        }
    }

    /// Tells every holder to stop: the client has gone, unless the query has ended already.
    pub fn cancel(&self) {
        self.end(Some(Ended::ClientGone));
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Notes that the query has gone its way, to an answer or to an error.
    pub fn finish(&self) {
        self.end(None);
    }

    /// Notes that the query's time ran out, and makes the error that says so.
    #[must_use]
    pub fn time_out(&self) -> StorageError {
        self.end(Some(Ended::Timeout));
        StorageError::new(ErrorKind::Timeout, "query timed out")
    }

    /// Checks how many series a query holds at once (`series_max` 0: no limit).
    ///
    /// Errors: LimitExceeded.
    pub fn check_series(&self, count: usize, series_max: usize) -> Result<(), StorageError> {
        if series_max == 0 || count <= series_max {
            return Ok(());
        }
        self.end(Some(Ended::MaxSeries));
        let message =
            format!("query selects {count} series (limits.query.max_series={series_max})");
        Err(StorageError::new(ErrorKind::LimitExceeded, message))
    }

    /// Why the query ended before its answer. The first reason counts.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended.get().copied().flatten()
    }

    fn end(&self, reason: Option<Ended>) {
        self.shared.ended.get_or_init(|| reason);
    }

    /// To be called once a block, a series or some thousand rows.
    ///
    /// Errors: Cancelled, Timeout.
    pub fn check(&self) -> Result<(), StorageError> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            return Err(StorageError::new(ErrorKind::Cancelled, "query was cancelled"));
        }
        if self.shared.clock.monotonic_ns() > self.shared.deadline_monotonic_ns {
            return Err(self.time_out());
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
            self.end(Some(Ended::MaxSamples));
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
