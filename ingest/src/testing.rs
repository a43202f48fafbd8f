//! What the tests of several protocols share: a context to decode in, histogram literals.

use bytes::Bytes;
use model::{Batch, Histogram, Limits, MetricsBatch, Rejections, TenantId};

use crate::decoder::{DecodeContext, DecodeError};
use crate::otlp::metrics::TranslationOptions;
use crate::raw_cache::StreamCache;
use crate::series_cache::SeriesCache;

#[path = "../../tests/support/remote_write_cases.rs"]
pub(crate) mod remote_write_cases;

pub(crate) use remote_write_cases::folder as conformance_folder;

/// A decoder's surroundings.
pub(crate) struct Bench {
    pub(crate) tenant: TenantId,
    pub(crate) limits: Limits,
    pub(crate) received_ns: i64,
    pub(crate) series: SeriesCache,
    pub(crate) streams: StreamCache,
}

type Decode = fn(Bytes, &DecodeContext<'_>) -> Result<(Batch, Rejections), DecodeError>;

impl Bench {
    pub(crate) fn new(translation: TranslationOptions) -> Bench {
        Bench {
            tenant: TenantId::default(),
            limits: Limits::default(),
            received_ns: 1_800_000_000 * model::NS_PER_S,
            series: SeriesCache::new(translation),
            streams: StreamCache::new(1000),
        }
    }

    pub(crate) fn decode(
        &self,
        decode: Decode,
        body: &[u8],
    ) -> Result<(Batch, Rejections), DecodeError> {
        let ctx = DecodeContext {
            tenant: &self.tenant,
            limits: &self.limits,
            received_ns: self.received_ns,
            series: &self.series,
            streams: &self.streams,
        };
        decode(Bytes::copy_from_slice(body), &ctx)
    }

    pub(crate) fn metrics(&self, decode: Decode, body: &[u8]) -> (MetricsBatch, Rejections) {
        match self.decode(decode, body).unwrap() {
            (Batch::Metrics(batch), rejections) => (batch, rejections),
            other => panic!("no metrics: {other:?}"),
        }
    }
}

/// A histogram literal's fields with what does not matter taken out, so that two can be compared.
pub(crate) fn literal_fields(literal: &str) -> Vec<(String, Vec<f64>)> {
    let inner = literal.trim_start_matches('{').trim_end_matches('}');
    let mut fields = Vec::new();
    let mut rest = inner.trim();
    while let Some((name, after)) = rest.split_once(':') {
        let end = match after.strip_prefix('[') {
            Some(list) => list.find(']').unwrap() + 2,
            None => after.find(' ').unwrap_or(after.len()),
        };
        let words =
            after[..end].trim_matches(['[', ']']).split(' ').filter(|word| !word.is_empty());
        let values: Vec<f64> = words
            .map(|word| match word {
                "gauge" => 3.0,
                "reset" => 1.0,
                "not_reset" => 2.0,
                number => number.parse().unwrap(),
            })
            .collect();
        fields.push((name.trim().to_owned(), values));
        rest = after[end..].trim_start();
    }
    fields.retain(|(name, values)| name != "schema" || values != &[0.0]);
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// The same of a histogram.
pub(crate) fn histogram_fields(histogram: &Histogram) -> Vec<(String, Vec<f64>)> {
    let mut fields = vec![("count".to_owned(), vec![histogram.count])];
    let mut add = |name: &str, values: Vec<f64>, when: bool| {
        if when {
            fields.push((name.to_owned(), values));
        }
    };
    add("schema", vec![f64::from(histogram.schema)], histogram.schema != 0);
    add("sum", vec![histogram.sum], true);
    add("z_bucket", vec![histogram.zero_count], histogram.zero_count != 0.0);
    add("z_bucket_w", vec![histogram.zero_threshold], histogram.zero_threshold != 0.0);
    add("counter_reset_hint", vec![f64::from(histogram.reset_hint)], histogram.reset_hint != 0);
    add("custom_values", histogram.custom_values.clone(), !histogram.custom_values.is_empty());
    for (prefix, spans, buckets) in [
        ("", &histogram.positive_spans, &histogram.positive_buckets),
        ("n_", &histogram.negative_spans, &histogram.negative_buckets),
    ] {
        let offset = spans.first().map_or(0, |span| span.offset);
        add(&format!("{prefix}offset"), vec![f64::from(offset)], offset != 0);
        let mut flat = Vec::new();
        let mut counts = buckets.iter();
        for (index, span) in spans.iter().enumerate() {
            if index > 0 {
                flat.extend(std::iter::repeat_n(0.0, span.offset as usize));
            }
            flat.extend(counts.by_ref().take(span.length as usize));
        }
        let has_buckets = !flat.is_empty();
        add(&format!("{prefix}buckets"), flat, has_buckets);
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}
