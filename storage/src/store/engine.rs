//! What the engine needs of a signal: one small trait, so that flush, compaction and snapshots are
//! written once. The three signals implement it in `engines.rs`.

use std::sync::Arc;

use model::{LimitsOf, Rejections, Signal};

use crate::segment::{Append, EncodeContext, EncodedSegment, OpenSegment, SegmentHandle};
use crate::{Options, StorageError};

/// A signal's memtable, segments and reader.
pub(crate) trait SignalEngine: Send + Sync + 'static {
    const SIGNAL: Signal;
    type Batch: Send + 'static;
    type Memtable: Send + Sync + 'static;
    type Segment: OpenSegment + 'static;
    type Reader;

    /// An empty memtable of a tenant with these limits. `generation` is not zero and unique in the
    /// process.
    fn memtable(generation: u32, limits: LimitsOf, options: &Options) -> Self::Memtable;

    /// An empty memtable that goes on where `memtable` ends.
    fn successor(memtable: &Self::Memtable, generation: u32) -> Self::Memtable;

    /// Adds a batch, visible as a whole when this returns.
    fn append(
        memtable: &Self::Memtable,
        batch: Self::Batch,
        received_ns: i64,
        append: Append,
    ) -> Rejections;

    fn heap_bytes(memtable: &Self::Memtable) -> usize;

    fn rows(memtable: &Self::Memtable) -> u64;

    /// Series or streams that are known, against the tenant's limit.
    fn active(memtable: &Self::Memtable) -> usize;

    /// Traces that are known, where a limit of the tenant has them counted.
    fn live(_memtable: &Self::Memtable) -> usize {
        0
    }

    /// Whether the tenant is halfway to a limit that an early flush keeps it from.
    fn is_crowded(_memtable: &Self::Memtable) -> bool {
        false
    }

    fn encode(
        memtable: &Self::Memtable,
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError>;

    fn merge(
        inputs: &[Arc<Self::Segment>],
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError>;

    /// A reader of these; memtables oldest first.
    fn reader(
        memtables: Vec<Arc<Self::Memtable>>,
        segments: Vec<Arc<SegmentHandle<Self::Segment>>>,
    ) -> Self::Reader;
}
