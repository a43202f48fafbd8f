//! What requests to store something go through.

use std::io::Write as _;

use bytes::Bytes;
use ingest::Decoder;
use ingest::fuzzing::{decoded, decompressed_bytes, grpc_message};
use model::{Batch, Encoding, Limits, Protocol, TenantId, Wire};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use storage::fuzzing::{opened, rows_of, segments_of};

use super::{JSON_WORDS, MIB, size, texts, way};
use crate::Target;
use crate::mutate::Shape;

const JSON: Shape = Shape::Text(&[
    JSON_WORDS,
    &[
        "true",
        "1e999",
        "\\ud800",
        "\\u0000",
        "[[",
        "{\"a\":",
        "resourceLogs",
        "scopeLogs",
        "logRecords",
        "timeUnixNano",
        "stringValue",
        "kvlistValue",
        "arrayValue",
        "values",
        "bytesValue",
        "intValue",
        "streams",
        "stream",
        "attributes",
        "key",
        "value",
    ],
]);

/// Memtables and encoders of segments have buffers of their own.
const STORE_BYTES: usize = 160 * MIB;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "otlp-logs",
        shape: Shape::Protobuf,
        heap_bytes: STORE_BYTES,
        seeds: logs,
        run: |case| decode(Protocol::OtlpLogsProtobuf, case),
    },
    Target {
        name: "otlp-traces",
        shape: Shape::Protobuf,
        heap_bytes: STORE_BYTES,
        seeds: traces,
        run: |case| decode(Protocol::OtlpTracesProtobuf, case),
    },
    Target {
        name: "otlp-metrics",
        shape: Shape::Protobuf,
        heap_bytes: STORE_BYTES,
        seeds: metrics,
        run: |case| decode(Protocol::OtlpMetricsProtobuf, case),
    },
    Target {
        name: "otlp-logs-json",
        shape: JSON,
        heap_bytes: STORE_BYTES,
        seeds: logs_json,
        run: |case| decode(Protocol::OtlpLogsJson, case),
    },
    Target {
        name: "otlp-traces-json",
        shape: JSON,
        heap_bytes: STORE_BYTES,
        seeds: traces_json,
        run: |case| decode(Protocol::OtlpTracesJson, case),
    },
    Target {
        name: "otlp-metrics-json",
        shape: JSON,
        heap_bytes: STORE_BYTES,
        seeds: metrics_json,
        run: |case| decode(Protocol::OtlpMetricsJson, case),
    },
    Target {
        name: "remote-write",
        shape: Shape::Protobuf,
        heap_bytes: STORE_BYTES,
        seeds: remote_write,
        run: |case| decode(Protocol::RemoteWrite1, case),
    },
    Target {
        name: "loki-json",
        shape: JSON,
        heap_bytes: STORE_BYTES,
        seeds: loki_json,
        run: |case| decode(Protocol::LokiPushJson, case),
    },
    Target {
        name: "loki-protobuf",
        shape: Shape::Protobuf,
        heap_bytes: STORE_BYTES,
        seeds: loki_protobuf,
        run: |case| decode(Protocol::LokiPushProtobuf, case),
    },
    Target {
        name: "bodies",
        shape: Shape::Bytes,
        heap_bytes: 32 * MIB,
        seeds: bodies,
        run: decompress,
    },
    Target { name: "grpc", shape: Shape::Bytes, heap_bytes: MIB, seeds: grpc, run: unframe },
    Target {
        name: "tenants",
        shape: Shape::Text(&[&["..", "/", "%2e", "%252e", "\\", "default", "a|b"]]),
        heap_bytes: MIB,
        seeds: tenants,
        run: tenant,
    },
];

/// Decodes a request, stores what was taken, and reads it back.
fn decode(protocol: Protocol, case: &[u8]) -> u64 {
    // A new one each time: what a cache remembers must not make a case come out otherwise.
    let decoder = Decoder::new(Limits { future_max_ns: 0, ..Limits::default() });
    let bytes = Bytes::copy_from_slice(case);
    let wire =
        Wire { protocol, encoding: Encoding::Identity, bytes, received_ns: 1_790_000_000 << 30 };
    let taken = match decoded(&decoder, &wire, 16 * MIB) {
        Err(refused) => return way(&refused),
        Ok(taken) => taken,
    };
    let refused = taken.rejections.count();
    let came = size(taken.batch.record_count()) << 8 | size(refused as usize);
    if taken.batch.record_count() == 0 {
        return came;
    }
    let signal = taken.batch.signal();
    walk(&taken.batch);
    let segments = segments_of(taken.batch, 0).expect("what was taken can be stored");
    let rows = rows_of(&opened(signal, segments));
    came << 8 | size(rows)
}

fn walk(batch: &Batch) {
    match batch {
        Batch::Logs(batch) => {
            for row in &batch.rows {
                let _line = batch.line(row);
                let _text = batch.attributes(row).iter().count();
            }
        }
        Batch::Traces(batch) => {
            for row in &batch.rows {
                let _end = row.duration_ns();
                let _events = batch.events(row).count() + batch.links(row).count();
            }
        }
        Batch::Metrics(batch) => {
            for series in &batch.series {
                let _labels = series.labels.iter().count();
            }
        }
    }
}

fn decompress(case: &[u8]) -> u64 {
    let Some((&first, wire)) = case.split_first() else { return 0 };
    let all = Encoding::ALL;
    let encoding = all[usize::from(first) % all.len()];
    let came = decompressed_bytes(encoding, &Bytes::copy_from_slice(wire), MIB);
    u64::from(first % 8) << 8 | came.map_or(255, size)
}

fn unframe(case: &[u8]) -> u64 {
    match grpc_message(Bytes::copy_from_slice(case)) {
        Ok((compressed, message)) => u64::from(compressed) << 8 | size(message.len()),
        Err(refused) => way(&refused),
    }
}

fn tenant(case: &[u8]) -> u64 {
    let name = String::from_utf8_lossy(case);
    match TenantId::parse(&name) {
        Ok(tenant) => {
            let name = tenant.as_str();
            assert!(!name.contains('/') && name != ".." && name != ".", "it could be a path");
            size(name.len())
        }
        Err(refused) => way(&refused.to_string()),
    }
}

fn any(value: Any) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(value), ..KeyValue::default() }
}

fn attributes() -> Vec<KeyValue> {
    let list = ArrayValue { values: vec![AnyValue { value: Some(Any::IntValue(7)) }] };
    let map = KeyValueList { values: vec![attribute("inner", Any::ArrayValue(list.clone()))] };
    vec![
        attribute("http.method", Any::StringValue("GET".to_owned())),
        attribute("n", Any::IntValue(-3)),
        attribute("d", Any::DoubleValue(0.5)),
        attribute("b", Any::BoolValue(true)),
        attribute("raw", Any::BytesValue(vec![0, 255])),
        attribute("list", Any::ArrayValue(list)),
        attribute("map", Any::KvlistValue(map)),
    ]
}

fn resource() -> Option<Resource> {
    let mut all = attributes();
    all.push(attribute("service.name", Any::StringValue("fuzz".to_owned())));
    Some(Resource { attributes: all, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("lib".to_owned(), "1".to_owned());
    Some(InstrumentationScope { name, version, attributes: attributes(), ..Default::default() })
}

fn logs_request() -> ExportLogsServiceRequest {
    let record = |body: Any| LogRecord {
        time_unix_nano: 1_790_000_000_000_000_000,
        observed_time_unix_nano: 1_790_000_000_000_000_001,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: any(body),
        attributes: attributes(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        flags: 1,
        event_name: "event".to_owned(),
        ..LogRecord::default()
    };
    let map = KeyValueList { values: attributes() };
    let log_records =
        vec![record(Any::StringValue("disk full".to_owned())), record(Any::KvlistValue(map))];
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs,
            ..Default::default()
        }],
    }
}

fn traces_request() -> ExportTraceServiceRequest {
    let event =
        span::Event { name: "e".to_owned(), attributes: attributes(), ..Default::default() };
    let link = span::Link { trace_id: vec![3; 16], span_id: vec![4; 8], ..Default::default() };
    let one = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![5; 8],
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_790_000_000_000_000_000,
        end_time_unix_nano: 1_790_000_000_500_000_000,
        attributes: attributes(),
        events: vec![event],
        links: vec![link],
        status: Some(Status { message: "bad".to_owned(), code: 2 }),
        trace_state: "a=b".to_owned(),
        ..Span::default()
    };
    let mut other = one.clone();
    other.span_id = vec![6; 8];
    let scope_spans =
        vec![ScopeSpans { scope: scope(), spans: vec![one, other], ..Default::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans,
            ..Default::default()
        }],
    }
}

fn metrics_request() -> ExportMetricsServiceRequest {
    use otlp::metric::Data;
    let (start, time) = (1_790_000_000_000_000_000, 1_790_000_060_000_000_000);
    let number = otlp::NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: start,
        time_unix_nano: time,
        exemplars: vec![otlp::Exemplar {
            time_unix_nano: time,
            trace_id: vec![1; 16],
            value: Some(otlp::exemplar::Value::AsDouble(1.5)),
            ..Default::default()
        }],
        value: Some(otlp::number_data_point::Value::AsInt(4)),
        ..Default::default()
    };
    let classic = otlp::HistogramDataPoint {
        time_unix_nano: time,
        count: 6,
        sum: Some(3.0),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 1.0],
        ..Default::default()
    };
    let buckets = |offset| otlp::exponential_histogram_data_point::Buckets {
        offset,
        bucket_counts: vec![1, 0, 2],
    };
    let native = otlp::ExponentialHistogramDataPoint {
        time_unix_nano: time,
        start_time_unix_nano: start,
        count: 8,
        sum: Some(9.0),
        scale: 3,
        zero_count: 2,
        positive: Some(buckets(-2)),
        negative: Some(buckets(4)),
        ..Default::default()
    };
    let summary = otlp::SummaryDataPoint {
        time_unix_nano: time,
        count: 2,
        sum: 3.0,
        quantile_values: vec![otlp::summary_data_point::ValueAtQuantile {
            quantile: 0.5,
            value: 1.0,
        }],
        ..Default::default()
    };
    let sum = |delta: bool| {
        Data::Sum(otlp::Sum {
            data_points: vec![number.clone()],
            aggregation_temporality: if delta { 1 } else { 2 },
            is_monotonic: true,
        })
    };
    let data = vec![
        Data::Gauge(otlp::Gauge { data_points: vec![number.clone()] }),
        sum(true),
        sum(false),
        Data::Histogram(otlp::Histogram { data_points: vec![classic], aggregation_temporality: 2 }),
        Data::ExponentialHistogram(otlp::ExponentialHistogram {
            data_points: vec![native.clone(), native],
            aggregation_temporality: 1,
        }),
        Data::Summary(otlp::Summary { data_points: vec![summary] }),
    ];
    let metrics = data.into_iter().enumerate().map(|(index, data)| otlp::Metric {
        name: format!("metric.{index}"),
        unit: "ms".to_owned(),
        description: "help".to_owned(),
        data: Some(data),
        ..Default::default()
    });
    let metrics = metrics.collect();
    let scope_metrics = vec![otlp::ScopeMetrics { scope: scope(), metrics, ..Default::default() }];
    let resource = resource();
    ExportMetricsServiceRequest {
        resource_metrics: vec![otlp::ResourceMetrics {
            resource,
            scope_metrics,
            ..Default::default()
        }],
    }
}

fn logs() -> Vec<Vec<u8>> {
    vec![logs_request().encode_to_vec(), chaos::load::logs(1, 3, 1_790_000_000_000_000_000)]
}

fn traces() -> Vec<Vec<u8>> {
    vec![traces_request().encode_to_vec(), chaos::load::traces(1, 3, 1_790_000_000_000_000_000)]
}

fn metrics() -> Vec<Vec<u8>> {
    vec![metrics_request().encode_to_vec()]
}

fn logs_json() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},"scopeLogs":[{"scope":{"name":"s","version":"1"},"logRecords":[{"timeUnixNano":"1790000000000000000","observedTimeUnixNano":1,"severityNumber":9,"severityText":"INFO","body":{"stringValue":"hello \u00e9 \ud83d\ude00"},"attributes":[{"key":"n","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":1.5e3}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{"bytesValue":"AP8="}]}}},{"key":"m","value":{"kvlistValue":{"values":[{"key":"x","value":{}}]}}}],"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","flags":1,"eventName":"e"}]}]}]}"#,
        r#"{"resource_logs":null}"#,
    ])
}

fn traces_json() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"","name":"GET","kind":2,"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000000500000000","events":[{"name":"e","timeUnixNano":"1"}],"links":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}],"status":{"code":"STATUS_CODE_ERROR","message":"m"}}]}]}]}"#,
    ])
}

fn metrics_json() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"1790000000000000000","asDouble":"NaN"}]}},{"name":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asInt":"4","timeUnixNano":"1790000000000000000"}]}},{"name":"h","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"1790000000000000000","startTimeUnixNano":"1","count":"3","scale":2,"zeroCount":0,"positive":{"offset":-1,"bucketCounts":["1","2"]}}]}},{"name":"c","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1790000000000000000","count":3,"sum":"Infinity","bucketCounts":[1,2],"explicitBounds":[0.5]}]}}]}]}]}"#,
    ])
}

/// Fields of protobuf by hand, for messages that no crate here knows.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    model::wire::put_bytes(&mut out, number, content);
    out
}

fn remote_write() -> Vec<Vec<u8>> {
    let label = |name: &str, value: &str| {
        field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let mut sample = Vec::new();
    model::wire::put_fixed64(&mut sample, 1, 1.5f64.to_bits());
    model::wire::put_uint(&mut sample, 2, 1_790_000_000_000);
    let mut histogram = Vec::new();
    model::wire::put_uint(&mut histogram, 1, 3);
    model::wire::put_fixed64(&mut histogram, 3, 2.0f64.to_bits());
    model::wire::put_uint(&mut histogram, 4, 4);
    model::wire::put_fixed64(&mut histogram, 5, 0.001f64.to_bits());
    model::wire::put_uint(&mut histogram, 6, 1);
    let mut span = Vec::new();
    model::wire::put_uint(&mut span, 1, 2);
    model::wire::put_uint(&mut span, 2, 2);
    histogram.extend(field(11, &span));
    histogram.extend(field(12, &[2, 0]));
    model::wire::put_uint(&mut histogram, 15, 1_790_000_000_000);
    let labels = [label("__name__", "up"), label("job", "fuzz")].concat();
    let exemplar = field(3, &[label("trace_id", "abc"), sample.clone()].concat());
    let metadata = field(3, &[vec![8, 1], field(2, b"up"), field(4, b"help")].concat());
    let series = |rest: &[u8]| field(1, &[labels.clone(), rest.to_vec()].concat());
    vec![
        [series(&[field(2, &sample), exemplar].concat()), metadata].concat(),
        series(&field(4, &histogram)),
        snap::raw::Decoder::new()
            .decompress_vec(&chaos::load::metrics(1, 3, 1_790_000_000_000))
            .unwrap_or_default(),
    ]
}

fn loki_json() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"streams":[{"stream":{"app":"a","level":"info"},"values":[["1790000000000000000","line \u0000"],["1790000000000000001","two",{"trace_id":"abc"}]]}]}"#,
        r#"{"streams":[{"labels":"{app=\"a\", x=`y`}","entries":[{"ts":"2026-09-21T14:13:20.5+02:00","line":"old form"}]}]}"#,
    ])
}

fn loki_protobuf() -> Vec<Vec<u8>> {
    let mut time = Vec::new();
    model::wire::put_uint(&mut time, 1, 1_790_000_000);
    model::wire::put_uint(&mut time, 2, 5);
    let pair = field(3, &[field(1, b"trace_id"), field(2, b"abc")].concat());
    let entry = field(2, &[field(1, &time), field(2, b"a line"), pair].concat());
    vec![field(1, &[field(1, br#"{app="a\n\x41", b=`c`}"#), entry].concat())]
}

fn bodies() -> Vec<Vec<u8>> {
    let text = b"a body that is told again, a body that is told again".repeat(20);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let _written = gzip.write_all(&text);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let _written = zlib.write_all(&text);
    let snappy = snap::raw::Encoder::new().compress_vec(&text).unwrap_or_default();
    let zstd = zstd::stream::encode_all(&text[..], 3).unwrap_or_default();
    let bodies =
        [gzip.finish().unwrap_or_default(), zlib.finish().unwrap_or_default(), snappy, zstd];
    let mut seeds = Vec::new();
    for body in bodies {
        for encoding in 0..Encoding::ALL.len() as u8 {
            seeds.push([&[encoding][..], &body].concat());
        }
    }
    seeds
}

fn grpc() -> Vec<Vec<u8>> {
    vec![vec![0, 0, 0, 0, 2, 10, 0], vec![1, 0, 0, 0, 0], vec![0, 255, 255, 255, 255, 1]]
}

fn tenants() -> Vec<Vec<u8>> {
    texts(&["default", "team-a.b_c!*'()", "..", "../../etc", "%2e%2e", "a|b"])
}
