//! Metrics from memtable to merged segment, through the public face of the module.

mod engine;
mod files;
mod rules;
mod scrapes;
mod speed;

use std::sync::Arc;

use bytes::Bytes;
use model::{Labels, Limits, MetricsBatch, Sample, Series};

use super::encode::encode;
use super::memtable::Memtable;
use super::merge::merge;
use super::scan::Segment;
use crate::segment::{
    Append, EncodeContext, EncodedSegment, FileMeta, MemorySource, OpenSegment, SegmentHandle,
    SegmentMeta, SegmentSource,
};
use crate::{
    Budget, Clock, MatchOp, Matcher, MetricsReader, MsRange, Options, RegexLimits, SampleBuf,
};

#[derive(Debug)]
struct StillClock;

impl Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

fn budget() -> Budget {
    Budget::new(Arc::new(StillClock), 1_000_000, 0)
}

fn options() -> Options {
    Options::new("unused".into())
}

fn context(level: u8) -> EncodeContext {
    EncodeContext::sample(Vec::new(), level, 128 << 20)
}

fn series(pairs: &[(&str, &str)]) -> Arc<Series> {
    Series::new(Labels::from_pairs(pairs.iter().copied()))
}

/// A batch of float samples: series, time, value.
fn floats(samples: &[(&Arc<Series>, i64, f64)]) -> MetricsBatch {
    let mut batch = MetricsBatch::default();
    for (index, (series, time_ms, value)) in samples.iter().enumerate() {
        batch.series.push(Arc::clone(series));
        batch.samples.push(Sample { series: index as u32, time_ms: *time_ms, value: *value });
    }
    batch
}

fn append(memtable: &Memtable, batch: MetricsBatch) -> model::Rejections {
    memtable.append(batch, 1, Append::Live)
}

fn meta(segment: &EncodedSegment) -> SegmentMeta {
    SegmentMeta {
        id: "test".to_owned(),
        signal: "metrics".to_owned(),
        tenant: "default".to_owned(),
        level: 0,
        rows: segment.rows,
        time_min_ns: segment.time_min_ns,
        time_max_ns: segment.time_max_ns,
        received_max_ns: 0,
        files: vec![FileMeta {
            extension: "metrics".to_owned(),
            bytes: segment.files[0].bytes.len() as u64,
            checksums: String::new(),
        }],
        stats: String::new(),
        wal_sequence_max: 0,
    }
}

fn source(bytes: &Bytes) -> Arc<dyn SegmentSource> {
    Arc::new(MemorySource { name: "test.metrics".to_owned(), bytes: bytes.clone() })
}

fn handle(segment: &EncodedSegment) -> Arc<SegmentHandle<Segment>> {
    Arc::new(SegmentHandle::new(meta(segment), vec![source(&segment.files[0].bytes)]))
}

fn open(segment: &EncodedSegment) -> Arc<Segment> {
    let sources = [source(&segment.files[0].bytes)];
    Arc::new(Segment::open(&meta(segment), &sources).unwrap())
}

fn flush(memtable: &Memtable) -> Vec<EncodedSegment> {
    encode(memtable, &context(0)).unwrap()
}

fn merge_all(segments: &[EncodedSegment]) -> Vec<EncodedSegment> {
    let inputs: Vec<Arc<Segment>> = segments.iter().map(open).collect();
    merge(&inputs, &context(1)).unwrap()
}

fn reader(memtables: &[&Arc<Memtable>], segments: &[EncodedSegment]) -> MetricsReader {
    let memtables = memtables.iter().map(|memtable| Arc::clone(memtable)).collect();
    MetricsReader::new(memtables, segments.iter().map(handle).collect())
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value, RegexLimits::of(&Limits::default())).unwrap()
}

fn everything() -> Vec<Matcher> {
    vec![matcher("__name__", MatchOp::Regex, ".*")]
}

/// All that a reader finds: labels, then time and bits of each sample.
fn read_all(
    reader: &MetricsReader,
    matchers: &[Matcher],
    range: MsRange,
) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let selection = reader.select(matchers, range, &budget()).unwrap();
    assert!(selection.notices.unread.is_empty(), "{:?}", selection.notices);
    let mut buf = SampleBuf::default();
    let mut found = Vec::new();
    for (index, labels) in selection.series().iter().enumerate() {
        let notices = selection.read(index, &mut buf, &budget()).unwrap();
        assert!(notices.unread.is_empty(), "{notices:?}");
        let bits = buf.values.iter().map(|value| value.to_bits());
        let samples: Vec<_> = buf.times.iter().copied().zip(bits).collect();
        if !samples.is_empty() {
            found.push((labels.clone(), samples));
        }
    }
    found
}
