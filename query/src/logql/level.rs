//! The level of a record that says none in a label: `detected_level`.
//!
//! Source: Loki 3.7, `pkg/distributor/field_detection.go`; api.md 10.6.

use std::borrow::Cow;

/// Names under which senders give the level.
const NAMES: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// Words and the level that they mean, longer ones before their beginnings.
const WORDS: [(&str, &str); 16] = [
    ("trace", "trace"),
    ("trc", "trace"),
    ("debug", "debug"),
    ("dbg", "debug"),
    ("information", "info"),
    ("info", "info"),
    ("inf", "info"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("wrn", "warn"),
    ("error", "error"),
    ("err", "error"),
    ("critical", "critical"),
    ("fatal", "fatal"),
    ("panic", "fatal"),
    ("emerg", "fatal"),
];

const UNKNOWN: &str = "unknown";

/// Whether a label or an attribute of this name says the level.
pub(crate) fn is_level_name(name: &str) -> bool {
    NAMES.contains(&name) || name == "log_level"
}

/// A value in the form in which levels are kept; unknown words stay as they are.
pub(crate) fn normalized(value: &str) -> Cow<'_, str> {
    known(value.trim()).map_or(Cow::Borrowed(value), Cow::Borrowed)
}

fn known(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
}

/// The level of a record none of whose labels says it.
pub(crate) fn detect(severity_number: u8, line: &str) -> Cow<'_, str> {
    match severity_number {
        1..=4 => Cow::Borrowed("trace"),
        5..=8 => Cow::Borrowed("debug"),
        9..=12 => Cow::Borrowed("info"),
        13..=16 => Cow::Borrowed("warn"),
        17..=20 => Cow::Borrowed("error"),
        21..=24 => Cow::Borrowed("fatal"),
        0 => from_line(line),
        _ => Cow::Borrowed(UNKNOWN),
    }
}

fn from_line(line: &str) -> Cow<'_, str> {
    let trimmed = line.trim();
    let field = if trimmed.starts_with('{') && trimmed.ends_with('}') {
        from_json(trimmed, 0)
    } else if line.contains('=') {
        from_logfmt(line)
    } else {
        None
    };
    if let Some(level) = field.and_then(|value| known(&value)) {
        return Cow::Borrowed(level);
    }
    Cow::Borrowed(from_words(line).unwrap_or(UNKNOWN))
}

fn from_json(object: &str, depth: usize) -> Option<Cow<'_, str>> {
    let mut found = None;
    super::stage::walk_strings(object, &mut |key, value, is_object| {
        if found.is_some() {
            return;
        }
        if is_object && depth < 1 {
            found = from_json(value, depth + 1);
        } else if !is_object && NAMES.contains(&key) {
            found = Some(Cow::Borrowed(value));
        }
    });
    found
}

fn from_logfmt(line: &str) -> Option<Cow<'_, str>> {
    for word in line.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        if NAMES.iter().any(|name| name.eq_ignore_ascii_case(key)) {
            return Some(Cow::Borrowed(value.trim_matches('"')));
        }
    }
    None
}

/// The level word that stands first as a word.
fn from_words(line: &str) -> Option<&'static str> {
    let bytes = line.as_bytes();
    let left = |b: u8| b.is_ascii_whitespace() || b"[({\"'=|".contains(&b);
    let right = |b: u8| left(b) || b"])}:,!".contains(&b);
    let mut at = 0;
    while at < bytes.len() {
        let starts = at == 0 || bytes.get(at - 1).is_some_and(|&b| left(b));
        if starts
            && matches!(bytes[at] | 0x20, b't' | b'd' | b'i' | b'w' | b'e' | b'c' | b'f' | b'p')
        {
            let length =
                bytes[at..].iter().take(12).take_while(|b| b.is_ascii_alphabetic()).count();
            let ends = bytes.get(at + length).is_none_or(|&b| right(b));
            let level = line.get(at..at + length).filter(|_| ends).and_then(known);
            if level.is_some() {
                return level;
            }
            at += length.max(1);
        } else {
            at += 1;
        }
    }
    None
}
