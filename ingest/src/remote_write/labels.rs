//! Labels of series and exemplars as remote write sends them: parsed on a cache miss only.

use model::wire::{Field, Reader, WireError};
use model::{Labels, LabelsBuilder, Limits, METRIC_NAME, Reason};

use crate::checks::check_limits;
use crate::series_cache::Refusal;

/// Characters of all names and values of an exemplar's labels (OpenMetrics).
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Reads a run of label fields (field 1) into canonical form.
///
/// Errors: what makes the series one that cannot be stored.
pub(super) fn parse(run: &[u8], limits: &Limits) -> Result<Labels, Refusal> {
    let mut builder = LabelsBuilder::default();
    let mut names: Vec<&str> = Vec::with_capacity(16);
    let mut has_name = false;
    let mut reader = Reader::new(run);
    while let Some((_, field)) = reader.next_field().map_err(malformed)? {
        let Field::Bytes(label) = field else { continue };
        let (name, value) = pair(label).map_err(malformed)?;
        let (name, value) = texts(name, value)?;
        if name.is_empty() {
            return Err((Reason::InvalidLabels, "a label has an empty name".to_owned()));
        }
        if value.is_empty() {
            names.push(name);
            continue;
        }
        has_name |= name == METRIC_NAME;
        names.push(name);
        builder.push(name, value);
    }
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        let name = twice.first().copied().unwrap_or_default();
        return Err((Reason::DuplicateLabelNames, format!("label {name:?} stands twice")));
    }
    let labels = builder.finish();
    if !has_name {
        let text = format!("series {labels:?} has no {METRIC_NAME} label");
        return Err((Reason::MissingLabels, text));
    }
    check_limits(&labels, limits)?;
    Ok(labels)
}

fn malformed(error: WireError) -> Refusal {
    (Reason::InvalidLabels, error.to_string())
}

/// Name and value of a `Label`, as bytes.
fn pair(label: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(label);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}

fn texts<'a>(name: &'a [u8], value: &'a [u8]) -> Result<(&'a str, &'a str), Refusal> {
    let name_text = simdutf8::basic::from_utf8(name).ok();
    let value_text = simdutf8::basic::from_utf8(value).ok();
    match (name_text, value_text) {
        (Some(name), Some(value)) => Ok((name, value)),
        _ => {
            let name = String::from_utf8_lossy(name);
            Err((Reason::InvalidLabels, format!("label {name:?} is not UTF-8")))
        }
    }
}

/// Collects the labels of one exemplar.
#[derive(Default)]
pub(super) struct ExemplarLabels {
    builder: LabelsBuilder,
    chars: usize,
    problem: Option<&'static str>,
}

impl ExemplarLabels {
    /// Takes one `Label` message.
    pub(super) fn push(&mut self, label: &[u8]) -> Result<(), WireError> {
        let (name, value) = pair(label)?;
        match (simdutf8::basic::from_utf8(name), simdutf8::basic::from_utf8(value)) {
            (Ok(""), _) => self.problem = Some("a label of an exemplar has an empty name"),
            (Ok(name), Ok(value)) => {
                let chars = name.chars().count().saturating_add(value.chars().count());
                self.chars = self.chars.saturating_add(chars);
                self.builder.push(name, value);
            }
            _ => self.problem = Some("a label of an exemplar is not UTF-8"),
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Labels, String> {
        if let Some(problem) = self.problem {
            return Err(problem.to_owned());
        }
        if self.chars > EXEMPLAR_CHARS_MAX {
            return Err(format!(
                "labels of an exemplar have {} characters; limit {EXEMPLAR_CHARS_MAX}",
                self.chars
            ));
        }
        Ok(self.builder.finish())
    }
}
