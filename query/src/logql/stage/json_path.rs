//! `json a="b.c[0]", d`: the fields that the paths name become labels.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::super::ast::Extraction;
use super::super::labels::LabelSet;
use super::json::JSON_ERROR;
use super::json_scan::{Found, Kind, unescaped, walk_array, walk_object};
use super::logfmt::set;
use super::{Line, Stage};

/// One step into a document.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::logql) enum PathStep {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
struct JsonPaths(Vec<(String, Vec<PathStep>)>);

pub(super) fn build(fields: &[Extraction]) -> Result<Box<dyn Stage>, String> {
    let mut paths = Vec::with_capacity(fields.len());
    for Extraction { name, expression } in fields {
        let path = parse_path(expression)
            .map_err(|why| format!("cannot parse expression [{expression}]: {why}"))?;
        paths.push((name.clone(), path));
    }
    Ok(Box::new(JsonPaths(paths)))
}

/// Reads `a.b[0]["c d"]`.
pub(in crate::logql) fn parse_path(text: &str) -> Result<Vec<PathStep>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    let mut needs_key = true;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            if needs_key && !steps.is_empty() {
                return Err("syntax error: unexpected LSB, expecting FIELD".to_owned());
            }
            let (step, after) = bracket(inside)?;
            steps.push(step);
            rest = after;
        } else {
            if !steps.is_empty() && !needs_key {
                return Err("syntax error: unexpected FIELD".to_owned());
            }
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@' | '/')))
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected char {:?}", rest.chars().next().unwrap_or(' ')));
            }
            steps.push(PathStep::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        needs_key = false;
        if let Some(after) = rest.strip_prefix('.') {
            needs_key = true;
            rest = after;
        }
    }
    if steps.is_empty() || needs_key {
        return Err("syntax error: unexpected $end, expecting FIELD or LSB".to_owned());
    }
    Ok(steps)
}

fn bracket(inside: &str) -> Result<(PathStep, &str), String> {
    let wrong = || "syntax error: unexpected $end, expecting STRING or INDEX".to_owned();
    if let Some(quoted) = inside.strip_prefix('"') {
        let end = quoted.find('"').ok_or_else(wrong)?;
        let after = quoted[end + 1..].strip_prefix(']').ok_or_else(wrong)?;
        return Ok((PathStep::Key(quoted[..end].to_owned()), after));
    }
    let end = inside.find(']').ok_or_else(wrong)?;
    let index = inside[..end].trim().parse().map_err(|_error| wrong())?;
    Ok((PathStep::Index(index), &inside[end + 1..]))
}

fn find<'a>(text: &'a str, path: &[PathStep]) -> Option<Found<'a>> {
    let (step, rest) = path.split_first()?;
    let mut hit = None;
    match step {
        PathStep::Key(wanted) => {
            // Only what comes before the field need be well formed.
            let _stop = walk_object(text, &mut |key, found| {
                if *unescaped(key) == **wanted {
                    hit = Some(found);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
        }
        PathStep::Index(wanted) => {
            let mut at = 0;
            walk_array(text, &mut |found| {
                if at == *wanted {
                    hit = Some(found);
                    return ControlFlow::Break(());
                }
                at += 1;
                ControlFlow::Continue(())
            });
        }
    }
    let hit = hit?;
    if rest.is_empty() { Some(hit) } else { find(hit.raw, rest) }
}

impl Stage for JsonPaths {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if line.text.is_empty() || labels.needs_no_parsing() {
            return true;
        }
        let start = line.text.trim_start().as_bytes().first().copied();
        if !matches!(start, Some(b'{' | b'[')) {
            labels.set_error(JSON_ERROR, "");
            return true;
        }
        for (name, path) in &self.0 {
            let value = match find(&line.text, path) {
                Some(Found { kind: Kind::Text, raw }) => unescaped(raw),
                Some(Found { kind: Kind::Null, .. }) => Cow::Borrowed(""),
                Some(Found { raw, .. }) => Cow::Borrowed(raw),
                None if labels.get(name).is_none() => Cow::Borrowed(""),
                None => continue,
            };
            set(labels, name, &value);
        }
        true
    }
}
