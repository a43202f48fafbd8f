//! Functions over histograms, classic and native, and range functions where native ones occur.

mod classic;
mod windows;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Histogram, Labels};

use super::super::annotations::for_metric;
use super::super::ast::Expr;
use super::super::error::QueryError;
use super::super::functions::Special;
use super::super::histogram::{self, NanNote};
use super::super::labels::{filtered, with};
use super::super::text::{go_g, quoted};
use super::super::value::Row;
use super::{Evaluator, Sink};
use crate::kernels::{ABSENT, Steps, is_absent};
use classic::Classic;

/// The label of a classic histogram's upper bounds.
const BUCKET_LABEL: &str = "le";

impl Evaluator<'_> {
    pub(super) fn histogram_call(
        &self,
        special: Special,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match special {
            Special::HistogramQuantile => {
                let q = self.scalar(&args[0], steps)?;
                for &q in &q {
                    self.check_quantile(q, args[0].start);
                }
                let ask = Ask::Quantiles(vec![(None, q)]);
                self.over_histograms(&ask, &args[1], steps, sink)
            }
            Special::HistogramQuantiles => {
                let label = self.text(&args[1])?;
                let mut wanted = Vec::new();
                for arg in &args[2..] {
                    let q = self.scalar(arg, steps)?;
                    for &q in &q {
                        self.check_quantile(q, arg.start);
                    }
                    let text = q.first().map_or_else(String::new, |&q| open_metrics_float(q));
                    wanted.push((Some((label.clone(), text)), q));
                }
                self.over_histograms(&Ask::Quantiles(wanted), &args[0], steps, sink)
            }
            Special::HistogramFraction => {
                let (lower, upper) = (self.scalar(&args[0], steps)?, self.scalar(&args[1], steps)?);
                self.over_histograms(&Ask::Fraction(lower, upper), &args[2], steps, sink)
            }
            _ => self.of_native(special, &args[0], steps, sink),
        }
    }

    fn of_native(
        &self,
        special: Special,
        arg: &Expr,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let of = |histogram: &Histogram| match special {
            Special::HistogramCount => histogram.count,
            Special::HistogramSum => histogram.sum,
            Special::HistogramAvg => histogram.sum / histogram.count,
            Special::HistogramStddev => histogram::variance(histogram).sqrt(),
            _ => histogram::variance(histogram),
        };
        self.renamed(arg, sink, |evaluator, sink| {
            evaluator.rows(arg, steps, &mut |mut row| {
                for step in 0..row.floats.len() {
                    row.floats[step] = row.histogram(step).map_or(ABSENT, |h| of(h));
                }
                row.histograms = Vec::new();
                evaluator.drop_name(&mut row);
                if row.is_empty() { Ok(()) } else { sink(row) }
            })
        })
    }

    fn over_histograms(
        &self,
        ask: &Ask,
        arg: &Expr,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut places: HashMap<Labels, usize, RandomState> = HashMap::default();
        let mut sets: Vec<Set> = Vec::new();
        self.rows(arg, steps, &mut |row| {
            let labels = filtered(&row.labels, |name| name != BUCKET_LABEL);
            if row.histograms.iter().any(Option::is_some) {
                let at = place(&mut places, &mut sets, row.labels.clone(), row.drop_name);
                sets[at].native = Some(row.clone());
            }
            if row.floats.iter().all(|&value| is_absent(value)) {
                return Ok(());
            }
            let text = row.labels.get(BUCKET_LABEL).unwrap_or("");
            match bucket_bound(text) {
                Some(bound) => {
                    let at = place(&mut places, &mut sets, labels, row.drop_name);
                    sets[at].classic.push((bound, row.floats));
                }
                None => {
                    let message = format!(
                        "bucket label \"le\" is missing or has a malformed value of {}",
                        quoted(text)
                    );
                    let name = row.labels.metric_name();
                    self.notes.warn(arg.start, for_metric(&message, name));
                }
            }
            Ok(())
        })?;
        self.merged(sink, |evaluator, sink| {
            for set in &sets {
                evaluator.answer(ask, set, arg.start, steps, sink)?;
            }
            Ok(())
        })
    }

    fn answer(
        &self,
        ask: &Ask,
        set: &Set,
        at: usize,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let name = set.labels.metric_name().to_owned();
        let mut classic = Classic::default();
        let mut answers: Vec<Row> = ask
            .labels()
            .iter()
            .map(|label| {
                let labels = match label {
                    Some((name, value)) => with(&set.labels, name, value),
                    None => set.labels.clone(),
                };
                let mut row = Row::absent(labels, steps.count());
                row.drop_name = set.drop_name;
                row
            })
            .collect();
        for step in 0..steps.count() {
            classic.clear();
            for (bound, floats) in &set.classic {
                if !is_absent(floats[step]) {
                    classic.push(*bound, floats[step]);
                }
            }
            let native = set.native.as_ref().and_then(|row| row.histogram(step));
            if native.is_some() && !classic.is_empty() {
                let message = "vector contains a mix of classic and native histograms";
                self.notes.warn(at, for_metric(message, &name));
                continue;
            }
            for (index, row) in answers.iter_mut().enumerate() {
                row.floats[step] = match (native, ask) {
                    (Some(native), Ask::Quantiles(wanted)) => {
                        self.native_quantile(native, wanted[index].1[step], &name, at)
                    }
                    (Some(native), Ask::Fraction(lower, upper)) => {
                        let (share, skips_nan) =
                            histogram::fraction(native, lower[step], upper[step]);
                        if skips_nan {
                            let message = "input to histogram_fraction has NaN observations, which \
                                           are excluded from all fractions";
                            self.notes.info(at, for_metric(message, &name));
                        }
                        share
                    }
                    (None, _) if classic.is_empty() => ABSENT,
                    (None, Ask::Quantiles(wanted)) => {
                        let (value, was_forced) = classic.quantile(wanted[index].1[step]);
                        if was_forced {
                            let message = "input to histogram_quantile needed to be fixed for \
                                monotonicity (see https://prometheus.io/docs/prometheus/latest/\
                                querying/functions/#histogram_quantile)";
                            self.notes.info(at, for_metric(message, &name));
                        }
                        value
                    }
                    (None, Ask::Fraction(lower, upper)) => {
                        classic.fraction(lower[step], upper[step])
                    }
                };
            }
        }
        for mut row in answers {
            self.drop_name(&mut row);
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    fn native_quantile(&self, native: &Arc<Histogram>, q: f64, name: &str, at: usize) -> f64 {
        let (value, note) = histogram::quantile(native, q);
        let message = match note {
            NanNote::None => return value,
            NanNote::Result => "input to histogram_quantile has NaN observations, result is NaN",
            NanNote::Skew => {
                "input to histogram_quantile has NaN observations, result is skewed higher"
            }
        };
        self.notes.info(at, for_metric(message, name));
        value
    }
}

/// A float as OpenMetrics prints it in labels: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    let text = go_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

/// A label to put on the answer, and the quantile at each step.
type Wanted = (Option<(String, String)>, Vec<f64>);

/// What is asked of each histogram.
enum Ask {
    /// A label and value for each quantile, and the quantile at each step.
    Quantiles(Vec<Wanted>),
    Fraction(Vec<f64>, Vec<f64>),
}

impl Ask {
    fn labels(&self) -> Vec<Option<(String, String)>> {
        match self {
            Ask::Quantiles(wanted) => wanted.iter().map(|(label, _)| label.clone()).collect(),
            Ask::Fraction(..) => vec![None],
        }
    }
}

/// Buckets and native histograms of one label set.
#[derive(Default)]
struct Set {
    labels: Labels,
    drop_name: bool,
    classic: Vec<(f64, Vec<f64>)>,
    native: Option<Row>,
}

/// The set of a key, made where it is new.
fn place(
    places: &mut HashMap<Labels, usize, RandomState>,
    sets: &mut Vec<Set>,
    key: Labels,
    drop_name: bool,
) -> usize {
    let at = *places.entry(key.clone()).or_insert(sets.len());
    if at == sets.len() {
        sets.push(Set { labels: key, drop_name, ..Set::default() });
    }
    at
}

fn bucket_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" | "+inf" | "inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}
