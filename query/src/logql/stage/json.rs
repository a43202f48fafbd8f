//! `json`: every field becomes a label, nested ones joined with `_`; arrays are passed over.

use std::ops::ControlFlow;

use super::super::labels::{DUPLICATE_SUFFIX, LabelSet, sanitize_into};
use super::json_scan::{Found, Kind, Stop, unescaped, walk_object};
use super::{Line, Stage};

pub(super) const JSON_ERROR: &str = "JSONParserErr";
/// Levels of nesting; what lies deeper is passed over.
const DEPTH_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct Json;

impl Stage for Json {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if labels.needs_no_parsing() {
            return true;
        }
        let mut name = std::mem::take(&mut labels.scratch);
        name.clear();
        let outcome = object(&line.text, &mut name, labels, 0);
        labels.scratch = name;
        if let Err(Stop::Malformed(why)) = outcome {
            labels.set_error(JSON_ERROR, why);
        }
        true
    }
}

/// Extracts the fields of one object; `name` holds the names of the levels above.
fn object(text: &str, name: &mut String, labels: &mut LabelSet, depth: usize) -> Result<(), Stop> {
    let prefix = name.len();
    let mut inner = Ok(());
    let outcome = walk_object(text, &mut |key, found: Found<'_>| {
        name.truncate(prefix);
        if !key.trim().is_empty() {
            if prefix > 0 {
                name.push('_');
            }
            sanitize_into(&unescaped(key), prefix == 0, name);
        }
        match found.kind {
            Kind::Object if depth < DEPTH_MAX => {
                if labels.should_extract_prefix(name) || name.is_empty() {
                    inner = object(found.raw, name, labels, depth + 1);
                    if inner.is_err() {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            }
            Kind::Text | Kind::Number | Kind::Bool => value(found, name, labels, depth),
            Kind::Object | Kind::Array | Kind::Null => ControlFlow::Continue(()),
        }
    });
    name.truncate(prefix);
    inner?;
    outcome
}

fn value(
    found: Found<'_>,
    name: &mut String,
    labels: &mut LabelSet,
    depth: usize,
) -> ControlFlow<()> {
    if name.is_empty() && depth == 0 {
        return ControlFlow::Continue(());
    }
    if labels.has_source(name) {
        name.push_str(DUPLICATE_SUFFIX);
    }
    let done = if found.kind == Kind::Text {
        labels.extract(name, &unescaped(found.raw))
    } else {
        labels.extract(name, found.raw)
    };
    if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
