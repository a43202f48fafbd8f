//! `line_format "{{ template }}"`.

use std::borrow::Cow;

use storage::RegexLimits;

use super::super::labels::LabelSet;
use super::super::template::Template;
use super::{Line, Stage};

pub(super) const TEMPLATE_ERROR: &str = "TemplateFormatErr";

#[derive(Debug)]
struct LineFormat(Template);

pub(super) fn build(text: &str, limits: RegexLimits) -> Result<Box<dyn Stage>, String> {
    let template =
        Template::parse(text, limits).map_err(|why| format!("invalid line template: {why}"))?;
    Ok(Box::new(LineFormat(template)))
}

impl Stage for LineFormat {
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        let mut out = String::with_capacity(line.text.len());
        match self.0.execute(&line.text, line.time_ns, labels, &mut out) {
            Ok(()) => line.text = Cow::Owned(out),
            Err(why) => labels.set_error(TEMPLATE_ERROR, why),
        }
        true
    }

    fn required_labels(&self, names: &mut Vec<String>) {
        self.0.required_labels(names);
    }
}
