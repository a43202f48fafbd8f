//! Functions that change labels: once a row, not once a step.

use regex_automata::meta::Regex;
use regex_automata::util::{captures::Captures, syntax};

use super::super::ast::Expr;
use super::super::error::QueryError;
use super::super::labels::with;
use super::super::text::quoted;
use super::{Evaluator, Sink};
use crate::kernels::Steps;

/// Bytes of an automaton. Source: reliability.md 5, `regex_program_bytes`.
const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

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
        let regex = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(REGEX_PROGRAM_BYTES_MAX)))
            .syntax(syntax::Config::new().dot_matches_new_line(true))
            .build(&format!("^(?:{pattern})$"))
            .map_err(|_| {
                QueryError::execution(format!(
                    "invalid regular expression in label_replace(): {pattern}"
                ))
            })?;
        if target.is_empty() {
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
