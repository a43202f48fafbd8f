//! `anchored` and `smoothed` selectors: windows with values exactly at their ends.
//! Source: Prometheus `promql/functions.go`, `extendedRate` (3.14).

use storage::{MsRange, SampleBuf};

use super::super::ast::{Ends, Selector};
use super::super::error::QueryError;
use super::super::functions::RangeRun;
use super::super::value::Row;
use super::call::Place;
use super::ranges::Samples;
use super::{Evaluator, Sink};
use crate::kernels::{ABSENT, Rollup, Steps, Windows, is_absent, roll};

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

impl Evaluator<'_> {
    /// A range function over extended windows.
    pub(super) fn extended_call(
        &self,
        run: RangeRun,
        (range, frame, steps): Place<'_>,
        rollups: &[Rollup],
        samples: &Samples<'_>,
        row: &mut Row,
    ) -> Result<(), QueryError> {
        if !samples.histograms.is_empty() {
            let message = "anchored and smoothed ranges of native histograms are not available";
            return Err(QueryError::execution(message));
        }
        let allowed = match frame.ends {
            Ends::Anchored => matches!(
                rollups.first(),
                Some(
                    Rollup::Rate
                        | Rollup::Increase
                        | Rollup::Delta
                        | Rollup::Changes
                        | Rollup::Resets
                )
            ),
            _ => matches!(rollups.first(), Some(Rollup::Rate | Rollup::Increase | Rollup::Delta)),
        };
        if !allowed {
            let word = if frame.ends == Ends::Anchored { "anchored" } else { "smoothed" };
            let list = if frame.ends == Ends::Anchored {
                "changes, delta, increase, rate, resets"
            } else {
                "delta, increase, rate"
            };
            let message =
                format!("{word} modifier can only be used with: {list} - not with this function");
            return Err(QueryError::execution(message));
        }
        let _ = (run, range);
        for (step, time) in steps.iter().enumerate() {
            let end = frame.end(time);
            let is_smoothed = frame.ends == Ends::Smoothed;
            let span = Span { start: end - frame.range, end, is_smoothed };
            row.floats[step] = match rollups[step] {
                Rollup::Changes | Rollup::Resets => {
                    let (times, values) = extended(samples.times, samples.values, span);
                    let mut out = Vec::with_capacity(1);
                    let windows =
                        Windows { steps: Steps::instant(end), range: frame.range + 1, offset: 0 };
                    roll(rollups[step], windows, &times, &values, &mut out);
                    out.first().copied().unwrap_or(ABSENT)
                }
                rollup => {
                    let is_counter = rollup != Rollup::Delta;
                    let value = difference(samples.times, samples.values, span, is_counter);
                    if rollup == Rollup::Rate && !is_absent(value) {
                        value / (frame.range as f64 / 1000.0)
                    } else {
                        value
                    }
                }
            };
        }
        Ok(())
    }

    /// A smoothed instant selector: the value on the line between the samples around each step.
    pub(super) fn smoothed_instants(
        &self,
        selector: &Selector,
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
            self.read(&*set, index, &mut buf)?;
            let mut row = Row::absent(labels.clone(), steps.count());
            for (step, time) in steps.iter().enumerate() {
                let moment = at.unwrap_or(time) - offset;
                let after = buf.times.partition_point(|&time| time < moment);
                let sample = |index: usize| {
                    let (time, value) = (*buf.times.get(index)?, *buf.values.get(index)?);
                    let near = time > moment - lookback && time <= moment + lookback;
                    (near && !model::is_stale(value)).then_some((time, value))
                };
                let before = after.checked_sub(1).and_then(sample);
                row.floats[step] = match (before, sample(after)) {
                    (_, Some((time, value))) if time == moment => value,
                    (Some(before), Some(next)) => between(before, next, moment, false),
                    (Some((_, value)), None) => value,
                    _ => ABSENT,
                };
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }
}
