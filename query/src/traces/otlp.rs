//! Traces as OTLP: protobuf (`TracesData`, which is Tempo's `Trace` too) and JSON.
//!
//! Grafana's Tempo plugin needs `status`, `scope` and `resource` to be there even when empty, and at
//! least one resource attribute, or spans disappear (api.md 5.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::wire::{put_bytes, put_fixed32, put_fixed64, put_message, put_uint};
use model::{AttributesBuilder, AttributesRef, SpanStatus, Stream, StreamId, Value};
use serde_json::{Map, Value as Json, json};

use super::assemble::Span;

/// Spans next to each other of one stream, in order of first appearance.
fn by_stream(spans: &[Span]) -> Vec<(std::sync::Arc<Stream>, Vec<&Span>)> {
    let mut groups: Vec<(std::sync::Arc<Stream>, Vec<&Span>)> = Vec::new();
    let mut places: std::collections::HashMap<StreamId, usize> = std::collections::HashMap::new();
    for span in spans {
        let stream = span.stream();
        let place = *places.entry(stream.id).or_insert_with(|| {
            groups.push((std::sync::Arc::clone(&stream), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(span);
    }
    groups
}

/// A `TracesData` message: `resource_spans` under field 1.
pub(crate) fn to_protobuf(spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::new();
    for (stream, spans) in by_stream(spans) {
        put_message(&mut out, 1, |out| {
            put_message(out, 1, |out| write_resource(out, &stream));
            put_message(out, 2, |out| {
                put_message(out, 1, |out| write_scope(out, &stream));
                for span in spans {
                    put_message(out, 2, |out| write_span(out, span));
                }
                put_text(out, 3, &stream.scope.schema_url);
            });
            put_text(out, 3, &stream.resource_schema_url);
        });
    }
    out
}

fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, number: u32, count: u32) {
    if count != 0 {
        put_uint(out, number, u64::from(count));
    }
}

fn put_attributes(out: &mut Vec<u8>, number: u32, attributes: AttributesRef<'_>) {
    for (key, value) in attributes.iter() {
        put_message(out, number, |out| {
            put_bytes(out, 1, key.as_bytes());
            put_message(out, 2, |out| value.write(out));
        });
    }
}

fn write_resource(out: &mut Vec<u8>, stream: &Stream) {
    put_attributes(out, 1, stream.resource());
    if stream.resource().is_empty() {
        let mut service = AttributesBuilder::new();
        service.push("service.name", Value::Str("unknown_service"));
        put_attributes(out, 1, AttributesRef::list(&service.finish()));
    }
    put_count(out, 2, stream.resource_dropped_attributes_count);
}

fn write_scope(out: &mut Vec<u8>, stream: &Stream) {
    put_text(out, 1, &stream.scope.name);
    put_text(out, 2, &stream.scope.version);
    put_attributes(out, 3, stream.scope_attributes());
    put_count(out, 4, stream.scope.dropped_attributes_count);
}

fn write_span(out: &mut Vec<u8>, span: &Span) {
    let row = &span.row;
    let batch = &span.batch;
    put_bytes(out, 1, &row.trace_id);
    put_bytes(out, 2, &row.span_id);
    put_text(out, 3, batch.text(row.trace_state));
    if row.parent_span_id != [0; 8] {
        put_bytes(out, 4, &row.parent_span_id);
    }
    put_text(out, 5, span.name());
    put_count(out, 6, row.kind as u32);
    put_fixed64(out, 7, row.start_ns as u64);
    put_fixed64(out, 8, row.end_ns as u64);
    put_attributes(out, 9, batch.attributes(row));
    put_count(out, 10, row.dropped_attributes_count);
    for event in batch.events(row) {
        put_bytes(out, 11, event.wire);
    }
    put_count(out, 12, row.dropped_events_count);
    for link in batch.links(row) {
        put_bytes(out, 13, link.wire);
    }
    put_count(out, 14, row.dropped_links_count);
    put_message(out, 15, |out| {
        put_text(out, 2, batch.text(row.status_message));
        put_count(out, 3, row.status as u32);
    });
    if row.flags != 0 {
        put_fixed32(out, 16, row.flags);
    }
}

/// The `resourceSpans` array as gogo's jsonpb writes it, which is how Tempo answers: IDs in base64,
/// enums by name.
pub(crate) fn to_json(spans: &[Span]) -> Json {
    by_stream(spans)
        .into_iter()
        .map(|(stream, spans)| {
            let mut resource = json!({ "attributes": attributes_json(stream.resource()) });
            set_count(
                &mut resource,
                "droppedAttributesCount",
                stream.resource_dropped_attributes_count,
            );
            let mut scope = Json::Object(Map::new());
            set_text(&mut scope, "name", &stream.scope.name);
            set_text(&mut scope, "version", &stream.scope.version);
            if !stream.scope_attributes().is_empty() {
                scope["attributes"] = attributes_json(stream.scope_attributes());
            }
            let spans: Vec<Json> = spans.into_iter().map(span_json).collect();
            let mut scope_spans = json!({ "scope": scope, "spans": spans });
            set_text(&mut scope_spans, "schemaUrl", &stream.scope.schema_url);
            let mut group = json!({ "resource": resource, "scopeSpans": [scope_spans] });
            set_text(&mut group, "schemaUrl", &stream.resource_schema_url);
            group
        })
        .collect()
}

fn set_text(object: &mut Json, key: &str, text: &str) {
    if !text.is_empty() {
        object[key] = json!(text);
    }
}

fn set_count(object: &mut Json, key: &str, count: u32) {
    if count != 0 {
        object[key] = json!(count);
    }
}

fn id_json(id: &[u8]) -> Json {
    json!(STANDARD.encode(id))
}

/// Attributes as OTLP/JSON writes them.
pub(crate) fn attributes_json(attributes: AttributesRef<'_>) -> Json {
    attributes.iter().map(|(key, value)| json!({ "key": key, "value": any_json(value) })).collect()
}

fn any_json(value: Value<'_>) -> Json {
    match value {
        Value::Empty => json!({}),
        Value::Str(text) => json!({ "stringValue": text }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::Int(int) => json!({ "intValue": int.to_string() }),
        Value::Double(double) if double.is_finite() => json!({ "doubleValue": double }),
        Value::Double(double) if double.is_nan() => json!({ "doubleValue": "NaN" }),
        Value::Double(double) if double > 0.0 => json!({ "doubleValue": "Infinity" }),
        Value::Double(_) => json!({ "doubleValue": "-Infinity" }),
        Value::Bytes(bytes) => json!({ "bytesValue": STANDARD.encode(bytes) }),
        Value::Array(_) => {
            let values: Vec<Json> = value.items().map(any_json).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Map(_) => json!({ "kvlistValue": { "values": attributes_json(value.entries()) } }),
    }
}

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

fn span_json(span: &Span) -> Json {
    let row = &span.row;
    let batch = &span.batch;
    let mut object = json!({
        "traceId": id_json(&row.trace_id),
        "spanId": id_json(&row.span_id),
        "name": span.name(),
        "startTimeUnixNano": (row.start_ns as u64).to_string(),
        "endTimeUnixNano": (row.end_ns as u64).to_string(),
        "attributes": attributes_json(batch.attributes(row)),
    });
    if row.parent_span_id != [0; 8] {
        object["parentSpanId"] = id_json(&row.parent_span_id);
    }
    set_text(&mut object, "traceState", batch.text(row.trace_state));
    // jsonpb writes names of enums, OTLP/JSON numbers.
    object["kind"] = json!(KINDS[row.kind as usize]);
    let mut status = Json::Object(Map::new());
    set_text(&mut status, "message", batch.text(row.status_message));
    match row.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => status["code"] = json!("STATUS_CODE_OK"),
        SpanStatus::Error => status["code"] = json!("STATUS_CODE_ERROR"),
    }
    object["status"] = status;
    let events: Vec<Json> = batch
        .events(row)
        .map(|event| {
            let mut object = json!({
                "timeUnixNano": (event.time_ns as u64).to_string(),
                "name": event.name,
                "attributes": attributes_json(event.attributes),
            });
            set_count(&mut object, "droppedAttributesCount", event.dropped_attributes_count);
            object
        })
        .collect();
    if !events.is_empty() {
        object["events"] = Json::Array(events);
    }
    let links: Vec<Json> = batch
        .links(row)
        .map(|link| {
            let mut object = json!({
                "traceId": id_json(link.trace_id),
                "spanId": id_json(link.span_id),
                "attributes": attributes_json(link.attributes),
            });
            set_text(&mut object, "traceState", link.trace_state);
            set_count(&mut object, "droppedAttributesCount", link.dropped_attributes_count);
            set_count(&mut object, "flags", link.flags);
            object
        })
        .collect();
    if !links.is_empty() {
        object["links"] = Json::Array(links);
    }
    set_count(&mut object, "droppedAttributesCount", row.dropped_attributes_count);
    set_count(&mut object, "droppedEventsCount", row.dropped_events_count);
    set_count(&mut object, "droppedLinksCount", row.dropped_links_count);
    set_count(&mut object, "flags", row.flags);
    object
}
