//! Requests whose every record can be recognised when it is read back.
//!
//! A batch is one request. Its number is an attribute of each log record, the ID of the trace that
//! its spans make, and the time and value of its samples.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// `service.name` of everything here.
pub const SERVICE: &str = "crash";
/// Name of the samples' metric.
pub const METRIC: &str = "crash_batch";

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    let attributes = vec![attribute("service.name", SERVICE.to_owned())];
    Some(Resource { attributes, ..Resource::default() })
}

/// An OTLP logs request of `records` records.
pub fn logs(batch: u64, records: u64, now_ns: u64) -> Vec<u8> {
    let body = |record: u64| {
        format!(
            "batch {batch} record {record}: GET /api/v1/orders/{:016x} took {} us, {} rows, pool {}",
            ((batch << 20) | record).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            record * 37 % 9000,
            record % 50,
            record % 7
        )
    };
    let log_records = (0..records)
        .map(|record| LogRecord {
            time_unix_nano: now_ns + record,
            observed_time_unix_nano: now_ns + record,
            severity_number: 9,
            body: Some(AnyValue { value: Some(any_value::Value::StringValue(body(record))) }),
            attributes: vec![attribute("batch", batch.to_string())],
            ..LogRecord::default()
        })
        .collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The trace ID of a batch's spans.
pub fn trace_id(batch: u64) -> [u8; 16] {
    (0x7e5c_0000_0000_0000_0000_0000_0000_0000 | u128::from(batch)).to_be_bytes()
}

/// An OTLP traces request of one trace: a root and its children.
pub fn traces(batch: u64, spans: u64, now_ns: u64) -> Vec<u8> {
    let span_id = |span: u64| ((batch << 24) | (span + 1)).to_be_bytes().to_vec();
    let spans = (0..spans)
        .map(|span| Span {
            trace_id: trace_id(batch).to_vec(),
            span_id: span_id(span),
            parent_span_id: if span == 0 { Vec::new() } else { span_id(0) },
            name: format!("step {}", span % 20),
            kind: 1,
            start_time_unix_nano: now_ns + span * 1000,
            end_time_unix_nano: now_ns + span * 1000 + 900,
            attributes: vec![
                attribute("http.request.method", "GET".to_owned()),
                attribute("url.path", format!("/api/v1/orders/{}", span * 31 % 997)),
                attribute("db.statement", "SELECT * FROM orders WHERE id = $1".to_owned()),
            ],
            ..Span::default()
        })
        .collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Messages of `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// A remote write 1.0 request as Prometheus sends it: `series` of a fleet that has ten times as many,
/// with ten labels and values that differ. A series' next sample comes ten batches later.
pub fn scrape(batch: u64, series: u64, start_ms: i64) -> Vec<u8> {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let time_ms = start_ms + (batch / 10).cast_signed() * 1000;
    let timeseries = (batch % 10 * series..(batch % 10 + 1) * series)
        .map(|number| {
            let (target, kind) = (number / 100, number % 100);
            let noise = (number << 32 ^ batch).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
            let value = (number * 1000 + batch * (kind + 1)) as f64 + noise as f64 / 100.0;
            let labels = vec![
                label(
                    "__name__",
                    format!("node_{}_seconds_total", ["cpu", "disk"][kind as usize % 2]),
                ),
                label(
                    "availability_zone",
                    format!("eu-central-1{}", ["a", "b"][target as usize % 2]),
                ),
                label("cluster", "prod-eu-central-1".to_owned()),
                label("cpu", (kind / 8).to_string()),
                label("environment", "production".to_owned()),
                label("instance", format!("10.{}.{}.7:9100", target % 7, target % 250)),
                label("job", SERVICE.to_owned()),
                label("mode", format!("mode{}", kind % 8)),
                label("n", number.to_string()),
                label("team", format!("team-{}", target % 5)),
            ];
            TimeSeries { labels, samples: vec![Sample { value, timestamp: time_ms }] }
        })
        .collect();
    let plain = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&plain).expect("snappy takes any bytes")
}

/// A remote write 1.0 request, snappy and all: one sample for each of `series` series, at
/// `time_ms`, of value `batch`.
pub fn metrics(batch: u64, series: u64, time_ms: i64) -> Vec<u8> {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let timeseries = (0..series)
        .map(|number| TimeSeries {
            labels: vec![
                label("__name__", METRIC.to_owned()),
                label("instance", "127.0.0.1:9100".to_owned()),
                label("job", SERVICE.to_owned()),
                label("n", number.to_string()),
            ],
            samples: vec![Sample { value: batch as f64, timestamp: time_ms }],
        })
        .collect();
    let plain = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&plain).expect("snappy takes any bytes")
}
