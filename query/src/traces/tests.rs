use std::sync::Arc;

use bytes::Bytes;
use model::{
    AttributesBuilder, Slice, SpanKind, SpanRow, SpanStatus, SpansBatch, Stream, StreamParts, Value,
};
use storage::SpanBlock;

use super::assemble::{self, Span};
use super::id::{parse_any, parse_span_id, parse_trace_id};
use super::{jaeger, otlp, tree, zipkin};

/// Spans of one service: id, parent (0 for none), start and end in ms.
fn make(list: &[(u8, u8, i64, i64)]) -> Vec<Span> {
    let mut resource = AttributesBuilder::new();
    resource.push("service.name", Value::Str("shop"));
    let stream =
        Stream::new(StreamParts { resource: resource.finish().into(), ..StreamParts::default() });
    let mut arena = b"GET /".to_vec();
    let attributes_at = arena.len() as u32;
    let mut attributes = AttributesBuilder::new();
    attributes.push("http.status", Value::Int(200));
    arena.extend(attributes.finish());
    let attributes = Slice { start: attributes_at, len: arena.len() as u32 - attributes_at };
    let id = |number: u8| if number == 0 { [0; 8] } else { [number; 8] };
    let rows = list
        .iter()
        .map(|&(span, parent, start, end)| SpanRow {
            trace_id: [7; 16],
            span_id: id(span),
            parent_span_id: id(parent),
            start_ns: start * 1_000_000,
            end_ns: end * 1_000_000,
            kind: SpanKind::Server,
            status: SpanStatus::Error,
            name: Slice { start: 0, len: 5 },
            attributes,
            attributes_field: 1,
            ..SpanRow::default()
        })
        .collect();
    let batch = Arc::new(SpansBatch { arena: Bytes::from(arena), streams: vec![stream], rows });
    let rows = (0..list.len() as u32).collect();
    assemble::spans(&[SpanBlock { batch, rows }])
}

fn numbers(spans: &[Span], which: impl Fn(usize) -> bool) -> Vec<u8> {
    (0..spans.len()).filter(|&at| which(at)).map(|at| spans[at].row.span_id[0]).collect()
}

#[test]
fn ids_are_read_in_every_form() {
    assert_eq!(parse_trace_id("1"), Some(1u128.to_be_bytes()));
    assert_eq!(parse_trace_id("ABCDEF"), Some(0xabcdefu128.to_be_bytes()));
    assert_eq!(parse_trace_id(&"f".repeat(33)), None);
    assert_eq!(parse_trace_id("xyz"), None);
    assert_eq!(parse_trace_id(""), None);
    assert_eq!(parse_span_id("00f067aa0ba902b7"), Some(0x00f0_67aa_0ba9_02b7u64.to_be_bytes()));
    let uuid = parse_any(" \"123e4567-e89b-12d3-a456-426614174000\" ");
    assert_eq!(uuid.text, "123e4567-e89b-12d3-a456-426614174000");
    assert_eq!(uuid.trace_id, Some(0x123e_4567_e89b_12d3_a456_4266_1417_4000u128.to_be_bytes()));
    assert_eq!(uuid.span_id, None);
    assert_eq!(parse_any("claim-12345").trace_id, None);
    assert_eq!(parse_any("0x2a").span_id, Some(42u64.to_be_bytes()));
}

#[test]
fn the_tree_puts_children_after_parents_and_says_who_never_came() {
    let spans =
        make(&[(1, 0, 0, 100), (3, 1, 50, 90), (2, 1, 10, 40), (4, 3, 60, 80), (5, 9, 5, 6)]);
    let tree = tree::build(&spans);
    let order: Vec<u8> = tree.order.iter().map(|&at| spans[at].row.span_id[0]).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
    assert_eq!(tree.missing.len(), 1);
    assert_eq!(tree.missing[0].span_id, [9; 8]);
    assert_eq!(tree.missing[0].children, 1);
    assert_eq!(tree.missing[0].child_service, "shop");
    let self_ms: Vec<i64> = tree.order.iter().map(|&at| tree.self_ns[at] / 1_000_000).collect();
    assert_eq!(self_ms, [30, 30, 20, 20, 1]);
}

#[test]
fn the_critical_path_leaves_out_what_nobody_waited_for() {
    // 2 and 3 run at the same time; the parent waited for 3, which ended later. 4 came before both.
    let spans = make(&[(1, 0, 0, 100), (2, 1, 40, 60), (3, 1, 30, 90), (4, 1, 5, 25)]);
    let tree = tree::build(&spans);
    assert_eq!(numbers(&spans, |at| tree.critical[at]), [1, 4, 3]);
}

#[test]
fn a_circle_of_parents_is_cut_and_nothing_is_lost() {
    let spans = make(&[(1, 2, 0, 10), (2, 1, 1, 9), (3, 3, 2, 3)]);
    let tree = tree::build(&spans);
    assert_eq!(tree.order.len(), 3);
    assert!(tree.missing.is_empty());
}

#[test]
fn protobuf_always_has_status_scope_and_resource() {
    let spans = make(&[(1, 0, 0, 1)]);
    let bytes = otlp::to_protobuf(&spans);
    let resource_spans = field(&bytes, 1);
    assert!(!field(resource_spans, 1).is_empty(), "a resource with an attribute");
    let scope_spans = field(resource_spans, 2);
    assert!(has_field(scope_spans, 1), "a scope, even when empty");
    let span = field(scope_spans, 2);
    assert_eq!(field(span, 1), [7; 16]);
    assert!(has_field(span, 15), "a status, even when unset");
}

fn field(bytes: &[u8], wanted: u32) -> &[u8] {
    let mut reader = model::wire::Reader::new(bytes);
    while let Some((number, value)) = reader.next_field().unwrap() {
        if number == wanted {
            return value.bytes().unwrap();
        }
    }
    panic!("no field {wanted}");
}

fn has_field(bytes: &[u8], wanted: u32) -> bool {
    let mut reader = model::wire::Reader::new(bytes);
    std::iter::from_fn(|| reader.next_field().unwrap()).any(|(number, _)| number == wanted)
}

#[test]
fn jaeger_gets_integers_and_tags_with_types() {
    let spans = make(&[(2, 1, 5, 7)]);
    let trace = jaeger::trace_json(&spans, &[]);
    let span = &trace["spans"][0];
    assert_eq!(span["startTime"], 5000);
    assert_eq!(span["duration"], 2000);
    assert_eq!(span["references"][0]["refType"], "CHILD_OF");
    assert_eq!(span["references"][0]["spanID"], "0101010101010101");
    assert_eq!(trace["processes"]["p1"]["serviceName"], "shop");
    assert_eq!(
        span["tags"].to_string(),
        r#"[{"key":"http.status","type":"int64","value":200},{"key":"span.kind","type":"string","value":"server"},{"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"error","type":"bool","value":true}]"#
    );
}

#[test]
fn zipkin_gets_text_and_what_is_unknown_is_absent() {
    let spans = make(&[(2, 1, 5, 7), (1, 0, 0, 0)]);
    let want = serde_json::json!([
        {
            "traceId": "07070707070707070707070707070707",
            "id": "0101010101010101",
            "kind": "SERVER",
            "name": "GET /",
            "localEndpoint": { "serviceName": "shop" },
            "tags": { "http.status": "200", "error": "true", "otel.status_code": "ERROR" },
        },
        {
            "traceId": "07070707070707070707070707070707",
            "id": "0202020202020202",
            "parentId": "0101010101010101",
            "kind": "SERVER",
            "name": "GET /",
            "timestamp": 5000,
            "duration": 2000,
            "localEndpoint": { "serviceName": "shop" },
            "tags": { "http.status": "200", "error": "true", "otel.status_code": "ERROR" },
        },
    ]);
    assert_eq!(zipkin::spans_json(&spans), want);
}
