//! PromQL: lex, parse, check, and an evaluator that streams series by series.
//!
//! [`Engine::run`] takes a query's text and its moments and gives rows of one value a moment. A row
//! is computed for all moments at once, so that a sample is passed once per range and not once per
//! step. Data comes through the `SampleSource` of `source`, implemented by storage and by tests.
//! The referee is Prometheus' own test scripts, run unmodified (`tests/`).

mod annotations;
mod ast;
mod check;
mod engine;
mod error;
mod exec;
mod format;
mod functions;
mod histogram;
mod labels;
mod lex;
mod parse;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod totals;
mod value;

pub(crate) use ast::{Expr, Kind};
pub(crate) use engine::{Answer, Engine, EngineOptions, Question};
pub(crate) use error::QueryError;
pub(crate) use format::format;
pub(crate) use histogram::buckets as histogram_buckets;
pub(crate) use labels::compare as labels_order;
pub(crate) use parse::{parse, parse_selector};
pub(crate) use source::{SampleSource, SeriesSet, StoredMetrics};
pub(crate) use value::{Cell, PointSeries, Row, Value};
