//! `decolorize`: takes terminal colours out of the line.

use std::borrow::Cow;

use super::super::labels::LabelSet;
use super::{Line, Stage};

#[derive(Debug)]
pub(super) struct Decolorize;

impl Stage for Decolorize {
    fn process(&self, line: &mut Line<'_>, _labels: &mut LabelSet) -> bool {
        if line.text.contains(['\u{1b}', '\u{9b}']) {
            line.text = Cow::Owned(plain(&line.text));
        }
        true
    }
}

/// The text without ANSI control sequences (`ESC [ parameters final`).
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\u{1b}', '\u{9b}']) {
        out.push_str(&rest[..at]);
        let sequence = &rest[at..];
        let introducer = if sequence.starts_with('\u{9b}') { 2 } else { 1 };
        let after = &sequence[introducer..];
        let parameters = after
            .find(|c: char| !matches!(c, '[' | ']' | '(' | ')' | '#' | ';' | '?' | '0'..='9'))
            .unwrap_or(after.len());
        let is_final = after[parameters..].starts_with(|c: char| {
            c.is_ascii_alphabetic() || matches!(c, '=' | '>' | '<' | '~' | '@')
        });
        if is_final && parameters > 0 {
            rest = &after[parameters + 1..];
        } else {
            out.push_str(&sequence[..introducer]);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}
