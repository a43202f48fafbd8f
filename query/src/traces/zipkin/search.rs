//! Zipkin's search: traces in which some span of a service satisfies each condition.
//!
//! Unlike Jaeger's, it is not one span that has to satisfy all of them. Source: Zipkin's
//! `QueryRequest.test`. Unlike Zipkin, upper and lower case are told apart, and every span in the
//! range counts, not the trace by its start.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::{SpanKind, SpanRow, SpanStatus, SpansBatch};
use storage::{Budget, Notices, Snapshot, SpanScan, StorageError, TimeRange};

use crate::traces::search::{has_tag, newest_first};

/// Conditions of a search, as many as there are bits to remember them.
pub(crate) const CONDITIONS_MAX: usize = 64;

/// What some span has to satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Name(String),
    /// Closed at both ends. Units: ns.
    Duration {
        min_ns: i64,
        max_ns: i64,
    },
    Tag {
        key: String,
        text: String,
    },
    /// An annotation, or a tag of any value.
    Word(String),
}

impl Condition {
    fn is_met(&self, batch: &SpansBatch, row: &SpanRow) -> bool {
        match self {
            Condition::Name(name) => batch.text(row.name) == name,
            Condition::Duration { min_ns, max_ns } => {
                (*min_ns..=*max_ns).contains(&row.duration_ns())
            }
            Condition::Tag { key, text } => {
                let scope = batch.streams.get(row.stream as usize).map(|stream| &stream.scope);
                match key.as_str() {
                    "error" => row.status == SpanStatus::Error && text == "true",
                    "otel.library.name" => scope.is_some_and(|scope| *scope.name == **text),
                    "otel.library.version" => scope.is_some_and(|scope| *scope.version == **text),
                    _ => has_tag(batch, row, key, text),
                }
            }
            Condition::Word(word) => has_word(batch, row, word),
        }
    }
}

fn has_word(batch: &SpansBatch, row: &SpanRow, word: &str) -> bool {
    if batch.events(row).any(|event| event.name == word) {
        return true;
    }
    let stream = batch.streams.get(row.stream as usize);
    match word {
        "error" => row.status == SpanStatus::Error,
        "otel.status_code" => row.status != SpanStatus::Unset,
        "otel.library.name" => stream.is_some_and(|stream| !stream.scope.name.is_empty()),
        "otel.library.version" => stream.is_some_and(|stream| !stream.scope.version.is_empty()),
        "span.kind" if row.kind == SpanKind::Internal => true,
        _ => {
            batch.attributes(row).get(word).is_some()
                || stream.is_some_and(|stream| {
                    stream.resource().get(word).is_some()
                        || stream.scope_attributes().get(word).is_some()
                })
        }
    }
}

/// What is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) service: Option<String>,
    /// At most [`CONDITIONS_MAX`].
    pub(crate) conditions: Vec<Condition>,
    pub(crate) range: TimeRange,
    /// Units: traces.
    pub(crate) limit: usize,
}

/// IDs of the traces found, the one with the newest matching span first.
pub(crate) fn find(
    snapshot: &Snapshot,
    search: &Search,
    budget: &Budget,
) -> Result<(Vec<[u8; 16]>, Notices), StorageError> {
    let conditions = search.conditions.as_slice();
    assert!(conditions.len() <= CONDITIONS_MAX, "bug: more conditions than bits");
    let all_met = conditions.iter().fold(0u64, |bits, _| bits << 1 | 1);
    let mut found: HashMap<[u8; 16], Found> = HashMap::new();
    let notices = snapshot.traces().scan(&scan_of(search), budget, &mut |block| {
        for row in block.iter() {
            let mut met = 0u64;
            for (bit, condition) in conditions.iter().enumerate() {
                met |= u64::from(condition.is_met(&block.batch, row)) << bit;
            }
            if met == 0 && all_met != 0 {
                continue;
            }
            let found = found.entry(row.trace_id).or_default();
            found.met |= met;
            found.newest_ns = found.newest_ns.max(row.start_ns);
        }
        ControlFlow::Continue(())
    })?;
    let whole = found.into_iter().filter(|(_, found)| found.met == all_met);
    let ids = newest_first(whole.map(|(id, found)| (id, found.newest_ns)).collect(), search.limit);
    Ok((ids, notices))
}

/// What has been seen of a trace.
#[derive(Debug, Default)]
struct Found {
    /// One bit for each condition.
    met: u64,
    /// Start of the newest matching span.
    newest_ns: i64,
}

/// One condition alone can be checked where the spans are read.
fn scan_of(search: &Search) -> SpanScan {
    let mut scan = SpanScan {
        range: search.range,
        service: search.service.clone(),
        name: None,
        attribute_hints: Vec::new(),
        duration_min_ns: None,
        duration_max_ns: None,
    };
    match search.conditions.as_slice() {
        [Condition::Name(name)] => scan.name = Some(name.clone()),
        [Condition::Duration { min_ns, max_ns }] => {
            scan.duration_min_ns = Some(*min_ns);
            scan.duration_max_ns = Some(*max_ns);
        }
        _ => {}
    }
    scan
}
