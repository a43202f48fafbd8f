//! Puts spans in order and connects them: the plan by which a segment is written.
//!
//! Encoding and merging hand in one [`SpanKey`] a span and get back the order of the rows, which
//! spans are stored twice, the traces by their beginning, and the row of each span's parent.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::ops::Range;

/// No row.
pub(super) const NONE: u32 = u32::MAX;
/// Traces with more spans are searched through a sorted list.
const SMALL_TRACE: usize = 12;

/// What decides where a span lies and what it is connected with.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanKey {
    pub(super) span_id: u64,
    /// 0 for a root.
    pub(super) parent_id: u64,
    pub(super) start_ns: i64,
    /// Any number for the trace, see [`plan`].
    pub(super) trace: u32,
    /// Rank of (service, name).
    pub(super) run: u32,
    pub(super) kind: u8,
}

/// How a segment is to be written.
#[derive(Debug)]
pub(super) struct Plan {
    /// Indices of the spans to be written, in order.
    pub(super) order: Vec<u32>,
    /// For each span handed in the row of its parent, or [`NONE`].
    pub(super) parents: Vec<u32>,
    /// For each trace number its rank by beginning, or [`NONE`] for a number without spans.
    pub(super) ranks: Vec<u32>,
    /// Trace numbers by rank.
    pub(super) traces: Vec<u32>,
}

/// Plans a segment of `spans`, whose traces are numbered below `trace_count` and whose runs below
/// `run_count`. Of spans with equal (trace, span ID, kind, start) the first is kept.
/// Cost: linear but for the sorting by start inside a run, where spans mostly come sorted.
pub(super) fn plan(spans: &[SpanKey], trace_count: usize, run_count: usize) -> Plan {
    let by_trace = group_by(spans, trace_count, |span| span.trace);
    let mut is_duplicate = vec![false; spans.len()];
    for trace in 0..trace_count {
        mark_duplicates(spans, by_trace.members(trace), &mut is_duplicate);
    }
    let order = order(spans, run_count, &is_duplicate);
    let mut rows = vec![NONE; spans.len()];
    for (row, &span) in order.iter().enumerate() {
        rows[span as usize] = row as u32;
    }
    let mut parents = vec![NONE; spans.len()];
    for trace in 0..trace_count {
        find_parents(spans, by_trace.members(trace), &rows, &mut parents);
    }
    let (ranks, traces) = rank_traces(spans, &by_trace, trace_count);
    Plan { order, parents, ranks, traces }
}

/// Members of each group, one group after the other.
struct Groups {
    starts: Vec<u32>,
    members: Vec<u32>,
}

impl Groups {
    fn range(&self, group: usize) -> Range<usize> {
        self.starts[group] as usize..self.starts[group + 1] as usize
    }

    fn members(&self, group: usize) -> &[u32] {
        &self.members[self.range(group)]
    }
}

fn group_by(spans: &[SpanKey], count: usize, group: impl Fn(&SpanKey) -> u32) -> Groups {
    let mut starts = vec![0u32; count + 1];
    for span in spans {
        starts[group(span) as usize + 1] += 1;
    }
    for index in 1..starts.len() {
        starts[index] += starts[index - 1];
    }
    let mut next = starts.clone();
    let mut members = vec![0u32; spans.len()];
    for (index, span) in spans.iter().enumerate() {
        let slot = &mut next[group(span) as usize];
        members[*slot as usize] = index as u32;
        *slot += 1;
    }
    Groups { starts, members }
}

fn mark_duplicates(spans: &[SpanKey], members: &[u32], is_duplicate: &mut [bool]) {
    let key = |index: u32| {
        let span = &spans[index as usize];
        (span.span_id, span.start_ns, span.kind)
    };
    if members.len() <= SMALL_TRACE {
        for (at, &later) in members.iter().enumerate().skip(1) {
            let later_key = key(later);
            if members[..at].iter().any(|&earlier| key(earlier) == later_key) {
                is_duplicate[later as usize] = true;
            }
        }
        return;
    }
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| key(index));
    for pair in sorted.windows(2) {
        if key(pair[0]) == key(pair[1]) {
            is_duplicate[pair[1] as usize] = true;
        }
    }
}

fn order(spans: &[SpanKey], run_count: usize, is_duplicate: &[bool]) -> Vec<u32> {
    let mut by_run = group_by(spans, run_count, |span| span.run);
    for run in 0..run_count {
        let range = by_run.range(run);
        // Stable and fast on what is sorted in stretches, as requests and segments are.
        by_run.members[range].sort_by_key(|&index| spans[index as usize].start_ns);
    }
    by_run.members.retain(|&index| !is_duplicate[index as usize]);
    by_run.members
}

fn find_parents(spans: &[SpanKey], members: &[u32], rows: &[u32], parents: &mut [u32]) {
    let is_stored = |&index: &u32| rows[index as usize] != NONE;
    if members.len() <= SMALL_TRACE {
        for &child in members {
            let wanted = spans[child as usize].parent_id;
            if wanted == 0 {
                continue;
            }
            let mut others = members.iter().copied().filter(is_stored);
            if let Some(parent) = others.find(|&other| spans[other as usize].span_id == wanted) {
                parents[child as usize] = rows[parent as usize];
            }
        }
        return;
    }
    let mut by_id: Vec<(u64, u32)> = members
        .iter()
        .filter(|index| is_stored(index))
        .map(|&index| (spans[index as usize].span_id, rows[index as usize]))
        .collect();
    by_id.sort_unstable();
    for &child in members {
        let wanted = spans[child as usize].parent_id;
        let at = by_id.partition_point(|pair| pair.0 < wanted);
        if let Some(&(id, row)) = by_id.get(at)
            && id == wanted
            && wanted != 0
        {
            parents[child as usize] = row;
        }
    }
}

fn rank_traces(spans: &[SpanKey], by_trace: &Groups, count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut begins: Vec<(i64, u32)> = (0..count)
        .filter_map(|trace| {
            let starts = by_trace.members(trace).iter().map(|&i| spans[i as usize].start_ns);
            Some((starts.min()?, trace as u32))
        })
        .collect();
    begins.sort_unstable();
    let mut ranks = vec![NONE; count];
    for (rank, &(_, trace)) in begins.iter().enumerate() {
        ranks[trace as usize] = rank as u32;
    }
    (ranks, begins.into_iter().map(|(_, trace)| trace).collect())
}
