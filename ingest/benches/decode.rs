//! How many log records and spans one core decodes: plain protobuf, warm stream cache.
//!
//! Prints rows per second and bytes per second for bodies of 1,000 records, and what decompression
//! adds to it.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing to say")]

use std::hint::black_box;
use std::io::Write;

use bytes::Bytes;
use ingest::Decoder;
use model::{Encoding, Limits, Protocol, TenantId, Wire};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

const RECORDS: usize = 1_000;
const ROUNDS: usize = 3_000;
const NOW_NS: u64 = 1_700_000_000_000_000_000;

fn main() {
    let logs = logs().encode_to_vec();
    let spans = spans().encode_to_vec();
    run("logs, identity", Protocol::OtlpLogsProtobuf, Encoding::Identity, &logs, ROUNDS);
    run("spans, identity", Protocol::OtlpTracesProtobuf, Encoding::Identity, &spans, ROUNDS);
    run("logs, gzip", Protocol::OtlpLogsProtobuf, Encoding::Gzip, &logs, ROUNDS / 4);
    run("spans, gzip", Protocol::OtlpTracesProtobuf, Encoding::Gzip, &spans, ROUNDS / 4);
    run("logs, zstd", Protocol::OtlpLogsProtobuf, Encoding::Zstd, &logs, ROUNDS / 4);
    run("spans, zstd", Protocol::OtlpTracesProtobuf, Encoding::Zstd, &spans, ROUNDS / 4);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn run(name: &str, protocol: Protocol, encoding: Encoding, plain: &[u8], rounds: usize) {
    let decoder = Decoder::new(Limits::default());
    let tenant = TenantId::default();
    let bytes = compress(encoding, plain);
    let wire = Wire { protocol, encoding, bytes, received_ns: NOW_NS as i64 };
    let mut best_s = f64::MAX;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        for _ in 0..rounds / 5 {
            let decoded = decoder.decode(&tenant, black_box(&wire)).unwrap();
            assert_eq!(black_box(decoded).batch.record_count(), RECORDS);
        }
        best_s = best_s.min(start.elapsed().as_secs_f64());
    }
    let records = (rounds / 5 * RECORDS) as f64;
    let bytes = (rounds / 5 * plain.len()) as f64;
    println!(
        "{name}: {:.2}M records/s, {:.0} MB/s, {} B a record, {} B on the wire",
        records / best_s / 1e6,
        bytes / best_s / 1e6,
        plain.len() / RECORDS,
        wire.bytes.len() / RECORDS,
    );
}

fn compress(encoding: Encoding, plain: &[u8]) -> Bytes {
    match encoding {
        Encoding::Gzip => {
            let level = flate2::Compression::default();
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap().into()
        }
        Encoding::Zstd => zstd::bulk::compress(plain, 3).unwrap().into(),
        _ => Bytes::copy_from_slice(plain),
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn int(key: &str, value: usize) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value as i64))
}

fn resource() -> Option<Resource> {
    let attributes = vec![
        text("service.name", "checkout"),
        text("service.version", "1.4.2"),
        text("k8s.pod.name", "checkout-7d9c5b6f4-x2x7p"),
        text("telemetry.sdk.language", "rust"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "http.server".to_owned(), ..InstrumentationScope::default() })
}

/// A spread of bytes that compresses about as ids do.
fn id(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (seed.wrapping_mul(2_654_435_761) >> (at % 7)) as u8).collect()
}

fn logs() -> ExportLogsServiceRequest {
    let record = |n: usize| LogRecord {
        time_unix_nano: NOW_NS + n as u64 * 1_000,
        observed_time_unix_nano: NOW_NS + n as u64 * 1_000 + 7,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(format!(
                "order {n} accepted for customer {} in {} ms, cart of {} items",
                n * 7919 % 100_000,
                n % 97,
                n % 9
            ))),
        }),
        attributes: vec![
            text("http.route", "/api/orders/{id}"),
            int("http.status_code", 200 + n % 3),
            text("request_id", format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        ],
        trace_id: id(16, n),
        span_id: id(8, n + 1),
        ..LogRecord::default()
    };
    let log_records = (0..RECORDS).map(record).collect();
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn spans() -> ExportTraceServiceRequest {
    let span = |n: usize| Span {
        trace_id: id(16, n / 8),
        span_id: id(8, n),
        parent_span_id: id(8, n / 2),
        name: "POST /api/orders".to_owned(),
        kind: 2,
        start_time_unix_nano: NOW_NS + n as u64 * 1_000,
        end_time_unix_nano: NOW_NS + n as u64 * 2_000,
        attributes: vec![
            text("http.request.method", "POST"),
            text("http.route", "/api/orders/{id}"),
            int("http.response.status_code", 200 + n % 3),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            int("customer.id", n * 7919 % 100_000),
        ],
        status: Some(Status::default()),
        ..Span::default()
    };
    let spans = (0..RECORDS).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}
