//! What `tests/tools/send.py` sent, as the OpenTelemetry SDK's own encoder wrote it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use serde_json::{Value as Json, json};

use chaos::tools;

/// A span and what stands around it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SentSpan {
    pub(crate) resource: Resource,
    pub(crate) resource_schema_url: String,
    pub(crate) scope: InstrumentationScope,
    pub(crate) scope_schema_url: String,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct SentLog {
    pub(crate) resource: Resource,
    pub(crate) scope: InstrumentationScope,
    pub(crate) record: LogRecord,
}

#[derive(Debug)]
pub(crate) struct SentMetric {
    pub(crate) resource: Resource,
    pub(crate) scope: InstrumentationScope,
    pub(crate) metric: Metric,
}

/// One run of the program. All spans are of one trace.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Units: lower hex.
    pub(crate) trace_id: String,
    pub(crate) root_span_id: String,
    pub(crate) spans: Vec<SentSpan>,
    /// The `resourceSpans` of all requests as protobuf's JSON mapping writes them.
    pub(crate) spans_json: Vec<Json>,
    pub(crate) logs: Vec<SentLog>,
    pub(crate) metrics: Vec<SentMetric>,
}

impl Sent {
    /// Sends to an OTLP endpoint; nothing where the SDK is not installed.
    pub(crate) async fn run(protocol: &str, endpoint: &str) -> Option<Sent> {
        let python = tools::find("python/bin/python")?;
        let script = tools::source("send.py");
        let script = script.to_str().expect("a path of text");
        let args = [script, "--protocol", protocol, "--endpoint", endpoint];
        let output = tools::run(&python, &args).await;
        let said: Json = serde_json::from_str(output.lines().last().expect("a line")).unwrap();
        let sent = Sent {
            trace_id: text(&said["traceId"]),
            root_span_id: text(&said["spanId"]),
            spans: requests::<ExportTraceServiceRequest>(&said["traces"])
                .flat_map(|request| spans(request.resource_spans))
                .collect(),
            spans_json: items(&said["traces"]["json"])
                .flat_map(|request| items(&request["resourceSpans"]))
                .cloned()
                .collect(),
            logs: logs(&said["logs"]),
            metrics: metrics(&said["metrics"]),
        };
        // What the program is written to send: a comparison with nothing would prove nothing.
        assert_eq!((sent.spans.len(), sent.logs.len(), sent.metrics.len()), (6, 5, 8));
        Some(sent)
    }

    /// The log records inside the trace.
    pub(crate) fn logs_of_trace(&self) -> Vec<&SentLog> {
        self.logs.iter().filter(|log| hex::encode(&log.record.trace_id) == self.trace_id).collect()
    }
}

fn text(value: &Json) -> String {
    value.as_str().expect("text").to_owned()
}

fn items(value: &Json) -> impl Iterator<Item = &Json> {
    value.as_array().expect("an array").iter()
}

fn requests<M: Message + Default>(signal: &Json) -> impl Iterator<Item = M> {
    items(&signal["protobuf"]).map(|body| {
        let body = STANDARD.decode(body.as_str().expect("text")).expect("base64");
        M::decode(body.as_slice()).expect("a request")
    })
}

/// The spans of a message, each with what stands around it.
pub(crate) fn spans(groups: Vec<ResourceSpans>) -> Vec<SentSpan> {
    let mut spans = Vec::new();
    for group in groups {
        for scope in group.scope_spans {
            spans.extend(scope.spans.into_iter().map(|span| SentSpan {
                resource: group.resource.clone().unwrap_or_default(),
                resource_schema_url: group.schema_url.clone(),
                scope: scope.scope.clone().unwrap_or_default(),
                scope_schema_url: scope.schema_url.clone(),
                span,
            }));
        }
    }
    spans
}

fn logs(signal: &Json) -> Vec<SentLog> {
    let mut logs = Vec::new();
    for request in requests::<ExportLogsServiceRequest>(signal) {
        for group in request.resource_logs {
            for scope in group.scope_logs {
                logs.extend(scope.log_records.into_iter().map(|record| SentLog {
                    resource: group.resource.clone().unwrap_or_default(),
                    scope: scope.scope.clone().unwrap_or_default(),
                    record,
                }));
            }
        }
    }
    logs
}

fn metrics(signal: &Json) -> Vec<SentMetric> {
    let mut metrics = Vec::new();
    for request in requests::<ExportMetricsServiceRequest>(signal) {
        for group in request.resource_metrics {
            for scope in group.scope_metrics {
                metrics.extend(scope.metrics.into_iter().map(|metric| SentMetric {
                    resource: group.resource.clone().unwrap_or_default(),
                    scope: scope.scope.clone().unwrap_or_default(),
                    metric,
                }));
            }
        }
    }
    metrics
}

/// An attribute's text value.
pub(crate) fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

/// A value as plain JSON. Integers that a double cannot hold are text.
pub(crate) fn plain(value: Option<&AnyValue>) -> Json {
    use any_value::Value;
    match value.and_then(|value| value.value.as_ref()) {
        None => Json::Null,
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(flag)) => json!(flag),
        Some(Value::IntValue(int)) if int.unsigned_abs() > 1 << 53 => json!(int.to_string()),
        Some(Value::IntValue(int)) => json!(int),
        Some(Value::DoubleValue(double)) => json!(double),
        Some(Value::BytesValue(bytes)) => json!(STANDARD.encode(bytes)),
        Some(Value::ArrayValue(array)) => {
            array.values.iter().map(|value| plain(Some(value))).collect()
        }
        Some(Value::KvlistValue(list)) => list
            .values
            .iter()
            .map(|entry| (entry.key.clone(), plain(entry.value.as_ref())))
            .collect(),
        Some(other) => panic!("{other:?} is not sent"),
    }
}

/// Attributes as pairs of key and plain JSON, in the order sent.
pub(crate) fn pairs(attributes: &[KeyValue]) -> Json {
    attributes.iter().map(|item| json!([item.key, plain(item.value.as_ref())])).collect()
}
