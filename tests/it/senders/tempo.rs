//! Traces read back through Tempo's API, as protobuf and as JSON.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value as Json, json};

use super::sent::{self, Sent, SentSpan};
use chaos::server::Server;

/// `tempopb.TraceByIDResponse`, as far as a whole trace fills it.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(uint32, tag = "3")]
    status: u32,
}

pub(super) async fn check(server: &Server, sent: &Sent) {
    let path = format!("/api/v2/traces/{}", sent.trace_id);
    let want = by_id(sent.spans.clone());
    for base in ["", "/ds/tempo"] {
        let found = get(server, &format!("{base}{path}"), "application/protobuf").await;
        let answer = TraceById::decode(found.as_slice()).expect("a trace by ID");
        assert_eq!(answer.status, 0, "the trace is whole");
        let groups = answer.trace.expect("a trace").resource_spans;
        assert_eq!(by_id(sent::spans(groups)), want, "{base}");

        let found = get(server, &format!("{base}{path}"), "application/json").await;
        let answer: Json = serde_json::from_slice(&found).expect("JSON");
        let groups = answer["trace"]["resourceSpans"].as_array().expect("groups");
        let (found, want) = (json_by_id(groups), json_by_id(&sent.spans_json));
        assert_eq!(found.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        for (id, span) in want {
            assert_eq!(found[&id], span, "{base}");
        }
    }
}

async fn get(server: &Server, path: &str, accept: &str) -> Vec<u8> {
    let request = server.client.get(format!("{}{path}", server.http)).header("accept", accept);
    let answer = request.send().await.expect(path);
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()["content-type"], accept, "{path}");
    answer.bytes().await.expect(path).to_vec()
}

fn by_id(spans: Vec<SentSpan>) -> BTreeMap<String, SentSpan> {
    let count = spans.len();
    let spans: BTreeMap<_, _> =
        spans.into_iter().map(|span| (hex::encode(&span.span.span_id), span)).collect();
    assert_eq!(spans.len(), count, "no span twice");
    spans
}

/// A writer of protobuf's JSON may write them or not.
fn without_empty_lists(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(without_empty_lists).collect(),
        Json::Object(fields) => fields
            .iter()
            .filter(|(_, field)| **field != json!([]))
            .map(|(name, field)| (name.clone(), without_empty_lists(field)))
            .collect(),
        plain => plain.clone(),
    }
}

/// The spans of `resourceSpans` by ID, each with its resource and scope.
fn json_by_id(groups: &[Json]) -> BTreeMap<String, Json> {
    let mut spans = BTreeMap::new();
    for group in groups {
        for scope in group["scopeSpans"].as_array().expect("scopes") {
            for span in scope["spans"].as_array().expect("spans") {
                let id = span["spanId"].as_str().expect("an ID").to_owned();
                let around = without_empty_lists(&json!({
                    "resource": group["resource"],
                    "resourceSchemaUrl": group["schemaUrl"],
                    "scope": scope["scope"],
                    "scopeSchemaUrl": scope["schemaUrl"],
                    "span": span,
                }));
                assert!(spans.insert(id, around).is_none(), "no span twice");
            }
        }
    }
    spans
}
