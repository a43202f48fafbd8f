//! A trace as Jaeger's UI wants it. Source: Jaeger 2.20, `jaegerquery` and its OTLP translator.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{AttributesRef, SpanKind, SpanStatus, Stream, StreamId, Value, value_to_json};
use serde_json::{Value as Json, json};

use super::assemble::Span;

/// Integers beyond this lose digits in JavaScript and go as text.
const SAFE_INTEGER_MAX: u64 = 1 << 53;

/// One trace. `warnings` are about the whole of it.
pub(crate) fn trace_json(spans: &[Span], warnings: &[String]) -> Json {
    let mut processes = serde_json::Map::new();
    let mut names: HashMap<StreamId, String> = HashMap::new();
    let spans_json: Vec<Json> = spans
        .iter()
        .map(|span| {
            let stream = span.stream();
            let process = names.entry(stream.id).or_insert_with(|| {
                let name = format!("p{}", processes.len() + 1);
                processes.insert(name.clone(), process_json(&stream));
                name
            });
            span_json(span, &stream, process)
        })
        .collect();
    let trace_id = spans.first().map(|span| hex::encode(span.row.trace_id)).unwrap_or_default();
    let warnings = if warnings.is_empty() { Json::Null } else { json!(warnings) };
    json!({
        "traceID": trace_id,
        "spans": spans_json,
        "processes": processes,
        "warnings": warnings,
    })
}

fn process_json(stream: &Stream) -> Json {
    let tags: Vec<Json> = stream
        .resource()
        .iter()
        .filter(|(key, _)| *key != "service.name")
        .map(|(key, value)| tag(key, value))
        .collect();
    let service = stream.service();
    let service = if service.is_empty() { "OTLPResourceNoServiceName" } else { service };
    json!({ "serviceName": service, "tags": tags })
}

fn span_json(span: &Span, stream: &Stream, process: &str) -> Json {
    let row = &span.row;
    let batch = &span.batch;
    let trace_id = hex::encode(row.trace_id);
    let mut references = Vec::new();
    if row.parent_span_id != [0; 8] {
        references.push(reference("CHILD_OF", &trace_id, &hex::encode(row.parent_span_id)));
    }
    for link in batch.links(row) {
        let (trace, span) = (hex::encode(link.trace_id), hex::encode(link.span_id));
        references.push(reference("FOLLOWS_FROM", &trace, &span));
    }
    let logs: Vec<Json> = batch
        .events(row)
        .map(|event| {
            let mut fields = Vec::new();
            if !event.name.is_empty() {
                fields.push(tag("event", Value::Str(event.name)));
            }
            fields.extend(event.attributes.iter().map(|(key, value)| tag(key, value)));
            json!({ "timestamp": event.time_ns / 1_000, "fields": fields })
        })
        .collect();
    json!({
        "traceID": trace_id,
        "spanID": hex::encode(row.span_id),
        "operationName": span.name(),
        "references": references,
        "startTime": row.start_ns / 1_000,
        "duration": row.duration_ns() / 1_000,
        "tags": tags(span, stream),
        "logs": logs,
        "processID": process,
        "warnings": null,
    })
}

fn reference(kind: &str, trace_id: &str, span_id: &str) -> Json {
    json!({ "refType": kind, "traceID": trace_id, "spanID": span_id })
}

fn tags(span: &Span, stream: &Stream) -> Vec<Json> {
    let row = &span.row;
    let batch = &span.batch;
    let mut tags = Vec::new();
    if !stream.scope.name.is_empty() {
        tags.push(tag("otel.scope.name", Value::Str(&stream.scope.name)));
    }
    if !stream.scope.version.is_empty() {
        tags.push(tag("otel.scope.version", Value::Str(&stream.scope.version)));
    }
    push_attributes(&mut tags, batch.attributes(row));
    if row.kind != SpanKind::Unspecified {
        tags.push(tag("span.kind", Value::Str(row.kind.as_str())));
    }
    match row.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => tags.push(tag("otel.status_code", Value::Str("OK"))),
        SpanStatus::Error => {
            tags.push(tag("otel.status_code", Value::Str("ERROR")));
            tags.push(tag("error", Value::Bool(true)));
        }
    }
    let message = batch.text(row.status_message);
    if !message.is_empty() {
        tags.push(tag("otel.status_description", Value::Str(message)));
    }
    let state = batch.text(row.trace_state);
    if !state.is_empty() {
        tags.push(tag("w3c.tracestate", Value::Str(state)));
    }
    tags
}

fn push_attributes(tags: &mut Vec<Json>, attributes: AttributesRef<'_>) {
    tags.extend(attributes.iter().map(|(key, value)| tag(key, value)));
}

fn tag(key: &str, value: Value<'_>) -> Json {
    let (kind, value) = match value {
        Value::Empty => ("string", json!("")),
        Value::Str(text) => ("string", json!(text)),
        Value::Bool(flag) => ("bool", json!(flag)),
        Value::Int(int) if int.unsigned_abs() > SAFE_INTEGER_MAX => {
            ("int64", json!(int.to_string()))
        }
        Value::Int(int) => ("int64", json!(int)),
        Value::Double(double) if double.is_finite() => ("float64", json!(double)),
        Value::Double(double) => ("string", json!(double.to_string())),
        Value::Bytes(bytes) => ("binary", json!(STANDARD.encode(bytes))),
        value @ (Value::Array(_) | Value::Map(_)) => ("string", json!(value_to_json(value))),
    };
    json!({ "key": key, "type": kind, "value": value })
}
