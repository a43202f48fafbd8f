//! Conditions on labels: text, numbers, durations, sizes, addresses.
//!
//! A value that cannot be compared marks the record with `__error__` and lets it pass.
//! Source: Loki 3.7, `pkg/logql/log/label_filter.go`.

use storage::{Matcher, RegexLimits};

use super::super::ast::{Compare, LabelFilter};
use super::super::labels::{ERROR, LabelSet};
use super::super::number::{parse_bytes, parse_go_duration};
use super::super::regex::matcher;
use super::ip::IpMatcher;
use super::{Line, Stage};

const LABEL_FILTER_ERROR: &str = "LabelFilterErr";

#[derive(Debug)]
enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Text(Matcher),
    Number { name: String, op: Compare, value: f64 },
    Duration { name: String, op: Compare, ns: i64 },
    Bytes { name: String, op: Compare, bytes: u64 },
    Ip { name: String, negative: bool, matcher: IpMatcher },
}

pub(super) fn build(filter: &LabelFilter, limits: RegexLimits) -> Result<Box<dyn Stage>, String> {
    Ok(Box::new(Filter::build(filter, limits)?))
}

impl Filter {
    fn build(filter: &LabelFilter, limits: RegexLimits) -> Result<Filter, String> {
        let side = |filter: &LabelFilter| Filter::build(filter, limits).map(Box::new);
        Ok(match filter {
            LabelFilter::And(lhs, rhs) => Filter::And(side(lhs)?, side(rhs)?),
            LabelFilter::Or(lhs, rhs) => Filter::Or(side(lhs)?, side(rhs)?),
            LabelFilter::Text(expr) => Filter::Text(matcher(expr, limits)?),
            LabelFilter::Number { name, op, value } => {
                Filter::Number { name: name.clone(), op: *op, value: *value }
            }
            LabelFilter::Duration { name, op, ns } => {
                Filter::Duration { name: name.clone(), op: *op, ns: *ns }
            }
            LabelFilter::Bytes { name, op, bytes, .. } => {
                Filter::Bytes { name: name.clone(), op: *op, bytes: *bytes }
            }
            LabelFilter::Ip { name, negative, addresses } => Filter::Ip {
                name: name.clone(),
                negative: *negative,
                matcher: IpMatcher::parse(addresses)?,
            },
        })
    }

    fn passes(&self, labels: &mut LabelSet) -> bool {
        match self {
            Filter::And(lhs, rhs) => {
                // Both sides are asked: the right one may mark an error.
                let left = lhs.passes(labels);
                rhs.passes(labels) && left
            }
            Filter::Or(lhs, rhs) => lhs.passes(labels) || rhs.passes(labels),
            Filter::Text(matcher) => {
                // Of the two error labels only this one can be asked for here.
                let value = match matcher.name.as_str() {
                    ERROR => labels.value(ERROR),
                    name => labels.get(name).map_or("", |(value, _)| value),
                };
                matcher.matches(value)
            }
            Filter::Number { name, op, value } => {
                compared(labels, name, parse_go_float, |found| op.holds(found, *value))
            }
            Filter::Duration { name, op, ns } => {
                compared(labels, name, parse_go_duration, |found| op.holds(found, *ns))
            }
            Filter::Bytes { name, op, bytes } => compared(
                labels,
                name,
                |text| parse_bytes(text).ok_or_else(|| format!("cannot parse {text:?} as bytes")),
                |found| op.holds(found, *bytes),
            ),
            Filter::Ip { name, negative, matcher } => match labels.get(name) {
                Some((value, _)) => matcher.occurs_in(value) != *negative,
                None => false,
            },
        }
    }

    fn names(&self, names: &mut Vec<String>) {
        match self {
            Filter::And(lhs, rhs) | Filter::Or(lhs, rhs) => {
                lhs.names(names);
                rhs.names(names);
            }
            Filter::Text(matcher) => names.push(matcher.name.clone()),
            Filter::Number { name, .. }
            | Filter::Duration { name, .. }
            | Filter::Bytes { name, .. }
            | Filter::Ip { name, .. } => names.push(name.clone()),
        }
    }
}

/// Go's `ParseFloat` takes what Rust takes, and `_` between digits.
pub(in crate::logql) fn parse_go_float(text: &str) -> Result<f64, String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let spelled = ["inf", "infinity", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let separated = text.contains('_')
        && !text.ends_with('_')
        && !text.contains("__")
        && !text.contains("_.")
        && !text.contains("._");
    let parsed = match (spelled || numeric, separated) {
        (false, _) => None,
        (true, true) => text.replace('_', "").parse().ok(),
        (true, false) => text.parse().ok(),
    };
    parsed.ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

fn compared<T>(
    labels: &mut LabelSet,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
    holds: impl Fn(T) -> bool,
) -> bool {
    let Some((text, _)) = labels.get(name) else { return false };
    match parse(text) {
        Ok(value) => holds(value),
        Err(why) => {
            labels.set_error(LABEL_FILTER_ERROR, why);
            true
        }
    }
}

impl Stage for Filter {
    fn process(&self, _line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        self.passes(labels)
    }

    fn required_labels(&self, names: &mut Vec<String>) {
        self.names(names);
    }
}
