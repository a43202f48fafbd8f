//! Runs a checked query over a source of records.
//!
//! Lines: newest (or oldest) first until the limit is reached. Numbers: every sub-expression becomes
//! dense rows of one value a step; each record is read and parsed once however many windows it is
//! in. Nothing here knows of HTTP.

mod binary;
mod lines;
mod range;
mod vector;

use model::Limits;
use regex_automata::util::captures::Captures;
use storage::{Budget, Notices, RegexLimits};

use super::ast::{Expr, Grouping, LabelReplace};
use super::error::{LogqlError, Result};
use super::regex::anchored;
use super::rows::LogSource;
use crate::kernels::{ABSENT, Steps, is_absent};

pub(crate) use binary::arithmetic;
pub(crate) use lines::{LogEntry, run_log};

/// Names and values in order of name.
pub(crate) type SeriesLabels = Vec<(String, String)>;

/// One series: a value for each step, [`ABSENT`] where there is none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: SeriesLabels,
    pub(crate) values: Vec<f64>,
}

/// Figures of one query's work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueryFigures {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// Lines that passed the pipeline.
    pub(crate) lines_passed: u64,
    pub(crate) streams: u64,
}

/// Everything that a running query needs beside its tree.
#[derive(Debug)]
pub(crate) struct Context<'a, S: LogSource + ?Sized> {
    pub(crate) source: &'a S,
    pub(crate) budget: &'a Budget,
    /// Series of one answer; 0: no limit.
    pub(crate) series_max: usize,
    pub(crate) regex: RegexLimits,
    pub(crate) notices: Notices,
    pub(crate) figures: QueryFigures,
}

impl<'a, S: LogSource + ?Sized> Context<'a, S> {
    pub(crate) fn new(source: &'a S, budget: &'a Budget, limits: &Limits) -> Self {
        Context {
            source,
            budget,
            series_max: limits.query_series_max,
            regex: RegexLimits::of(limits),
            notices: Notices::default(),
            figures: QueryFigures::default(),
        }
    }
}

/// Evaluates a metric query at each step. Units: ns.
///
/// Errors: Pipeline where records of the answer carry an error, Execution, Limit, Storage.
pub(crate) fn run_metric<S: LogSource + ?Sized>(
    expr: &Expr,
    steps: Steps,
    ctx: &mut Context<'_, S>,
) -> Result<Vec<Series>> {
    let series = evaluate(expr, steps, None, ctx)?;
    ctx.budget.check_series(series.len(), ctx.series_max)?;
    Ok(series)
}

fn evaluate<S: LogSource + ?Sized>(
    expr: &Expr,
    steps: Steps,
    outer: Option<&Grouping>,
    ctx: &mut Context<'_, S>,
) -> Result<Vec<Series>> {
    match expr {
        Expr::Log(_) => Err(LogqlError::invalid("a log query has no samples")),
        Expr::Literal(value) | Expr::VectorLiteral(value) => {
            Ok(vec![Series { labels: Vec::new(), values: vec![*value; steps.count()] }])
        }
        Expr::Range(range) => range::run(range, steps, outer, ctx),
        Expr::Vector(vector) => {
            let inner = match &vector.inner {
                Expr::Range(range) if vector::takes_grouping(vector.op, range) => {
                    range::run(range, steps, Some(&vector.grouping), ctx)?
                }
                inner => evaluate(inner, steps, None, ctx)?,
            };
            ctx.budget.check()?;
            Ok(vector::aggregate(vector, inner, steps.count()))
        }
        Expr::Binary(binary) => {
            let lhs = operand(&binary.lhs, steps, ctx)?;
            let rhs = operand(&binary.rhs, steps, ctx)?;
            binary::run(binary, lhs, rhs, steps.count())
        }
        Expr::LabelReplace(replace) => {
            let inner = evaluate(&replace.inner, steps, None, ctx)?;
            label_replace(replace, inner, ctx.regex)
        }
    }
}

fn operand<S: LogSource + ?Sized>(
    expr: &Expr,
    steps: Steps,
    ctx: &mut Context<'_, S>,
) -> Result<binary::Operand> {
    Ok(match expr {
        Expr::Literal(value) => binary::Operand::Scalar(*value),
        expr => binary::Operand::Vector(evaluate(expr, steps, None, ctx)?),
    })
}

fn label_replace(
    replace: &LabelReplace,
    series: Vec<Series>,
    limits: RegexLimits,
) -> Result<Vec<Series>> {
    let regex = anchored(&replace.regex, limits).map_err(LogqlError::invalid)?;
    let mut out = Vec::with_capacity(series.len());
    for mut one in series {
        let source = label(&one.labels, &replace.source).unwrap_or("").to_owned();
        let mut captures = regex.create_captures();
        regex.captures(source.as_bytes(), &mut captures);
        if captures.is_match() {
            let mut value = String::new();
            expand(&replace.replacement, &source, &captures, &mut value);
            one.labels.retain(|(name, _)| *name != replace.target);
            if !value.is_empty() {
                one.labels.push((replace.target.clone(), value));
                one.labels.sort();
            }
        }
        out.push(one);
    }
    Ok(out)
}

/// Writes `template` with `$1`, `${name}` replaced by what was captured in `source`.
pub(crate) fn expand(template: &str, source: &str, captures: &Captures, out: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
        };
        if name.is_empty() {
            out.push('$');
            continue;
        }
        let span = match name.parse::<usize>() {
            Ok(group) => captures.get_group(group),
            Err(_) => captures.get_group_by_name(name),
        };
        out.push_str(span.and_then(|span| source.get(span.range())).unwrap_or(""));
        rest = after;
    }
    out.push_str(rest);
}

/// The value of a label.
pub(crate) fn label<'a>(labels: &'a SeriesLabels, name: &str) -> Option<&'a str> {
    labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
}

/// Whether a series has no value at any step.
fn is_empty(values: &[f64]) -> bool {
    values.iter().all(|&value| is_absent(value))
}

fn absent_row(count: usize) -> Vec<f64> {
    vec![ABSENT; count]
}
