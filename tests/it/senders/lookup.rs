//! Everything about one ID, read back through the lookup.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::{Value as Json, json};

use super::sent::{Sent, SentLog, SentSpan, attribute, pairs, plain};
use chaos::server::Server;

/// Exemplars of the trace that the sender's histograms have.
const EXEMPLARS: usize = 8;

/// `claimId` of the trace's root and of a log record outside the trace.
const CLAIM: &str = "C-2026-0815";

/// Whether all of the trace has arrived.
pub(super) async fn is_whole(server: &Server, sent: &Sent) -> bool {
    let summary = &get(server, &sent.trace_id).await["summary"];
    let counts = json!([summary["spans"], summary["logs"], summary["exemplars"]]);
    counts == json!([sent.spans.len(), sent.logs_of_trace().len(), EXEMPLARS])
}

pub(super) async fn check(server: &Server, sent: &Sent) {
    let answer = get(server, &sent.trace_id).await;
    assert_eq!(answer["id"], json!(sent.trace_id));
    assert_eq!(answer["verdict"]["complete"], json!(true), "{}", answer["verdict"]);
    let summary = &answer["summary"];
    assert_eq!(summary["services"], json!(["bank", "shop"]));
    assert_eq!(summary["traces"], json!([sent.trace_id]));
    assert_eq!(summary["errors"], json!(1));
    assert_eq!(spans(&answer), sent.spans.iter().map(expected_span).collect());
    let root = &answer["spans"][0];
    assert_eq!((&root["spanId"], &root["critical"]), (&json!(sent.root_span_id), &json!(true)));
    let logs: Vec<Json> = sent.logs_of_trace().into_iter().map(expected_log).collect();
    assert_eq!(answer["logs"], Json::Array(logs));
    let exemplars = answer["exemplars"].as_array().expect("exemplars");
    assert_eq!(exemplars.len(), EXEMPLARS);
    for exemplar in exemplars {
        let ids = json!({ "trace_id": sent.trace_id, "span_id": sent.root_span_id });
        assert_eq!(exemplar["labels"], ids);
    }

    // The span's own ID leads to the same trace.
    let of_span = get(server, &sent.root_span_id).await;
    assert_eq!(of_span["summary"]["traces"], json!([sent.trace_id]));
    assert_eq!(spans(&of_span), spans(&answer));

    // So does a number of the business, which one span and one log record outside the trace have.
    let of_claim = get(server, CLAIM).await;
    assert_eq!(of_claim["summary"]["traces"], json!([sent.trace_id]));
    assert_eq!(spans(&of_claim), spans(&answer));
    let lines = of_claim["logs"].as_array().expect("logs").iter().map(|log| &log["line"]);
    let lines: Vec<&str> = lines.map(|line| line.as_str().expect("text")).collect();
    assert_eq!(lines, ["order accepted", "charge failed", "stock is low: Äpfel\nsecond line"]);

    let of_nothing = get(server, "ffffffffffffffffffffffffffffff00").await;
    let summary = &of_nothing["summary"];
    let counts = [&summary["spans"], &summary["logs"], &summary["exemplars"]];
    assert_eq!(counts, [&json!(0), &json!(0), &json!(0)]);
}

async fn get(server: &Server, id: &str) -> Json {
    server.json(&format!("/tercet/api/v1/lookup/{id}")).await
}

/// Spans by ID, without what the lookup computes.
fn spans(answer: &Json) -> BTreeMap<String, Json> {
    let spans = answer["spans"].as_array().expect("spans").iter().map(|span| {
        let mut span = span.clone();
        let object = span.as_object_mut().expect("a span");
        object.retain(|key, _| key != "selfNs" && key != "critical");
        (span["spanId"].as_str().expect("an ID").to_owned(), span)
    });
    spans.collect()
}

fn expected_span(sent: &SentSpan) -> (String, Json) {
    let (span, scope) = (&sent.span, &sent.scope);
    let status = span.status.clone().unwrap_or_default();
    let id = hex::encode(&span.span_id);
    let want = json!({
        "traceId": hex::encode(&span.trace_id),
        "spanId": id,
        "parentSpanId": hex::encode(&span.parent_span_id),
        "service": attribute(&sent.resource.attributes, "service.name"),
        "name": span.name,
        "kind": kind(span),
        "status": match status.code() {
            StatusCode::Unset => "unset",
            StatusCode::Ok => "ok",
            StatusCode::Error => "error",
        },
        "statusMessage": status.message,
        "startNs": span.start_time_unix_nano.to_string(),
        "endNs": span.end_time_unix_nano.to_string(),
        "attributes": pairs(&span.attributes),
        "resource": pairs(&sent.resource.attributes),
        "scope": { "name": scope.name, "version": scope.version },
        "events": span.events.iter().map(|event| json!({
            "timeNs": event.time_unix_nano.to_string(),
            "name": event.name,
            "attributes": pairs(&event.attributes),
        })).collect::<Vec<_>>(),
        "links": span.links.iter().map(|link| json!({
            "traceId": hex::encode(&link.trace_id),
            "spanId": hex::encode(&link.span_id),
            "attributes": pairs(&link.attributes),
        })).collect::<Vec<_>>(),
    });
    (id, want)
}

fn kind(span: &Span) -> &'static str {
    match span.kind() {
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Unspecified => panic!("every span has a kind"),
    }
}

fn expected_log(sent: &SentLog) -> Json {
    let record = &sent.record;
    json!({
        "timeNs": record.time_unix_nano.to_string(),
        "service": attribute(&sent.resource.attributes, "service.name"),
        "severity": record.severity_text,
        "line": plain(record.body.as_ref()),
        "traceId": hex::encode(&record.trace_id),
        "spanId": hex::encode(&record.span_id),
        "attributes": pairs(&record.attributes),
        "resource": pairs(&sent.resource.attributes),
    })
}
