//! Keeps what was accepted: write-ahead log, memtables, segments, indexes, catalog, compaction.
//!
//! The public face is [`Store`] (write, flush, compact, verify) and [`Snapshot`] (read). Formats are
//! written down byte by byte in `storage/FORMAT.md`. This crate knows nothing of protocols: a log
//! entry is replayed through the [`Replay`] that the root hands in, and nothing of query languages:
//! a scan takes matchers, ranges and needles.

mod backup;
mod catalog;
mod columns;
mod compaction;
mod components;
mod error;
#[cfg(test)]
mod fakes;
mod faults;
mod files;
mod folders;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod matcher;
mod notices;
mod objects;
mod options;
mod pool;
mod range;
mod regex_limits;
mod retention;
mod segment;
mod signal;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod snapshot;
mod store;
mod text;
mod unpack;
mod wal;

pub use backup::{
    Backup, BackupReport, BackupSource, Place, Progress, Restore, RestoreReport, Which,
};
pub use catalog::{seal_text, unseal_text};
pub use components::{Clock, Components, Random, Threads};
pub use error::{ErrorKind, StorageError};
pub use faults::{FaultPoint, Faults};
pub use files::{AppendFile, DiskFiles, FileEntry, FileLock, Files, Space};
pub use matcher::{MatchOp, Matcher};
pub use notices::{Budget, Ended, Notices, UnreadPart};
pub use options::{Durability, Options};
pub use pool::Pool;
pub use range::{MsRange, TimeRange};
pub use regex_limits::RegexLimits;
pub use retention::Waiting;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub use signal::logs::measure_logs;
pub use signal::logs::{Direction, LogBlock, LogScan, LogsReader};
pub use signal::metrics::{ExemplarHit, MetricsReader, SampleBuf, Selection};
pub use signal::traces::{SpanBlock, SpanScan, TracesReader};
pub use snapshot::{Found, IdQuery, Snapshot};
pub use store::{
    Ack, BackupSnapshot, Damage, Fatal, Figure, FileKind, Folder, Replay, Store, StoreStats, Tally,
    Usage, Verified, Write,
};

#[cfg(feature = "bench")]
#[doc(hidden)]
pub use signal::traces::bench::run as bench_traces;
