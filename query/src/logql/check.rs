//! What a query must not say although it reads well.
//!
//! Source: Loki 3.7, `pkg/logql/syntax/{parser,ast}.go`.

use storage::{Matcher, RegexLimits};

use super::ast::{Binary, Expr, LogExpr, RangeAggregation, RangeOp, StageExpr, VectorAggregation};
use super::error::{LogqlError, Result};
use super::regex::{anchored, matcher};
use super::stage;

const NEEDS_MATCHER: &str = "queries require at least one regexp or equality matcher that does not \
                             have an empty-compatible value. For instance, app=~\".*\" does not meet \
                             this requirement, but app=~\".+\" will";

/// Checks the meaning of a tree, pipelines included.
///
/// Errors: Invalid.
pub(crate) fn check(expr: &Expr, limits: RegexLimits) -> Result<()> {
    match expr {
        Expr::Log(log) => check_log(log, limits),
        Expr::Literal(_) | Expr::VectorLiteral(_) => Ok(()),
        Expr::Range(range) => check_range(range, limits),
        Expr::Vector(vector) => check_vector(vector, limits),
        Expr::Binary(binary) => check_binary(binary, limits),
        Expr::LabelReplace(replace) => {
            if replace.inner.is_log() {
                return Err(LogqlError::invalid("syntax error: unexpected )"));
            }
            anchored(&replace.regex, limits).map_err(|error| {
                LogqlError::invalid(format!("invalid regex in label_replace: {error}"))
            })?;
            check(&replace.inner, limits)
        }
    }
}

/// The selector as storage takes it.
///
/// Errors: Invalid where a regular expression is none, or every matcher would take streams without
/// the label.
pub(crate) fn matchers(log: &LogExpr, limits: RegexLimits) -> Result<Vec<Matcher>> {
    let matchers = log.matchers.iter().map(|expr| matcher(expr, limits));
    let matchers = matchers.collect::<std::result::Result<Vec<_>, _>>();
    let matchers = matchers.map_err(LogqlError::invalid)?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(LogqlError::invalid(NEEDS_MATCHER));
    }
    Ok(matchers)
}

fn check_log(log: &LogExpr, limits: RegexLimits) -> Result<()> {
    matchers(log, limits)?;
    for expr in &log.stages {
        stage::build(expr, limits)?;
    }
    Ok(())
}

fn check_range(range: &RangeAggregation, limits: RegexLimits) -> Result<()> {
    let name = range.op.name();
    let unwrapped = range.unwrap.is_some();
    let groupable = matches!(
        range.op,
        RangeOp::Avg
            | RangeOp::Stddev
            | RangeOp::Stdvar
            | RangeOp::Quantile
            | RangeOp::Max
            | RangeOp::Min
            | RangeOp::First
            | RangeOp::Last
    );
    if range.op == RangeOp::Quantile && range.parameter.is_none() {
        return Err(LogqlError::invalid(format!("parameter required for operation {name}")));
    }
    if range.op != RangeOp::Quantile && range.parameter.is_some() {
        return Err(LogqlError::invalid(format!("parameter {name} not supported for operation")));
    }
    if range.grouping.is_some() && !groupable {
        return Err(LogqlError::invalid(format!("grouping not allowed for {name} aggregation")));
    }
    let allowed = match range.op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate => !unwrapped,
        RangeOp::Rate | RangeOp::Absent => true,
        _ => unwrapped,
    };
    if !allowed {
        let word = if unwrapped { "with" } else { "without" };
        return Err(LogqlError::invalid(format!("invalid aggregation {name} {word} unwrap")));
    }
    check_log(&range.log, limits)?;
    if let Some(unwrap) = &range.unwrap {
        for filter in &unwrap.filters {
            stage::build(&StageExpr::LabelFilter(filter.clone()), limits)?;
        }
    }
    Ok(())
}

fn check_vector(vector: &VectorAggregation, limits: RegexLimits) -> Result<()> {
    if vector.inner.is_log() {
        return Err(LogqlError::invalid("syntax error: unexpected )"));
    }
    check(&vector.inner, limits)
}

fn check_binary(binary: &Binary, limits: RegexLimits) -> Result<()> {
    let sign = binary.op.sign();
    for (leg, side) in [("left", &binary.lhs), ("right", &binary.rhs)] {
        if let (Expr::Literal(value), true) = (side, binary.op.is_set()) {
            return Err(LogqlError::invalid(format!(
                "unexpected literal for {leg} leg of logical/set binary operation ({sign}): \
                 {value:.6}"
            )));
        }
        if side.is_log() {
            return Err(LogqlError::invalid(format!(
                "unexpected type for {leg} leg of binary operation ({sign}): log selector"
            )));
        }
        check(side, limits)?;
    }
    Ok(())
}
