//! Aggregations that pick elements of a group, and `count_values`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::Labels;

use super::super::ast::{Aggregate, AggregateOp, Expr, Kind};
use super::super::error::QueryError;
use super::super::labels::{key, with};
use super::super::text::{go_g, quoted_bytes};
use super::super::value::{Cell, Row};
use super::aggregate::Groups;
use super::{Evaluator, Sink};
use crate::http::respond::push_float;
use crate::kernels::{ABSENT, Steps, is_absent};

impl Evaluator<'_> {
    /// `topk`, `bottomk`, `limitk` and `limit_ratio`.
    pub(super) fn select_of_groups(
        &self,
        expr: &Expr,
        aggregate: &Aggregate,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let mut params = self.scalar(param, steps)?;
        self.check_k(aggregate.op, param, &mut params)?;
        let rows = self.collect(&aggregate.expr, steps)?;
        let is_top = matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk);
        if is_top && rows.iter().any(|row| row.histograms.iter().any(Option::is_some)) {
            let message = format!("ignored histogram in {} aggregation", aggregate.op.as_str());
            self.notes.info(expr.start, message);
        }
        let mut groups = Groups::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let (place, new) = groups.of(aggregate, row);
            if new.is_some() {
                members.push(Vec::new());
            }
            members[place].push(index);
        }
        let mut kept: Vec<Vec<bool>> = vec![Vec::new(); rows.len()];
        let mut order: Vec<usize> = Vec::new();
        for group in &members {
            for (step, &k) in params.iter().enumerate() {
                for &index in &picked(aggregate.op, k, group, &rows, step) {
                    if kept[index].is_empty() {
                        kept[index] = vec![false; steps.count()];
                        order.push(index);
                    }
                    kept[index][step] = true;
                }
            }
        }
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        for index in order {
            let Some(mut row) = rows[index].take() else { continue };
            for (step, &keep) in kept[index].iter().enumerate() {
                if !keep {
                    row.set(step, None);
                }
            }
            sink(row)?;
        }
        Ok(())
    }

    fn check_k(&self, op: AggregateOp, param: &Expr, params: &mut [f64]) -> Result<(), QueryError> {
        for value in params {
            if op == AggregateOp::LimitRatio {
                if value.is_nan() {
                    return Err(QueryError::execution("Ratio value is NaN"));
                }
                let capped = value.clamp(-1.0, 1.0);
                if capped.to_bits() != value.to_bits() {
                    let message = format!(
                        "ratio value should be between -1 and 1, got {}, capping to {}",
                        go_g(*value),
                        go_g(capped)
                    );
                    self.notes.warn(param.start, message);
                    *value = capped;
                }
            } else if value.is_nan() {
                return Err(QueryError::execution("Parameter value is NaN"));
            } else if *value <= i64::MIN as f64 {
                let message = format!("Scalar value {} underflows int64", go_g(*value));
                return Err(QueryError::execution(message));
            } else if *value >= i64::MAX as f64 {
                let message = format!("Scalar value {} overflows int64", go_g(*value));
                return Err(QueryError::execution(message));
            }
        }
        Ok(())
    }

    pub(super) fn count_values(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let Kind::Text(name) = &param.bare().kind else { return Ok(()) };
        let Some(label) = str::from_utf8(name).ok().filter(|name| !name.is_empty()) else {
            let message = format!("invalid label name {}", quoted_bytes(name));
            return Err(QueryError::execution(message));
        };
        // Under `by`, the new label belongs to the group whether it was named or not.
        let mut places: HashMap<Labels, usize, RandomState> = HashMap::default();
        let mut out: Vec<Row> = Vec::new();
        self.rows(&aggregate.expr, steps, &mut |row| {
            let group = key(&row.labels, &aggregate.grouping, !aggregate.without);
            for step in 0..row.floats.len() {
                let text = match row.cell(step) {
                    None => continue,
                    Some(Cell::Float(value)) => {
                        let mut text = String::new();
                        push_plain(&mut text, value);
                        text
                    }
                    Some(Cell::Histogram(histogram)) => {
                        super::super::histogram::describe(&histogram)
                    }
                };
                let labels = with(&group, label, &text);
                let next = out.len();
                let place = *places.entry(labels.clone()).or_insert(next);
                if place == next {
                    out.push(Row::absent(labels, steps.count()));
                }
                let count = &mut out[place].floats[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
            Ok(())
        })?;
        out.into_iter().try_for_each(sink)
    }
}

/// Go's `'f'` with shortest digits: never an exponent.
fn push_plain(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(&format!("{value}"));
    } else {
        push_float(out, value);
    }
}

/// Indices of the elements of a group that stay at a step, best first.
fn picked(op: AggregateOp, k: f64, group: &[usize], rows: &[Row], step: usize) -> Vec<usize> {
    let count = if k >= 1.0 { k as usize } else { 0 };
    match op {
        AggregateOp::Limitk => {
            group.iter().copied().filter(|&index| rows[index].has(step)).take(count).collect()
        }
        AggregateOp::LimitRatio => group
            .iter()
            .copied()
            .filter(|&index| rows[index].has(step) && in_ratio(&rows[index].labels, k))
            .collect(),
        _ => {
            let value = |index: usize| rows[index].floats.get(step).copied().unwrap_or(ABSENT);
            let mut order: Vec<usize> =
                group.iter().copied().filter(|&index| !is_absent(value(index))).collect();
            let is_top = op == AggregateOp::Topk;
            order.sort_by(|&a, &b| {
                let (a, b) = (value(a), value(b));
                a.is_nan().cmp(&b.is_nan()).then_with(|| {
                    let order = a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal);
                    if is_top { order.reverse() } else { order }
                })
            });
            order.truncate(count);
            order
        }
    }
}

/// Whether an element is in the share of `ratio`; a negative ratio takes the others.
fn in_ratio(labels: &Labels, ratio: f64) -> bool {
    let place = (labels.id().0 >> 64) as u64 as f64 / u64::MAX as f64;
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}
