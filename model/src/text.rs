//! Attribute values as JSON text.

use std::fmt::Write as _;

use crate::Value;

/// Levels of nesting that are written; deeper values become `null`. Decoders refuse more than
/// [`crate::Limits::nesting_depth_max`], which is less.
const DEPTH_MAX: usize = 128;

/// A value as compact JSON: keys sorted (as the Collector's `AsString` and so Loki write them), bytes
/// as base64 (the OTLP/JSON rule), numbers that JSON cannot hold as strings.
#[must_use]
pub fn value_to_json(value: Value<'_>) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0);
    out
}

fn write_value(out: &mut String, value: Value<'_>, depth: usize) {
    if depth > DEPTH_MAX {
        out.push_str("null");
        return;
    }
    match value {
        Value::Empty => out.push_str("null"),
        Value::Str(text) => write_string(out, text),
        Value::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
        Value::Int(int) => push_display(out, int),
        Value::Double(double) if double.is_finite() => push_display(out, double),
        Value::Double(double) => {
            let text = if double.is_nan() {
                "NaN"
            } else if double > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            write_string(out, text);
        }
        Value::Bytes(bytes) => write_string(out, &base64(bytes)),
        Value::Array(_) => {
            out.push('[');
            for (index, item) in value.items().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(_) => {
            out.push('{');
            let mut entries: Vec<(&str, Value<'_>)> = value.entries().iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(out, key);
                out.push(':');
                write_value(out, item, depth + 1);
            }
            out.push('}');
        }
    }
}

fn push_display(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "{number}");
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for position in 0..4 {
            if position > chunk.len() {
                out.push('=');
            } else {
                out.push(ALPHABET[(word >> (18 - 6 * position)) as usize & 63] as char);
            }
        }
    }
    out
}
