//! Functions that change labels: once a row, not once a step.

use regex_automata::util::captures::Captures;
use storage::ErrorKind;

use super::super::ast::Expr;
use super::super::error::QueryError;
use super::super::labels::with;
use super::super::text::quoted;
use super::{Evaluator, Sink};
use crate::kernels::Steps;

impl Evaluator<'_> {
    pub(super) fn label_replace(
        &self,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let target = self.text(&args[1])?;
        let template = self.text(&args[2])?;
        let source = self.text(&args[3])?;
        let pattern = self.text(&args[4])?;
        let regex = self.regex.anchored(&pattern).map_err(|error| match error.kind() {
            ErrorKind::Invalid => QueryError::execution(format!(
                "invalid regular expression in label_replace(): {pattern}"
            )),
            _ => QueryError::Storage(error),
        })?;
        if target.is_empty() || target.contains(char::REPLACEMENT_CHARACTER) {
            return Err(QueryError::execution(format!(
                "invalid destination label name in label_replace(): {target}"
            )));
        }
        self.merged(sink, |evaluator, sink| {
            evaluator.rows(&args[0], steps, &mut |mut row| {
                let value = row.labels.get(&source).unwrap_or("");
                let mut captures = Captures::all(regex.group_info().clone());
                regex.captures(value, &mut captures);
                if captures.is_match() {
                    let text = captures.interpolate_string(value, &template);
                    row.labels = with(&row.labels, &target, &text);
                    if target == model::METRIC_NAME {
                        row.drop_name = false;
                    }
                }
                sink(row)
            })
        })
    }

    pub(super) fn label_join(
        &self,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let texts = args[1..].iter().map(|arg| self.text(arg)).collect::<Result<Vec<_>, _>>()?;
        let [target, separator, sources @ ..] = texts.as_slice() else {
            return Err(QueryError::execution("bug: label_join without its labels"));
        };
        if let Some(bad) = sources.iter().find(|name| name.is_empty()) {
            let message = format!("invalid source label name in label_join(): {bad}");
            return Err(QueryError::execution(message));
        }
        if target.is_empty() {
            let message =
                format!("invalid destination label name in label_join(): {}", quoted(target));
            return Err(QueryError::execution(message));
        }
        self.merged(sink, |evaluator, sink| {
            evaluator.rows(&args[0], steps, &mut |mut row| {
                let parts: Vec<&str> =
                    sources.iter().map(|name| row.labels.get(name).unwrap_or("")).collect();
                let text = parts.join(separator);
                row.labels = with(&row.labels, target, &text);
                if target == model::METRIC_NAME {
                    row.drop_name = false;
                }
                sink(row)
            })
        })
    }
}
