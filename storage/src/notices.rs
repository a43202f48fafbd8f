//! What travels with an answer, and what a query may use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::{ErrorId, Exceeded, Limits, Memory, Pressure, TenantId};

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
    MaxBytesScanned,
    MaxMemory,
    /// The process had no memory left for it.
    MemoryFull,
}

impl Ended {
    pub const ALL: [Ended; 7] = [
        Ended::Timeout,
        Ended::ClientGone,
        Ended::MaxSamples,
        Ended::MaxSeries,
        Ended::MaxBytesScanned,
        Ended::MaxMemory,
        Ended::MemoryFull,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Timeout => "timeout",
            Ended::ClientGone => "client_gone",
            Ended::MaxSamples => "max_samples",
            Ended::MaxSeries => "max_series",
            Ended::MaxBytesScanned => "max_bytes_scanned",
            Ended::MaxMemory => "max_memory",
            Ended::MemoryFull => "memory_full",
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
    tenant: TenantId,
    samples_max: u64,
    samples: AtomicU64,
    bytes_scanned_max: u64,
    bytes_scanned: AtomicU64,
    memory_max: u64,
    /// What the query keeps, and the most that it kept. Units: bytes.
    memory: AtomicU64,
    memory_peak: AtomicU64,
    process: Arc<Memory>,
    /// Nothing inside: the query went its way to the end.
    ended: OnceLock<Option<Ended>>,
}

impl Budget {
    /// A budget of `timeout_ns` from now and `samples_max` samples or rows (0: no limit).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, timeout_ns: u64, samples_max: u64) -> Budget {
        let limits = Limits {
            query_timeout_ns: i64::try_from(timeout_ns).unwrap_or(i64::MAX),
            query_samples_max: usize::try_from(samples_max).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        Budget::of_tenant(clock, &TenantId::default(), &limits, &Arc::default())
    }

    /// What one query of a tenant may use from now on; 0 in the limits is no limit, but for memory,
    /// where it is a quarter of what the process may use.
    #[must_use]
    pub fn of_tenant(
        clock: Arc<dyn Clock>,
        tenant: &TenantId,
        limits: &Limits,
        process: &Arc<Memory>,
    ) -> Budget {
        let timeout_ns = match u64::try_from(limits.query_timeout_ns) {
            Ok(0) | Err(_) => u64::MAX,
            Ok(timeout_ns) => timeout_ns,
        };
        let deadline_monotonic_ns = clock.monotonic_ns().saturating_add(timeout_ns);
        let memory_max = match limits.query_memory_max {
            0 => process.limit_bytes() / 4,
            given => given,
        };
        Budget {
            shared: Arc::new(Shared {
                clock,
                deadline_monotonic_ns,
                cancelled: AtomicBool::new(false),
                tenant: tenant.clone(),
                samples_max: limits.query_samples_max as u64,
                samples: AtomicU64::new(0),
                bytes_scanned_max: limits.query_bytes_scanned_max,
                bytes_scanned: AtomicU64::new(0),
                memory_max,
                memory: AtomicU64::new(0),
                memory_peak: AtomicU64::new(0),
                process: Arc::clone(process),
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
        Err(self.exceeded(Exceeded {
            id: ErrorId::QuerySeries,
            what: format!("query selects {count} series"),
            key: "limits.query.max_series",
            limit: series_max.to_string(),
            current: count.to_string(),
            tenant: None,
        }))
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
        self.check_memory()?;
        let (scanned, max) = (self.bytes_scanned(), self.shared.bytes_scanned_max);
        if max != 0 && scanned > max {
            self.end(Some(Ended::MaxBytesScanned));
            return Err(self.exceeded(Exceeded {
                id: ErrorId::QueryBytesScanned,
                what: "query reads too much".to_owned(),
                key: "limits.query.max_bytes_scanned",
                limit: max.to_string(),
                current: scanned.to_string(),
                tenant: None,
            }));
        }
        Ok(())
    }

    /// Whether the query keeps more than it may, or the process has no more to give.
    fn check_memory(&self) -> Result<(), StorageError> {
        let shared = &*self.shared;
        let (kept, max) = (shared.memory.load(Ordering::Relaxed), shared.memory_max);
        if max != 0 && kept > max {
            self.end(Some(Ended::MaxMemory));
            return Err(self.exceeded(Exceeded {
                id: ErrorId::QueryMemory,
                what: "query keeps too much memory".to_owned(),
                key: "limits.query.max_memory",
                limit: max.to_string(),
                current: kept.to_string(),
                tenant: None,
            }));
        }
        // Small queries go on: what they keep is not what fills the process.
        let limit = shared.process.limit_bytes();
        if kept > limit / 64 && shared.process.pressure() == Pressure::Writes {
            self.end(Some(Ended::MemoryFull));
            let why = format!(
                "tercet-err-{}: the server has no memory left for this query (memory.limit)",
                ErrorId::MemoryFull.as_str()
            );
            return Err(StorageError::new(ErrorKind::Unavailable, why));
        }
        Ok(())
    }

    /// Counts memory that the query keeps until its end, or until it is given back.
    ///
    /// Errors: LimitExceeded, Unavailable.
    pub fn take_memory(&self, bytes: usize) -> Result<(), StorageError> {
        let bytes = bytes as u64;
        let kept = self.shared.memory.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.shared.memory_peak.fetch_max(kept, Ordering::Relaxed);
        self.shared.process.add_query_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.check_memory()
    }

    /// Gives back what [`Budget::take_memory`] took.
    pub fn give_memory(&self, bytes: usize) {
        let bytes = bytes as u64;
        let less = |kept: u64| Some(kept.saturating_sub(bytes));
        let before = self
            .shared
            .memory
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .unwrap_or(0);
        let given = i64::try_from(bytes.min(before)).unwrap_or(i64::MAX);
        self.shared.process.add_query_bytes(-given);
    }

    /// The most that the query kept at one time. Units: bytes.
    #[must_use]
    pub fn memory_peak(&self) -> u64 {
        self.shared.memory_peak.load(Ordering::Relaxed)
    }

    /// Who asks.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.shared.tenant
    }

    /// How near the process is to its limit of memory.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.shared.process.pressure()
    }

    /// A limit of this query's tenant that was met.
    #[must_use]
    pub fn exceeded(&self, exceeded: Exceeded) -> StorageError {
        StorageError::limit(Exceeded { tenant: Some(self.tenant().clone()), ..exceeded })
    }

    /// Counts samples or rows that the query touches.
    ///
    /// Errors: LimitExceeded beyond the maximum, with Prometheus' wording.
    pub fn take_samples(&self, count: u64) -> Result<(), StorageError> {
        let before = self.shared.samples.fetch_add(count, Ordering::Relaxed);
        let max = self.shared.samples_max;
        if max != 0 && before.saturating_add(count) > max {
            self.end(Some(Ended::MaxSamples));
            let what =
                "query processing would load too many samples into memory in query execution";
            return Err(self.exceeded(Exceeded {
                id: ErrorId::QuerySamples,
                what: what.to_owned(),
                key: "limits.query.max_samples",
                limit: max.to_string(),
                current: before.saturating_add(count).to_string(),
                tenant: None,
            }));
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

impl Drop for Shared {
    fn drop(&mut self) {
        let kept = i64::try_from(*self.memory.get_mut()).unwrap_or(i64::MAX);
        self.process.add_query_bytes(-kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeClock;

    #[test]
    fn memory_is_counted_limited_and_given_back_with_the_last_holder() {
        let process = Arc::new(Memory::new(4000));
        let acme = TenantId::parse("acme").unwrap();
        let limits = Limits::default();
        let clock = FakeClock::new();
        let budget = Budget::of_tenant(clock, &acme, &limits, &process);
        let clone = budget.clone();
        budget.take_memory(900).unwrap();
        clone.give_memory(300);
        budget.take_memory(400).unwrap();
        assert_eq!((process.query_bytes(), budget.memory_peak()), (1000, 1000));
        let error = clone.take_memory(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(
            error.to_string(),
            "tercet-err-max_memory: query keeps too much memory; limit \
             limits.query.max_memory=1000, current 1001 (tenant acme); raise it in \
             tenants.acme.limits.query.max_memory"
        );
        assert_eq!(budget.ended(), Some(Ended::MaxMemory));
        drop((budget, clone));
        assert_eq!(process.query_bytes(), 0);
    }

    #[test]
    fn a_large_query_ends_when_the_process_is_full_and_a_small_one_goes_on() {
        let process = Arc::new(Memory::new(6400));
        process.measured(6400);
        let clock = FakeClock::new();
        let tenant = TenantId::default();
        let budget = |bytes| {
            let limits = Limits::default();
            let budget = Budget::of_tenant(clock.clone(), &tenant, &limits, &process);
            budget.take_memory(bytes).and_then(|()| budget.check()).map_err(|error| error.kind())
        };
        assert_eq!(budget(100), Ok(()));
        assert_eq!(budget(101), Err(ErrorKind::Unavailable));
    }

    #[test]
    fn what_is_read_is_limited() {
        let limits = Limits { query_bytes_scanned_max: 10, ..Limits::default() };
        let clock = FakeClock::new();
        let budget = Budget::of_tenant(clock, &TenantId::default(), &limits, &Arc::default());
        budget.add_bytes(10);
        budget.check().unwrap();
        budget.add_bytes(1);
        assert_eq!(
            budget.check().unwrap_err().exceeded().map(|of| of.id.as_str()),
            Some("max_bytes_scanned")
        );
    }
}
