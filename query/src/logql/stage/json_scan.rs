//! Walks JSON without building it.
//!
//! As lenient as the parser that Loki uses: a comma too many and anything behind the closing brace
//! are passed over, and nothing is checked that is not asked for. Bytes come from outside: no access
//! here is unchecked. Source: buger/jsonparser 1.1.

use std::borrow::Cow;
use std::ops::ControlFlow;

/// What kind of value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text is without its quotes and still escaped.
    Text,
    Number,
    Bool,
    Null,
    Object,
    Array,
}

/// A value where it lies in the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) kind: Kind,
    pub(super) raw: &'a str,
}

/// Why a walk ended before the end of the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The visitor asked for it.
    Broke,
    Malformed(&'static str),
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// The inside of the string whose opening quote was just passed.
    fn string(&mut self) -> Result<&'a str, Stop> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    let inside = self.text.get(start..self.at).unwrap_or("");
                    self.at += 1;
                    return Ok(inside);
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(Stop::Malformed("a string does not end")),
            }
        }
    }

    /// Passes over an object or an array.
    fn block(&mut self, open: u8, close: u8, why: &'static str) -> Result<&'a str, Stop> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut depth = 0usize;
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            if byte == b'"' {
                self.string()?;
            } else if byte == open {
                depth += 1;
            } else if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(self.text.get(start..self.at).unwrap_or(""));
                }
            }
        }
        Err(Stop::Malformed(why))
    }

    fn value(&mut self) -> Result<Found<'a>, Stop> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Found { kind: Kind::Text, raw: self.string()? })
            }
            Some(b'{') => {
                let why = "Value looks like object, but can't find closing '}' symbol";
                Ok(Found { kind: Kind::Object, raw: self.block(b'{', b'}', why)? })
            }
            Some(b'[') => {
                let why = "Value is array, but can't find closing ']' symbol";
                Ok(Found { kind: Kind::Array, raw: self.block(b'[', b']', why)? })
            }
            Some(_) => self.token(),
            None => Err(Stop::Malformed("Malformed JSON error")),
        }
    }

    fn token(&mut self) -> Result<Found<'a>, Stop> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let ends = |c: char| matches!(c, ' ' | '\n' | '\r' | '\t' | ',' | '}' | ']');
        let Some(length) = rest.find(ends) else {
            return Err(Stop::Malformed(
                "Value looks like Number/Boolean/None, but can't find its end",
            ));
        };
        let raw = &rest[..length];
        self.at += length;
        let kind = match raw {
            "true" | "false" => Kind::Bool,
            "null" => Kind::Null,
            _ if raw.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Kind::Number,
            _ => return Err(Stop::Malformed("Unknown value type")),
        };
        Ok(Found { kind, raw })
    }
}

/// Visits the entries of an object: key still escaped, value.
///
/// Errors: how the text is malformed, or that `visit` broke.
pub(super) fn walk_object<'a>(
    text: &'a str,
    visit: &mut dyn FnMut(&'a str, Found<'a>) -> ControlFlow<()>,
) -> Result<(), Stop> {
    const OBJECT: Stop =
        Stop::Malformed("Value looks like object, but can't find closing '}' symbol");
    let mut scanner = Scanner { text, at: 0 };
    if scanner.peek() != Some(b'{') {
        return Err(OBJECT);
    }
    scanner.at += 1;
    loop {
        match scanner.peek() {
            Some(b'"') => scanner.at += 1,
            Some(b'}') => return Ok(()),
            _ => return Err(OBJECT),
        }
        let key = scanner.string()?;
        if scanner.peek() != Some(b':') {
            return Err(Stop::Malformed("Malformed JSON error"));
        }
        scanner.at += 1;
        let value = scanner.value()?;
        if visit(key, value).is_break() {
            return Err(Stop::Broke);
        }
        match scanner.peek() {
            Some(b'}') => return Ok(()),
            Some(b',') => scanner.at += 1,
            _ => return Err(OBJECT),
        }
    }
}

/// Visits the items of an array until `visit` breaks; stops silently where it is malformed.
pub(super) fn walk_array<'a>(text: &'a str, visit: &mut dyn FnMut(Found<'a>) -> ControlFlow<()>) {
    let mut scanner = Scanner { text, at: 0 };
    if scanner.peek() != Some(b'[') {
        return;
    }
    scanner.at += 1;
    loop {
        if scanner.peek() == Some(b']') {
            return;
        }
        let Ok(item) = scanner.value() else { return };
        if visit(item).is_break() || scanner.peek() != Some(b',') {
            return;
        }
        scanner.at += 1;
    }
}

/// A string's content with its escapes undone; replacement characters become blanks.
pub(super) fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return super::logfmt::printable(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        let c = after.next();
        rest = after.as_str();
        match c {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => rest = unicode(rest, &mut out),
            Some(c @ ('"' | '\\' | '/')) => out.push(c),
            // What JSON does not know stays as it was written.
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out.push_str(rest);
    Cow::Owned(out.replace('\u{fffd}', " "))
}

/// Writes the character of `\uXXXX` (a pair of them for the astral planes), answers what follows.
fn unicode<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let hex = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = hex(rest) else {
        out.push_str("\\u");
        return rest;
    };
    let after = rest.get(4..).unwrap_or("");
    if (0xd800..0xdc00).contains(&first) {
        let second =
            after.strip_prefix("\\u").and_then(hex).filter(|low| (0xdc00..0xe000).contains(low));
        if let Some(low) = second {
            let code = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
            out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            return after.get(6..).unwrap_or("");
        }
    }
    out.push(char::from_u32(first).unwrap_or('\u{fffd}'));
    after
}
