//! One record at fault is refused alone, with its reason and its limit in words.

use std::sync::Arc;

use model::{Limits, NS_PER_S, Protocol, Reason, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::{RECEIVED_NS, decode, decode_with, logs};
use crate::{DecodeError, Decoder};

fn text(text: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(text.into())) })
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

fn nested(levels: usize) -> Option<AnyValue> {
    let mut value = AnyValue::default();
    for _ in 0..levels {
        let list = ArrayValue { values: vec![value] };
        value = AnyValue { value: Some(any_value::Value::ArrayValue(list)) };
    }
    Some(value)
}

fn request(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    let attributes = vec![attribute("service.name", "shop")];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn check(limits: Limits, bad: LogRecord, reason: Reason, said: &str) {
    let good = |line: &str| LogRecord { body: text(line), ..LogRecord::default() };
    let body = request(vec![good("one"), bad, good("two")]).encode_to_vec();
    let decoder = Decoder::new(limits);
    let decoded = decode_with(&decoder, Protocol::OtlpLogsProtobuf, body).unwrap();
    let batch = logs(&decoded);
    let lines: Vec<_> = batch.rows.iter().map(|row| batch.line(row)).collect();
    assert_eq!(lines, ["one", "two"], "{reason:?}");
    assert_eq!(decoded.rejections.list.len(), 1);
    assert_eq!((decoded.rejections.list[0].reason, decoded.rejections.count()), (reason, 1));
    let message = decoded.rejections.message(4096);
    assert!(message.contains(said), "{message}");
}

#[test]
fn a_record_over_a_limit_is_refused_alone() {
    let limits = Limits {
        attributes_max: 2,
        attribute_bytes_max: 50,
        line_bytes_max: 100,
        age_max_ns: 3600 * NS_PER_S,
        ..Limits::default()
    };
    let record = LogRecord::default;
    let attributes = |count: usize, value: &str| vec![attribute("k", value); count];
    for (bad, reason, said) in [
        (
            LogRecord { body: text("x".repeat(101)), ..record() },
            Reason::LineTooLong,
            "101; limit limits.ingest.max_line_bytes=100",
        ),
        (
            LogRecord { attributes: attributes(3, "v"), ..record() },
            Reason::TooManyAttributes,
            "3; limit limits.ingest.max_attributes=2",
        ),
        (
            LogRecord { attributes: attributes(1, &"v".repeat(60)), ..record() },
            Reason::AttributeTooLong,
            "limits.ingest.max_attribute_bytes=50",
        ),
        (
            LogRecord { time_unix_nano: (RECEIVED_NS + 601 * NS_PER_S) as u64, ..record() },
            Reason::TooFarInFuture,
            "601; limit limits.ingest.max_future=600",
        ),
        (LogRecord { time_unix_nano: u64::MAX, ..record() }, Reason::TooFarInFuture, "max_future"),
        (
            LogRecord { time_unix_nano: (RECEIVED_NS - 3601 * NS_PER_S) as u64, ..record() },
            Reason::TooOld,
            "3601; limit limits.ingest.max_age=3600",
        ),
    ] {
        check(limits.clone(), bad, reason, said);
    }
    check(
        Limits::default(),
        LogRecord { body: nested(33), ..record() },
        Reason::TooDeep,
        "33; limit limits.ingest.max_nesting_depth=32",
    );
}

#[test]
fn what_is_exactly_at_a_limit_passes() {
    let record = LogRecord {
        body: nested(32),
        attributes: vec![attribute("k", "v"); 256],
        time_unix_nano: (RECEIVED_NS + 600 * NS_PER_S) as u64,
        ..LogRecord::default()
    };
    let decoded =
        decode(Protocol::OtlpLogsProtobuf, request(vec![record]).encode_to_vec()).unwrap();
    assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
}

#[test]
fn text_that_is_no_utf8_refuses_its_record() {
    let mut body =
        request(vec![LogRecord { body: text("?bad?"), ..LogRecord::default() }]).encode_to_vec();
    let at = body.windows(5).position(|window| window == b"?bad?").unwrap();
    body[at] = 0xff;
    let decoded = decode(Protocol::OtlpLogsProtobuf, body).unwrap();
    assert_eq!(decoded.rejections.list[0].reason, Reason::InvalidRecord);
    assert!(logs(&decoded).streams.is_empty());
}

#[test]
fn ids_of_another_length_refuse_the_request() {
    for (trace_id, span_id) in [(vec![1; 15], vec![]), (vec![], vec![1; 9]), (vec![1; 32], vec![])]
    {
        let record = LogRecord { trace_id, span_id, ..LogRecord::default() };
        let outcome = decode(Protocol::OtlpLogsProtobuf, request(vec![record]).encode_to_vec());
        assert!(matches!(outcome, Err(DecodeError::Undecodable(_))), "{outcome:?}");
    }
}

#[test]
fn nesting_without_end_is_no_stack_overflow() {
    for levels in [1_000, 100_000] {
        let mut value = Vec::new();
        // Each level is an AnyValue { array_value (5) { values (1) } }, written from the inside.
        for _ in 0..levels {
            let mut outer = Vec::with_capacity(value.len() + 12);
            model::wire::put_message(&mut outer, 5, |out| model::wire::put_bytes(out, 1, &value));
            value = outer;
            if value.len() > 100_000 {
                break;
            }
        }
        let mut body = Vec::new();
        model::wire::put_message(&mut body, 1, |out| {
            model::wire::put_message(out, 2, |out| {
                model::wire::put_message(out, 2, |out| model::wire::put_bytes(out, 5, &value));
            });
        });
        let decoded = decode(Protocol::OtlpLogsProtobuf, body).unwrap();
        assert_eq!(decoded.rejections.list[0].reason, Reason::TooDeep);
        let json = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{}}}]}}]}}]}}"#,
            r#"{"arrayValue":{"values":["#.repeat(levels),
            "]}}".repeat(levels)
        );
        assert!(decode(Protocol::OtlpLogsJson, json).is_err());
    }
}

#[test]
fn a_resource_repeated_is_one_stream() {
    let decoder = Decoder::new(Limits::default());
    let body = request(vec![LogRecord { body: text("x"), ..LogRecord::default() }]).encode_to_vec();
    let first = decode_with(&decoder, Protocol::OtlpLogsProtobuf, body.clone()).unwrap();
    let second = decode_with(&decoder, Protocol::OtlpLogsProtobuf, body).unwrap();
    let stream = &logs(&first).streams[0];
    assert!(Arc::ptr_eq(stream, &logs(&second).streams[0]));
    assert_eq!(stream.service(), "shop");
    assert_eq!(stream.resource().get("service.name"), Some(Value::Str("shop")));
    assert_eq!(stream.labels.get("service_name"), Some("shop"));
}

#[test]
fn the_hash_of_a_body_tells_protocols_apart() {
    let hash = |protocol| decode(protocol, Vec::new()).unwrap().body_hash;
    assert_ne!(hash(Protocol::OtlpLogsProtobuf), hash(Protocol::OtlpTracesProtobuf));
}
