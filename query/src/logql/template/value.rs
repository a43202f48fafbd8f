//! Values of a template.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use super::super::number::format_float;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nil,
    /// A field that the data do not have; prints as nothing.
    Missing,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(DateTime<FixedOffset>),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// The labels of the record: the dot, and `$`.
    Labels,
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nil | Value::Missing => "nil",
            Value::Text(_) => "string",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Bool(_) => "bool",
            Value::Time(_) => "time.Time",
            Value::List(_) => "[]interface {}",
            Value::Map(_) | Value::Labels => "map[string]interface {}",
        }
    }

    /// About what a copy of it takes. Units: bytes.
    pub(super) fn weight(&self) -> usize {
        let inner = match self {
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(Value::weight).sum(),
            Value::Map(entries) => {
                entries.iter().map(|(key, value)| key.len() + value.weight()).sum()
            }
            _ => 0,
        };
        size_of::<Value>() + inner
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil | Value::Missing => false,
            Value::Text(text) => !text.is_empty(),
            Value::Int(int) => *int != 0,
            Value::Float(float) => *float != 0.0,
            Value::Bool(flag) => *flag,
            Value::Time(_) | Value::Labels => true,
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
        }
    }

    /// The value as `{{ .x }}` prints it.
    pub(super) fn print(&self) -> String {
        match self {
            Value::Nil => "<no value>".to_owned(),
            Value::Missing => String::new(),
            Value::Text(text) => text.clone(),
            Value::Int(int) => int.to_string(),
            Value::Float(float) => format_float(*float),
            Value::Bool(flag) => flag.to_string(),
            Value::Time(time) => super::time::default_text(time),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::print).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key}:{}", value.print())).collect();
                format!("map[{}]", entries.join(" "))
            }
            Value::Labels => "map[]".to_owned(),
        }
    }

    pub(super) fn from_json(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(flag) => Value::Bool(flag),
            serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(0.0)),
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Array(items) => {
                Value::List(items.into_iter().map(Value::from_json).collect())
            }
            serde_json::Value::Object(entries) => Value::Map(
                entries.into_iter().map(|(key, value)| (key, Value::from_json(value))).collect(),
            ),
        }
    }

    pub(super) fn as_text(&self) -> Result<String, String> {
        match self {
            Value::Text(text) => Ok(text.clone()),
            Value::Missing => Ok(String::new()),
            other => Err(format!("expected string; found {}", other.kind())),
        }
    }

    /// A whole number; text that is none counts as 0, as the functions of sprig take it.
    pub(super) fn to_int(&self) -> i64 {
        match self {
            Value::Int(int) => *int,
            Value::Float(float) => *float as i64,
            Value::Bool(flag) => i64::from(*flag),
            Value::Text(text) => parse_int(text),
            _ => 0,
        }
    }

    pub(super) fn to_float(&self) -> f64 {
        match self {
            Value::Int(int) => *int as f64,
            Value::Float(float) => *float,
            Value::Bool(flag) => f64::from(u8::from(*flag)),
            Value::Text(text) => text.parse().unwrap_or(0.0),
            _ => 0.0,
        }
    }
}

fn parse_int(text: &str) -> i64 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    // A fraction of zeros is taken too.
    let whole = match digits.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return 0,
        None => digits,
    };
    let parsed = match whole.get(..2) {
        Some("0x" | "0X") => i64::from_str_radix(&whole[2..], 16),
        Some("0b" | "0B") => i64::from_str_radix(&whole[2..], 2),
        Some("0o" | "0O") => i64::from_str_radix(&whole[2..], 8),
        Some(_) if whole.starts_with('0') => i64::from_str_radix(whole, 8),
        _ => whole.parse(),
    };
    parsed.map_or(0, |value| sign * value)
}
