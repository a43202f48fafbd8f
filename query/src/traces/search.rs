//! Jaeger's search: traces with a span of a service that satisfies all conditions.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::{SpanStatus, SpansBatch, Value, value_to_json};
use storage::{Budget, Notices, Snapshot, SpanScan, StorageError, TimeRange};

/// What is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) service: Option<String>,
    pub(crate) operation: Option<String>,
    /// Names and texts of values: on the span, one of its events or links, its scope or its
    /// resource.
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) range: TimeRange,
    /// Units: ns.
    pub(crate) duration_min_ns: Option<i64>,
    pub(crate) duration_max_ns: Option<i64>,
    /// Units: traces.
    pub(crate) limit: usize,
}

/// IDs of the traces found, the one with the newest matching span first.
pub(crate) fn find(
    snapshot: &Snapshot,
    search: &Search,
    budget: &Budget,
) -> Result<(Vec<[u8; 16]>, Notices), StorageError> {
    let scan = SpanScan {
        range: search.range,
        service: search.service.clone(),
        name: search.operation.clone(),
        attribute_hints: Vec::new(),
        duration_min_ns: search.duration_min_ns,
        duration_max_ns: search.duration_max_ns,
    };
    let mut newest: HashMap<[u8; 16], i64> = HashMap::new();
    let notices = snapshot.traces().scan(&scan, budget, &mut |block| {
        for row in block.iter() {
            if !search.tags.iter().all(|(key, value)| has_tag(&block.batch, row, key, value)) {
                continue;
            }
            let start = newest.entry(row.trace_id).or_insert(row.start_ns);
            *start = row.start_ns.max(*start);
        }
        ControlFlow::Continue(())
    })?;
    Ok((newest_first(newest.into_iter().collect(), search.limit), notices))
}

/// At most `limit` traces of those given with a time, the newest first.
pub(crate) fn newest_first(mut found: Vec<([u8; 16], i64)>, limit: usize) -> Vec<[u8; 16]> {
    found.sort_by_key(|(trace_id, start_ns)| (std::cmp::Reverse(*start_ns), *trace_id));
    found.truncate(limit);
    found.into_iter().map(|(trace_id, _)| trace_id).collect()
}

/// Whether a span has a tag, as Jaeger sees it.
pub(crate) fn has_tag(batch: &SpansBatch, row: &model::SpanRow, key: &str, wanted: &str) -> bool {
    let of = |attributes: model::AttributesRef<'_>| {
        attributes.iter().any(|(name, value)| name == key && is_text(value, wanted))
    };
    if of(batch.attributes(row))
        || batch.events(row).any(|event| of(event.attributes))
        || batch.links(row).any(|link| of(link.attributes))
    {
        return true;
    }
    let in_stream = batch.streams.get(row.stream as usize).is_some_and(|stream| {
        of(stream.resource())
            || of(stream.scope_attributes())
            || (key == "otel.scope.name" && *stream.scope.name == *wanted)
            || (key == "otel.scope.version" && *stream.scope.version == *wanted)
    });
    in_stream
        || match key {
            "error" => wanted == if row.status == SpanStatus::Error { "true" } else { "false" },
            "span.kind" => row.kind.as_str() == wanted,
            "otel.status_code" => match row.status {
                SpanStatus::Unset => false,
                SpanStatus::Ok => wanted == "OK",
                SpanStatus::Error => wanted == "ERROR",
            },
            "otel.status_description" => batch.text(row.status_message) == wanted,
            "event" => batch.events(row).any(|event| event.name == wanted),
            _ => false,
        }
}

fn is_text(value: Value<'_>, wanted: &str) -> bool {
    match value {
        Value::Str(text) => text == wanted,
        Value::Bool(flag) => wanted == if flag { "true" } else { "false" },
        Value::Int(int) => wanted.parse() == Ok(int),
        Value::Double(double) => {
            wanted.parse::<f64>().is_ok_and(|number| number.to_bits() == double.to_bits())
        }
        value => value_to_json(value) == wanted,
    }
}
