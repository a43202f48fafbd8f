//! `unpack`: undoes what an agent packed: `{"_entry":"line","label":"value"}`.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::super::labels::{DUPLICATE_SUFFIX, LabelSet, sanitize_into};
use super::json::JSON_ERROR;
use super::json_scan::{Found, Kind, Stop, unescaped, walk_object};
use super::{Line, Stage};

const PACKED_ENTRY: &str = "_entry";

#[derive(Debug)]
pub(super) struct Unpack;

impl Stage for Unpack {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if line.text.is_empty() || labels.needs_no_parsing() {
            return true;
        }
        if !line.text.starts_with('{') {
            labels.set_error(JSON_ERROR, "expecting json object(6), but it is not");
            return true;
        }
        let mut entry = None;
        let mut fields: Vec<(String, String)> = Vec::new();
        let outcome = walk_object(&line.text, &mut |key, found: Found<'_>| {
            if found.kind != Kind::Text {
                return ControlFlow::Continue(());
            }
            let value = unescaped(found.raw).into_owned();
            if key == PACKED_ENTRY {
                entry = Some(value);
                return ControlFlow::Continue(());
            }
            let mut name = String::new();
            sanitize_into(&unescaped(key), true, &mut name);
            if labels.has_source(&name) {
                name.push_str(DUPLICATE_SUFFIX);
            }
            fields.push((name, value));
            ControlFlow::Continue(())
        });
        if let Err(Stop::Malformed(why)) = outcome {
            labels.set_error(JSON_ERROR, why);
            return true;
        }
        if let Some(entry) = entry {
            for (name, value) in &fields {
                labels.extract(name, value);
            }
            line.text = Cow::Owned(entry);
        }
        true
    }
}
