//! Operators between series and numbers.
//!
//! Source: Loki 3.7, `pkg/logql/evaluator.go` and `pkg/logql/syntax/ast.go` (MergeBinOp).

use std::collections::{HashMap, HashSet};

use super::super::ast::{Binary, BinaryOp, Cardinality, Matching};
use super::super::error::{LogqlError, Result};
use super::{Series, SeriesLabels, absent_row, is_empty, label};
use crate::kernels::{ABSENT, is_absent};

/// One side of an operator.
#[derive(Debug)]
pub(super) enum Operand {
    Scalar(f64),
    Vector(Vec<Series>),
}

/// An operator between two numbers. A comparison is 1 or 0. Nothing is divided by zero: that is NaN.
pub(crate) fn arithmetic(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div if rhs == 0.0 => f64::NAN,
        BinaryOp::Div => lhs / rhs,
        BinaryOp::Mod if rhs == 0.0 => f64::NAN,
        BinaryOp::Mod => lhs % rhs,
        BinaryOp::Pow => lhs.powf(rhs),
        BinaryOp::Compare(op) => f64::from(u8::from(op.holds(lhs, rhs))),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => ABSENT,
    }
}

/// The value of a pair in which `kept` is what a filtering comparison hands on.
fn pair(binary: &Binary, lhs: f64, rhs: f64, kept: f64) -> f64 {
    let value = arithmetic(binary.op, lhs, rhs);
    match binary.op {
        BinaryOp::Compare(_) if !binary.matching.returns_bool => {
            if value == 1.0 {
                kept
            } else {
                ABSENT
            }
        }
        _ => value,
    }
}

/// Applies the operator.
///
/// Errors: Execution where series match more than one.
pub(super) fn run(
    binary: &Binary,
    lhs: Operand,
    rhs: Operand,
    steps: usize,
) -> Result<Vec<Series>> {
    match (lhs, rhs) {
        (Operand::Scalar(lhs), Operand::Scalar(rhs)) => {
            let value = arithmetic(binary.op, lhs, rhs);
            Ok(vec![Series { labels: Vec::new(), values: vec![value; steps] }])
        }
        (Operand::Vector(series), Operand::Scalar(scalar)) => {
            Ok(each(series, |value| pair(binary, value, scalar, value)))
        }
        (Operand::Scalar(scalar), Operand::Vector(series)) => {
            Ok(each(series, |value| pair(binary, scalar, value, value)))
        }
        (Operand::Vector(lhs), Operand::Vector(rhs)) => match binary.op {
            BinaryOp::Or => Ok(or(&binary.matching, lhs, rhs, steps)),
            BinaryOp::And | BinaryOp::Unless => Ok(filtered(binary, lhs, &rhs, steps)),
            _ => matched(binary, lhs, rhs, steps),
        },
    }
}

fn each(series: Vec<Series>, apply: impl Fn(f64) -> f64) -> Vec<Series> {
    let mut out = Vec::with_capacity(series.len());
    for mut one in series {
        for value in one.values.iter_mut().filter(|value| !is_absent(**value)) {
            *value = apply(*value);
        }
        if !is_empty(&one.values) {
            out.push(one);
        }
    }
    out
}

/// The labels by which series find each other.
fn signature(labels: &SeriesLabels, matching: &Matching) -> SeriesLabels {
    let named = |name: &String| matching.names.contains(name);
    labels.iter().filter(|(name, _)| named(name) == matching.on).cloned().collect()
}

/// Steps at which some series of each signature has a value.
fn presence(
    matching: &Matching,
    series: &[Series],
    steps: usize,
) -> HashMap<SeriesLabels, Vec<bool>> {
    let mut present: HashMap<SeriesLabels, Vec<bool>> = HashMap::new();
    for one in series {
        let row =
            present.entry(signature(&one.labels, matching)).or_insert_with(|| vec![false; steps]);
        for (flag, value) in row.iter_mut().zip(&one.values) {
            *flag |= !is_absent(*value);
        }
    }
    present
}

fn or(matching: &Matching, lhs: Vec<Series>, rhs: Vec<Series>, steps: usize) -> Vec<Series> {
    let present = presence(matching, &lhs, steps);
    let mut out = lhs;
    let index: HashMap<SeriesLabels, usize> =
        out.iter().enumerate().map(|(at, one)| (one.labels.clone(), at)).collect();
    for mut one in rhs {
        if let Some(row) = present.get(&signature(&one.labels, matching)) {
            for (value, taken) in one.values.iter_mut().zip(row) {
                if *taken {
                    *value = ABSENT;
                }
            }
        }
        if is_empty(&one.values) {
            continue;
        }
        match index.get(&one.labels) {
            Some(&at) => {
                for (target, value) in out[at].values.iter_mut().zip(&one.values) {
                    if is_absent(*target) {
                        *target = *value;
                    }
                }
            }
            None => out.push(one),
        }
    }
    out
}

/// `and` and `unless`.
fn filtered(binary: &Binary, lhs: Vec<Series>, rhs: &[Series], steps: usize) -> Vec<Series> {
    let present = presence(&binary.matching, rhs, steps);
    let wanted = binary.op == BinaryOp::And;
    let mut out = Vec::with_capacity(lhs.len());
    for mut one in lhs {
        let row = present.get(&signature(&one.labels, &binary.matching));
        for (step, value) in one.values.iter_mut().enumerate() {
            let found = row.is_some_and(|row| row.get(step).copied().unwrap_or(false));
            if found != wanted {
                *value = ABSENT;
            }
        }
        if !is_empty(&one.values) {
            out.push(one);
        }
    }
    out
}

fn matched(
    binary: &Binary,
    lhs: Vec<Series>,
    rhs: Vec<Series>,
    steps: usize,
) -> Result<Vec<Series>> {
    let matching = &binary.matching;
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let ones = unique(matching, &one, steps, swapped)?;
    let mut out: Vec<Series> = Vec::new();
    let mut index: HashMap<SeriesLabels, usize> = HashMap::new();
    let mut taken: HashSet<(SeriesLabels, usize)> = HashSet::new();
    for series in &many {
        let signature = signature(&series.labels, matching);
        let Some(candidates) = ones.get(&signature) else { continue };
        for &candidate in candidates {
            let other = &one[candidate];
            let labels = result_labels(matching, &series.labels, &other.labels);
            let mut values = absent_row(steps);
            for (step, target) in values.iter_mut().enumerate() {
                let (value, other) = (series.values[step], other.values[step]);
                if is_absent(value) || is_absent(other) {
                    continue;
                }
                let one_to_one = matching.cardinality == Cardinality::OneToOne;
                let claim = if one_to_one { signature.clone() } else { labels.clone() };
                if !taken.insert((claim, step)) {
                    return Err(LogqlError::Execution(ambiguous(one_to_one).to_owned()));
                }
                *target = if swapped {
                    pair(binary, other, value, other)
                } else {
                    pair(binary, value, other, value)
                };
            }
            if is_empty(&values) {
                continue;
            }
            match index.get(&labels) {
                Some(&at) => {
                    for (target, value) in out[at].values.iter_mut().zip(&values) {
                        if is_absent(*target) {
                            *target = *value;
                        }
                    }
                }
                None => {
                    index.insert(labels.clone(), out.len());
                    out.push(Series { labels, values });
                }
            }
        }
    }
    Ok(out)
}

fn ambiguous(one_to_one: bool) -> &'static str {
    if one_to_one {
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    } else {
        "multiple matches for labels: grouping labels must ensure unique matches"
    }
}

/// The series of the "one" side by signature: at each step one of a signature at most.
fn unique(
    matching: &Matching,
    series: &[Series],
    steps: usize,
    swapped: bool,
) -> Result<HashMap<SeriesLabels, Vec<usize>>> {
    let mut by_signature: HashMap<SeriesLabels, Vec<usize>> = HashMap::new();
    for (at, one) in series.iter().enumerate() {
        by_signature.entry(signature(&one.labels, matching)).or_default().push(at);
    }
    for (signature, members) in by_signature.iter().filter(|(_, members)| members.len() > 1) {
        for step in 0..steps {
            let present = members.iter().filter(|&&at| !is_absent(series[at].values[step])).count();
            if present > 1 {
                let side = if swapped { "left" } else { "right" };
                let shown = super::super::format::labels(signature);
                return Err(LogqlError::Execution(format!(
                    "found duplicate series on the {side} hand-side for the match group {shown};\
                     many-to-many matching not allowed: matching labels must be unique on one side"
                )));
            }
        }
    }
    Ok(by_signature)
}

fn result_labels(matching: &Matching, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
    let mut labels = many.clone();
    if matching.given && matching.cardinality == Cardinality::OneToOne {
        labels.retain(|(name, _)| matching.names.contains(name) == matching.on);
    }
    for name in &matching.include {
        labels.retain(|(known, _)| known != name);
        if let Some(value) = label(one, name).filter(|value| !value.is_empty()) {
            labels.push((name.clone(), value.to_owned()));
        }
    }
    labels.sort();
    labels
}
