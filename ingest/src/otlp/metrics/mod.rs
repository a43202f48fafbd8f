//! OTLP metrics, translated to Prometheus series.
//!
//! One pass over the protobuf. The key of a series is folded from the bytes of resource, scope,
//! metric header and point attributes and from the suffix, so a warm point parses nothing but its
//! numbers; names and labels are built on a cache miss. What is wrong with a point or a metric is a
//! rejection; only bytes that are no protobuf fail the request.
//! Source: opentelemetry-proto `metrics/v1/metrics.proto`; Prometheus 3.14
//! `storage/remote/otlptranslator/prometheusremotewrite`.
//!
//! Start timestamps are read and used for nothing yet: [`model::Sample`] has no room for them.

mod attributes;
mod delta;
mod exemplars;
mod histograms;
mod labels;
mod metric;
mod names;
mod numbers;
mod options;
mod target;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use model::wire::{Field, Reader, WireError};
use model::{AttributesRef, Batch, MetricsBatch, Reason, Rejections, Sample};
use xxhash_rust::xxh3::xxh3_128;

use crate::checks::{TimeWindow, check_limits};
use crate::decoder::{DecodeContext, DecodeError};
use crate::series_cache::{Follower, Refusal, mix};

pub(crate) use delta::DeltaTable;
pub use options::{DeltaMode, Promote, Strategy, TranslationOptions};

use labels::{Context, Names, ScopeRef};
use metric::{Data, Metric};
use target::Span;

/// Decodes an `ExportMetricsServiceRequest` (decompressed).
///
/// Errors: Undecodable where the bytes are no such message.
pub(crate) fn decode(
    body: Bytes,
    ctx: &DecodeContext<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    let mut translator = Translator {
        ctx,
        options: ctx.series.translation(),
        batch: MetricsBatch::default(),
        rejections: Rejections::default(),
        window: TimeWindow::of(ctx),
        series: ctx.series.follow(ctx.tenant),
        buckets: Vec::new(),
        bounds: Vec::new(),
    };
    match translator.request(&body) {
        Ok(()) => Ok((Batch::Metrics(translator.batch), translator.rejections)),
        Err(error) => Err(DecodeError::Undecodable(format!("OTLP metrics: {error}"))),
    }
}

/// The state of one request.
struct Translator<'a> {
    ctx: &'a DecodeContext<'a>,
    options: &'a TranslationOptions,
    batch: MetricsBatch,
    rejections: Rejections,
    window: TimeWindow,
    series: Follower<'a>,
    /// Counts and bounds of the histogram being read.
    buckets: Vec<u64>,
    bounds: Vec<f64>,
}

/// Which of a point's series is meant.
#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    Sum,
    Count,
    Bucket(f64),
    Quantile(f64),
}

impl Part {
    fn key(self, point: u128) -> u128 {
        match self {
            Part::Whole => point,
            Part::Sum => mix(point, 1),
            Part::Count => mix(point, 2),
            Part::Bucket(bound) => mix(point, 3 | u128::from(bound.to_bits()) << 64),
            Part::Quantile(quantile) => mix(point, 4 | u128::from(quantile.to_bits()) << 64),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Part::Whole | Part::Quantile(_) => "",
            Part::Sum => "_sum",
            Part::Count => "_count",
            Part::Bucket(_) => "_bucket",
        }
    }

    fn extra(self) -> Option<(&'static str, String)> {
        match self {
            Part::Bucket(bound) => Some(("le", labels::plain_number(bound))),
            Part::Quantile(quantile) => Some(("quantile", labels::plain_number(quantile))),
            Part::Whole | Part::Sum | Part::Count => None,
        }
    }
}

/// Where a point belongs: what its series' labels are made of.
#[derive(Clone, Copy)]
struct Place<'a> {
    metric: &'a Metric<'a>,
    context: Context<'a>,
    attributes: AttributesRef<'a>,
    /// Folded of all that is above.
    key: u128,
}

/// Lengths of a batch, to go back to when a point fails half way.
struct Mark {
    samples: usize,
    series: usize,
    exemplars: usize,
}

impl Translator<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(body);
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(resource_metrics)) = (number, field) {
                self.resource_metrics(resource_metrics)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut resource: &[u8] = &[];
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(message)) = (number, field) {
                resource = message;
            }
        }
        let key = xxh3_128(resource);
        let resource = AttributesRef { bytes: resource, field: 1 };
        let mut span = Span::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            if let (2, Field::Bytes(scope_metrics)) = (number, field) {
                self.scope_metrics(scope_metrics, resource, key, &mut span)?;
            }
        }
        self.target_info(resource, key, span);
        Ok(())
    }

    fn scope_metrics(
        &mut self,
        bytes: &[u8],
        resource: AttributesRef<'_>,
        resource_key: u128,
        span: &mut Span,
    ) -> Result<(), WireError> {
        let (mut scope, mut schema_url): (&[u8], &[u8]) = (&[], &[]);
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(message)) => scope = message,
                (3, Field::Bytes(url)) => schema_url = url,
                _ => {}
            }
        }
        let mut key = resource_key;
        if self.options.scope_labels {
            key = mix(mix(key, xxh3_128(scope)), xxh3_128(schema_url));
        }
        let context = Context { resource, scope: scope_of(scope, schema_url)? };
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            if let (2, Field::Bytes(metric)) = (number, field) {
                self.metric(metric, context, key, span)?;
            }
        }
        Ok(())
    }

    fn metric(
        &mut self,
        bytes: &[u8],
        context: Context<'_>,
        key: u128,
        span: &mut Span,
    ) -> Result<(), WireError> {
        let metric = Metric::read(bytes, key)?;
        let Data::Points(points) = metric.data else {
            self.rejections.add(Reason::InvalidRecord, 0, || {
                format!("metric {:?} has no data of a kind known here", metric.name)
            });
            return Ok(());
        };
        let refused = metric.refusal(self.options);
        let mut taken = false;
        let mut reader = Reader::new(points);
        while let Some((number, field)) = reader.next_field()? {
            let (1, Field::Bytes(point)) = (number, field) else { continue };
            let time_ns = self.time_of(point)?;
            span.add(time_ns);
            if let Some((reason, example)) = &refused {
                self.rejections.add(*reason, 1, || example.clone());
                continue;
            }
            taken |= self.point(&metric, context, point, time_ns)?;
        }
        if taken {
            self.metadata(&metric);
        }
        Ok(())
    }

    /// A point's time, which is the time of arrival where none was sent. Units: ns.
    fn time_of(&self, point: &[u8]) -> Result<i64, WireError> {
        let mut time = 0;
        let mut reader = Reader::new(point);
        while let Some((number, field)) = reader.next_field()? {
            // Field 3 is the time in all five kinds of points.
            if let (3, Field::Fixed64(ns)) = (number, field) {
                time = ns;
                break;
            }
        }
        Ok(if time == 0 { self.ctx.received_ns } else { i64::try_from(time).unwrap_or(i64::MAX) })
    }

    /// Takes one point. Returns whether it did; a refusal is counted.
    fn point(
        &mut self,
        metric: &Metric<'_>,
        context: Context<'_>,
        bytes: &[u8],
        time_ns: i64,
    ) -> Result<bool, WireError> {
        if !self.window.takes(model::ns_to_ms(time_ns), &mut self.rejections, self.ctx.limits) {
            return Ok(false);
        }
        let run = attributes::run(bytes, metric.shape.attributes_field())?;
        let place = Place {
            metric,
            context,
            attributes: AttributesRef { bytes: &run, field: metric.shape.attributes_field() },
            key: mix(metric.key, xxh3_128(&run)),
        };
        let mark = Mark {
            samples: self.batch.samples.len(),
            series: self.batch.series.len(),
            exemplars: self.batch.exemplars.len(),
        };
        let done = match metric.shape {
            metric::Shape::Number => self.number(place, bytes, time_ns)?,
            metric::Shape::Explicit => self.explicit(place, bytes, time_ns)?,
            metric::Shape::Exponential => self.exponential(place, bytes, time_ns)?,
            metric::Shape::Summary => self.summary(place, bytes, time_ns)?,
        };
        let Err((reason, example)) = done else { return Ok(true) };
        self.batch.samples.truncate(mark.samples);
        self.batch.series.truncate(mark.series);
        self.batch.exemplars.truncate(mark.exemplars);
        self.rejections.add(reason, 1, || example);
        Ok(false)
    }

    /// The batch's index of one of a point's series.
    #[inline]
    fn series(&mut self, place: Place<'_>, part: Part) -> Result<u32, Refusal> {
        let ctx = self.ctx;
        let options = self.options;
        let make = || {
            attributes::check(place.attributes, ctx.limits)?;
            attributes::check(place.context.resource, ctx.limits)?;
            let family = place.metric.family(options)?;
            let name = format!("{}{}", family.name, part.suffix());
            let extra = part.extra();
            let names = Names {
                metric: &name,
                kind: place.metric.kind(options).as_str(),
                unit: &family.unit,
                extra: extra.as_ref().map(|(name, value)| (*name, value.as_str())),
            };
            let labels = labels::of_point(place.context, place.attributes, names, options)?;
            check_limits(&labels, ctx.limits)?;
            Ok(labels)
        };
        let series = self.series.get_or_make(part.key(place.key), make)?;
        self.batch.series.push(series);
        Ok((self.batch.series.len() as u32).wrapping_sub(1))
    }

    /// Adds one sample of one of a point's series; returns the series' index.
    #[inline]
    fn sample(
        &mut self,
        place: Place<'_>,
        part: Part,
        time_ns: i64,
        value: f64,
    ) -> Result<u32, Refusal> {
        let series = self.series(place, part)?;
        self.batch.samples.push(Sample { series, time_ms: model::ns_to_ms(time_ns), value });
        Ok(series)
    }

    fn metadata(&mut self, metric: &Metric<'_>) {
        let ctx = self.ctx;
        if ctx.series.metadata_is_due(ctx.tenant, metric.header_key, ctx.received_ns)
            && let Ok(metadata) = metric.metadata(self.options)
        {
            self.batch.metadata.push(metadata);
        }
    }
}

fn scope_of<'a>(scope: &'a [u8], schema_url: &'a [u8]) -> Result<ScopeRef<'a>, WireError> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
    let mut made = ScopeRef {
        name: "",
        version: "",
        schema_url: text(schema_url),
        attributes: AttributesRef { bytes: scope, field: 3 },
    };
    let mut reader = Reader::new(scope);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(name)) => made.name = text(name),
            (2, Field::Bytes(version)) => made.version = text(version),
            _ => {}
        }
    }
    Ok(made)
}
