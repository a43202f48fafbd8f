//! What all segments have in common: how they are described in the catalog, written and read.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::Signal;
use serde::{Deserialize, Serialize};

use crate::columns::{BLOCK_BYTES, ROW_GROUP_BYTES, ROW_GROUP_ROWS};
use crate::{MsRange, StorageError, TimeRange};

/// A segment as its encoder made it, not yet anywhere.
#[derive(Debug)]
pub(crate) struct EncodedSegment {
    /// The files of the segment, the main one first (`parquet` or `metrics`), then its index.
    pub files: Vec<EncodedFile>,
    pub rows: u64,
    /// Closed range of the record times. Units: ns.
    pub time_min_ns: i64,
    pub time_max_ns: i64,
    /// Small facts for pruning without opening the file, in a form that the signal knows
    /// (FORMAT.md): at most [`SEGMENT_STATS_BYTES_MAX`].
    pub stats: Bytes,
}

/// One file of a segment.
#[derive(Debug)]
pub(crate) struct EncodedFile {
    /// File name extension, such as `parquet` or `index`.
    pub extension: &'static str,
    pub bytes: Bytes,
}

/// Cap of [`EncodedSegment::stats`]. Units: bytes.
pub(crate) const SEGMENT_STATS_BYTES_MAX: usize = 64 << 10;

/// A segment as the catalog lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SegmentMeta {
    /// Unique in the store, sortable by creation.
    pub id: String,
    /// `metrics`, `logs` or `traces`.
    pub signal: String,
    pub tenant: String,
    /// 0 for a flushed memtable, then one more for each merge.
    pub level: u8,
    pub rows: u64,
    pub time_min_ns: i64,
    pub time_max_ns: i64,
    /// When the newest of its records arrived. Units: ns.
    pub received_max_ns: i64,
    pub files: Vec<FileMeta>,
    /// Hex of [`EncodedSegment::stats`].
    #[serde(default)]
    pub stats: String,
    /// Highest log sequence number that the segment holds; 0 for a merged one.
    pub wal_sequence_max: u64,
}

impl SegmentMeta {
    pub(crate) fn meets(&self, range: TimeRange) -> bool {
        range.meets(self.time_min_ns, self.time_max_ns)
    }

    pub(crate) fn meets_ms(&self, range: MsRange) -> bool {
        range.meets(self.time_min_ns.div_euclid(1_000_000), self.time_max_ns.div_euclid(1_000_000))
    }

    pub(crate) fn signal(&self) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.as_str() == self.signal)
    }
}

/// One file of a segment in the catalog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    pub extension: String,
    pub bytes: u64,
    /// Hex of xxh3-64 (little endian) of each [`CHECKSUM_CHUNK_BYTES`] of the file, one after the other.
    pub checksums: String,
}

/// The unit in which files are fetched, verified and cached. Units: bytes.
pub(crate) const CHECKSUM_CHUNK_BYTES: usize = 64 << 10;

/// Reads ranges of one immutable file. Every byte handed out has been verified against the
/// catalog's checksums. Called from the pool, so it may block.
pub(crate) trait SegmentSource: Send + Sync + fmt::Debug {
    /// Size of the file. Units: bytes.
    fn len(&self) -> u64;

    /// The bytes of `range`, which must lie inside the file.
    ///
    /// Errors: Corrupt when a checksum differs or the file is shorter, Io.
    fn read(&self, range: Range<u64>) -> Result<Bytes, StorageError>;

    /// The name for messages.
    fn name(&self) -> &str;
}

/// A whole file in memory.
#[cfg(any(test, feature = "bench", feature = "fuzzing"))]
#[derive(Debug)]
pub(crate) struct MemorySource {
    pub name: String,
    pub bytes: Bytes,
}

#[cfg(any(test, feature = "bench", feature = "fuzzing"))]
impl SegmentSource for MemorySource {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        let (start, end) = (range.start as usize, range.end as usize);
        if start > end || end > self.bytes.len() {
            return Err(StorageError::corrupt(&self.name, "a range reaches beyond its end"));
        }
        Ok(self.bytes.slice(start..end))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A signal's open segment: footers and indexes parsed, rows not yet read.
pub(crate) trait OpenSegment: Sized + Send + Sync {
    /// Parses what every query needs. `sources` are in the order of `meta.files`.
    ///
    /// Errors: Corrupt, Io.
    fn open(meta: &SegmentMeta, sources: &[Arc<dyn SegmentSource>]) -> Result<Self, StorageError>;
}

/// A listed segment that is opened when somebody first needs it. Held by snapshots; its files are
/// not deleted while a handle lives.
#[derive(Debug)]
pub(crate) struct SegmentHandle<S> {
    pub(crate) meta: SegmentMeta,
    sources: Vec<Arc<dyn SegmentSource>>,
    opened: OnceLock<Result<Arc<S>, StorageError>>,
}

impl<S: OpenSegment> SegmentHandle<S> {
    pub(crate) fn new(meta: SegmentMeta, sources: Vec<Arc<dyn SegmentSource>>) -> Self {
        SegmentHandle { meta, sources, opened: OnceLock::new() }
    }

    /// The open segment.
    ///
    /// Errors: Corrupt, Io; the caller makes an [`crate::UnreadPart`] of it and goes on.
    pub(crate) fn get(&self) -> Result<Arc<S>, StorageError> {
        self.opened.get_or_init(|| S::open(&self.meta, &self.sources).map(Arc::new)).clone()
    }
}

/// What a merge keeps for a row that it orders, at most. Units: bytes.
const ROW_WORK_BYTES: u64 = 192;

/// What an encoder or a merge needs to know.
#[derive(Debug, Clone)]
pub(crate) struct EncodeContext {
    /// [`crate::Options::id_fields`], normalised: lower case without `-`, `_` and `.`.
    pub(crate) id_fields: Arc<[String]>,
    /// 0 for a flush, more for a merge: encoders spend more on higher levels.
    pub(crate) level: u8,
    /// Aim for files of about this size. Units: bytes.
    pub(crate) segment_bytes_target: usize,
    /// [`crate::Options::work_bytes_max`]. Units: bytes.
    pub(crate) work_bytes_max: usize,
    /// `limits.ingest.max_columns_per_stream` of the tenant.
    pub(crate) columns_max: usize,
}

impl EncodeContext {
    /// What tests encode with.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn sample(id_fields: Vec<String>, level: u8, segment_bytes_target: usize) -> Self {
        let columns_max = model::Limits::default().columns_max;
        let work_bytes_max = crate::Options::new(std::path::PathBuf::new()).work_bytes_max as usize;
        let id_fields = id_fields.into();
        EncodeContext { id_fields, level, segment_bytes_target, work_bytes_max, columns_max }
    }

    /// Raw bytes after which a row group ends early: a sixth of the work's memory.
    pub(crate) fn row_group_bytes(&self) -> usize {
        (self.work_bytes_max / 6).clamp(BLOCK_BYTES, ROW_GROUP_BYTES)
    }

    /// So many rows a merge may look at together when it keeps something for each.
    pub(crate) fn rows_max(&self) -> u64 {
        (self.work_bytes_max as u64 / ROW_WORK_BYTES).max(ROW_GROUP_ROWS as u64)
    }
}

/// How a batch comes to a memtable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Append {
    /// From a request: order and duplicates are judged.
    Live,
    /// From the log: it was judged when it was live; what cannot be kept twice is dropped silently.
    Replay,
}
