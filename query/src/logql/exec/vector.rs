//! Aggregations over the series of each step.

use std::collections::BTreeMap;

use super::super::ast::{Grouping, RangeAggregation, RangeOp, VectorAggregation, VectorOp};
use super::{Series, SeriesLabels, absent_row, is_empty};
use crate::kernels::{ABSENT, Mean, Variance, is_absent};

/// Whether the range aggregation inside may drop labels at once: sums of sums are the same.
pub(super) fn takes_grouping(op: VectorOp, range: &RangeAggregation) -> bool {
    op == VectorOp::Sum
        && range.grouping.is_none()
        && matches!(
            range.op,
            RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum | RangeOp::Rate | RangeOp::Count
        )
}

/// Aggregates series that share the labels of the grouping.
pub(super) fn aggregate(
    vector: &VectorAggregation,
    series: Vec<Series>,
    steps: usize,
) -> Vec<Series> {
    if matches!(vector.op, VectorOp::Sort | VectorOp::SortDesc) {
        return sorted(series, vector.op);
    }
    let mut groups: BTreeMap<SeriesLabels, Vec<usize>> = BTreeMap::new();
    for (at, one) in series.iter().enumerate() {
        groups.entry(grouped(&one.labels, &vector.grouping)).or_default().push(at);
    }
    if vector.op.takes_count() {
        return ranked(vector, series, groups, steps);
    }
    let mut out = Vec::with_capacity(groups.len());
    for (labels, members) in groups {
        let mut values = Vec::with_capacity(steps);
        for step in 0..steps {
            let found = members
                .iter()
                .filter_map(|&at| series[at].values.get(step).copied())
                .filter(|value| !is_absent(*value));
            values.push(fold(vector.op, found));
        }
        if !is_empty(&values) {
            out.push(Series { labels, values });
        }
    }
    out
}

fn grouped(labels: &SeriesLabels, grouping: &Grouping) -> SeriesLabels {
    let named = |name: &String| grouping.names.contains(name);
    labels.iter().filter(|(name, _)| named(name) != grouping.without).cloned().collect()
}

fn fold(op: VectorOp, mut values: impl Iterator<Item = f64>) -> f64 {
    let Some(first) = values.next() else { return ABSENT };
    match op {
        VectorOp::Sum => values.fold(first, |sum, value| sum + value),
        VectorOp::Count => 1.0 + values.count() as f64,
        VectorOp::Min => {
            values.fold(first, |min, value| if value < min || min.is_nan() { value } else { min })
        }
        VectorOp::Max => {
            values.fold(first, |max, value| if value > max || max.is_nan() { value } else { max })
        }
        VectorOp::Avg => {
            let mut mean = Mean::default();
            mean.add(first);
            values.for_each(|value| mean.add(value));
            mean.value()
        }
        _ => {
            let mut variance = Variance::default();
            variance.add(first);
            values.for_each(|value| variance.add(value));
            if op == VectorOp::Stddev { variance.value().sqrt() } else { variance.value() }
        }
    }
}

/// `topk` and `bottomk`: the series stay, with values at those steps where they are among the first.
fn ranked(
    vector: &VectorAggregation,
    series: Vec<Series>,
    groups: BTreeMap<SeriesLabels, Vec<usize>>,
    steps: usize,
) -> Vec<Series> {
    let mut kept: Vec<Vec<f64>> = series.iter().map(|_| absent_row(steps)).collect();
    let descending = vector.op != VectorOp::Bottomk;
    let mut rank: Vec<(f64, usize)> = Vec::new();
    for members in groups.values() {
        for step in 0..steps {
            rank.clear();
            for &at in members {
                if let Some(&value) = series[at].values.get(step)
                    && !is_absent(value)
                {
                    rank.push((value, at));
                }
            }
            rank.sort_by(|a, b| order(a.0, b.0, descending));
            for &(value, at) in rank.iter().take(vector.count) {
                if let Some(slot) = kept.get_mut(at).and_then(|row| row.get_mut(step)) {
                    *slot = value;
                }
            }
        }
    }
    let mut out: Vec<Series> = series
        .into_iter()
        .zip(kept)
        .map(|(one, values)| Series { labels: one.labels, values })
        .filter(|one| !is_empty(&one.values))
        .collect();
    if steps == 1 {
        out.sort_by(|a, b| order(a.values[0], b.values[0], descending));
    }
    out
}

/// NaN comes last in either direction.
fn order(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
        (a_nan, b_nan) => a_nan.cmp(&b_nan),
    }
}

/// Order means something in an instant query alone.
fn sorted(mut series: Vec<Series>, op: VectorOp) -> Vec<Series> {
    if series.iter().all(|one| one.values.len() == 1) {
        series.sort_by(|a, b| order(a.values[0], b.values[0], op == VectorOp::SortDesc));
    }
    series
}
