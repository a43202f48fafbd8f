//! `logfmt`, `logfmt --strict --keep-empty`, `logfmt a="key", b`.
//!
//! Source: go-logfmt's decoder, as Loki 3.7 has changed it to go on after an error.

use std::borrow::Cow;

use super::super::ast::Extraction;
use super::super::labels::{DUPLICATE_SUFFIX, LabelSet, sanitize_into};
use super::super::lex::unescape;
use super::{Line, Stage};

const LOGFMT_ERROR: &str = "LogfmtParserErr";

/// Walks `key=value` pairs.
struct Pairs<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Pairs<'a> {
    fn byte(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn error<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("logfmt syntax error at pos {} : {what}", self.at + 1))
    }

    /// Errors: what is wrong; the next call goes on behind it.
    fn next(&mut self) -> Option<Result<(&'a str, Cow<'a, str>), String>> {
        while self.byte()? <= b' ' {
            self.at += 1;
        }
        let outcome = self.pair();
        if outcome.is_err() {
            while self.byte().is_some_and(|b| b > b' ') {
                self.at += 1;
            }
        }
        Some(outcome)
    }

    fn pair(&mut self) -> Result<(&'a str, Cow<'a, str>), String> {
        let start = self.at;
        while let Some(byte) = self.byte() {
            match byte {
                b'=' => break,
                b'"' => return self.error("unexpected '\"'"),
                0..=b' ' => break,
                _ => self.at += 1,
            }
        }
        let key = &self.line[start..self.at];
        if key.contains('\u{fffd}') {
            return self.error("invalid key");
        }
        if self.byte() != Some(b'=') {
            return Ok((key, Cow::Borrowed("")));
        }
        if key.is_empty() {
            return self.error("unexpected '='");
        }
        self.at += 1;
        Ok((key, self.value()?))
    }

    fn value(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.at;
        if self.byte() == Some(b'"') {
            return self.quoted();
        }
        while let Some(byte) = self.byte() {
            match byte {
                b'=' => return self.error("unexpected '='"),
                b'"' => return self.error("unexpected '\"'"),
                0..=b' ' => break,
                _ => self.at += 1,
            }
        }
        Ok(Cow::Borrowed(&self.line[start..self.at]))
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, String> {
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        while let Some(byte) = self.byte() {
            match byte {
                b'\\' => {
                    has_escapes = true;
                    self.at += 2;
                }
                b'"' => {
                    let inside = &self.line[start..self.at];
                    self.at += 1;
                    if !has_escapes {
                        return Ok(Cow::Borrowed(inside));
                    }
                    return match unescape_json(inside) {
                        Some(text) => Ok(Cow::Owned(text)),
                        None => self.error("invalid quoted value"),
                    };
                }
                _ => self.at += 1,
            }
        }
        self.at = self.line.len();
        self.error("unterminated quoted value")
    }
}

/// Quoted values follow JSON's rules, and Go's where those say nothing.
fn unescape_json(text: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{text}\"")).ok().or_else(|| unescape(text))
}

/// Text that Prometheus would refuse has its replacement characters blanked.
pub(super) fn printable(value: &str) -> Cow<'_, str> {
    if value.contains('\u{fffd}') {
        Cow::Owned(value.replace('\u{fffd}', " "))
    } else {
        Cow::Borrowed(value)
    }
}

#[derive(Debug)]
struct Logfmt {
    strict: bool,
    keep_empty: bool,
}

#[derive(Debug)]
struct LogfmtFields {
    strict: bool,
    /// Label and key.
    fields: Vec<(String, String)>,
}

pub(super) fn build(
    strict: bool,
    keep_empty: bool,
    fields: &[Extraction],
) -> Result<Box<dyn Stage>, String> {
    if fields.is_empty() {
        return Ok(Box::new(Logfmt { strict, keep_empty }));
    }
    let mut built = Vec::with_capacity(fields.len());
    for Extraction { name, expression } in fields {
        built.push((name.clone(), parse_field(expression)?));
    }
    Ok(Box::new(LogfmtFields { strict, fields: built }))
}

/// The key of `name="key"`: one word, perhaps in quotes.
pub(in crate::logql) fn parse_field(expression: &str) -> Result<String, String> {
    let key = expression.trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    match key.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '@' | '-' | '/'))) {
        Some(c) if c.is_whitespace() => {
            Err(format!("cannot parse expression [{expression}]: syntax error: unexpected KEY"))
        }
        Some(c) => Err(format!("cannot parse expression [{expression}]: unexpected char {c}")),
        None => Ok(key.to_owned()),
    }
}

impl Stage for Logfmt {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if labels.needs_no_parsing() {
            return true;
        }
        let mut name = std::mem::take(&mut labels.scratch);
        let mut pairs = Pairs { line: &line.text, at: 0 };
        while let Some(outcome) = pairs.next() {
            let (key, value) = match outcome {
                Ok(pair) => pair,
                Err(why) if self.strict => {
                    labels.set_error(LOGFMT_ERROR, why);
                    break;
                }
                Err(_) => continue,
            };
            name.clear();
            sanitize_into(key, true, &mut name);
            if name.is_empty() || value.is_empty() && !self.keep_empty {
                continue;
            }
            if labels.has_source(&name) {
                name.push_str(DUPLICATE_SUFFIX);
            }
            if labels.extract(&name, &printable(&value)) {
                break;
            }
        }
        labels.scratch = name;
        true
    }
}

impl Stage for LogfmtFields {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if labels.needs_no_parsing() {
            return true;
        }
        let mut pairs = Pairs { line: &line.text, at: 0 };
        let mut found = vec![false; self.fields.len()];
        while let Some(outcome) = pairs.next() {
            let (key, value) = match outcome {
                Ok(pair) => pair,
                Err(why) if self.strict => {
                    labels.set_error(LOGFMT_ERROR, why);
                    return true;
                }
                Err(_) => continue,
            };
            let mut sanitized = String::new();
            sanitize_into(key, true, &mut sanitized);
            for (at, (name, wanted)) in self.fields.iter().enumerate() {
                if *wanted == sanitized || wanted == key {
                    found[at] = true;
                    set(labels, name, &printable(&value));
                }
            }
        }
        for ((name, _), found) in self.fields.iter().zip(&found) {
            if !found && labels.get(name).is_none() {
                set(labels, name, "");
            }
        }
        true
    }
}

/// Sets a label that was asked for by name.
pub(super) fn set(labels: &mut LabelSet, name: &str, value: &str) {
    if labels.has_source(name) {
        labels.extract(&format!("{name}{DUPLICATE_SUFFIX}"), value);
    } else {
        labels.extract(name, value);
    }
}
