//! Histograms, exemplars, metadata, splitting, corrupt files, and the files of released versions.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Exemplar, Histogram, Labels, MetricKind, MetricMetadata,
    MetricsBatch,
};

use super::super::memtable::Memtable;
use super::{
    append, budget, context, everything, floats, flush, merge_all, open, options, read_all, reader,
    series,
};
use crate::segment::{EncodedFile, EncodedSegment};
use crate::{IdQuery, MetricsReader, MsRange, SampleBuf};

fn histogram(number: u32) -> Histogram {
    let count = f64::from(number);
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: count,
        count: 10.0 * count,
        sum: count * 1.25,
        positive_spans: vec![
            BucketSpan { offset: -3, length: 2 },
            BucketSpan { offset: 4, length: 1 },
        ],
        positive_buckets: vec![count, 2.0 * count, 3.0],
        negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
        negative_buckets: vec![count],
        custom_values: Vec::new(),
        is_float: false,
        reset_hint: (number % 3) as u8,
    }
}

fn custom(number: u32) -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: f64::from(number),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, f64::from(number)],
        custom_values: vec![0.5, 1.0],
        is_float: true,
        ..Histogram::default()
    }
}

/// A little of everything that a segment can hold.
fn sample_memtable() -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new(1, &options()));
    let (m, h) = (series(&[("__name__", "m"), ("job", "j")]), series(&[("__name__", "h")]));
    let samples: Vec<_> = (0..100).map(|i| (&m, i * 15_000, (i * i) as f64 / 10.0)).collect();
    append(&memtable, floats(&samples));
    let histograms = (0..20u32).map(|i| {
        let histogram = if i < 10 { histogram(i) } else { custom(i) };
        (0, i64::from(i) * 1000, Box::new(histogram))
    });
    let labels = Labels::from_pairs([("trace_id", "4BF92f3577b34da6a3ce929d0e0e4736")]);
    let metadata = |help: &str| MetricMetadata {
        family: "m".to_owned(),
        kind: MetricKind::Counter,
        help: help.to_owned(),
        unit: "seconds".to_owned(),
    };
    let batch = MetricsBatch {
        series: vec![h],
        histograms: histograms.collect(),
        exemplars: vec![Exemplar { series: 0, time_ms: 7, value: 0.7, labels }],
        metadata: vec![metadata("older"), metadata("newer")],
        ..MetricsBatch::default()
    };
    assert!(append(&memtable, batch).is_empty());
    memtable
}

/// Asserts that a reader finds what [`sample_memtable`] put in.
fn check_sample(reader: &MetricsReader) {
    let floats = read_all(reader, &everything(), MsRange::ALL);
    let want: Vec<(i64, u64)> =
        (0..100).map(|i| (i * 15_000, ((i * i) as f64 / 10.0).to_bits())).collect();
    assert_eq!(floats, [(Labels::from_pairs([("__name__", "m"), ("job", "j")]), want)]);

    let selection = reader.select(&everything(), MsRange::ALL, &budget()).unwrap();
    let index = selection.series().iter().position(|labels| labels.metric_name() == "h").unwrap();
    let mut buf = SampleBuf::default();
    selection.read(index, &mut buf, &budget()).unwrap();
    let found: Vec<(i64, Histogram)> =
        buf.histograms.iter().map(|(time, histogram)| (*time, (**histogram).clone())).collect();
    let want = |i: u32| if i < 10 { histogram(i) } else { custom(i) };
    let want: Vec<(i64, Histogram)> = (0..20).map(|i| (i64::from(i) * 1000, want(i))).collect();
    assert_eq!(found, want);

    let id = IdQuery {
        text: "4bf92F3577b34da6a3ce929d0e0e4736".to_owned(),
        trace_id: None,
        span_id: None,
    };
    let (hits, _) = reader.lookup(&id, 10, &budget()).unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!((hits[0].series.metric_name(), hits[0].time_ms, hits[0].value), ("h", 7, 0.7));
    let other = IdQuery { text: "4bf9".to_owned(), ..id };
    assert_eq!(reader.lookup(&other, 10, &budget()).unwrap().0, []);
    let (exemplars, _) = reader.exemplars(&everything(), MsRange::ALL, &budget()).unwrap();
    assert_eq!(exemplars, hits);

    let (metadata, _) = reader.metadata(Some("m"), &budget()).unwrap();
    let helps: Vec<&str> = metadata.iter().map(|metadata| metadata.help.as_str()).collect();
    assert_eq!(helps, ["newer", "older"]);
}

#[test]
fn everything_survives_flush_and_merge() {
    let memtable = sample_memtable();
    check_sample(&reader(&[&memtable], &[]));
    let flushed = flush(&memtable);
    check_sample(&reader(&[], &flushed));
    check_sample(&reader(&[&memtable], &flushed));
    let twice = vec![flush(&memtable).remove(0), flush(&memtable).remove(0)];
    check_sample(&reader(&[], &merge_all(&twice)));
}

#[test]
fn an_empty_memtable_makes_no_segment_and_metadata_alone_makes_one() {
    let memtable = Arc::new(Memtable::new(1, &options()));
    assert!(flush(&memtable).is_empty());
    let metadata = vec![MetricMetadata { family: "m".to_owned(), ..MetricMetadata::default() }];
    append(&memtable, MetricsBatch { metadata, ..MetricsBatch::default() });
    let segments = merge_all(&flush(&memtable));
    let found = reader(&[], &segments).metadata(None, &budget()).unwrap().0;
    assert_eq!(found.len(), 1);
}

#[test]
fn a_merge_cuts_its_output_at_the_target() {
    let memtable = Arc::new(Memtable::new(1, &options()));
    let series: Vec<_> = (0..600)
        .map(|index| series(&[("__name__", "m"), ("index", &format!("{index:03}"))]))
        .collect();
    let samples: Vec<_> = series.iter().map(|series| (series, 1, 1.0)).collect();
    append(&memtable, floats(&samples));
    let inputs: Vec<_> = flush(&memtable).iter().map(open).collect();
    let mut ctx = context(1);
    ctx.segment_bytes_target = 1;
    let outputs = super::merge(&inputs, &ctx).unwrap();
    assert_eq!(outputs.len(), 600);
    assert_eq!(read_all(&reader(&[], &outputs), &everything(), MsRange::ALL).len(), 600);
}

/// Flips bytes all over a file: an answer may be partial, but nothing panics.
#[test]
fn a_corrupt_file_is_a_notice_and_never_a_panic() {
    let bytes = flush(&sample_memtable())[0].files[0].bytes.clone();
    for at in 0..bytes.len() {
        for damaged in [flip(&bytes, at), bytes.slice(..at)] {
            let mut segment = flush(&sample_memtable_small());
            segment[0].files[0] = EncodedFile { extension: "metrics", bytes: damaged };
            ask_everything(&reader(&[], &segment));
        }
    }
}

fn sample_memtable_small() -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new(1, &options()));
    append(&memtable, floats(&[(&series(&[("__name__", "m")]), 1, 1.0)]));
    memtable
}

fn flip(bytes: &Bytes, at: usize) -> Bytes {
    let mut damaged = bytes.to_vec();
    damaged[at] ^= 0x55;
    damaged.into()
}

fn ask_everything(reader: &MetricsReader) {
    let selection = reader.select(&everything(), MsRange::ALL, &budget()).unwrap();
    let mut buf = SampleBuf::default();
    for index in 0..selection.series().len() {
        selection.read(index, &mut buf, &budget()).unwrap();
    }
    let _names = reader.label_names(&[], MsRange::ALL, &budget()).unwrap();
    let _metadata = reader.metadata(None, &budget()).unwrap();
    let _exemplars = reader.exemplars(&everything(), MsRange::ALL, &budget()).unwrap();
}

/// The file that version 1 wrote when it was released.
#[test]
fn the_committed_file_of_version_1_is_still_readable() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/sample.metrics");
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let template = flush(&sample_memtable()).remove(0);
    let files = vec![EncodedFile { extension: "metrics", bytes }];
    let segments = vec![EncodedSegment { files, ..template }];
    check_sample(&reader(&[], &segments));
    check_sample(&reader(&[], &merge_all(&segments)));
}
