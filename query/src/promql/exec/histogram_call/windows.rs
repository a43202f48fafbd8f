//! Range functions over windows in which native histograms occur.

use std::sync::Arc;

use model::Histogram;

use super::super::super::error::QueryError;
use super::super::super::functions::{OnHistograms, RangeRun};
use super::super::super::histogram::{self, Collision, Incompatible, Operation};
use super::super::super::text::quoted;
use super::super::super::value::{Cell, Row};
use super::super::Evaluator;
use super::super::aggregate::Total;
use super::super::call::{Mixed, Place, takes_histograms};
use super::super::ranges::Samples;
use crate::kernels::{
    ABSENT, Extrapolation, Reading, Rollup, began_anew, began_inside, extrapolate, is_absent,
    overlaps,
};

impl Evaluator<'_> {
    /// One row of a range function whose series has histograms.
    pub(in super::super) fn mixed_range(
        &self,
        run: RangeRun,
        (range, frame, steps): Place<'_>,
        rollups: &[Rollup],
        samples: &Samples<'_>,
        row: &mut Row,
    ) -> Result<(), QueryError> {
        let name = samples.labels.metric_name();
        for (step, time) in steps.iter().enumerate() {
            let end = frame.end(time);
            let start = end - frame.range;
            let low = samples.times.partition_point(|&at| at <= start);
            let high = samples.times.partition_point(|&at| at <= end);
            let first = samples.histograms.partition_point(|(at, _)| *at <= start);
            let last = samples.histograms.partition_point(|(at, _)| *at <= end);
            let window = Mixed {
                times: &samples.times[low..high],
                values: &samples.values[low..high],
                histograms: &samples.histograms[first..last],
                starts: samples.starts.part(low..high, first..last),
            };
            let about = About { name, at: range.start };
            let floats = || {
                let mut out = Vec::with_capacity(1);
                let (rollup, frame) = (rollups[step], frame.window(time));
                self.roll_floats(rollup, frame, window.floats(), &about, &mut out);
                out.first().copied().filter(|value| !is_absent(*value)).map(Cell::Float)
            };
            if window.histograms.is_empty() {
                row.set(step, floats());
                continue;
            }
            if !takes_histograms(run) {
                if !window.values.is_empty() {
                    let message = format!(
                        "ignored histograms in a range containing both floats and histograms for \
                         metric name {}",
                        quoted(name)
                    );
                    self.notes.info(range.start, message);
                }
                row.set(step, floats());
                continue;
            }
            if run.histograms == OnHistograms::Mixes {
                row.set(step, mixed(rollups[step], window));
                continue;
            }
            if !window.values.is_empty() && run.histograms != OnHistograms::Irates {
                self.note_mix(name, range.start);
                continue;
            }
            let cell = match run.histograms {
                OnHistograms::Sums => self.summed(window.histograms, false, &about),
                OnHistograms::Averages => self.summed(window.histograms, true, &about),
                OnHistograms::Irates => self.last_two(rollups[step], window, &about),
                _ => {
                    let span = (start, end);
                    self.rate_of(rollups[step], window, span, &about)
                }
            };
            row.set(step, cell);
        }
        Ok(())
    }

    pub(in super::super) fn note_mix(&self, name: &str, at: usize) {
        let message =
            format!("encountered a mix of histograms and floats for metric name {}", quoted(name));
        self.notes.warn(at, message);
    }

    fn summed(
        &self,
        window: &[(i64, Arc<Histogram>)],
        averages: bool,
        about: &About<'_>,
    ) -> Option<Cell> {
        let first = &window.first()?.1;
        let mut sum = Total::new(first, averages);
        let seen = |hint: u8| window.iter().any(|(_, histogram)| histogram.reset_hint == hint);
        if seen(histogram::RESET) && seen(histogram::NOT_RESET) {
            let collision = Collision { resets: true, bounds: false };
            self.note_collision(collision, Operation::Aggregate, about.at);
        }
        for (_, histogram) in &window[1..] {
            match sum.add(histogram) {
                Ok(collision) => {
                    let collision = Collision { resets: false, ..collision };
                    self.note_collision(collision, Operation::Aggregate, about.at);
                }
                Err(Incompatible) => {
                    self.note_mixed_schemas(about.name, about.at);
                    return None;
                }
            }
        }
        Some(Cell::Histogram(Arc::new(histogram::compacted(sum.finish()))))
    }

    fn last_two(&self, rollup: Rollup, window: Mixed<'_>, about: &About<'_>) -> Option<Cell> {
        let all = readings(window, 2);
        let [.., (at_before, before), (at_now, now)] = all.as_slice() else { return None };
        let seconds = (at_now.time - at_before.time) as f64 / 1000.0;
        let is_rate = rollup == Rollup::Irate;
        let began = began_anew(*at_before, *at_now);
        match (before, now) {
            (Cell::Float(before), Cell::Float(now)) => {
                let change = if is_rate && (now < before || began) { *now } else { now - before };
                Some(Cell::Float(if is_rate { change / seconds } else { change }))
            }
            (Cell::Histogram(before), Cell::Histogram(now)) => {
                self.note_hints(is_rate, &[before, now], about);
                let mut change = (**now).clone();
                if !is_rate || !(began || histogram::is_reset(now, before)) {
                    self.combine(Operation::Sub, &mut change, before, about)?;
                }
                change.reset_hint = histogram::GAUGE;
                let change = if is_rate { histogram::divided(&change, seconds) } else { change };
                Some(Cell::Histogram(Arc::new(histogram::compacted(change))))
            }
            _ => {
                self.note_mix(about.name, about.at);
                None
            }
        }
    }

    /// Notes counters among gauges and gauges among counters.
    pub(super) fn note_hints(
        &self,
        is_counter: bool,
        histograms: &[&Arc<Histogram>],
        about: &About<'_>,
    ) {
        let has_gauge = histograms.iter().any(|h| h.reset_hint == histogram::GAUGE);
        let all_gauges = histograms.iter().all(|h| h.reset_hint == histogram::GAUGE);
        let word = match (is_counter, has_gauge, all_gauges) {
            (true, true, _) => "counter",
            (false, _, false) => "gauge",
            _ => return,
        };
        let message =
            format!("this native histogram metric is not a {word}: {}", quoted(about.name));
        self.notes.warn(about.at, message);
    }

    /// Puts the other one to the target or takes it away. Notes what is odd about the two.
    pub(super) fn combine(
        &self,
        operation: Operation,
        target: &mut Histogram,
        other: &Histogram,
        about: &About<'_>,
    ) -> Option<()> {
        let Ok(collision) = histogram::combine(target, other, operation) else {
            self.note_mixed_schemas(about.name, about.at);
            return None;
        };
        let collision = Collision { resets: false, ..collision };
        self.note_collision(collision, operation, about.at);
        Some(())
    }

    fn rate_of(
        &self,
        rollup: Rollup,
        window: Mixed<'_>,
        (start, end): (i64, i64),
        about: &About<'_>,
    ) -> Option<Cell> {
        let [(first_time, first), ..] = window.histograms else { return None };
        let (last_time, _) = window.histograms.last()?;
        let is_counter = rollup != Rollup::Delta;
        let first_reading = window.starts.of_histogram(0, *first_time);
        let began = if is_counter { began_inside(start, first_reading) } else { None };
        let increase = match window.histograms {
            [_] if began.is_some() => Histogram::clone(first),
            [_] => return None,
            _ => self.increase(is_counter, window, about)?,
        };
        let mut factor = extrapolate(
            Extrapolation {
                window_start: start,
                window_end: end,
                first_time: *first_time,
                last_time: *last_time,
                sample_count: window.histograms.len(),
                began,
            },
            is_counter.then_some((first.count, increase.count)),
        );
        let mut increase = histogram::compacted(increase);
        if began.is_some() && window.histograms.len() > 1 {
            self.combine(Operation::Add, &mut increase, first, about)?;
        }
        if rollup == Rollup::Rate {
            factor /= (end - start) as f64 / 1000.0;
        }
        Some(Cell::Histogram(Arc::new(histogram::scaled(&increase, factor))))
    }

    /// From the first to the last histogram of a window of two or more; of a counter with what was
    /// lost at resets.
    fn increase(
        &self,
        is_counter: bool,
        window: Mixed<'_>,
        about: &About<'_>,
    ) -> Option<Histogram> {
        let [(_, first), (_, second), ..] = window.histograms else { return None };
        let (_, last) = window.histograms.last()?;
        if is_counter {
            let all: Vec<&Arc<Histogram>> =
                window.histograms.iter().map(|(_, histogram)| histogram).collect();
            self.note_hints(true, &all, about);
        } else {
            self.note_hints(false, &[first, last], about);
        }
        let reading = |at: usize| window.starts.of_histogram(at, window.histograms[at].0);
        let began = |at: usize| began_anew(reading(at - 1), reading(at));
        // A first sample before a reset does not count, so its layout must not matter either.
        let mut base = Histogram::clone(first);
        if is_counter && (began(1) || histogram::is_reset(second, first)) {
            base = Histogram {
                schema: second.schema,
                custom_values: second.custom_values.clone(),
                zero_threshold: 0.0,
                ..Histogram::default()
            };
        }
        let custom = histogram::is_custom(&base);
        let inner = &window.histograms[1..];
        if inner.iter().any(|(_, h)| histogram::is_custom(h) != custom) {
            self.note_mixed_schemas(about.name, about.at);
            return None;
        }
        let mut increase = Histogram::clone(last);
        self.combine(Operation::Sub, &mut increase, &base, about)?;
        if is_counter {
            if (1..window.histograms.len()).any(|at| overlaps(reading(at - 1), reading(at))) {
                self.note_overlap(about);
            }
            let mut previous = &base;
            for (index, (_, histogram)) in inner.iter().enumerate() {
                if began(index + 1) || histogram::is_reset(histogram, previous) {
                    self.combine(Operation::Add, &mut increase, previous, about)?;
                }
                previous = histogram;
            }
        }
        increase.reset_hint = histogram::GAUGE;
        Some(increase)
    }
}

/// The samples of a window in order of time, the last `count` of each kind.
fn readings(window: Mixed<'_>, count: usize) -> Vec<(Reading, Cell)> {
    let floats = window.times.len().saturating_sub(count)..window.times.len();
    let histograms = window.histograms.len().saturating_sub(count)..window.histograms.len();
    let mut all = Vec::with_capacity(floats.len() + histograms.len());
    for at in floats {
        all.push((window.starts.of_float(at, window.times[at]), Cell::Float(window.values[at])));
    }
    for at in histograms {
        let (time, histogram) = &window.histograms[at];
        let reading = window.starts.of_histogram(at, *time);
        all.push((reading, Cell::Histogram(Arc::clone(histogram))));
    }
    all.sort_by_key(|(reading, _)| reading.time);
    all
}

/// What notes speak of.
pub(in super::super) struct About<'n> {
    pub(in super::super) name: &'n str,
    pub(in super::super) at: usize,
}

/// Functions that take samples of any kind, in order of time.
pub(in super::super) fn mixed(rollup: Rollup, window: Mixed<'_>) -> Option<Cell> {
    let all = readings(window, usize::MAX);
    let (first, last) = (all.first()?, all.last()?);
    let begin_anew = |pair: &[(Reading, Cell)]| began_anew(pair[0].0, pair[1].0);
    let value = match rollup {
        Rollup::Count => all.len() as f64,
        Rollup::Present => 1.0,
        Rollup::First => return Some(first.1.clone()),
        Rollup::Last => return Some(last.1.clone()),
        Rollup::TsOfFirst => first.0.time as f64 / 1000.0,
        Rollup::TsOfLast => last.0.time as f64 / 1000.0,
        Rollup::Changes => {
            let changes = all.windows(2).filter(|pair| match (&pair[0].1, &pair[1].1) {
                (Cell::Float(before), Cell::Float(now)) => {
                    now != before && !(now.is_nan() && before.is_nan())
                }
                (Cell::Histogram(before), Cell::Histogram(now)) => !histogram::equal(now, before),
                _ => true,
            });
            changes.count() as f64
        }
        Rollup::Resets => {
            let resets = all.windows(2).filter(|pair| match (&pair[0].1, &pair[1].1) {
                (Cell::Float(before), Cell::Float(now)) => now < before || begin_anew(pair),
                (Cell::Histogram(before), Cell::Histogram(now)) => {
                    begin_anew(pair) || histogram::is_reset(now, before)
                }
                _ => true,
            });
            resets.count() as f64
        }
        _ => ABSENT,
    };
    (!is_absent(value)).then_some(Cell::Float(value))
}
