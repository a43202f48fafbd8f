//! Paste an ID, see everything that happened: the records that carry it, the traces that they
//! belong to, and a verdict on what is missing.
//!
//! The ID may be a trace's, a span's, or the value of any ID field. No time range is needed. What
//! was found leads to whole traces (at most [`TRACES_MAX`]), and those to their log records and
//! exemplars.

mod answer;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{LogRow, LogsBatch};
use storage::{Budget, ExemplarHit, Found, IdQuery, LogBlock, Notices, Snapshot, StorageError};

use crate::traces::assemble::{self, Span};
use crate::traces::tree::{self, Tree};

pub(crate) use answer::to_json;

/// Traces that one ID leads to.
const TRACES_MAX: usize = 50;
/// Records of each kind in one answer.
const RECORDS_MAX: usize = 100_000;

/// One log record with the batch its slices point into.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) batch: Arc<LogsBatch>,
    pub(crate) row: LogRow,
}

/// All that was found for an ID.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) id: IdQuery,
    pub(crate) spans: Vec<Span>,
    pub(crate) tree: Tree,
    /// Ascending by time.
    pub(crate) logs: Vec<Log>,
    pub(crate) exemplars: Vec<ExemplarHit>,
    pub(crate) trace_ids: Vec<[u8; 16]>,
    /// What was left out because there was too much, in words.
    pub(crate) truncated: Vec<String>,
    pub(crate) notices: Notices,
}

/// Finds everything.
///
/// Errors: those of the budget.
pub(crate) fn find(
    snapshot: &Snapshot,
    id: IdQuery,
    budget: &Budget,
) -> Result<Story, StorageError> {
    let mut found = snapshot.lookup(&id, RECORDS_MAX, budget)?;
    let mut truncated = Vec::new();
    let mut trace_ids = trace_ids(&found);
    if trace_ids.len() > TRACES_MAX {
        truncated.push(format!(
            "the ID leads to {} traces; {TRACES_MAX} of them are shown",
            trace_ids.len()
        ));
        trace_ids = trace_ids.into_iter().take(TRACES_MAX).collect();
    }
    // A trace's own ID has brought the whole of it already.
    let others: Vec<[u8; 16]> =
        trace_ids.iter().copied().filter(|trace_id| Some(*trace_id) != id.trace_id).collect();
    drop_traces(&mut found, &others);
    for trace_id in &others {
        let text = hex::encode(trace_id);
        let whole = IdQuery { text, trace_id: Some(*trace_id), span_id: None };
        let more = snapshot.lookup(&whole, RECORDS_MAX, budget)?;
        found.spans.extend(more.spans);
        found.logs.extend(more.logs);
        for exemplar in more.exemplars {
            if !found.exemplars.contains(&exemplar) {
                found.exemplars.push(exemplar);
            }
        }
        found.notices.merge(more.notices);
    }
    let mut spans = assemble::spans(&found.spans);
    if spans.len() > RECORDS_MAX {
        truncated.push(format!("{} spans found; {RECORDS_MAX} are shown", spans.len()));
        spans.truncate(RECORDS_MAX);
    }
    let mut logs = log_rows(&found.logs);
    if logs.len() > RECORDS_MAX {
        truncated.push(format!("{} log records found; {RECORDS_MAX} are shown", logs.len()));
        logs.truncate(RECORDS_MAX);
    }
    Ok(Story {
        tree: tree::build(&spans),
        id,
        spans,
        logs,
        exemplars: found.exemplars,
        trace_ids: trace_ids.into_iter().collect(),
        truncated,
        notices: found.notices,
    })
}

fn trace_ids(found: &Found) -> BTreeSet<[u8; 16]> {
    let spans = found.spans.iter().flat_map(|block| block.iter().map(|row| row.trace_id));
    let logs = found.logs.iter().flat_map(|block| block.iter().map(|row| row.trace_id));
    let exemplars = found.exemplars.iter().filter_map(|hit| {
        crate::traces::id::parse_trace_id(hit.labels.get("trace_id").unwrap_or_default())
    });
    spans.chain(logs).chain(exemplars).filter(|trace_id| *trace_id != [0; 16]).collect()
}

/// Takes out what the whole traces will bring again.
fn drop_traces(found: &mut Found, trace_ids: &[[u8; 16]]) {
    let is_other = |trace_id: &[u8; 16]| trace_ids.contains(trace_id);
    for block in &mut found.spans {
        let batch = Arc::clone(&block.batch);
        block.rows.retain(|&row| {
            batch.rows.get(row as usize).is_some_and(|row| !is_other(&row.trace_id))
        });
    }
    for block in &mut found.logs {
        let batch = Arc::clone(&block.batch);
        block.rows.retain(|&row| {
            batch.rows.get(row as usize).is_some_and(|row| !is_other(&row.trace_id))
        });
    }
}

fn log_rows(blocks: &[LogBlock]) -> Vec<Log> {
    let mut logs: Vec<Log> = blocks
        .iter()
        .flat_map(|block| {
            block.iter().map(|row| Log { batch: Arc::clone(&block.batch), row: *row })
        })
        .collect();
    logs.sort_by_key(|log| (log.row.time_ns, log.row.observed_ns));
    logs
}
