//! Nanoseconds per sample of every stage, printed; small in a debug build, so that it stays quick.

use std::sync::Arc;

use model::{Labels, MetricsBatch, Sample, Series};

use super::super::memtable::Memtable;
use super::{append, context, flush, merge_all, options, reader};
use crate::segment::Append;
use crate::{MatchOp, MsRange, SampleBuf};

#[expect(clippy::disallowed_methods, reason = "a measurement asks the system's clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Counters and gauges of many targets, as a fleet would send them.
fn fleet(count: usize) -> Vec<Arc<Series>> {
    (0..count)
        .map(|index| {
            let metric = format!("http_server_metric_{}", index % 50);
            let instance = format!("10.0.{}.{}:9100", index / 50 / 250, index / 50 % 250);
            Series::new(Labels::from_pairs([
                ("__name__", metric.as_str()),
                ("instance", instance.as_str()),
                ("job", "node"),
                ("cluster", "production-eu-1"),
                ("namespace", "default"),
                ("mode", ["user", "system", "idle", "iowait"][index % 4]),
            ]))
        })
        .collect()
}

/// Request number `round`: one sample of each of `series`, of which `first` is the number.
fn request(series: &[Arc<Series>], first: usize, round: usize) -> MetricsBatch {
    let mut batch = MetricsBatch { series: series.to_vec(), ..MetricsBatch::default() };
    let time_ms = 1_755_500_000_000 + round as i64 * 15_000;
    for index in 0..series.len() {
        let number = first + index;
        let noise = (number * 7919 + round * 104_729) % 1000;
        let value = match number % 4 {
            0 => (round * 37 + noise % 13) as f64,
            1 => (noise as f64) / 100.0,
            2 => (number as f64) * 1e6 + (round * 4096) as f64,
            _ => 1.0,
        };
        batch.samples.push(Sample { series: index as u32, time_ms, value });
    }
    batch
}

#[test]
fn every_stage_in_nanoseconds_per_sample() {
    let (series_count, rounds) = if cfg!(debug_assertions) { (500, 20) } else { (100_000, 60) };
    let series = fleet(series_count);
    let mut memtable = Memtable::new(1, &options());
    let mut segments = Vec::new();
    let (mut cold, mut warm, mut encode) = (0.0, 0.0, 0.0);
    for round in 0..rounds {
        let batches: Vec<MetricsBatch> = series
            .chunks(2000)
            .enumerate()
            .map(|(index, chunk)| request(chunk, index * 2000, round))
            .collect();
        let start = now();
        for batch in batches {
            assert!(memtable.append(batch, 1, Append::Live).is_empty());
        }
        let seconds = start.elapsed().as_secs_f64();
        if round == 0 {
            cold += seconds;
        } else {
            warm += seconds;
        }
        if (round + 1) % (rounds / 4) == 0 {
            let start = now();
            segments.extend(flush(&memtable));
            encode += start.elapsed().as_secs_f64();
            eprintln!("heap {} B a sample", memtable.heap_bytes() / memtable.rows() as usize);
            memtable = memtable.successor(round as u32 + 2);
        }
    }
    let samples = (series_count * rounds) as f64;
    let start = now();
    let merged = merge_all(&segments);
    let merge = start.elapsed().as_secs_f64();
    let bytes = |list: &[crate::segment::EncodedSegment]| -> f64 {
        list.iter().map(|segment| segment.files[0].bytes.len()).sum::<usize>() as f64
    };

    let reader = reader(&[], &merged);
    let start = now();
    let matchers = [super::matcher("__name__", MatchOp::Regex, ".+")];
    let selection = reader.select(&matchers, MsRange::ALL, &super::budget()).unwrap();
    let select = start.elapsed().as_secs_f64();
    let mut buf = SampleBuf::default();
    let start = now();
    let mut read_samples = 0;
    for index in 0..selection.series().len() {
        selection.read(index, &mut buf, &super::budget()).unwrap();
        read_samples += buf.times.len();
    }
    let read = start.elapsed().as_secs_f64();
    assert_eq!(read_samples, series_count * rounds);
    let start = now();
    let one = [super::matcher("__name__", MatchOp::Equal, "http_server_metric_7")];
    let found = reader.select(&one, MsRange::ALL, &super::budget()).unwrap();
    let select_one = start.elapsed().as_secs_f64();
    let ns = |seconds: f64, count: f64| seconds * 1e9 / count;
    eprintln!(
        "{series_count} series x {rounds}: ns a sample: cold append {:.0}, append {:.1}, encode \
         {:.1}, merge {:.1}, read {:.1}; select {:.0} ns a series, {} series of one metric in \
         {:.2} ms; B a sample: flushed {:.3}, merged {:.3}",
        ns(cold, series_count as f64),
        ns(warm, (series_count * (rounds - 1)) as f64),
        ns(encode, samples),
        ns(merge, samples),
        ns(read, samples),
        ns(select, series_count as f64),
        found.series().len(),
        select_one * 1e3,
        bytes(&segments) / samples,
        bytes(&merged) / samples,
    );
    measure_recording();
}

fn measure_recording() {
    let Some(recording) = super::scrapes::recording("node-and-server-1s-20min.jsonl.zst") else {
        return;
    };
    let step = if cfg!(debug_assertions) { 20 } else { 1 };
    let memtable = Memtable::new(1, &options());
    let mut seconds = 0.0;
    for scrape in (0..1250).step_by(step) {
        let batch = super::scrapes::scrapes(&recording, scrape, scrape + 1);
        let start = now();
        assert!(append(&memtable, batch).is_empty());
        seconds += start.elapsed().as_secs_f64();
    }
    let samples = memtable.rows() as f64;
    let heap = memtable.heap_bytes() as f64;
    let start = now();
    let segments = super::encode(&memtable, &context(0)).unwrap();
    let encode = start.elapsed().as_secs_f64();
    let start = now();
    let merged = merge_all(&segments);
    let merge = start.elapsed().as_secs_f64();
    let reader = reader(&[], &merged);
    let selection = reader.select(&[], MsRange::ALL, &super::budget()).unwrap();
    let mut buf = SampleBuf::default();
    let start = now();
    for index in 0..selection.series().len() {
        selection.read(index, &mut buf, &super::budget()).unwrap();
    }
    let read = start.elapsed().as_secs_f64();
    eprintln!(
        "recording of {samples} samples: heap {:.2} B a sample, ns a sample: append {:.1}, encode \
         {:.1}, merge {:.1}, read {:.1}",
        heap / samples,
        seconds * 1e9 / samples,
        encode * 1e9 / samples,
        merge * 1e9 / samples,
        read * 1e9 / samples,
    );
}
