//! Label sets cut and changed, as operators do.

use std::cmp::Ordering;

use model::{Labels, LabelsBuilder, METRIC_NAME};

/// Labels that say what a metric is, and go when a function makes another metric of it.
pub(crate) fn is_metadata(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

/// The labels for which `keep` holds.
pub(crate) fn filtered(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    let mut builder = LabelsBuilder::default();
    for (name, value) in labels.iter().filter(|(name, _)| keep(name)) {
        builder.push(name, value);
    }
    builder.finish()
}

/// Without name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    filtered(labels, |name| !is_metadata(name))
}

/// The key under which an element is grouped or matched. `on` keeps the named labels alone; its
/// opposite removes them and the metric's name.
pub(crate) fn key(labels: &Labels, names: &[String], on: bool) -> Labels {
    if on {
        filtered(labels, |name| names.iter().any(|wanted| wanted == name))
    } else {
        filtered(labels, |name| {
            name != METRIC_NAME && !names.iter().any(|unwanted| unwanted == name)
        })
    }
}

/// With `name` set to `value`; an empty value removes it.
pub(crate) fn with(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut builder = LabelsBuilder::default();
    builder.push(name, value);
    for (other, value) in labels.iter().filter(|(other, _)| *other != name) {
        builder.push(other, value);
    }
    builder.finish()
}

/// Prometheus' order of label sets: pair by pair, the shorter first.
pub(crate) fn compare(a: &Labels, b: &Labels) -> Ordering {
    a.iter().cmp(b.iter())
}

/// `{a="b", c="d"}`, as error messages show label sets.
pub(crate) fn describe(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", super::text::quoted(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
