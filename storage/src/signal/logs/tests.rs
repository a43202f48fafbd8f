use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use model::{
    AttributesBuilder, BodyKind, Labels, LogRow, LogsBatch, Slice, Stream, StreamParts, Value,
};
use proptest::prelude::*;

use super::encode::encode;
use super::merge::merge;
use super::*;
use crate::segment::{
    Append, EncodeContext, EncodedSegment, MemorySource, SegmentMeta, SegmentSource,
};
use crate::{Clock, MatchOp, Options, RegexLimits};

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Text(String),
    Number(i64),
    Map(String),
}

/// A record as a sender would write it down.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    service: u8,
    time_ns: i64,
    observed_ns: i64,
    severity: u8,
    severity_text: String,
    body: Body,
    attributes: Vec<(String, Attribute)>,
    trace: u8,
    span: u8,
    flags: u32,
    event: String,
    dropped: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Attribute {
    Text(String),
    Int(i64),
    Bool(bool),
    Nested(i64),
}

fn record() -> impl Strategy<Value = Record> {
    let word = prop_oneof!["GET|POST|disk full", "[a-c]{1,3}", "user_[0-9]{1,2}", "[a-f0-9]{6}"];
    let text = proptest::collection::vec(word, 0..4).prop_map(|words| words.join(" "));
    let body = prop_oneof![
        6 => text.prop_map(Body::Text),
        1 => (0i64..20).prop_map(Body::Number),
        1 => "[a-c]{1,3}".prop_map(Body::Map),
    ];
    let value = prop_oneof![
        4 => "[a-c]{0,2}|req-[0-9]".prop_map(Attribute::Text),
        2 => (0i64..9).prop_map(Attribute::Int),
        1 => any::<bool>().prop_map(Attribute::Bool),
        1 => any::<i64>().prop_map(Attribute::Nested),
    ];
    let key = "http.method|status|request_id|[a-b]";
    let attributes = proptest::collection::vec((key, value), 0..5);
    let ids = prop_oneof![2 => Just((0u8, 0u8)), 3 => (0u8..5, 0u8..5)];
    let rare = prop_oneof![
        4 => Just((0, String::new(), 0, String::new(), 0)),
        1 => (0u32..3, "[a-b]{0,1}", 0u32..3, "|INFO|WARN", 0i64..3),
    ];
    (0u8..3, 0i64..30, 0u8..25, body, attributes, ids, rare).prop_map(
        |(service, time_ns, severity, body, attributes, (trace, span), rare)| Record {
            service,
            time_ns,
            observed_ns: rare.4,
            severity,
            severity_text: rare.3,
            body,
            attributes,
            trace,
            span,
            flags: rare.0,
            event: rare.1,
            dropped: rare.2,
        },
    )
}

fn stream(service: u8) -> Arc<Stream> {
    let name = format!("svc-{service}");
    let mut resource = AttributesBuilder::new();
    resource.push("service.name", Value::Str(&name));
    resource.push("region", Value::Str("eu-west"));
    Stream::new(StreamParts {
        labels: Labels::from_pairs([("service_name", name.as_str())]),
        resource: resource.finish().into(),
        ..StreamParts::default()
    })
}

fn trace_id(trace: u8) -> [u8; 16] {
    if trace == 0 { [0; 16] } else { [trace * 17; 16] }
}

fn batch(records: &[Record]) -> LogsBatch {
    let mut arena = Vec::new();
    let mut streams = BTreeMap::new();
    let mut rows = Vec::new();
    for record in records {
        let count = streams.len() as u32;
        let number = *streams.entry(record.service).or_insert(count);
        let mut keep = |bytes: &[u8]| {
            let start = arena.len() as u32;
            arena.extend_from_slice(bytes);
            Slice { start, len: bytes.len() as u32 }
        };
        let (body_kind, body) = match &record.body {
            Body::Text(text) => (BodyKind::Text, text.clone().into_bytes()),
            Body::Number(number) => {
                let mut out = Vec::new();
                Value::Int(*number).write(&mut out);
                (BodyKind::Any, out)
            }
            Body::Map(text) => {
                let mut map = AttributesBuilder::new();
                map.push("msg", Value::Str(text));
                let mut out = Vec::new();
                Value::Map(&map.finish()).write(&mut out);
                (BodyKind::Any, out)
            }
        };
        let mut attributes = Vec::new();
        for (key, value) in &record.attributes {
            // Field 6 with another field in between, as a LogRecord has them.
            model::wire::put_uint(&mut attributes, 2, 9);
            model::wire::put_message(&mut attributes, 6, |out| {
                model::wire::put_bytes(out, 1, key.as_bytes());
                model::wire::put_message(out, 2, |out| match value {
                    Attribute::Text(text) => Value::Str(text).write(out),
                    Attribute::Int(int) => Value::Int(*int).write(out),
                    Attribute::Bool(flag) => Value::Bool(*flag).write(out),
                    Attribute::Nested(int) => {
                        let mut map = AttributesBuilder::new();
                        map.push("n", Value::Int(*int));
                        Value::Map(&map.finish()).write(out);
                    }
                });
            });
        }
        rows.push(LogRow {
            stream: number,
            time_ns: record.time_ns,
            observed_ns: record.observed_ns,
            severity_number: record.severity,
            body_kind,
            severity_text: keep(record.severity_text.as_bytes()),
            body: keep(&body),
            attributes: keep(&attributes),
            attributes_field: 6,
            event_name: keep(record.event.as_bytes()),
            dropped_attributes_count: record.dropped,
            flags: record.flags,
            trace_id: trace_id(record.trace),
            span_id: if record.span == 0 { [0; 8] } else { [record.span; 8] },
        });
    }
    let mut list: Vec<_> = streams.into_iter().collect();
    list.sort_by_key(|(_, number)| *number);
    let streams = list.into_iter().map(|(service, _)| stream(service)).collect();
    LogsBatch { arena: arena.into(), streams, rows }
}

/// Everything that a record says, as text.
fn describe(batch: &LogsBatch, row: &LogRow) -> String {
    let attributes: Vec<_> = batch.attributes(row).iter().collect();
    format!(
        "{} {:?} t{} o{} s{} {} {:?} {:?} {attributes:?} {} d{} f{} {:?} {:?}",
        row.time_ns,
        batch.streams[row.stream as usize].labels,
        row.time_ns,
        row.observed_ns,
        row.severity_number,
        batch.text(row.severity_text),
        row.body_kind,
        batch.body(row),
        batch.text(row.event_name),
        row.dropped_attributes_count,
        row.flags,
        row.trace_id,
        row.span_id,
    )
}

fn options() -> Options {
    let mut options = Options::new(PathBuf::new());
    options.limits = model::Limits { future_max_ns: 0, ..model::Limits::default() }.into();
    options
}

fn memtable(batches: &[&[Record]]) -> Arc<Memtable> {
    let memtable = Memtable::new(1, &options());
    for records in batches {
        assert!(memtable.append(batch(records), 0, Append::Live).is_empty());
    }
    Arc::new(memtable)
}

fn ctx(level: u8) -> EncodeContext {
    EncodeContext::sample(options().id_fields, level, 1 << 20)
}

fn handle(segment: EncodedSegment) -> Arc<SegmentHandle<Segment>> {
    let sources = segment
        .files
        .into_iter()
        .map(|file| {
            let name = format!("test.{}", file.extension);
            Arc::new(MemorySource { name, bytes: file.bytes }) as Arc<dyn SegmentSource>
        })
        .collect();
    let meta = SegmentMeta {
        id: "test".into(),
        signal: "logs".into(),
        tenant: "t".into(),
        level: 0,
        rows: segment.rows,
        time_min_ns: segment.time_min_ns,
        time_max_ns: segment.time_max_ns,
        received_max_ns: 0,
        files: Vec::new(),
        stats: String::new(),
        wal_sequence_max: 0,
    };
    Arc::new(SegmentHandle::new(meta, sources))
}

fn flush(batches: &[&[Record]]) -> Vec<Arc<SegmentHandle<Segment>>> {
    encode(&memtable(batches), &ctx(0)).unwrap().into_iter().map(handle).collect()
}

fn compact(inputs: &[Arc<SegmentHandle<Segment>>]) -> Vec<Arc<SegmentHandle<Segment>>> {
    let inputs: Vec<_> = inputs.iter().map(|input| input.get().unwrap()).collect();
    merge(&inputs, &ctx(1)).unwrap().into_iter().map(handle).collect()
}

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now_ns(&self) -> i64 {
        0
    }
    fn monotonic_ns(&self) -> u64 {
        0
    }
}

fn budget() -> Budget {
    Budget::new(Arc::new(StoppedClock), 1, 0)
}

fn everything() -> LogScan {
    LogScan {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        line_contains: Vec::new(),
        attribute_hints: Vec::new(),
        trace_id: None,
        direction: Direction::Forward,
    }
}

/// All that a scan finds, sorted, after checks of its promises about order.
fn collect(reader: &LogsReader, scan: &LogScan) -> Vec<String> {
    let mut found = Vec::new();
    let mut bound = match scan.direction {
        Direction::Forward => i64::MIN,
        Direction::Backward => i64::MAX,
    };
    let notices = reader
        .scan(scan, &budget(), &mut |block, next_bound| {
            let times: Vec<i64> = block.iter().map(|row| row.time_ns).collect();
            match scan.direction {
                Direction::Forward => {
                    assert!(times.is_sorted() && times.iter().all(|&time| time >= bound));
                }
                Direction::Backward => {
                    assert!(times.is_sorted_by(|a, b| a >= b));
                    assert!(times.iter().all(|&time| time <= bound));
                }
            }
            bound = next_bound;
            found.extend(block.iter().map(|row| describe(&block.batch, row)));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(notices, Notices::default());
    found.sort();
    found
}

fn described<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    let mut all = Vec::new();
    for record in records {
        let batch = batch(std::slice::from_ref(record));
        all.push(describe(&batch, &batch.rows[0]));
    }
    all.sort();
    all
}

/// Records in four places: a memtable, two flushed segments, and one merged of two.
fn reader(parts: &[Vec<Record>]) -> LogsReader {
    let part = |index: usize| parts.get(index).map_or(&[][..], Vec::as_slice);
    let mut segments = flush(&[part(1), part(2)]);
    segments.extend(flush(&[part(3)]));
    let mut inputs = flush(&[part(4)]);
    inputs.extend(flush(&[part(5)]));
    segments.extend(compact(&inputs));
    LogsReader::new(vec![memtable(&[part(0)])], segments)
}

/// Makes the records of different parts differ, so that none is taken for a retry.
fn distinct(parts: Vec<Vec<Record>>) -> Vec<Vec<Record>> {
    parts
        .into_iter()
        .enumerate()
        .map(|(part, records)| {
            records
                .into_iter()
                .map(|record| Record { flags: record.flags + 10 * part as u32, ..record })
                .collect()
        })
        .collect()
}

fn parts() -> impl Strategy<Value = Vec<Vec<Record>>> {
    proptest::collection::vec(proptest::collection::vec(record(), 0..25), 6).prop_map(distinct)
}

fn line(record: &Record) -> String {
    let batch = batch(std::slice::from_ref(record));
    batch.line(&batch.rows[0]).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_sent_is_read(parts in parts()) {
        let reader = reader(&parts);
        prop_assert_eq!(collect(&reader, &everything()), described(parts.iter().flatten()));
    }

    #[test]
    fn a_scan_equals_a_filter(
        parts in parts(),
        start_ns in 0i64..30,
        length_ns in 0i64..30,
        service in proptest::option::of(0u8..4),
        needle in proptest::option::of("[a-c]{1,2}|GET|ser_1|disk f| |\\{\"msg|[a-f0-9]{2}"),
        trace in proptest::option::of(1u8..6),
        backward in any::<bool>(),
    ) {
        let reader = reader(&parts);
        let service = service.map(|service| format!("svc-{service}"));
        let matchers = service.iter().map(|service| {
            let limits = RegexLimits::of(&model::Limits::default());
            Matcher::new("service_name", MatchOp::Equal, service, limits).unwrap()
        });
        let range = TimeRange { start_ns, end_ns: start_ns + length_ns };
        let scan = LogScan {
            matchers: matchers.collect(),
            range,
            line_contains: needle.iter().map(|needle| needle.as_bytes().to_vec()).collect(),
            trace_id: trace.map(trace_id),
            direction: if backward { Direction::Backward } else { Direction::Forward },
            ..everything()
        };
        let wanted = parts.iter().flatten().filter(|record| {
            range.contains(record.time_ns)
                && service.as_ref().is_none_or(|s| *s == format!("svc-{}", record.service))
                && needle.as_ref().is_none_or(|needle| line(record).contains(needle.as_str()))
                && trace.is_none_or(|trace| trace == record.trace)
        });
        prop_assert_eq!(collect(&reader, &scan), described(wanted));
    }

    #[test]
    fn a_hint_never_hides_a_row(parts in parts(), pick in any::<proptest::sample::Index>()) {
        let reader = reader(&parts);
        let mut pairs = Vec::new();
        for record in parts.iter().flatten() {
            for (key, value) in &record.attributes {
                let value = match value {
                    Attribute::Text(text) => text.clone(),
                    Attribute::Int(int) => int.to_string(),
                    Attribute::Bool(flag) => flag.to_string(),
                    Attribute::Nested(int) => format!("{{\"n\":{int}}}"),
                };
                pairs.push((key.clone(), value, record));
            }
        }
        prop_assume!(!pairs.is_empty());
        let (key, value, record) = pick.get(&pairs).clone();
        for name in [key.clone(), key.replace('.', "_")] {
            let scan = LogScan {
                attribute_hints: vec![(name, value.clone())],
                ..everything()
            };
            let want = described([record]).remove(0);
            prop_assert!(collect(&reader, &scan).contains(&want), "{key}={value}");
        }
    }

    #[test]
    fn a_lookup_finds_every_record(parts in parts(), trace in 1u8..5) {
        let reader = reader(&parts);
        let text = format!("{:032x}", u128::from_be_bytes(trace_id(trace)));
        let id = IdQuery { text, trace_id: Some(trace_id(trace)), span_id: None };
        let (blocks, notices) = reader.lookup(&id, 1000, &budget()).unwrap();
        prop_assert_eq!(notices, Notices::default());
        let mut found: Vec<String> = blocks
            .iter()
            .flat_map(|block| block.iter().map(|row| describe(&block.batch, row)))
            .collect();
        found.sort();
        let want = parts.iter().flatten().filter(|record| record.trace == trace);
        prop_assert_eq!(found, described(want));
    }

    #[test]
    fn a_merge_equals_a_sort(
        left in proptest::collection::vec(record(), 0..40),
        right in proptest::collection::vec(record(), 0..40),
    ) {
        let parts = distinct(vec![left, right]);
        let inputs: Vec<_> = parts.iter().flat_map(|part| flush(&[part])).collect();
        let once = compact(&inputs);
        let all = flush(&[&parts[0], &parts[1]]);
        let read = |segments| {
            collect(&LogsReader::new(Vec::new(), segments), &everything())
        };
        prop_assert_eq!(read(once.clone()), read(all));
        for segment in once {
            let segment = segment.get().unwrap();
            let order: Vec<_> =
                segment.stats.iter().map(|block| (block.stream_first, block.time_min_ns)).collect();
            prop_assert!(order.is_sorted());
        }
    }
}

fn plain(time_ns: i64, text: &str) -> Record {
    Record {
        service: 0,
        time_ns,
        observed_ns: 0,
        severity: 9,
        severity_text: "INFO".into(),
        body: Body::Text(text.into()),
        attributes: Vec::new(),
        trace: 0,
        span: 0,
        flags: 0,
        event: String::new(),
        dropped: 0,
    }
}

fn lookup(reader: &LogsReader, text: &str) -> usize {
    let id = IdQuery { text: text.into(), trace_id: None, span_id: None };
    let (blocks, _) = reader.lookup(&id, 100, &budget()).unwrap();
    blocks.iter().map(|block| block.rows.len()).sum()
}

#[test]
fn a_retry_that_was_stored_twice_is_read_once() {
    let records = vec![plain(1, "a"), plain(1, "a"), plain(2, "b")];
    let mut segments = flush(&[&records]);
    segments.extend(flush(&[&records]));
    let reader = LogsReader::new(vec![memtable(&[&records])], segments.clone());
    assert_eq!(collect(&reader, &everything()), described(&records));
    let merged = LogsReader::new(Vec::new(), compact(&segments));
    assert_eq!(collect(&merged, &everything()), described(&records));
}

#[test]
fn a_scan_forgets_the_rows_of_times_that_do_not_come_again() {
    // Two sources that share all of their time, in batches that follow each other.
    let source = |odd: i64| -> Vec<Vec<Record>> {
        let batch = |first: i64| (first..first + 100).map(move |n| plain(2 * n + odd, "line"));
        (0..100).map(|number| batch(number * 100).collect()).collect()
    };
    let sources = [source(0), source(1)].map(|batches| {
        let batches: Vec<&[Record]> = batches.iter().map(Vec::as_slice).collect();
        memtable(&batches)
    });
    let reader = LogsReader::new(sources.into(), Vec::new());
    for direction in [Direction::Forward, Direction::Backward] {
        let (budget, mut rows) = (budget(), 0);
        let scan = LogScan { direction, ..everything() };
        let notices = reader.scan(&scan, &budget, &mut |block, _| {
            rows += block.rows.len();
            ControlFlow::Continue(())
        });
        notices.unwrap();
        assert_eq!(rows, 20_000);
        let peak = budget.memory_peak();
        assert!((1..100_000).contains(&peak), "{peak} bytes are kept, {direction:?}");
    }
}

#[test]
fn an_id_is_found_as_a_word_and_as_an_attribute() {
    let mut tagged = plain(3, "no id here");
    tagged.attributes = vec![("X-Request-ID".into(), Attribute::Text("Req-77".into()))];
    let mut numbered = plain(4, "nor here");
    numbered.attributes = vec![("order_id".into(), Attribute::Int(4711))];
    let records = vec![
        plain(1, "took claim c-123 over"),
        plain(2, "took claim c-1234 over, order_4711x"),
        tagged,
        numbered,
    ];
    let level0 = flush(&[&records]);
    let level1 = compact(&level0);
    for (memtables, segments) in
        [(vec![memtable(&[&records])], Vec::new()), (Vec::new(), level0), (Vec::new(), level1)]
    {
        let reader = LogsReader::new(memtables, segments);
        assert_eq!(lookup(&reader, "c-123"), 1);
        assert_eq!(lookup(&reader, "req-77"), 1);
        assert_eq!(lookup(&reader, "4711"), 1);
        assert_eq!(lookup(&reader, "absent"), 0);
    }
}

#[test]
fn an_id_that_was_read_from_another_spelling_is_found() {
    let mut traced = plain(1, "no id in the line");
    traced.trace = 7;
    let records = vec![traced, plain(2, "nor here")];
    let level0 = flush(&[&records]);
    let level1 = compact(&level0);
    for (memtables, segments) in
        [(vec![memtable(&[&records])], Vec::new()), (Vec::new(), level0), (Vec::new(), level1)]
    {
        let reader = LogsReader::new(memtables, segments);
        let text = format!("0x{}", hex::encode(trace_id(7)));
        let id = IdQuery { text, trace_id: Some(trace_id(7)), span_id: None };
        let (blocks, _) = reader.lookup(&id, 100, &budget()).unwrap();
        assert_eq!(blocks.iter().map(|block| block.rows.len()).sum::<usize>(), 1);
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_named() {
    let mut segments = flush(&[&[plain(1, "a")]]);
    let broken = MemorySource { name: "broken".into(), bytes: b"not parquet".to_vec().into() };
    let meta = segments[0].meta.clone();
    segments.push(Arc::new(SegmentHandle::new(meta, vec![Arc::new(broken)])));
    let reader = LogsReader::new(Vec::new(), segments);
    let mut rows = 0;
    let notices = reader
        .scan(&everything(), &budget(), &mut |block, _| {
            rows += block.rows.len();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((rows, notices.unread.len()), (1, 1));
    let (streams, notices) = reader.streams(&[], TimeRange::ALL, &budget()).unwrap();
    assert_eq!((streams.len(), notices.unread.len()), (1, 1));
}

#[test]
fn a_flipped_byte_never_panics() {
    let records: Vec<Record> =
        (0..40).map(|time| plain(time, if time % 2 == 0 { "GET /a" } else { "POST /b" })).collect();
    let segment = encode(&memtable(&[&records]), &ctx(0)).unwrap().remove(0);
    for file in 0..2 {
        for at in (0..segment.files[file].bytes.len()).step_by(3) {
            let sources = segment.files.iter().enumerate().map(|(index, encoded)| {
                let mut bytes = encoded.bytes.to_vec();
                if index == file {
                    bytes[at] ^= 0x41;
                }
                let source = MemorySource { name: "flipped".into(), bytes: bytes.into() };
                Arc::new(source) as Arc<dyn SegmentSource>
            });
            let meta = flush(&[&records[..1]])[0].meta.clone();
            let handle = SegmentHandle::new(meta, sources.collect());
            let reader = LogsReader::new(Vec::new(), vec![Arc::new(handle)]);
            let scan = LogScan { line_contains: vec![b"GET".to_vec()], ..everything() };
            let _holes = reader.scan(&scan, &budget(), &mut |_, _| ControlFlow::Continue(()));
            let _count = lookup(&reader, "4bf92f3577b34da6a3ce929d0e0e4736");
        }
    }
}

#[test]
fn records_beyond_a_limit_are_refused_and_the_rest_kept() {
    let mut options = options();
    let limits =
        model::Limits { active_streams_max: 1, future_max_ns: 10, ..model::Limits::default() };
    options.limits = limits.into();
    let memtable = Memtable::new(1, &options);
    let records = [
        plain(1, "kept"),
        plain(11, "too new"),
        Record { service: 1, ..plain(1, "another stream") },
    ];
    let rejections = memtable.append(batch(&records), 0, Append::Live);
    assert_eq!(rejections.count(), 2);
    assert_eq!(memtable.rows(), 1);
    // What the log brings back was acknowledged, perhaps under other limits: all of it is kept.
    assert!(memtable.append(batch(&records), 0, Append::Replay).is_empty());
    assert_eq!(memtable.rows(), 4);
    let reader = LogsReader::new(vec![Arc::new(memtable.successor(2))], Vec::new());
    assert!(collect(&reader, &everything()).is_empty());
}

/// The records of `testdata/v1`.
fn sample() -> Vec<Record> {
    let mut records: Vec<Record> = (0..20)
        .map(|time| Record { service: (time % 2) as u8, ..plain(time, "GET /cart 200 user_7") })
        .collect();
    let odd = &mut records[3];
    odd.body = Body::Map("structured".into());
    odd.observed_ns = 99;
    odd.trace = 3;
    odd.span = 4;
    odd.flags = 1;
    odd.dropped = 2;
    odd.event = "checkout".into();
    for (index, record) in records.iter_mut().enumerate() {
        record.attributes = vec![
            ("http.method".into(), Attribute::Text("GET".into())),
            ("status".into(), Attribute::Int(200 + index as i64)),
            ("request_id".into(), Attribute::Text(format!("req-{index}"))),
            ("deep".into(), Attribute::Nested(7)),
        ];
    }
    records
}

#[test]
fn what_version_1_wrote_is_read() {
    let file = |bytes: &'static [u8], name: &str| -> Arc<dyn SegmentSource> {
        Arc::new(MemorySource { name: name.to_owned(), bytes: bytes.into() })
    };
    let sources = vec![
        file(include_bytes!("../../../testdata/v1/logs.parquet"), "logs.parquet"),
        file(include_bytes!("../../../testdata/v1/logs.index"), "logs.index"),
    ];
    let meta = flush(&[&sample()])[0].meta.clone();
    let old = Arc::new(SegmentHandle::<Segment>::new(meta, sources));
    assert!(old.get().unwrap().index.is_some());
    for segments in [vec![Arc::clone(&old)], compact(&[old])] {
        let reader = LogsReader::new(Vec::new(), segments);
        assert_eq!(collect(&reader, &everything()), described(&sample()));
        assert_eq!(lookup(&reader, "req-11"), 1);
        assert_eq!(lookup(&reader, "structured"), 1);
        assert_eq!(lookup(&reader, "user_8"), 0);
    }
}
