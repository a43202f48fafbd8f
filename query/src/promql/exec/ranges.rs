//! Range selectors and subqueries: the samples over which range functions go.

use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, Labels};
use storage::{MsRange, SampleBuf};

use super::super::ast::{Ends, Expr, Kind, Length, Selector, Shift};
use super::super::error::QueryError;
use super::super::histogram;
use super::super::value::PointSeries;
use super::Evaluator;
use crate::kernels::{Reading, Started, Steps, Windows, is_absent};

/// Steps of one subquery, whose rows are as long.
const SUBQUERY_STEPS_MAX: usize = 2_000_000;

/// A window's place relative to a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Units: ms.
    pub(super) range: i64,
    pub(super) offset: i64,
    /// The moment after `@`, which holds for all steps.
    pub(super) at: Option<i64>,
    pub(super) ends: Ends,
}

impl Frame {
    /// The end of the window of a step.
    pub(super) fn end(self, step_time: i64) -> i64 {
        self.at.unwrap_or(step_time).saturating_sub(self.offset)
    }

    /// Windows for all steps, for a frame without `@`.
    pub(super) fn windows(self, steps: Steps) -> Windows {
        Windows { steps, range: self.range, offset: self.offset }
    }

    /// The window of one step, `@` or not.
    pub(super) fn window(self, step_time: i64) -> Windows {
        let offset = step_time - self.end(step_time);
        Windows { steps: Steps::instant(step_time), range: self.range, offset }
    }
}

/// A series as range functions see it: without stale markers.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    pub(super) labels: &'a Labels,
    pub(super) drop_name: bool,
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    pub(super) histograms: &'a [(i64, Arc<Histogram>)],
    pub(super) starts: Starts<'a>,
}

impl<'a> Samples<'a> {
    /// The floats, and when what they count began.
    pub(super) fn floats(&self) -> Started<'a> {
        Started { times: self.times, values: self.values, starts: self.starts.floats }
    }
}

/// When what samples count began. Shape: as long as the samples, or empty where nothing is known of
/// any. Units: ms; 0 where it is not known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Starts<'a> {
    pub(super) floats: &'a [i64],
    pub(super) histograms: &'a [i64],
}

impl<'a> Starts<'a> {
    /// Those of a part of the samples.
    pub(super) fn part(self, floats: Range<usize>, histograms: Range<usize>) -> Starts<'a> {
        Starts {
            floats: self.floats.get(floats).unwrap_or_default(),
            histograms: self.histograms.get(histograms).unwrap_or_default(),
        }
    }

    /// A float's time and start.
    pub(super) fn of_float(self, index: usize, time: i64) -> Reading {
        Reading { time, start: self.floats.get(index).copied().unwrap_or(0) }
    }

    /// A histogram's time and start.
    pub(super) fn of_histogram(self, index: usize, time: i64) -> Reading {
        Reading { time, start: self.histograms.get(index).copied().unwrap_or(0) }
    }
}

type Visit<'v> = dyn FnMut(Frame, Samples<'_>) -> Result<(), QueryError> + 'v;

impl Evaluator<'_> {
    /// Calls `visit` with every series of an expression of type matrix.
    pub(super) fn ranges(
        &self,
        expr: &Expr,
        steps: Steps,
        visit: &mut Visit<'_>,
    ) -> Result<(), QueryError> {
        match &expr.kind {
            Kind::Paren(inner) => self.ranges(inner, steps, visit),
            Kind::Matrix { selector, range } => match &selector.kind {
                Kind::Selector(selector) => self.selected(selector, range, steps, visit),
                _ => Err(QueryError::execution("bug: a range without a selector")),
            },
            Kind::Subquery { expr, range, step, shift } => {
                self.subquery(expr, (range, step.as_ref()), shift, steps, visit)
            }
            _ => Err(QueryError::execution("bug: not a range vector")),
        }
    }

    fn selected(
        &self,
        selector: &Selector,
        range: &Length,
        steps: Steps,
        visit: &mut Visit<'_>,
    ) -> Result<(), QueryError> {
        let (at, offset) = self.shift(&selector.shift)?;
        let range = self.positive_length_ms(range)?;
        let frame = Frame { range, offset, at, ends: selector.ends };
        let lookback = self.options.lookback_ms;
        let (before, after) = match selector.ends {
            Ends::Plain => (0, 0),
            Ends::Anchored => (lookback, 0),
            Ends::Smoothed => (lookback, lookback),
        };
        let last = steps.at(steps.count().saturating_sub(1));
        let wanted = MsRange {
            start_ms: (frame.end(steps.start).saturating_sub(range) + 1).saturating_sub(before),
            end_ms: frame.end(last).saturating_add(after),
        };
        let set = self.select(&selector.matchers, wanted)?;
        let mut buf = SampleBuf::default();
        for (index, labels) in set.series().iter().enumerate() {
            self.read(selector, &*set, index, &mut buf)?;
            drop_stale(&mut buf);
            if buf.times.is_empty() && buf.histograms.is_empty() {
                continue;
            }
            let samples = Samples {
                labels,
                drop_name: false,
                times: &buf.times,
                values: &buf.values,
                histograms: &buf.histograms,
                starts: Starts { floats: &buf.starts, histograms: &buf.histogram_starts },
            };
            visit(frame, samples)?;
        }
        Ok(())
    }

    fn subquery(
        &self,
        inner: &Expr,
        (range, step): (&Length, Option<&Length>),
        shift: &Shift,
        steps: Steps,
        visit: &mut Visit<'_>,
    ) -> Result<(), QueryError> {
        let (at, offset) = self.shift(shift)?;
        let range = self.positive_length_ms(range)?;
        let step = match step {
            Some(length) => self.positive_length_ms(length)?,
            None => self.options.subquery_step_ms,
        };
        let frame = Frame { range, offset, at, ends: Ends::Plain };
        let last = steps.at(steps.count().saturating_sub(1));
        let before = frame.end(steps.start).saturating_sub(range);
        // Moments are multiples of the step; the window is open on the left.
        let start = before.div_euclid(step).saturating_add(1).saturating_mul(step);
        let moments = Steps { start, end: frame.end(last), step };
        let count = moments.count();
        if count == 0 {
            return Ok(());
        }
        if count > SUBQUERY_STEPS_MAX {
            let message = format!("subquery has {count} steps, more than {SUBQUERY_STEPS_MAX}");
            return Err(QueryError::execution(message));
        }
        let (mut times, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut histograms = Vec::new();
        self.rows(inner, moments, &mut |row| {
            times.clear();
            values.clear();
            histograms.clear();
            for (index, time) in moments.iter().enumerate() {
                if !is_absent(row.floats[index]) {
                    times.push(time);
                    values.push(row.floats[index]);
                } else if let Some(histogram) = row.histogram(index) {
                    histograms.push((time, without_hint(histogram)));
                }
            }
            self.budget.take_samples(times.len() as u64)?;
            let samples = Samples {
                labels: &row.labels,
                drop_name: row.drop_name,
                times: &times,
                values: &values,
                histograms: &histograms,
                // A step is no sample: it says nothing of the time before.
                starts: Starts::default(),
            };
            visit(frame, samples)
        })
    }

    /// An instant query's range vector.
    pub(crate) fn points(&self, expr: &Expr, steps: Steps) -> Result<Vec<PointSeries>, QueryError> {
        let mut out = Vec::new();
        self.ranges(expr, steps, &mut |frame, samples| {
            let end = frame.end(steps.start);
            let start = end - frame.range;
            let inside = |time: i64| time > start && time <= end;
            let mut series =
                PointSeries { labels: samples.labels.clone(), ..PointSeries::default() };
            if samples.drop_name {
                series.labels = super::super::labels::without_metadata(&series.labels);
            }
            if frame.ends == Ends::Plain {
                for (&time, &value) in samples.times.iter().zip(samples.values) {
                    if inside(time) {
                        series.times.push(time);
                        series.values.push(value);
                    }
                }
            } else if samples.histograms.is_empty() {
                (series.times, series.values) = super::extended::extended(
                    samples.times,
                    samples.values,
                    super::extended::Span { start, end, is_smoothed: frame.ends == Ends::Smoothed },
                );
            }
            let within = samples.histograms.iter().filter(|(time, _)| inside(*time));
            series.histograms.extend(within.cloned());
            if !series.times.is_empty() || !series.histograms.is_empty() {
                out.push(series);
            }
            Ok(())
        })?;
        out.sort_by(|a, b| super::super::labels::compare(&a.labels, &b.labels));
        Ok(out)
    }
}

/// A histogram of a subquery: samples between two steps are not seen, so what was known of resets
/// since the sample before holds no longer.
fn without_hint(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset_hint {
        histogram::RESET | histogram::NOT_RESET => {
            Arc::new(Histogram { reset_hint: histogram::UNKNOWN, ..Histogram::clone(histogram) })
        }
        _ => Arc::clone(histogram),
    }
}

/// Removes stale markers in place.
pub(super) fn drop_stale(buf: &mut SampleBuf) {
    let SampleBuf { times, values, starts, histograms, histogram_starts } = buf;
    if values.iter().any(|&value| model::is_stale(value)) {
        let mut kept = 0;
        for index in 0..values.len() {
            if !model::is_stale(values[index]) {
                values[kept] = values[index];
                times[kept] = times[index];
                if !starts.is_empty() {
                    starts[kept] = starts[index];
                }
                kept += 1;
            }
        }
        values.truncate(kept);
        times.truncate(kept);
        starts.truncate(kept);
    }
    let mut is_stale = histograms.iter().map(|(_, histogram)| model::is_stale(histogram.sum));
    histogram_starts.retain(|_| !is_stale.next().unwrap_or(false));
    histograms.retain(|(_, histogram)| !model::is_stale(histogram.sum));
}
