//! Metrics read back through Prometheus' API.
//!
//! Source of the mapping: OpenTelemetry's "Prometheus and OpenMetrics Compatibility" and Prometheus'
//! own OTLP endpoint with its default settings.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, exemplar,
    metric::Data, number_data_point,
};
use serde_json::{Value as Json, json};

use super::sent::{Sent, SentMetric, attribute, plain};
use chaos::server::Server;

/// What a metric is called as a series, its type, and its help.
const NAMES: [(&str, &str, &str, &str); 8] = [
    ("shop.orders", "shop_orders_total", "counter", "orders placed"),
    ("shop.revenue", "shop_revenue_bytes_total", "counter", ""),
    ("shop.queue.length", "shop_queue_length", "gauge", "orders that wait"),
    ("shop.temperature", "shop_temperature_celsius", "gauge", ""),
    ("shop.fill", "shop_fill_ratio", "gauge", ""),
    ("shop.uptime", "shop_uptime_seconds", "gauge", ""),
    ("shop.latency", "shop_latency_seconds", "histogram", "time to answer"),
    ("shop.spread", "shop_spread_milliseconds", "histogram", ""),
];

const EVERYTHING: &str = "{job=\"market/shop\"}";

type Labels = BTreeMap<String, String>;

/// Who makes series of metrics. Only the Collector adds labels with the scope's name and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Translator {
    Tercet,
    Collector,
}

/// A sample; a bucket is its bounds and its count.
#[derive(Debug, Clone, PartialEq)]
enum Sample {
    Float(f64),
    Histogram { count: f64, sum: f64, buckets: Vec<(f64, f64, f64)> },
}

/// Series by labels, each with its one sample and the sample's time. Units: ms.
type Series = BTreeMap<Labels, (u64, Sample)>;

/// How many series of the sender there are.
pub(super) async fn count(server: &Server) -> usize {
    let answer = get(server, "/api/v1/series", &[("match[]", EVERYTHING.to_owned())]).await;
    answer["data"].as_array().expect("series").len()
}

/// How many series the metrics become.
pub(super) fn count_expected(sent: &Sent) -> usize {
    expected(sent).len()
}

pub(super) async fn check(server: &Server, sent: &Sent, translator: Translator) {
    let scope = match translator {
        Translator::Tercet => Labels::new(),
        Translator::Collector => scope_labels(&sent.metrics[0]),
    };
    let with_scope = |mut labels: Labels| {
        if labels["__name__"] != "target_info" {
            labels.extend(scope.clone());
        }
        labels
    };
    let want: Series =
        expected(sent).into_iter().map(|(labels, point)| (with_scope(labels), point)).collect();
    let time_ms = want.values().map(|(time_ms, _)| *time_ms).max().expect("series");
    let time = format!("{}.{:03}", time_ms / 1000, time_ms % 1000);
    for base in ["", "/ds/prometheus"] {
        let query = [("query", format!("{EVERYTHING}[5m]")), ("time", time.clone())];
        let answer = get(server, &format!("{base}/api/v1/query"), &query).await;
        assert_same(&found(&answer), &want);
    }
    for (_, name, kind, help) in NAMES {
        let answer = get(server, "/api/v1/metadata", &[("metric", name.to_owned())]).await;
        let known = &answer["data"][name][0];
        assert_eq!((&known["type"], &known["help"]), (&json!(kind), &json!(help)), "{name}");
    }
    let mut want = expected_exemplars(sent);
    for (labels, ..) in &mut want {
        labels.extend(scope.clone());
    }
    want.sort();
    exemplars(server, &want, time_ms).await;
}

async fn exemplars(server: &Server, want: &[ExemplarText], time_ms: u64) {
    assert_eq!(want.len(), 8, "the histograms have exemplars");
    let (start, end) = (time_ms / 1000 - 60, time_ms / 1000 + 60);
    let query =
        [("query", EVERYTHING.to_owned()), ("start", start.to_string()), ("end", end.to_string())];
    let answer = get(server, "/api/v1/query_exemplars", &query).await;
    let mut found = Vec::new();
    for series in answer["data"].as_array().expect("series") {
        for exemplar in series["exemplars"].as_array().expect("exemplars") {
            let time_ms = exemplar["timestamp"].as_f64().expect("seconds") * 1000.0;
            found.push((
                labels(&series["seriesLabels"]),
                labels(&exemplar["labels"]),
                number(&exemplar["value"]).to_string(),
                time_ms.round() as u64,
            ));
        }
    }
    found.sort();
    assert_eq!(found, want);
}

async fn get(server: &Server, path: &str, query: &[(&str, String)]) -> Json {
    let request = server.client.get(format!("{}{path}", server.http)).query(query);
    let answer = request.send().await.expect(path);
    let status = answer.status();
    let body: Json = answer.json().await.expect("JSON");
    assert_eq!((status.as_u16(), &body["status"]), (200, &json!("success")), "{path}: {body}");
    body
}

fn labels(object: &Json) -> Labels {
    let object = object.as_object().expect("labels");
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    object.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// A number that is written as text.
fn number(value: &Json) -> f64 {
    value.as_str().expect("text").parse().expect("a number")
}

fn found(answer: &Json) -> Series {
    let mut all = Series::new();
    for one in answer["data"]["result"].as_array().expect("series") {
        let (points, is_float) = match &one["values"] {
            Json::Null => (&one["histograms"], false),
            values => (values, true),
        };
        let points = points.as_array().expect("points");
        assert_eq!(points.len(), 1, "{one}");
        let time_ms = (points[0][0].as_f64().expect("seconds") * 1000.0).round() as u64;
        let sample =
            if is_float { Sample::Float(number(&points[0][1])) } else { histogram(&points[0][1]) };
        assert!(all.insert(labels(&one["metric"]), (time_ms, sample)).is_none(), "{one}");
    }
    all
}

fn histogram(value: &Json) -> Sample {
    let buckets = value["buckets"].as_array().expect("buckets").iter();
    Sample::Histogram {
        count: number(&value["count"]),
        sum: number(&value["sum"]),
        buckets: buckets.map(|b| (number(&b[1]), number(&b[2]), number(&b[3]))).collect(),
    }
}

/// Equal, but for the last digits of the bounds of exponential buckets.
fn assert_same(found: &Series, want: &Series) {
    assert_eq!(found.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
    for (labels, (time_ms, sample)) in want {
        let (found_ms, found) = &found[labels];
        assert_eq!(found_ms, time_ms, "{labels:?}");
        let (
            Sample::Histogram { count: found_count, sum: found_sum, buckets: found },
            Sample::Histogram { count, sum, buckets },
        ) = (found, sample)
        else {
            assert_eq!(found, sample, "{labels:?}");
            continue;
        };
        assert_eq!((found_count, found_sum, found.len()), (count, sum, buckets.len()));
        for (found, want) in found.iter().zip(buckets) {
            let same = near(found.0, want.0) && near(found.1, want.1) && found.2 == want.2;
            assert!(same, "{labels:?}: {found:?} is not {want:?}");
        }
    }
}

fn name(metric: &SentMetric) -> &'static str {
    let found = NAMES.iter().find(|(name, ..)| *name == metric.metric.name);
    found.unwrap_or_else(|| panic!("{} has no name here", metric.metric.name)).1
}

/// The labels of a point: `job`, `instance` and its attributes.
fn labels_of(metric: &SentMetric, name: &str, attributes: &[KeyValue]) -> Labels {
    let resource = &metric.resource.attributes;
    let of = |key| attribute(resource, key);
    let job = format!("{}/{}", of("service.namespace"), of("service.name"));
    let mut labels = Labels::from([
        ("__name__".to_owned(), name.to_owned()),
        ("job".to_owned(), job),
        ("instance".to_owned(), of("service.instance.id").to_owned()),
    ]);
    labels.extend(attributes.iter().map(text_pair));
    labels
}

fn text_pair(item: &KeyValue) -> (String, String) {
    let value = plain(item.value.as_ref());
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (item.key.replace('.', "_"), text)
}

/// All metrics are of one scope.
fn scope_labels(metric: &SentMetric) -> Labels {
    Labels::from([
        ("otel_scope_name".to_owned(), metric.scope.name.clone()),
        ("otel_scope_version".to_owned(), metric.scope.version.clone()),
    ])
}

fn with(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.insert(name.to_owned(), value.to_owned());
    labels
}

fn to_ms(time_ns: u64) -> u64 {
    time_ns / 1_000_000
}

fn expected(sent: &Sent) -> Series {
    let mut all = Series::new();
    for metric in &sent.metrics {
        match metric.metric.data.as_ref().expect("data") {
            Data::Gauge(gauge) => numbers(metric, &gauge.data_points, &mut all),
            Data::Sum(sum) => numbers(metric, &sum.data_points, &mut all),
            Data::Histogram(histogram) => {
                histogram.data_points.iter().for_each(|point| classic(metric, point, &mut all));
            }
            Data::ExponentialHistogram(histogram) => {
                histogram.data_points.iter().for_each(|point| native(metric, point, &mut all));
            }
            Data::Summary(_) => panic!("no summary is sent"),
        }
    }
    let time_ms = all.values().map(|(time_ms, _)| *time_ms).max().expect("series");
    let identity = ["service.name", "service.namespace", "service.instance.id"];
    let resource = sent.metrics[0].resource.attributes.iter();
    let rest: Vec<KeyValue> =
        resource.filter(|item| !identity.contains(&item.key.as_str())).cloned().collect();
    let labels = labels_of(&sent.metrics[0], "target_info", &rest);
    all.insert(labels, (time_ms, Sample::Float(1.0)));
    all
}

fn numbers(metric: &SentMetric, points: &[NumberDataPoint], all: &mut Series) {
    for point in points {
        let value = match point.value.expect("a value") {
            number_data_point::Value::AsInt(int) => int as f64,
            number_data_point::Value::AsDouble(double) => double,
        };
        let labels = labels_of(metric, name(metric), &point.attributes);
        all.insert(labels, (to_ms(point.time_unix_nano), Sample::Float(value)));
    }
}

fn classic(metric: &SentMetric, point: &HistogramDataPoint, all: &mut Series) {
    let time_ms = to_ms(point.time_unix_nano);
    let suffixed =
        |suffix: &str| labels_of(metric, &format!("{}{suffix}", name(metric)), &point.attributes);
    let mut set = |labels, value: f64| all.insert(labels, (time_ms, Sample::Float(value)));
    set(suffixed("_count"), point.count as f64);
    set(suffixed("_sum"), point.sum.expect("a sum"));
    let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    let mut count = 0;
    for (bound, in_bucket) in bounds.zip(&point.bucket_counts) {
        count += in_bucket;
        set(with(&suffixed("_bucket"), "le", &bound), count as f64);
    }
}

fn native(metric: &SentMetric, point: &ExponentialHistogramDataPoint, all: &mut Series) {
    // What OpenTelemetry counts as zero has no width; Prometheus gives it this one.
    const ZERO_WIDTH: f64 = 1e-128;
    let mut buckets = vec![(-ZERO_WIDTH, ZERO_WIDTH, point.zero_count as f64)];
    let positive = point.positive.as_ref().expect("positive values");
    let bound = |index: i32| (f64::from(index) * f64::from(-point.scale).exp2()).exp2();
    for (index, &count) in (positive.offset..).zip(&positive.bucket_counts) {
        if count != 0 {
            buckets.push((bound(index), bound(index + 1), count as f64));
        }
    }
    let sum = point.sum.expect("a sum");
    let sample = Sample::Histogram { count: point.count as f64, sum, buckets };
    let labels = labels_of(metric, name(metric), &point.attributes);
    all.insert(labels, (to_ms(point.time_unix_nano), sample));
}

type ExemplarText = (Labels, Labels, String, u64);

fn expected_exemplars(sent: &Sent) -> Vec<ExemplarText> {
    let mut all = Vec::new();
    for metric in &sent.metrics {
        match metric.metric.data.as_ref().expect("data") {
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    let name = format!("{}_bucket", name(metric));
                    let labels = labels_of(metric, &name, &point.attributes);
                    for exemplar in &point.exemplars {
                        // The narrowest bucket that the value lies in.
                        let value = exemplar_value(exemplar);
                        let bound = point.explicit_bounds.iter().find(|bound| value <= **bound);
                        let bound = bound.map_or("+Inf".to_owned(), f64::to_string);
                        all.push(exemplar_text(with(&labels, "le", &bound), exemplar));
                    }
                }
            }
            Data::ExponentialHistogram(histogram) => {
                for point in &histogram.data_points {
                    let labels = labels_of(metric, name(metric), &point.attributes);
                    let texts = point.exemplars.iter().map(|e| exemplar_text(labels.clone(), e));
                    all.extend(texts);
                }
            }
            _ => {}
        }
    }
    all
}

fn exemplar_value(exemplar: &Exemplar) -> f64 {
    match exemplar.value.expect("a value") {
        exemplar::Value::AsDouble(double) => double,
        exemplar::Value::AsInt(int) => int as f64,
    }
}

fn exemplar_text(series: Labels, exemplar: &Exemplar) -> ExemplarText {
    let ids = Labels::from([
        ("trace_id".to_owned(), hex::encode(&exemplar.trace_id)),
        ("span_id".to_owned(), hex::encode(&exemplar.span_id)),
    ]);
    (series, ids, exemplar_value(exemplar).to_string(), to_ms(exemplar.time_unix_nano))
}
