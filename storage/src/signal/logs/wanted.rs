//! A scan's conditions, prepared once for all memtables and segments.

use memchr::memmem::Finder;
use model::{LogRow, LogsBatch, Stream};

use super::LogScan;
use crate::text::NeedleTokens;
use crate::{Matcher, TimeRange};

/// Names under which the query layer may ask for parts of a record that are no attributes. Hints of
/// these names prune nothing.
const RECORD_NAMES: [&str; 14] = [
    "body",
    "detected_level",
    "dropped_attributes_count",
    "event_name",
    "flags",
    "level",
    "observed_timestamp",
    "scope_name",
    "scope_version",
    "service_name",
    "severity_number",
    "severity_text",
    "span_id",
    "trace_id",
];

/// A condition on an attribute, for pruning.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) tokens: NeedleTokens,
}

impl Hint {
    /// Whether an attribute called `key` may be the one that is meant: labels of a query cannot be
    /// written with dots or dashes.
    pub(super) fn may_mean(&self, key: &str) -> bool {
        let plain = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
        key.len() == self.name.len() && key.bytes().map(plain).eq(self.name.bytes().map(plain))
    }

    /// Whether all records of a stream may have it, through resource or scope.
    pub(super) fn may_be_of(&self, stream: &Stream) -> bool {
        stream
            .resource()
            .iter()
            .chain(stream.scope_attributes().iter())
            .map(|(key, _)| key)
            .chain(stream.labels.iter().map(|(name, _)| name))
            .any(|key| self.may_mean(key) || self.name.contains(key))
    }
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) matchers: &'a [Matcher],
    pub(super) range: TimeRange,
    pub(super) finders: Vec<Finder<'a>>,
    pub(super) needles: Vec<NeedleTokens>,
    pub(super) hints: Vec<Hint>,
    pub(super) trace_id: Option<[u8; 16]>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(scan: &'a LogScan) -> Wanted<'a> {
        let needles = || scan.line_contains.iter().filter(|needle| !needle.is_empty());
        let hints = scan
            .attribute_hints
            .iter()
            .filter(|(name, value)| !value.is_empty() && !RECORD_NAMES.contains(&name.as_str()))
            .map(|(name, value)| Hint {
                name: name.clone(),
                value: value.clone(),
                tokens: NeedleTokens::of_text(value.as_bytes()),
            });
        Wanted {
            matchers: &scan.matchers,
            range: scan.range,
            finders: needles().map(Finder::new).collect(),
            needles: needles().map(|needle| NeedleTokens::of_substring(needle)).collect(),
            hints: hints.collect(),
            trace_id: scan.trace_id,
        }
    }

    pub(super) fn takes_stream(&self, stream: &Stream) -> bool {
        takes_stream(self.matchers, stream)
    }

    /// Whether the line has all needles.
    pub(super) fn takes_line(&self, line: &[u8]) -> bool {
        self.finders.iter().all(|finder| finder.find(line).is_some())
    }

    /// All conditions but the one on the stream.
    pub(super) fn takes_row(&self, batch: &LogsBatch, row: &LogRow) -> bool {
        self.range.contains(row.time_ns)
            && self.trace_id.is_none_or(|id| id == row.trace_id)
            && (self.finders.is_empty() || self.takes_line(batch.line(row).as_bytes()))
    }
}

/// Whether all matchers hold for the stream's labels.
pub(super) fn takes_stream(matchers: &[Matcher], stream: &Stream) -> bool {
    matchers.iter().all(|matcher| matcher.matches(stream.labels.get(&matcher.name).unwrap_or("")))
}
