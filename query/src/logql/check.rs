//! What a query must not say although it reads well.
//!
//! Source: Loki 3.7, `pkg/logql/syntax/{parser,ast}.go`.

use storage::Matcher;

use super::ast::{Binary, Expr, LogExpr, RangeAggregation, RangeOp, StageExpr, VectorAggregation};
use super::error::{LogqlError, Result};
use super::regex::rust_pattern;
use super::stage;

const NEEDS_MATCHER: &str = "queries require at least one regexp or equality matcher that does not \
                             have an empty-compatible value. For instance, app=~\".*\" does not meet \
                             this requirement, but app=~\".+\" will";

/// Checks the meaning of a tree, pipelines included.
///
/// Errors: Invalid.
pub(crate) fn check(expr: &Expr) -> Result<()> {
    match expr {
        Expr::Log(log) => check_log(log),
        Expr::Literal(_) | Expr::VectorLiteral(_) => Ok(()),
        Expr::Range(range) => check_range(range),
        Expr::Vector(vector) => check_vector(vector),
        Expr::Binary(binary) => check_binary(binary),
        Expr::LabelReplace(replace) => {
            if replace.inner.is_log() {
                return Err(LogqlError::invalid("syntax error: unexpected )"));
            }
            super::regex::anchored(&replace.regex).map_err(|error| {
                LogqlError::invalid(format!("invalid regex in label_replace: {error}"))
            })?;
            check(&replace.inner)
        }
    }
}

/// The selector as storage takes it.
///
/// Errors: Invalid where a regular expression is none, or every matcher would take streams without
/// the label.
pub(crate) fn matchers(log: &LogExpr) -> Result<Vec<Matcher>> {
    let mut matchers = Vec::with_capacity(log.matchers.len());
    for matcher in &log.matchers {
        let is_regex = matches!(matcher.op, storage::MatchOp::Regex | storage::MatchOp::NotRegex);
        let value = if is_regex { rust_pattern(&matcher.value) } else { matcher.value.clone() };
        matchers.push(
            Matcher::new(&matcher.name, matcher.op, &value)
                .map_err(|error| LogqlError::invalid(error.to_string()))?,
        );
    }
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(LogqlError::invalid(NEEDS_MATCHER));
    }
    Ok(matchers)
}

fn check_log(log: &LogExpr) -> Result<()> {
    matchers(log)?;
    for expr in &log.stages {
        stage::build(expr)?;
    }
    Ok(())
}

fn check_range(range: &RangeAggregation) -> Result<()> {
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
    check_log(&range.log)?;
    if let Some(unwrap) = &range.unwrap {
        for filter in &unwrap.filters {
            stage::build(&StageExpr::LabelFilter(filter.clone()))?;
        }
    }
    Ok(())
}

fn check_vector(vector: &VectorAggregation) -> Result<()> {
    if vector.inner.is_log() {
        return Err(LogqlError::invalid("syntax error: unexpected )"));
    }
    check(&vector.inner)
}

fn check_binary(binary: &Binary) -> Result<()> {
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
        check(side)?;
    }
    Ok(())
}
