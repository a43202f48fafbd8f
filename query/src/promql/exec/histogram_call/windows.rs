//! Range functions over windows in which native histograms occur.

use std::sync::Arc;

use model::Histogram;

use super::super::super::error::QueryError;
use super::super::super::functions::{OnHistograms, RangeRun};
use super::super::super::histogram::{self, Collision, Incompatible, Operation};
use super::super::super::text::quoted;
use super::super::super::value::{Cell, Row};
use super::super::Evaluator;
use super::super::call::{Mixed, Place, takes_histograms};
use super::super::ranges::Samples;
use crate::kernels::{ABSENT, Extrapolation, Rollup, extrapolate, is_absent, roll};

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
            };
            let floats = |evaluator: &Self| {
                let _ = evaluator;
                let mut out = Vec::with_capacity(1);
                roll(rollups[step], frame.window(time), samples.times, samples.values, &mut out);
                out.first().copied().filter(|value| !is_absent(*value)).map(Cell::Float)
            };
            if window.histograms.is_empty() {
                row.set(step, floats(self));
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
                row.set(step, floats(self));
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
            let about = About { name, at: range.start };
            let cell = match run.histograms {
                OnHistograms::Sums => self.summed(window.histograms, false, &about),
                OnHistograms::Averages => self.summed(window.histograms, true, &about),
                OnHistograms::Irates => self.last_two(rollups[step], window, &about),
                _ => {
                    let span = (start, end);
                    self.rate_of(rollups[step], window.histograms, span, &about)
                }
            };
            row.set(step, cell);
        }
        Ok(())
    }

    fn note_mix(&self, name: &str, at: usize) {
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
        let mut sum = (*window.first()?.1).clone();
        let seen = |hint: u8| window.iter().any(|(_, histogram)| histogram.reset_hint == hint);
        if seen(histogram::RESET) && seen(histogram::NOT_RESET) {
            let collision = Collision { resets: true, bounds: false };
            self.note_collision(collision, Operation::Aggregate, about.at);
        }
        for (_, histogram) in &window[1..] {
            match histogram::combine(&mut sum, histogram, Operation::Aggregate) {
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
        if averages {
            sum = histogram::divided(&sum, window.len() as f64);
        }
        Some(Cell::Histogram(Arc::new(histogram::compacted(sum))))
    }

    fn last_two(&self, rollup: Rollup, window: Mixed<'_>, about: &About<'_>) -> Option<Cell> {
        let mut all: Vec<(i64, Cell)> = Vec::with_capacity(4);
        let floats = window.times.iter().zip(window.values).rev().take(2);
        all.extend(floats.map(|(&time, &value)| (time, Cell::Float(value))));
        let histograms = window.histograms.iter().rev().take(2);
        all.extend(histograms.map(|(time, h)| (*time, Cell::Histogram(Arc::clone(h)))));
        all.sort_by_key(|(time, _)| *time);
        let [.., (before_time, before), (time, now)] = all.as_slice() else { return None };
        let seconds = (time - before_time) as f64 / 1000.0;
        let is_rate = rollup == Rollup::Irate;
        match (before, now) {
            (Cell::Float(before), Cell::Float(now)) => {
                let change = if is_rate && now < before { *now } else { now - before };
                Some(Cell::Float(if is_rate { change / seconds } else { change }))
            }
            (Cell::Histogram(before), Cell::Histogram(now)) => {
                self.note_hints(is_rate, &[before, now], about);
                let mut change = (**now).clone();
                if !is_rate || !histogram::is_reset(now, before) {
                    self.subtract(&mut change, before, about)?;
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
    fn note_hints(&self, is_counter: bool, histograms: &[&Arc<Histogram>], about: &About<'_>) {
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

    fn subtract(&self, from: &mut Histogram, other: &Histogram, about: &About<'_>) -> Option<()> {
        match histogram::combine(from, other, Operation::Sub) {
            Ok(collision) => {
                let collision = Collision { resets: false, ..collision };
                self.note_collision(collision, Operation::Sub, about.at);
                Some(())
            }
            Err(Incompatible) => {
                self.note_mixed_schemas(about.name, about.at);
                None
            }
        }
    }

    fn rate_of(
        &self,
        rollup: Rollup,
        window: &[(i64, Arc<Histogram>)],
        (start, end): (i64, i64),
        about: &About<'_>,
    ) -> Option<Cell> {
        let [(first_time, first), .., (last_time, last)] = window else { return None };
        let is_counter = rollup != Rollup::Delta;
        if is_counter {
            let all: Vec<&Arc<Histogram>> = window.iter().map(|(_, histogram)| histogram).collect();
            self.note_hints(true, &all, about);
        } else {
            self.note_hints(false, &[first, last], about);
        }
        // A first sample before a reset does not count, so its layout must not matter either.
        let mut base = (**first).clone();
        if is_counter && histogram::is_reset(&window[1].1, first) {
            base = Histogram {
                schema: window[1].1.schema,
                custom_values: window[1].1.custom_values.clone(),
                zero_threshold: 0.0,
                ..Histogram::default()
            };
        }
        let custom = histogram::is_custom(&base);
        let inner = &window[1..];
        if inner.iter().any(|(_, h)| histogram::is_custom(h) != custom) {
            self.note_mixed_schemas(about.name, about.at);
            return None;
        }
        let mut increase = (**last).clone();
        self.subtract(&mut increase, &base, about)?;
        if is_counter {
            let mut previous = &base;
            for (_, histogram) in inner {
                if histogram::is_reset(histogram, previous) {
                    let collision =
                        histogram::combine(&mut increase, previous, Operation::Add).ok()?;
                    let collision = Collision { resets: false, ..collision };
                    self.note_collision(collision, Operation::Add, about.at);
                }
                previous = histogram;
            }
        }
        increase.reset_hint = histogram::GAUGE;
        let mut factor = extrapolate(
            Extrapolation {
                window_start: start,
                window_end: end,
                first_time: *first_time,
                last_time: *last_time,
                sample_count: window.len(),
            },
            is_counter.then_some((first.count, increase.count)),
        );
        if rollup == Rollup::Rate {
            factor /= (end - start) as f64 / 1000.0;
        }
        let increase = histogram::scaled(&histogram::compacted(increase), factor);
        Some(Cell::Histogram(Arc::new(increase)))
    }
}

/// What notes speak of.
struct About<'n> {
    name: &'n str,
    at: usize,
}

/// Functions that take samples of any kind, in order of time.
fn mixed(rollup: Rollup, window: Mixed<'_>) -> Option<Cell> {
    let mut all: Vec<(i64, Cell)> =
        window.times.iter().zip(window.values).map(|(&t, &v)| (t, Cell::Float(v))).collect();
    let histograms = window.histograms.iter();
    all.extend(histograms.map(|(time, h)| (*time, Cell::Histogram(Arc::clone(h)))));
    all.sort_by_key(|(time, _)| *time);
    let (first, last) = (all.first()?, all.last()?);
    let pairs = |counts: &dyn Fn(&Cell, &Cell) -> bool| {
        all.windows(2).filter(|pair| counts(&pair[0].1, &pair[1].1)).count() as f64
    };
    let value = match rollup {
        Rollup::Count => all.len() as f64,
        Rollup::Present => 1.0,
        Rollup::First => return Some(first.1.clone()),
        Rollup::Last => return Some(last.1.clone()),
        Rollup::TsOfFirst => first.0 as f64 / 1000.0,
        Rollup::TsOfLast => last.0 as f64 / 1000.0,
        Rollup::Changes => pairs(&|before, now| match (before, now) {
            (Cell::Float(before), Cell::Float(now)) => {
                now != before && !(now.is_nan() && before.is_nan())
            }
            (Cell::Histogram(before), Cell::Histogram(now)) => !histogram::equal(now, before),
            _ => true,
        }),
        Rollup::Resets => pairs(&|before, now| match (before, now) {
            (Cell::Float(before), Cell::Float(now)) => now < before,
            (Cell::Histogram(before), Cell::Histogram(now)) => histogram::is_reset(now, before),
            _ => true,
        }),
        _ => ABSENT,
    };
    (!is_absent(value)).then_some(Cell::Float(value))
}
