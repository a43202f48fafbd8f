//! A story as JSON: the shape that `ui/src/api/lookup.ts` reads.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{AttributesRef, SpanStatus, Stream, Value};
use serde_json::{Value as Json, json};
use storage::ExemplarHit;

use super::{Log, Story};
use crate::traces::assemble::Span;

/// The whole answer. `took_ms` is how long the search took.
pub(crate) fn to_json(story: &Story, took_ms: f64) -> Json {
    let spans: Vec<Json> = story.tree.order.iter().map(|&at| span_json(story, at)).collect();
    let logs: Vec<Json> = story.logs.iter().map(log_json).collect();
    let exemplars: Vec<Json> = story.exemplars.iter().map(exemplar_json).collect();
    let (complete, text, missing) = verdict(story);
    let unread: Vec<Json> = story
        .notices
        .unread
        .iter()
        .map(|part| json!({ "name": part.name, "why": part.why }))
        .collect();
    json!({
        "id": story.id.text,
        "tookMs": took_ms,
        "summary": summary(story),
        "verdict": { "complete": complete, "text": text, "missing": missing },
        "spans": spans,
        "logs": logs,
        "exemplars": exemplars,
        "notices": { "warnings": story.notices.warnings, "unread": unread },
    })
}

fn summary(story: &Story) -> Json {
    let mut services = BTreeSet::new();
    services.extend(story.spans.iter().map(|span| span.stream().service().to_owned()));
    services.extend(story.logs.iter().map(|log| stream_of(log).service().to_owned()));
    services.remove("");
    let starts = story.spans.iter().map(|span| span.row.start_ns);
    let ends = story.spans.iter().map(|span| span.row.end_ns);
    let logs = || story.logs.iter().map(|log| log.row.time_ns);
    let exemplars = || story.exemplars.iter().map(|hit| model::ms_to_ns(hit.time_ms));
    let start_ns = starts.chain(logs()).chain(exemplars()).min().unwrap_or(0);
    let end_ns = ends.chain(logs()).chain(exemplars()).max().unwrap_or(0);
    let errors = story.spans.iter().filter(|span| span.row.status == SpanStatus::Error).count();
    json!({
        "spans": story.spans.len(),
        "logs": story.logs.len(),
        "exemplars": story.exemplars.len(),
        "services": services,
        "traces": story.trace_ids.iter().map(hex::encode).collect::<Vec<_>>(),
        "startNs": start_ns.to_string(),
        "endNs": end_ns.to_string(),
        "errors": errors,
    })
}

/// Whether something was found and nothing is known to be missing, in a word and in detail.
fn verdict(story: &Story) -> (bool, String, Vec<Json>) {
    let mut missing: Vec<Json> = story
        .tree
        .missing
        .iter()
        .map(|parent| {
            let spans = if parent.children == 1 { "1 span" } else { "spans" };
            let count =
                if parent.children == 1 { String::new() } else { format!("{} ", parent.children) };
            let names = if parent.children == 1 { "names" } else { "name" };
            json!({
                "kind": "parent",
                "text": format!(
                    "the parent of {count}{spans} of {} never arrived: {names} {}",
                    if parent.child_service.is_empty() { "an unnamed service" } else { &parent.child_service },
                    hex::encode(parent.span_id),
                ),
                "traceId": hex::encode(parent.trace_id),
                "spanId": hex::encode(parent.span_id),
                "children": parent.children,
            })
        })
        .collect();
    for part in &story.notices.unread {
        missing.push(json!({
            "kind": "unread",
            "text": format!("{} could not be read: {}", part.name, part.why),
        }));
    }
    for text in &story.truncated {
        missing.push(json!({ "kind": "truncated", "text": text }));
    }
    let parents = story.tree.missing.len();
    let is_empty = story.spans.is_empty() && story.logs.is_empty() && story.exemplars.is_empty();
    let text = if is_empty && missing.is_empty() {
        "nothing that is stored carries this ID; every part of the data was read".to_owned()
    } else if missing.is_empty() {
        "every span's parent is here and every part of the data was read".to_owned()
    } else {
        let mut parts = Vec::new();
        if parents > 0 {
            parts.push(format!(
                "{parents} parent span{} never arrived",
                if parents == 1 { "" } else { "s" }
            ));
        }
        if !story.notices.unread.is_empty() {
            parts.push(format!("{} parts could not be read", story.notices.unread.len()));
        }
        if !story.truncated.is_empty() {
            parts.push("more was found than is shown".to_owned());
        }
        parts.join(", ")
    };
    (missing.is_empty() && !is_empty, text, missing)
}

fn span_json(story: &Story, at: usize) -> Json {
    let span: &Span = &story.spans[at];
    let (row, batch, stream) = (&span.row, &span.batch, span.stream());
    let status = match row.status {
        SpanStatus::Unset => "unset",
        SpanStatus::Ok => "ok",
        SpanStatus::Error => "error",
    };
    let parent = if span.is_root() { String::new() } else { hex::encode(row.parent_span_id) };
    let events: Vec<Json> = batch
        .events(row)
        .map(|event| {
            json!({
                "timeNs": event.time_ns.to_string(),
                "name": event.name,
                "attributes": pairs(event.attributes),
            })
        })
        .collect();
    let links: Vec<Json> = batch
        .links(row)
        .map(|link| {
            json!({
                "traceId": hex::encode(link.trace_id),
                "spanId": hex::encode(link.span_id),
                "attributes": pairs(link.attributes),
            })
        })
        .collect();
    json!({
        "traceId": hex::encode(row.trace_id),
        "spanId": hex::encode(row.span_id),
        "parentSpanId": parent,
        "service": stream.service(),
        "name": span.name(),
        "kind": row.kind.as_str(),
        "status": status,
        "statusMessage": batch.text(row.status_message),
        "startNs": row.start_ns.to_string(),
        "endNs": row.end_ns.to_string(),
        "selfNs": story.tree.self_ns[at].to_string(),
        "critical": story.tree.critical[at],
        "attributes": pairs(batch.attributes(row)),
        "resource": pairs(stream.resource()),
        "scope": { "name": stream.scope.name, "version": stream.scope.version },
        "events": events,
        "links": links,
    })
}

fn stream_of(log: &Log) -> std::sync::Arc<Stream> {
    log.batch
        .streams
        .get(log.row.stream as usize)
        .cloned()
        .unwrap_or_else(|| Stream::new(model::StreamParts::default()))
}

const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

fn severity(log: &Log) -> String {
    let text = log.batch.text(log.row.severity_text);
    if !text.is_empty() {
        return text.to_owned();
    }
    let number = usize::from(log.row.severity_number);
    if number == 0 {
        return String::new();
    }
    SEVERITIES.get((number - 1) / 4).copied().unwrap_or("FATAL").to_owned()
}

fn log_json(log: &Log) -> Json {
    let (row, stream) = (&log.row, stream_of(log));
    let id =
        |id: &[u8]| if id.iter().all(|byte| *byte == 0) { String::new() } else { hex::encode(id) };
    let resource = if stream.resource().is_empty() {
        stream.labels.iter().map(|(key, value)| json!([key, value])).collect()
    } else {
        pairs(stream.resource())
    };
    json!({
        "timeNs": row.time_ns.to_string(),
        "service": stream.service(),
        "severity": severity(log),
        "line": log.batch.line(row),
        "traceId": id(&row.trace_id),
        "spanId": id(&row.span_id),
        "attributes": pairs(log.batch.attributes(row)),
        "resource": resource,
    })
}

fn exemplar_json(hit: &ExemplarHit) -> Json {
    let object = |labels: &model::Labels| -> Json {
        labels.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    };
    json!({
        "series": object(&hit.series),
        "labels": object(&hit.labels),
        "timeMs": hit.time_ms,
        "value": hit.value,
    })
}

/// Attributes as `[[key, value], ...]` with values of JSON's own types.
fn pairs(attributes: AttributesRef<'_>) -> Json {
    attributes.iter().map(|(key, value)| json!([key, plain(value)])).collect()
}

fn plain(value: Value<'_>) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::Str(text) => json!(text),
        Value::Bool(flag) => json!(flag),
        Value::Int(int) if int.unsigned_abs() > (1 << 53) => json!(int.to_string()),
        Value::Int(int) => json!(int),
        Value::Double(double) if double.is_finite() => json!(double),
        Value::Double(double) => json!(double.to_string()),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::Array(_) => value.items().map(plain).collect(),
        Value::Map(_) => {
            value.entries().iter().map(|(key, item)| (key.to_owned(), plain(item))).collect()
        }
    }
}
