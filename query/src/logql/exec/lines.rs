//! Log queries: the newest (or oldest) lines that pass, up to a limit.

use std::ops::ControlFlow;

use storage::{Budget, Direction, LogScan, StorageError, TimeRange};

use super::super::ast::LogExpr;
use super::super::check::matchers;
use super::super::error::Result;
use super::super::labels::{Hints, LabelSet};
use super::super::pipeline::{Categorized, LogWindow, Pipeline, push_down};
use super::super::rows::{LogSource, StreamCache};
use super::super::stage::Line;
use super::Context;

/// Records between two looks at the budget.
const CHECK_EVERY: u64 = 4096;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogEntry {
    pub(crate) time_ns: i64,
    pub(crate) line: String,
    pub(crate) labels: Categorized,
}

/// The lines kept so far; sorted and cut to the limit now and then.
struct Kept {
    entries: Vec<LogEntry>,
    limit: usize,
    direction: Direction,
    /// Of the entries, and what of it the budget knows. Units: bytes.
    bytes: usize,
    counted_bytes: usize,
}

/// What an entry takes beside its line. Units: bytes.
const ENTRY_BYTES: usize = 256;

impl Kept {
    /// Tells the budget what the entries take.
    fn count_bytes(&mut self, budget: &Budget) -> std::result::Result<(), StorageError> {
        let before = std::mem::replace(&mut self.counted_bytes, self.bytes);
        if self.bytes < before {
            budget.give_memory(before - self.bytes);
            return Ok(());
        }
        budget.take_memory(self.bytes - before)
    }

    /// Whether a record of time `a` comes before one of `b` in the answer.
    fn comes_before(&self, a: i64, b: i64) -> bool {
        match self.direction {
            Direction::Backward => a > b,
            Direction::Forward => a < b,
        }
    }

    fn cut(&mut self) {
        match self.direction {
            Direction::Backward => {
                self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.time_ns));
            }
            Direction::Forward => self.entries.sort_by_key(|entry| entry.time_ns),
        }
        for gone in self.entries.drain(self.limit.min(self.entries.len())..) {
            self.bytes = self.bytes.saturating_sub(gone.line.len() + ENTRY_BYTES);
        }
    }

    /// The time of the last entry, where there are as many as wanted.
    fn worst(&self) -> Option<i64> {
        (self.entries.len() >= self.limit)
            .then(|| self.entries.last().map_or(0, |entry| entry.time_ns))
    }
}

/// Runs a log query. The entries come in the window's direction.
///
/// Errors: Invalid, Storage.
pub(crate) fn run_log<S: LogSource + ?Sized>(
    log: &LogExpr,
    window: LogWindow,
    ctx: &mut Context<'_, S>,
) -> Result<Vec<LogEntry>> {
    let plan = push_down(log);
    let pipeline = Pipeline::build(&plan.stages, ctx.regex)?;
    let scan = LogScan {
        matchers: matchers(log, ctx.regex)?,
        range: TimeRange { start_ns: window.start_ns, end_ns: window.end_ns },
        line_contains: plan.needles,
        attribute_hints: Vec::new(),
        trace_id: None,
        direction: window.direction,
    };
    let mut kept = Kept {
        entries: Vec::new(),
        limit: window.limit,
        direction: window.direction,
        bytes: 0,
        counted_bytes: 0,
    };
    if window.limit == 0 || window.start_ns >= window.end_ns {
        return Ok(Vec::new());
    }
    let mut labels = LabelSet::new(Hints::default());
    let mut cache = StreamCache::default();
    let mut failure = None;
    let detects_level = ctx.source.detects_level();
    let (source, budget) = (ctx.source, ctx.budget);
    let figures = &mut ctx.figures;
    let notices = source.scan(&scan, budget, &mut |block, bound| {
        let batch = &*block.batch;
        let streams = cache.of(batch);
        let worst = kept.worst();
        for row in block.iter() {
            // Rows of a block are in order, so nothing better follows.
            if worst.is_some_and(|worst| !kept.comes_before(row.time_ns, worst)) {
                break;
            }
            let Some(stream) = streams.get(row.stream as usize) else { continue };
            let text = batch.line(row);
            figures.lines += 1;
            figures.bytes += text.len() as u64;
            if figures.lines.is_multiple_of(CHECK_EVERY)
                && let Err(error) = budget.check()
            {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            stream.load(batch, row, &text, &mut labels, detects_level);
            let mut line = Line { time_ns: row.time_ns, text };
            if pipeline.process(&mut line, &mut labels) {
                figures.lines_passed += 1;
                let labels = Categorized::of(&mut labels);
                kept.bytes += line.text.len() + ENTRY_BYTES;
                kept.entries.push(LogEntry {
                    time_ns: row.time_ns,
                    line: line.text.into_owned(),
                    labels,
                });
                // One block has no more to give than the limit, for it is in order.
                if kept.entries.len() >= kept.limit.saturating_mul(2).max(1024) {
                    kept.cut();
                }
            }
        }
        kept.cut();
        if let Err(error) = kept.count_bytes(budget) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        match kept.worst() {
            Some(worst) if !kept.comes_before(bound, worst) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })?;
    figures.streams += cache.len() as u64;
    ctx.notices.merge(notices);
    if let Some(error) = failure {
        return Err(error.into());
    }
    budget.check()?;
    kept.cut();
    Ok(kept.entries)
}
