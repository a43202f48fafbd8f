//! Bytes per sample on real scrapes, index included, and every bit back.

use std::path::PathBuf;
use std::sync::Arc;

use model::{Labels, MetricsBatch, Sample, Series};

use super::super::memtable::Memtable;
use super::{append, flush, merge_all, options, read_all, reader};
use crate::MsRange;

/// One recorded series.
pub(super) struct Recorded {
    pub(super) series: Arc<Series>,
    pub(super) samples: Vec<(i64, f64)>,
}

/// The folder of conformance data, if it is there.
fn conformance() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("TERCET_CONFORMANCE").map(PathBuf::from);
    let near = ["../../shared/conformance", "../../../shared/conformance"];
    let places = given.into_iter().chain(near.iter().map(|place| root.join(place)));
    places.into_iter().find(|place| place.join("scrapes").is_dir())
}

/// Reads a recording; nothing, said aloud, where there is none.
pub(super) fn recording(file: &str) -> Option<Vec<Recorded>> {
    let Some(folder) = conformance() else {
        eprintln!("no conformance data: set TERCET_CONFORMANCE");
        return None;
    };
    let packed = std::fs::read(folder.join("scrapes").join(file)).unwrap();
    let text = zstd::stream::decode_all(packed.as_slice()).unwrap();
    let text = String::from_utf8(text).unwrap();
    Some(text.lines().map(recorded).collect())
}

fn recorded(line: &str) -> Recorded {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    let labels = row["metric"].as_object().unwrap();
    let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    let times = row["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
    let values = row["values"].as_array().unwrap().iter().map(|value| match value {
        serde_json::Value::Null => f64::NAN,
        serde_json::Value::String(text) => match text.as_str() {
            "Infinity" => f64::INFINITY,
            _ => f64::NEG_INFINITY,
        },
        number => number.as_f64().unwrap(),
    });
    Recorded {
        series: Series::new(Labels::from_pairs(labels)),
        samples: times.zip(values).collect(),
    }
}

/// Samples of scrapes `from..to` as one batch.
pub(super) fn scrapes(recording: &[Recorded], from: usize, to: usize) -> MetricsBatch {
    let mut batch = MetricsBatch::default();
    for (index, recorded) in recording.iter().enumerate() {
        batch.series.push(Arc::clone(&recorded.series));
        let end = to.min(recorded.samples.len());
        for &(time_ms, value) in &recorded.samples[from.min(end)..end] {
            batch.samples.push(Sample { series: index as u32, time_ms, value });
        }
    }
    batch
}

fn check(file: &str, scrapes_per_flush: usize) {
    let Some(recording) = recording(file) else { return };
    let longest = recording.iter().map(|recorded| recorded.samples.len()).max().unwrap();
    let mut memtable = Memtable::new(1, &options());
    let mut flushed = Vec::new();
    let mut from = 0;
    while from < longest {
        let batch = scrapes(&recording, from, from + scrapes_per_flush);
        assert!(append(&memtable, batch).is_empty());
        flushed.extend(flush(&memtable));
        memtable = memtable.successor(2);
        from += scrapes_per_flush;
    }
    let merged = merge_all(&flushed);
    let samples: u64 = merged.iter().map(|segment| segment.rows).sum();
    let size = |list: &[crate::segment::EncodedSegment]| -> usize {
        list.iter().map(|segment| segment.files[0].bytes.len()).sum()
    };
    let per_sample = size(&merged) as f64 / samples as f64;
    eprintln!(
        "{file}: {samples} samples, {} flushes of {:.3} B a sample, merged {per_sample:.4} B",
        flushed.len(),
        size(&flushed) as f64 / samples as f64,
    );
    assert!(per_sample <= 0.5, "{per_sample} bytes a sample");

    let mut want: Vec<(Labels, Vec<(i64, u64)>)> = recording
        .iter()
        .map(|recorded| {
            let bits = recorded.samples.iter().map(|(time, value)| (*time, value.to_bits()));
            (recorded.series.labels.clone(), bits.collect())
        })
        .collect();
    want.sort();
    let everything = [];
    assert!(read_all(&reader(&[], &merged), &everything, MsRange::ALL) == want);
    assert!(read_all(&reader(&[], &flushed), &everything, MsRange::ALL) == want);
}

#[test]
fn one_second_scrapes_stay_small() {
    check("node-and-server-1s-20min.jsonl.zst", 300);
}

#[test]
fn fifteen_second_scrapes_stay_small() {
    check("node-and-server-15s-55min.jsonl.zst", 20);
}
