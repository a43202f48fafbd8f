//! Samples, native histograms, exemplars and metadata, keyed by series.

use std::sync::Arc;

use crate::{Histogram, Labels, Series};

/// The bits of Prometheus' stale marker.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker as a value. Compare bits, never values.
#[must_use]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Index into [`MetricsBatch::series`].
    pub series: u32,
    pub time_ms: i64,
    pub value: f64,
}

/// An exemplar of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Index into [`MetricsBatch::series`].
    pub series: u32,
    pub time_ms: i64,
    pub value: f64,
    pub labels: Labels,
}

/// Prometheus' metric types, numbered as in remote write 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(u8)]
pub enum MetricKind {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricKind {
    /// Unknown numbers count as unknown kinds.
    #[must_use]
    pub fn from_number(number: u64) -> MetricKind {
        match number {
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            4 => MetricKind::GaugeHistogram,
            5 => MetricKind::Summary,
            6 => MetricKind::Info,
            7 => MetricKind::StateSet,
            _ => MetricKind::Unknown,
        }
    }

    /// The word that `/api/v1/metadata` shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Unknown => "unknown",
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::GaugeHistogram => "gaugehistogram",
            MetricKind::Summary => "summary",
            MetricKind::Info => "info",
            MetricKind::StateSet => "stateset",
        }
    }
}

/// What a metric family is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MetricMetadata {
    pub family: String,
    pub kind: MetricKind,
    pub help: String,
    pub unit: String,
}

/// Metrics of one request. `series` may name a series twice; samples of a series are in sending order.
#[derive(Debug, Default)]
pub struct MetricsBatch {
    pub series: Vec<Arc<Series>>,
    pub samples: Vec<Sample>,
    /// Series index, time in ms, histogram.
    pub histograms: Vec<(u32, i64, Box<Histogram>)>,
    pub exemplars: Vec<Exemplar>,
    pub metadata: Vec<MetricMetadata>,
}
