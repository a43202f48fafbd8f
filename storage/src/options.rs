//! How a store is set up, and every limit that storage keeps by itself.

use std::path::PathBuf;
use std::sync::Arc;

use model::{LimitTable, Memory, Secret};

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the log is on disk: survives a power cut.
    #[default]
    Fsync,
    /// When the log is with the operating system: survives a crash of the process.
    Os,
}

/// Settings of a store. Names in TOML stand in the root's `config.rs`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Local folder: log, lock, cache, and the segments unless `bucket` is set.
    pub data_dir: PathBuf,
    /// `s3://bucket/prefix`, `gs://...`, `az://...`; segments and catalog go there.
    pub bucket: Option<String>,
    /// Credentials and settings of the bucket as the `object_store` crate names them
    /// (`aws_access_key_id`, `aws_endpoint`, `aws_allow_http`, ...).
    pub bucket_options: Vec<(String, Secret)>,
    pub durability: Durability,
    /// Group commit: how long a write may wait for company. Units: us.
    pub group_commit_us: u64,
    /// Size of one log file. Units: bytes.
    pub wal_segment_bytes: u64,
    /// All log files together; above it writes are refused as unavailable. Units: bytes.
    pub wal_bytes_max: u64,
    /// A signal's memtable is flushed when its unflushed log reaches this. Units: bytes.
    pub flush_wal_bytes: u64,
    /// ... or when it keeps this much memory. Units: bytes.
    pub flush_memory_bytes: u64,
    /// ... or when its oldest record is this old. Units: ns.
    pub flush_age_ns: u64,
    /// Memory of all memtables, flushing ones included; above it writes wait. Units: bytes.
    pub memtable_bytes_max: u64,
    /// Memory of memtables while the log is replayed, beside that of new writes; above it the oldest
    /// are flushed first. Units: bytes.
    pub replay_memory_max: u64,
    /// Decoded and fetched blocks kept for queries. Units: bytes.
    pub cache_bytes_max: u64,
    /// Replaced files are kept this long for readers and undo. Units: ns.
    pub gc_grace_ns: i64,
    /// A byte-identical request inside this window is stored once. Units: ns.
    pub dedup_window_ns: i64,
    /// Writes stop (Unavailable) when the disk has less than this; 0 is the larger of 1 GiB and 5 % of
    /// it, and never more than a fifth. Units: bytes.
    pub disk_free_bytes_min: u64,
    /// Segments grow by merging up to about this. Units: bytes.
    pub segment_bytes_target: u64,
    /// What a flush or a merge may keep beside its input and its output, about. Units: bytes.
    pub work_bytes_max: u64,
    /// Threads for work on rows, queries and background work together.
    pub pool_threads: usize,
    /// Of each tenant; what is in it counts from the moment that it is.
    pub limits: Arc<LimitTable>,
    /// Of the whole process.
    pub memory: Arc<Memory>,
    /// Attribute keys whose values are indexed as IDs, compared without case, `-`, `_` and `.`.
    pub id_fields: Vec<String>,
}

impl Options {
    /// The defaults of reliability.md section 5 and design.md 2, for a folder.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Options {
        Options {
            data_dir,
            bucket: None,
            bucket_options: Vec::new(),
            durability: Durability::Fsync,
            group_commit_us: 2_000,
            wal_segment_bytes: 64 << 20,
            wal_bytes_max: 4 << 30,
            flush_wal_bytes: 64 << 20,
            flush_memory_bytes: 128 << 20,
            flush_age_ns: 300 * 1_000_000_000,
            memtable_bytes_max: 512 << 20,
            replay_memory_max: 1 << 30,
            cache_bytes_max: 128 << 20,
            gc_grace_ns: 600 * 1_000_000_000,
            dedup_window_ns: 300 * 1_000_000_000,
            disk_free_bytes_min: 0,
            segment_bytes_target: 128 << 20,
            work_bytes_max: 384 << 20,
            pool_threads: 2,
            limits: Arc::default(),
            memory: Arc::default(),
            id_fields: [
                "trace_id",
                "span_id",
                "x-trace-id",
                "x-correlation-id",
                "x-request-id",
                "correlation_id",
                "request_id",
                "claim_id",
                "order_id",
                "session_id",
                "transaction_id",
                "message_id",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}
