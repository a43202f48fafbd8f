//! LogQL: text in, lines or series out.
//!
//! `lex` and `parse` make a tree of the text (`ast`), `check` says what is wrong with it, `pipeline`
//! plans what storage is asked for and what is left to do, `stage` holds one file for each pipeline
//! stage, and `exec` runs it all over a `LogSource`. What Loki answers is the measure.
//! Source: Loki 3.7.

mod ast;
mod check;
mod error;
mod exec;
mod format;
pub(crate) mod labels;
mod level;
mod lex;
mod number;
mod parse;
pub(crate) mod pipeline;
mod regex;
mod rows;
pub(crate) mod stage;
pub(crate) mod template;
#[cfg(test)]
mod tests;

pub(crate) use ast::Expr;
pub(crate) use check::matchers;
pub(crate) use error::LogqlError;
pub(crate) use exec::{Context, LogEntry, QueryFigures, Series, run_log, run_metric};
pub(crate) use format::line as format_line;
pub(crate) use number::{parse_bytes, parse_duration, parse_go_duration};
pub(crate) use parse::parse;
#[cfg(test)]
pub(crate) use pipeline::Categorized;
pub(crate) use pipeline::{LogWindow, parse_fields};
