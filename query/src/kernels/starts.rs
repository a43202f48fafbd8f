//! Counters that say with each sample when they began: a reset is seen even where the value does not
//! fall, and what was counted since the beginning counts although no sample comes before it.
//! Source: Prometheus `promql/functions.go` (3.14): `isStartTimestampReset`, `checkStartTimeOverlap`,
//! `extrapolatedRate`.

use super::{ABSENT, Extrapolation, Rollup, Windows, extrapolate};

/// When a sample was taken and when what it counts began; 0 where that is not known. Units: ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) time: i64,
    pub(crate) start: i64,
}

/// Whether a counter began anew between two samples.
///
/// One that begins where the last sample was taken is a delta, if that one said when it began; else
/// it is a sum since a time that nobody knows (OpenTelemetry's unknown start), which goes on.
pub(crate) fn began_anew(before: Reading, now: Reading) -> bool {
    if now.start == 0 || now.start >= now.time || now.start < before.time {
        return false;
    }
    now.start > before.time || (before.start != 0 && before.start < before.time)
}

/// Whether a sample counts from before the last one on, and not from where that one did.
pub(crate) fn overlaps(before: Reading, now: Reading) -> bool {
    now.start != 0 && now.start < before.time && now.start != before.start
}

/// The beginning of a counter that lies inside a window and before the first sample in it.
pub(crate) fn began_inside(window_start: i64, first: Reading) -> Option<i64> {
    let is_inside = first.start != 0 && first.start > window_start && first.start < first.time;
    is_inside.then_some(first.start)
}

/// A series of floats. Shape: all of one length, or `starts` empty where none is known; times ascend; no
/// stale markers. Units: ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) starts: &'a [i64],
}

impl Started<'_> {
    fn reading(&self, index: usize) -> Reading {
        Reading { time: self.times[index], start: self.starts[index] }
    }

    fn falls_or_begins(&self, index: usize) -> bool {
        self.values[index] < self.values[index - 1]
            || began_anew(self.reading(index - 1), self.reading(index))
    }

    /// Whether two neighbours of a window overlap.
    fn has_overlap(&self) -> bool {
        (1..self.times.len()).any(|at| overlaps(self.reading(at - 1), self.reading(at)))
    }

    fn increase(&self) -> f64 {
        let last = self.values.len() - 1;
        let restarts = (1..=last).filter(|&at| self.falls_or_begins(at));
        let increase = self.values[last] - self.values[0];
        restarts.fold(increase, |sum, at| sum + self.values[at - 1])
    }
}

/// Whether [`roll_started`] is to be asked where a series has starts.
pub(crate) fn knows_starts(rollup: Rollup) -> bool {
    matches!(rollup, Rollup::Rate | Rollup::Increase | Rollup::Irate | Rollup::Resets)
}

/// As [`super::roll`], for functions of [`knows_starts`]. Returns whether samples of a window whose
/// increase was taken overlap.
pub(crate) fn roll_started(
    rollup: Rollup,
    windows: Windows,
    series: Started<'_>,
    out: &mut Vec<f64>,
) -> bool {
    let mut has_overlap = false;
    for (index, range) in windows.over(series.times).enumerate() {
        let window = Started {
            times: &series.times[range.clone()],
            values: &series.values[range.clone()],
            starts: &series.starts[range],
        };
        let end = windows.steps.at(index).saturating_sub(windows.offset);
        out.push(match (window.times.len(), rollup) {
            (0, _) => ABSENT,
            (count, Rollup::Resets) => {
                (1..count).filter(|&at| window.falls_or_begins(at)).count() as f64
            }
            (count, Rollup::Irate) => last_two(&window, count),
            _ => {
                has_overlap = has_overlap || window.has_overlap();
                extrapolated(rollup, (end.saturating_sub(windows.range), end), &window)
            }
        });
    }
    has_overlap
}

fn last_two(window: &Started<'_>, count: usize) -> f64 {
    if count < 2 {
        return ABSENT;
    }
    let (before, now) = (count - 2, count - 1);
    let base = if window.falls_or_begins(now) { 0.0 } else { window.values[before] };
    (window.values[now] - base) / ((window.times[now] - window.times[before]) as f64 / 1000.0)
}

fn extrapolated(rollup: Rollup, (start, end): (i64, i64), window: &Started<'_>) -> f64 {
    let began = began_inside(start, window.reading(0));
    let count = window.times.len();
    if count < 2 && began.is_none() {
        return ABSENT;
    }
    let mut increase = window.increase();
    let mut factor = extrapolate(
        Extrapolation {
            window_start: start,
            window_end: end,
            first_time: window.times[0],
            last_time: window.times[count - 1],
            sample_count: count,
            began,
        },
        Some((window.values[0], increase)),
    );
    if began.is_some() {
        increase += window.values[0];
    }
    if rollup == Rollup::Rate {
        factor /= (end - start) as f64 / 1000.0;
    }
    increase * factor
}
