//! The spans of a trace, collected from blocks, in time order.

use std::cmp::Reverse;
use std::sync::Arc;

use model::{SpanRow, SpansBatch, Stream};
use storage::SpanBlock;

/// One span with the batch its slices point into.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) batch: Arc<SpansBatch>,
    pub(crate) row: SpanRow,
}

impl Span {
    /// The span's stream.
    ///
    /// Panics: never; a row without a stream gets an empty one.
    pub(crate) fn stream(&self) -> Arc<Stream> {
        self.batch
            .streams
            .get(self.row.stream as usize)
            .cloned()
            .unwrap_or_else(|| Stream::new(model::StreamParts::default()))
    }

    pub(crate) fn name(&self) -> &str {
        self.batch.text(self.row.name)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.row.parent_span_id == [0; 8]
    }
}

/// All spans of the blocks, ascending by start, longer ones first among equals, so that a parent
/// comes before its children.
pub(crate) fn spans(blocks: &[SpanBlock]) -> Vec<Span> {
    let mut spans: Vec<Span> = blocks
        .iter()
        .flat_map(|block| {
            block.iter().map(|row| Span { batch: Arc::clone(&block.batch), row: *row })
        })
        .collect();
    spans.sort_by_key(|span| {
        let row = &span.row;
        (row.trace_id, row.start_ns, Reverse(row.duration_ns()), row.span_id)
    });
    spans
}
