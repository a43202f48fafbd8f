//! The header of one OTLP metric: what all of its points share.

use std::cell::OnceCell;

use model::wire::{Field, Reader, WireError};
use model::{MetricKind, MetricMetadata, Reason};
use xxhash_rust::xxh3::xxh3_128;

use super::names::{NameKind, metric_name, unit_name};
use super::options::{DeltaMode, TranslationOptions};
use crate::series_cache::{Refusal, mix};

/// The message type of a metric's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Number,
    Explicit,
    Exponential,
    Summary,
}

impl Shape {
    /// The field in which a point repeats its attributes.
    pub(super) fn attributes_field(self) -> u32 {
        match self {
            Shape::Number | Shape::Summary => 7,
            Shape::Explicit => 9,
            Shape::Exponential => 1,
        }
    }
}

/// A metric's points, still on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Data<'a> {
    Missing,
    /// A message in which field 1 repeats the points.
    Points(&'a [u8]),
}

/// The sender's aggregation temporality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    /// The data has none (gauges, summaries).
    None,
    Unspecified,
    Delta,
    Cumulative,
}

/// The name and unit that a metric's series carry.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) unit: String,
}

/// A metric without its points.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a str,
    description: &'a str,
    unit: &'a str,
    pub(super) shape: Shape,
    pub(super) data: Data<'a>,
    pub(super) temporality: Temporality,
    is_sum: bool,
    is_monotonic: bool,
    /// Whether name and unit are UTF-8.
    is_text: bool,
    /// Folded of all of the above.
    pub(super) header_key: u128,
    /// `header_key` folded with resource and scope.
    pub(super) key: u128,
    family: OnceCell<Result<Family, String>>,
}

impl<'a> Metric<'a> {
    /// Reads a `Metric` whose resource and scope have the key `context_key`.
    pub(super) fn read(bytes: &'a [u8], context_key: u128) -> Result<Metric<'a>, WireError> {
        let (mut name, mut description, mut unit): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let mut data = (0, Data::Missing);
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(text)) => name = text,
                (2, Field::Bytes(text)) => description = text,
                (3, Field::Bytes(text)) => unit = text,
                (5 | 7 | 9 | 10 | 11, Field::Bytes(points)) => {
                    data = (number, Data::Points(points));
                }
                _ => {}
            }
        }
        let (shape, has_temporality) = match data.0 {
            9 => (Shape::Explicit, true),
            10 => (Shape::Exponential, true),
            11 => (Shape::Summary, false),
            number => (Shape::Number, number == 7),
        };
        let (mut temporality, mut is_monotonic) = (Temporality::None, false);
        if let (Data::Points(points), true) = (data.1, has_temporality) {
            (temporality, is_monotonic) = read_temporality(points)?;
        }
        let kind = u128::from(data.0) << 16
            | u128::from(temporality as u8) << 8
            | u128::from(is_monotonic);
        let mut header_key = mix(xxh3_128(name), kind);
        header_key = mix(header_key, xxh3_128(unit));
        header_key = mix(header_key, xxh3_128(description));
        let text = |bytes: &'a [u8]| simdutf8::basic::from_utf8(bytes).ok();
        Ok(Metric {
            name: text(name).unwrap_or_default(),
            description: text(description).unwrap_or_default(),
            unit: text(unit).unwrap_or_default(),
            shape,
            data: data.1,
            temporality,
            is_sum: data.0 == 7,
            is_monotonic,
            is_text: text(name).is_some() && text(unit).is_some(),
            header_key,
            key: mix(context_key, header_key),
            family: OnceCell::new(),
        })
    }

    /// Why none of the metric's points can be taken.
    pub(super) fn refusal(&self, options: &TranslationOptions) -> Option<Refusal> {
        if !self.is_text {
            return Some((Reason::InvalidRecord, "a metric's name is not UTF-8".to_owned()));
        }
        let what = match self.temporality {
            Temporality::None | Temporality::Cumulative => return None,
            Temporality::Delta if options.delta != DeltaMode::Reject => return None,
            Temporality::Delta => "delta",
            Temporality::Unspecified => "unspecified",
        };
        let text = format!("metric {:?} has {what} temporality, which is not taken", self.name);
        Some((Reason::UnsupportedTemporality, text))
    }

    /// Whether its deltas are to be added up.
    pub(super) fn accumulates(&self, options: &TranslationOptions) -> bool {
        self.temporality == Temporality::Delta && options.delta == DeltaMode::Accumulate
    }

    /// The name and unit of its series, made once.
    ///
    /// Errors: InvalidRecord where no name can be made.
    pub(super) fn family(&self, options: &TranslationOptions) -> Result<&Family, Refusal> {
        let make = || {
            let kind = match self.shape {
                Shape::Number if self.is_sum && self.is_monotonic => NameKind::MonotonicSum,
                Shape::Number if !self.is_sum => NameKind::Gauge,
                _ => NameKind::Other,
            };
            let name = metric_name(self.name, self.unit, kind, options)?;
            Ok(Family { name, unit: unit_name(self.unit, options) })
        };
        match self.family.get_or_init(make) {
            Ok(family) => Ok(family),
            Err(why) => Err((Reason::InvalidRecord, why.clone())),
        }
    }

    /// The Prometheus type of its family.
    pub(super) fn kind(&self, options: &TranslationOptions) -> MetricKind {
        if self.temporality == Temporality::Delta && !self.accumulates(options) {
            return MetricKind::Unknown;
        }
        match self.shape {
            Shape::Number if self.is_sum && self.is_monotonic => MetricKind::Counter,
            Shape::Number => MetricKind::Gauge,
            Shape::Explicit | Shape::Exponential => MetricKind::Histogram,
            Shape::Summary => MetricKind::Summary,
        }
    }

    /// What `/api/v1/metadata` will show.
    ///
    /// Errors: those of [`Metric::family`].
    pub(super) fn metadata(&self, options: &TranslationOptions) -> Result<MetricMetadata, Refusal> {
        let family = self.family(options)?;
        Ok(MetricMetadata {
            family: family.name.clone(),
            kind: self.kind(options),
            help: self.description.to_owned(),
            unit: family.unit.clone(),
        })
    }
}

/// Temporality and monotonicity, which follow the points on the wire.
fn read_temporality(points: &[u8]) -> Result<(Temporality, bool), WireError> {
    let (mut temporality, mut is_monotonic) = (Temporality::Unspecified, false);
    let mut reader = Reader::new(points);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (2, Field::Varint(1)) => temporality = Temporality::Delta,
            (2, Field::Varint(2)) => temporality = Temporality::Cumulative,
            (2, Field::Varint(_)) => temporality = Temporality::Unspecified,
            (3, Field::Varint(flag)) => is_monotonic = flag != 0,
            _ => {}
        }
    }
    Ok((temporality, is_monotonic))
}
