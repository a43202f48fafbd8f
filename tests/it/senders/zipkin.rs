//! Traces read back through Zipkin's API.
//!
//! Source of the mapping: the OpenTelemetry Collector's Zipkin translator.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value as Json, json};

use super::sent::{Sent, SentSpan, attribute, plain};
use chaos::server::Server;

pub(super) async fn check(server: &Server, sent: &Sent) {
    let want: BTreeMap<String, Json> = sent.spans.iter().map(expected).collect();
    let end_ms = sent.spans.iter().map(|span| span.span.end_time_unix_nano).max();
    let end_ms = end_ms.expect("spans") / 1_000_000 + 1;
    for base in ["", "/ds/zipkin"] {
        let get = async |path: String| server.json(&format!("{base}/api/v2/{path}")).await;
        assert_eq!(found(&get(format!("trace/{}", sent.trace_id)).await), want, "{base}");
        assert_eq!(get("services".to_owned()).await, json!(["bank", "shop"]));
        let names = json!(["POST /charge", "POST /order", "publish", "validate"]);
        assert_eq!(get("spans?serviceName=shop".to_owned()).await, names);
        let window = format!("endTs={end_ms}&lookback=60000");
        let traces =
            get(format!("traces?{window}&serviceName=bank&annotationQuery=error+and+exception"));
        let traces = traces.await;
        assert_eq!(traces.as_array().expect("traces").len(), 1);
        assert_eq!(found(&traces[0]), want, "{base}");
        let links = get(format!("dependencies?{window}")).await;
        let calls = json!([{ "parent": "shop", "child": "bank", "callCount": 2, "errorCount": 1 }]);
        assert_eq!(links, calls);
    }
}

/// Spans of an answer by ID.
fn found(trace: &Json) -> BTreeMap<String, Json> {
    let spans = trace.as_array().expect("spans").iter();
    spans.map(|span| (span["id"].as_str().expect("an ID").to_owned(), span.clone())).collect()
}

fn expected(sent: &SentSpan) -> (String, Json) {
    let span = &sent.span;
    let span_id = hex::encode(&span.span_id);
    let micros = |ns: u64| (ns + 500) / 1000;
    let mut want = json!({
        "traceId": hex::encode(&span.trace_id),
        "id": span_id,
        "name": span.name,
        "timestamp": micros(span.start_time_unix_nano),
        "duration": micros(span.end_time_unix_nano - span.start_time_unix_nano).max(1),
        "localEndpoint": {
            "serviceName": attribute(&sent.resource.attributes, "service.name"),
        },
        "tags": tags(sent),
    });
    if !span.parent_span_id.is_empty() {
        want["parentId"] = json!(hex::encode(&span.parent_span_id));
    }
    let kinds = ["", "", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let kind = kinds[span.kind as usize];
    if !kind.is_empty() {
        want["kind"] = json!(kind);
    }
    let annotations = span.events.iter().map(|event| {
        let value = if event.attributes.is_empty() {
            event.name.clone()
        } else {
            format!("{}|{}|0", event.name, object(&event.attributes))
        };
        json!({ "timestamp": micros(event.time_unix_nano), "value": value })
    });
    let annotations: Vec<Json> = annotations.collect();
    if !annotations.is_empty() {
        want["annotations"] = json!(annotations);
    }
    (span_id, want)
}

fn tags(sent: &SentSpan) -> BTreeMap<String, String> {
    let span = &sent.span;
    let around = sent.resource.attributes.iter().filter(|item| item.key != "service.name");
    let mut tags: BTreeMap<String, String> = around
        .chain(&sent.scope.attributes)
        .chain(&span.attributes)
        .map(|item| (item.key.clone(), text(item)))
        .collect();
    let mut put = |key: &str, text: &str| tags.insert(key.to_owned(), text.to_owned());
    put("otel.library.name", &sent.scope.name);
    if !sent.scope.version.is_empty() {
        put("otel.library.version", &sent.scope.version);
    }
    if span.kind == 1 {
        put("span.kind", "internal");
    }
    for (index, link) in span.links.iter().enumerate() {
        let (trace_id, span_id) = (hex::encode(&link.trace_id), hex::encode(&link.span_id));
        let attributes = object(&link.attributes);
        let text = format!("{trace_id}|{span_id}|{}|{attributes}|0", link.trace_state);
        put(&format!("otlp.link.{index}"), &text);
    }
    let status = span.status.clone().unwrap_or_default();
    match status.code() {
        StatusCode::Unset => return tags,
        StatusCode::Ok => put("otel.status_code", "OK"),
        StatusCode::Error => {
            put("error", "true");
            put("otel.status_code", "ERROR")
        }
    };
    if !status.message.is_empty() {
        put("otel.status_description", &status.message);
    }
    tags
}

fn text(item: &KeyValue) -> String {
    let value = item.value.as_ref();
    match value.and_then(|AnyValue { value }| value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        // A whole number stays one.
        Some(any_value::Value::DoubleValue(double)) => double.to_string(),
        Some(any_value::Value::IntValue(int)) => int.to_string(),
        _ => plain(value).to_string(),
    }
}

/// As compact JSON, keys in order.
fn object(attributes: &[KeyValue]) -> String {
    let fields: BTreeMap<&str, Json> =
        attributes.iter().map(|item| (item.key.as_str(), plain(item.value.as_ref()))).collect();
    serde_json::to_string(&fields).expect("JSON")
}
