//! `printf`, as far as log lines need it.

use super::super::number::format_float;
use super::value::Value;

/// Widest padding. Units: characters.
const WIDTH_MAX: usize = 1000;

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        let verb = loop {
            match rest.next() {
                Some('-') => spec.minus = true,
                Some('+') => spec.plus = true,
                Some('0') if spec.width == 0 && spec.precision.is_none() => spec.zero = true,
                Some(digit @ '0'..='9') => {
                    let digit = digit.to_digit(10).unwrap_or(0) as usize;
                    let slot = spec.precision.as_mut().unwrap_or(&mut spec.width);
                    *slot = (*slot * 10 + digit).min(WIDTH_MAX);
                }
                Some('.') => spec.precision = Some(0),
                Some(' ' | '#') => {}
                other => break other,
            }
        };
        match verb {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => out.push_str(&pad(&spec, &formatted(verb, &spec, value))),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let extra: Vec<String> =
        arguments.map(|value| format!("{}={}", value.kind(), value.print())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn formatted(verb: char, spec: &Spec, value: &Value) -> String {
    let plus =
        |text: String| if spec.plus && !text.starts_with('-') { format!("+{text}") } else { text };
    match (verb, value) {
        ('v', value) => value.print(),
        ('s', Value::Text(text)) => match spec.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.clone(),
        },
        ('s', Value::Missing) => String::new(),
        ('s', Value::List(_) | Value::Map(_) | Value::Time(_)) => value.print(),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('d', Value::Int(int)) => plus(int.to_string()),
        ('x', Value::Int(int)) => format!("{int:x}"),
        ('X', Value::Int(int)) => format!("{int:X}"),
        ('o', Value::Int(int)) => format!("{int:o}"),
        ('b', Value::Int(int)) => format!("{int:b}"),
        ('x', Value::Text(text)) => hex::encode(text),
        ('f' | 'F', Value::Float(float)) => {
            plus(format!("{float:.*}", spec.precision.unwrap_or(6)))
        }
        ('g', Value::Float(float)) => plus(format_float(*float)),
        ('t', Value::Bool(flag)) => flag.to_string(),
        ('T', value) => value.kind().to_owned(),
        (verb, value) => format!("%!{verb}({}={})", value.kind(), value.print()),
    }
}

fn pad(spec: &Spec, text: &str) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text.to_owned();
    }
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if spec.zero {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
