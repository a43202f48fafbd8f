//! Answers as Loki's JSON.

use std::collections::HashMap;

use model::NS_PER_MS;
use storage::Notices;

use super::super::respond::{push_float, push_string, push_strings, push_time_ms};
use crate::kernels::{Steps, is_absent};
use crate::logql::{LogEntry, QueryFigures, Series};

/// What stands around a result.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) notices: Notices,
    pub(super) figures: QueryFigures,
    /// Units: ns.
    pub(super) elapsed_ns: i64,
    pub(super) categorize: bool,
}

/// A result and its kind, which is written before it.
pub(super) enum Body<'a> {
    Streams(&'a [LogEntry]),
    Matrix(&'a [Series], Steps),
    Vector(&'a [Series], Steps),
    Scalar(f64, Steps),
}

/// The whole answer.
pub(super) fn answer(envelope: &Envelope, body: &Body<'_>) -> String {
    let mut out = String::with_capacity(1024);
    out.push_str("{\"status\":\"success\"");
    push_warnings(&mut out, &envelope.notices);
    let kind = match body {
        Body::Streams(_) => "streams",
        Body::Matrix(..) => "matrix",
        Body::Vector(..) => "vector",
        Body::Scalar(..) => "scalar",
    };
    out.push_str(",\"data\":{\"resultType\":\"");
    out.push_str(kind);
    out.push('"');
    if envelope.categorize {
        out.push_str(",\"encodingFlags\":[\"categorize-labels\"]");
    }
    out.push_str(",\"result\":");
    match body {
        Body::Streams(entries) => push_streams(&mut out, entries, envelope.categorize),
        Body::Matrix(series, steps) => push_matrix(&mut out, series, *steps),
        Body::Vector(series, steps) => push_vector(&mut out, series, *steps),
        Body::Scalar(value, steps) => push_point(&mut out, steps.start, *value),
    }
    out.push_str(",\"stats\":");
    push_stats(&mut out, envelope);
    out.push_str("}}");
    out
}

fn push_warnings(out: &mut String, notices: &Notices) {
    let mut warnings = notices.warnings.clone();
    for part in &notices.unread {
        warnings
            .push(format!("the answer is partial: {} could not be read: {}", part.name, part.why));
    }
    if !warnings.is_empty() {
        out.push_str(",\"warnings\":");
        push_strings(out, &warnings);
    }
}

/// Nothing where no line was looked at.
fn push_stats(out: &mut String, envelope: &Envelope) {
    let figures = envelope.figures;
    if figures == QueryFigures::default() {
        out.push_str("{}");
        return;
    }
    let seconds = envelope.elapsed_ns.max(1) as f64 / 1e9;
    let per_second = |count: u64| (count as f64 / seconds) as u64;
    let stats = serde_json::json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(figures.bytes),
            "linesProcessedPerSecond": per_second(figures.lines),
            "totalBytesProcessed": figures.bytes,
            "totalLinesProcessed": figures.lines,
            "totalEntriesReturned": figures.lines_passed,
            "execTime": seconds,
        }
    });
    out.push_str(&stats.to_string());
}

/// Appends labels as a JSON object.
pub(super) fn push_pairs(out: &mut String, labels: &[(String, String)]) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, value);
    }
    out.push('}');
}

type Pairs = Vec<(String, String)>;

/// Entries by stream; streams in order of labels, entries in the order in which they come.
fn push_streams(out: &mut String, entries: &[LogEntry], categorize: bool) {
    let mut index: HashMap<Pairs, usize> = HashMap::new();
    let mut streams: Vec<(Pairs, Vec<usize>)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let labels = if categorize { entry.labels.stream.clone() } else { entry.labels.merged() };
        let stream = *index.entry(labels.clone()).or_insert_with(|| {
            streams.push((labels, Vec::new()));
            streams.len() - 1
        });
        streams[stream].1.push(at);
    }
    streams.sort();
    out.push('[');
    for (at, (labels, members)) in streams.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"stream\":" } else { "{\"stream\":" });
        push_pairs(out, labels);
        out.push_str(",\"values\":[");
        for (at, &member) in members.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_entry(out, &entries[member], categorize);
        }
        out.push_str("]}");
    }
    out.push(']');
}

fn push_entry(out: &mut String, entry: &LogEntry, categorize: bool) {
    out.push_str("[\"");
    out.push_str(itoa::Buffer::new().format(entry.time_ns));
    out.push_str("\",");
    push_string(out, &entry.line);
    if categorize {
        out.push_str(",{");
        let mut first = true;
        for (name, labels) in
            [("structuredMetadata", &entry.labels.metadata), ("parsed", &entry.labels.parsed)]
        {
            if labels.is_empty() {
                continue;
            }
            if !first {
                out.push(',');
            }
            first = false;
            push_string(out, name);
            out.push(':');
            push_pairs(out, labels);
        }
        out.push('}');
    }
    out.push(']');
}

fn push_point(out: &mut String, time_ns: i64, value: f64) {
    out.push('[');
    push_time_ms(out, time_ns.div_euclid(NS_PER_MS));
    out.push_str(",\"");
    push_float(out, value);
    out.push_str("\"]");
}

fn push_matrix(out: &mut String, series: &[Series], steps: Steps) {
    out.push('[');
    for (at, one) in series.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        push_pairs(out, &one.labels);
        out.push_str(",\"values\":[");
        let mut first = true;
        for (step, &value) in one.values.iter().enumerate() {
            if is_absent(value) {
                continue;
            }
            if !first {
                out.push(',');
            }
            first = false;
            push_point(out, steps.at(step), value);
        }
        out.push_str("]}");
    }
    out.push(']');
}

fn push_vector(out: &mut String, series: &[Series], steps: Steps) {
    out.push('[');
    let mut first = true;
    for one in series {
        let Some(&value) = one.values.first().filter(|value| !is_absent(**value)) else { continue };
        out.push_str(if first { "{\"metric\":" } else { ",{\"metric\":" });
        first = false;
        push_pairs(out, &one.labels);
        out.push_str(",\"value\":");
        push_point(out, steps.start, value);
        out.push('}');
    }
    out.push(']');
}
