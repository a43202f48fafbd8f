//! Who calls whom: spans whose parent is a span of another service.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::SpanStatus;
use storage::{Budget, Notices, Snapshot, SpanScan, StorageError, TimeRange};

/// Calls from one service to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Calls {
    pub(crate) parent: String,
    pub(crate) child: String,
    pub(crate) count: u64,
    /// How many of them failed, as the child says.
    pub(crate) error_count: u64,
}

/// A span with a parent. Services are numbers into a list.
struct Child {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    service: usize,
    failed: bool,
}

/// The calls among spans that start in `range`, by parent and child.
pub(crate) fn calls(
    snapshot: &Snapshot,
    range: TimeRange,
    budget: &Budget,
) -> Result<(Vec<Calls>, Notices), StorageError> {
    let scan = SpanScan {
        range,
        service: None,
        name: None,
        attribute_hints: Vec::new(),
        duration_min_ns: None,
        duration_max_ns: None,
    };
    let mut services: Vec<String> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut service_of: HashMap<([u8; 16], [u8; 8]), usize> = HashMap::new();
    let mut children: Vec<Child> = Vec::new();
    let notices = snapshot.traces().scan(&scan, budget, &mut |block| {
        let of_stream: Vec<usize> = block
            .batch
            .streams
            .iter()
            .map(|stream| {
                *places.entry(stream.service().to_owned()).or_insert_with(|| {
                    services.push(stream.service().to_owned());
                    services.len() - 1
                })
            })
            .collect();
        for row in block.iter() {
            let Some(&service) = of_stream.get(row.stream as usize) else { continue };
            service_of.insert((row.trace_id, row.span_id), service);
            if row.parent_span_id != [0; 8] {
                let failed = row.status == SpanStatus::Error;
                let (trace_id, parent_id) = (row.trace_id, row.parent_span_id);
                children.push(Child { trace_id, parent_id, service, failed });
            }
        }
        ControlFlow::Continue(())
    })?;
    let mut counts: HashMap<(usize, usize), (u64, u64)> = HashMap::new();
    for child in children {
        if let Some(&parent) = service_of.get(&(child.trace_id, child.parent_id))
            && parent != child.service
        {
            let (count, error_count) = counts.entry((parent, child.service)).or_default();
            *count += 1;
            *error_count += u64::from(child.failed);
        }
    }
    let mut calls: Vec<Calls> = counts
        .into_iter()
        .map(|((parent, child), (count, error_count))| Calls {
            parent: services[parent].clone(),
            child: services[child].clone(),
            count,
            error_count,
        })
        .collect();
    calls.sort_unstable();
    Ok((calls, notices))
}
