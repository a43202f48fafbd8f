//! `pattern "<ip> - <_> <status>"`, and the patterns of `|>` and `!>`.
//!
//! Source: Loki 3.7, `pkg/logql/log/pattern`.

use super::super::labels::{DUPLICATE_SUFFIX, LabelSet};
use super::{Line, Stage};

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    /// `_` is nameless.
    Capture(String),
}

/// Literals and captures in turn.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::logql) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// A pattern of the parser: at least one named capture, no name twice.
    pub(in crate::logql) fn parse(text: &str) -> Result<Pattern, String> {
        let pattern = Pattern::split(text)?;
        if pattern.parts.is_empty() {
            return Err("syntax error: unexpected $end, expecting IDENTIFIER or LITERAL".to_owned());
        }
        let names: Vec<&str> = pattern.names().collect();
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(format!("duplicate capture name ({name})"));
            }
        }
        Ok(pattern)
    }

    /// A pattern of a line filter: nameless captures alone.
    pub(in crate::logql) fn parse_filter(text: &str) -> Result<Pattern, String> {
        let pattern = Pattern::split(text)?;
        if let Some(name) = pattern.names().next() {
            return Err(format!("named captures are not allowed: found '<{name}>'"));
        }
        Ok(pattern)
    }

    fn split(text: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(name) = capture_at(rest) {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                } else if let Some(Part::Capture(before)) = parts.last() {
                    return Err(format!("found consecutive capture '<{before}><{name}>'"));
                }
                parts.push(Part::Capture(name.to_owned()));
                rest = &rest[name.len() + 2..];
            } else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Pattern { parts })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Capture(name) if name != "_" => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the whole line has this form, every capture holding at least one byte.
    pub(in crate::logql) fn matches_line(&self, line: &str) -> bool {
        if line.is_empty() || self.parts.is_empty() {
            return line.is_empty() && self.parts.is_empty();
        }
        let mut rest = line;
        for (at, part) in self.parts.iter().enumerate() {
            let Part::Literal(literal) = part else { continue };
            let Some(found) = rest.find(literal.as_str()) else { return false };
            if (at == 0) != (found == 0) {
                return false;
            }
            rest = &rest[found + literal.len()..];
        }
        matches!(self.parts.last(), Some(Part::Capture(_))) != rest.is_empty()
    }

    /// Named captures in order. A literal that is missing lets its capture take the rest of the line,
    /// and nothing follows.
    pub(in crate::logql) fn captures<'p, 'l>(
        &'p self,
        line: &'l str,
        mut visit: impl FnMut(&'p str, &'l str),
    ) {
        let mut rest = line;
        let mut parts = self.parts.as_slice();
        if line.is_empty() {
            return;
        }
        if let Some((Part::Literal(literal), after)) = parts.split_first() {
            let Some(after_literal) = rest.strip_prefix(literal.as_str()) else { return };
            rest = after_literal;
            parts = after;
        }
        while let Some((Part::Capture(name), after)) = parts.split_first() {
            let literal = match after.first() {
                Some(Part::Literal(literal)) => literal.as_str(),
                _ => "",
            };
            let end = if literal.is_empty() { None } else { rest.find(literal) };
            let value = &rest[..end.unwrap_or(rest.len())];
            if name != "_" {
                visit(name, value);
            }
            let Some(end) = end else { return };
            rest = &rest[end + literal.len()..];
            parts = &after[1..];
        }
    }
}

/// The name in `<name>` at the front.
fn capture_at(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('<')?;
    let end = inside.find('>')?;
    let name = &inside[..end];
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some(name)
}

#[derive(Debug)]
struct PatternStage {
    pattern: Pattern,
}

pub(super) fn build(text: &str) -> Result<Box<dyn Stage>, String> {
    Ok(Box::new(PatternStage { pattern: Pattern::parse(text)? }))
}

impl Stage for PatternStage {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if labels.needs_no_parsing() {
            return true;
        }
        self.pattern.captures(&line.text, |name, value| {
            if labels.has_source(name) {
                labels.extract(&format!("{name}{DUPLICATE_SUFFIX}"), value);
            } else {
                labels.extract(name, value);
            }
        });
        true
    }
}
