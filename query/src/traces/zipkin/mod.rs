//! A trace as Zipkin's API v2 has it.
//!
//! Source: the OpenTelemetry Collector's Zipkin translator and zipkin-go, which rounds to
//! microseconds. Unlike there, an address that is no IP stays a tag instead of getting lost, and
//! `network.peer.*` and `network.local.*` count as what they were called before.

pub(crate) mod search;

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{AttributesRef, LinkRef, SpanKind, SpanStatus, Value, value_to_json};
use serde_json::{Map, Value as Json, json};

use super::assemble::Span;

/// The name of a service that has not said its name.
const NO_SERVICE_NAME: &str = "OTLPResourceNoServiceName";

/// Attributes that say where one side of a span is; the first one that fits is taken.
struct Place {
    address: [&'static str; 2],
    port: [&'static str; 2],
}

const LOCAL: Place = Place {
    address: ["net.host.ip", "network.local.address"],
    port: ["net.host.port", "network.local.port"],
};
const REMOTE: Place = Place {
    address: ["net.peer.ip", "network.peer.address"],
    port: ["net.peer.port", "network.peer.port"],
};

/// The spans in the order given.
pub(crate) fn spans_json(spans: &[Span]) -> Json {
    spans.iter().map(span_json).collect()
}

fn span_json(span: &Span) -> Json {
    let row = &span.row;
    let stream = span.stream();
    let mut tags = tags(span);
    let service = Some(stream.service()).filter(|name| !name.is_empty()).unwrap_or(NO_SERVICE_NAME);
    let local = endpoint(&mut tags, Some(service.to_owned()), &LOCAL);
    let peer = tags.remove("peer.service").and_then(|name| name.as_str().map(str::to_owned));
    let remote = endpoint(&mut tags, peer.filter(|name| !name.is_empty()), &REMOTE);
    add_status(&mut tags, span);
    let mut json = Map::new();
    json.insert("traceId".to_owned(), json!(trace_id_text(&row.trace_id)));
    json.insert("id".to_owned(), json!(hex::encode(row.span_id)));
    if row.parent_span_id != [0; 8] {
        json.insert("parentId".to_owned(), json!(hex::encode(row.parent_span_id)));
    }
    if let Some(kind) = kind_text(row.kind) {
        json.insert("kind".to_owned(), json!(kind));
    }
    json.insert("name".to_owned(), json!(span.name()));
    // Absent says unknown; readers refuse times before 1970.
    if row.start_ns > 0 {
        json.insert("timestamp".to_owned(), json!(rounded_us(row.start_ns)));
    }
    if row.duration_ns() > 0 {
        json.insert("duration".to_owned(), json!(rounded_us(row.duration_ns()).max(1)));
    }
    for (name, endpoint) in [("localEndpoint", local), ("remoteEndpoint", remote)] {
        json.extend(endpoint.map(|endpoint| (name.to_owned(), endpoint)));
    }
    let annotations: Vec<Json> = span
        .batch
        .events(row)
        .map(|event| {
            let value = if event.attributes.is_empty() && event.dropped_attributes_count == 0 {
                event.name.to_owned()
            } else {
                let attributes = object_text(event.attributes);
                format!("{}|{attributes}|{}", event.name, event.dropped_attributes_count)
            };
            json!({ "timestamp": rounded_us(event.time_ns.max(0)), "value": value })
        })
        .collect();
    if !annotations.is_empty() {
        json.insert("annotations".to_owned(), Json::Array(annotations));
    }
    json.insert("tags".to_owned(), Json::Object(tags));
    Json::Object(json)
}

/// 16 digits where the upper half is zero: the sender's IDs have 64 bits.
fn trace_id_text(trace_id: &[u8; 16]) -> String {
    let [0, 0, 0, 0, 0, 0, 0, 0, lower @ ..] = trace_id else { return hex::encode(trace_id) };
    hex::encode(lower)
}

fn kind_text(kind: SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Unspecified | SpanKind::Internal => None,
        SpanKind::Server => Some("SERVER"),
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
    }
}

/// The nearest microsecond.
fn rounded_us(ns: i64) -> i64 {
    ns.saturating_add(500) / 1_000
}

/// Resource, scope and span in one: what is narrower wins.
fn tags(span: &Span) -> Map<String, Json> {
    let (row, batch) = (&span.row, &span.batch);
    let stream = span.stream();
    let mut tags = Map::new();
    let mut put = |key: &str, text: String| tags.insert(key.to_owned(), Json::String(text));
    let resource = stream.resource().iter().filter(|(key, _)| *key != "service.name");
    for (key, value) in resource.chain(stream.scope_attributes().iter()) {
        put(key, value_text(value));
    }
    for (key, text) in
        [("otel.library.name", &stream.scope.name), ("otel.library.version", &stream.scope.version)]
    {
        if !text.is_empty() {
            put(key, text.to_string());
        }
    }
    for (key, value) in batch.attributes(row).iter() {
        put(key, value_text(value));
    }
    let state = batch.text(row.trace_state);
    if !state.is_empty() {
        put("w3c.tracestate", state.to_owned());
    }
    if row.kind == SpanKind::Internal {
        put("span.kind", "internal".to_owned());
    }
    for (index, link) in batch.links(row).enumerate() {
        put(&format!("otlp.link.{index}"), link_text(&link));
    }
    tags
}

fn link_text(link: &LinkRef<'_>) -> String {
    let (trace_id, span_id) = (hex::encode(link.trace_id), hex::encode(link.span_id));
    let (state, dropped_count) = (link.trace_state, link.dropped_attributes_count);
    format!("{trace_id}|{span_id}|{state}|{}|{dropped_count}", object_text(link.attributes))
}

/// Zipkin takes any span with a tag `error` for a failed one, so that only failed ones may have it.
fn add_status(tags: &mut Map<String, Json>, span: &Span) {
    tags.remove("error");
    let code = match span.row.status {
        SpanStatus::Unset => return,
        SpanStatus::Ok => "OK",
        SpanStatus::Error => {
            tags.insert("error".to_owned(), json!("true"));
            "ERROR"
        }
    };
    tags.insert("otel.status_code".to_owned(), json!(code));
    let message = span.batch.text(span.row.status_message);
    if !message.is_empty() {
        tags.insert("otel.status_description".to_owned(), json!(message));
    }
}

/// One side of a span; the tags that it is made of are taken out. Nothing without name and address.
fn endpoint(tags: &mut Map<String, Json>, name: Option<String>, place: &Place) -> Option<Json> {
    let address = place.address.into_iter().find_map(|key| {
        let address: IpAddr = tags.get(key)?.as_str()?.parse().ok()?;
        tags.remove(key);
        Some(address)
    });
    if name.is_none() && address.is_none() {
        return None;
    }
    let port = place.port.into_iter().find_map(|key| {
        let port: u16 = tags.get(key)?.as_str()?.parse().ok().filter(|port| *port > 0)?;
        tags.remove(key);
        Some(port)
    });
    let mut endpoint = Map::new();
    endpoint.extend(name.map(|name| ("serviceName".to_owned(), json!(name))));
    endpoint.extend(address.map(|address| {
        let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        (kind.to_owned(), json!(address))
    }));
    endpoint.extend(port.map(|port| ("port".to_owned(), json!(port))));
    Some(Json::Object(endpoint))
}

/// A tag's text: strings as they are, bytes as base64, nothing for nothing, JSON for the rest.
fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Empty => String::new(),
        Value::Str(text) => text.to_owned(),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::Double(double) if !double.is_finite() => double.to_string(),
        value => value_to_json(value),
    }
}

/// Attributes as a JSON object, sorted by key.
fn object_text(attributes: AttributesRef<'_>) -> String {
    let mut fields: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{}:{}", Json::from(key), value_to_json(value)))
        .collect();
    fields.sort_unstable();
    format!("{{{}}}", fields.join(","))
}
