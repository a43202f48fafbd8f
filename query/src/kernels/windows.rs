//! Which moments a query asks for, and which samples lie before each.

use std::ops::Range;

/// The moments of a query: `start`, `start + step`, ... up to `end`, both ends included. An instant
/// query is one of equal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// More than 0.
    pub(crate) step: i64,
}

impl Steps {
    /// One moment.
    pub(crate) fn instant(time: i64) -> Steps {
        Steps { start: time, end: time, step: 1 }
    }

    /// How many moments there are; none where `end` lies before `start`.
    pub(crate) fn count(self) -> usize {
        if self.end < self.start {
            return 0;
        }
        let span = self.end.saturating_sub(self.start) / self.step.max(1);
        usize::try_from(span).unwrap_or(0).saturating_add(1)
    }

    /// The moment of a step.
    pub(crate) fn at(self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(index as i64))
    }

    /// All moments in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = i64> {
        (0..self.count()).map(move |index| self.at(index))
    }
}

/// Windows `(t - offset - range, t - offset]` for each step `t`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) steps: Steps,
    pub(crate) range: i64,
    pub(crate) offset: i64,
}

impl Windows {
    /// For each step the samples in its window, as a range of indices into `times`.
    ///
    /// Shape: `times` ascends. Cost: every index is passed once by each end of the window.
    pub(crate) fn over(self, times: &[i64]) -> impl Iterator<Item = Range<usize>> {
        let (mut low, mut high) = (0usize, 0usize);
        self.steps.iter().map(move |time| {
            let end = time.saturating_sub(self.offset);
            let start = end.saturating_sub(self.range);
            while times.get(high).is_some_and(|&time| time <= end) {
                high += 1;
            }
            while low < high && times.get(low).is_some_and(|&time| time <= start) {
                low += 1;
            }
            low..high
        })
    }
}
