//! `anchored` and `smoothed` selectors: windows with values exactly at their ends.
//! Source: Prometheus `promql/functions.go`, `extendedRate` (3.14).

use std::sync::Arc;

use model::Histogram;
use storage::{MsRange, SampleBuf};

use super::super::ast::{Ends, Expr, Kind, Selector};
use super::super::error::QueryError;
use super::super::functions::Function;
use super::super::histogram::{GAUGE, UNKNOWN, divided, is_custom};
use super::super::value::{Cell, Row};
use super::call::{Mixed, Place};
use super::histogram_call::{About, mixed};
use super::ranges::{Samples, drop_stale};
use super::{Evaluator, Sink};
use crate::kernels::{ABSENT, Rollup, Steps, is_absent};

/// A window, `[start, end]`. Units: ms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) is_smoothed: bool,
}

/// The value on the line between two samples; a counter that fell counts as having started at 0.
fn between((t1, v1): (i64, f64), (t2, v2): (i64, f64), time: i64, is_counter: bool) -> f64 {
    let from = if is_counter && v2 < v1 { 0.0 } else { v1 };
    from + (v2 - from) * (time - t1) as f64 / (t2 - t1) as f64
}

/// Indices of the first and the last sample that matter to a window, if it has any.
fn bounds(times: &[i64], span: Span) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|&time| time <= span.start).saturating_sub(1);
    if span.is_smoothed {
        last = times[..last].partition_point(|&time| time < span.end);
    } else {
        last = times.partition_point(|&time| time <= span.end).checked_sub(1)?;
    }
    if times[last] <= span.start || (span.is_smoothed && times[first] > span.end) || first > last {
        return None;
    }
    Some((first, last))
}

fn left(times: &[i64], values: &[f64], first: usize, span: Span, is_counter: bool) -> f64 {
    if span.is_smoothed && times[first] < span.start && first + 1 < times.len() {
        let next = (times[first + 1], values[first + 1]);
        return between((times[first], values[first]), next, span.start, is_counter);
    }
    values[first]
}

fn right(times: &[i64], values: &[f64], last: usize, span: Span, is_counter: bool) -> f64 {
    if span.is_smoothed && last > 0 && times[last] > span.end {
        let before = (times[last - 1], values[last - 1]);
        return between(before, (times[last], values[last]), span.end, is_counter);
    }
    values[last]
}

/// The samples of a window with one at each end.
pub(super) fn extended(times: &[i64], values: &[f64], span: Span) -> (Vec<i64>, Vec<f64>) {
    let Some((first, last)) = bounds(times, span) else { return (Vec::new(), Vec::new()) };
    let mut out = (vec![span.start], vec![left(times, values, first, span, false)]);
    for index in first..=last {
        if times[index] > span.start && times[index] < span.end {
            out.0.push(times[index]);
            out.1.push(values[index]);
        }
    }
    out.0.push(span.end);
    out.1.push(right(times, values, last, span, false));
    out
}

/// Difference of the window's ends; a counter's resets inside are added.
fn difference(times: &[i64], values: &[f64], span: Span, is_counter: bool) -> f64 {
    let Some((first, last)) = bounds(times, span) else { return ABSENT };
    let start = left(times, values, first, span, is_counter);
    let end = right(times, values, last, span, is_counter);
    let mut result = end - start;
    if is_counter {
        let mut previous = start;
        for index in first..=last {
            if times[index] <= span.start || times[index] >= span.end {
                continue;
            }
            if values[index] < previous {
                result += previous;
            }
            previous = values[index];
        }
        if end < previous {
            result += previous;
        }
    }
    result
}

/// Changes or resets from the last sample at or before the window's start on.
fn pairs_from(rollup: Rollup, start: i64, window: Mixed<'_>) -> Option<Cell> {
    let float = window.times.partition_point(|&time| time <= start);
    let histogram = window.histograms.partition_point(|(time, _)| *time <= start);
    if float == window.times.len() && histogram == window.histograms.len() {
        return None;
    }
    let float_time = float.checked_sub(1).map(|at| window.times[at]);
    let histogram_time = histogram.checked_sub(1).map(|at| window.histograms[at].0);
    let is_float = float_time.is_some() && float_time > histogram_time;
    let is_histogram = histogram_time.is_some() && !is_float;
    let (low, first) = (float - usize::from(is_float), histogram - usize::from(is_histogram));
    mixed(
        rollup,
        Mixed {
            times: &window.times[low..],
            values: &window.values[low..],
            histograms: &window.histograms[first..],
            starts: window.starts.part(low..window.times.len(), first..window.histograms.len()),
        },
    )
}

fn of_floats(rollup: Rollup, range: i64, span: Span, times: &[i64], values: &[f64]) -> f64 {
    let value = difference(times, values, span, rollup != Rollup::Delta);
    let is_rate = rollup == Rollup::Rate && !is_absent(value);
    if is_rate { value / (range as f64 / 1000.0) } else { value }
}

impl Evaluator<'_> {
    /// A range function over extended windows.
    pub(super) fn extended_call(
        &self,
        (range, frame, steps): Place<'_>,
        rollups: &[Rollup],
        samples: &Samples<'_>,
        row: &mut Row,
    ) -> Result<(), QueryError> {
        let about = About { name: samples.labels.metric_name(), at: range.start };
        let is_smoothed = frame.ends == Ends::Smoothed;
        let lookback = self.options.lookback_ms;
        for (step, time) in steps.iter().enumerate() {
            let end = frame.end(time);
            let span = Span { start: end - frame.range, end, is_smoothed };
            let (from, to) = (span.start - lookback, end + if is_smoothed { lookback } else { 0 });
            let low = samples.times.partition_point(|&at| at <= from);
            let high = samples.times.partition_point(|&at| at <= to);
            let (times, values) = (&samples.times[low..high], &samples.values[low..high]);
            let first = samples.histograms.partition_point(|(at, _)| *at <= from);
            let last = samples.histograms.partition_point(|(at, _)| *at <= to);
            let histograms = &samples.histograms[first..last];
            if matches!(rollups[step], Rollup::Changes | Rollup::Resets) {
                let starts = samples.starts.part(low..high, first..last);
                let window = Mixed { times, values, histograms, starts };
                row.set(step, pairs_from(rollups[step], span.start, window));
                continue;
            }
            if histograms.is_empty() {
                row.floats[step] = of_floats(rollups[step], frame.range, span, times, values);
                continue;
            }
            if !times.is_empty() {
                self.note_mix(about.name, about.at);
                continue;
            }
            let rollup = rollups[step];
            let is_counter = rollup != Rollup::Delta;
            let difference = self.extended_difference(histograms, span, is_counter, &about);
            row.set(
                step,
                difference.map(|histogram| {
                    let seconds = frame.range as f64 / 1000.0;
                    Cell::Histogram(Arc::new(match rollup {
                        Rollup::Rate => divided(&histogram, seconds),
                        _ => histogram,
                    }))
                }),
            );
        }
        Ok(())
    }

    /// Whether a function may be used with the ends of its range's windows.
    pub(super) fn check_ends(&self, function: &Function, range: &Expr) -> Result<(), QueryError> {
        let Kind::Matrix { selector, .. } = &range.bare().kind else { return Ok(()) };
        let Kind::Selector(selector) = &selector.kind else { return Ok(()) };
        let (word, allowed): (&str, &[&str]) = match selector.ends {
            Ends::Plain => return Ok(()),
            Ends::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
            Ends::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
        };
        if allowed.contains(&function.name) {
            return Ok(());
        }
        Err(QueryError::execution(format!(
            "{word} modifier can only be used with: {} - not with {}",
            allowed.join(", "),
            function.name
        )))
    }

    /// A smoothed instant selector: the value on the line between the samples around each step.
    /// Source: Prometheus `promql/engine.go`, `smoothSeries` (3.14).
    pub(super) fn smoothed_instants(
        &self,
        selector: &Selector,
        place: usize,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if selector.ends == Ends::Anchored {
            let message = "anchored modifier can only be used with range vectors";
            return Err(QueryError::execution(message));
        }
        let (at, offset) = self.shift(&selector.shift)?;
        let lookback = self.options.lookback_ms;
        let read = at.map_or(steps, Steps::instant);
        let last = read.at(read.count().saturating_sub(1));
        let range = MsRange {
            start_ms: read.start - offset - lookback + 1,
            end_ms: last - offset + lookback,
        };
        let set = self.select(&selector.matchers, range)?;
        let mut buf = SampleBuf::default();
        for (index, labels) in set.series().iter().enumerate() {
            self.read(selector, &*set, index, &mut buf)?;
            drop_stale(&mut buf);
            let about = About { name: labels.metric_name(), at: place };
            let mut row = Row::absent(labels.clone(), steps.count());
            for (step, time) in steps.iter().enumerate() {
                let moment = at.unwrap_or(time) - offset;
                let (from, to) = (moment - lookback, moment + lookback);
                let low = buf.times.partition_point(|&at| at <= from);
                let high = buf.times.partition_point(|&at| at <= to);
                let first = buf.histograms.partition_point(|(at, _)| *at <= from);
                let last = buf.histograms.partition_point(|(at, _)| *at <= to);
                if low < high && first < last {
                    self.note_mix(about.name, about.at);
                } else if first < last {
                    let histogram =
                        self.smoothed_histogram(&buf.histograms[first..last], moment, &about);
                    row.set(step, histogram.map(|histogram| Cell::Histogram(Arc::new(histogram))));
                } else {
                    let (times, values) = (&buf.times[low..high], &buf.values[low..high]);
                    row.floats[step] = smoothed_float(times, values, moment);
                }
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    /// The histogram on the line between the samples around a moment.
    fn smoothed_histogram(
        &self,
        samples: &[(i64, Arc<Histogram>)],
        moment: i64,
        about: &About<'_>,
    ) -> Option<Histogram> {
        let after = samples.partition_point(|(time, _)| *time < moment);
        let before = after.checked_sub(1).map(|before| &samples[before]);
        match (before, samples.get(after)) {
            (_, Some((time, histogram))) if *time == moment => Some((**histogram).clone()),
            (Some(before), Some(next)) => {
                if is_custom(&before.1) != is_custom(&next.1) {
                    self.note_mixed_schemas(about.name, about.at);
                    return None;
                }
                let is_counter = before.1.reset_hint != GAUGE || next.1.reset_hint != GAUGE;
                self.between(before, next, moment, is_counter, about)
            }
            // What was known of the sample before it is not true of a later moment.
            (Some((_, histogram)), None) => {
                Some(Histogram { reset_hint: UNKNOWN, ..Histogram::clone(histogram) })
            }
            (None, _) => None,
        }
    }
}

/// The value on the line between the samples around a moment.
fn smoothed_float(times: &[i64], values: &[f64], moment: i64) -> f64 {
    let after = times.partition_point(|&time| time < moment);
    let sample = |index: usize| Some((*times.get(index)?, *values.get(index)?));
    match (after.checked_sub(1).and_then(sample), sample(after)) {
        (_, Some((time, value))) if time == moment => value,
        (Some(before), Some(next)) => between(before, next, moment, false),
        (Some((_, value)), None) => value,
        (None, _) => ABSENT,
    }
}
