//! Instant selectors: the latest sample of a series at each step.

use storage::{MsRange, SampleBuf};

use super::super::ast::{Ends, Selector};
use super::super::error::QueryError;
use super::super::value::{Cell, Row};
use super::{Evaluator, Sink};
use crate::kernels::Steps;

impl Evaluator<'_> {
    /// Rows of a selector.
    pub(super) fn instants(
        &self,
        selector: &Selector,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if selector.ends != Ends::Plain {
            return self.smoothed_instants(selector, steps, sink);
        }
        self.latest(selector, steps, false, sink)
    }

    /// Rows of a selector, or of its samples' times in seconds.
    pub(super) fn latest(
        &self,
        selector: &Selector,
        steps: Steps,
        wants_times: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let (at, offset) = self.shift(&selector.shift)?;
        let lookback = self.options.lookback_ms;
        let read = at.map_or(steps, Steps::instant);
        let range = MsRange {
            start_ms: read.start.saturating_sub(offset).saturating_sub(lookback).saturating_add(1),
            end_ms: read.at(read.count().saturating_sub(1)).saturating_sub(offset),
        };
        let set = self.select(&selector.matchers, range)?;
        let mut buf = SampleBuf::default();
        for (index, labels) in set.series().iter().enumerate() {
            self.read(&*set, index, &mut buf)?;
            let mut row = Row::absent(labels.clone(), steps.count());
            let mut cursor = Cursor::default();
            for (step, time) in steps.iter().enumerate() {
                let moment = at.unwrap_or(time).saturating_sub(offset);
                if let Some((time_ms, cell)) = cursor.latest(&buf, moment, lookback) {
                    let cell =
                        if wants_times { Cell::Float(time_ms as f64 / 1000.0) } else { cell };
                    row.set(step, Some(cell));
                }
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    /// Reads a series, counting its samples.
    pub(super) fn read(
        &self,
        set: &dyn super::SeriesSet,
        index: usize,
        buf: &mut SampleBuf,
    ) -> Result<(), QueryError> {
        self.budget.check()?;
        let notices = set.read(index, buf, self.budget)?;
        if !notices.unread.is_empty() || !notices.warnings.is_empty() {
            self.notices.borrow_mut().merge(notices);
        }
        let count = buf.times.len() + buf.histograms.len();
        self.samples.set(self.samples.get() + count as u64);
        Ok(())
    }
}

/// Walks both kinds of a series' samples forward.
#[derive(Default)]
struct Cursor {
    floats: usize,
    histograms: usize,
}

impl Cursor {
    /// The latest sample in `(moment - lookback, moment]`, unless it is a stale marker. Moments
    /// must ascend.
    fn latest(&mut self, buf: &SampleBuf, moment: i64, lookback: i64) -> Option<(i64, Cell)> {
        while buf.times.get(self.floats).is_some_and(|&time| time <= moment) {
            self.floats += 1;
        }
        while buf.histograms.get(self.histograms).is_some_and(|(time, _)| *time <= moment) {
            self.histograms += 1;
        }
        let float = self.floats.checked_sub(1).map(|last| (buf.times[last], buf.values[last]));
        let histogram = self.histograms.checked_sub(1).map(|last| &buf.histograms[last]);
        let start = moment.saturating_sub(lookback);
        match (float, histogram) {
            (Some((time, value)), other) if other.is_none_or(|(later, _)| *later < time) => {
                (time > start && !model::is_stale(value)).then_some((time, Cell::Float(value)))
            }
            (_, Some((time, histogram))) => (*time > start && !model::is_stale(histogram.sum))
                .then(|| (*time, Cell::Histogram(histogram.clone()))),
            _ => None,
        }
    }
}
