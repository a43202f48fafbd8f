//! Conformance with Prometheus' translation, laws of deltas, bytes that make no sense.

use std::collections::BTreeMap;

use model::{MetricsBatch, Reason, Rejections};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as pb;
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value as Json;

use super::names::{NameKind, label_name, metric_name, unit_name};
use super::options::{DeltaMode, Promote, Strategy as Naming, TranslationOptions};
use super::{decode, labels};
use crate::testing::{Bench, conformance_folder, histogram_fields, literal_fields};

/// How one JSON key of a message is written: field number and content.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Varint,
    Zigzag,
    Fixed64,
    Double,
    Hex,
    Message(&'static [(&'static str, u32, Kind)]),
    Doubles,
    Fixeds,
    Varints,
}

use Kind::{Double, Doubles, Fixed64, Fixeds, Hex, Message, Text, Varint, Varints, Zigzag};

type Fields = &'static [(&'static str, u32, Kind)];

const ANY: Fields = &[
    ("stringValue", 1, Text),
    ("boolValue", 2, Varint),
    ("intValue", 3, Varint),
    ("doubleValue", 4, Double),
    ("arrayValue", 5, Message(&[("values", 1, Message(FLAT_ANY))])),
];
const FLAT_ANY: Fields = &[
    ("stringValue", 1, Text),
    ("boolValue", 2, Varint),
    ("intValue", 3, Varint),
    ("doubleValue", 4, Double),
];
const KEY_VALUE: Fields = &[("key", 1, Text), ("value", 2, Message(ANY))];
const EXEMPLAR: Fields = &[
    ("timeUnixNano", 2, Fixed64),
    ("asDouble", 3, Double),
    ("spanId", 4, Hex),
    ("traceId", 5, Hex),
    ("asInt", 6, Fixed64),
    ("filteredAttributes", 7, Message(KEY_VALUE)),
];
const NUMBER: Fields = &[
    ("startTimeUnixNano", 2, Fixed64),
    ("timeUnixNano", 3, Fixed64),
    ("asDouble", 4, Double),
    ("exemplars", 5, Message(EXEMPLAR)),
    ("asInt", 6, Fixed64),
    ("attributes", 7, Message(KEY_VALUE)),
    ("flags", 8, Varint),
];
const EXPLICIT: Fields = &[
    ("startTimeUnixNano", 2, Fixed64),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("bucketCounts", 6, Fixeds),
    ("explicitBounds", 7, Doubles),
    ("exemplars", 8, Message(EXEMPLAR)),
    ("attributes", 9, Message(KEY_VALUE)),
    ("flags", 10, Varint),
    ("min", 11, Double),
    ("max", 12, Double),
];
const SIDE: Fields = &[("offset", 1, Zigzag), ("bucketCounts", 2, Varints)];
const EXPONENTIAL: Fields = &[
    ("attributes", 1, Message(KEY_VALUE)),
    ("startTimeUnixNano", 2, Fixed64),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("scale", 6, Zigzag),
    ("zeroCount", 7, Fixed64),
    ("positive", 8, Message(SIDE)),
    ("negative", 9, Message(SIDE)),
    ("flags", 10, Varint),
    ("exemplars", 11, Message(EXEMPLAR)),
    ("zeroThreshold", 14, Double),
];
const SUMMARY: Fields = &[
    ("startTimeUnixNano", 2, Fixed64),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("quantileValues", 6, Message(&[("quantile", 1, Double), ("value", 2, Double)])),
    ("attributes", 7, Message(KEY_VALUE)),
    ("flags", 8, Varint),
];
const TEMPORALITY: (&str, u32, Kind) = ("aggregationTemporality", 2, Varint);
const METRIC: Fields = &[
    ("name", 1, Text),
    ("description", 2, Text),
    ("unit", 3, Text),
    ("gauge", 5, Message(&[("dataPoints", 1, Message(NUMBER))])),
    (
        "sum",
        7,
        Message(&[("dataPoints", 1, Message(NUMBER)), TEMPORALITY, ("isMonotonic", 3, Varint)]),
    ),
    ("histogram", 9, Message(&[("dataPoints", 1, Message(EXPLICIT)), TEMPORALITY])),
    ("exponentialHistogram", 10, Message(&[("dataPoints", 1, Message(EXPONENTIAL)), TEMPORALITY])),
    ("summary", 11, Message(&[("dataPoints", 1, Message(SUMMARY))])),
];
const SCOPE: Fields =
    &[("name", 1, Text), ("version", 2, Text), ("attributes", 3, Message(KEY_VALUE))];
const REQUEST: Fields = &[(
    "resourceMetrics",
    1,
    Message(&[
        ("resource", 1, Message(&[("attributes", 1, Message(KEY_VALUE))])),
        (
            "scopeMetrics",
            2,
            Message(&[
                ("scope", 1, Message(SCOPE)),
                ("metrics", 2, Message(METRIC)),
                ("schemaUrl", 3, Text),
            ]),
        ),
        ("schemaUrl", 3, Text),
    ]),
)];

fn encode(json: &Json, fields: Fields, out: &mut Vec<u8>) {
    for (key, number, kind) in fields {
        match (&json[key], kind) {
            (Json::Null, _) => {}
            (Json::Array(items), Kind::Message(inner)) => {
                for item in items {
                    model::wire::put_message(out, *number, |out| encode(item, inner, out));
                }
            }
            (Json::Array(items), kind) => model::wire::put_message(out, *number, |out| {
                for item in items {
                    match kind {
                        Kind::Doubles => out.extend(double(item).to_le_bytes()),
                        Kind::Fixeds => out.extend(integer(item).to_le_bytes()),
                        _ => model::wire::put_varint(out, integer(item) as u64),
                    }
                }
            }),
            (value, kind) => encode_one(value, *number, *kind, out),
        }
    }
}

fn encode_one(value: &Json, number: u32, kind: Kind, out: &mut Vec<u8>) {
    use model::wire::{put_bytes, put_fixed64, put_message, put_uint};
    match kind {
        Kind::Text => put_bytes(out, number, value.as_str().unwrap().as_bytes()),
        Kind::Hex => put_bytes(out, number, &hex::decode(value.as_str().unwrap()).unwrap()),
        Kind::Varint => put_uint(out, number, integer(value) as u64),
        Kind::Zigzag => {
            let int = integer(value);
            put_uint(out, number, (int << 1 ^ int >> 63) as u64);
        }
        Kind::Fixed64 => put_fixed64(out, number, integer(value) as u64),
        Kind::Double => put_fixed64(out, number, double(value).to_bits()),
        Kind::Message(inner) => put_message(out, number, |out| encode(value, inner, out)),
        Kind::Doubles | Kind::Fixeds | Kind::Varints => panic!("a list was expected"),
    }
}

fn integer(json: &Json) -> i64 {
    match json {
        Json::Bool(flag) => i64::from(*flag),
        Json::String(text) => {
            text.parse::<i64>().unwrap_or_else(|_| text.parse::<u64>().unwrap() as i64)
        }
        number => number.as_i64().unwrap(),
    }
}

fn double(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| json.as_str().unwrap().parse().unwrap())
}

fn options_of(json: &Json) -> TranslationOptions {
    let flag = |name: &str| json[name].as_bool().unwrap_or(false);
    let keys = |name: &str| -> Vec<String> {
        let list = json[name].as_array().cloned().unwrap_or_default();
        list.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    let strategy = match (flag("allow_utf8"), flag("add_metric_suffixes")) {
        (false, true) => Naming::UnderscoreEscapingWithSuffixes,
        (false, false) => Naming::UnderscoreEscapingWithoutSuffixes,
        (true, true) => Naming::NoUtf8EscapingWithSuffixes,
        (true, false) => Naming::NoTranslation,
    };
    let all = flag("promote_all_resource_attributes");
    TranslationOptions {
        strategy,
        delta: if flag("allow_delta_temporality") { DeltaMode::Keep } else { DeltaMode::Reject },
        promote: if all {
            Promote::AllExcept(keys("ignore_resource_attributes"))
        } else {
            Promote::Listed(keys("promote_resource_attributes"))
        },
        keep_identifying_attributes: flag("keep_identifying_resource_attributes"),
        target_info: !flag("disable_target_info"),
        scope_labels: flag("promote_scope_metadata"),
        type_and_unit_labels: flag("enable_type_and_unit_labels"),
        histograms_to_nhcb: flag("convert_histograms_to_nhcb"),
        label_underscore_prefix: flag("label_name_underscore_sanitization"),
        keep_multiple_underscores: flag("label_name_preserve_multiple_underscores"),
    }
}

type LabelMap = BTreeMap<String, String>;

fn label_map(labels: &model::Labels) -> LabelMap {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Every sample of a batch: labels, time, value as the cases write it.
fn written(batch: &MetricsBatch) -> Vec<(LabelMap, i64, String)> {
    let labels = |series: u32| label_map(&batch.series[series as usize].labels);
    let floats = batch.samples.iter().map(|sample| {
        let value = if model::is_stale(sample.value) {
            "stale".to_owned()
        } else {
            labels::plain_number(sample.value)
        };
        (labels(sample.series), sample.time_ms, value)
    });
    let histograms = batch.histograms.iter().map(|(series, time_ms, histogram)| {
        let value = if model::is_stale(histogram.sum) {
            "stale".to_owned()
        } else {
            format!("{:?}", histogram_fields(histogram))
        };
        (labels(*series), *time_ms, value)
    });
    let mut all: Vec<_> = floats.chain(histograms).collect();
    all.sort();
    all
}

fn expected(sample: &Json) -> (LabelMap, i64, String) {
    let labels = sample["labels"].as_object().unwrap();
    let labels =
        labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let value = match sample["histogram"].as_str() {
        Some(literal) if literal != "stale" => format!("{:?}", literal_fields(literal)),
        Some(stale) => stale.to_owned(),
        None => match sample["value"].as_str().unwrap() {
            special @ ("stale" | "NaN" | "+Inf" | "-Inf") => special.to_owned(),
            number => labels::plain_number(number.parse().unwrap()),
        },
    };
    (labels.collect(), sample["timestamp_ms"].as_i64().unwrap(), value)
}

fn run_case(case: &Json) -> Result<(), String> {
    let bench = Bench::new(options_of(&case["options"]));
    let mut body = Vec::new();
    encode(&case["otlp"], REQUEST, &mut body);
    for _warm in 0..2 {
        let (batch, rejections) = bench.metrics(decode, &body);
        if case["convert_error"].is_string() && rejections.is_empty() {
            return Err("nothing was refused".to_owned());
        }
        if !case["convert_error"].is_string() && !rejections.is_empty() {
            return Err(format!("refused {rejections:?}"));
        }
        let got = written(&batch);
        let samples = case["samples"].as_array().cloned().unwrap_or_default();
        let mut want: Vec<_> = samples.iter().map(expected).collect();
        want.sort();
        if got != want {
            return Err(format!("{got:#?}\n is not {want:#?}"));
        }
        check_exemplars(&batch, &samples)?;
        if !batch.metadata.is_empty() {
            check_metadata(&batch, &samples)?;
        }
    }
    Ok(())
}

fn check_exemplars(batch: &MetricsBatch, samples: &[Json]) -> Result<(), String> {
    let mut got: Vec<_> = batch
        .exemplars
        .iter()
        .map(|exemplar| {
            let series = label_map(&batch.series[exemplar.series as usize].labels);
            let value = labels::plain_number(exemplar.value);
            (series, label_map(&exemplar.labels), exemplar.time_ms, value)
        })
        .collect();
    let mut want = Vec::new();
    for sample in samples {
        for exemplar in sample["exemplars"].as_array().into_iter().flatten() {
            let labels = exemplar["labels"].as_object().unwrap();
            let labels: LabelMap =
                labels.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
            let time = exemplar["timestamp_ms"].as_i64().or(exemplar["t"].as_i64()).unwrap();
            let value = exemplar["value"].as_str().or(exemplar["v"].as_str()).unwrap();
            let value = labels::plain_number(value.parse().unwrap());
            want.push((expected(sample).0, labels, time, value));
        }
    }
    got.sort();
    want.sort();
    if got == want { Ok(()) } else { Err(format!("exemplars {got:?} are not {want:?}")) }
}

fn check_metadata(batch: &MetricsBatch, samples: &[Json]) -> Result<(), String> {
    for sample in samples {
        let family = sample["metric_family_name"].as_str().unwrap();
        let want = &sample["metadata"];
        let found = batch.metadata.iter().any(|metadata| {
            metadata.family == family
                && metadata.kind.as_str() == want["type"]
                && metadata.help == want["help"]
                && metadata.unit == want["unit"]
        });
        if !found {
            return Err(format!("no metadata {family} {want}, but {:?}", batch.metadata));
        }
    }
    Ok(())
}

fn lines(name: &str) -> Option<Vec<Json>> {
    let Some(folder) = conformance_folder() else {
        println!("no conformance data: skipped");
        return None;
    };
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn conformance_cases_of_translation() {
    let Some(cases) = lines("otlp/metrics-to-prometheus.jsonl") else { return };
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| run_case(case).err().map(|why| format!("{}: {why}", case["id"])))
        .collect();
    println!("{} of {} cases pass", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Rows whose inputs do not belong to their answers: a namespace is in the answer and not in the
/// input, or suffixes are where none were asked for. By name, unit and type.
const NAME_ROWS_AT_ODDS: [(&str, &str, &str); 4] = [
    ("metric", "", "gauge"),
    ("requests", "1/s", "gauge"),
    ("métric_with_ñ_chars", "", "gauge"),
    ("requêsts", "1/s", "monotonic_counter"),
];

#[test]
fn conformance_rows_of_names() {
    let Some(rows) = lines("otlp/name-translation.jsonl") else { return };
    let mut failures = Vec::new();
    for row in &rows {
        let result = if row["kind"] == "label" { check_label(row) } else { check_metric(row) };
        let key = (row["name"].as_str(), row["unit"].as_str(), row["type"].as_str());
        let at_odds = row["utf8_allowed"] == false
            && row["namespace"] == ""
            && NAME_ROWS_AT_ODDS.iter().any(|row| (Some(row.0), Some(row.1), Some(row.2)) == key);
        match result {
            Err(why) if at_odds => println!("known: {row}: {why}"),
            Err(why) => failures.push(format!("{row}: {why}")),
            Ok(()) if at_odds => failures.push(format!("{row} passes: take it off the list")),
            Ok(()) => {}
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn check_label(row: &Json) -> Result<(), String> {
    let name = row["name"].as_str().unwrap();
    for (prefix, keep, key) in [
        (false, false, "sanitized"),
        (true, false, "sanitizedUnderscoreLabelSanitization"),
        (false, true, "sanitizedMultipleUnderscores"),
        (true, true, "sanitizedMultipleUnderscoresAndUnderscoreLabelSanitization"),
    ] {
        let options = TranslationOptions {
            label_underscore_prefix: prefix,
            keep_multiple_underscores: keep,
            ..TranslationOptions::default()
        };
        let got = label_name(name, &options);
        let error =
            if keep { "wantSanitizationMultipleUnderscoresError" } else { "wantSanitizationError" };
        match row[key].as_str() {
            _ if !row[error].is_null() && got.is_err() => {}
            Some(want) if got.as_deref() == Ok(want) => {}
            None => {}
            Some(want) => return Err(format!("{key}: {got:?} is not {want:?}")),
        }
    }
    Ok(())
}

fn check_metric(row: &Json) -> Result<(), String> {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    if !text("namespace").is_empty() {
        // No setting of ours puts a namespace before names.
        return Ok(());
    }
    let strategy = match (row["utf8_allowed"] == true, row["with_metric_suffixes"] == true) {
        (false, true) => Naming::UnderscoreEscapingWithSuffixes,
        (false, false) => Naming::UnderscoreEscapingWithoutSuffixes,
        (true, true) => Naming::NoUtf8EscapingWithSuffixes,
        (true, false) => Naming::NoTranslation,
    };
    let options = TranslationOptions { strategy, ..TranslationOptions::default() };
    let kind = match text("type") {
        "monotonic_counter" => NameKind::MonotonicSum,
        "gauge" => NameKind::Gauge,
        _ => NameKind::Other,
    };
    if let Some(want) = row["want_unit"].as_str() {
        let got = unit_name(text("unit"), &options);
        if got != want {
            return Err(format!("unit {got:?}"));
        }
    }
    let got = metric_name(text("name"), text("unit"), kind, &options);
    let is_wanted = match &got {
        Ok(got) => row["error"] == false && row["want"] == got.as_str(),
        Err(_) => row["error"] == true,
    };
    if is_wanted { Ok(()) } else { Err(format!("{got:?}")) }
}

// --- deltas -------------------------------------------------------------------------------------

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn request(metrics: Vec<pb::Metric>) -> Vec<u8> {
    let resource =
        Resource { attributes: vec![attribute("service.name", "s")], ..Default::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![pb::ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![pb::ScopeMetrics { metrics, ..Default::default() }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn delta_sum(time_s: u64, value: f64) -> Vec<u8> {
    let point = pb::NumberDataPoint {
        time_unix_nano: time_s * 1_000_000_000,
        value: Some(pb::number_data_point::Value::AsDouble(value)),
        ..Default::default()
    };
    let sum = pb::Sum { data_points: vec![point], aggregation_temporality: 1, is_monotonic: true };
    request(vec![pb::Metric {
        name: "d".to_owned(),
        data: Some(pb::metric::Data::Sum(sum)),
        ..Default::default()
    }])
}

fn only_value((batch, rejections): (MetricsBatch, Rejections)) -> f64 {
    assert!(rejections.is_empty(), "{rejections:?}");
    assert_eq!(batch.samples.len(), 1);
    batch.samples[0].value
}

#[test]
fn deltas_add_up_and_a_repeated_one_counts_once() {
    let bench = Bench::new(TranslationOptions::default());
    let send = |time_s, value| bench.metrics(decode, &delta_sum(time_s, value));
    assert_eq!(only_value(send(10, 5.0)), 5.0);
    assert_eq!(only_value(send(20, 2.0)), 7.0);
    assert_eq!(only_value(send(20, 2.0)), 7.0);
    let (batch, rejections) = send(10, 5.0);
    assert!(batch.samples.is_empty());
    assert_eq!(rejections.list[0].reason, Reason::OutOfOrder);
    assert_eq!(only_value(send(30, 1.0)), 8.0);
}

#[test]
fn replay_of_the_same_bytes_gives_the_same_totals() {
    let bodies: Vec<_> = (1..20).map(|index| delta_sum(index * 10, index as f64)).collect();
    let run = || {
        let bench = Bench::new(TranslationOptions::default());
        bodies.iter().map(|body| only_value(bench.metrics(decode, body))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

fn exponential(time_s: u64, scale: i32, offset: i32, counts: &[u64]) -> Vec<u8> {
    let point = pb::ExponentialHistogramDataPoint {
        time_unix_nano: time_s * 1_000_000_000,
        count: counts.iter().sum(),
        sum: Some(1.0),
        scale,
        positive: Some(pb::exponential_histogram_data_point::Buckets {
            offset,
            bucket_counts: counts.to_vec(),
        }),
        ..Default::default()
    };
    let data = pb::ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 };
    request(vec![pb::Metric {
        name: "e".to_owned(),
        data: Some(pb::metric::Data::ExponentialHistogram(data)),
        ..Default::default()
    }])
}

#[test]
fn exponential_deltas_add_up_at_the_coarser_scale() {
    let bench = Bench::new(TranslationOptions::default());
    bench.metrics(decode, &exponential(1, 1, 0, &[1, 2, 3]));
    let (batch, rejections) = bench.metrics(decode, &exponential(2, 0, 0, &[10]));
    assert!(rejections.is_empty(), "{rejections:?}");
    let histogram = &batch.histograms[0].2;
    // Indexes 0, 1 of scale 1 are index 0 of scale 0; index 2 is index 1. Ours are one higher.
    assert_eq!(histogram.schema, 0);
    assert_eq!(histogram.positive_buckets, [13.0, 3.0]);
    assert_eq!(histogram.positive_spans[0].offset, 1);
    assert_eq!(histogram.count, 16.0);
    assert_eq!(histogram.reset_hint, 0);
}

#[test]
fn target_info_of_an_endless_span_is_bounded() {
    let points = [1u64, i64::MAX as u64]
        .map(|time_unix_nano| pb::NumberDataPoint { time_unix_nano, ..Default::default() });
    let gauge = pb::Gauge { data_points: points.to_vec() };
    let mut body = ExportMetricsServiceRequest::decode(
        request(vec![pb::Metric {
            name: "g".to_owned(),
            data: Some(pb::metric::Data::Gauge(gauge)),
            ..Default::default()
        }])
        .as_slice(),
    )
    .unwrap();
    let resource = body.resource_metrics[0].resource.as_mut().unwrap();
    resource.attributes.push(attribute("host.name", "h"));
    let bench = Bench::new(TranslationOptions::default());
    let (batch, _) = bench.metrics(decode, &body.encode_to_vec());
    assert!(batch.samples.len() < 1100, "{}", batch.samples.len());
}

// --- prost as the oracle ------------------------------------------------------------------------

fn any_number() -> impl Strategy<Value = pb::NumberDataPoint> {
    let value = prop_oneof![
        any::<i64>().prop_map(pb::number_data_point::Value::AsInt),
        any::<f64>().prop_map(pb::number_data_point::Value::AsDouble),
    ];
    let attributes = prop::collection::vec(("[a-c]{1,2}", "[a-z]{1,3}"), 0..3);
    (1u64..1_000_000, value, attributes).prop_map(|(time_s, value, attributes)| {
        let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
        pb::NumberDataPoint {
            time_unix_nano: time_s * 1_000_000,
            attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            value: Some(value),
            ..Default::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gauges_agree_with_prost(points in prop::collection::vec(any_number(), 1..8)) {
        let gauge = pb::Gauge { data_points: points.clone() };
        let body = request(vec![pb::Metric {
            name: "g".to_owned(),
            data: Some(pb::metric::Data::Gauge(gauge)),
            ..Default::default()
        }]);
        let bench = Bench::new(TranslationOptions::default());
        for _warm in 0..2 {
            let (batch, rejections) = bench.metrics(decode, &body);
            prop_assert!(rejections.is_empty());
            prop_assert_eq!(batch.samples.len(), points.len());
            for (sample, point) in batch.samples.iter().zip(&points) {
                let want = match point.value {
                    Some(pb::number_data_point::Value::AsInt(int)) => int as f64,
                    Some(pb::number_data_point::Value::AsDouble(double)) => double,
                    None => 0.0,
                };
                prop_assert_eq!(sample.value.to_bits(), want.to_bits());
                prop_assert_eq!(sample.time_ms as u64, point.time_unix_nano / 1_000_000);
                let mut want: LabelMap = point
                    .attributes
                    .iter()
                    .map(|attribute| {
                        let value = attribute.value.clone().unwrap().value.unwrap();
                        let any_value::Value::StringValue(value) = value else { panic!("text") };
                        (attribute.key.clone(), value)
                    })
                    .collect();
                want.insert("__name__".to_owned(), "g".to_owned());
                want.insert("job".to_owned(), "s".to_owned());
                prop_assert_eq!(label_map(&batch.series[sample.series as usize].labels), want);
            }
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = Bench::new(TranslationOptions::default()).decode(decode, &bytes);
    }

    #[test]
    fn damaged_requests_do_not_panic(at in 0usize..500, byte: u8) {
        let mut body = exponential(5, 3, -7, &[1, 0, 0, 0, 9]);
        body.extend(delta_sum(5, 1.0));
        let at = at % body.len();
        body[at] = byte;
        let bench = Bench::new(TranslationOptions::default());
        let _either = bench.decode(decode, &body);
        let _either = bench.decode(decode, &body);
        body.truncate(at);
        let _either = bench.decode(decode, &body);
    }
}
