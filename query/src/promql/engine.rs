//! The way of a query from text to answer.

use std::cell::{Cell, RefCell};

use model::Limits;
use storage::{Budget, Notices, RegexLimits};

use super::annotations::Annotations;
use super::ast::{Expr, Type};
use super::error::QueryError;
use super::exec::Evaluator;
use super::labels::{compare, without_metadata};
use super::parse::parse;
use super::source::SampleSource;
use super::value::{Row, Value};
use crate::kernels::Steps;
use crate::limits::ParseLimits;

/// Settings of evaluation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineOptions {
    /// How long a sample counts as the current one. Units: ms.
    pub(crate) lookback_ms: i64,
    /// The step of subqueries that name none. Units: ms.
    pub(crate) subquery_step_ms: i64,
    /// Keeps names until the end of the query, as Prometheus' feature flag of this name does.
    pub(crate) delayed_names: bool,
}

/// One query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) text: &'a str,
    pub(crate) steps: Steps,
    /// Whether `steps` is one moment and the answer is to be an instant one.
    pub(crate) is_instant: bool,
}

/// An answer and what is to be said about it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) steps: Steps,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
    pub(crate) notices: Notices,
    /// Samples read for the query.
    pub(crate) samples: u64,
}

/// Runs queries against a source.
#[derive(Debug)]
pub(crate) struct Engine<'a> {
    pub(crate) options: EngineOptions,
    pub(crate) limits: &'a Limits,
    pub(crate) source: &'a dyn SampleSource,
    pub(crate) budget: &'a Budget,
}

impl Engine<'_> {
    /// Answers a question.
    ///
    /// Errors: text that is no query; a query that this data does not allow; the budget's.
    pub(crate) fn run(&self, question: Question<'_>) -> Result<Answer, QueryError> {
        let expr = parse(question.text, ParseLimits::of(self.limits))
            .map_err(|error| QueryError::Parse(error.render(question.text)))?;
        self.run_expr(&expr, question)
    }

    /// Answers a question that has been parsed.
    pub(crate) fn run_expr(
        &self,
        expr: &Expr,
        question: Question<'_>,
    ) -> Result<Answer, QueryError> {
        let kind = expr.kind_of_value();
        if !question.is_instant && !matches!(kind, Type::Scalar | Type::Vector) {
            let message = format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.describe()
            );
            return Err(QueryError::Parse(message));
        }
        let evaluator = Evaluator {
            options: self.options,
            source: self.source,
            budget: self.budget,
            bounds: question.steps,
            is_instant: question.is_instant,
            notes: Annotations::default(),
            notices: RefCell::new(Notices::default()),
            samples: Cell::new(0),
            series_max: self.limits.query_series_max,
            regex: RegexLimits::of(self.limits),
            sets: RefCell::new(Vec::new()),
        };
        let value = evaluator.value(expr, question)?;
        let (warnings, infos) = evaluator.notes.render(question.text);
        Ok(Answer {
            value,
            steps: question.steps,
            warnings,
            infos,
            samples: evaluator.samples.get(),
            notices: evaluator.notices.into_inner(),
        })
    }
}

impl Evaluator<'_> {
    fn value(&self, expr: &Expr, question: Question<'_>) -> Result<Value, QueryError> {
        let steps = question.steps;
        match expr.kind_of_value() {
            Type::Scalar => Ok(Value::Scalar(self.scalar(expr, steps)?)),
            Type::Text => Ok(Value::Text(self.text(expr)?)),
            Type::Matrix => Ok(Value::Matrix(self.points(expr, steps)?)),
            Type::Vector => {
                let rows = self.collect(expr, steps)?;
                let mut rows = finish_names(rows)?;
                if !question.is_instant {
                    rows.sort_by(|a, b| compare(&a.labels, &b.labels));
                }
                rows.retain(|row| !row.is_empty());
                Ok(Value::Vector(rows))
            }
        }
    }
}

/// Removes the names that were to go, and joins rows that became the same.
fn finish_names(mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    for row in rows.iter_mut().filter(|row| row.drop_name) {
        row.labels = without_metadata(&row.labels);
        row.drop_name = false;
    }
    super::exec::merge_same(rows)
}
