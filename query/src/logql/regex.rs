//! Go's regular expressions on Rust's engine.
//!
//! Both are automata with the same core. What differs is translated: braces that are no repetition
//! stand for themselves in Go, `\d`, `\w`, `\s` and `\b` know ASCII only, and brackets do not nest
//! inside a class. Source: <https://github.com/google/re2/wiki/Syntax>.

use std::fmt::Write as _;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use storage::{ErrorKind, MatchOp, Matcher, RegexLimits};

use super::ast::MatcherExpr;

/// Compiles a pattern that may match anywhere.
///
/// Errors: why it is no regular expression, or the limit that it is beyond.
pub(crate) fn unanchored(pattern: &str, limits: RegexLimits) -> Result<Regex, String> {
    compile(pattern, &rust_pattern(pattern), limits)
}

/// Compiles a pattern that must match all of the text, newlines included.
///
/// Errors: why it is no regular expression, or the limit that it is beyond.
pub(crate) fn anchored(pattern: &str, limits: RegexLimits) -> Result<Regex, String> {
    compile(pattern, &format!("^(?s:{})$", rust_pattern(pattern)), limits)
}

/// Compiles the condition on a label. What counts is the length of the pattern as it was written.
///
/// Errors: why its pattern is no regular expression, or the limit that it is beyond.
pub(crate) fn matcher(expr: &MatcherExpr, limits: RegexLimits) -> Result<Matcher, String> {
    let made = if matches!(expr.op, MatchOp::Regex | MatchOp::NotRegex) {
        limits.check(&expr.value).and_then(|()| {
            Matcher::new(&expr.name, expr.op, &rust_pattern(&expr.value), limits.any_length())
        })
    } else {
        Matcher::new(&expr.name, expr.op, &expr.value, limits)
    };
    made.map_err(|error| error.to_string())
}

fn compile(original: &str, translated: &str, limits: RegexLimits) -> Result<Regex, String> {
    let compiled = limits
        .check(original)
        .and_then(|()| limits.any_length().compile(translated, syntax::Config::new()));
    compiled.map_err(|error| match error.kind() {
        ErrorKind::Invalid => format!("error parsing regexp: {error} (`{original}`)"),
        _ => error.to_string(),
    })
}

/// A pattern in Go's syntax as Rust's engine takes it. What is wrong stays wrong.
pub(crate) fn rust_pattern(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let width = c.len_utf8();
        match c {
            '\\' => {
                rest = escape(rest, in_class, &mut out);
                continue;
            }
            '[' if in_class => {
                if let Some(end) = posix_class_end(rest) {
                    out.push_str(&rest[..end]);
                    rest = &rest[end..];
                    continue;
                }
                out.push_str("\\[");
            }
            '[' => {
                in_class = true;
                out.push('[');
                let mut width = 1;
                for literal in ["^", "]"] {
                    if rest[width..].starts_with(literal) {
                        out.push_str(if literal == "]" { "\\]" } else { literal });
                        width += 1;
                    }
                }
                rest = &rest[width..];
                continue;
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !is_repetition(rest) => out.push_str("\\{"),
            '}' if !in_class && !closes_repetition(pattern, rest) => out.push_str("\\}"),
            c => out.push(c),
        }
        rest = &rest[width..];
    }
    out
}

/// Writes the escape at the front of `rest` and hands back what follows it.
fn escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = rest[1..].chars().next() else {
        out.push('\\');
        return "";
    };
    let after = &rest[1 + c.len_utf8()..];
    match (c, in_class) {
        ('d', false) => out.push_str("[0-9]"),
        ('d', true) => out.push_str("0-9"),
        ('D', _) => out.push_str("[^0-9]"),
        ('w', false) => out.push_str("[0-9A-Za-z_]"),
        ('w', true) => out.push_str("0-9A-Za-z_"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
        ('s', true) => out.push_str("\\t\\n\\f\\r "),
        ('S', _) => out.push_str("[^\\t\\n\\f\\r ]"),
        ('b', false) => out.push_str("(?-u:\\b)"),
        ('Q', _) => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            for c in literal.chars() {
                if c.is_ascii_punctuation() {
                    out.push('\\');
                }
                out.push(c);
            }
            return after;
        }
        ('p' | 'P' | 'x', _) if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |end| end + 1);
            out.push_str(&rest[..2]);
            out.push_str(&after[..end]);
            return &after[end..];
        }
        // Rust has no escapes for plain letters, nor octal ones.
        ('0'..='7', _) => {
            let end = after.find(|c: char| !('0'..='7').contains(&c)).unwrap_or(after.len()).min(2);
            let digits = &rest[1..2 + end];
            let value = u32::from_str_radix(digits, 8).unwrap_or(0);
            let _infallible = write!(out, "\\x{{{value:x}}}");
            return &rest[2 + end..];
        }
        (c, _) => {
            out.push('\\');
            out.push(c);
        }
    }
    after
}

fn posix_class_end(rest: &str) -> Option<usize> {
    if !rest.starts_with("[:") {
        return None;
    }
    let end = rest.find(":]")? + 2;
    let name = rest[2..end - 2].trim_start_matches('^');
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())).then_some(end)
}

/// Whether `{n}`, `{n,}` or `{n,m}` stands at the front.
fn is_repetition(rest: &str) -> bool {
    let Some(end) = rest.find('}') else { return false };
    let inside = &rest[1..end];
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

fn closes_repetition(pattern: &str, rest: &str) -> bool {
    let at = pattern.len() - rest.len();
    let before = &pattern[..at];
    before.rfind('{').is_some_and(|start| is_repetition(&pattern[start..]))
}
