//! Fields found in a sample of lines, for autocompletion and Drilldown.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use storage::Direction;

use super::super::respond;
use super::{Answer, Call, Failure, window};
use crate::logql::{
    Context, Expr, LogEntry, LogWindow, parse, parse_bytes, parse_fields, parse_go_duration,
    run_log,
};

const LINES_DEFAULT: usize = 100;
const FIELDS_DEFAULT: usize = 1000;

/// What is known of one field.
#[derive(Debug, Default)]
struct Field {
    values: BTreeSet<String>,
    json: bool,
    logfmt: bool,
}

async fn sample(call: &Call) -> Result<Vec<LogEntry>, Failure> {
    let bounds = window::bounds(&call.params, call.source.now_ns())?;
    call.check_range(bounds)?;
    let limit = window::count(&call.params, "line_limit", LINES_DEFAULT)?;
    let limit = limit.min(call.tenant_limits().query_entries_max.max(1));
    let Expr::Log(log) = parse(call.params.get("query").unwrap_or(""), call.limits())? else {
        return Err(Failure::bad_request("only log queries have fields"));
    };
    let window = LogWindow {
        start_ns: bounds.start_ns,
        end_ns: bounds.end_ns,
        limit,
        direction: Direction::Backward,
    };
    let tenant = call.tenant().clone();
    call.run(move |source, budget| {
        let snapshot = source.snapshot(&tenant);
        let mut ctx = Context::new(snapshot.logs(), budget, &source.limits(&tenant));
        Ok(run_log(&log, window, &mut ctx)?)
    })
    .await
}

fn detect(entries: &[LogEntry]) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    for entry in entries {
        for (name, value) in &entry.labels.metadata {
            fields.entry(name.clone()).or_default().values.insert(value.clone());
        }
        let (pairs, is_json) = parse_fields(&entry.labels.stream, &entry.line);
        for (name, value) in pairs.into_iter().chain(entry.labels.parsed.iter().cloned()) {
            if name.starts_with("__") {
                continue;
            }
            let field = fields.entry(name).or_default();
            field.values.insert(value);
            field.json |= is_json;
            field.logfmt |= !is_json;
        }
    }
    fields
}

/// The narrowest type of all values, tested in Loki's order.
fn kind(values: &BTreeSet<String>) -> &'static str {
    let all = |test: fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| test(value));
    if all(|value| value.parse::<i64>().is_ok()) {
        "int"
    } else if all(|value| value.parse::<f64>().is_ok()) {
        "float"
    } else if all(|value| matches!(value, "true" | "false")) {
        "boolean"
    } else if all(|value| parse_go_duration(value).is_ok()) {
        "duration"
    } else if all(|value| parse_bytes(value).is_some()) {
        "bytes"
    } else {
        "string"
    }
}

pub(super) async fn detected_fields(call: Call) -> Answer {
    let limit = window::count(&call.params, "limit", FIELDS_DEFAULT)?;
    let fields = detect(&sample(&call).await?);
    let fields: Vec<serde_json::Value> = fields
        .iter()
        .take(limit)
        .map(|(name, field)| {
            let mut parsers = Vec::new();
            if field.json {
                parsers.push("json");
            }
            if field.logfmt {
                parsers.push("logfmt");
            }
            // Structured metadata need no parser: null, not an empty list.
            let parsers = if parsers.is_empty() {
                serde_json::Value::Null
            } else {
                serde_json::json!(parsers)
            };
            serde_json::json!({
                "label": name,
                "type": kind(&field.values),
                "cardinality": field.values.len(),
                "parsers": parsers,
            })
        })
        .collect();
    let body = serde_json::json!({"fields": fields, "limit": limit});
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

pub(super) async fn field_values(call: Call, name: String) -> Answer {
    let limit = window::count(&call.params, "limit", FIELDS_DEFAULT)?;
    let fields = detect(&sample(&call).await?);
    let values: Vec<&String> = fields
        .get(&name)
        .map(|field| field.values.iter().take(limit).collect())
        .unwrap_or_default();
    let body = serde_json::json!({"values": values, "limit": limit});
    Ok(respond::json(StatusCode::OK, body.to_string()))
}
