//! The same bytes as prost reads them, to compare rows with.

use model::{AttributesRef, LogsBatch, SpansBatch, Stream, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};

/// One line for each record, with all that is known of where it comes from.
pub(super) fn of_logs_request(request: &ExportLogsServiceRequest, received_ns: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in &request.resource_logs {
        for scope in &resource.scope_logs {
            let source = source(
                resource.resource.clone(),
                &resource.schema_url,
                scope.scope.clone(),
                &scope.schema_url,
            );
            for record in &scope.log_records {
                let mut record = record.clone();
                if record.time_unix_nano == 0 {
                    record.time_unix_nano = if record.observed_time_unix_nano == 0 {
                        received_ns as u64
                    } else {
                        record.observed_time_unix_nano
                    };
                }
                record.time_unix_nano = record.time_unix_nano.min(i64::MAX as u64);
                record.observed_time_unix_nano =
                    record.observed_time_unix_nano.min(i64::MAX as u64);
                if !(0..256).contains(&record.severity_number) {
                    record.severity_number = 0;
                }
                record.attributes.iter_mut().for_each(normalise);
                let body = record.body.take().and_then(|body| body.value);
                let is_empty = |text: &any_value::Value| matches!(text, any_value::Value::StringValue(text) if text.is_empty());
                record.body = body
                    .filter(|value| !is_empty(value))
                    .map(|value| AnyValue { value: Some(value) });
                normalise_id(&mut record.trace_id);
                normalise_id(&mut record.span_id);
                lines.push(format!("{source} {record:?}"));
            }
        }
    }
    lines
}

/// The same of what the decoder made.
pub(super) fn of_logs_batch(batch: &LogsBatch) -> Vec<String> {
    let line = |row: &model::LogRow| {
        let body = match batch.body(row) {
            // No body and an empty one are the same to whoever reads lines.
            Value::Empty | Value::Str("") => None,
            value => Some(any_value(value)),
        };
        let record = LogRecord {
            time_unix_nano: row.time_ns as u64,
            observed_time_unix_nano: row.observed_ns as u64,
            severity_number: i32::from(row.severity_number),
            severity_text: batch.text(row.severity_text).to_owned(),
            body,
            attributes: key_values(batch.attributes(row)),
            dropped_attributes_count: row.dropped_attributes_count,
            flags: row.flags,
            trace_id: id(&row.trace_id),
            span_id: id(&row.span_id),
            event_name: batch.text(row.event_name).to_owned(),
        };
        format!("{} {record:?}", stream_source(&batch.streams[row.stream as usize]))
    };
    batch.rows.iter().map(line).collect()
}

pub(super) fn of_trace_request(request: &ExportTraceServiceRequest) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            let source = source(
                resource.resource.clone(),
                &resource.schema_url,
                scope.scope.clone(),
                &scope.schema_url,
            );
            for span in &scope.spans {
                let mut span = span.clone();
                if !(0..=5).contains(&span.kind) {
                    span.kind = 0;
                }
                if let Some(status) = &mut span.status
                    && !(0..=2).contains(&status.code)
                {
                    status.code = 0;
                }
                normalise_id(&mut span.trace_id);
                normalise_id(&mut span.span_id);
                normalise_id(&mut span.parent_span_id);
                for event in &mut span.events {
                    event.attributes.iter_mut().for_each(normalise);
                }
                for link in &mut span.links {
                    link.attributes.iter_mut().for_each(normalise);
                }
                span.attributes.iter_mut().for_each(normalise);
                lines.push(format!("{source} {span:?}"));
            }
        }
    }
    lines
}

pub(super) fn of_spans_batch(batch: &SpansBatch) -> Vec<String> {
    let line = |row: &model::SpanRow| {
        let events = batch.events(row).map(|event| span::Event {
            time_unix_nano: event.time_ns as u64,
            name: event.name.to_owned(),
            attributes: key_values(event.attributes),
            dropped_attributes_count: event.dropped_attributes_count,
        });
        let links = batch.links(row).map(|link| span::Link {
            trace_id: link.trace_id.to_vec(),
            span_id: link.span_id.to_vec(),
            trace_state: link.trace_state.to_owned(),
            attributes: key_values(link.attributes),
            dropped_attributes_count: link.dropped_attributes_count,
            flags: link.flags,
        });
        let status =
            Status { message: batch.text(row.status_message).to_owned(), code: row.status as i32 };
        let span = Span {
            trace_id: id(&row.trace_id),
            span_id: id(&row.span_id),
            trace_state: batch.text(row.trace_state).to_owned(),
            parent_span_id: id(&row.parent_span_id),
            flags: row.flags,
            name: batch.text(row.name).to_owned(),
            kind: row.kind as i32,
            start_time_unix_nano: row.start_ns as u64,
            end_time_unix_nano: row.end_ns as u64,
            attributes: key_values(batch.attributes(row)),
            dropped_attributes_count: row.dropped_attributes_count,
            events: events.collect(),
            dropped_events_count: row.dropped_events_count,
            links: links.collect(),
            dropped_links_count: row.dropped_links_count,
            status: row.has_status.then_some(status),
        };
        format!("{} {span:?}", stream_source(&batch.streams[row.stream as usize]))
    };
    batch.rows.iter().map(line).collect()
}

fn source(
    resource: Option<Resource>,
    resource_url: &str,
    scope: Option<InstrumentationScope>,
    scope_url: &str,
) -> String {
    let (mut resource, mut scope) = (resource.unwrap_or_default(), scope.unwrap_or_default());
    resource.entity_refs.clear();
    resource.attributes.iter_mut().for_each(normalise);
    scope.attributes.iter_mut().for_each(normalise);
    format!("{resource:?} {resource_url} {scope:?} {scope_url}")
}

fn stream_source(stream: &Stream) -> String {
    let resource = Resource {
        attributes: key_values(stream.resource()),
        dropped_attributes_count: stream.resource_dropped_attributes_count,
        entity_refs: Vec::new(),
    };
    let scope = InstrumentationScope {
        name: stream.scope.name.to_string(),
        version: stream.scope.version.to_string(),
        attributes: key_values(stream.scope_attributes()),
        dropped_attributes_count: stream.scope.dropped_attributes_count,
    };
    source(Some(resource), &stream.resource_schema_url, Some(scope), &stream.scope.schema_url)
}

/// An attribute without a value and one with an empty value are the same to us.
fn normalise(key_value: &mut KeyValue) {
    key_value.value.get_or_insert_default();
}

fn key_values(attributes: AttributesRef<'_>) -> Vec<KeyValue> {
    let one = |(key, value): (&str, Value<'_>)| KeyValue {
        key: key.to_owned(),
        value: Some(any_value(value)),
        ..KeyValue::default()
    };
    attributes.iter().map(one).collect()
}

fn any_value(value: Value<'_>) -> AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::Str(text) => Some(any_value::Value::StringValue(text.to_owned())),
        Value::Bool(flag) => Some(any_value::Value::BoolValue(flag)),
        Value::Int(int) => Some(any_value::Value::IntValue(int)),
        Value::Double(double) => Some(any_value::Value::DoubleValue(double)),
        Value::Bytes(bytes) => Some(any_value::Value::BytesValue(bytes.to_vec())),
        Value::Array(_) => {
            let values = value.items().map(any_value).collect();
            Some(any_value::Value::ArrayValue(ArrayValue { values }))
        }
        Value::Map(_) => {
            let values = key_values(value.entries());
            Some(any_value::Value::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

fn id(bytes: &[u8]) -> Vec<u8> {
    let mut id = bytes.to_vec();
    normalise_id(&mut id);
    id
}

fn normalise_id(id: &mut Vec<u8>) {
    if id.iter().all(|&byte| byte == 0) {
        id.clear();
    }
}
