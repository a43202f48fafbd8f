//! The three signals as the engine sees them.

use std::sync::Arc;

use model::{LimitsOf, LogsBatch, MetricsBatch, Rejections, Signal, SpansBatch};

use crate::segment::{Append, EncodeContext, EncodedSegment, SegmentHandle};
use crate::signal::{logs, metrics, traces};
use crate::store::engine::SignalEngine;
use crate::{LogsReader, MetricsReader, Options, StorageError, TracesReader};

#[derive(Debug)]
pub(crate) struct Metrics;

impl SignalEngine for Metrics {
    const SIGNAL: Signal = Signal::Metrics;
    type Batch = MetricsBatch;
    type Memtable = metrics::memtable::Memtable;
    type Segment = metrics::scan::Segment;
    type Reader = MetricsReader;

    fn memtable(generation: u32, limits: LimitsOf, _options: &Options) -> Self::Memtable {
        metrics::memtable::Memtable::judged_by(generation, limits)
    }

    fn successor(memtable: &Self::Memtable, generation: u32) -> Self::Memtable {
        memtable.successor(generation)
    }

    fn append(
        memtable: &Self::Memtable,
        batch: Self::Batch,
        received_ns: i64,
        append: Append,
    ) -> Rejections {
        memtable.append(batch, received_ns, append)
    }

    fn heap_bytes(memtable: &Self::Memtable) -> usize {
        memtable.heap_bytes()
    }

    fn rows(memtable: &Self::Memtable) -> u64 {
        memtable.rows()
    }

    fn active(memtable: &Self::Memtable) -> usize {
        memtable.active()
    }

    fn encode(
        memtable: &Self::Memtable,
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        metrics::encode::encode(memtable, ctx)
    }

    fn merge(
        inputs: &[Arc<Self::Segment>],
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        metrics::merge::merge(inputs, ctx)
    }

    fn reader(
        memtables: Vec<Arc<Self::Memtable>>,
        segments: Vec<Arc<SegmentHandle<Self::Segment>>>,
    ) -> Self::Reader {
        MetricsReader::new(memtables, segments)
    }
}

#[derive(Debug)]
pub(crate) struct Logs;

impl SignalEngine for Logs {
    const SIGNAL: Signal = Signal::Logs;
    type Batch = LogsBatch;
    type Memtable = logs::memtable::Memtable;
    type Segment = logs::scan::Segment;
    type Reader = LogsReader;

    fn memtable(generation: u32, limits: LimitsOf, options: &Options) -> Self::Memtable {
        logs::memtable::Memtable::judged_by(generation, limits, options)
    }

    fn successor(memtable: &Self::Memtable, generation: u32) -> Self::Memtable {
        memtable.successor(generation)
    }

    fn append(
        memtable: &Self::Memtable,
        batch: Self::Batch,
        received_ns: i64,
        append: Append,
    ) -> Rejections {
        memtable.append(batch, received_ns, append)
    }

    fn heap_bytes(memtable: &Self::Memtable) -> usize {
        memtable.heap_bytes()
    }

    fn rows(memtable: &Self::Memtable) -> u64 {
        memtable.rows()
    }

    fn active(memtable: &Self::Memtable) -> usize {
        memtable.active()
    }

    fn encode(
        memtable: &Self::Memtable,
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        logs::encode::encode(memtable, ctx)
    }

    fn merge(
        inputs: &[Arc<Self::Segment>],
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        logs::merge::merge(inputs, ctx)
    }

    fn reader(
        memtables: Vec<Arc<Self::Memtable>>,
        segments: Vec<Arc<SegmentHandle<Self::Segment>>>,
    ) -> Self::Reader {
        LogsReader::new(memtables, segments)
    }
}

#[derive(Debug)]
pub(crate) struct Traces;

impl SignalEngine for Traces {
    const SIGNAL: Signal = Signal::Traces;
    type Batch = SpansBatch;
    type Memtable = traces::memtable::Memtable;
    type Segment = traces::scan::Segment;
    type Reader = TracesReader;

    fn memtable(generation: u32, limits: LimitsOf, options: &Options) -> Self::Memtable {
        traces::memtable::Memtable::judged_by(generation, limits, options)
    }

    fn successor(memtable: &Self::Memtable, generation: u32) -> Self::Memtable {
        memtable.successor(generation)
    }

    fn append(
        memtable: &Self::Memtable,
        batch: Self::Batch,
        received_ns: i64,
        append: Append,
    ) -> Rejections {
        memtable.append(batch, received_ns, append)
    }

    fn heap_bytes(memtable: &Self::Memtable) -> usize {
        memtable.heap_bytes()
    }

    fn rows(memtable: &Self::Memtable) -> u64 {
        memtable.rows()
    }

    fn active(memtable: &Self::Memtable) -> usize {
        memtable.active()
    }

    fn live(memtable: &Self::Memtable) -> usize {
        memtable.live()
    }

    fn is_crowded(memtable: &Self::Memtable) -> bool {
        memtable.is_crowded()
    }

    fn encode(
        memtable: &Self::Memtable,
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        traces::encode::encode(memtable, ctx)
    }

    fn merge(
        inputs: &[Arc<Self::Segment>],
        ctx: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        traces::merge::merge(inputs, ctx)
    }

    fn reader(
        memtables: Vec<Arc<Self::Memtable>>,
        segments: Vec<Arc<SegmentHandle<Self::Segment>>>,
    ) -> Self::Reader {
        TracesReader::new(memtables, segments)
    }
}
