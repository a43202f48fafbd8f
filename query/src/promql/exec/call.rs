//! Function calls.

use std::sync::Arc;

use model::Labels;
use storage::MatchOp;

use super::super::ast::{Expr, Kind, Selector, Type};
use super::super::error::QueryError;
use super::super::functions::{Date, Function, OnHistograms, RangeRun, Run, Special};
use super::super::labels::with;
use super::super::text::{go_g, quoted};
use super::super::value::Row;
use super::histogram_call::About;
use super::lookback::Facet;
use super::ranges::{Frame, Samples, Starts};
use super::{Evaluator, Sink};
use crate::kernels::{
    ABSENT, Rollup, Started, Steps, Windows, is_absent, knows_starts, roll, roll_started,
};

impl Evaluator<'_> {
    pub(super) fn call(
        &self,
        expr: &Expr,
        function: &Function,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match function.run {
            Run::Map(run) => self.map(run, args, steps, sink),
            Run::Date(run) => self.dates(run, args, steps, sink),
            Run::Range(run) => {
                let Some(range) = args.iter().find(|arg| arg.kind_of_value() == Type::Matrix)
                else {
                    return Err(QueryError::execution("bug: no range among the arguments"));
                };
                if run.keeps_name {
                    return self.range_call(function, run, range, args, steps, sink);
                }
                self.renamed(range, sink, |evaluator, sink| {
                    evaluator.range_call(function, run, range, args, steps, sink)
                })
            }
            Run::Special(special) => self.special(expr, special, args, steps, sink),
        }
    }

    /// Scalar arguments, each at all steps.
    fn scalars(&self, args: &[Expr], steps: Steps) -> Result<Vec<Vec<f64>>, QueryError> {
        let scalars = args.iter().filter(|arg| arg.kind_of_value() == Type::Scalar);
        scalars.map(|arg| self.scalar(arg, steps)).collect()
    }

    fn map(
        &self,
        run: fn(f64, &[f64]) -> f64,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let scalars = self.scalars(args, steps)?;
        let mut params = vec![0.0; scalars.len()];
        self.renamed(&args[0], sink, |evaluator, sink| {
            evaluator.rows(&args[0], steps, &mut |mut row| {
                for (step, value) in row.floats.iter_mut().enumerate() {
                    if !is_absent(*value) {
                        for (param, values) in params.iter_mut().zip(&scalars) {
                            *param = values[step];
                        }
                        *value = run(*value, &params);
                    }
                }
                row.histograms = Vec::new();
                evaluator.drop_name(&mut row);
                if row.is_empty() { Ok(()) } else { sink(row) }
            })
        })
    }

    fn dates(
        &self,
        run: fn(&Date) -> f64,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let field = |seconds: f64| Date::of(seconds).map_or(f64::NAN, |date| run(&date));
        let Some(arg) = args.first() else {
            let floats = steps.iter().map(|time| field(time as f64 / 1000.0)).collect();
            return sink(Row::of(Labels::default(), floats));
        };
        self.renamed(arg, sink, |evaluator, sink| {
            evaluator.rows(arg, steps, &mut |mut row| {
                for value in row.floats.iter_mut().filter(|value| !is_absent(**value)) {
                    *value = field(*value);
                }
                row.histograms = Vec::new();
                evaluator.drop_name(&mut row);
                if row.is_empty() { Ok(()) } else { sink(row) }
            })
        })
    }

    fn range_call(
        &self,
        function: &Function,
        run: RangeRun,
        range: &Expr,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let scalars = self.scalars(args, steps)?;
        self.check_params(function, args, &scalars)?;
        self.check_ends(function, range)?;
        let rollups: Vec<Rollup> = (0..steps.count())
            .map(|step| {
                let params: Vec<f64> = scalars.iter().map(|values| values[step]).collect();
                (run.rollup)(&params)
            })
            .collect();
        let is_constant = rollups.windows(2).all(|pair| pair[0] == pair[1]);
        self.ranges(range, steps, &mut |frame, samples| {
            let mut row = Row::absent(samples.labels.clone(), steps.count());
            row.drop_name = samples.drop_name;
            if frame.ends != super::super::ast::Ends::Plain {
                self.extended_call((range, frame, steps), &rollups, &samples, &mut row)?;
            } else if samples.histograms.is_empty() {
                row.floats.clear();
                let about = About { name: samples.labels.metric_name(), at: range.start };
                let (floats, out) = (samples.floats(), &mut row.floats);
                if let (true, None, Some(&rollup)) = (is_constant, frame.at, rollups.first()) {
                    self.roll_floats(rollup, frame.windows(steps), floats, &about, out);
                } else {
                    for (&rollup, time) in rollups.iter().zip(steps.iter()) {
                        self.roll_floats(rollup, frame.window(time), floats, &about, out);
                    }
                }
            } else {
                self.mixed_range(run, (range, frame, steps), &rollups, &samples, &mut row)?;
            }
            self.note_counter(function, range, &samples, &row);
            if !run.keeps_name {
                self.drop_name(&mut row);
            }
            if row.is_empty() { Ok(()) } else { sink(row) }
        })
    }

    /// Rolls windows over floats, by when they began where that is known and counts.
    pub(super) fn roll_floats(
        &self,
        rollup: Rollup,
        windows: Windows,
        floats: Started<'_>,
        about: &About<'_>,
        out: &mut Vec<f64>,
    ) {
        if floats.starts.is_empty() || !knows_starts(rollup) {
            roll(rollup, windows, floats.times, floats.values, out);
        } else if roll_started(rollup, windows, floats, out) {
            self.note_overlap(about);
        }
    }

    pub(super) fn note_overlap(&self, about: &About<'_>) {
        let message = format!(
            "sample has start time that overlaps with previous sample timestamp for metric {}",
            quoted(about.name)
        );
        self.notes.warn(about.at, message);
    }

    /// Notes a rate of what is no counter by its name.
    fn note_counter(&self, function: &Function, range: &Expr, samples: &Samples<'_>, row: &Row) {
        if !matches!(function.name, "rate" | "increase") || row.floats.iter().all(|&v| is_absent(v))
        {
            return;
        }
        let name = samples.labels.metric_name();
        let is_counter =
            ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !name.is_empty() && !is_counter {
            let message = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quoted(name)
            );
            self.notes.info(range.start, message);
        }
    }

    fn check_params(
        &self,
        function: &Function,
        args: &[Expr],
        scalars: &[Vec<f64>],
    ) -> Result<(), QueryError> {
        match function.name {
            "quantile_over_time" => {
                for &q in scalars.first().into_iter().flatten() {
                    self.check_quantile(q, args[0].start);
                }
            }
            "holt_winters" | "double_exponential_smoothing" => {
                for (word, values) in ["smoothing", "trend"].iter().zip(scalars) {
                    if let Some(bad) = values.iter().find(|value| **value <= 0.0 || **value >= 1.0)
                    {
                        return Err(QueryError::execution(format!(
                            "invalid {word} factor. Expected: 0 < {} < 1, got: {bad:.6}",
                            if *word == "trend" { "tf" } else { "sf" }
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn check_quantile(&self, q: f64, at: usize) {
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            let message = format!("quantile value should be between 0 and 1, got {}", go_g(q));
            self.notes.warn(at, message);
        }
    }

    fn special(
        &self,
        expr: &Expr,
        special: Special,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match special {
            Special::Absent => self.absent(&args[0], steps, sink),
            Special::AbsentOverTime => self.absent_over_time(&args[0], steps, sink),
            Special::Vector => sink(Row::of(Labels::default(), self.scalar(&args[0], steps)?)),
            Special::Timestamp => self.timestamps(Facet::Time, &args[0], steps, sink),
            Special::StartTimestamp => self.timestamps(Facet::Start, &args[0], steps, sink),
            Special::LabelReplace => self.label_replace(args, steps, sink),
            Special::LabelJoin => self.label_join(args, steps, sink),
            Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc => {
                self.sort(expr, special, args, steps, sink)
            }
            Special::Info => self.info(args, steps, sink),
            Special::HistogramQuantile
            | Special::HistogramQuantiles
            | Special::HistogramFraction
            | Special::HistogramCount
            | Special::HistogramSum
            | Special::HistogramAvg
            | Special::HistogramStddev
            | Special::HistogramStdvar => self.histogram_call(special, args, steps, sink),
            Special::Time
            | Special::Start
            | Special::End
            | Special::Step
            | Special::Range
            | Special::MinOf
            | Special::MaxOf
            | Special::Pi
            | Special::Scalar => Err(QueryError::execution("bug: a scalar where a vector was")),
        }
    }

    pub(super) fn scalar_call(
        &self,
        function: &Function,
        args: &[Expr],
        steps: Steps,
    ) -> Result<Vec<f64>, QueryError> {
        let count = steps.count();
        let seconds = |ms: i64| vec![ms as f64 / 1000.0; count];
        let pick = |wins: fn(f64, f64) -> f64| -> Result<Vec<f64>, QueryError> {
            let (one, other) = (self.scalar(&args[0], steps)?, self.scalar(&args[1], steps)?);
            Ok(one.iter().zip(&other).map(|(&a, &b)| wins(a, b)).collect())
        };
        match function.run {
            Run::Special(Special::Time) => {
                Ok(steps.iter().map(|time| time as f64 / 1000.0).collect())
            }
            Run::Special(Special::Start) => Ok(seconds(self.bounds.start)),
            Run::Special(Special::End) => Ok(seconds(self.bounds.end)),
            Run::Special(Special::Step) if self.is_instant => Ok(seconds(0)),
            Run::Special(Special::Step) => Ok(seconds(self.bounds.step)),
            Run::Special(Special::Range) => Ok(seconds(self.bounds.end - self.bounds.start)),
            Run::Special(Special::Pi) => Ok(vec![std::f64::consts::PI; count]),
            Run::Special(Special::MinOf) => {
                pick(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) })
            }
            Run::Special(Special::MaxOf) => {
                pick(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
            }
            Run::Special(Special::Scalar) => {
                let mut values = vec![ABSENT; count];
                let mut seen = vec![0u8; count];
                self.rows(&args[0], steps, &mut |row| {
                    for step in 0..count {
                        if !is_absent(row.floats[step]) {
                            values[step] = row.floats[step];
                            seen[step] = seen[step].saturating_add(1);
                        }
                    }
                    Ok(())
                })?;
                for (value, &seen) in values.iter_mut().zip(&seen) {
                    if seen != 1 {
                        *value = f64::NAN;
                    }
                }
                Ok(values)
            }
            _ => Err(QueryError::execution("bug: not a scalar function")),
        }
    }

    /// When each sample was taken, or when what it counts began (0 where that is not known). What is
    /// no sample is taken at the step, and has begun at no time.
    fn timestamps(
        &self,
        facet: Facet,
        arg: &Expr,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        self.renamed(arg, sink, |evaluator, sink| {
            if let Kind::Selector(selector) = &arg.bare().kind {
                return evaluator.latest(selector, steps, facet, &mut |mut row| {
                    evaluator.drop_name(&mut row);
                    sink(row)
                });
            }
            if facet == Facet::Start {
                return Ok(());
            }
            evaluator.rows(arg, steps, &mut |mut row| {
                for (step, time) in steps.iter().enumerate() {
                    if row.has(step) {
                        row.floats[step] = time as f64 / 1000.0;
                    }
                }
                row.histograms = Vec::new();
                evaluator.drop_name(&mut row);
                sink(row)
            })
        })
    }

    fn absent(&self, arg: &Expr, steps: Steps, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let mut seen = vec![false; steps.count()];
        self.rows(arg, steps, &mut |row| {
            for (step, seen) in seen.iter_mut().enumerate() {
                *seen = *seen || row.has(step);
            }
            Ok(())
        })?;
        let labels = match &arg.bare().kind {
            Kind::Selector(selector) => absent_labels(selector),
            _ => Labels::default(),
        };
        let row = Row::of(labels, seen.iter().map(|&s| if s { ABSENT } else { 1.0 }).collect());
        if row.is_empty() { Ok(()) } else { sink(row) }
    }

    fn absent_over_time(
        &self,
        arg: &Expr,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut seen = vec![false; steps.count()];
        self.ranges(arg, steps, &mut |frame, samples| {
            for (step, time) in steps.iter().enumerate() {
                let end = frame.end(time);
                let inside = |at: i64| at > end - frame.range && at <= end;
                let float = samples.times.partition_point(|&at| at <= end);
                let histogram = samples.histograms.partition_point(|(at, _)| *at <= end);
                seen[step] = seen[step]
                    || float.checked_sub(1).is_some_and(|last| inside(samples.times[last]))
                    || histogram
                        .checked_sub(1)
                        .is_some_and(|last| inside(samples.histograms[last].0));
            }
            Ok(())
        })?;
        let labels = match &arg.bare().kind {
            Kind::Matrix { selector, .. } => match &selector.kind {
                Kind::Selector(selector) => absent_labels(selector),
                _ => Labels::default(),
            },
            _ => Labels::default(),
        };
        let row = Row::of(labels, seen.iter().map(|&s| if s { ABSENT } else { 1.0 }).collect());
        if row.is_empty() { Ok(()) } else { sink(row) }
    }

    fn sort(
        &self,
        expr: &Expr,
        special: Special,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if !self.is_instant {
            let message =
                "sort is ineffective for range queries since results are always ordered by labels";
            self.notes.warn(expr.start, message);
        }
        let mut rows = self.collect(&args[0], steps)?;
        let by_value = matches!(special, Special::Sort | Special::SortDesc);
        if by_value {
            for row in &mut rows {
                row.histograms = Vec::new();
            }
            rows.retain(|row| !row.is_empty());
        }
        if self.is_instant && steps.count() == 1 {
            let names =
                args[1..].iter().map(|arg| self.text(arg)).collect::<Result<Vec<_>, _>>()?;
            rows.sort_by(|a, b| match special {
                Special::Sort => by_float(a.floats[0], b.floats[0], false),
                Special::SortDesc => by_float(a.floats[0], b.floats[0], true),
                _ => {
                    let order = by_labels(&a.labels, &b.labels, &names);
                    if special == Special::SortByLabel { order } else { order.reverse() }
                }
            });
        }
        rows.into_iter().try_for_each(sink)
    }
}

/// NaN last either way.
fn by_float(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| {
        let order = a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal);
        if descending { order.reverse() } else { order }
    })
}

fn by_labels(a: &Labels, b: &Labels, names: &[String]) -> std::cmp::Ordering {
    for name in names {
        let (one, other) = (a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        let order = natural(one, other);
        if order.is_ne() {
            return order;
        }
    }
    super::super::labels::compare(a, b)
}

/// Natural order: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let digits =
                |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (one, other) = (a.split_at(digits(a)), b.split_at(digits(b)));
            let (p, q) = (one.0.trim_start_matches('0'), other.0.trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            if order.is_ne() {
                return order;
            }
            (a, b) = (one.1, other.1);
            continue;
        }
        if x != y {
            return x.cmp(&y);
        }
        a = a.get(x.len_utf8()..).unwrap_or("");
        b = b.get(y.len_utf8()..).unwrap_or("");
    }
}

/// Labels that an absent element would have: those the selector demands by equality, once each.
fn absent_labels(selector: &Selector) -> Labels {
    let mut labels = Labels::default();
    for matcher in &selector.matchers {
        let is_only =
            selector.matchers.iter().filter(|other| other.name == matcher.name).count() == 1;
        if matcher.op == MatchOp::Equal && is_only && matcher.name != model::METRIC_NAME {
            labels = with(&labels, &matcher.name, &matcher.value);
        }
    }
    labels
}

/// Of which range, where its windows lie, and the steps.
pub(super) type Place<'p> = (&'p Expr, Frame, Steps);

/// What a mixed window holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixed<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    pub(super) histograms: &'a [(i64, Arc<model::Histogram>)],
    pub(super) starts: Starts<'a>,
}

impl<'a> Mixed<'a> {
    /// Those of them that are floats.
    pub(super) fn floats(&self) -> Started<'a> {
        Started { times: self.times, values: self.values, starts: self.starts.floats }
    }
}

/// Whether a function looks at histograms at all.
pub(super) fn takes_histograms(run: RangeRun) -> bool {
    run.histograms != OnHistograms::Ignores
}
