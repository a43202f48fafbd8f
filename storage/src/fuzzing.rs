//! Doors for the fuzz targets of `tests/fuzz`: one reader each, on bytes that nobody vouches for.
//!
//! Behind the feature `fuzzing`, and no part of the crate's face. Checksums are made right here
//! where they stand before what is to be tried, because an enemy can compute them too.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use model::{Batch, LimitsOf, Signal, TenantId};
use xxhash_rust::xxh3::xxh3_64;

use crate::backup::Manifest;
use crate::catalog::{Checkpoint, Commit, Sidecar, parse_path, seal_of, unseal};
use crate::columns::SectionFile;
use crate::ids::IdIndex;
use crate::objects::checksums_of;
use crate::segment::{
    Append, EncodeContext, EncodedSegment, MemorySource, OpenSegment as _, SegmentHandle,
    SegmentMeta, SegmentSource,
};
use crate::store::engine::SignalEngine;
use crate::store::engines::{Logs, Metrics, Traces};
use crate::text::{NeedleTokens, TextIndex};
use crate::{
    Budget, LogsReader, MetricsReader, Options, Snapshot, StorageError, TracesReader, wal,
};

/// Blocks of a segment that the indexes tried here may belong to.
const BLOCKS_MAX: usize = 1 << 16;

/// A log file: once as it is, once with the checksums of header and frames made right. Returns how
/// many whole frames were found.
#[must_use]
pub fn wal_file(bytes: &[u8]) -> usize {
    let salt = bytes.get(8..).and_then(<[u8]>::first_chunk::<8>).copied();
    let salt = u64::from_le_bytes(salt.unwrap_or_default());
    let found = wal::frames_in(bytes, salt);
    let mut healed = bytes.to_vec();
    wal::heal(&mut healed, salt);
    found + wal::frames_in(&healed, salt)
}

/// An object of the catalog, its seal made right: a commit, a checkpoint, or the note beside a
/// segment. Returns how many segments it names.
#[must_use]
pub fn catalog_object(json: &[u8]) -> usize {
    let _named = parse_path(&String::from_utf8_lossy(json));
    let mut sealed = json.to_vec();
    sealed.extend_from_slice(seal_of(json).as_bytes());
    let commit = unseal::<Commit>("fuzz", &sealed).map_or(Vec::new(), |commit| commit.added);
    let checkpoint =
        unseal::<Checkpoint>("fuzz", &sealed).map_or(Vec::new(), |checkpoint| checkpoint.segments);
    let sidecar = unseal::<Sidecar>("fuzz", &sealed).map_or(Vec::new(), |note| vec![note.meta]);
    let metas = [commit, checkpoint, sidecar].concat();
    for meta in &metas {
        let _signal = meta.signal();
        // Statistics are read before anything is opened.
        let handle = SegmentHandle::new(meta.clone(), Vec::new());
        let reader = TracesReader::new(Vec::new(), vec![Arc::new(handle)]);
        let _unread = reader.services(crate::TimeRange::ALL, &endless());
        for file in &meta.files {
            let _sums = checksums_of(file);
        }
    }
    metas.len()
}

/// The manifest of a backup, its seal made right. Returns how many files it names, none of which lies
/// outside of a data folder.
#[must_use]
pub fn backup_manifest(json: &[u8]) -> usize {
    let mut sealed = json.to_vec();
    sealed.extend_from_slice(format!("\n{:016x}\n", xxh3_64(json)).as_bytes());
    let Ok(manifest) = Manifest::parse("backups/fuzz.json", &sealed) else { return 0 };
    for file in &manifest.files {
        let parts = file.path.split('/');
        assert!(parts.clone().all(|part| !part.is_empty() && part != ".."), "{}", file.path);
    }
    manifest.files.len()
}

/// A checksum table as the catalog has it, and the bytes of its file. Returns how many chunks pass.
#[must_use]
pub fn checksum_table(table: &str, content: &[u8]) -> usize {
    let meta = crate::segment::FileMeta {
        extension: "fuzz".to_owned(),
        bytes: content.len() as u64,
        checksums: table.to_owned(),
    };
    let sums = checksums_of(&meta);
    let chunks = content.chunks(crate::segment::CHECKSUM_CHUNK_BYTES);
    chunks.zip(sums).filter(|(chunk, sum)| xxh3_64(chunk) == *sum).count()
}

/// An ID index and what is asked of it. Returns how many places it gave.
#[must_use]
pub fn id_index(bytes: Bytes, hashes: &[u64]) -> usize {
    let length = bytes.len() as u64;
    let source = source("ids", bytes);
    let Ok(index) = IdIndex::open(&source, 0..length) else { return 0 };
    let found = hashes.iter().map(|&hash| index.lookup(hash).map_or(0, |places| places.len()));
    found.sum()
}

/// The text index of a file of sections, filters and words. Returns how many blocks may hold
/// `needle`.
#[must_use]
pub fn text_index(bytes: Bytes, needle: &[u8]) -> usize {
    let Ok(file) = SectionFile::open(source("text", bytes)) else { return 0 };
    // The number of blocks stands in the segment's main file; the filters repeat it.
    let header = file.read_range("filters", 0, 4).unwrap_or_default();
    let blocks = header.first_chunk::<4>().map_or(1, |count| u32::from_le_bytes(*count) as usize);
    let blocks = blocks.min(BLOCKS_MAX);
    let Ok(index) = TextIndex::open(file, blocks) else { return 0 };
    let mut candidates = vec![true; blocks];
    for tokens in [NeedleTokens::of_substring(needle), NeedleTokens::of_text(needle)] {
        if index.retain(&tokens, &mut candidates).is_err() {
            return 0;
        }
    }
    candidates.iter().filter(|candidate| **candidate).count()
}

/// A snapshot of one segment that consists of `files`, in the order of the catalog.
#[must_use]
pub fn segment(signal: Signal, files: Vec<Bytes>) -> Snapshot {
    opened(signal, vec![files])
}

/// Puts a batch into a memtable and makes the files of segments from it: of a flush, and merged for
/// `level` above 0.
///
/// Errors: those of the encoders.
pub fn segments_of(batch: Batch, level: u8) -> Result<Vec<Vec<Bytes>>, StorageError> {
    match batch {
        Batch::Metrics(batch) => files_of::<Metrics>(batch, level),
        Batch::Logs(batch) => files_of::<Logs>(batch, level),
        Batch::Traces(batch) => files_of::<Traces>(batch, level),
    }
}

/// The segments that [`segments_of`] made, to be read.
#[must_use]
pub fn opened(signal: Signal, segments: Vec<Vec<Bytes>>) -> Snapshot {
    let segments = segments.into_iter().map(|files| {
        let sources = files.into_iter().map(|bytes| source("segment", bytes)).collect();
        (meta_of(signal, 0, String::new()), sources)
    });
    snapshot_of(signal, segments.collect())
}

/// A budget without end.
#[must_use]
pub fn endless() -> Budget {
    Budget::new(Arc::new(StillClock), u64::MAX, 0)
}

#[derive(Debug)]
struct StillClock;

impl crate::Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

/// Reads every row of a snapshot's logs and traces and every sample of its metrics. Returns how many
/// there are.
#[must_use]
pub fn rows_of(snapshot: &Snapshot) -> usize {
    let (budget, mut rows) = (endless(), 0);
    let scan = crate::LogScan {
        matchers: Vec::new(),
        range: crate::TimeRange::ALL,
        line_contains: Vec::new(),
        attribute_hints: Vec::new(),
        trace_id: None,
        direction: crate::Direction::Backward,
    };
    let _unread = snapshot.logs().scan(&scan, &budget, &mut |block, _| {
        for row in block.iter() {
            rows += 1;
            let _line = block.batch.line(row);
            block.batch.attributes(row).iter().for_each(|(_, value)| {
                let _text = model::value_to_json(value);
            });
        }
        ControlFlow::Continue(())
    });
    let scan = crate::SpanScan {
        range: crate::TimeRange::ALL,
        service: None,
        name: None,
        attribute_hints: Vec::new(),
        duration_min_ns: None,
        duration_max_ns: None,
    };
    let _unread = snapshot.traces().scan(&scan, &budget, &mut |block| {
        for row in block.iter() {
            rows += 1;
            let events = block.batch.events(row).count() + block.batch.links(row).count();
            let _events = events + block.batch.attributes(row).iter().count();
        }
        ControlFlow::Continue(())
    });
    let metrics = snapshot.metrics();
    if let Ok(selection) = metrics.select(&[], crate::MsRange::ALL, &budget) {
        let mut buf = crate::SampleBuf::default();
        for index in 0..selection.series().len() {
            if selection.read(index, &mut buf, &budget).is_ok() {
                rows += buf.times.len() + buf.histograms.len();
            }
        }
    }
    let _unread = metrics.label_names(&[], crate::MsRange::ALL, &budget);
    let _unread = metrics.label_values("__name__", &[], crate::MsRange::ALL, &budget);
    let _unread = metrics.metadata(None, &budget);
    let _unread = metrics.exemplars(&[], crate::MsRange::ALL, &budget);
    let _unread = snapshot.traces().services(crate::TimeRange::ALL, &budget);
    let _unread = snapshot.traces().operations("svc-1", crate::TimeRange::ALL, &budget);
    rows
}

fn source(name: &str, bytes: Bytes) -> Arc<dyn SegmentSource> {
    Arc::new(MemorySource { name: name.to_owned(), bytes })
}

fn meta_of(signal: Signal, rows: u64, stats: String) -> SegmentMeta {
    SegmentMeta {
        id: "fuzz".to_owned(),
        signal: signal.as_str().to_owned(),
        tenant: "default".to_owned(),
        level: 0,
        rows,
        time_min_ns: i64::MIN,
        time_max_ns: i64::MAX,
        received_max_ns: 0,
        files: Vec::new(),
        stats,
        wal_sequence_max: 0,
    }
}

type Parts = Vec<(SegmentMeta, Vec<Arc<dyn SegmentSource>>)>;

fn handles<E: SignalEngine>(parts: Parts) -> Vec<Arc<SegmentHandle<E::Segment>>> {
    parts.into_iter().map(|(meta, sources)| Arc::new(SegmentHandle::new(meta, sources))).collect()
}

fn snapshot_of(signal: Signal, parts: Parts) -> Snapshot {
    let mut metrics = MetricsReader::new(Vec::new(), Vec::new());
    let mut logs = LogsReader::new(Vec::new(), Vec::new());
    let mut traces = TracesReader::default();
    match signal {
        Signal::Metrics => metrics = MetricsReader::new(Vec::new(), handles::<Metrics>(parts)),
        Signal::Logs => logs = LogsReader::new(Vec::new(), handles::<Logs>(parts)),
        Signal::Traces => traces = TracesReader::new(Vec::new(), handles::<Traces>(parts)),
    }
    Snapshot::new(Arc::new(metrics), Arc::new(logs), Arc::new(traces))
}

fn files_of<E: SignalEngine>(batch: E::Batch, level: u8) -> Result<Vec<Vec<Bytes>>, StorageError> {
    let options = Options::new(std::path::PathBuf::new());
    let limits = LimitsOf::new(&options.limits, &TenantId::default());
    let memtable = E::memtable(1, limits, &options);
    let _refused = E::append(&memtable, batch, 0, Append::Live);
    let mut ctx = EncodeContext::sample(options.id_fields, 0, 1 << 24);
    let mut encoded = E::encode(&memtable, &ctx)?;
    if level > 0 {
        ctx.level = level;
        let inputs = encoded.iter().map(|segment| {
            let files = segment.files.iter();
            let sources: Vec<_> = files.map(|file| source("flush", file.bytes.clone())).collect();
            let meta = meta_of(E::SIGNAL, segment.rows, hex::encode(&segment.stats));
            E::Segment::open(&meta, &sources).map(Arc::new)
        });
        encoded = E::merge(&inputs.collect::<Result<Vec<_>, _>>()?, &ctx)?;
    }
    let files = |segment: EncodedSegment| segment.files.into_iter().map(|file| file.bytes);
    Ok(encoded.into_iter().map(|segment| files(segment).collect()).collect())
}
