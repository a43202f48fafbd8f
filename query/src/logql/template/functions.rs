//! The functions of templates: one table, so that parser and evaluator agree on what exists.
//!
//! Source: Go `text/template` builtins, sprig v3, Loki 3.7 `pkg/logql/log/fmt.go`.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::number::{parse_bytes, parse_go_duration};
use super::super::regex::unanchored;
use super::eval::Record;
use super::printf::sprintf;
use super::time;
use super::value::Value;

type Outcome = Result<Value, String>;
type Function = fn(&[Value], &Record<'_>) -> Outcome;

/// Longest text that a function makes by repetition or padding. Units: bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Name, least and most arguments, function.
const FUNCTIONS: &[(&str, usize, usize, Function)] = &[
    ("__line__", 0, 0, |_, record| text(record.line)),
    ("__timestamp__", 0, 0, |_, record| Ok(Value::Time(time::from_ns(record.time_ns)))),
    ("and", 1, 99, |a, _| Ok(a[0].clone())),
    ("or", 1, 99, |a, _| Ok(a[0].clone())),
    ("not", 1, 1, |a, _| Ok(Value::Bool(!a[0].is_true()))),
    ("len", 1, 1, |a, _| length(&a[0])),
    ("index", 1, 9, index),
    ("slice", 1, 3, |a, _| slice(a)),
    ("print", 0, 99, |a, _| text(print(a))),
    ("println", 0, 99, |a, _| text(spaced(a) + "\n")),
    ("printf", 1, 99, |a, _| text(sprintf(&a[0].as_text()?, &a[1..]))),
    ("html", 1, 9, |a, _| text(html(&print(a)))),
    ("js", 1, 9, |a, _| text(js(&print(a)))),
    ("urlquery", 1, 9, |a, _| text(url_encode(&print(a)))),
    ("eq", 2, 99, |a, _| any_equal(a)),
    ("ne", 2, 2, |a, _| Ok(Value::Bool(!equal(&a[0], &a[1])?))),
    ("lt", 2, 2, |a, _| Ok(Value::Bool(compare(&a[0], &a[1])? == Some(Ordering::Less)))),
    ("le", 2, 2, |a, _| {
        Ok(Value::Bool(matches!(compare(&a[0], &a[1])?, Some(Ordering::Less | Ordering::Equal))))
    }),
    ("gt", 2, 2, |a, _| Ok(Value::Bool(compare(&a[0], &a[1])? == Some(Ordering::Greater)))),
    ("ge", 2, 2, |a, _| {
        Ok(Value::Bool(matches!(compare(&a[0], &a[1])?, Some(Ordering::Greater | Ordering::Equal))))
    }),
    ("lower", 1, 1, |a, _| text(a[0].as_text()?.to_lowercase())),
    ("ToLower", 1, 1, |a, _| text(a[0].as_text()?.to_lowercase())),
    ("upper", 1, 1, |a, _| text(a[0].as_text()?.to_uppercase())),
    ("ToUpper", 1, 1, |a, _| text(a[0].as_text()?.to_uppercase())),
    ("title", 1, 1, |a, _| text(title(&a[0].as_text()?))),
    ("trim", 1, 1, |a, _| text(a[0].as_text()?.trim())),
    ("TrimSpace", 1, 1, |a, _| text(a[0].as_text()?.trim())),
    ("trimAll", 2, 2, |a, _| text(trim_set(&a[1].as_text()?, &a[0].as_text()?, true, true))),
    ("Trim", 2, 2, |a, _| text(trim_set(&a[0].as_text()?, &a[1].as_text()?, true, true))),
    ("TrimLeft", 2, 2, |a, _| text(trim_set(&a[0].as_text()?, &a[1].as_text()?, true, false))),
    ("TrimRight", 2, 2, |a, _| text(trim_set(&a[0].as_text()?, &a[1].as_text()?, false, true))),
    ("TrimPrefix", 2, 2, |a, _| text(strip_prefix(&a[0].as_text()?, &a[1].as_text()?))),
    ("TrimSuffix", 2, 2, |a, _| text(strip_suffix(&a[0].as_text()?, &a[1].as_text()?))),
    ("trimPrefix", 2, 2, |a, _| text(strip_prefix(&a[1].as_text()?, &a[0].as_text()?))),
    ("trimSuffix", 2, 2, |a, _| text(strip_suffix(&a[1].as_text()?, &a[0].as_text()?))),
    ("replace", 3, 3, |a, _| {
        text(a[2].as_text()?.replace(a[0].as_text()?.as_str(), &a[1].as_text()?))
    }),
    ("Replace", 4, 4, |a, _| {
        let (source, old, new) = (a[0].as_text()?, a[1].as_text()?, a[2].as_text()?);
        match usize::try_from(a[3].to_int()) {
            Ok(count) => text(source.replacen(old.as_str(), &new, count)),
            Err(_) => text(source.replace(old.as_str(), &new)),
        }
    }),
    ("contains", 2, 2, |a, _| Ok(Value::Bool(a[1].as_text()?.contains(a[0].as_text()?.as_str())))),
    ("hasPrefix", 2, 2, |a, _| {
        Ok(Value::Bool(a[1].as_text()?.starts_with(a[0].as_text()?.as_str())))
    }),
    ("hasSuffix", 2, 2, |a, _| {
        Ok(Value::Bool(a[1].as_text()?.ends_with(a[0].as_text()?.as_str())))
    }),
    ("repeat", 2, 2, |a, _| {
        let source = a[1].as_text()?;
        let count = usize::try_from(a[0].to_int()).unwrap_or(0);
        if source.len().saturating_mul(count) > TEXT_BYTES_MAX {
            return Err("repeat makes too long a text".to_owned());
        }
        text(source.repeat(count))
    }),
    ("indent", 2, 2, |a, _| text(indent(a)?)),
    ("nindent", 2, 2, |a, _| text(format!("\n{}", indent(a)?))),
    ("trunc", 2, 2, |a, _| text(truncate(a[0].to_int(), &a[1].as_text()?))),
    ("substr", 3, 3, |a, _| text(substring(a[0].to_int(), a[1].to_int(), &a[2].as_text()?))),
    ("alignLeft", 2, 2, |a, _| text(align(a[0].to_int(), &a[1].as_text()?, false))),
    ("alignRight", 2, 2, |a, _| text(align(a[0].to_int(), &a[1].as_text()?, true))),
    ("count", 2, 2, |a, record| {
        let regex = unanchored(&a[0].as_text()?, record.regex)?;
        Ok(Value::Int(regex.find_iter(a[1].as_text()?.as_bytes()).count() as i64))
    }),
    ("regexReplaceAll", 3, 3, |a, record| regex_replace(a, record, true)),
    ("regexReplaceAllLiteral", 3, 3, |a, record| regex_replace(a, record, false)),
    ("urlencode", 1, 1, |a, _| text(url_encode(&a[0].as_text()?))),
    ("urldecode", 1, 1, |a, _| text(url_decode(&a[0].as_text()?)?)),
    ("b64enc", 1, 1, |a, _| text(STANDARD.encode(a[0].as_text()?))),
    ("b64dec", 1, 1, |a, _| {
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
        let decoded = engine.decode(a[0].as_text()?).unwrap_or_default();
        text(String::from_utf8_lossy(&decoded))
    }),
    ("default", 1, 2, |a, _| {
        Ok(match a.get(1) {
            Some(given) if given.is_true() => given.clone(),
            _ => a[0].clone(),
        })
    }),
    ("fromJson", 1, 1, |a, _| {
        Ok(serde_json::from_str(&a[0].as_text()?).map_or(Value::Nil, Value::from_json))
    }),
    ("int", 1, 1, |a, _| Ok(Value::Int(a[0].to_int()))),
    ("float64", 1, 1, |a, _| Ok(Value::Float(a[0].to_float()))),
    ("add", 0, 99, |a, _| Ok(Value::Int(a.iter().fold(0, |sum, v| sum.wrapping_add(v.to_int()))))),
    ("sub", 2, 2, |a, _| Ok(Value::Int(a[0].to_int().wrapping_sub(a[1].to_int())))),
    ("mul", 1, 99, |a, _| {
        Ok(Value::Int(a.iter().fold(1, |product, v| product.wrapping_mul(v.to_int()))))
    }),
    ("div", 2, 2, |a, _| {
        let quotient = a[0].to_int().checked_div(a[1].to_int());
        quotient.map(Value::Int).ok_or_else(|| "integer divide by zero".to_owned())
    }),
    ("mod", 2, 2, |a, _| {
        let rest = a[0].to_int().checked_rem(a[1].to_int());
        rest.map(Value::Int).ok_or_else(|| "integer divide by zero".to_owned())
    }),
    ("addf", 0, 99, |a, _| Ok(decimal_fold(a, |x, y| x + y))),
    ("subf", 1, 99, |a, _| Ok(decimal_fold(a, |x, y| x - y))),
    ("mulf", 1, 99, |a, _| Ok(decimal_fold(a, |x, y| x * y))),
    ("divf", 1, 99, |a, _| {
        let mut numbers = a.iter().map(Value::to_float);
        let first = numbers.next().unwrap_or(0.0);
        Ok(Value::Float(numbers.fold(first, |x, y| x / y)))
    }),
    ("max", 1, 99, |a, _| Ok(Value::Int(a.iter().map(Value::to_int).max().unwrap_or(0)))),
    ("min", 1, 99, |a, _| Ok(Value::Int(a.iter().map(Value::to_int).min().unwrap_or(0)))),
    ("maxf", 1, 99, |a, _| {
        Ok(Value::Float(a.iter().map(Value::to_float).fold(f64::NEG_INFINITY, f64::max)))
    }),
    ("minf", 1, 99, |a, _| {
        Ok(Value::Float(a.iter().map(Value::to_float).fold(f64::INFINITY, f64::min)))
    }),
    ("ceil", 1, 1, |a, _| Ok(Value::Float(a[0].to_float().ceil()))),
    ("floor", 1, 1, |a, _| Ok(Value::Float(a[0].to_float().floor()))),
    ("round", 2, 3, |a, _| Ok(Value::Float(round(a)))),
    ("bytes", 1, 1, |a, _| {
        let source = a[0].as_text()?;
        let bytes = parse_bytes(&source).ok_or_else(|| format!("unhandled size: {source}"))?;
        Ok(Value::Float(bytes as f64))
    }),
    ("duration", 1, 1, |a, _| seconds(&a[0])),
    ("duration_seconds", 1, 1, |a, _| seconds(&a[0])),
    ("now", 0, 0, |_, record| Ok(Value::Time(time::from_ns(record.time_ns)))),
    ("date", 2, 2, |a, _| text(time::format(&a[0].as_text()?, &time::to_time(&a[1])?))),
    ("toDate", 2, 2, |a, _| {
        Ok(time::parse(&a[0].as_text()?, &a[1].as_text()?)
            .map_or(Value::Time(time::zero()), Value::Time))
    }),
    ("toDateInZone", 3, 3, |a, _| {
        time::parse_in_zone(&a[0].as_text()?, &a[1].as_text()?, &a[2].as_text()?).map(Value::Time)
    }),
    ("unixEpoch", 1, 1, |a, _| text(time::to_time(&a[0])?.timestamp().to_string())),
    ("unixEpochMillis", 1, 1, |a, _| text(time::to_time(&a[0])?.timestamp_millis().to_string())),
    ("unixEpochNanos", 1, 1, |a, _| {
        text(time::to_time(&a[0])?.timestamp_nanos_opt().unwrap_or(0).to_string())
    }),
    ("unixToTime", 1, 1, |a, _| time::from_digits(&a[0].as_text()?).map(Value::Time)),
];

pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function.
///
/// Errors: a wrong number of arguments, or what the function could not do.
pub(super) fn call(name: &str, arguments: &[Value], record: &Record<'_>) -> Outcome {
    let Some((_, least, most, function)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
    else {
        return Err("not defined".to_owned());
    };
    if arguments.len() < *least || arguments.len() > *most {
        return Err(format!("wrong number of args: want {least} got {}", arguments.len()));
    }
    function(arguments, record)
}

fn text(text: impl Into<String>) -> Outcome {
    Ok(Value::Text(text.into()))
}

fn length(value: &Value) -> Outcome {
    Ok(Value::Int(match value {
        Value::Text(text) => text.len() as i64,
        Value::List(items) => items.len() as i64,
        Value::Map(entries) => entries.len() as i64,
        Value::Missing => 0,
        other => return Err(format!("len of type {}", other.kind())),
    }))
}

fn index(arguments: &[Value], record: &Record<'_>) -> Outcome {
    let mut value = arguments[0].clone();
    for at in &arguments[1..] {
        value = match (value, at) {
            (Value::List(items), at) => {
                let position = usize::try_from(at.to_int()).ok();
                let item = position.and_then(|position| items.get(position).cloned());
                item.ok_or_else(|| format!("index out of range: {}", at.print()))?
            }
            (Value::Map(mut entries), Value::Text(key)) => {
                entries.remove(key).unwrap_or(Value::Nil)
            }
            (Value::Text(source), at) => {
                let position = usize::try_from(at.to_int()).ok();
                let byte = position.and_then(|position| source.as_bytes().get(position).copied());
                let byte = byte.ok_or_else(|| format!("index out of range: {}", at.print()))?;
                Value::Int(i64::from(byte))
            }
            (Value::Labels, Value::Text(name)) => Value::Text(record.labels.value(name).to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Outcome {
    let source = arguments[0].as_text()?;
    let bound = |at: usize, default: usize| match arguments.get(at) {
        Some(value) => usize::try_from(value.to_int()).ok(),
        None => Some(default),
    };
    let (start, end) = (bound(1, 0), bound(2, source.len()));
    let part = start.zip(end).and_then(|(start, end)| source.as_bytes().get(start..end));
    let part = part.ok_or_else(|| "index out of range".to_owned())?;
    text(String::from_utf8_lossy(part))
}

/// Go's `Sprint`: blanks between values neither of which is text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_) | Value::Missing);
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            out.push(' ');
        }
        out.push_str(&value.print());
    }
    out
}

fn spaced(values: &[Value]) -> String {
    let parts: Vec<String> = values.iter().map(Value::print).collect();
    parts.join(" ")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('\'', "&#39;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn url_decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let code =
                    text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let escape = text.get(at..).unwrap_or("");
                out.push(code.ok_or_else(|| format!("invalid URL escape {escape:?}"))?);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Numbers of either kind compare, texts compare; a missing field is an empty text.
fn compare(lhs: &Value, rhs: &Value) -> Result<Option<Ordering>, String> {
    match (lhs, rhs) {
        (Value::Int(lhs), Value::Int(rhs)) => Ok(Some(lhs.cmp(rhs))),
        (Value::Float(lhs), Value::Float(rhs)) => Ok(lhs.partial_cmp(rhs)),
        (Value::Text(lhs), Value::Text(rhs)) => Ok(Some(lhs.cmp(rhs))),
        (Value::Missing, Value::Text(rhs)) => Ok(Some("".cmp(rhs.as_str()))),
        (Value::Text(lhs), Value::Missing) => Ok(Some(lhs.as_str().cmp(""))),
        (Value::Time(lhs), Value::Time(rhs)) => Ok(Some(lhs.cmp(rhs))),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn equal(lhs: &Value, rhs: &Value) -> Result<bool, String> {
    match (lhs, rhs) {
        (Value::Bool(lhs), Value::Bool(rhs)) => Ok(lhs == rhs),
        (Value::Nil, other) | (other, Value::Nil) => Ok(*other == Value::Nil),
        (Value::Missing, Value::Missing) => Ok(true),
        _ => Ok(compare(lhs, rhs)? == Some(Ordering::Equal)),
    }
}

fn any_equal(arguments: &[Value]) -> Outcome {
    for other in &arguments[1..] {
        if equal(&arguments[0], other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts_word = true;
    for c in text.chars() {
        if starts_word {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts_word = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
    }
    out
}

fn trim_set(source: &str, set: &str, left: bool, right: bool) -> String {
    let mut trimmed = source;
    if left {
        trimmed = trimmed.trim_start_matches(|c| set.contains(c));
    }
    if right {
        trimmed = trimmed.trim_end_matches(|c| set.contains(c));
    }
    trimmed.to_owned()
}

fn strip_prefix(source: &str, prefix: &str) -> String {
    source.strip_prefix(prefix).unwrap_or(source).to_owned()
}

fn strip_suffix(source: &str, suffix: &str) -> String {
    source.strip_suffix(suffix).unwrap_or(source).to_owned()
}

fn indent(arguments: &[Value]) -> Result<String, String> {
    let width = usize::try_from(arguments[0].to_int()).unwrap_or(0).min(1000);
    let pad = " ".repeat(width);
    Ok(format!("{pad}{}", arguments[1].as_text()?.replace('\n', &format!("\n{pad}"))))
}

/// The first bytes, or with a negative count the last ones. Go counts bytes; what is cut through
/// becomes a replacement character.
fn truncate(count: i64, source: &str) -> String {
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(source.len());
    let bytes = source.as_bytes();
    let kept = if count < 0 { &bytes[bytes.len() - wanted..] } else { &bytes[..wanted] };
    String::from_utf8_lossy(kept).into_owned()
}

/// Bytes from `start` to before `end`; a negative start means from the front, a negative or too
/// large end means to the back.
fn substring(start: i64, end: i64, source: &str) -> String {
    let total = source.len();
    let start = usize::try_from(start).unwrap_or(0).min(total);
    let end = usize::try_from(end).map_or(total, |end| end.min(total));
    String::from_utf8_lossy(source.as_bytes().get(start..end).unwrap_or_default()).into_owned()
}

fn align(width: i64, source: &str, right: bool) -> String {
    let Ok(width) = usize::try_from(width) else { return source.to_owned() };
    let width = width.min(TEXT_BYTES_MAX);
    let total = source.chars().count();
    if total >= width {
        let skipped = if right { total - width } else { 0 };
        return source.chars().skip(skipped).take(width).collect();
    }
    let pad = " ".repeat(width - total);
    if right { pad + source } else { source.to_owned() + &pad }
}

fn regex_replace(arguments: &[Value], record: &Record<'_>, expands: bool) -> Outcome {
    let regex = unanchored(&arguments[0].as_text()?, record.regex)?;
    let source = arguments[1].as_text()?;
    let replacement = arguments[2].as_text()?;
    let mut out = String::with_capacity(source.len());
    let mut last = 0;
    for captures in regex.captures_iter(source.as_bytes()) {
        let Some(span) = captures.get_match().map(|found| found.span()) else { continue };
        out.push_str(source.get(last..span.start).unwrap_or(""));
        if expands {
            super::super::exec::expand(&replacement, &source, &captures, &mut out);
        } else {
            out.push_str(&replacement);
        }
        last = span.end;
    }
    out.push_str(source.get(last..).unwrap_or(""));
    text(out)
}

/// Sums of decimals as people expect them: digits beyond the fifteenth are noise.
fn decimal_fold(values: &[Value], fold: impl Fn(f64, f64) -> f64) -> Value {
    let mut numbers = values.iter().map(Value::to_float);
    let first = numbers.next().unwrap_or(0.0);
    let folded = numbers.fold(first, fold);
    let rounded = format!("{folded:.14e}").parse().unwrap_or(folded);
    Value::Float(if values.len() > 1 { rounded } else { folded })
}

fn round(arguments: &[Value]) -> f64 {
    let (value, places) = (arguments[0].to_float(), arguments[1].to_int());
    let half = arguments.get(2).map_or(0.5, Value::to_float);
    let scale = 10f64.powi(i32::try_from(places).unwrap_or(0));
    let scaled = value * scale;
    let fraction = scaled - scaled.floor();
    (if fraction >= half { scaled.ceil() } else { scaled.floor() }) / scale
}

fn seconds(value: &Value) -> Outcome {
    let ns = parse_go_duration(&value.as_text()?)?;
    Ok(Value::Float(ns as f64 / 1e9))
}
