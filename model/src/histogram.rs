//! Native histograms, integer or float, exponential or with custom buckets.

/// The schema number that marks custom bucket bounds (Prometheus' "NHCB").
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of adjacent buckets. Units: buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpan {
    /// Gap to the previous span's end; for the first span the index of its first bucket.
    pub offset: i32,
    pub length: u32,
}

/// One native histogram sample. Counts are absolute (not deltas) and exact up to 2^53.
///
/// Source: Prometheus `model/histogram/float_histogram.go` (3.14).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// -4..=8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    /// A stale marker is a histogram whose sum is the stale NaN.
    pub sum: f64,
    pub positive_spans: Vec<BucketSpan>,
    /// Shape: as many as the lengths of `positive_spans` add up to.
    pub positive_buckets: Vec<f64>,
    pub negative_spans: Vec<BucketSpan>,
    pub negative_buckets: Vec<f64>,
    /// Upper bounds, ascending, the last (+Inf) left out; only with custom buckets.
    pub custom_values: Vec<f64>,
    /// Whether it was sent with float counts.
    pub is_float: bool,
    /// 0 unknown, 1 reset, 2 no reset, 3 gauge.
    pub reset_hint: u8,
}
