//! Kernels against their naive twins.

use proptest::prelude::*;

use super::{
    ABSENT, Reading, Rollup, Started, Steps, Windows, is_absent, overlaps, quantile, roll,
    roll_started,
};

fn naive(rollup: Rollup, windows: Windows, times: &[i64], values: &[f64]) -> Vec<f64> {
    let mut out = Vec::new();
    for time in windows.steps.iter() {
        let end = time - windows.offset;
        let inside: Vec<f64> = times
            .iter()
            .zip(values)
            .filter(|(t, _)| **t > end - windows.range && **t <= end)
            .map(|(_, value)| *value)
            .collect();
        if inside.is_empty() {
            out.push(ABSENT);
            continue;
        }
        let pairs = inside.windows(2);
        out.push(match rollup {
            Rollup::Sum => inside.iter().sum(),
            Rollup::Min => inside.iter().copied().fold(f64::NAN, f64::min),
            Rollup::Max => inside.iter().copied().fold(f64::NAN, f64::max),
            Rollup::Count => inside.len() as f64,
            Rollup::Avg => inside.iter().sum::<f64>() / inside.len() as f64,
            Rollup::Changes => pairs.filter(|pair| pair[0] != pair[1]).count() as f64,
            Rollup::Resets => pairs.filter(|pair| pair[1] < pair[0]).count() as f64,
            Rollup::First => inside[0],
            Rollup::Last => inside[inside.len() - 1],
            _ => unreachable!("no naive twin"),
        });
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn kernels_equal_the_naive_evaluator(
        gaps in prop::collection::vec(1i64..50, 0..400),
        numbers in prop::collection::vec(-100i32..100, 400),
        range in 1i64..3000,
        step in 1i64..200,
        offset in -300i64..300,
    ) {
        let times: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let values: Vec<f64> =
            times.iter().zip(&numbers).map(|(_, n)| f64::from(*n) / 8.0).collect();
        let end = times.last().copied().unwrap_or(0) + 500;
        let windows = Windows { steps: Steps { start: -200, end, step }, range, offset };
        for rollup in [
            Rollup::Sum, Rollup::Min, Rollup::Max, Rollup::Count, Rollup::Avg, Rollup::Changes,
            Rollup::Resets, Rollup::First, Rollup::Last,
        ] {
            let mut got = Vec::new();
            roll(rollup, windows, &times, &values, &mut got);
            let want = naive(rollup, windows, &times, &values);
            prop_assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                prop_assert_eq!(is_absent(*got), is_absent(*want), "{:?}", rollup);
                prop_assert!(
                    is_absent(*got) || (got - want).abs() < 1e-9,
                    "{:?}: {} instead of {}", rollup, got, want
                );
            }
        }
    }
}

#[test]
fn a_minimum_is_nan_only_where_all_is() {
    let windows = Windows { steps: Steps::instant(4), range: 10, offset: 0 };
    let check = |values: &[f64], want: f64| {
        let mut out = Vec::new();
        roll(Rollup::Min, windows, &[1, 2, 3], values, &mut out);
        assert!(out[0] == want || out[0].is_nan() && want.is_nan(), "{values:?}: {out:?}");
    };
    check(&[f64::NAN, 2.0, 3.0], 2.0);
    check(&[2.0, f64::NAN, 3.0], 2.0);
    check(&[f64::NAN, f64::NAN, f64::NAN], f64::NAN);
}

#[test]
fn rate_extrapolates_to_the_ends_of_the_window() {
    let times: Vec<i64> = (0..10).map(|i| i * 10_000).collect();
    let values: Vec<f64> = (0..10).map(|i| f64::from(i) * 10.0).collect();
    let windows = Windows { steps: Steps::instant(90_000), range: 60_000, offset: 0 };
    let mut out = Vec::new();
    roll(Rollup::Rate, windows, &times, &values, &mut out);
    roll(Rollup::Increase, windows, &times, &values, &mut out);
    roll(Rollup::Irate, windows, &times, &values, &mut out);
    assert_eq!(out, [1.0, 60.0, 1.0]);
}

#[test]
fn quantiles_sort_nan_first() {
    assert_eq!(quantile(1.0, &mut [3.0, f64::NAN, 1.0]), 3.0);
    assert!(quantile(0.0, &mut [3.0, f64::NAN, 1.0]).is_nan());
    assert_eq!(quantile(0.5, &mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
}

/// Increase over the whole of a series that says when it began, as the window `(0, 300 s]`.
fn increase_with_starts(times: &[i64], values: &[f64], starts: &[i64]) -> f64 {
    let windows = Windows { steps: Steps::instant(300_000), range: 300_000, offset: 0 };
    let mut out = Vec::new();
    roll_started(Rollup::Increase, windows, Started { times, values, starts }, &mut out);
    out[0]
}

#[test]
fn a_counter_that_begins_anew_without_falling_is_reset() {
    let times = [60_000, 120_000, 180_000, 240_000, 300_000];
    // Deltas: each begins where the last one was taken.
    let deltas = increase_with_starts(&times, &[5.0; 5], &[1, 60_000, 120_000, 180_000, 240_000]);
    assert!((deltas - 25.0).abs() < 1e-3, "{deltas}");
    // Nothing is known: a counter that stands still.
    assert_eq!(increase_with_starts(&times, &[5.0; 5], &[0; 5]), 0.0);
    // OpenTelemetry's unknown start: the first begins where it was taken, the others there as well.
    assert_eq!(increase_with_starts(&times, &[5.0; 5], &[60_000; 5]), 0.0);
    // Started once inside the window: what came before the first sample counts.
    let since = increase_with_starts(&times, &[5.0; 5], &[30_000; 5]);
    assert_eq!(since, 5.0);
}

#[test]
fn one_sample_counts_where_its_beginning_is_known() {
    assert_eq!(increase_with_starts(&[200_000], &[7.0], &[150_000]), 7.0);
    for start in [0, 200_000, 250_000, -1000] {
        let value = increase_with_starts(&[200_000], &[7.0], &[start]);
        assert!(is_absent(value), "{start}: {value}");
    }
}

#[test]
fn samples_that_count_the_same_twice_overlap() {
    let reading = |time, start| Reading { time, start };
    assert!(overlaps(reading(10, 1), reading(20, 5)));
    assert!(!overlaps(reading(10, 1), reading(20, 1)), "cumulative");
    assert!(!overlaps(reading(10, 1), reading(20, 10)), "delta");
    assert!(!overlaps(reading(10, 1), reading(20, 0)), "not known");
}
