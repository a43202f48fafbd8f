//! Pipeline stages, one file each.
//!
//! A stage is built once for a query and then sees every record: its line, which it may replace, and
//! its labels. It answers whether the record goes on. Nothing here knows of storage.

mod decolorize;
mod drop_keep;
mod ip;
mod json;
mod json_path;
mod json_scan;
mod label_filter;
mod label_format;
mod line_filter;
mod line_format;
mod logfmt;
mod pattern;
mod regexp;
mod unpack;

use std::borrow::Cow;
use std::fmt;

use storage::RegexLimits;

use super::ast::StageExpr;
use super::error::{LogqlError, Result};
use super::labels::LabelSet;

pub(super) use label_filter::parse_go_float;

#[cfg(test)]
pub(super) use json_path::{PathStep, parse_path};
#[cfg(test)]
pub(super) use logfmt::parse_field;
#[cfg(test)]
pub(super) use pattern::Pattern;

/// A record's line on its way.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Units: ns.
    pub(crate) time_ns: i64,
    pub(crate) text: Cow<'a, str>,
}

/// One step of a pipeline.
pub(crate) trait Stage: fmt::Debug + Send + Sync {
    /// Works on one record. Answers whether it passes.
    fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool;

    /// Adds the labels that this stage reads.
    fn required_labels(&self, _names: &mut Vec<String>) {}
}

/// Makes a stage of its expression. This is the registry: a new stage is a file and a line here.
///
/// Errors: Invalid where a pattern, a regular expression or a template is none, or beyond a limit.
pub(crate) fn build(expr: &StageExpr, limits: RegexLimits) -> Result<Box<dyn Stage>> {
    let stage: std::result::Result<Box<dyn Stage>, String> = match expr {
        StageExpr::LineFilter(filter) => line_filter::build(filter, limits),
        StageExpr::Json(fields) if fields.is_empty() => Ok(Box::new(json::Json)),
        StageExpr::Json(fields) => json_path::build(fields),
        StageExpr::Logfmt { strict, keep_empty, fields } => {
            logfmt::build(*strict, *keep_empty, fields)
        }
        StageExpr::Regexp(pattern) => regexp::build(pattern, limits),
        StageExpr::Pattern(pattern) => pattern::build(pattern),
        StageExpr::Unpack => Ok(Box::new(unpack::Unpack)),
        StageExpr::LabelFilter(filter) => label_filter::build(filter, limits),
        StageExpr::LineFormat(template) => line_format::build(template, limits),
        StageExpr::LabelFormat(formats) => label_format::build(formats, limits),
        StageExpr::Decolorize => Ok(Box::new(decolorize::Decolorize)),
        StageExpr::Drop(labels) => drop_keep::build_drop(labels, limits),
        StageExpr::Keep(labels) => drop_keep::build_keep(labels, limits),
    };
    stage.map_err(|why| {
        LogqlError::invalid(format!("stage '{}' : {why}", super::format::stage(expr)))
    })
}

/// Visits the text fields of a JSON object (`false`) and its inner objects (`true`).
pub(super) fn walk_strings<'a>(object: &'a str, visit: &mut dyn FnMut(&'a str, &'a str, bool)) {
    // What is malformed has no more fields.
    let _stop = json_scan::walk_object(object, &mut |key, found| {
        match found.kind {
            json_scan::Kind::Text => visit(key, found.raw, false),
            json_scan::Kind::Object => visit(key, found.raw, true),
            _ => {}
        }
        std::ops::ControlFlow::Continue(())
    });
}
