//! `label_format target=source, other="{{ template }}"`.

use storage::RegexLimits;

use super::super::ast::{FormatSource, LabelFormat};
use super::super::labels::{Category, ERROR, ERROR_DETAILS, LabelSet};
use super::super::template::Template;
use super::{Line, Stage};

#[derive(Debug)]
struct LabelFormatStage(Vec<(String, Source)>);

#[derive(Debug)]
enum Source {
    Rename(String),
    Template(Box<Template>),
}

pub(super) fn build(
    formats: &[LabelFormat],
    limits: RegexLimits,
) -> Result<Box<dyn Stage>, String> {
    let mut built: Vec<(String, Source)> = Vec::with_capacity(formats.len());
    for format in formats {
        let target = &format.target;
        if target == ERROR || target == ERROR_DETAILS {
            return Err(format!("{target} cannot be formatted"));
        }
        if built.iter().any(|(known, _)| known == target) {
            return Err(format!(
                "multiple label name '{target}' not allowed in a single format operation"
            ));
        }
        let source = match &format.source {
            FormatSource::Label(name) => Source::Rename(name.clone()),
            FormatSource::Template(text) => Source::Template(Box::new(
                Template::parse(text, limits)
                    .map_err(|why| format!("invalid template for label '{target}': {why}"))?,
            )),
        };
        built.push((target.clone(), source));
    }
    Ok(Box::new(LabelFormatStage(built)))
}

impl Stage for LabelFormatStage {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        for (target, source) in &self.0 {
            match source {
                Source::Rename(source) => {
                    let Some((value, _)) = labels.get(source) else { continue };
                    let value = value.to_owned();
                    labels.set(Category::Parsed, target, &value);
                    labels.remove(source);
                }
                Source::Template(template) => {
                    let mut out = String::new();
                    match template.execute(&line.text, line.time_ns, labels, &mut out) {
                        Ok(()) => labels.set(Category::Parsed, target, &out),
                        Err(why) => labels.set_error(super::line_format::TEMPLATE_ERROR, why),
                    }
                }
            }
        }
        true
    }

    fn required_labels(&self, names: &mut Vec<String>) {
        for (_, source) in &self.0 {
            match source {
                Source::Rename(name) => names.push(name.clone()),
                Source::Template(template) => template.required_labels(names),
            }
        }
    }
}
