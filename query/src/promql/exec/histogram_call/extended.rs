//! Rates of native histograms over `anchored` and `smoothed` windows.
//! Source: Prometheus `promql/functions.go`, `extendedHistogramRate` (3.14).

use std::sync::Arc;

use model::Histogram;

use super::super::super::histogram::{self, Operation};
use super::super::Evaluator;
use super::super::extended::Span;
use super::windows::About;

type Sample = (i64, Arc<Histogram>);

impl Evaluator<'_> {
    /// The difference between the ends of a window, a counter's resets inside added.
    pub(in super::super) fn extended_difference(
        &self,
        samples: &[Sample],
        span: Span,
        is_counter: bool,
        about: &About<'_>,
    ) -> Option<Histogram> {
        let mut last = samples.len().checked_sub(1)?;
        let first =
            samples[..last].partition_point(|(time, _)| *time <= span.start).saturating_sub(1);
        if span.is_smoothed {
            last = samples[..last].partition_point(|(time, _)| *time < span.end);
        }
        if samples[last].0 <= span.start
            || (span.is_smoothed && samples[first].0 > span.end)
            || first > last
        {
            return None;
        }
        let used = &samples[first..=last];
        let custom = histogram::is_custom(&samples[first].1);
        if used.iter().any(|(_, h)| histogram::is_custom(h) != custom) {
            self.note_mixed_schemas(about.name, about.at);
            return None;
        }
        let left_spans = span.is_smoothed && samples[first].0 < span.start;
        let left = if left_spans {
            let next = samples.get(first + 1)?;
            self.between(&samples[first], next, span.start, is_counter, about)?
        } else {
            (*samples[first].1).clone()
        };
        let right = if span.is_smoothed && last > 0 && samples[last].0 > span.end {
            self.between(&samples[last - 1], &samples[last], span.end, is_counter, about)?
        } else {
            (*samples[last].1).clone()
        };
        if is_counter {
            let all: Vec<&Arc<Histogram>> = used.iter().map(|(_, h)| h).collect();
            self.note_hints(true, &all, about);
        } else {
            let (left, right) = (Arc::new(left.clone()), Arc::new(right.clone()));
            self.note_hints(false, &[&left, &right], about);
        }
        let mut result = right.clone();
        self.combine(Operation::Sub, &mut result, &left, about)?;
        if is_counter {
            let inner = Inner { samples, first, last, left_spans };
            self.add_resets(&mut result, &left, &right, &inner, about)?;
        }
        result.reset_hint = histogram::GAUGE;
        Some(histogram::compacted(result))
    }

    /// The histogram on the line between two samples; a reset counter counts as started at zero.
    pub(in super::super) fn between(
        &self,
        (t1, h1): &Sample,
        (t2, h2): &Sample,
        time: i64,
        is_counter: bool,
        about: &About<'_>,
    ) -> Option<Histogram> {
        if time == *t1 {
            return Some((**h1).clone());
        }
        if time == *t2 {
            return Some((**h2).clone());
        }
        let fraction = (time - t1) as f64 / (t2 - t1) as f64;
        if is_counter && histogram::is_reset(h2, h1) {
            return Some(histogram::scaled(h2, fraction));
        }
        let mut line = (**h2).clone();
        self.combine(Operation::Sub, &mut line, h1, about)?;
        let mut line = histogram::scaled(&line, fraction);
        self.combine(Operation::Add, &mut line, h1, about)?;
        Some(line)
    }

    /// Adds what each reset inside the window has taken away.
    fn add_resets(
        &self,
        result: &mut Histogram,
        left: &Histogram,
        right: &Histogram,
        inner: &Inner<'_>,
        about: &About<'_>,
    ) -> Option<()> {
        let mut from = inner.first + 1;
        let mut previous = left;
        // A reset that the left end was interpolated across is in that end already.
        if inner.left_spans
            && let Some((_, next)) = inner.samples.get(from)
            && histogram::is_reset(next, &inner.samples[inner.first].1)
        {
            previous = next;
            from += 1;
        }
        if from > inner.last {
            return Some(());
        }
        for (_, sample) in &inner.samples[from..inner.last] {
            if histogram::is_reset(sample, previous) {
                self.combine(Operation::Add, result, previous, about)?;
            }
            previous = sample;
        }
        if histogram::is_reset(right, previous) {
            self.combine(Operation::Add, result, previous, about)?;
        }
        Some(())
    }
}

/// Samples of a window by index; `first` and `last` are represented by its ends.
struct Inner<'s> {
    samples: &'s [Sample],
    first: usize,
    last: usize,
    left_spans: bool,
}
