//! How much memory the process uses, told by its parts and measured as a whole.
//!
//! Atomics only: who measures (the root) and who waits or refuses (ingest, storage, query) share one
//! [`Memory`]. Near the limit queries are refused first, writes next, so that the process never
//! meets the system's own limit.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Of the limit, in percent, from where queries are refused.
const QUERIES_PERCENT: u64 = 85;
/// Of the limit, in percent, from where writes are refused as well.
const WRITES_PERCENT: u64 = 95;

/// How near the limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    /// New queries are refused.
    Queries,
    /// Writes are refused too.
    Writes,
}

/// A part of the process that keeps memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Requests being taken in.
    Ingest,
    /// Rows that are in no segment yet.
    Memtables,
    /// Blocks that were read.
    Cache,
    /// What running queries keep.
    Queries,
}

impl Pool {
    pub const ALL: [Pool; 4] = [Pool::Ingest, Pool::Memtables, Pool::Cache, Pool::Queries];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Pool::Ingest => "ingest",
            Pool::Memtables => "memtables",
            Pool::Cache => "cache",
            Pool::Queries => "queries",
        }
    }
}

/// See the module's docs. A limit of 0 is none.
#[derive(Debug, Default)]
pub struct Memory {
    limit_bytes: u64,
    /// Of the whole process, as measured last.
    resident_bytes: AtomicU64,
    query_bytes: AtomicI64,
}

impl Memory {
    #[must_use]
    pub fn new(limit_bytes: u64) -> Memory {
        Memory { limit_bytes, ..Memory::default() }
    }

    /// `memory.limit`. Units: bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Notes what the system says the process uses. Units: bytes.
    pub fn measured(&self, resident_bytes: u64) {
        self.resident_bytes.store(resident_bytes, Ordering::Relaxed);
    }

    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let (used, limit) = (self.resident_bytes(), self.limit_bytes);
        let reaches = |percent: u64| used >= limit / 100 * percent;
        if limit == 0 || !reaches(QUERIES_PERCENT) {
            Pressure::None
        } else if reaches(WRITES_PERCENT) {
            Pressure::Writes
        } else {
            Pressure::Queries
        }
    }

    /// What running queries keep. Units: bytes.
    #[must_use]
    pub fn query_bytes(&self) -> u64 {
        u64::try_from(self.query_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Counts what a query takes, or gives back.
    pub fn add_query_bytes(&self, bytes: i64) {
        self.query_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_refused_before_writes_and_no_limit_refuses_nothing() {
        let check = |limit, used, want| {
            let memory = Memory::new(limit);
            memory.measured(used);
            assert_eq!(memory.pressure(), want, "{used} of {limit}");
        };
        check(1000, 849, Pressure::None);
        check(1000, 850, Pressure::Queries);
        check(1000, 950, Pressure::Writes);
        check(0, u64::MAX, Pressure::None);
    }
}
