//! Evaluation. Every node hands its rows to a sink one by one, so that a chain of selector,
//! function and aggregation holds one series at a time; only what must see all rows collects them.

mod aggregate;
mod binary;
mod call;
mod extended;
mod histogram_call;
mod info;
mod label_call;
mod lookback;
mod matching;
mod ranges;
mod top;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use model::{Labels, METRIC_NAME};
use storage::{Budget, MatchOp, Matcher, MsRange, Notices, RegexLimits};

use super::annotations::Annotations;
use super::ast::{At, BinaryOp, Expr, Kind, Length, Selector, Shift};
use super::engine::EngineOptions;
use super::error::QueryError;
use super::functions::{Run, Special};
use super::labels::without_metadata;
use super::source::{SampleSource, SeriesSet};
use super::text::lossy;
use super::value::Row;
use crate::kernels::{Steps, is_absent};

/// About what labels and headers of one row take. Units: bytes.
const ROW_BYTES: usize = 256;

/// Takes rows one by one.
pub(super) type Sink<'s> = dyn FnMut(Row) -> Result<(), QueryError> + 's;

/// What a selector was, over which range, and what it found.
pub(super) type Selected = (String, MsRange, Rc<dyn SeriesSet>);

/// State of one query.
#[derive(Debug)]
pub(crate) struct Evaluator<'a> {
    pub(super) options: EngineOptions,
    pub(super) source: &'a dyn SampleSource,
    pub(super) budget: &'a Budget,
    /// The query's own moments, for `start()`, `end()`, `step()`, `range()`.
    pub(super) bounds: Steps,
    pub(super) is_instant: bool,
    pub(super) notes: Annotations,
    pub(super) notices: RefCell<Notices>,
    pub(super) samples: Cell<u64>,
    /// Series that one selector may match; 0: no limit.
    pub(super) series_max: usize,
    pub(super) regex: RegexLimits,
    pub(super) sets: RefCell<Vec<Selected>>,
}

pub(super) const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

impl Evaluator<'_> {
    /// Evaluates an expression of type vector.
    pub(super) fn rows(
        &self,
        expr: &Expr,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if steps.count() > 1 && is_invariant(expr) {
            let count = steps.count();
            return self.rows(expr, Steps::instant(steps.start), &mut |row| {
                let mut wide = Row::absent(row.labels.clone(), count);
                wide.drop_name = row.drop_name;
                for step in 0..count {
                    wide.set(step, row.cell(0));
                }
                sink(wide)
            });
        }
        match &expr.kind {
            Kind::Paren(inner) => self.rows(inner, steps, sink),
            Kind::Selector(selector) => self.instants(selector, expr.start, steps, sink),
            Kind::Negate { expr: inner, is_minus } => self.negated(inner, *is_minus, steps, sink),
            Kind::Binary(binary) => self.binary(expr, binary, steps, sink),
            Kind::Call { function, args } => self.call(expr, function, args, steps, sink),
            Kind::Aggregate(aggregate) => self.aggregate(expr, aggregate, steps, sink),
            Kind::Number { .. } | Kind::Text(_) | Kind::Matrix { .. } | Kind::Subquery { .. } => {
                Err(QueryError::execution("bug: not an instant vector"))
            }
        }
    }

    /// All rows at once.
    pub(super) fn collect(&self, expr: &Expr, steps: Steps) -> Result<Vec<Row>, QueryError> {
        let mut rows = Vec::new();
        self.rows(expr, steps, &mut |row| {
            self.hold(&row)?;
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Counts a row that is kept in memory against the query's samples, so that a large answer is
    /// refused before it is built.
    fn hold(&self, row: &Row) -> Result<(), QueryError> {
        let samples = row.floats.len() + row.histograms.len();
        self.budget.take_samples(samples as u64)?;
        let bytes = ROW_BYTES + samples * size_of::<f64>();
        Ok(self.budget.take_memory(bytes)?)
    }

    /// Evaluates an expression of type scalar.
    pub(super) fn scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, QueryError> {
        let count = steps.count();
        Ok(match &expr.kind {
            Kind::Number { value, .. } => vec![*value; count],
            Kind::Paren(inner) => self.scalar(inner, steps)?,
            Kind::Negate { expr: inner, is_minus } => {
                let mut values = self.scalar(inner, steps)?;
                if *is_minus {
                    values.iter_mut().for_each(|value| *value = -*value);
                }
                values
            }
            Kind::Binary(binary) => {
                let lhs = self.scalar(&binary.lhs, steps)?;
                let rhs = self.scalar(&binary.rhs, steps)?;
                lhs.iter().zip(&rhs).map(|(&l, &r)| matching::scalars(binary.op, l, r)).collect()
            }
            Kind::Call { function, args } => self.scalar_call(function, args, steps)?,
            _ => return Err(QueryError::execution("bug: not a scalar")),
        })
    }

    /// The text of an expression of type string.
    pub(super) fn text(&self, expr: &Expr) -> Result<String, QueryError> {
        match &expr.bare().kind {
            Kind::Text(text) => Ok(lossy(text)),
            _ => Err(QueryError::execution("bug: not a string")),
        }
    }

    fn negated(
        &self,
        inner: &Expr,
        is_minus: bool,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if !is_minus {
            return self.rows(inner, steps, sink);
        }
        self.renamed(inner, sink, |evaluator, sink| {
            evaluator.rows(inner, steps, &mut |mut row| {
                for value in row.floats.iter_mut().filter(|value| !is_absent(**value)) {
                    *value = -*value;
                }
                for histogram in row.histograms.iter_mut().flatten() {
                    *histogram = super::histogram::scaled(histogram, -1.0).into();
                }
                evaluator.drop_name(&mut row);
                sink(row)
            })
        })
    }

    /// Runs `produce`, whose rows lose their names; joins those that become the same by that.
    pub(super) fn renamed(
        &self,
        input: &Expr,
        sink: &mut Sink<'_>,
        produce: impl FnOnce(&Self, &mut Sink<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        if self.options.delayed_names || is_unique_without_name(input) {
            return produce(self, sink);
        }
        self.merged(sink, produce)
    }

    /// Runs `produce` and joins its rows of the same labels.
    pub(super) fn merged(
        &self,
        sink: &mut Sink<'_>,
        produce: impl FnOnce(&Self, &mut Sink<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut rows = Vec::new();
        produce(self, &mut |row| {
            self.hold(&row)?;
            rows.push(row);
            Ok(())
        })?;
        merge_same(rows)?.into_iter().try_for_each(sink)
    }

    /// Marks a row as of another metric than its labels say, or takes the name away at once.
    pub(super) fn drop_name(&self, row: &mut Row) {
        if self.options.delayed_names {
            row.drop_name = true;
        } else if row.labels.iter().any(|(name, _)| super::labels::is_metadata(name)) {
            row.labels = without_metadata(&row.labels);
        }
    }

    /// Finds series, each distinct selection once a query; what could not be read goes into the
    /// answer's notices.
    pub(super) fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
    ) -> Result<Rc<dyn SeriesSet>, QueryError> {
        let mut key = String::new();
        for matcher in matchers {
            let (name, op, value) = (&matcher.name, matcher.op, &matcher.value);
            key.push_str(&format!("{name:?}{op:?}{value:?}"));
        }
        let known = self.sets.borrow().iter().find_map(|(other, span, set)| {
            (*other == key && *span == range).then(|| Rc::clone(set))
        });
        if let Some(set) = known {
            return Ok(set);
        }
        let set: Rc<dyn SeriesSet> = self.source.select(matchers, range, self.budget)?.into();
        self.budget.check_series(set.series().len(), self.series_max)?;
        self.budget.take_memory(set.series().len() * ROW_BYTES)?;
        self.notices.borrow_mut().merge(set.notices().clone());
        self.sets.borrow_mut().push((key, range, Rc::clone(&set)));
        Ok(set)
    }

    /// A length of time as milliseconds.
    pub(super) fn length_ms(&self, length: &Length) -> Result<i64, QueryError> {
        let ms = (self.seconds(length)? * 1000.0).round();
        if !ms.is_finite() || ms.abs() > 9.2e12 {
            return Err(QueryError::execution("duration is out of range"));
        }
        Ok(ms as i64)
    }

    /// A length that must not be negative or nothing.
    pub(super) fn positive_length_ms(&self, length: &Length) -> Result<i64, QueryError> {
        match self.length_ms(length)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(QueryError::execution("duration must be greater than 0")),
        }
    }

    fn seconds(&self, length: &Length) -> Result<f64, QueryError> {
        let of = |length: &Length| self.seconds(length);
        Ok(match length {
            Length::Literal { seconds, .. } => *seconds,
            // An instant query has no step; Prometheus takes the default one's place with 0.
            Length::Step if self.is_instant => 0.0,
            Length::Step => self.bounds.step as f64 / 1000.0,
            Length::Range => (self.bounds.end - self.bounds.start) as f64 / 1000.0,
            Length::Sign { is_minus, length } => of(length)? * if *is_minus { -1.0 } else { 1.0 },
            Length::Paren(inner) => of(inner)?,
            Length::Least(one, other) => of(one)?.min(of(other)?),
            Length::Greatest(one, other) => of(one)?.max(of(other)?),
            Length::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (of(lhs)?, of(rhs)?);
                match op {
                    BinaryOp::Div if rhs == 0.0 => {
                        return Err(QueryError::execution("division by zero"));
                    }
                    BinaryOp::Mod if rhs == 0.0 => {
                        return Err(QueryError::execution("modulo by zero"));
                    }
                    op => matching::scalars(*op, lhs, rhs),
                }
            }
        })
    }

    /// `@` as a moment and `offset` as milliseconds.
    pub(super) fn shift(&self, shift: &Shift) -> Result<(Option<i64>, i64), QueryError> {
        let at = shift.at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.bounds.start,
            At::End => self.bounds.end,
        });
        let offset = shift.offset.as_ref().map_or(Ok(0), |length| self.length_ms(length))?;
        Ok((at, offset))
    }
}

/// Joins rows of the same labels that have values at different steps.
///
/// Errors: two values at one step.
pub(crate) fn merge_same(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut places: HashMap<Labels, usize, foldhash::fast::RandomState> =
        HashMap::with_capacity_and_hasher(rows.len(), foldhash::fast::RandomState::default());
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(&place) = places.get(&row.labels) else {
            places.insert(row.labels.clone(), out.len());
            out.push(row);
            continue;
        };
        let target = &mut out[place];
        for step in 0..row.floats.len() {
            if let Some(cell) = row.cell(step) {
                if target.has(step) {
                    return Err(QueryError::execution(SAME_LABELS));
                }
                target.set(step, Some(cell));
            }
        }
    }
    Ok(out)
}

/// Whether an expression has the same value at every step: all its selectors carry `@`.
fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Number { .. } | Kind::Text(_) => true,
        Kind::Selector(Selector { shift, .. }) | Kind::Subquery { shift, .. } => shift.at.is_some(),
        Kind::Call { function, .. } if function.depends_on_time() => false,
        _ => {
            let mut all = true;
            expr.parts(&mut |part| all = all && is_invariant(part));
            all
        }
    }
}

/// Whether rows of an expression stay different when their names go.
fn is_unique_without_name(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Selector(selector) => selector
            .matchers
            .iter()
            .any(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal),
        Kind::Paren(inner)
        | Kind::Subquery { expr: inner, .. }
        | Kind::Matrix { selector: inner, .. } => is_unique_without_name(inner),
        // Its own name is gone already.
        Kind::Negate { .. } => true,
        Kind::Aggregate(aggregate) => {
            aggregate.op.param().is_none()
                && (aggregate.without || !aggregate.grouping.iter().any(|name| name == METRIC_NAME))
        }
        Kind::Call { function, .. } => match function.run {
            Run::Map(_) | Run::Date(_) => true,
            Run::Range(range) => !range.keeps_name,
            Run::Special(Special::Vector) => true,
            Run::Special(_) => false,
        },
        Kind::Binary(binary) => binary.op.changes_metric(),
        Kind::Number { .. } | Kind::Text(_) => true,
    }
}
