//! Warnings and infos that travel with an answer, each once, with the place they are about.
//! Source: Prometheus `util/annotations/annotations.go` (3.14) for the wording.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::error::position;

/// Notes of one query.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: RefCell<BTreeSet<(usize, String)>>,
    infos: RefCell<BTreeSet<(usize, String)>>,
}

/// At most so many of each kind are handed out.
const NOTES_MAX: usize = 1000;

impl Annotations {
    /// Something is probably wrong with the query or its data. `at` is a byte of the query.
    pub(crate) fn warn(&self, at: usize, message: impl Into<String>) {
        insert(&self.warnings, at, message.into());
    }

    /// Something may be of interest.
    pub(crate) fn info(&self, at: usize, message: impl Into<String>) {
        insert(&self.infos, at, message.into());
    }

    /// Texts of the warnings and of the infos, positions resolved in `query`.
    pub(crate) fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let render = |notes: &RefCell<BTreeSet<(usize, String)>>, kind: &str| {
            notes
                .borrow()
                .iter()
                .map(|(at, text)| format!("PromQL {kind}: {text} ({})", position(query, *at)))
                .collect()
        };
        (render(&self.warnings, "warning"), render(&self.infos, "info"))
    }
}

fn insert(notes: &RefCell<BTreeSet<(usize, String)>>, at: usize, message: String) {
    let mut notes = notes.borrow_mut();
    if notes.len() < NOTES_MAX {
        notes.insert((at, message));
    }
}

/// A metric's name for a note, where it has one.
pub(crate) fn for_metric(message: &str, name: &str) -> String {
    if name.is_empty() {
        message.to_owned()
    } else {
        format!("{message} for metric name {}", super::text::quoted(name))
    }
}
