//! A tree as text again, in the form in which Prometheus prints it.

use storage::{MatchOp, Matcher};

use super::ast::{Aggregate, At, Binary, Cardinality, Ends, Expr, Kind, Length, Selector, Shift};
use super::text::{duration, quoted, quoted_bytes};
use crate::http::respond::push_float;

/// The canonical text of an expression.
pub(crate) fn format(expr: &Expr) -> String {
    match &expr.kind {
        Kind::Number { value, is_duration: true } => duration((value * 1000.0).round() as i64),
        Kind::Number { value, .. } => float(*value),
        Kind::Text(text) => quoted_bytes(text),
        Kind::Selector(selector) => vector(selector, ""),
        Kind::Matrix { selector, range } => match &selector.kind {
            Kind::Selector(selector) => vector(selector, &format!("[{}]", length(range))),
            _ => String::new(),
        },
        Kind::Subquery { expr, range, step, shift: moved } => {
            let step = step.as_ref().map_or_else(String::new, length);
            format!("{}[{}:{step}]{}", format(expr), length(range), shift(moved, ""))
        }
        Kind::Paren(inner) => format!("({})", format(inner)),
        Kind::Negate { expr, is_minus } => {
            format!("{}{}", if *is_minus { '-' } else { '+' }, format(expr))
        }
        Kind::Binary(inner) => binary(inner),
        Kind::Call { function, args } => format!("{}({})", function.name, list(args)),
        Kind::Aggregate(inner) => aggregate(inner),
    }
}

fn float(value: f64) -> String {
    let mut out = String::new();
    push_float(&mut out, value);
    out
}

fn list(args: &[Expr]) -> String {
    args.iter().map(format).collect::<Vec<_>>().join(", ")
}

fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn label(name: &str) -> String {
    if is_plain_name(name) { name.to_owned() } else { quoted(name) }
}

fn labels(names: &[String]) -> String {
    names.iter().map(|name| label(name)).collect::<Vec<_>>().join(", ")
}

fn matcher(matcher: &Matcher) -> String {
    let op = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{op}{}", label(&matcher.name), quoted(&matcher.value))
}

fn vector(selector: &Selector, range: &str) -> String {
    let name = selector.name.as_deref();
    let mut conditions: Vec<String> = selector
        .matchers
        .iter()
        .filter(|condition| {
            let is_name = condition.name == model::METRIC_NAME
                && condition.op == MatchOp::Equal
                && Some(condition.value.as_str()) == name;
            !is_name
        })
        .map(matcher)
        .collect();
    conditions.sort();
    let mut out = name.unwrap_or("").to_owned();
    if !conditions.is_empty() || name.is_none() {
        out.push_str(&format!("{{{}}}", conditions.join(",")));
    }
    out.push_str(range);
    let ends = match selector.ends {
        Ends::Plain => "",
        Ends::Anchored => " anchored",
        Ends::Smoothed => " smoothed",
    };
    out.push_str(&shift(&selector.shift, ends));
    out
}

/// `@`, then how the window ends, then `offset`.
fn shift(shift: &Shift, ends: &str) -> String {
    let mut out = match shift.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            format!(" @ {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    };
    out.push_str(ends);
    if let Some(offset) = &shift.offset {
        let text = match offset {
            Length::Literal { seconds, .. } => duration((seconds * 1000.0).round() as i64),
            other => length(other),
        };
        out.push_str(&format!(" offset {text}"));
    }
    out
}

fn length(length_: &Length) -> String {
    match length_ {
        Length::Literal { seconds, .. } => duration((seconds * 1000.0).round() as i64),
        other => nested_length(other),
    }
}

/// Inside an arithmetic expression numbers stay numbers.
fn nested_length(length: &Length) -> String {
    match length {
        Length::Literal { seconds, is_duration: true } => {
            duration((seconds * 1000.0).round() as i64)
        }
        Length::Literal { seconds, .. } => float(*seconds),
        Length::Step => "step()".to_owned(),
        Length::Range => "range()".to_owned(),
        Length::Sign { is_minus, length } => {
            format!("{}{}", if *is_minus { "-" } else { "" }, nested_length(length))
        }
        Length::Paren(inner) => format!("({})", nested_length(inner)),
        Length::Binary { op, lhs, rhs } => {
            format!("{} {} {}", nested_length(lhs), op.as_str(), nested_length(rhs))
        }
        Length::Least(one, other) => {
            format!("min_of({}, {})", nested_length(one), nested_length(other))
        }
        Length::Greatest(one, other) => {
            format!("max_of({}, {})", nested_length(one), nested_length(other))
        }
    }
}

fn binary(binary: &Binary) -> String {
    let mut out = format!("{} {}", format(&binary.lhs), binary.op.as_str());
    if binary.returns_bool {
        out.push_str(" bool");
    }
    let matching = &binary.matching;
    if !matching.labels.is_empty() || matching.on || matching.is_written {
        let word = if matching.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", labels(&matching.labels)));
    }
    match matching.cardinality {
        Cardinality::ManyToOne => {
            out.push_str(&format!(" group_left ({})", labels(&matching.include)));
        }
        Cardinality::OneToMany => {
            out.push_str(&format!(" group_right ({})", labels(&matching.include)));
        }
        Cardinality::OneToOne | Cardinality::ManyToMany => {}
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            out.push_str(&format!(" fill ({})", float(left)));
        }
        (left, right) => {
            if let Some(left) = left {
                out.push_str(&format!(" fill_left ({})", float(left)));
            }
            if let Some(right) = right {
                out.push_str(&format!(" fill_right ({})", float(right)));
            }
        }
    }
    format!("{out} {}", format(&binary.rhs))
}

fn aggregate(aggregate: &Aggregate) -> String {
    let mut out = aggregate.op.as_str().to_owned();
    if aggregate.without {
        out.push_str(&format!(" without ({}) ", labels(&aggregate.grouping)));
    } else if !aggregate.grouping.is_empty() {
        out.push_str(&format!(" by ({}) ", labels(&aggregate.grouping)));
    }
    let param = aggregate.param.as_ref().map_or_else(String::new, |p| format!("{}, ", format(p)));
    format!("{out}({param}{})", format(&aggregate.expr))
}
