//! Random requests against prost, and random bytes against everything.

use bytes::Bytes;
use model::{Limits, Protocol};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::{RECEIVED_NS, decode, decode_with, logs, oracle, spans};
use crate::Decoder;
use crate::otlp::json::to_protobuf;

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,40}".prop_map(|text| Some(any_value::Value::StringValue(text))),
        any::<bool>().prop_map(|flag| Some(any_value::Value::BoolValue(flag))),
        any::<i64>().prop_map(|int| Some(any_value::Value::IntValue(int))),
        any::<f64>().prop_map(|double| Some(any_value::Value::DoubleValue(double))),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Some(any_value::Value::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|values| AnyValue {
                value: Some(any_value::Value::ArrayValue(ArrayValue { values }))
            }),
            vec(("[a-z.]{0,8}", inner), 0..3).prop_map(|entries| AnyValue {
                value: Some(any_value::Value::KvlistValue(KeyValueList {
                    values: entries.into_iter().map(key_value).collect()
                }))
            }),
        ]
    })
}

fn key_value((key, value): (String, AnyValue)) -> KeyValue {
    KeyValue { key, value: Some(value), ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(("(service.name|[a-zé.]{0,10})", value()).prop_map(key_value), 0..4)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), Just(vec![0; length]), vec(any::<u8>(), length)]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..RECEIVED_NS as u64]
}

prop_compose! {
    fn resource()(attributes in attributes(), dropped_attributes_count in any::<u32>()) -> Resource {
        Resource { attributes, dropped_attributes_count, entity_refs: Vec::new() }
    }
}

prop_compose! {
    fn scope()(name in ".{0,9}", version in ".{0,5}", attributes in attributes(), dropped in any::<u32>())
        -> InstrumentationScope {
        InstrumentationScope { name, version, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    fn log_record()(
        times in (time(), time()),
        severity in (-1i32..300, ".{0,6}"),
        body in option::of(value()),
        attributes in attributes(),
        numbers in (any::<u32>(), any::<u32>()),
        ids in (id(16), id(8)),
        event_name in ".{0,9}",
    ) -> LogRecord {
        LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number: severity.0,
            severity_text: severity.1,
            body,
            attributes,
            dropped_attributes_count: numbers.0,
            flags: numbers.1,
            trace_id: ids.0,
            span_id: ids.1,
            event_name,
        }
    }
}

prop_compose! {
    fn event()(time in time(), name in ".{0,9}", attributes in attributes(), dropped in any::<u32>())
        -> span::Event {
        span::Event { time_unix_nano: time, name, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    fn link()(ids in (id(16), id(8)), state in ".{0,9}", attributes in attributes(), numbers in any::<(u32, u32)>())
        -> span::Link {
        span::Link {
            trace_id: ids.0,
            span_id: ids.1,
            trace_state: state,
            attributes,
            dropped_attributes_count: numbers.0,
            flags: numbers.1,
        }
    }
}

prop_compose! {
    fn any_span()(
        ids in (id(16), id(8), id(8)),
        texts in (".{0,9}", ".{0,9}"),
        numbers in any::<(u32, u32, u32, u32)>(),
        kind in -1i32..8,
        times in (time(), time()),
        attributes in attributes(),
        events in vec(event(), 0..3),
        links in vec(link(), 0..3),
        status in option::of((".{0,9}", -1i32..5)),
    ) -> Span {
        Span {
            trace_id: ids.0,
            span_id: ids.1,
            parent_span_id: ids.2,
            trace_state: texts.0,
            name: texts.1,
            flags: numbers.0,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes,
            dropped_attributes_count: numbers.1,
            events,
            dropped_events_count: numbers.2,
            links,
            dropped_links_count: numbers.3,
            status: status.map(|(message, code)| Status { message, code }),
        }
    }
}

prop_compose! {
    fn logs_request()(resources in vec((option::of(resource()), vec((option::of(scope()), vec(log_record(), 0..3), ".{0,5}"), 0..3), ".{0,5}"), 0..3))
        -> ExportLogsServiceRequest {
        let scope_logs = |(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url };
        let resource_logs = resources.into_iter().map(|(resource, scopes, schema_url)| ResourceLogs {
            resource,
            scope_logs: scopes.into_iter().map(scope_logs).collect(),
            schema_url,
        });
        ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
    }
}

prop_compose! {
    fn trace_request()(resources in vec((option::of(resource()), vec((option::of(scope()), vec(any_span(), 0..3), ".{0,5}"), 0..3), ".{0,5}"), 0..3))
        -> ExportTraceServiceRequest {
        let scope_spans = |(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url };
        let resource_spans = resources.into_iter().map(|(resource, scopes, schema_url)| ResourceSpans {
            resource,
            scope_spans: scopes.into_iter().map(scope_spans).collect(),
            schema_url,
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn logs_equal_prost(request in logs_request()) {
        let decoded = decode(Protocol::OtlpLogsProtobuf, request.encode_to_vec()).unwrap();
        prop_assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
        let want = oracle::of_logs_request(&request, RECEIVED_NS);
        prop_assert_eq!(oracle::of_logs_batch(logs(&decoded)), want);
    }

    #[test]
    fn spans_equal_prost(request in trace_request()) {
        let decoded = decode(Protocol::OtlpTracesProtobuf, request.encode_to_vec()).unwrap();
        prop_assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
        let want = oracle::of_trace_request(&request);
        prop_assert_eq!(oracle::of_spans_batch(spans(&decoded)), want);
    }

    /// Whatever a changed byte does, prost and we agree on whether it is protobuf of these messages
    /// (but for what we refuse on purpose), and the answer is the same twice.
    #[test]
    fn damaged_requests_never_panic(
        request in trace_request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = request.encode_to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let body = Bytes::from(body);
        let decoder = Decoder::new(Limits::default());
        for protocol in [Protocol::OtlpTracesProtobuf, Protocol::OtlpLogsProtobuf] {
            let cold = decode_with(&decoder, protocol, body.clone());
            let warm = decode_with(&decoder, protocol, body.clone());
            match (cold, warm) {
                (Ok(cold), Ok(warm)) => {
                    prop_assert_eq!(cold.body_hash, warm.body_hash);
                    prop_assert_eq!(cold.rejections, warm.rejections);
                    prop_assert_eq!(format!("{:?}", cold.batch), format!("{:?}", warm.batch));
                }
                (Err(cold), Err(warm)) => prop_assert_eq!(cold, warm),
                (cold, warm) => prop_assert!(false, "{cold:?} {warm:?}"),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(body in vec(any::<u8>(), 0..200), text in ".{0,80}") {
        for protocol in [
            Protocol::OtlpTracesProtobuf,
            Protocol::OtlpLogsProtobuf,
            Protocol::OtlpTracesJson,
            Protocol::OtlpLogsJson,
        ] {
            drop(decode(protocol, body.clone()));
            drop(decode(protocol, text.clone()));
        }
        for signal in model::Signal::ALL {
            drop(to_protobuf(signal, &body));
        }
    }
}
