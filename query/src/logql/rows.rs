//! Records as Loki sees them: labels of the stream, and everything else as structured metadata.
//!
//! Source: api.md 10.5 and 10.6; Loki 3.7, `pkg/loghttp/push/otlp.go`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use model::{AttributesRef, LogRow, LogsBatch, Stream, StreamId, Value, value_to_json};
use storage::{Budget, LogBlock, LogScan, LogsReader, Notices, StorageError};

use super::labels::{Base, LabelSet};
use super::level;

/// Where records come from: storage, or a test's memory.
pub(crate) trait LogSource {
    /// As [`LogsReader::scan`].
    fn scan(
        &self,
        scan: &LogScan,
        budget: &Budget,
        visit: &mut dyn FnMut(LogBlock, i64) -> std::ops::ControlFlow<()>,
    ) -> Result<Notices, StorageError>;

    /// Whether records that carry no `detected_level` get one.
    fn detects_level(&self) -> bool {
        true
    }
}

impl LogSource for LogsReader {
    fn scan(
        &self,
        scan: &LogScan,
        budget: &Budget,
        visit: &mut dyn FnMut(LogBlock, i64) -> std::ops::ControlFlow<()>,
    ) -> Result<Notices, StorageError> {
        LogsReader::scan(self, scan, budget, visit)
    }
}

/// Resource attributes that are labels of the stream and so not repeated with each record.
const INDEX_ATTRIBUTES: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

const DETECTED_LEVEL: &str = "detected_level";

/// What all records of a stream have in common.
#[derive(Debug)]
pub(crate) struct StreamLabels {
    pub(crate) base: Arc<Base>,
    /// Of the resource and the scope.
    metadata: Vec<(String, String)>,
    /// The level that a label of the stream says.
    level: Option<String>,
}

impl StreamLabels {
    pub(crate) fn new(stream: &Stream) -> StreamLabels {
        let mut metadata = Vec::new();
        let mut push = |name: &str, value: &str| metadata.push((name.to_owned(), value.to_owned()));
        for (key, value) in stream.resource().iter() {
            if !INDEX_ATTRIBUTES.contains(&key) {
                flatten(key, value, &mut push);
            }
        }
        for (key, value) in stream.scope_attributes().iter() {
            flatten(key, value, &mut push);
        }
        for (name, value) in
            [("scope_name", &stream.scope.name), ("scope_version", &stream.scope.version)]
        {
            if !value.is_empty() {
                push(name, value);
            }
        }
        if stream.scope.dropped_attributes_count != 0 {
            let count = stream.scope.dropped_attributes_count.to_string();
            push("scope_dropped_attributes_count", &count);
        }
        let level = stream.labels.iter().find(|(name, _)| level::is_level_name(name));
        StreamLabels {
            base: Base::new(&stream.labels),
            metadata,
            level: level.map(|(_, value)| level::normalized(value).into_owned()),
        }
    }

    /// Starts a record in `labels`: stream labels and the metadata that the query may need.
    pub(crate) fn load(
        &self,
        batch: &LogsBatch,
        row: &LogRow,
        line: &str,
        labels: &mut LabelSet,
        detects_level: bool,
    ) {
        labels.reset(&self.base);
        if labels.hints().no_labels {
            return;
        }
        let mut row_level = None;
        let mut given = false;
        let mut add = |name: &str, value: &str| {
            if detects_level {
                given |= name == DETECTED_LEVEL;
                if row_level.is_none() && level::is_level_name(name) {
                    row_level = Some(level::normalized(value).into_owned());
                }
            }
            if labels.hints().wants(name) || self.base_would_rename(name, labels) {
                labels.add_metadata(name, value);
            }
        };
        each_metadata(batch, row, &mut add);
        for (name, value) in &self.metadata {
            add(name, value);
        }
        if detects_level && !given && labels.hints().wants(DETECTED_LEVEL) {
            let said = self.level.as_deref().or(row_level.as_deref()).map(Cow::Borrowed);
            let level = said.unwrap_or_else(|| level::detect(row.severity_number, line));
            labels.add_metadata(DETECTED_LEVEL, &level);
        }
    }

    /// Metadata named like a label of the stream comes out as `.._extracted`, which may be wanted.
    fn base_would_rename(&self, name: &str, labels: &LabelSet) -> bool {
        labels.base_has(name)
            && labels
                .hints()
                .required
                .iter()
                .any(|wanted| wanted.strip_suffix(super::labels::DUPLICATE_SUFFIX) == Some(name))
    }
}

/// Streams seen by one query.
#[derive(Debug, Default)]
pub(crate) struct StreamCache {
    streams: HashMap<StreamId, Arc<StreamLabels>>,
}

impl StreamCache {
    /// The streams of a batch in its order.
    pub(crate) fn of(&mut self, batch: &LogsBatch) -> Vec<Arc<StreamLabels>> {
        let labels = |stream: &Arc<Stream>| {
            let entry = self.streams.entry(stream.id);
            Arc::clone(entry.or_insert_with(|| Arc::new(StreamLabels::new(stream))))
        };
        batch.streams.iter().map(labels).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }
}

/// The metadata of a record itself, without those of its stream.
fn each_metadata(batch: &LogsBatch, row: &LogRow, visit: &mut dyn FnMut(&str, &str)) {
    for (key, value) in attributes(batch, row).iter() {
        flatten(key, value, visit);
    }
    let mut number = itoa::Buffer::new();
    // A record without a time of its own has the observed one for its time; it is not said twice.
    if row.observed_ns != 0 && row.observed_ns != row.time_ns {
        visit("observed_timestamp", number.format(row.observed_ns));
    }
    if row.severity_number != 0 {
        visit("severity_number", number.format(row.severity_number));
    }
    let severity_text = batch.text(row.severity_text);
    if !severity_text.is_empty() {
        visit("severity_text", severity_text);
    }
    if row.dropped_attributes_count != 0 {
        visit("dropped_attributes_count", number.format(row.dropped_attributes_count));
    }
    if row.flags != 0 {
        visit("flags", number.format(row.flags));
    }
    let mut hex = [0u8; 32];
    if row.trace_id != [0; 16] && hex::encode_to_slice(row.trace_id, &mut hex).is_ok() {
        visit("trace_id", std::str::from_utf8(&hex).unwrap_or(""));
    }
    if row.span_id != [0; 8] && hex::encode_to_slice(row.span_id, &mut hex[..16]).is_ok() {
        visit("span_id", std::str::from_utf8(&hex[..16]).unwrap_or(""));
    }
    let event_name = batch.text(row.event_name);
    if !event_name.is_empty() {
        visit("event_name", event_name);
    }
}

fn attributes<'a>(batch: &'a LogsBatch, row: &LogRow) -> AttributesRef<'a> {
    batch.attributes(row)
}

/// One attribute as metadata: maps become one entry a leaf, names joined with `_`.
fn flatten(key: &str, value: Value<'_>, visit: &mut dyn FnMut(&str, &str)) {
    let is_plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !key.starts_with(|c: char| c.is_ascii_digit());
    match value {
        Value::Str(text) if is_plain => visit(key, text),
        _ => flatten_into(&mut metadata_name(key), value, visit, 0),
    }
}

/// Levels of maps that are taken apart; what lies deeper is written as JSON.
const DEPTH_MAX: usize = 32;

fn flatten_into(
    name: &mut String,
    value: Value<'_>,
    visit: &mut dyn FnMut(&str, &str),
    depth: usize,
) {
    match value {
        Value::Map(_) if depth < DEPTH_MAX => {
            let length = name.len();
            for (key, inner) in value.entries().iter() {
                name.push('_');
                name.push_str(&sanitized(key));
                flatten_into(name, inner, visit, depth + 1);
                name.truncate(length);
            }
        }
        value => visit(name, &attribute_text(value)),
    }
}

/// A value as text.
fn attribute_text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        Value::Empty => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Double(double) => super::number::format_plain_float(double),
        Value::Bytes(bytes) => {
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
        }
        Value::Array(_) | Value::Map(_) => value_to_json(value),
    }
}

fn sanitized(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// A key as the name of a label: what is no letter, digit or `_` becomes `_`.
fn metadata_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push_str("key_");
    }
    let _infallible = write!(name, "{}", sanitized(key));
    name
}
