//! Log records read back through Loki's API.
//!
//! Source of the mapping: Loki 3.7's OTLP endpoint with its default settings.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use serde_json::{Value as Json, json};

use super::sent::{Sent, SentLog, plain};
use chaos::server::Server;

type Labels = BTreeMap<String, String>;

/// A record as an answer shows it.
#[derive(Debug, PartialEq)]
struct Entry {
    time_ns: u64,
    line: String,
    stream: Labels,
    metadata: Labels,
}

/// How many records of the sender's service there are.
pub(super) async fn count(server: &Server) -> usize {
    entries(&query(server, "", "{service_name=\"shop\"}", true).await).len()
}

pub(super) async fn check(server: &Server, sent: &Sent) {
    let mut want: Vec<Entry> = sent.logs.iter().map(expected).collect();
    want.sort_by_key(|entry| std::cmp::Reverse(entry.time_ns));
    for base in ["", "/ds/loki"] {
        let answer = query(server, base, "{service_name=\"shop\"}", true).await;
        assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]));
        assert_eq!(entries(&answer), want, "{base}");
    }

    // Labels of all kinds in one where nobody asks for them apart.
    let answer = query(server, "", "{service_name=\"shop\"} |= \"stock is low\"", false).await;
    let low = want.iter().find(|entry| entry.line.starts_with("stock")).expect("it was sent");
    let merged: Labels =
        low.stream.iter().chain(&low.metadata).map(|(k, v)| (k.clone(), v.clone())).collect();
    let found = &answer["data"]["result"];
    assert_eq!(found.as_array().expect("streams").len(), 1);
    assert_eq!(labels(&found[0]["stream"]), merged);
    assert_eq!(found[0]["values"], json!([[low.time_ns.to_string(), low.line]]));

    // What a trace's page asks.
    let of_trace = format!("{{service_name=\"shop\"}} | trace_id=\"{}\"", sent.trace_id);
    let answer = query(server, "", &of_trace, true).await;
    let lines: Vec<String> = entries(&answer).into_iter().map(|entry| entry.line).collect();
    assert_eq!(lines, ["charge failed", "order accepted"]);
}

async fn query(server: &Server, base: &str, query: &str, categorize: bool) -> Json {
    let path = format!("{base}/loki/api/v1/query_range");
    let mut request = server.client.get(format!("{}{path}", server.http)).query(&[
        ("query", query),
        ("limit", "100"),
        ("direction", "backward"),
    ]);
    if categorize {
        request = request.header("X-Loki-Response-Encoding-Flags", "categorize-labels");
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{query}");
    answer.json().await.expect("JSON")
}

fn labels(object: &Json) -> Labels {
    let Some(object) = object.as_object() else { return Labels::new() };
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    object.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The entries of a categorized answer, newest first as they must come in each stream.
fn entries(answer: &Json) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stream in answer["data"]["result"].as_array().expect("streams") {
        let values = stream["values"].as_array().expect("values");
        entries.extend(values.iter().map(|value| Entry {
            time_ns: value[0].as_str().expect("text").parse().expect("nanoseconds"),
            line: value[1].as_str().expect("text").to_owned(),
            stream: labels(&stream["stream"]),
            metadata: labels(&value[2]["structuredMetadata"]),
        }));
    }
    assert!(entries.is_sorted_by(|a, b| a.time_ns >= b.time_ns));
    entries
}

fn expected(sent: &SentLog) -> Entry {
    let record = &sent.record;
    let index = |key: &str| key.starts_with("service.") || key == "deployment.environment.name";
    let (stream, rest): (Vec<_>, Vec<_>) =
        sent.resource.attributes.iter().cloned().partition(|item| index(&item.key));
    let mut metadata = Labels::new();
    for attributes in [&rest, &sent.scope.attributes, &record.attributes] {
        flatten("", attributes, &mut metadata);
    }
    let mut set = |name: &str, value: String| {
        assert_eq!(metadata.insert(name.to_owned(), value), None, "{name} is sent once");
    };
    set("scope_name", sent.scope.name.clone());
    set("scope_version", sent.scope.version.clone());
    if record.time_unix_nano != 0 && record.time_unix_nano != record.observed_time_unix_nano {
        set("observed_timestamp", record.observed_time_unix_nano.to_string());
    }
    let level = match record.severity_number {
        6 => "debug",
        9 => "info",
        13 => "warn",
        0 => "unknown",
        other => panic!("severity {other} is not sent"),
    };
    set("detected_level", level.to_owned());
    if record.severity_number != 0 {
        set("severity_number", record.severity_number.to_string());
    }
    if !record.severity_text.is_empty() {
        set("severity_text", record.severity_text.clone());
    }
    if !record.event_name.is_empty() {
        set("event_name", record.event_name.clone());
    }
    if record.flags != 0 {
        set("flags", record.flags.to_string());
    }
    if !record.trace_id.is_empty() {
        set("trace_id", hex::encode(&record.trace_id));
        set("span_id", hex::encode(&record.span_id));
    }
    let time_ns = match record.time_unix_nano {
        0 => record.observed_time_unix_nano,
        time_ns => time_ns,
    };
    let mut labels = Labels::new();
    flatten("", &stream, &mut labels);
    Entry { time_ns, line: as_text(record.body.as_ref()), stream: labels, metadata }
}

fn flatten(prefix: &str, attributes: &[KeyValue], into: &mut Labels) {
    for item in attributes {
        let name = format!("{prefix}{}", item.key.replace('.', "_"));
        match item.value.as_ref().and_then(|AnyValue { value }| value.as_ref()) {
            Some(any_value::Value::KvlistValue(list)) => {
                flatten(&format!("{name}_"), &list.values, into);
            }
            _ => {
                into.insert(name, as_text(item.value.as_ref()));
            }
        }
    }
}

/// A value as text; what has an inside is JSON.
fn as_text(value: Option<&AnyValue>) -> String {
    match value.and_then(|AnyValue { value }| value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::DoubleValue(double)) => double.to_string(),
        Some(any_value::Value::IntValue(int)) => int.to_string(),
        // Sorted, as the Collector's `AsString` writes it.
        Some(any_value::Value::KvlistValue(list)) => {
            let entries: BTreeMap<&str, Json> = list
                .values
                .iter()
                .map(|item| (item.key.as_str(), plain(item.value.as_ref())))
                .collect();
            json!(entries).to_string()
        }
        _ => plain(value).to_string(),
    }
}
