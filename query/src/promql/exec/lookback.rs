//! Instant selectors: the latest sample of a series at each step.

use storage::{MsRange, SampleBuf};

use super::super::ast::{Ends, Selector};
use super::super::error::QueryError;
use super::super::histogram;
use super::super::value::{Cell, Row};
use super::ranges::Starts;
use super::{Evaluator, Sink};
use crate::kernels::{Reading, Steps};

/// What of a selector's samples is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Facet {
    Value,
    /// Units: s.
    Time,
    /// When what it counts began. Units: s.
    Start,
}

impl Evaluator<'_> {
    /// Rows of a selector that stands at `place` in the query.
    pub(super) fn instants(
        &self,
        selector: &Selector,
        place: usize,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if selector.ends != Ends::Plain {
            return self.smoothed_instants(selector, place, steps, sink);
        }
        self.latest(selector, steps, Facet::Value, sink)
    }

    /// Rows of a selector's samples, or of their times.
    pub(super) fn latest(
        &self,
        selector: &Selector,
        steps: Steps,
        wanted: Facet,
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
            self.read(selector, &*set, index, &mut buf)?;
            let mut row = Row::absent(labels.clone(), steps.count());
            let mut cursor = Cursor::default();
            for (step, time) in steps.iter().enumerate() {
                let moment = at.unwrap_or(time).saturating_sub(offset);
                if let Some((reading, cell)) = cursor.latest(&buf, moment, lookback) {
                    row.set(
                        step,
                        Some(match wanted {
                            Facet::Value => cell,
                            Facet::Time => Cell::Float(reading.time as f64 / 1000.0),
                            Facet::Start => Cell::Float(reading.start as f64 / 1000.0),
                        }),
                    );
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
        selector: &Selector,
        set: &dyn super::SeriesSet,
        index: usize,
        buf: &mut SampleBuf,
    ) -> Result<(), QueryError> {
        self.budget.check()?;
        let notices = set.read(index, buf, self.budget)?;
        if !notices.unread.is_empty() || !notices.warnings.is_empty() {
            self.notices.borrow_mut().merge(notices);
        }
        if selector.totals_only {
            histogram::keep_totals(&mut buf.histograms);
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
    fn latest(&mut self, buf: &SampleBuf, moment: i64, lookback: i64) -> Option<(Reading, Cell)> {
        while buf.times.get(self.floats).is_some_and(|&time| time <= moment) {
            self.floats += 1;
        }
        while buf.histograms.get(self.histograms).is_some_and(|(time, _)| *time <= moment) {
            self.histograms += 1;
        }
        let float = self.floats.checked_sub(1).map(|last| (buf.times[last], buf.values[last]));
        let histogram = self.histograms.checked_sub(1).map(|last| &buf.histograms[last]);
        let oldest = moment.saturating_sub(lookback);
        let starts = Starts { floats: &buf.starts, histograms: &buf.histogram_starts };
        match (float, histogram) {
            (Some((time, value)), other) if other.is_none_or(|(later, _)| *later < time) => {
                (time > oldest && !model::is_stale(value))
                    .then(|| (starts.of_float(self.floats - 1, time), Cell::Float(value)))
            }
            (_, Some((time, histogram))) => (*time > oldest && !model::is_stale(histogram.sum))
                .then(|| {
                    let reading = starts.of_histogram(self.histograms - 1, *time);
                    (reading, Cell::Histogram(histogram.clone()))
                }),
            _ => None,
        }
    }
}
