//! `drop a, b="c"` and `keep a, b=~"c"`.

use storage::{Matcher, RegexLimits};

use super::super::ast::NamedMatcher;
use super::super::labels::{ERROR, ERROR_DETAILS, LabelSet, PRESERVE_ERROR};
use super::super::regex::matcher;
use super::{Line, Stage};

#[derive(Debug)]
struct Selected {
    name: String,
    matcher: Option<Matcher>,
}

impl Selected {
    fn build(labels: &[NamedMatcher], limits: RegexLimits) -> Result<Vec<Selected>, String> {
        let selected = |label: &NamedMatcher| {
            Ok(match label {
                NamedMatcher::Name(name) => Selected { name: name.clone(), matcher: None },
                NamedMatcher::Matcher(expr) => {
                    Selected { name: expr.name.clone(), matcher: Some(matcher(expr, limits)?) }
                }
            })
        };
        labels.iter().map(selected).collect()
    }

    fn matches(&self, value: &str) -> bool {
        self.matcher.as_ref().is_none_or(|matcher| matcher.matches(value))
    }
}

#[derive(Debug)]
struct Drop(Vec<Selected>);

pub(super) fn build_drop(
    labels: &[NamedMatcher],
    limits: RegexLimits,
) -> Result<Box<dyn Stage>, String> {
    Ok(Box::new(Drop(Selected::build(labels, limits)?)))
}

impl Stage for Drop {
    fn process(&self, _line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        for selected in &self.0 {
            if !selected.matches(labels.value(&selected.name)) {
                continue;
            }
            match selected.name.as_str() {
                ERROR => labels.reset_error(),
                ERROR_DETAILS => labels.reset_error_details(),
                name => labels.remove(name),
            }
        }
        true
    }
}

#[derive(Debug)]
struct Keep(Vec<Selected>);

pub(super) fn build_keep(
    labels: &[NamedMatcher],
    limits: RegexLimits,
) -> Result<Box<dyn Stage>, String> {
    Ok(Box::new(Keep(Selected::build(labels, limits)?)))
}

impl Stage for Keep {
    fn process(&self, _line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        let mut removed: Vec<String> = Vec::new();
        for (name, value, _) in labels.labels() {
            let special = matches!(name, ERROR | ERROR_DETAILS | PRESERVE_ERROR);
            let kept = self.0.iter().any(|kept| kept.name == name && kept.matches(value));
            if !special && !kept {
                removed.push(name.to_owned());
            }
        }
        for name in &removed {
            labels.remove(name);
        }
        true
    }
}
