//! What [`TracesReader`] answers, over all memtables and segments. A segment that cannot be read
//! becomes an unread part of the answer, never its failure.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::{SpanKind, SpanRow, SpansBatch};

use super::runs::{Run, Runs};
use super::{Memtable, Segment, SpanBlock, SpanScan, TracesReader};
use crate::ids::{hash_span_id, hash_text, hash_trace_id, same_value};
use crate::notices::UnreadPart;
use crate::segment::SegmentHandle;
use crate::{Budget, ErrorKind, IdQuery, Notices, StorageError, TimeRange};

pub(super) fn trace(
    reader: &TracesReader,
    trace_id: &[u8; 16],
    budget: &Budget,
) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
    let mut blocks = Vec::new();
    for memtable in &reader.memtables {
        blocks.extend(memtable.trace(trace_id));
    }
    let mut notices = Notices::default();
    for handle in &reader.segments {
        budget.check()?;
        let found = read(handle, &mut notices, |segment| segment.trace(trace_id, budget))?;
        blocks.extend(found.unwrap_or_default());
    }
    keep_once(&mut blocks);
    Ok((blocks, notices))
}

pub(super) fn lookup(
    reader: &TracesReader,
    id: &IdQuery,
    records_max: usize,
    budget: &Budget,
) -> Result<(Vec<SpanBlock>, Notices), StorageError> {
    let mut hashes = vec![hash_text(&id.text)];
    hashes.extend(id.trace_id.as_ref().map(hash_trace_id));
    hashes.extend(id.span_id.as_ref().map(hash_span_id));
    let is_hit = |batch: &SpansBatch, row: &SpanRow| {
        id.trace_id == Some(row.trace_id)
            || id.span_id == Some(row.span_id)
            || batch.attributes(row).iter().any(|(_, value)| same_value(value, &id.text))
    };
    let mut blocks = Vec::new();
    for memtable in &reader.memtables {
        blocks.extend(memtable.with_ids(&hashes, &is_hit));
    }
    keep_once(&mut blocks);
    let mut notices = Notices::default();
    for handle in &reader.segments {
        budget.check()?;
        let count: usize = blocks.iter().map(|block| block.rows.len()).sum();
        let Some(room) = records_max.checked_sub(count).filter(|&room| room > 0) else { break };
        let found = read(handle, &mut notices, |segment| segment.lookup(id, room, budget))?;
        blocks.extend(found.unwrap_or_default());
        keep_once(&mut blocks);
    }
    cut(&mut blocks, records_max);
    Ok((blocks, notices))
}

pub(super) fn scan(
    reader: &TracesReader,
    scan: &SpanScan,
    budget: &Budget,
    visit: &mut dyn FnMut(SpanBlock) -> ControlFlow<()>,
) -> Result<Notices, StorageError> {
    for memtable in &reader.memtables {
        for group in memtable.groups().iter().rev() {
            budget.check()?;
            for batch in group.batches() {
                let block = select(batch, scan);
                budget.take_samples(block.rows.len() as u64)?;
                if !block.rows.is_empty() && visit(block).is_break() {
                    return Ok(Notices::default());
                }
            }
        }
    }
    let mut notices = Notices::default();
    for handle in reader.segments.iter().filter(|handle| handle.meta.meets(scan.range)) {
        let flow = read(handle, &mut notices, |segment| segment.scan(scan, budget, visit))?;
        if flow.is_some_and(|flow| flow.is_break()) {
            break;
        }
    }
    Ok(notices)
}

/// Rows of a memtable's batch that satisfy the scan. Hints are left to the caller.
fn select(batch: &Arc<SpansBatch>, scan: &SpanScan) -> SpanBlock {
    let is_service: Vec<bool> = batch
        .streams
        .iter()
        .map(|stream| scan.service.as_ref().is_none_or(|service| stream.service() == service))
        .collect();
    let is_hit = |row: &SpanRow| {
        scan.range.contains(row.start_ns)
            && is_service.get(row.stream as usize).copied().unwrap_or(scan.service.is_none())
            && scan.name.as_ref().is_none_or(|name| batch.text(row.name) == name)
            && scan.takes(row.duration_ns())
    };
    let rows = batch.rows.iter().zip(0u32..).filter(|pair| is_hit(pair.0)).map(|pair| pair.1);
    SpanBlock { batch: Arc::clone(batch), rows: rows.collect() }
}

pub(super) fn services(
    reader: &TracesReader,
    range: TimeRange,
    budget: &Budget,
) -> Result<(Vec<String>, Notices), StorageError> {
    let mut names = BTreeSet::new();
    for memtable in &reader.memtables {
        each_row(memtable, range, &mut |batch, row| {
            if let Some(stream) = batch.streams.get(row.stream as usize)
                && !names.contains(stream.service())
            {
                names.insert(stream.service().to_owned());
            }
        });
    }
    let notices = each_run(reader, range, budget, &mut |runs, run| {
        if !names.contains(runs.service(run)) {
            names.insert(runs.service(run).to_owned());
        }
    })?;
    Ok((names.into_iter().collect(), notices))
}

pub(super) fn operations(
    reader: &TracesReader,
    service: &str,
    range: TimeRange,
    budget: &Budget,
) -> Result<(Vec<(String, SpanKind)>, Notices), StorageError> {
    let mut found = BTreeSet::new();
    for memtable in &reader.memtables {
        each_row(memtable, range, &mut |batch, row| {
            let stream = batch.streams.get(row.stream as usize);
            if stream.is_some_and(|stream| stream.service() == service) {
                found.insert((batch.text(row.name).to_owned(), row.kind));
            }
        });
    }
    let notices = each_run(reader, range, budget, &mut |runs, run| {
        if runs.service(run) == service {
            found.extend(run.kinds().map(|kind| (run.name.to_string(), kind)));
        }
    })?;
    Ok((found.into_iter().collect(), notices))
}

fn each_row(memtable: &Memtable, range: TimeRange, take: &mut dyn FnMut(&SpansBatch, &SpanRow)) {
    for group in memtable.groups() {
        for batch in group.batches() {
            let mut last = None;
            for row in batch.rows.iter().filter(|row| range.contains(row.start_ns)) {
                // Neighbours are often alike.
                let key = (row.stream, row.kind, row.name);
                if last != Some(key) {
                    take(batch, row);
                    last = Some(key);
                }
            }
        }
    }
}

/// Calls `take` with every run that may have spans in `range`: from the catalog's stats where they
/// are complete, else from the segment.
fn each_run(
    reader: &TracesReader,
    range: TimeRange,
    budget: &Budget,
    take: &mut dyn FnMut(&Runs, &Run),
) -> Result<Notices, StorageError> {
    let mut notices = Notices::default();
    for handle in reader.segments.iter().filter(|handle| handle.meta.meets(range)) {
        budget.check()?;
        let stats = hex::decode(&handle.meta.stats).ok();
        let stats = stats.and_then(|stats| Runs::decode(&stats)).filter(|runs| !runs.is_cut);
        let is_wanted = |run: &&Run| range.meets(run.start_min_ns, run.start_max_ns);
        match stats {
            Some(runs) => runs.list.iter().filter(is_wanted).for_each(|run| take(&runs, run)),
            None => {
                read(handle, &mut notices, |segment| {
                    let runs = &segment.runs;
                    runs.list.iter().filter(is_wanted).for_each(|run| take(runs, run));
                    Ok(())
                })?;
            }
        }
    }
    Ok(notices)
}

/// Reads a segment; what it has wrong becomes a notice.
///
/// Errors: what concerns the query as a whole: its budget.
fn read<T>(
    handle: &SegmentHandle<Segment>,
    notices: &mut Notices,
    read: impl FnOnce(&Segment) -> Result<T, StorageError>,
) -> Result<Option<T>, StorageError> {
    match handle.get().and_then(|segment| read(&segment)) {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Unavailable
            ) =>
        {
            notices
                .unread
                .push(UnreadPart { name: handle.meta.id.clone(), why: error.to_string() });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Drops spans that came before with the same (trace ID, span ID, kind, start).
fn keep_once(blocks: &mut Vec<SpanBlock>) {
    let mut seen: HashSet<([u8; 16], [u8; 8], SpanKind, i64), FixedState> = HashSet::default();
    for block in blocks.iter_mut() {
        let batch = &block.batch;
        block.rows.retain(|&row| {
            batch.rows.get(row as usize).is_some_and(|span| {
                seen.insert((span.trace_id, span.span_id, span.kind, span.start_ns))
            })
        });
    }
    blocks.retain(|block| !block.rows.is_empty());
}

/// Keeps the first `rows_max` rows.
fn cut(blocks: &mut Vec<SpanBlock>, rows_max: usize) {
    let mut room = rows_max;
    for block in blocks.iter_mut() {
        block.rows.truncate(room);
        room -= block.rows.len();
    }
    blocks.retain(|block| !block.rows.is_empty());
}
