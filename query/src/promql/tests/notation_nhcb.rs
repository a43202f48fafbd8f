//! Classic histogram series assembled into native ones with custom buckets, for `load_with_nhcb`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram, Labels, METRIC_NAME};

use super::super::labels::{filtered, with};
use super::notation::Item;

#[derive(Default)]
struct Parts<'i> {
    buckets: Vec<(f64, &'i [Item])>,
    count: Option<&'i [Item]>,
    sum: Option<&'i [Item]>,
}

/// One native series for each label set with buckets.
pub(super) fn assemble(loaded: &[(Labels, Vec<Item>)]) -> Vec<(Labels, Vec<Item>)> {
    let mut sets: BTreeMap<Labels, Parts<'_>> = BTreeMap::new();
    for (labels, items) in loaded {
        let name = labels.metric_name();
        let base = |suffix: &str| {
            let name = name.strip_suffix(suffix)?;
            Some(with(&filtered(labels, |label| label != "le"), METRIC_NAME, name))
        };
        if let (Some(key), Some(le)) = (base("_bucket"), labels.get("le")) {
            let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            sets.entry(key).or_default().buckets.push((bound, items));
        } else if let Some(key) = base("_count") {
            sets.entry(key).or_default().count = Some(items);
        } else if let Some(key) = base("_sum") {
            sets.entry(key).or_default().sum = Some(items);
        }
    }
    let mut out = Vec::new();
    for (labels, mut parts) in sets {
        parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        if parts.buckets.is_empty() {
            continue;
        }
        let length = parts.buckets.iter().map(|(_, items)| items.len()).max().unwrap_or(0);
        let items = (0..length).map(|index| at(&parts, index)).collect();
        out.push((labels, items));
    }
    out
}

fn float(items: &[Item], index: usize) -> Option<f64> {
    match items.get(index) {
        Some(Item::Float(value)) => Some(*value),
        _ => None,
    }
}

fn at(parts: &Parts<'_>, index: usize) -> Item {
    let mut histogram =
        Histogram { schema: CUSTOM_BUCKETS_SCHEMA, is_float: true, ..Histogram::default() };
    let mut before = 0.0;
    for (bound, items) in &parts.buckets {
        let Some(count) = float(items, index) else { continue };
        if bound.is_finite() {
            histogram.custom_values.push(*bound);
        }
        histogram.positive_buckets.push(count - before);
        before = count;
    }
    if histogram.positive_buckets.is_empty() {
        return Item::Gap;
    }
    if histogram.positive_buckets.len() == histogram.custom_values.len() {
        histogram.positive_buckets.push(0.0);
    }
    let length = histogram.positive_buckets.len() as u32;
    histogram.positive_spans = vec![BucketSpan { offset: 0, length }];
    histogram.count = parts.count.and_then(|items| float(items, index)).unwrap_or(before);
    histogram.sum = parts.sum.and_then(|items| float(items, index)).unwrap_or(0.0);
    Item::Histogram(Arc::new(histogram))
}
