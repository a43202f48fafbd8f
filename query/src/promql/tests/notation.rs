//! The series notation of scripts: `metric{a="b"} 1 2+3x4 _ stale {{schema:0 ...}}`.

use std::sync::Arc;

use model::{BucketSpan, Histogram, Labels};
use storage::MatchOp;

use super::super::ast::Kind;
use super::super::histogram;
use super::super::parse::parse;
use super::super::text::number;
use super::script::duration;
use crate::limits::ParseLimits;

/// One position of a series.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Gap,
    Float(f64),
    Stale,
    Histogram(Arc<Histogram>),
}

/// Labels and positions of a line.
pub(crate) fn series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (metric, values) = split(line);
    Ok((labels(metric)?, items(values)?))
}

/// The metric and what follows it.
pub(crate) fn split(line: &str) -> (&str, &str) {
    let (mut depth, mut quote) = (0, None);
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                if depth == 0 {
                    return (&line[..=at], line[at + 1..].trim());
                }
            }
            (None, c) if c.is_whitespace() && depth == 0 => {
                let rest = line[at..].trim();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return (&line[..at], rest);
                }
            }
            _ => {}
        }
    }
    (line, "")
}

pub(crate) fn labels(metric: &str) -> Result<Labels, String> {
    let metric = metric.trim();
    if metric.is_empty() || metric.replace(' ', "") == "{}" {
        return Ok(Labels::default());
    }
    // A selector needs a condition that is not empty; labels do not.
    let limits = ParseLimits::of(&model::Limits {
        expression_bytes_max: 1 << 20,
        expression_depth_max: 100,
        ..model::Limits::default()
    });
    let parsed = parse(metric, limits).map_err(|error| error.render(metric))?;
    let Kind::Selector(selector) = parsed.kind else { return Err(format!("no metric: {metric}")) };
    if selector.matchers.iter().any(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("no metric: {metric}"));
    }
    Ok(Labels::from_pairs(selector.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str()))))
}

/// The offsets of a line `metric@st offsets`, each from the time of its sample. Units: ms.
pub(crate) fn start_timestamps(line: &str) -> Option<Result<Vec<Option<i64>>, String>> {
    let (metric, offsets) = split(line);
    let offsets = match metric.strip_suffix("@st") {
        Some(_) => offsets,
        None => offsets.strip_prefix("@st")?,
    };
    let mut out = Vec::new();
    let all: Result<(), String> =
        offsets.split_whitespace().try_for_each(|token| start_offsets(token, &mut out));
    Some(all.map(|()| out))
}

/// `_`, `_x3`, `-1m`, `-1mx3`, `-1m-30sx3`.
fn start_offsets(token: &str, out: &mut Vec<Option<i64>>) -> Result<(), String> {
    let (body, count) = match token.split_once('x') {
        Some((body, count)) => (body, Some(times(count)?)),
        None => (token, None),
    };
    if body == "_" {
        out.extend(std::iter::repeat_n(None, count.unwrap_or(1)));
        return Ok(());
    }
    let signed = |text: &str| duration(text.strip_prefix('+').unwrap_or(text));
    let sign = body.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
    let (first, step) = match (sign, count) {
        (Some((at, _)), Some(_)) => (signed(&body[..at])?, signed(&body[at..])?),
        _ => (signed(body)?, 0),
    };
    out.extend((0..=count.unwrap_or(0) as i64).map(|nth| Some(first + nth * step)));
    Ok(())
}

/// All positions.
pub(crate) fn items(values: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    let mut rest = values.trim();
    while !rest.is_empty() {
        let length = token_length(rest);
        item(&rest[..length], &mut out)?;
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

fn token_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn times(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("bad repetition {text:?}"))
}

fn item(token: &str, out: &mut Vec<Item>) -> Result<(), String> {
    if token == "stale" {
        out.push(Item::Stale);
        return Ok(());
    }
    if let Some(rest) = token.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { times(rest.strip_prefix('x').unwrap_or("?"))? };
        out.extend(std::iter::repeat_n(Item::Gap, count));
        return Ok(());
    }
    if token.starts_with("{{") {
        return histograms(token, out);
    }
    let (body, count) = match token.rsplit_once('x') {
        Some((body, count)) => (body, Some(times(count)?)),
        None => (token, None),
    };
    let Some(count) = count else {
        out.push(Item::Float(float(body)?));
        return Ok(());
    };
    let (first, step) = first_and_step(body)?;
    let mut value = first;
    for _ in 0..=count {
        out.push(Item::Float(value));
        value += step;
    }
    Ok(())
}

fn first_and_step(body: &str) -> Result<(f64, f64), String> {
    for (at, c) in body.char_indices().skip(1) {
        let before = body.as_bytes()[at - 1];
        if matches!(c, '+' | '-') && !matches!(before, b'e' | b'E') {
            let step = float(&body[at + 1..])?;
            return Ok((float(&body[..at])?, if c == '-' { -step } else { step }));
        }
    }
    Ok((float(body)?, 0.0))
}

fn float(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    number(digits).map(|value| sign * value).ok_or_else(|| format!("bad number {text:?}"))
}

fn histograms(token: &str, out: &mut Vec<Item>) -> Result<(), String> {
    let end = token.find("}}").ok_or("open histogram")? + 2;
    let first = literal(&token[..end])?;
    let rest = &token[end..];
    let push = |out: &mut Vec<Item>, h: &Histogram| out.push(Item::Histogram(Arc::new(h.clone())));
    if rest.is_empty() {
        push(out, &first);
        return Ok(());
    }
    if let Some(count) = rest.strip_prefix('x') {
        for _ in 0..=times(count)? {
            push(out, &first);
        }
        return Ok(());
    }
    let (sign, rest) = rest.split_at(1);
    let end = rest.find("}}").ok_or("open histogram")? + 2;
    let step = literal(&rest[..end])?;
    let count = rest[end..].strip_prefix('x').ok_or("no repetition")?;
    let operation = if sign == "-" { histogram::Operation::Sub } else { histogram::Operation::Add };
    let mut value = first;
    push(out, &value);
    for _ in 0..times(count)? {
        let hint = value.reset_hint;
        histogram::combine(&mut value, &step, operation).map_err(|_| "mixed buckets".to_owned())?;
        if hint == histogram::UNKNOWN || step.reset_hint == histogram::UNKNOWN {
            value.reset_hint = hint;
        }
        push(out, &value);
    }
    Ok(())
}

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.
pub(crate) fn literal(text: &str) -> Result<Histogram, String> {
    let inner = text.trim_start_matches("{{").trim_end_matches("}}");
    let mut out = Histogram { is_float: true, ..Histogram::default() };
    let (mut offset, mut negative_offset) = (0, 0);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or("no colon")?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("open list")?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        rest = next.trim_start();
        let list = || value.split_whitespace().map(float).collect::<Result<Vec<f64>, _>>();
        match key.trim() {
            "schema" => out.schema = float(value)? as i32,
            "sum" => out.sum = float(value)?,
            "count" => out.count = float(value)?,
            "z_bucket" => out.zero_count = float(value)?,
            "z_bucket_w" => out.zero_threshold = float(value)?,
            "custom_values" => out.custom_values = list()?,
            "buckets" => out.positive_buckets = list()?,
            "offset" => offset = float(value)? as i32,
            "n_buckets" => out.negative_buckets = list()?,
            "n_offset" => negative_offset = float(value)? as i32,
            "counter_reset_hint" => {
                out.reset_hint = match value {
                    "reset" => histogram::RESET,
                    "not_reset" => histogram::NOT_RESET,
                    "gauge" => histogram::GAUGE,
                    _ => histogram::UNKNOWN,
                };
            }
            other => return Err(format!("unknown key {other:?}")),
        }
    }
    let span = |offset: i32, counts: &[f64]| {
        if counts.is_empty() {
            Vec::new()
        } else {
            vec![BucketSpan { offset, length: counts.len() as u32 }]
        }
    };
    out.positive_spans = span(offset, &out.positive_buckets);
    out.negative_spans = span(negative_offset, &out.negative_buckets);
    Ok(out)
}
