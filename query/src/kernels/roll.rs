//! Every range function over floats: one pass over a series for all steps.

use std::ops::Range;

use super::{
    ABSENT, Extrapolation, Kahan, Mean, Variance, Windows, counter_increase, extrapolate,
    linear_regression, quantile,
};

/// What to compute of each window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rollup {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    First,
    Last,
    Stddev,
    Stdvar,
    Present,
    Quantile(f64),
    /// Median absolute deviation.
    Mad,
    Changes,
    Resets,
    /// Per second, extrapolated; with `rate` of counters, resets count.
    Rate,
    Increase,
    Delta,
    /// Per second between the last two samples.
    Irate,
    Idelta,
    Deriv,
    /// The line's value this many seconds after the step's time.
    PredictLinear(f64),
    /// Smoothing factor, trend factor; both in `0..=1`.
    DoubleExponential(f64, f64),
    /// Time (in seconds, where times are ms) of the first, last, smallest, largest sample.
    TsOfFirst,
    TsOfLast,
    TsOfMin,
    TsOfMax,
}

/// Computes `rollup` for each step and appends one value a step to `out`, [`ABSENT`] where there is
/// none. Shape: `times` and `values` are of one length; times ascend; no stale markers. Units: ms
/// for those that speak of time; the others take any.
///
/// Cost: each sample is passed once by each end of the window; minimum, maximum, changes and resets
/// need no more than that, the others read the samples of each window.
pub(crate) fn roll(
    rollup: Rollup,
    windows: Windows,
    times: &[i64],
    values: &[f64],
    out: &mut Vec<f64>,
) {
    assert!(times.len() == values.len(), "bug: times and values differ in length");
    let slices = |range: &Range<usize>| (&times[range.clone()], &values[range.clone()]);
    match rollup {
        Rollup::Min => extremes(windows, times, values, out, |new, old| new <= old || old.is_nan()),
        Rollup::Max => extremes(windows, times, values, out, |new, old| new >= old || old.is_nan()),
        Rollup::Changes => pairs(windows, times, values, out, |previous, value| {
            value != previous && !(value.is_nan() && previous.is_nan())
        }),
        Rollup::Resets => pairs(windows, times, values, out, |previous, value| value < previous),
        Rollup::Sum => blocks(windows, times, values, out),
        _ => {
            let mut scratch = Vec::new();
            for (index, range) in windows.over(times).enumerate() {
                let (times, values) = slices(&range);
                let end = windows.steps.at(index);
                out.push(match values {
                    [] => ABSENT,
                    _ => one(rollup, windows, end, times, values, &mut scratch),
                });
            }
        }
    }
}

/// One window that is not empty.
fn one(
    rollup: Rollup,
    windows: Windows,
    step_time: i64,
    times: &[i64],
    values: &[f64],
    scratch: &mut Vec<f64>,
) -> f64 {
    let last = values.len() - 1;
    match rollup {
        Rollup::Avg => {
            let mut mean = Mean::default();
            values.iter().for_each(|&value| mean.add(value));
            mean.value()
        }
        Rollup::Count => values.len() as f64,
        Rollup::First => values[0],
        Rollup::Last => values[last],
        Rollup::Present => 1.0,
        Rollup::Stdvar => variance(values),
        Rollup::Stddev => variance(values).sqrt(),
        Rollup::Quantile(q) => quantile(q, copied(scratch, values)),
        // Where a value is no number, neither is the deviation.
        Rollup::Mad if values.iter().any(|value| value.is_nan()) => f64::NAN,
        Rollup::Mad => {
            let median = quantile(0.5, copied(scratch, values));
            scratch.iter_mut().for_each(|value| *value = (*value - median).abs());
            quantile(0.5, scratch)
        }
        Rollup::Rate | Rollup::Increase | Rollup::Delta => {
            extrapolated(rollup, windows, step_time, times, values)
        }
        Rollup::Irate | Rollup::Idelta => instant_change(rollup, times, values),
        Rollup::Deriv if last > 0 => linear_regression(times, values, times[0]).0,
        Rollup::PredictLinear(seconds) if last > 0 => {
            let (slope, intercept) = linear_regression(times, values, step_time);
            slope * seconds + intercept
        }
        Rollup::DoubleExponential(smoothing, trend) if last > 0 => {
            double_exponential(values, smoothing, trend)
        }
        Rollup::TsOfFirst => times[0] as f64 / 1000.0,
        Rollup::TsOfLast => times[last] as f64 / 1000.0,
        Rollup::TsOfMin => time_of(times, values, |new, old| new <= old || old.is_nan()),
        Rollup::TsOfMax => time_of(times, values, |new, old| new >= old || old.is_nan()),
        _ => ABSENT,
    }
}

fn copied<'a>(scratch: &'a mut Vec<f64>, values: &[f64]) -> &'a mut [f64] {
    scratch.clear();
    scratch.extend_from_slice(values);
    scratch
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|&value| variance.add(value));
    variance.value()
}

fn time_of(times: &[i64], values: &[f64], wins: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for index in 1..values.len() {
        if wins(values[index], values[best]) {
            best = index;
        }
    }
    times[best] as f64 / 1000.0
}

fn extrapolated(
    rollup: Rollup,
    windows: Windows,
    step_time: i64,
    times: &[i64],
    values: &[f64],
) -> f64 {
    if values.len() < 2 {
        return ABSENT;
    }
    let window_end = step_time - windows.offset;
    let is_counter = rollup != Rollup::Delta;
    let increase =
        if is_counter { counter_increase(values) } else { values[values.len() - 1] - values[0] };
    let mut factor = extrapolate(
        Extrapolation {
            window_start: window_end - windows.range,
            window_end,
            first_time: times[0],
            last_time: times[times.len() - 1],
            sample_count: times.len(),
            began: None,
        },
        is_counter.then_some((values[0], increase)),
    );
    if rollup == Rollup::Rate {
        factor /= windows.range as f64 / 1000.0;
    }
    increase * factor
}

fn instant_change(rollup: Rollup, times: &[i64], values: &[f64]) -> f64 {
    let ([.., time_before, time], [.., before, value]) = (times, values) else {
        return ABSENT;
    };
    if rollup == Rollup::Idelta {
        return value - before;
    }
    let change = if value < before { *value } else { value - before };
    change / ((time - time_before) as f64 / 1000.0)
}

fn double_exponential(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let (mut previous, mut smoothed) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (index, &value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (smoothed - previous) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + trend);
        previous = smoothed;
        smoothed = next;
    }
    smoothed
}

/// Minimum or maximum by a monotonic queue: the front of it is the window's winner. `wins(new, old)`
/// must hold for every number against NaN.
fn extremes(
    windows: Windows,
    times: &[i64],
    values: &[f64],
    out: &mut Vec<f64>,
    wins: impl Fn(f64, f64) -> bool,
) {
    let mut queue: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut seen = 0;
    for range in windows.over(times) {
        for index in seen.max(range.start)..range.end {
            while queue.back().is_some_and(|&old| wins(values[index], values[old])) {
                queue.pop_back();
            }
            queue.push_back(index);
        }
        seen = seen.max(range.end);
        while queue.front().is_some_and(|&index| index < range.start) {
            queue.pop_front();
        }
        out.push(queue.front().filter(|_| !range.is_empty()).map_or(ABSENT, |&i| values[i]));
    }
}

/// How many neighbours of a window satisfy `counts`: a running number over the whole series, whose
/// difference is each window's.
fn pairs(
    windows: Windows,
    times: &[i64],
    values: &[f64],
    out: &mut Vec<f64>,
    counts: impl Fn(f64, f64) -> bool,
) {
    let mut running: Vec<u32> = Vec::with_capacity(values.len());
    let mut total = 0;
    for (index, &value) in values.iter().enumerate() {
        if index > 0 && counts(values[index - 1], value) {
            total += 1;
        }
        running.push(total);
    }
    for range in windows.over(times) {
        out.push(if range.is_empty() {
            ABSENT
        } else {
            f64::from(running[range.end - 1] - running[range.start])
        });
    }
}

/// Samples whose compensated sum is kept for [`blocks`].
const BLOCK_SAMPLES: usize = 64;

/// Sums by way of the sums of whole blocks inside a window, so that long overlapping windows do not
/// add every sample again at every step.
fn blocks(windows: Windows, times: &[i64], values: &[f64], out: &mut Vec<f64>) {
    let sum_of = |values: &[f64]| {
        let mut sum = Kahan::default();
        values.iter().for_each(|&value| sum.add(value));
        sum
    };
    let block_sums: Vec<Kahan> = values.chunks(BLOCK_SAMPLES).map(sum_of).collect();
    for range in windows.over(times) {
        if range.is_empty() {
            out.push(ABSENT);
            continue;
        }
        let first_block = range.start.div_ceil(BLOCK_SAMPLES);
        let end_block = range.end / BLOCK_SAMPLES;
        if first_block + 1 >= end_block {
            out.push(sum_of(&values[range]).value());
            continue;
        }
        let mut sum = sum_of(&values[range.start..first_block * BLOCK_SAMPLES]);
        for block in &block_sums[first_block..end_block] {
            sum.add(block.sum);
            sum.rest += block.rest;
        }
        for &value in &values[end_block * BLOCK_SAMPLES..range.end] {
            sum.add(value);
        }
        out.push(sum.value());
    }
}
