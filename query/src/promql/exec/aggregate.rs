//! Aggregations that fold a group into one value: rows are folded as they come, and only the
//! groups are held.
//! Source: Prometheus `promql/engine.go`, `aggregation` (3.14).

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::{Histogram, Labels};

use super::super::ast::{Aggregate, AggregateOp, Expr};
use super::super::error::QueryError;
use super::super::histogram::{
    self, Collision, HistogramMean, HistogramSum, Incompatible, Operation,
};
use super::super::labels::key;
use super::super::text::quoted;
use super::super::value::{Cell, Row};
use super::{Evaluator, Sink};
use crate::kernels::{ABSENT, Kahan, Mean, Steps, is_absent, quantile};

/// What a [`Fold`] takes of memory, in samples of 16 bytes.
const SAMPLES_OF_FOLD: usize = size_of::<Fold>() / 16;

/// Groups by labels, in order of first appearance.
pub(super) struct Groups {
    places: HashMap<Labels, usize, RandomState>,
}

impl Groups {
    pub(super) fn new() -> Groups {
        Groups { places: HashMap::default() }
    }

    /// The group of a row, and its labels where it is new.
    pub(super) fn of(&mut self, aggregate: &Aggregate, row: &Row) -> (usize, Option<Labels>) {
        let key = key(&row.labels, &aggregate.grouping, !aggregate.without);
        if let Some(&place) = self.places.get(&key) {
            return (place, None);
        }
        let place = self.places.len();
        self.places.insert(key.clone(), place);
        (place, Some(key))
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &self,
        expr: &Expr,
        aggregate: &Aggregate,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.select_of_groups(expr, aggregate, steps, sink),
            AggregateOp::CountValues => self.count_values(aggregate, steps, sink),
            AggregateOp::Quantile => self.quantiles(aggregate, steps, sink),
            _ => self.fold(aggregate, steps, sink),
        }
    }

    fn fold(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let count = steps.count();
        let mut groups = Groups::new();
        let mut folds: Vec<(Labels, bool, Vec<Fold>)> = Vec::new();
        self.rows(&aggregate.expr, steps, &mut |row| {
            let (place, new) = groups.of(aggregate, &row);
            if let Some(labels) = new {
                self.budget.take_samples((count * SAMPLES_OF_FOLD) as u64)?;
                self.budget.take_memory(count * size_of::<Fold>())?;
                folds.push((labels, false, vec![Fold::default(); count]));
            }
            let (_, drop_name, cells) = &mut folds[place];
            *drop_name = *drop_name || row.drop_name;
            for (step, fold) in cells.iter_mut().enumerate() {
                let value = row.floats[step];
                if !is_absent(value) {
                    fold.float(aggregate.op, value);
                } else if let Some(histogram) = row.histogram(step) {
                    self.fold_histogram(aggregate, fold, histogram, &row.labels);
                }
            }
            Ok(())
        })?;
        for (labels, drop_name, cells) in folds {
            let mut row = Row::absent(labels, count);
            row.drop_name = drop_name;
            for (step, fold) in cells.into_iter().enumerate() {
                if fold.count > 0.0 {
                    row.set(step, self.folded(aggregate, fold));
                }
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    fn fold_histogram(
        &self,
        aggregate: &Aggregate,
        fold: &mut Fold,
        histogram: &Histogram,
        labels: &Labels,
    ) {
        let at = aggregate.expr.start;
        match aggregate.op {
            AggregateOp::Count | AggregateOp::Group => fold.count += 1.0,
            AggregateOp::Sum | AggregateOp::Avg => {
                fold.count += 1.0;
                let state = fold.histograms.get_or_insert_with(Box::default);
                match histogram.reset_hint {
                    histogram::RESET => state.reset_seen = true,
                    histogram::NOT_RESET => state.no_reset_seen = true,
                    _ => {}
                }
                let Some(sum) = &mut state.sum else {
                    state.sum = Some(Total::new(histogram, aggregate.op == AggregateOp::Avg));
                    return;
                };
                if state.is_incompatible {
                    return;
                }
                match sum.add(histogram) {
                    Ok(collision) => {
                        let collision = Collision { resets: false, ..collision };
                        self.note_collision(collision, Operation::Aggregate, at);
                    }
                    Err(Incompatible) => {
                        state.is_incompatible = true;
                        self.note_mixed_schemas(labels.metric_name(), at);
                    }
                }
            }
            op => {
                let message = format!("ignored histogram in {} aggregation", op.as_str());
                self.notes.info(at, message);
            }
        }
    }

    pub(super) fn note_mixed_schemas(&self, name: &str, at: usize) {
        let message = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for \
             metric name {}",
            quoted(name)
        );
        self.notes.warn(at, message);
    }

    fn folded(&self, aggregate: &Aggregate, fold: Fold) -> Option<Cell> {
        let Some(state) = fold.histograms else {
            return Some(Cell::Float(fold.value(aggregate.op)));
        };
        let at = aggregate.expr.start;
        if fold.floats > 0.0 {
            self.notes.warn(at, "encountered a mix of histograms and floats for aggregation");
            return None;
        }
        if state.is_incompatible {
            return None;
        }
        if state.reset_seen && state.no_reset_seen {
            let collision = Collision { resets: true, bounds: false };
            self.note_collision(collision, Operation::Aggregate, at);
        }
        let sum = state.sum?.finish();
        Some(Cell::Histogram(std::sync::Arc::new(histogram::compacted(sum))))
    }

    fn quantiles(
        &self,
        aggregate: &Aggregate,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let params = self.scalar(param, steps)?;
        for &q in &params {
            self.check_quantile(q, param.start);
        }
        let mut groups = Groups::new();
        let mut members: Vec<(Labels, bool, Vec<Vec<f64>>)> = Vec::new();
        self.rows(&aggregate.expr, steps, &mut |row| {
            let (place, new) = groups.of(aggregate, &row);
            if let Some(labels) = new {
                members.push((labels, false, Vec::new()));
            }
            self.budget.take_samples(row.floats.len() as u64)?;
            self.budget.take_memory(size_of_val(row.floats.as_slice()))?;
            if row.histograms.iter().any(Option::is_some) {
                let message = "ignored histogram in quantile aggregation";
                self.notes.info(aggregate.expr.start, message);
            }
            members[place].1 |= row.drop_name;
            members[place].2.push(row.floats);
            Ok(())
        })?;
        let mut values = Vec::new();
        for (labels, drop_name, rows) in members {
            let mut row = Row::absent(labels, steps.count());
            row.drop_name = drop_name;
            for (step, &q) in params.iter().enumerate() {
                values.clear();
                values.extend(rows.iter().map(|row| row[step]).filter(|&value| !is_absent(value)));
                if !values.is_empty() {
                    row.floats[step] = quantile(q, &mut values);
                }
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }
}

/// A sum or a mean of histograms.
#[derive(Debug, Clone)]
pub(super) enum Total {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl Total {
    pub(super) fn new(first: &Histogram, averages: bool) -> Total {
        if averages {
            Total::Mean(HistogramMean::new(first))
        } else {
            Total::Sum(HistogramSum::new(first))
        }
    }

    pub(super) fn add(&mut self, other: &Histogram) -> Result<Collision, Incompatible> {
        match self {
            Total::Sum(sum) => sum.add(other),
            Total::Mean(mean) => mean.add(other),
        }
    }

    pub(super) fn finish(self) -> Histogram {
        match self {
            Total::Sum(sum) => sum.finish(),
            Total::Mean(mean) => mean.finish(),
        }
    }
}

/// One group at one step.
#[derive(Debug, Clone, Default)]
struct Fold {
    /// Members, of both kinds.
    count: f64,
    floats: f64,
    sum: Kahan,
    mean: Mean,
    /// Running mean and squares for the variance; minimum or maximum in `extreme`.
    running: f64,
    squares: f64,
    extreme: f64,
    histograms: Option<Box<HistogramFold>>,
}

#[derive(Debug, Clone, Default)]
struct HistogramFold {
    sum: Option<Total>,
    is_incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

impl Fold {
    #[inline]
    fn float(&mut self, op: AggregateOp, value: f64) {
        self.count += 1.0;
        self.floats += 1.0;
        match op {
            AggregateOp::Sum if self.floats == 1.0 => self.sum = Kahan::new(value),
            AggregateOp::Sum => self.sum.add(value),
            AggregateOp::Avg => self.mean.add(value),
            AggregateOp::Min | AggregateOp::Max => {
                let wins = if op == AggregateOp::Min {
                    self.extreme > value
                } else {
                    self.extreme < value
                };
                if self.floats == 1.0 || wins || self.extreme.is_nan() {
                    self.extreme = value;
                }
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                if self.floats == 1.0 {
                    self.running = value;
                    self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
                } else {
                    let delta = value - self.running;
                    self.running += delta / self.floats;
                    self.squares += delta * (value - self.running);
                }
            }
            _ => {}
        }
    }

    fn value(&self, op: AggregateOp) -> f64 {
        match op {
            AggregateOp::Sum => self.sum.sum + self.sum.rest,
            AggregateOp::Avg => self.mean.value(),
            AggregateOp::Min | AggregateOp::Max => self.extreme,
            AggregateOp::Count => self.count,
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => self.squares / self.floats,
            AggregateOp::Stddev => (self.squares / self.floats).sqrt(),
            _ => ABSENT,
        }
    }
}
