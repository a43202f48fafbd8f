//! Measures this folder on records that look like those of a web shop; for `benches/logs.rs` alone.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use model::wire::{put_bytes, put_fixed64, put_message, put_uint};
use model::{AttributesBuilder, Labels, LogRow, LogsBatch, Slice, Stream, StreamParts, Value};

use super::encode::encode;
use super::merge::merge;
use super::{Direction, LogScan, LogsReader, Memtable, Segment};
use crate::segment::{
    Append, EncodeContext, EncodedSegment, MemorySource, SegmentHandle, SegmentMeta, SegmentSource,
};
use crate::{Budget, Clock, IdQuery, Options, TimeRange};

const BATCH_ROWS: usize = 1000;
const MEMTABLE_BATCHES: usize = 300;

/// CPU time of this thread, so that neighbours on the machine do not count. Units: ns.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
}

#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now_ns(&self) -> i64 {
        0
    }
    fn monotonic_ns(&self) -> u64 {
        0
    }
}

/// A small generator of numbers (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn streams() -> Vec<Arc<Stream>> {
    ["cart", "checkout", "payment", "shipping", "frontend", "email", "search", "auth"]
        .iter()
        .flat_map(|service| (0..3).map(move |pod| (service, pod)))
        .map(|(service, pod)| {
            let pod = format!("{service}-7d9c8b6f5-{pod}");
            let mut resource = AttributesBuilder::new();
            resource.push("service.name", Value::Str(service));
            resource.push("k8s.pod.name", Value::Str(&pod));
            Stream::new(StreamParts {
                labels: Labels::from_pairs([("service_name", *service), ("k8s_pod_name", &pod)]),
                resource: resource.finish().into(),
                ..StreamParts::default()
            })
        })
        .collect()
}

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const ROUTES: [&str; 6] =
    ["/api/cart", "/api/orders", "/api/products", "/api/users", "/health", "/api/search"];
const STATUS: [i64; 5] = [200, 200, 200, 404, 500];

/// A batch as a decoder of OTLP makes it: every `LogRecord` as it lies on the wire.
fn batch(numbers: &mut Numbers, streams: &[Arc<Stream>], first: u64) -> LogsBatch {
    let mut arena = Vec::new();
    let mut rows = Vec::new();
    for index in 0..BATCH_ROWS as u64 {
        let time_ns = 1_700_000_000_000_000_000
            + (first + index) as i64 * 3_600_017
            + numbers.below(2_000_000) as i64;
        let method = METHODS[numbers.below(4) as usize];
        let route = ROUTES[numbers.below(6) as usize];
        let status = STATUS[numbers.below(5) as usize];
        let (user, item) = (numbers.below(20_000), numbers.below(500));
        let micros = 300 + numbers.below(90_000);
        let body = match numbers.below(4) {
            0 => format!(
                "request finished: {method} {route}/{item} returned {status} in {micros} us"
            ),
            1 => format!("cache lookup for user {user} missed, loading item {item} from the store"),
            2 => format!("payment of order {item} by user-{user} accepted after {micros} us"),
            _ => format!("worker {} took job {micros} from queue orders, {item} left", user % 16),
        };
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        if numbers.below(2) == 0 {
            trace_id[..8].copy_from_slice(&numbers.next().to_be_bytes());
            trace_id[8..].copy_from_slice(&numbers.next().to_be_bytes());
            span_id = numbers.next().to_be_bytes();
        }
        let start = arena.len() as u32;
        put_fixed64(&mut arena, 1, time_ns as u64);
        put_uint(&mut arena, 2, 9);
        put_bytes(&mut arena, 3, b"INFO");
        put_message(&mut arena, 5, |out| put_bytes(out, 1, body.as_bytes()));
        let body_end = arena.len() as u32;
        let user = format!("u-{user}");
        for (key, value) in [
            ("http.method", Value::Str(method)),
            ("http.route", Value::Str(route)),
            ("http.status_code", Value::Int(status)),
            ("user.id", Value::Str(&user)),
            ("duration_us", Value::Int(micros as i64)),
        ] {
            put_message(&mut arena, 6, |out| {
                put_bytes(out, 1, key.as_bytes());
                put_message(out, 2, |out| value.write(out));
            });
        }
        if trace_id != [0; 16] {
            put_bytes(&mut arena, 9, &trace_id);
            put_bytes(&mut arena, 10, &span_id);
        }
        put_fixed64(&mut arena, 11, time_ns as u64 + 250_000);
        let end = arena.len() as u32;
        let body_len = body.len() as u32;
        rows.push(LogRow {
            stream: numbers.below(streams.len() as u64) as u32,
            time_ns,
            observed_ns: time_ns + 250_000,
            severity_number: 9,
            severity_text: Slice { start: start + 13, len: 4 },
            body: Slice { start: body_end - body_len, len: body_len },
            attributes: Slice { start, len: end - start },
            attributes_field: 6,
            trace_id,
            span_id,
            ..LogRow::default()
        });
    }
    LogsBatch { arena: arena.into(), streams: streams.to_vec(), rows }
}

fn handle(segment: &EncodedSegment) -> Arc<SegmentHandle<Segment>> {
    let sources = segment
        .files
        .iter()
        .map(|file| {
            let name = file.extension.to_owned();
            Arc::new(MemorySource { name, bytes: file.bytes.clone() }) as Arc<dyn SegmentSource>
        })
        .collect();
    let meta = SegmentMeta {
        id: "measured".into(),
        signal: "logs".into(),
        tenant: "default".into(),
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

/// Runs all stages on `rows` records and hands each finding on as a line.
pub fn measure_logs(rows: usize, say: &mut dyn FnMut(String)) {
    let mut options = Options::new(PathBuf::new());
    options.limits = model::Limits { future_max_ns: 0, ..model::Limits::default() }.into();
    let ctx = |level| EncodeContext {
        id_fields: options.id_fields.clone().into(),
        level,
        segment_bytes_target: 512 << 20,
        work_bytes_max: options.work_bytes_max as usize,
        columns_max: model::Limits::default().columns_max,
    };
    let streams = streams();
    let mut numbers = Numbers(42);
    let per_row = |ns: f64| format!("{:.3} us/record", ns / 1000.0 / rows as f64);
    let (mut wire_bytes, mut append_ns, mut encode_ns) = (0, 0.0, 0.0);
    let mut flushed = Vec::new();
    let mut wanted_id = None;
    let mut first = 0;
    while first < rows {
        let memtable = Memtable::new(1, &options);
        for _ in 0..MEMTABLE_BATCHES.min((rows - first) / BATCH_ROWS) {
            let batch = batch(&mut numbers, &streams, first as u64);
            first += BATCH_ROWS;
            wire_bytes += batch.arena.len();
            wanted_id = batch.rows.iter().map(|row| row.trace_id).find(|id| *id != [0; 16]);
            let start = cpu_ns();
            let _none = memtable.append(batch, 0, Append::Live);
            append_ns += cpu_ns() - start;
        }
        let start = cpu_ns();
        flushed.extend(encode(&memtable, &ctx(0)).unwrap_or_default());
        encode_ns += cpu_ns() - start;
    }
    say(format!("wire: {} B/record", wire_bytes / rows));
    say(format!("append: {}", per_row(append_ns)));
    say(format!("encode: {}", per_row(encode_ns)));
    say_sizes("level 0", &flushed, rows, say);
    let level0: Vec<_> = flushed.iter().map(handle).collect();
    let opened: Vec<_> = level0.iter().filter_map(|handle| handle.get().ok()).collect();
    let start = cpu_ns();
    let merged = merge(&opened, &ctx(1)).unwrap_or_default();
    say(format!("merge: {}", per_row(cpu_ns() - start)));
    say_sizes("level 1", &merged, rows, say);
    let level1: Vec<_> = merged.iter().map(handle).collect();
    measure_reads("level 0", level0, wanted_id, say);
    measure_reads("level 1", level1, wanted_id, say);
}

fn say_sizes(name: &str, segments: &[EncodedSegment], rows: usize, say: &mut dyn FnMut(String)) {
    let bytes = |file: usize| segments.iter().map(|s| s.files[file].bytes.len()).sum::<usize>();
    let per_row = |bytes: usize| bytes as f64 / rows as f64;
    say(format!(
        "{name}: {} segments, {:.1} B/record, data {:.1}, index {:.1} ({:.1} %)",
        segments.len(),
        per_row(bytes(0) + bytes(1)),
        per_row(bytes(0)),
        per_row(bytes(1)),
        100.0 * bytes(1) as f64 / (bytes(0) + bytes(1)).max(1) as f64,
    ));
    let mut columns: Vec<(String, i64)> = Vec::new();
    for segment in segments {
        let Ok(opened) = handle(segment).get() else { continue };
        for (name, bytes) in opened.file.column_sizes() {
            match columns.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += bytes,
                None => columns.push((name, bytes)),
            }
        }
    }
    columns.sort_by_key(|(_, bytes)| -bytes);
    for (column, bytes) in columns.iter().take(12) {
        say(format!("  {column}: {:.2} B/record", *bytes as f64 / rows as f64));
    }
}

fn measure_reads(
    name: &str,
    segments: Vec<Arc<SegmentHandle<Segment>>>,
    id: Option<[u8; 16]>,
    say: &mut dyn FnMut(String),
) {
    let reader = LogsReader::new(Vec::new(), segments);
    let budget = Budget::new(Arc::new(NoClock), 1, 0);
    let id = id.unwrap_or_default();
    for (what, trace_id) in [("trace ID", id), ("absent ID", [7; 16])] {
        let text = format!("{:032x}", u128::from_be_bytes(trace_id));
        let query = IdQuery { text, trace_id: Some(trace_id), span_id: None };
        const TIMES: usize = 200;
        let mut rows = 0;
        let start = cpu_ns();
        for _ in 0..TIMES {
            let found = reader.lookup(&query, 1000, &budget).unwrap_or_default();
            rows = found.0.iter().map(|block| block.rows.len()).sum::<usize>();
        }
        let ms = (cpu_ns() - start) / 1e6 / TIMES as f64;
        say(format!("{name}: lookup of a {what}: {rows} records, {ms:.2} ms"));
    }
    for (what, needle, limit) in [
        ("all rows", "", usize::MAX),
        ("a common word, 1000 newest", "accepted", 1000),
        ("a fragment of a common word", "ccept", usize::MAX),
        ("a rare phrase", "user 4711 missed", usize::MAX),
        ("an absent word between spaces", " absentword ", usize::MAX),
        ("an absent fragment", "bsentwor", usize::MAX),
    ] {
        let scan = LogScan {
            matchers: Vec::new(),
            range: TimeRange::ALL,
            line_contains: vec![needle.as_bytes().to_vec()],
            attribute_hints: Vec::new(),
            trace_id: None,
            direction: Direction::Backward,
        };
        let start = cpu_ns();
        let mut times: Vec<i64> = Vec::new();
        let mut rows = 0;
        let _notices = reader.scan(&scan, &budget, &mut |block, bound_ns| {
            rows += block.rows.len();
            if limit == usize::MAX {
                return ControlFlow::Continue(());
            }
            times.extend(block.iter().map(|row| row.time_ns));
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.truncate(limit);
            match times.len() == limit && times.last().is_some_and(|&oldest| oldest >= bound_ns) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        say(format!("{name}: {what}: {rows} rows, {:.2} ms", (cpu_ns() - start) / 1e6));
    }
}
