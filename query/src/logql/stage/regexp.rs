//! `regexp "(?P<method>\\w+) (?P<path>\\S+)"`: named groups become labels.

use regex_automata::meta::Regex;
use storage::RegexLimits;

use super::super::labels::{DUPLICATE_SUFFIX, LabelSet, sanitize_into};
use super::super::regex::unanchored;
use super::{Line, Stage};

#[derive(Debug)]
struct Regexp {
    regex: Regex,
    /// Group number and label.
    names: Vec<(usize, String)>,
}

pub(super) fn build(pattern: &str, limits: RegexLimits) -> Result<Box<dyn Stage>, String> {
    let regex = unanchored(pattern, limits)?;
    let mut names: Vec<(usize, String)> = Vec::new();
    let groups = regex.group_info().pattern_names(regex_automata::PatternID::ZERO);
    for (group, name) in groups.enumerate() {
        let Some(name) = name else { continue };
        let mut label = String::new();
        sanitize_into(name, true, &mut label);
        if label != name {
            return Err(format!("invalid extracted label name '{name}'"));
        }
        if names.iter().any(|(_, known)| known == name) {
            return Err(format!("duplicate extracted label name '{name}'"));
        }
        names.push((group, label));
    }
    if names.is_empty() {
        return Err("invalid regexp parser: at least one named capture must be supplied".to_owned());
    }
    Ok(Box::new(Regexp { regex, names }))
}

impl Stage for Regexp {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        if labels.needs_no_parsing() {
            return true;
        }
        let mut captures = self.regex.create_captures();
        self.regex.captures(line.text.as_bytes(), &mut captures);
        if !captures.is_match() {
            return true;
        }
        for (group, name) in &self.names {
            let value = captures
                .get_group(*group)
                .and_then(|span| line.text.get(span.range()))
                .unwrap_or("");
            if labels.has_source(name) {
                labels.extract(&format!("{name}{DUPLICATE_SUFFIX}"), value);
            } else {
                labels.extract(name, value);
            }
        }
        true
    }
}
