use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use model::wire::{put_bytes, put_fixed64, put_message};
use model::{
    AttributesBuilder, Reason, Scope, Slice, SpanKind, SpanRow, SpanStatus, SpansBatch, Stream,
    StreamParts, Value, value_to_json,
};
use proptest::prelude::*;

use super::encode::encode;
use super::merge::merge;
use super::{Memtable, Segment, SpanBlock, SpanScan, TracesReader};
use crate::segment::{
    Append, EncodeContext, EncodedSegment, MemorySource, OpenSegment, SegmentHandle, SegmentMeta,
    SegmentSource,
};
use crate::{Budget, Clock, IdQuery, Options, StorageError, TimeRange};

#[derive(Debug)]
struct StillClock;

impl Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }
    fn monotonic_ns(&self) -> u64 {
        0
    }
}

fn budget() -> Budget {
    Budget::new(Arc::new(StillClock), 1_000_000_000, 0)
}

fn options() -> Options {
    Options::new("nowhere".into())
}

fn context(level: u8) -> EncodeContext {
    let id_fields: Vec<String> =
        options().id_fields.iter().map(|field| field.replace(['-', '_', '.'], "")).collect();
    EncodeContext::sample(id_fields, level, 64 << 20)
}

/// A span as tests think of it.
#[derive(Debug, Clone)]
struct Given {
    trace: u8,
    parent: Option<u16>,
    start_ns: i64,
    duration_ns: i64,
    kind: u64,
    status: Option<u64>,
    service: u8,
    name: u8,
    attributes: Vec<(u8, u8)>,
    events: u8,
    links: u8,
    odd: u32,
}

fn given() -> impl Strategy<Value = Given> {
    let place =
        (0u8..6, proptest::option::of(0u16..60), 0i64..1000, prop_oneof![0i64..500, -5i64..0]);
    let kinds = (0u64..6, proptest::option::of(0u64..3), 0u8..3, 0u8..4);
    let rest = (proptest::collection::vec((0u8..9, 0u8..5), 0..6), 0u8..3, 0u8..3);
    (place, kinds, rest, prop_oneof![4 => Just(0u32), 1 => any::<u32>()]).prop_map(
        |((trace, parent, start_ns, duration_ns), (kind, status, service, name), rest, odd)| {
            Given {
                trace,
                parent,
                start_ns,
                duration_ns,
                kind,
                status,
                service,
                name,
                attributes: rest.0,
                events: rest.1,
                links: rest.2,
                odd,
            }
        },
    )
}

fn trace_id(trace: u8) -> [u8; 16] {
    let mut id = [trace ^ 0x5a; 16];
    id[3] = trace;
    id
}

fn span_id(number: u16) -> [u8; 8] {
    (u64::from(number) * 0x9e37_79b9 + 1).to_be_bytes()
}

fn stream(service: u8) -> Arc<Stream> {
    let mut resource = AttributesBuilder::new();
    resource.push("service.name", Value::Str(["", "cart", "käse"][usize::from(service)]));
    resource.push("host.name", Value::Str("node-1"));
    let scope = Scope { name: "tests".into(), ..Scope::default() };
    Stream::new(StreamParts { resource: resource.finish().into(), scope, ..StreamParts::default() })
}

/// Adds a wire message's repeated field in the way of OTLP, with other fields in between.
fn put_attributes(out: &mut Vec<u8>, field: u32, pairs: &[(u8, u8)]) {
    for &(key, value) in pairs {
        let texts = ["GET", "", "4BF92F35-77B3", "ü", "a longer value that is not an ID"];
        let text = texts[usize::from(value)];
        let inner = [0x08, value];
        let (key, value) = match key {
            0 => ("http.method", Value::Str(text)),
            1 => ("x-request-id", Value::Str(text)),
            2 => ("code", Value::Int(i64::from(value) - 2)),
            3 => ("ratio", Value::Double(f64::from(value) / 3.0)),
            4 => ("ok", Value::Bool(value > 2)),
            5 => ("bytes", Value::Bytes(&inner)),
            6 => ("", Value::Empty),
            7 => ("order_id", Value::Int(i64::from(value) + 1000)),
            _ => ("code", Value::Str(text)),
        };
        put_message(out, field, |out| {
            put_bytes(out, 1, key.as_bytes());
            put_message(out, 2, |out| value.write(out));
        });
    }
}

fn batch(spans: &[(u16, Given)]) -> SpansBatch {
    let mut arena = Vec::new();
    let mut rows = Vec::new();
    for (number, span) in spans {
        let mut put = |write: &dyn Fn(&mut Vec<u8>)| {
            let start = arena.len();
            write(&mut arena);
            Slice { start: start as u32, len: (arena.len() - start) as u32 }
        };
        let name = put(&|out| {
            out.extend_from_slice(["", "GET /", "query", "é"][usize::from(span.name)].as_bytes());
        });
        let has_message = span.status == Some(2) && span.odd > 0;
        let status_message =
            put(&|out| out.extend_from_slice(if has_message { b"it broke" } else { b"" }));
        let trace_state =
            put(&|out| out.extend_from_slice(if span.odd % 3 == 1 { b"a=b" } else { b"" }));
        let attributes = put(&|out| put_attributes(out, 9, &span.attributes));
        let events = put(&|out| {
            for event in 0..span.events {
                put_message(out, 11, |out| {
                    put_fixed64(out, 1, u64::from(event));
                    put_bytes(out, 2, b"thrown");
                    put_attributes(out, 3, &span.attributes);
                });
                // A field that does not belong to it.
                put_bytes(out, 12, b"passed over");
            }
        });
        let links = put(&|out| {
            for link in 0..span.links {
                put_message(out, 13, |out| put_bytes(out, 1, &trace_id(link)));
            }
        });
        rows.push(SpanRow {
            stream: u32::from(span.service),
            trace_id: trace_id(span.trace),
            span_id: span_id(*number),
            parent_span_id: span.parent.map(span_id).unwrap_or_default(),
            start_ns: span.start_ns,
            end_ns: span.start_ns + span.duration_ns,
            kind: SpanKind::from_number(span.kind),
            status: SpanStatus::from_number(span.status.unwrap_or(0)),
            has_status: span.status.is_some(),
            name,
            status_message,
            trace_state,
            flags: span.odd,
            attributes,
            attributes_field: 9,
            events,
            events_field: 11,
            links,
            links_field: 13,
            dropped_attributes_count: span.odd / 2,
            dropped_events_count: span.odd / 3,
            dropped_links_count: span.odd / 4,
        });
    }
    SpansBatch { arena: Bytes::from(arena), streams: (0..3).map(stream).collect(), rows }
}

/// Everything about a span that a reader can see.
fn flat(batch: &SpansBatch, row: &SpanRow) -> String {
    let attributes: Vec<String> = batch
        .attributes(row)
        .iter()
        .map(|(key, value)| format!("{key}={value:?}{}", value_to_json(value)))
        .collect();
    let events: Vec<&[u8]> = batch.events(row).map(|event| event.wire).collect();
    let links: Vec<&[u8]> = batch.links(row).map(|link| link.wire).collect();
    let stream = &batch.streams[row.stream as usize];
    format!(
        "{:02x?} {:02x?} {:02x?} {} {} {:?} {:?} {} {:?} {:?} {:?} {} {:?} {:?} {:?} {:?} {:?}",
        row.trace_id,
        row.span_id,
        row.parent_span_id,
        row.start_ns,
        row.end_ns,
        row.kind,
        row.status,
        row.has_status,
        batch.text(row.name),
        batch.text(row.status_message),
        batch.text(row.trace_state),
        row.flags,
        attributes,
        events,
        links,
        (row.dropped_attributes_count, row.dropped_events_count, row.dropped_links_count),
        stream.id,
    )
}

fn flats<'a>(blocks: impl IntoIterator<Item = &'a SpanBlock>) -> Vec<String> {
    let mut all: Vec<String> = blocks
        .into_iter()
        .flat_map(|block| block.iter().map(|row| flat(&block.batch, row)))
        .collect();
    all.sort();
    all
}

/// What of `batches` satisfies `is_hit`, each span once.
fn naive(batches: &[SpansBatch], is_hit: impl Fn(&SpansBatch, &SpanRow) -> bool) -> Vec<String> {
    let mut all: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            batch.rows.iter().filter(|row| is_hit(batch, row)).map(|row| flat(batch, row))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

fn memtable(batches: &[SpansBatch]) -> Memtable {
    let memtable = Memtable::new(1, &options());
    for batch in batches {
        assert!(memtable.append(batch.clone(), 0, Append::Live).is_empty());
    }
    memtable
}

fn handle(encoded: &EncodedSegment) -> Arc<SegmentHandle<Segment>> {
    let sources = encoded
        .files
        .iter()
        .map(|file| -> Arc<dyn SegmentSource> {
            Arc::new(MemorySource { name: file.extension.to_owned(), bytes: file.bytes.clone() })
        })
        .collect();
    let meta = SegmentMeta {
        id: "test".to_owned(),
        signal: "traces".to_owned(),
        tenant: "default".to_owned(),
        level: 0,
        rows: encoded.rows,
        time_min_ns: encoded.time_min_ns,
        time_max_ns: encoded.time_max_ns,
        received_max_ns: 0,
        files: Vec::new(),
        stats: hex::encode(&encoded.stats),
        wal_sequence_max: 0,
    };
    Arc::new(SegmentHandle::new(meta, sources))
}

fn encoded(batches: &[SpansBatch]) -> Option<EncodedSegment> {
    let mut segments = encode(&memtable(batches), &context(0)).unwrap();
    assert!(segments.len() <= 1);
    segments.pop()
}

/// Some batches in a memtable, some in segments, some of these merged.
fn mixed(parts: &[Vec<SpansBatch>]) -> TracesReader {
    let mut segments = Vec::new();
    for part in parts.iter().skip(1) {
        segments.extend(encoded(part).iter().map(handle));
    }
    if segments.len() > 2 {
        let inputs: Vec<Arc<Segment>> =
            segments.split_off(1).iter().map(|handle| handle.get().unwrap()).collect();
        segments.extend(merge(&inputs, &context(1)).unwrap().iter().map(handle));
    }
    let memtables = parts.first().map(|part| Arc::new(memtable(part))).into_iter().collect();
    TracesReader::new(memtables, segments)
}

fn scanned(reader: &TracesReader, scan: &SpanScan) -> Vec<SpanBlock> {
    let mut blocks = Vec::new();
    let notices = reader
        .scan(scan, &budget(), &mut |block| {
            blocks.push(block);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(notices.unread.is_empty(), "{notices:?}");
    blocks
}

fn everything() -> SpanScan {
    SpanScan {
        range: TimeRange::ALL,
        service: None,
        name: None,
        attribute_hints: Vec::new(),
        duration_min_ns: None,
        duration_max_ns: None,
    }
}

/// Batches whose span IDs are all different, in four parts; the last part repeats a batch of the
/// second one.
fn parts() -> impl Strategy<Value = Vec<Vec<SpansBatch>>> {
    let spans = proptest::collection::vec(given(), 1..40);
    (spans, 1usize..8).prop_map(|(spans, size)| {
        let numbered: Vec<(u16, Given)> = (0u16..).zip(spans).collect();
        let mut parts = vec![Vec::new(); 4];
        for (index, chunk) in numbered.chunks(size).enumerate() {
            parts[index % 4].push(batch(chunk));
        }
        if let Some(again) = parts[1].first().cloned() {
            parts[3].push(again.clone());
            parts[1].push(again);
        }
        parts
    })
}

fn query(text: &str) -> IdQuery {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && !text.is_empty();
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    IdQuery {
        text: text.to_owned(),
        trace_id: number.map(u128::to_be_bytes),
        span_id: number.and_then(|number| u64::try_from(number).ok()).map(u64::to_be_bytes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_fields_come_back_from_a_segment(parts in parts()) {
        let batches = parts.concat();
        let segment = handle(&encoded(&batches).unwrap());
        let reader = TracesReader::new(Vec::new(), vec![segment]);
        prop_assert_eq!(flats(&scanned(&reader, &everything())), naive(&batches, |_, _| true));
    }

    #[test]
    fn a_merge_is_the_union_with_each_span_once(parts in parts()) {
        let inputs: Vec<Arc<Segment>> = parts
            .iter()
            .filter_map(|part| encoded(part))
            .map(|encoded| handle(&encoded).get().unwrap())
            .collect();
        let merged = merge(&inputs, &context(1)).unwrap();
        let batches = parts.concat();
        let want = naive(&batches, |_, _| true);
        prop_assert_eq!(merged.len(), 1);
        prop_assert_eq!(merged[0].rows as usize, want.len());
        let reader = TracesReader::new(Vec::new(), merged.iter().map(handle).collect());
        prop_assert_eq!(flats(&scanned(&reader, &everything())), want);
        // What was merged reads like what was encoded at once.
        let at_once = handle(&encoded(&batches).unwrap()).get().unwrap();
        prop_assert_eq!(&handle(&merged[0]).get().unwrap().runs, &at_once.runs);
    }

    #[test]
    fn traces_are_whole_wherever_they_lie(parts in parts()) {
        let reader = mixed(&parts);
        let batches = parts.concat();
        for trace in 0..8 {
            let (blocks, notices) = reader.trace(&trace_id(trace), &budget()).unwrap();
            prop_assert!(notices.unread.is_empty());
            let want = naive(&batches, |_, row| row.trace_id == trace_id(trace));
            prop_assert_eq!(flats(&blocks), want);
        }
    }

    #[test]
    fn scans_are_exact(
        parts in parts(),
        service in proptest::option::of(0u8..3),
        name in proptest::option::of(0usize..4),
        start in 0i64..1000,
        length in 0i64..1200,
        duration in proptest::option::of((0i64..500, 0i64..500)),
    ) {
        let reader = mixed(&parts);
        let scan = SpanScan {
            range: TimeRange { start_ns: start, end_ns: start + length },
            service: service.map(|service| stream(service).service().to_owned()),
            name: name.map(|name| ["", "GET /", "query", "é"][name].to_owned()),
            attribute_hints: Vec::new(),
            duration_min_ns: duration.map(|pair| pair.0),
            duration_max_ns: duration.map(|pair| pair.0 + pair.1),
        };
        let mut got = flats(&scanned(&reader, &scan));
        // Only a trace promises each span once over all its places.
        got.dedup();
        let want = naive(&parts.concat(), |batch, row| {
            scan.range.contains(row.start_ns)
                && scan.service.as_ref().is_none_or(|service| batch.streams[row.stream as usize].service() == service)
                && scan.name.as_ref().is_none_or(|name| batch.text(row.name) == name)
                && scan.takes(row.duration_ns())
        });
        prop_assert_eq!(got, want);
    }

    #[test]
    fn hints_hide_nothing(parts in parts(), key in 0usize..4, value in 0usize..3) {
        let reader = mixed(&parts);
        let key = ["http.method", "code", "host.name", "x-request-id"][key];
        let value = ["GET", "node-1", "ü"][value];
        let scan = SpanScan {
            attribute_hints: vec![(key.to_owned(), value.to_owned())],
            ..everything()
        };
        let got = flats(&scanned(&reader, &scan));
        let want = naive(&parts.concat(), |batch, row| {
            let stream = &batch.streams[row.stream as usize];
            let mut all = batch.attributes(row).iter().chain(stream.resource().iter());
            all.any(|(name, found)| name == key && found.as_str() == Some(value))
        });
        for span in want {
            prop_assert!(got.contains(&span));
        }
    }

    #[test]
    fn every_id_is_found(parts in parts()) {
        let reader = mixed(&parts);
        let batches = parts.concat();
        let mut ids = vec!["4bf92f3577b3".to_owned(), "1003".to_owned(), "absent".to_owned()];
        for row in batches.iter().flat_map(|batch| &batch.rows) {
            ids.push(hex::encode(row.span_id));
            ids.push(hex::encode(row.trace_id));
        }
        ids.sort();
        ids.dedup();
        for text in ids {
            let id = query(&text);
            let (blocks, notices) = reader.lookup(&id, 1000, &budget()).unwrap();
            prop_assert!(notices.unread.is_empty());
            let got = flats(&blocks);
            let want = naive(&batches, |batch, row| {
                let is_id = |(key, value): (&str, Value<'_>)| {
                    matches!(key, "x-request-id" | "order_id")
                        && crate::ids::same_value(value, &text)
                };
                Some(row.trace_id) == id.trace_id
                    || Some(row.span_id) == id.span_id
                    || batch.attributes(row).iter().any(is_id)
            });
            for span in &want {
                prop_assert!(got.contains(span), "{} lacks {}", text, span);
            }
            let (few, _) = reader.lookup(&id, 1, &budget()).unwrap();
            prop_assert_eq!(flats(&few).len(), want.len().min(1));
        }
    }

    #[test]
    fn services_and_operations_are_known(parts in parts()) {
        let reader = mixed(&parts);
        let batches = parts.concat();
        let mut services: Vec<String> = Vec::new();
        let mut operations: Vec<(String, SpanKind)> = Vec::new();
        for batch in &batches {
            for row in &batch.rows {
                let service = batch.streams[row.stream as usize].service();
                services.push(service.to_owned());
                if service == "cart" {
                    operations.push((batch.text(row.name).to_owned(), row.kind));
                }
            }
        }
        services.sort();
        services.dedup();
        operations.sort();
        operations.dedup();
        prop_assert_eq!(reader.services(TimeRange::ALL, &budget()).unwrap().0, services);
        let got = reader.operations("cart", TimeRange::ALL, &budget()).unwrap().0;
        prop_assert_eq!(got, operations);
    }

    /// Checksums keep such bytes away; should one slip through, it is an error and not a crash.
    #[test]
    fn garbage_never_panics(
        parts in parts(),
        file in 0usize..3,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut segment = encoded(&parts.concat()).unwrap();
        let mut bytes = segment.files[file].bytes.to_vec();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        segment.files[file].bytes = bytes.into();
        let handle = handle(&segment);
        let reader = TracesReader::new(Vec::new(), vec![Arc::clone(&handle)]);
        for trace in 0..3 {
            let _may_fail = reader.trace(&trace_id(trace), &budget());
        }
        let _may_fail = reader.scan(&everything(), &budget(), &mut |_| ControlFlow::Continue(()));
        let _may_fail = reader.lookup(&query("1003"), 10, &budget());
        if let Ok(segment) = handle.get() {
            let _may_fail = merge(&[segment], &context(1));
        }
    }
}

/// Many rows: several blocks and traces of many spans.
fn many(rows: u16) -> Vec<SpansBatch> {
    let span = |number: u16| Given {
        trace: (number % 97) as u8,
        parent: (number > 200).then(|| number - 97),
        start_ns: i64::from(number) * 10,
        duration_ns: 5,
        kind: 2,
        status: None,
        service: (number % 3) as u8,
        name: (number / 7 % 4) as u8,
        attributes: vec![(0, 0), (7, (number % 5) as u8)],
        events: 0,
        links: 0,
        odd: 0,
    };
    let numbers: Vec<u16> = (0..rows).collect();
    numbers
        .chunks(500)
        .map(|chunk| batch(&chunk.iter().map(|&number| (number, span(number))).collect::<Vec<_>>()))
        .collect()
}

#[test]
fn large_segments_are_read_block_by_block() {
    let batches = many(9000);
    let parts = vec![
        batches[..5].to_vec(),
        batches[5..10].to_vec(),
        batches[10..14].to_vec(),
        batches[14..].to_vec(),
    ];
    let reader = mixed(&parts);
    for trace in [0, 50, 96, 97] {
        let (blocks, _) = reader.trace(&trace_id(trace), &budget()).unwrap();
        let want = naive(&batches, |_, row| row.trace_id == trace_id(trace));
        assert_eq!(flats(&blocks), want);
        assert_eq!(want.is_empty(), trace == 97);
    }
    assert_eq!(flats(&scanned(&reader, &everything())).len(), 9000);
    let scan = SpanScan {
        name: Some("query".to_owned()),
        service: Some("cart".to_owned()),
        ..everything()
    };
    let want = naive(&batches, |batch, row| {
        batch.text(row.name) == "query" && batch.streams[row.stream as usize].service() == "cart"
    });
    assert_eq!(flats(&scanned(&reader, &scan)), want);
}

#[test]
fn streams_beyond_the_limit_are_refused_live_and_kept_from_the_log() {
    let mut options = options();
    options.limits = model::Limits { active_streams_max: 2, ..model::Limits::default() }.into();
    let all = many(30).concat_rows();
    let live = Memtable::new(1, &options);
    let refused = live.append(all.clone(), 0, Append::Live);
    assert_eq!(refused.list[0].reason, Reason::MaxActiveStreams);
    assert_eq!((refused.count(), live.rows()), (10, 20));
    let replayed = live.successor(2);
    assert!(replayed.append(all, 0, Append::Replay).is_empty());
    assert_eq!(replayed.rows(), 30);
    assert!(replayed.heap_bytes() > 0);
}

#[test]
fn traces_beyond_the_limit_are_refused_live_and_kept_from_the_log() {
    let mut options = options();
    options.limits = model::Limits { live_traces_max: 4, ..model::Limits::default() }.into();
    let live = Memtable::new(1, &options);
    let spans = |traces: &[u8]| {
        let mut batch = many(30).concat_rows();
        let template = batch.rows[0];
        let row = |number: &u8| SpanRow { trace_id: trace_id(*number), ..template };
        batch.rows = traces.iter().map(row).collect();
        batch
    };
    assert!(live.append(spans(&[1, 1, 2]), 0, Append::Live).is_empty());
    assert!(live.is_crowded(), "half of them are there");
    let refused = live.append(spans(&[3, 4, 5, 5, 1, 6, 4]), 0, Append::Live);
    assert_eq!(refused.list.len(), 1);
    assert_eq!((refused.list[0].reason, refused.count()), (Reason::LiveTraces, 3));
    assert!(refused.list[0].example.contains("limits.ingest.max_live_traces=4, current 4"));
    assert_eq!((live.rows(), live.live()), (7, 4));
    for (number, count) in [(1, 3), (4, 2), (5, 0), (6, 0)] {
        let blocks = live.trace(&trace_id(number));
        assert_eq!(blocks.iter().map(|block| block.rows.len()).sum::<usize>(), count);
    }
    let replayed = live.successor(2);
    assert!(replayed.append(spans(&[1, 2, 3, 4, 5, 6]), 0, Append::Replay).is_empty());
    assert_eq!((replayed.rows(), replayed.live()), (6, 6));
}

#[test]
fn a_trace_takes_no_more_bytes_than_it_may() {
    let mut options = options();
    let one = memtable(&many(1)).heap_bytes();
    options.limits = model::Limits { trace_bytes_max: 2 * one, ..model::Limits::default() }.into();
    let live = Memtable::new(1, &options);
    let batch = many(1).concat_rows();
    let mut refused = 0;
    for _ in 0..50 {
        let rejections = live.append(batch.clone(), 0, Append::Live);
        assert!(rejections.list.iter().all(|one| one.reason == Reason::TraceTooLarge));
        refused += rejections.count();
    }
    assert!(refused > 0 && refused < 50, "{refused}");
    assert_eq!(live.rows(), 50 - refused);
    let mut other = batch.clone();
    other.rows[0].trace_id = trace_id(77);
    assert!(live.append(other, 0, Append::Live).is_empty(), "other traces are not concerned");
    assert!(live.successor(2).append(batch, 0, Append::Live).is_empty(), "after a flush");
}

trait ConcatRows {
    fn concat_rows(self) -> SpansBatch;
}

impl ConcatRows for Vec<SpansBatch> {
    fn concat_rows(mut self) -> SpansBatch {
        assert_eq!(self.len(), 1);
        self.remove(0)
    }
}

#[test]
fn an_empty_memtable_makes_no_segment() {
    assert!(encode(&Memtable::new(1, &options()), &context(0)).unwrap().is_empty());
    assert!(merge(&[], &context(1)).unwrap().is_empty());
}

#[test]
fn a_segment_that_cannot_be_read_is_named_in_the_answer() {
    let mut segment = encoded(&many(100)).unwrap();
    segment.files[0].bytes = Bytes::from_static(b"PAR1 and nothing else");
    let reader = TracesReader::new(vec![Arc::new(memtable(&many(10)))], vec![handle(&segment)]);
    let (blocks, notices) = reader.trace(&trace_id(1), &budget()).unwrap();
    assert_eq!(flats(&blocks).len(), 1);
    assert_eq!(notices.unread.len(), 1);
    assert!(notices.is_partial());
}

/// Bytes written by the first version of the format stay readable and can be merged.
#[test]
fn version_1_is_readable() -> Result<(), StorageError> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    let batches = many(300);
    let mut segment = encoded(&batches).unwrap();
    for file in &mut segment.files {
        let path = folder.join(format!("traces.{}", file.extension));
        if !path.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &file.bytes).unwrap();
        }
        file.bytes = std::fs::read(&path).unwrap().into();
    }
    let handle = handle(&segment);
    let want = naive(&batches, |_, _| true);
    let merged = merge(&[handle.get()?], &context(2))?;
    for handle in [handle, self::handle(&merged[0])] {
        let reader = TracesReader::new(Vec::new(), vec![handle]);
        assert_eq!(flats(&scanned(&reader, &everything())), want);
        let (blocks, _) = reader.trace(&trace_id(3), &budget())?;
        assert_eq!(flats(&blocks), naive(&batches, |_, row| row.trace_id == trace_id(3)));
    }
    Ok(())
}

#[test]
fn a_segment_opens_from_its_files() {
    let segment = handle(&encoded(&many(3000)).unwrap()).get().unwrap();
    assert_eq!(segment.row_count(), 3000);
    assert_eq!(segment.index.trace_count, 97);
    assert!(Segment::open(&handle(&encoded(&many(1)).unwrap()).meta, &[]).is_err());
}
