//! The level of a log record, for records whose sender did not say it in so many words.
//!
//! Asked at query time, never stored: the rule may get better, and old records with it. Nothing is
//! allocated, and a line is read at most three times from start to end.
//! Source: Loki 3.7 `pkg/distributor/field_detection.go`; api.md 10.6.

use crate::{AttributesRef, Labels, Value};

/// Names under which senders write a level.
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

/// Levels of objects in a line of JSON that are searched.
const JSON_DEPTH_MAX: usize = 2;

/// Where a record's level may be found.
#[derive(Debug, Clone, Copy)]
pub struct LevelSource<'a> {
    pub labels: &'a Labels,
    /// The record's attributes (Loki's structured metadata).
    pub attributes: AttributesRef<'a>,
    /// OTLP severity, 0 where none was sent.
    pub severity_number: u8,
    pub severity_text: &'a str,
    pub line: &'a str,
}

/// The record's level: `trace`, `debug`, `info`, `warn`, `error`, `critical`, `fatal`, `unknown`, or
/// what the sender wrote where that is a word we do not know.
#[must_use]
pub fn detected_level<'a>(source: LevelSource<'a>) -> &'a str {
    if let Some(level) = text_of(source.attributes, "detected_level") {
        return normalized(level).unwrap_or(level);
    }
    let named = NAMES
        .iter()
        .find_map(|name| source.labels.get(name))
        .or_else(|| NAMES.iter().find_map(|name| text_of(source.attributes, name)))
        .or(Some(source.severity_text))
        .filter(|level| !level.is_empty());
    if let Some(level) = named {
        return normalized(level).unwrap_or(level);
    }
    if let Some(level) = of_number(source) {
        return level;
    }
    of_line(source.line)
}

fn text_of<'a>(attributes: AttributesRef<'a>, name: &str) -> Option<&'a str> {
    attributes.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn of_number(source: LevelSource<'_>) -> Option<&'static str> {
    let number = match source.severity_number {
        0 => match source.attributes.get("severity_number")? {
            Value::Int(number) => number,
            Value::Str(text) => match text.parse() {
                Ok(number) => number,
                Err(_) => return Some("info"),
            },
            _ => return Some("info"),
        },
        number => i64::from(number),
    };
    Some(match number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "unknown",
    })
}

fn of_line(line: &str) -> &'static str {
    let trimmed = line.trim();
    let named = if trimmed.starts_with('{') && trimmed.ends_with('}') {
        Json { bytes: trimmed.as_bytes(), at: 0 }.level(trimmed, JSON_DEPTH_MAX)
    } else if memchr_equals(line) {
        of_logfmt(line)
    } else {
        None
    };
    named.and_then(normalized).or_else(|| of_words(line)).unwrap_or("unknown")
}

fn memchr_equals(line: &str) -> bool {
    line.as_bytes().contains(&b'=')
}

/// The level that a word means.
fn normalized(word: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 14] = [
        ("trace", "trace"),
        ("trc", "trace"),
        ("debug", "debug"),
        ("dbg", "debug"),
        ("info", "info"),
        ("inf", "info"),
        ("information", "info"),
        ("warn", "warn"),
        ("wrn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("err", "error"),
        ("critical", "critical"),
        ("fatal", "fatal"),
    ];
    let known = WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
    known.map(|(_, level)| *level)
}

/// The value of the first logfmt pair whose key is a level's name in any case.
fn of_logfmt(line: &str) -> Option<&str> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('=') {
        let key = before.rsplit([' ', '\t', ',']).next().unwrap_or(before);
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => match after.find([' ', '\t']) {
                Some(end) => after.split_at(end),
                None => (after, ""),
            },
        };
        if NAMES.iter().any(|name| key.eq_ignore_ascii_case(name)) {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The earliest word of a line that is a level.
fn of_words(line: &str) -> Option<&'static str> {
    const LEFT: &str = "[({\"'=|";
    const RIGHT: &str = "[({\"'=|]):},!";
    let is_left = |c: char| c.is_whitespace() || LEFT.contains(c);
    let is_right = |c: char| c.is_whitespace() || RIGHT.contains(c);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_letter = bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
        if !is_letter {
            at += 1;
            continue;
        }
        let end = bytes.get(at..)?.iter().position(|byte| !byte.is_ascii_alphabetic());
        let end = end.map_or(bytes.len(), |length| at + length);
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(end..).and_then(|text| text.chars().next());
        if before.is_none_or(is_left)
            && after.is_none_or(is_right)
            && let Some(level) = line.get(at..end).and_then(normalized)
        {
            return Some(level);
        }
        at = end;
    }
    None
}

/// Walks JSON without keeping any of it; what is not JSON ends the walk.
struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Json<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// The bounds of a string's content, escapes untouched.
    fn string(&mut self) -> Option<(usize, usize)> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some((start, self.at - 1))
    }

    /// Passes over any value.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth == 0 => return Some(()),
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return Some(()),
                _ => self.at += 1,
            }
        }
    }

    /// The first string under a level's name in the object that begins here.
    fn level<'t>(&mut self, text: &'t str, depth_left: usize) -> Option<&'t str> {
        self.take(b'{')?;
        loop {
            if self.peek()? == b'}' {
                self.at += 1;
                return None;
            }
            let (start, end) = self.string()?;
            let key = text.get(start..end)?;
            self.take(b':')?;
            match self.peek()? {
                b'"' => {
                    let (start, end) = self.string()?;
                    if NAMES.contains(&key) {
                        return text.get(start..end);
                    }
                }
                b'{' if depth_left > 1 => {
                    if let Some(level) = self.level(text, depth_left - 1) {
                        return Some(level);
                    }
                }
                _ => self.skip()?,
            }
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttributesBuilder;

    fn of(labels: &[(&str, &str)], metadata: &[(&str, &str)], number: u8, line: &str) -> String {
        let labels = Labels::from_pairs(labels.iter().copied());
        let mut attributes = AttributesBuilder::new();
        for (key, value) in metadata {
            attributes.push(key, Value::Str(value));
        }
        let attributes = attributes.finish();
        detected_level(LevelSource {
            labels: &labels,
            attributes: AttributesRef::list(&attributes),
            severity_number: number,
            severity_text: "",
            line,
        })
        .to_owned()
    }

    #[test]
    fn what_the_sender_said_comes_first() {
        assert_eq!(of(&[("level", "x")], &[("detected_level", "WRN")], 1, "error"), "warn");
        assert_eq!(of(&[("level", "Error")], &[("level", "debug")], 1, "info"), "error");
        assert_eq!(of(&[], &[("severity", "notice")], 1, "info"), "notice");
        assert_eq!(of(&[], &[], 13, "info"), "warn");
        assert_eq!(of(&[], &[("severity_number", "30")], 0, "info"), "unknown");
        assert_eq!(of(&[], &[("severity_number", "x")], 0, "error"), "info");
    }

    #[test]
    fn lines_are_read_as_json_logfmt_or_words() {
        let check = |line: &str, want: &str| assert_eq!(of(&[], &[], 0, line), want, "{line}");
        check(r#"{"msg":"an error","level":"WARN"}"#, "warn");
        check(r#"{"a":[1,{"level":"debug"}],"log":{"level":"fatal"}}"#, "fatal");
        check(r#"{"a":{"b":{"level":"deep"}},"m":"it is info"}"#, "info");
        check(r#"{"level":"strange","m":"x error y"}"#, "error");
        check("ts=1 LEVEL=dbg msg=\"an error\"", "debug");
        check("msg=\"level=info\" lvl=err", "error");
        check("2024-01-01 [WARN] retry", "warn");
        check("Error: no such file", "error");
        check("no terror here, informal", "unknown");
        check("", "unknown");
        check("état critical!", "critical");
        check("{not json", "unknown");
        check("{\"level\"}", "unknown");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

        #[test]
        fn any_line_has_a_level(line in "[{}\\[\\]\",:=\\\\ a-eéilnorv]{0,40}") {
            assert!(!of(&[], &[], 0, &line).is_empty());
        }
    }
}
