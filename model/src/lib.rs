//! The nouns of Tercet: what was sent, in the shape in which every room of the house hands it on.
//!
//! A decoder in `ingest` makes a [`Batch`]; `storage` keeps batches as they are in its memtables,
//! encodes them into segments, and decodes segment blocks back into the same types; `query` reads
//! them. There is no I/O, no async and no clock here.

mod attributes;
mod batch;
mod histogram;
mod labels;
mod level;
mod limits;
mod logs;
mod memory;
mod metrics;
mod protocol;
mod reason;
mod refusal;
mod secret;
mod stream;
mod tenant;
mod text;
mod time;
mod traces;
pub mod wire;

pub use attributes::{AttributesBuilder, AttributesRef, Value};
pub use batch::{Batch, Signal, Slice};
pub use histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME, Series, SeriesId};
pub use level::{LevelSource, detected_level};
pub use limits::{LimitTable, Limits, LimitsOf, Oversize, Profile, TenantLimits};
pub use logs::{BodyKind, LogRow, LogsBatch};
pub use memory::{Memory, Pool as MemoryPool, Pressure};
pub use metrics::{
    Exemplar, MetricKind, MetricMetadata, MetricsBatch, STALE_NAN_BITS, Sample, is_stale, stale_nan,
};
pub use protocol::{Encoding, Protocol, Wire};
pub use reason::{Reason, Rejection, Rejections};
pub use refusal::{ErrorId, Exceeded};
pub use secret::{Secret, without_credentials};
pub use stream::{Hint, Scope, Stream, StreamId, StreamParts};
pub use tenant::{TenantError, TenantId};
pub use text::value_to_json;
pub use time::{NS_PER_MS, NS_PER_S, ms_to_ns, ns_to_ms};
pub use traces::{EventRef, LinkRef, SpanKind, SpanRow, SpanStatus, SpansBatch};
