//! Conformance cases, recorded requests, prost as the oracle, and bytes that make no sense.

use std::collections::BTreeMap;

use model::{Histogram, MetricsBatch, Reason};
use proptest::prelude::*;
use prost::Message as _;

use super::{decode, is_success};
use crate::testing::remote_write_cases::{self, Case, StoredSample, StoredSeries};
use crate::testing::{Bench, conformance_folder, histogram_fields, literal_fields};

mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(super) exemplars: Vec<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(int64, tag = "3")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) family: String,
        #[prost(string, tag = "4")]
        pub(super) help: String,
        #[prost(string, tag = "5")]
        pub(super) unit: String,
    }
}

type LabelList = Vec<(String, String)>;

/// A value in a store that keeps Prometheus' rules about order.
#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Float(u64),
    Histogram(Box<Histogram>),
}

/// Just enough of a store to judge the cases: what it refuses decides a status.
#[derive(Default)]
struct Store {
    window_ms: i64,
    series: BTreeMap<LabelList, BTreeMap<i64, Kept>>,
}

impl Store {
    /// Appends a batch; returns whether it refused something that was stored before the request.
    fn append(&mut self, batch: &MetricsBatch) -> bool {
        let before = self.series.clone();
        let mut refused = false;
        let floats = batch
            .samples
            .iter()
            .map(|sample| (sample.series, sample.time_ms, Kept::Float(sample.value.to_bits())));
        let histograms = batch.histograms.iter().map(|(series, time_ms, histogram)| {
            (*series, *time_ms, Kept::Histogram(histogram.clone()))
        });
        for (series, time_ms, kept) in floats.chain(histograms) {
            let labels = label_list(&batch.series[series as usize].labels);
            let known = before.get(&labels);
            let newest = known.and_then(|known| known.keys().next_back().copied());
            let is_same = known.and_then(|known| known.get(&time_ms)) == Some(&kept);
            let is_late = newest.is_some_and(|newest| time_ms <= newest - self.window_ms);
            if is_late && !is_same {
                refused = true;
                continue;
            }
            let samples = self.series.entry(labels).or_default();
            let newest = samples.keys().next_back().copied().unwrap_or(i64::MIN);
            if time_ms > newest.saturating_sub(self.window_ms) {
                samples.entry(time_ms).or_insert(kept);
            }
        }
        refused
    }
}

fn label_list(labels: &model::Labels) -> LabelList {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn matches(kept: &Kept, want: &StoredSample) -> bool {
    match kept {
        Kept::Float(bits) if want.value == "stale" => *bits == model::STALE_NAN_BITS,
        Kept::Float(bits) => {
            let (kept, want) = (f64::from_bits(*bits), want.value.parse::<f64>());
            want.is_ok_and(|want| kept == want || kept.is_nan() && want.is_nan())
        }
        Kept::Histogram(histogram) if want.value == "stale" => model::is_stale(histogram.sum),
        Kept::Histogram(histogram) => {
            want.value.starts_with("{{")
                && histogram_fields(histogram) == literal_fields(&want.value)
        }
    }
}

fn same_series(store: &Store, want: &[StoredSeries]) -> Result<(), String> {
    let kept: Vec<_> = store.series.iter().filter(|(_, samples)| !samples.is_empty()).collect();
    if kept.len() != want.len() {
        return Err(format!("{} series, not {}", kept.len(), want.len()));
    }
    for series in want {
        let samples = store.series.get(&series.labels).ok_or("a series is missing")?;
        let same = samples.len() == series.samples.len()
            && samples
                .iter()
                .zip(&series.samples)
                .all(|((time, kept), want)| *time == want.time_ms && matches(kept, want));
        if !same {
            return Err(format!("{samples:?} is not {:?}", series.samples));
        }
    }
    Ok(())
}

fn run_case(case: &Case) -> Result<(), String> {
    let bench = Bench::new(Default::default());
    let mut store = Store { window_ms: case.out_of_order_window_ms, ..Store::default() };
    let mut exemplars = Vec::new();
    for step in &case.steps {
        if step.reference_status == 415 {
            // The edge decides about these by their headers.
            continue;
        }
        let plain = snap::raw::Decoder::new().decompress_vec(&step.body);
        let decoded = plain.ok().and_then(|plain| bench.decode(decode, &plain).ok());
        let status = match decoded {
            None => 400,
            Some((model::Batch::Metrics(batch), rejections)) => {
                exemplars.extend(batch.exemplars.iter().map(|exemplar| {
                    let series = &batch.series[exemplar.series as usize].labels;
                    (label_list(series), label_list(&exemplar.labels), exemplar.time_ms)
                }));
                let refused = store.append(&batch);
                if refused || !is_success(&rejections) { 400 } else { 204 }
            }
            Some(_) => return Err("no metrics".to_owned()),
        };
        if status != step.reference_status {
            return Err(format!("status {status}, not {}", step.reference_status));
        }
    }
    for want in &case.stored_exemplars {
        let want = (want.series.clone(), want.labels.clone(), want.time_ms);
        if !exemplars.contains(&want) {
            return Err(format!("no exemplar {want:?}"));
        }
    }
    same_series(&store, &case.stored)
}

#[test]
fn conformance_cases_of_version_1() {
    let Some(folder) = conformance_folder() else {
        println!("no conformance data: skipped");
        return;
    };
    let cases = remote_write_cases::load(&folder);
    let is_v1 = |case: &&Case| {
        case.steps.iter().all(|step| {
            let is_v2 = step.headers.iter().any(|(_, text)| text.contains("v2.Req"));
            !is_v2 && (step.protocol == "1.0" || case.id == "v2-body-as-v1")
        })
    };
    let mut failures = Vec::new();
    let mut count = 0;
    for case in cases.iter().filter(is_v1) {
        count += 1;
        if let Err(why) = run_case(case) {
            failures.push(format!("{} ({}): {why}", case.id, case.level));
        }
    }
    println!("{} of {count} cases pass", count - failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn recorded_requests_decode_to_their_contents() {
    let Some(folder) = conformance_folder() else {
        println!("no conformance data: skipped");
        return;
    };
    let recorded = folder.join("remote_write/recorded");
    for index in 0..3 {
        let body = std::fs::read(recorded.join(format!("request-{index}.snappy"))).unwrap();
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let (batch, rejections) = Bench::new(Default::default()).metrics(decode, &plain);
        assert!(rejections.is_empty(), "{rejections:?}");
        let text = std::fs::read_to_string(recorded.join(format!("request-{index}.decoded.jsonl")))
            .unwrap();
        let mut samples = batch.samples.iter();
        for (line, series) in text.lines().zip(&batch.series) {
            let want: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut labels: LabelList = want["labels"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect();
            labels.sort();
            assert_eq!(label_list(&series.labels), labels);
            for pair in want["samples"].as_array().unwrap() {
                let sample = samples.next().unwrap();
                assert_eq!(sample.time_ms, pair[0].as_i64().unwrap());
                let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
                assert!(sample.value == value || sample.value.is_nan() && value.is_nan());
            }
        }
        assert_eq!(text.lines().count(), batch.series.len());
        assert!(samples.next().is_none());
    }
}

fn label(name: &str, value: &str) -> proto::Label {
    proto::Label { name: name.to_owned(), value: value.to_owned() }
}

fn request(labels: &[(&str, &str)], timestamp: i64) -> Vec<u8> {
    let series = proto::TimeSeries {
        labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
        samples: vec![proto::Sample { value: 1.0, timestamp }],
        exemplars: Vec::new(),
    };
    proto::WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec()
}

#[test]
fn limits_name_their_reason() {
    let mut bench = Bench::new(Default::default());
    bench.limits.labels_max = 2;
    bench.limits.label_name_bytes_max = 10;
    bench.limits.label_value_bytes_max = 10;
    let check = |labels: &[(&str, &str)], time_ms: i64, want: Option<Reason>| {
        let (batch, rejections) = bench.metrics(decode, &request(labels, time_ms));
        assert_eq!(rejections.list.first().map(|first| first.reason), want, "{labels:?}");
        assert_eq!(batch.samples.len(), usize::from(want.is_none()));
    };
    let now_ms = bench.received_ns / 1_000_000;
    check(&[("__name__", "m"), ("a", "1")], now_ms, None);
    check(&[("__name__", "m"), ("a", "1"), ("b", "2")], now_ms, Some(Reason::TooManyLabels));
    check(&[("__name__", "m"), ("longer_name", "1")], now_ms, Some(Reason::LabelNameTooLong));
    check(&[("__name__", "m"), ("a", "longer value")], now_ms, Some(Reason::LabelValueTooLong));
    check(&[("a", "1")], now_ms, Some(Reason::MissingLabels));
    check(&[("__name__", "m"), ("a", "1"), ("a", "1")], now_ms, Some(Reason::DuplicateLabelNames));
    check(&[("__name__", "m"), ("", "1")], now_ms, Some(Reason::InvalidLabels));
    check(&[("__name__", "m")], now_ms + 600_001, Some(Reason::TooFarInFuture));
}

#[test]
fn labels_after_samples_are_found() {
    let mut series = Vec::new();
    let sample = proto::Sample { value: 2.0, timestamp: 5 }.encode_to_vec();
    model::wire::put_bytes(&mut series, 1, &label("__name__", "m").encode_to_vec());
    model::wire::put_bytes(&mut series, 2, &sample);
    model::wire::put_bytes(&mut series, 1, &label("a", "1").encode_to_vec());
    let mut body = Vec::new();
    model::wire::put_bytes(&mut body, 1, &series);
    let (batch, _) = Bench::new(Default::default()).metrics(decode, &body);
    assert_eq!(batch.samples.len(), 1);
    assert_eq!(batch.series[0].labels.get("a"), Some("1"));
}

fn any_series() -> impl Strategy<Value = proto::TimeSeries> {
    let pair = ("[a-c_]{1,3}|__name__", "[a-zé]{0,3}");
    let sample = (any::<f64>(), -1000i64..1_000_000)
        // Prost does not send -0.
        .prop_map(|(value, timestamp)| proto::Sample { value: value + 0.0, timestamp });
    (prop::collection::vec(pair, 0..5), prop::collection::vec(sample, 0..3)).prop_map(
        |(labels, samples)| proto::TimeSeries {
            labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
            samples,
            exemplars: Vec::new(),
        },
    )
}

/// The labels as Prometheus would keep them, if it would.
fn oracle(series: &proto::TimeSeries) -> Option<LabelList> {
    let mut names: Vec<&str> = series.labels.iter().map(|label| label.name.as_str()).collect();
    names.sort_unstable();
    let unique = names.windows(2).all(|pair| pair[0] != pair[1]);
    let mut labels: LabelList = series
        .labels
        .iter()
        .filter(|label| !label.value.is_empty())
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect();
    labels.sort();
    (unique && labels.iter().any(|(name, _)| name == "__name__")).then_some(labels)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_prost(series in prop::collection::vec(any_series(), 0..6)) {
        let body = proto::WriteRequest { timeseries: series.clone(), metadata: Vec::new() };
        let bench = Bench::new(Default::default());
        for _warm in 0..2 {
            let (batch, rejections) = bench.metrics(decode, &body.encode_to_vec());
            let got: Vec<(LabelList, i64, u64)> = batch
                .samples
                .iter()
                .map(|sample| {
                    let labels = &batch.series[sample.series as usize].labels;
                    (label_list(labels), sample.time_ms, sample.value.to_bits())
                })
                .collect();
            let mut want = Vec::new();
            let mut refused = 0;
            for series in &series {
                for sample in &series.samples {
                    match oracle(series) {
                        Some(labels) => want.push((labels, sample.timestamp, sample.value.to_bits())),
                        None => refused += 1,
                    }
                }
            }
            prop_assert_eq!(got, want);
            prop_assert_eq!(rejections.count(), refused);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = Bench::new(Default::default()).decode(decode, &bytes);
    }

    #[test]
    fn damaged_requests_do_not_panic(at in 0usize..400, byte: u8) {
        let mut body = request(&[("__name__", "metric"), ("job", "j"), ("instance", "i")], 7);
        let at = at % body.len();
        body[at] = byte;
        let _either = Bench::new(Default::default()).decode(decode, &body);
        body.truncate(at);
        let _either = Bench::new(Default::default()).decode(decode, &body);
    }
}
