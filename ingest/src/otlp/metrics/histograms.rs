//! Points of explicit and exponential histograms.

use model::wire::{Field, Reader, WireError};
use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram, Reason, stale_nan};
use xxhash_rust::xxh3::xxh3_64;

use super::delta::{ExplicitDelta, layout};
use super::metric::Temporality;
use super::numbers::{NO_RECORDED_VALUE, older_delta};
use super::{Part, Place, Translator, exemplars};
use crate::remote_write::{check_histogram, read_doubles, zigzag32};
use crate::series_cache::Refusal;

/// The zero threshold of native histograms made of OTLP ones, whatever the sender's, as Prometheus
/// has it. Source: `otlptranslator/prometheusremotewrite/histograms.go`.
const ZERO_THRESHOLD: f64 = 1e-128;
const SCALE_MIN: i32 = -4;
const SCALE_MAX: i32 = 8;
/// Bucket indexes farther from 0 than this cannot come of finite numbers at any scale that is taken.
const INDEX_MAX: i64 = 1 << 29;
/// The counter reset hint of a histogram that is no counter.
const GAUGE_HINT: u8 = 3;

/// What an explicit histogram's point holds beside its buckets.
struct Explicit<'a> {
    count: u64,
    sum: Option<f64>,
    is_stale: bool,
    exemplars: Option<&'a [u8]>,
}

impl Translator<'_> {
    /// A `HistogramDataPoint`.
    pub(super) fn explicit(
        &mut self,
        place: Place<'_>,
        bytes: &[u8],
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        let mut point = self.read_explicit(bytes)?;
        if let Err(why) = check_bounds(&self.bounds) {
            return Ok(Err((Reason::InvalidHistogram, why)));
        }
        if place.metric.accumulates(self.options) && !point.is_stale {
            let delta = ExplicitDelta {
                bounds: hash_bounds(&self.bounds),
                count: point.count,
                sum: point.sum.unwrap_or(0.0),
            };
            let key = self.total_key(place);
            let deltas = self.ctx.series.deltas();
            match deltas.add_explicit(key, time_ns, delta, &mut self.buckets) {
                Ok(total) => {
                    point.count = total.count;
                    point.sum = point.sum.map(|_| total.sum);
                }
                Err(_) => return Ok(Err(older_delta(place))),
            }
        }
        if self.options.histograms_to_nhcb {
            return self.nhcb(place, &point, time_ns);
        }
        self.classic(place, &point, time_ns)
    }

    /// Fills `buckets` and `bounds`, returns the rest.
    fn read_explicit<'p>(&mut self, bytes: &'p [u8]) -> Result<Explicit<'p>, WireError> {
        self.buckets.clear();
        self.bounds.clear();
        let mut point = Explicit { count: 0, sum: None, is_stale: false, exemplars: None };
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, field) => point.count = field.number().unwrap_or(0),
                (5, Field::Fixed64(bits)) => point.sum = Some(f64::from_bits(bits)),
                (6, field) => read_fixed(&mut self.buckets, field)?,
                (7, field) => read_doubles(&mut self.bounds, field)?,
                (8, Field::Bytes(_)) => point.exemplars = Some(bytes),
                (10, field) => {
                    point.is_stale = field.number().unwrap_or(0) & NO_RECORDED_VALUE != 0;
                }
                _ => {}
            }
        }
        Ok(point)
    }

    /// Series `_sum`, `_count` and `_bucket`.
    fn classic(
        &mut self,
        place: Place<'_>,
        point: &Explicit<'_>,
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        let shown = |value: f64| if point.is_stale { stale_nan() } else { value };
        let bucket_count = self.bounds.len().min(self.buckets.len());
        let mut exemplars = self.exemplars_of(point, 8, time_ns)?;
        let mut write = || -> Result<(), Refusal> {
            if let Some(sum) = point.sum {
                self.sample(place, Part::Sum, time_ns, shown(sum))?;
            }
            self.sample(place, Part::Count, time_ns, shown(point.count as f64))?;
            let mut cumulative = 0u64;
            let mut below = f64::NEG_INFINITY;
            for index in 0..bucket_count {
                let (Some(&bound), Some(&count)) =
                    (self.bounds.get(index), self.buckets.get(index))
                else {
                    break;
                };
                cumulative = cumulative.saturating_add(count);
                if bound.is_infinite() && bound > 0.0 {
                    // +Inf follows anyway.
                    break;
                }
                let series =
                    self.sample(place, Part::Bucket(bound), time_ns, shown(cumulative as f64))?;
                for exemplar in &mut exemplars {
                    if exemplar.value <= bound && (exemplar.value > below || index == 0) {
                        exemplar.series = series;
                    }
                }
                below = bound;
            }
            let last = Part::Bucket(f64::INFINITY);
            let series = self.sample(place, last, time_ns, shown(point.count as f64))?;
            for exemplar in &mut exemplars {
                if exemplar.series == u32::MAX {
                    exemplar.series = series;
                }
            }
            Ok(())
        };
        if let Err(refusal) = write() {
            return Ok(Err(refusal));
        }
        self.batch.exemplars.append(&mut exemplars);
        Ok(Ok(()))
    }

    /// A native histogram with custom buckets.
    fn nhcb(
        &mut self,
        place: Place<'_>,
        point: &Explicit<'_>,
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: self.bounds.clone(),
            reset_hint: self.hint(place),
            ..Histogram::default()
        };
        if point.is_stale {
            (histogram.sum, histogram.count) = (stale_nan(), stale_nan());
        } else {
            let counts = self.buckets.iter().enumerate();
            (histogram.positive_spans, histogram.positive_buckets) =
                layout(counts.map(|(index, count)| (index as i64, *count as f64)));
            histogram.count = point.count as f64;
            histogram.sum = point.sum.unwrap_or(0.0);
        }
        let exemplars = self.exemplars_of(point, 8, time_ns)?;
        Ok(self.native(place, Box::new(histogram), exemplars, time_ns))
    }

    /// An `ExponentialHistogramDataPoint`.
    pub(super) fn exponential(
        &mut self,
        place: Place<'_>,
        bytes: &[u8],
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        let mut histogram = Box::new(Histogram {
            zero_threshold: ZERO_THRESHOLD,
            reset_hint: self.hint(place),
            ..Histogram::default()
        });
        let (mut scale, mut flags) = (0, 0);
        let (mut positive, mut negative): (&[u8], &[u8]) = (&[], &[]);
        let mut point = Explicit { count: 0, sum: None, is_stale: false, exemplars: None };
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, field) => histogram.count = field.number().unwrap_or(0) as f64,
                (5, Field::Fixed64(bits)) => histogram.sum = f64::from_bits(bits),
                (6, Field::Varint(number)) => scale = zigzag32(number),
                (7, field) => histogram.zero_count = field.number().unwrap_or(0) as f64,
                (8, Field::Bytes(buckets)) => positive = buckets,
                (9, Field::Bytes(buckets)) => negative = buckets,
                (10, field) => flags = field.number().unwrap_or(0),
                (11, Field::Bytes(_)) => point.exemplars = Some(bytes),
                _ => {}
            }
        }
        if scale < SCALE_MIN {
            let text = format!(
                "histogram {:?} has scale {scale}; {SCALE_MIN} is the coarsest that is taken",
                place.metric.name
            );
            return Ok(Err((Reason::InvalidHistogram, text)));
        }
        histogram.schema = scale.min(SCALE_MAX);
        let shift = scale.saturating_sub(histogram.schema).min(63) as u32;
        if flags & NO_RECORDED_VALUE != 0 {
            (histogram.sum, histogram.count) = (stale_nan(), stale_nan());
            histogram.zero_count = 0.0;
        } else {
            for (side, is_positive) in [(positive, true), (negative, false)] {
                let (spans, buckets) = match self.side(side, shift)? {
                    Ok(side) => side,
                    Err(why) => return Ok(Err((Reason::InvalidHistogram, why))),
                };
                if is_positive {
                    (histogram.positive_spans, histogram.positive_buckets) = (spans, buckets);
                } else {
                    (histogram.negative_spans, histogram.negative_buckets) = (spans, buckets);
                }
            }
        }
        if place.metric.accumulates(self.options) && flags & NO_RECORDED_VALUE == 0 {
            let key = self.total_key(place);
            match self.ctx.series.deltas().add_exponential(key, time_ns, histogram) {
                Ok(total) => histogram = total,
                Err(_) => return Ok(Err(older_delta(place))),
            }
        }
        let exemplars = self.exemplars_of(&point, 11, time_ns)?;
        Ok(self.native(place, histogram, exemplars, time_ns))
    }

    /// One side of an exponential histogram: spans and buckets, coarser by `shift`.
    #[expect(clippy::type_complexity, reason = "two errors: of the bytes and of the histogram")]
    fn side(
        &mut self,
        bytes: &[u8],
        shift: u32,
    ) -> Result<Result<(Vec<BucketSpan>, Vec<f64>), String>, WireError> {
        let mut offset = 0;
        self.buckets.clear();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Varint(number)) => offset = i64::from(zigzag32(number)),
                (2, Field::Varint(count)) => self.buckets.push(count),
                (2, Field::Bytes(packed)) => {
                    let mut counts = Reader::new(packed);
                    while !counts.is_empty() {
                        self.buckets.push(counts.varint()?);
                    }
                }
                _ => {}
            }
        }
        let end = offset.saturating_add(self.buckets.len() as i64);
        if !self.buckets.is_empty() && (offset < -INDEX_MAX || end > INDEX_MAX) {
            return Ok(Err(format!("buckets from {offset} to {end} are out of range")));
        }
        let mut merged: Vec<(i64, f64)> = Vec::with_capacity(self.buckets.len());
        for (index, count) in (offset..).zip(&self.buckets) {
            let index = (index >> shift).saturating_add(1);
            match merged.last_mut() {
                Some((last, total)) if *last == index => *total += *count as f64,
                _ => merged.push((index, *count as f64)),
            }
        }
        Ok(Ok(layout(merged)))
    }

    fn native(
        &mut self,
        place: Place<'_>,
        histogram: Box<Histogram>,
        mut exemplars: Vec<model::Exemplar>,
        time_ns: i64,
    ) -> Result<(), Refusal> {
        if !model::is_stale(histogram.sum)
            && let Err(why) = check_histogram(&histogram)
        {
            let text = format!("histogram {:?}: {why}", place.metric.name);
            return Err((Reason::InvalidHistogram, text));
        }
        let series = self.series(place, Part::Whole)?;
        self.batch.histograms.push((series, model::ns_to_ms(time_ns), histogram));
        for exemplar in &mut exemplars {
            exemplar.series = series;
        }
        self.batch.exemplars.append(&mut exemplars);
        Ok(())
    }

    /// Deltas that are kept as they are count as gauges, so that no counter reset is looked for.
    fn hint(&self, place: Place<'_>) -> u8 {
        let is_kept = place.metric.temporality == Temporality::Delta
            && !place.metric.accumulates(self.options);
        if is_kept { GAUGE_HINT } else { 0 }
    }

    /// A point's exemplars, repeated under field `wanted`, of no series yet (`u32::MAX`).
    fn exemplars_of(
        &self,
        point: &Explicit<'_>,
        wanted: u32,
        time_ns: i64,
    ) -> Result<Vec<model::Exemplar>, WireError> {
        let mut list = Vec::new();
        let mut reader = Reader::new(point.exemplars.unwrap_or_default());
        while let Some((number, field)) = reader.next_field()? {
            if let (true, Field::Bytes(exemplar)) = (number == wanted, field) {
                list.push(exemplars::read(exemplar, u32::MAX, time_ns)?);
            }
        }
        Ok(list)
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), String> {
    let ascends = |pair: &[f64]| matches!(pair, [low, high] if low < high);
    if bounds.iter().any(|bound| bound.is_nan()) || !bounds.windows(2).all(ascends) {
        return Err("explicit bounds do not ascend".to_owned());
    }
    Ok(())
}

fn hash_bounds(bounds: &[f64]) -> u64 {
    bounds.iter().fold(bounds.len() as u64, |hash, bound| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&hash.to_le_bytes());
        bytes[8..].copy_from_slice(&bound.to_bits().to_le_bytes());
        xxh3_64(&bytes)
    })
}

/// A repeated `fixed64`, packed or not.
fn read_fixed(out: &mut Vec<u64>, field: Field<'_>) -> Result<(), WireError> {
    match field {
        Field::Fixed64(number) => out.push(number),
        Field::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                let offset = packed.len().saturating_sub(rest.len());
                return Err(WireError { offset, what: "a list of counts is cut short" });
            }
            out.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
        }
        _ => {}
    }
    Ok(())
}
