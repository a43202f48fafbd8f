//! Traces read back through Jaeger's API.
//!
//! Source of the mapping: the OpenTelemetry Collector's Jaeger translator.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value as Json, json};

use super::sent::{Sent, SentSpan, attribute, plain};
use chaos::server::Server;

pub(super) async fn check(server: &Server, sent: &Sent) {
    let want: BTreeMap<String, Json> = sent.spans.iter().map(expected).collect();
    for base in ["", "/ds/jaeger"] {
        let answer = server.json(&format!("{base}/api/traces/{}", sent.trace_id)).await;
        assert_eq!(answer["errors"], Json::Null);
        let traces = answer["data"].as_array().expect("traces");
        assert_eq!(traces.len(), 1);
        assert_eq!(traces[0]["traceID"], json!(sent.trace_id));
        assert_eq!(found(&traces[0]), want, "{base}");

        let answer = server.json(&format!("{base}/api/services")).await;
        assert_eq!(answer["data"], json!(["bank", "shop"]));
        let answer = server.json(&format!("{base}/api/services/shop/operations")).await;
        let operations = ["POST /charge", "POST /order", "publish", "validate"];
        assert_eq!(answer["data"], json!(operations));
        let search = format!("{base}/api/traces?service=bank&operation=charge&limit=20");
        let answer = server.json(&search).await;
        assert_eq!(answer["data"].as_array().expect("traces").len(), 1);
        assert_eq!(found(&answer["data"][0]), want, "{base}");
    }
    let end_ms = sent.spans.iter().map(|span| span.span.end_time_unix_nano).max();
    let end_ms = end_ms.expect("spans") / 1_000_000 + 1;
    let path = format!("/api/dependencies?endTs={end_ms}&lookback=60000");
    // `charge` and `notify`.
    let calls = json!([{ "parent": "shop", "child": "bank", "callCount": 2 }]);
    assert_eq!(server.json(&path).await["data"], calls);
}

/// Spans of an answer by ID, each with its process in place of the process' name, tags sorted.
fn found(trace: &Json) -> BTreeMap<String, Json> {
    let spans = trace["spans"].as_array().expect("spans").iter().map(|span| {
        let mut span = span.clone();
        let process = &trace["processes"][span["processID"].as_str().expect("a process")];
        span["process"] = process.clone();
        span.as_object_mut().expect("a span").remove("processID");
        for path in ["/tags", "/process/tags"] {
            let tags = span.pointer_mut(path).and_then(Json::as_array_mut).expect("tags");
            tags.sort_by_key(Json::to_string);
        }
        (span["spanID"].as_str().expect("an ID").to_owned(), span)
    });
    spans.collect()
}

fn expected(sent: &SentSpan) -> (String, Json) {
    let (span, trace_id) = (&sent.span, hex::encode(&sent.span.trace_id));
    let span_id = hex::encode(&span.span_id);
    let mut references = Vec::new();
    if !span.parent_span_id.is_empty() {
        let parent = hex::encode(&span.parent_span_id);
        references.push(json!({ "refType": "CHILD_OF", "traceID": trace_id, "spanID": parent }));
    }
    references.extend(span.links.iter().map(|link| {
        let (trace, span) = (hex::encode(&link.trace_id), hex::encode(&link.span_id));
        json!({ "refType": "FOLLOWS_FROM", "traceID": trace, "spanID": span })
    }));
    let logs: Vec<Json> = span
        .events
        .iter()
        .map(|event| {
            let mut fields = vec![string_tag("event", &event.name)];
            fields.extend(event.attributes.iter().map(tag));
            json!({ "timestamp": event.time_unix_nano / 1000, "fields": fields })
        })
        .collect();
    let mut process: Vec<Json> = sent
        .resource
        .attributes
        .iter()
        .filter(|item| item.key != "service.name")
        .map(tag)
        .collect();
    process.sort_by_key(Json::to_string);
    let duration_ns = span.end_time_unix_nano - span.start_time_unix_nano;
    let want = json!({
        "traceID": trace_id,
        "spanID": span_id,
        "operationName": span.name,
        "references": references,
        "startTime": span.start_time_unix_nano / 1000,
        "duration": duration_ns / 1000,
        "tags": tags(sent),
        "logs": logs,
        "process": {
            "serviceName": attribute(&sent.resource.attributes, "service.name"),
            "tags": process,
        },
        "warnings": null,
    });
    (span_id, want)
}

fn tags(sent: &SentSpan) -> Vec<Json> {
    let span = &sent.span;
    let mut tags: Vec<Json> = span.attributes.iter().map(tag).collect();
    tags.push(string_tag("otel.scope.name", &sent.scope.name));
    if !sent.scope.version.is_empty() {
        tags.push(string_tag("otel.scope.version", &sent.scope.version));
    }
    let kinds = ["", "internal", "server", "client", "producer", "consumer"];
    tags.push(string_tag("span.kind", kinds[span.kind as usize]));
    let status = span.status.clone().unwrap_or_default();
    match status.code() {
        StatusCode::Unset => {}
        StatusCode::Ok => tags.push(string_tag("otel.status_code", "OK")),
        StatusCode::Error => {
            tags.push(string_tag("otel.status_code", "ERROR"));
            tags.push(json!({ "key": "error", "type": "bool", "value": true }));
        }
    }
    if !status.message.is_empty() {
        tags.push(string_tag("otel.status_description", &status.message));
    }
    tags.sort_by_key(Json::to_string);
    tags
}

fn string_tag(key: &str, value: &str) -> Json {
    json!({ "key": key, "type": "string", "value": value })
}

fn tag(item: &KeyValue) -> Json {
    use any_value::Value;
    let value = item.value.as_ref();
    let kind = match value.and_then(|AnyValue { value }| value.as_ref()) {
        Some(Value::BoolValue(_)) => "bool",
        Some(Value::IntValue(_)) => "int64",
        Some(Value::DoubleValue(_)) => "float64",
        Some(Value::ArrayValue(_)) => return string_tag(&item.key, &plain(value).to_string()),
        _ => "string",
    };
    json!({ "key": item.key, "type": kind, "value": plain(value) })
}
