//! Range aggregations.
//!
//! Counting needs no sample kept: a record adds one where its windows begin and takes it away where
//! they end, and a running sum over the steps gives every window's count, whatever the order in which
//! records come. Functions of unwrapped values keep (time, value) and go through the kernels.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::NS_PER_MS;
use storage::{Budget, Direction, LogScan, TimeRange};

use super::super::ast::{Grouping, MatcherExpr, RangeAggregation, RangeOp};
use super::super::check::matchers;
use super::super::error::{LogqlError, Result};
use super::super::labels::{ERROR, LabelSet, PRESERVE_ERROR, key_labels};
use super::super::pipeline::{Extractor, push_down};
use super::super::rows::{LogSource, StreamCache};
use super::super::stage::Line;
use super::{Context, Series, SeriesLabels, is_empty, label};
use crate::kernels::{ABSENT, Rollup, Steps, Windows, is_absent, roll};

/// Records between two looks at the budget.
const CHECK_EVERY: u64 = 4096;

/// What is kept of a series while records come.
#[derive(Debug)]
enum Kept {
    /// Changes of the window's sum from step to step, and of its number of records.
    Running { sums: Vec<f64>, counts: Vec<i64> },
    /// Times (ns) and values as they came.
    Samples(Vec<(i64, f64)>),
}

struct Collector<'a> {
    op: RangeOp,
    /// By key of labels.
    index: HashMap<Box<[u8]>, usize>,
    kept: Vec<Kept>,
    windows: Windows,
    extractor: &'a Extractor,
    /// Taken since the budget was told. Units: bytes.
    bytes: usize,
}

/// What a series takes beside its key and points. Units: bytes.
const SERIES_BYTES: usize = 128;

/// Evaluates a range aggregation; `outer` is the grouping of a sum around it.
pub(super) fn run<S: LogSource + ?Sized>(
    range: &RangeAggregation,
    steps: Steps,
    outer: Option<&Grouping>,
    ctx: &mut Context<'_, S>,
) -> Result<Vec<Series>> {
    let windows = Windows { steps, range: range.range_ns, offset: range.offset_ns };
    let plan = push_down(&range.log);
    let extractor = Extractor::build(range, outer, &plan.stages, ctx.regex)?;
    // Windows are open on the left and closed on the right; a scan's range is the other way round.
    let last = steps.at(steps.count().saturating_sub(1));
    let first_end = steps.start.saturating_sub(range.offset_ns);
    let scan = LogScan {
        matchers: matchers(&range.log, ctx.regex)?,
        range: TimeRange {
            start_ns: first_end.saturating_sub(range.range_ns).saturating_add(1),
            end_ns: last.saturating_sub(range.offset_ns).saturating_add(1),
        },
        line_contains: plan.needles,
        attribute_hints: Vec::new(),
        trace_id: None,
        direction: Direction::Forward,
    };
    let mut collector = Collector {
        op: range.op,
        index: HashMap::new(),
        kept: Vec::new(),
        windows,
        extractor: &extractor,
        bytes: 0,
    };
    collect(&scan, &mut collector, ctx)?;
    let series = finish(range, collector)?;
    if range.op == RangeOp::Absent {
        return Ok(absent(range, series, steps.count()));
    }
    Ok(series)
}

fn collect<S: LogSource + ?Sized>(
    scan: &LogScan,
    collector: &mut Collector<'_>,
    ctx: &mut Context<'_, S>,
) -> Result<()> {
    let mut labels = LabelSet::new(collector.extractor.hints.clone());
    let mut cache = StreamCache::default();
    let mut failure = None;
    let detects_level = ctx.source.detects_level();
    let (source, budget, series_max) = (ctx.source, ctx.budget, ctx.series_max);
    let figures = &mut ctx.figures;
    let notices = source.scan(scan, budget, &mut |block, _bound| {
        let batch = &*block.batch;
        let streams = cache.of(batch);
        if let Err(error) = account(budget, block.rows.len() as u64) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        for row in block.iter() {
            let Some(stream) = streams.get(row.stream as usize) else { continue };
            let text = batch.line(row);
            figures.lines += 1;
            figures.bytes += text.len() as u64;
            if figures.lines.is_multiple_of(CHECK_EVERY)
                && let Err(error) = budget.check()
            {
                failure = Some(error.into());
                return ControlFlow::Break(());
            }
            stream.load(batch, row, &text, &mut labels, detects_level);
            let mut line = Line { time_ns: row.time_ns, text };
            if let Some(value) = collector.extractor.extract(&mut line, &mut labels) {
                figures.lines_passed += 1;
                collector.add(row.time_ns, value, &mut labels);
            }
        }
        let bytes = std::mem::take(&mut collector.bytes);
        if let Err(error) = budget
            .take_memory(bytes)
            .and_then(|()| budget.check_series(collector.kept.len(), series_max))
        {
            failure = Some(error.into());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    figures.streams += cache.len() as u64;
    ctx.notices.merge(notices);
    failure.map_or(Ok(()), Err)
}

fn account(budget: &Budget, rows: u64) -> Result<()> {
    budget.check()?;
    budget.take_samples(rows)?;
    Ok(())
}

impl Collector<'_> {
    fn add(&mut self, time_ns: i64, value: f64, labels: &mut LabelSet) {
        let key = self.extractor.key(labels);
        let at = match self.index.get(key) {
            Some(&at) => at,
            None => {
                let at = self.kept.len();
                self.bytes += SERIES_BYTES + key.len();
                self.index.insert(key.into(), at);
                self.kept.push(self.empty());
                if let Some(Kept::Running { sums, counts }) = self.kept.last() {
                    self.bytes += size_of_val(&sums[..]) + size_of_val(&counts[..]);
                }
                at
            }
        };
        let Some((first, end)) = steps_of(self.windows, time_ns) else { return };
        match &mut self.kept[at] {
            Kept::Running { sums, counts } => {
                sums[first] += value;
                sums[end] -= value;
                counts[first] += 1;
                counts[end] -= 1;
            }
            Kept::Samples(samples) => {
                self.bytes += size_of::<(i64, f64)>();
                samples.push((time_ns, value));
            }
        }
    }

    fn empty(&self) -> Kept {
        let whole_numbers = matches!(self.extractor_sample(), RangeOp::Count | RangeOp::Bytes);
        if whole_numbers {
            let count = self.windows.steps.count() + 1;
            Kept::Running { sums: vec![0.0; count], counts: vec![0; count] }
        } else {
            Kept::Samples(Vec::new())
        }
    }

    /// Count or Bytes where samples are whole numbers, so that sums of differences are exact.
    fn extractor_sample(&self) -> RangeOp {
        match self.op {
            RangeOp::Rate if !self.extractor.is_unwrapped() => RangeOp::Count,
            RangeOp::Absent => RangeOp::Count,
            RangeOp::BytesRate => RangeOp::Bytes,
            op => op,
        }
    }
}

/// The steps whose windows hold a record of this time: from the first to before the second.
fn steps_of(windows: Windows, time_ns: i64) -> Option<(usize, usize)> {
    let Windows { steps, range, offset } = windows;
    let count = steps.count() as i128;
    let since = i128::from(time_ns) + i128::from(offset) - i128::from(steps.start);
    let step = i128::from(steps.step.max(1));
    let first = since.div_euclid(step) + i128::from(since.rem_euclid(step) != 0);
    let until = since + i128::from(range);
    let end = until.div_euclid(step) + i128::from(until.rem_euclid(step) != 0);
    let first = first.clamp(0, count);
    let end = end.clamp(0, count);
    (first < end).then_some((first as usize, end as usize))
}

fn finish(range: &RangeAggregation, collector: Collector<'_>) -> Result<Vec<Series>> {
    let Collector { index, kept, windows, .. } = collector;
    let mut keyed: Vec<(Box<[u8]>, Option<Kept>)> = Vec::with_capacity(kept.len());
    let mut kept: Vec<Option<Kept>> = kept.into_iter().map(Some).collect();
    for (key, at) in index {
        keyed.push((key, kept[at].take()));
    }
    let mut out = Vec::with_capacity(keyed.len());
    for (key, kept) in keyed {
        let mut labels = key_labels(&key);
        let values = match kept {
            Some(Kept::Running { sums, counts }) => running(range, &sums, &counts),
            Some(Kept::Samples(samples)) => rolled(range, windows, samples),
            None => continue,
        };
        if is_empty(&values) {
            continue;
        }
        refuse_errors(&labels)?;
        labels.retain(|(name, _)| name != PRESERVE_ERROR);
        out.push(Series { labels, values });
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}

/// Errors are not allowed in metrics unless the query has asked for them.
fn refuse_errors(labels: &SeriesLabels) -> Result<()> {
    let Some(error) = label(labels, ERROR) else { return Ok(()) };
    if label(labels, PRESERVE_ERROR).is_some() {
        return Ok(());
    }
    let shown = super::super::format::labels(labels);
    Err(LogqlError::Pipeline(format!(
        "pipeline error: '{error}' for series: '{shown}'.\nUse a label filter to intentionally skip \
         this error. (e.g | __error__!=\"{error}\").\nTo skip all potential errors you can match empty \
         errors.(e.g __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | \
         unwrap latency | __error__=\"\" )\n"
    )))
}

fn running(range: &RangeAggregation, sums: &[f64], counts: &[i64]) -> Vec<f64> {
    let seconds = range.range_ns as f64 / 1e9;
    let per_second = matches!(range.op, RangeOp::Rate | RangeOp::BytesRate);
    let (mut sum, mut count) = (0.0, 0i64);
    let steps = sums.len() - 1;
    let mut out = Vec::with_capacity(steps);
    for (change, records) in sums.iter().zip(counts).take(steps) {
        sum += change;
        count += records;
        out.push(match count {
            0 => ABSENT,
            _ if per_second => sum / seconds,
            _ => sum,
        });
    }
    out
}

fn rolled(range: &RangeAggregation, windows: Windows, mut samples: Vec<(i64, f64)>) -> Vec<f64> {
    samples.sort_by_key(|&(time, _)| time);
    let (mut times, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
    let mut windows = windows;
    let rollup = match range.op {
        RangeOp::Avg => Rollup::Avg,
        RangeOp::Min => Rollup::Min,
        RangeOp::Max => Rollup::Max,
        RangeOp::First => Rollup::First,
        RangeOp::Last => Rollup::Last,
        RangeOp::Stddev => Rollup::Stddev,
        RangeOp::Stdvar => Rollup::Stdvar,
        RangeOp::Quantile => Rollup::Quantile(range.parameter.unwrap_or(0.0)),
        RangeOp::RateCounter => {
            // Extrapolation counts in milliseconds.
            times.iter_mut().for_each(|time| *time = time.div_euclid(NS_PER_MS));
            windows = in_ms(windows);
            Rollup::Rate
        }
        _ => Rollup::Sum,
    };
    let mut out = Vec::with_capacity(windows.steps.count());
    roll(rollup, windows, &times, &values, &mut out);
    if range.op == RangeOp::RateCounter {
        // A single sample has no increase, but it is there.
        for (value, found) in out.iter_mut().zip(windows.over(&times)) {
            if is_absent(*value) && !found.is_empty() {
                *value = 0.0;
            }
        }
    }
    if range.op == RangeOp::Rate {
        let seconds = range.range_ns as f64 / 1e9;
        for value in out.iter_mut().filter(|value| !is_absent(**value)) {
            *value /= seconds;
        }
    }
    out
}

fn in_ms(windows: Windows) -> Windows {
    let ms = |ns: i64| ns.div_euclid(NS_PER_MS);
    let Windows { steps, range, offset } = windows;
    Windows {
        steps: Steps { start: ms(steps.start), end: ms(steps.end), step: ms(steps.step).max(1) },
        range: ms(range),
        offset: ms(offset),
    }
}

/// One where nothing was found, with the labels that the selector fixes.
fn absent(range: &RangeAggregation, series: Vec<Series>, count: usize) -> Vec<Series> {
    let mut values = vec![1.0; count];
    for one in &series {
        for (value, found) in values.iter_mut().zip(&one.values) {
            if !is_absent(*found) {
                *value = ABSENT;
            }
        }
    }
    if is_empty(&values) {
        return Vec::new();
    }
    vec![Series { labels: fixed_labels(&range.log.matchers), values }]
}

/// Labels named by exactly one matcher, which asks for equality.
fn fixed_labels(matchers: &[MatcherExpr]) -> SeriesLabels {
    let mut labels: SeriesLabels = Vec::new();
    for matcher in matchers {
        let named = matchers.iter().filter(|other| other.name == matcher.name).count();
        if matcher.op == storage::MatchOp::Equal && named == 1 && !matcher.value.is_empty() {
            labels.push((matcher.name.clone(), matcher.value.clone()));
        }
    }
    labels.sort();
    labels
}
