//! Who called whom: parents, depth-first order, self time, critical path, parents that never came.

use std::collections::HashMap;

use super::assemble::Span;

/// A span ID that spans name as their parent and that is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingParent {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    /// Spans that name it.
    pub(crate) children: usize,
    /// The service of the first of them.
    pub(crate) child_service: String,
}

/// The shape of one or more traces. Shape: all vectors but `missing` are as long as the spans.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Indices of spans, each after its parent, siblings by start.
    pub(crate) order: Vec<usize>,
    pub(crate) parent: Vec<Option<usize>>,
    /// Time in which no child ran. Units: ns.
    pub(crate) self_ns: Vec<i64>,
    /// Whether shortening the span would have shortened its trace.
    pub(crate) critical: Vec<bool>,
    pub(crate) missing: Vec<MissingParent>,
}

/// Builds the tree of `spans`, which are sorted as `assemble::spans` does. A cycle of parents is cut
/// at its earliest span.
pub(crate) fn build(spans: &[Span]) -> Tree {
    let mut index = HashMap::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        index.entry((span.row.trace_id, span.row.span_id)).or_insert(at);
    }
    let mut tree = Tree { parent: vec![None; spans.len()], ..Tree::default() };
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut missing: HashMap<([u8; 16], [u8; 8]), usize> = HashMap::new();
    for (at, span) in spans.iter().enumerate() {
        if span.is_root() {
            continue;
        }
        let key = (span.row.trace_id, span.row.parent_span_id);
        match index.get(&key) {
            Some(&parent) if parent != at => {
                tree.parent[at] = Some(parent);
                children[parent].push(at);
            }
            Some(_) => {}
            None => note_missing(&mut tree.missing, &mut missing, key, span),
        }
    }
    order(&mut tree, &children);
    tree.self_ns = (0..spans.len()).map(|at| self_ns(spans, at, &children[at])).collect();
    tree.critical = critical(spans, &tree, &children);
    tree
}

fn note_missing(
    list: &mut Vec<MissingParent>,
    known: &mut HashMap<([u8; 16], [u8; 8]), usize>,
    key: ([u8; 16], [u8; 8]),
    child: &Span,
) {
    if let Some(&at) = known.get(&key) {
        list[at].children += 1;
        return;
    }
    known.insert(key, list.len());
    let child_service = child.stream().service().to_owned();
    list.push(MissingParent { trace_id: key.0, span_id: key.1, children: 1, child_service });
}

fn order(tree: &mut Tree, children: &[Vec<usize>]) {
    let mut seen = vec![false; children.len()];
    let roots: Vec<usize> = (0..children.len()).filter(|&at| tree.parent[at].is_none()).collect();
    let mut stack: Vec<usize> = roots.into_iter().rev().collect();
    let mut next = 0;
    loop {
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            tree.order.push(at);
            stack.extend(children[at].iter().rev());
        }
        // What no root leads to runs in a circle: begin at its earliest span.
        while next < seen.len() && seen[next] {
            next += 1;
        }
        if next == seen.len() {
            return;
        }
        tree.parent[next] = None;
        stack.push(next);
    }
}

/// The span's length without the union of its children's. Children are sorted by start.
fn self_ns(spans: &[Span], at: usize, children: &[usize]) -> i64 {
    let row = &spans[at].row;
    let (start, end) = (row.start_ns, row.end_ns.max(row.start_ns));
    let mut covered = 0;
    let mut until = start;
    for &child in children {
        let row = &spans[child].row;
        let from = row.start_ns.max(until);
        let to = row.end_ns.min(end);
        if to > from {
            covered += to - from;
            until = to;
        }
    }
    end - start - covered
}

/// Walks each root backwards from its end: the child that ended last before the present moment is
/// on the path, and so is what it waited for. Source: Jaeger UI, critical path (children that ran on
/// after their parent are clipped to it).
fn critical(spans: &[Span], tree: &Tree, children: &[Vec<usize>]) -> Vec<bool> {
    let mut critical = vec![false; spans.len()];
    let roots = tree.order.iter().copied().filter(|&at| tree.parent[at].is_none());
    let mut stack: Vec<(usize, i64)> = roots.map(|at| (at, spans[at].row.end_ns)).collect();
    while let Some((at, until)) = stack.pop() {
        if std::mem::replace(&mut critical[at], true) {
            continue;
        }
        let mut moment = until.min(spans[at].row.end_ns);
        let mut by_end: Vec<usize> = children[at].clone();
        by_end.sort_by_key(|&child| std::cmp::Reverse(spans[child].row.end_ns));
        for child in by_end {
            let row = &spans[child].row;
            if row.start_ns >= moment || tree.parent[child] != Some(at) {
                continue;
            }
            // A child that runs on after its parent is asynchronous; one that overlaps the child
            // already chosen was not waited for.
            if row.end_ns > moment && moment != until.min(spans[at].row.end_ns) {
                continue;
            }
            stack.push((child, row.end_ns.min(moment)));
            moment = row.start_ns;
        }
    }
    critical
}
