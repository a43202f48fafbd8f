//! What `benches/traces.rs` runs: it needs the inside of the crate.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use model::wire::{put_bytes, put_message};
use model::{
    AttributesBuilder, Scope, Slice, SpanKind, SpanRow, SpanStatus, SpansBatch, Stream,
    StreamParts, Value,
};

use super::encode::encode;
use super::memtable::Memtable;
use super::merge::merge;
use super::scan::Segment;
use super::{SpanScan, TracesReader};
use crate::segment::{
    Append, EncodeContext, EncodedSegment, MemorySource, SegmentHandle, SegmentMeta, SegmentSource,
};
use crate::{Budget, Clock, Options, TimeRange};

/// Spans of a request.
const BATCH_ROWS: usize = 500;
/// Spans of a memtable when it is flushed.
const MEMTABLE_ROWS: usize = 250_000;
const LOOKUPS: usize = 2000;

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

/// A small generator of numbers (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) * bound >> 32
    }
}

/// Makes traces of 1 to 12 spans over twelve services, about 256 bytes of OTLP a span.
struct Source {
    numbers: Numbers,
    streams: Vec<Arc<Stream>>,
    now_ns: i64,
    wire_bytes: usize,
}

impl Source {
    fn new() -> Source {
        let stream = |service: u64| {
            let mut resource = AttributesBuilder::new();
            resource.push("service.name", Value::Str(&format!("service-{service}")));
            resource.push("host.name", Value::Str(&format!("node-{}", service % 4)));
            let scope = Scope { name: "instrumentation".into(), ..Scope::default() };
            let resource = resource.finish().into();
            Stream::new(StreamParts { resource, scope, ..StreamParts::default() })
        };
        Source {
            numbers: Numbers(0x9e37_79b9_7f4a_7c15),
            streams: (0..12).map(stream).collect(),
            now_ns: 1_700_000_000_000_000_000,
            wire_bytes: 0,
        }
    }

    fn batch(&mut self) -> SpansBatch {
        let mut arena = Vec::new();
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while rows.len() < BATCH_ROWS {
            self.trace(&mut arena, &mut rows);
        }
        self.wire_bytes += arena.len() + rows.len() * 64;
        SpansBatch { arena: Bytes::from(arena), streams: self.streams.clone(), rows }
    }

    fn trace(&mut self, arena: &mut Vec<u8>, rows: &mut Vec<SpanRow>) {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&self.numbers.next().to_be_bytes());
        trace_id[8..].copy_from_slice(&self.numbers.next().to_be_bytes());
        self.now_ns += self.numbers.below(2_000_000) as i64;
        let first = rows.len();
        let (mut start_ns, route) = (self.now_ns, self.numbers.below(8));
        for depth in 0..=self.numbers.below(12) {
            let parent = if depth == 0 { 0 } else { self.numbers.below(depth) as usize };
            start_ns += self.numbers.below(3_000_000) as i64;
            let mut row = self.span(arena, (depth + route) % 12, route);
            row.trace_id = trace_id;
            row.start_ns = start_ns;
            row.end_ns = start_ns + 50_000 + self.numbers.below(1 << 25) as i64;
            if depth > 0 {
                row.parent_span_id = rows[first + parent].span_id;
            }
            rows.push(row);
        }
    }

    fn span(&mut self, arena: &mut Vec<u8>, service: u64, route: u64) -> SpanRow {
        let start = arena.len();
        arena.extend_from_slice(format!("GET /api/v1/resource-{}/{{id}}", route % 4).as_bytes());
        let name = Slice { start: start as u32, len: (arena.len() - start) as u32 };
        let start = arena.len();
        let numbers = &mut self.numbers;
        let is_bad = numbers.below(50) == 0;
        let path = format!("/api/v1/resource-{}/{}", route % 4, numbers.below(1 << 20));
        let peer = format!("10.0.{}.{}", numbers.below(4), numbers.below(250));
        let values = [
            ("http.method", Value::Str("GET")),
            ("http.target", Value::Str(&path)),
            ("http.status_code", Value::Int(if is_bad { 500 } else { 200 })),
            ("net.peer.ip", Value::Str(&peer)),
            ("thread.id", Value::Int(numbers.below(64) as i64)),
            ("user.tier", Value::Str(["free", "pro", "team"][numbers.below(3) as usize])),
        ];
        for (key, value) in values {
            put_message(arena, 9, |out| {
                put_bytes(out, 1, key.as_bytes());
                put_message(out, 2, |out| value.write(out));
            });
        }
        SpanRow {
            stream: service as u32,
            span_id: numbers.next().to_be_bytes(),
            kind: SpanKind::from_number(1 + service % 3),
            status: if is_bad { SpanStatus::Error } else { SpanStatus::Unset },
            has_status: true,
            name,
            attributes: Slice { start: start as u32, len: (arena.len() - start) as u32 },
            attributes_field: 9,
            events_field: 11,
            links_field: 13,
            flags: 1,
            ..SpanRow::default()
        }
    }
}

fn handle(encoded: &EncodedSegment) -> Arc<SegmentHandle<Segment>> {
    let sources = encoded
        .files
        .iter()
        .map(|file| -> Arc<dyn SegmentSource> {
            let bytes = file.bytes.clone();
            Arc::new(MemorySource { name: file.extension.to_owned(), bytes })
        })
        .collect();
    let meta = SegmentMeta {
        id: "bench".to_owned(),
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

fn context(level: u8) -> EncodeContext {
    let fields = Options::new("bench".into()).id_fields;
    let fields: Vec<String> =
        fields.iter().map(|field| field.replace(['-', '_', '.'], "")).collect();
    EncodeContext::sample(fields, level, 256 << 20)
}

/// Runs everything on about `spans` spans.
#[expect(clippy::unwrap_used, reason = "a bench stops where something fails")]
pub fn run(spans: usize, now_ns: &dyn Fn() -> u64, print: &mut dyn FnMut(String)) {
    let mut source = Source::new();
    let options = Options::new("bench".into());
    let (mut append_ns, mut encode_ns, mut rows) = (0, 0, 0);
    let mut ids = Vec::new();
    let mut flushed = Vec::new();
    while rows < spans {
        let memtable = Memtable::new(flushed.len() as u32 + 1, &options);
        let mut batches = Vec::new();
        while batches.len() * BATCH_ROWS < MEMTABLE_ROWS.min(spans) {
            batches.push(source.batch());
        }
        ids.extend(
            batches.iter().step_by(7).filter_map(|batch| Some(batch.rows.first()?.trace_id)),
        );
        let start = now_ns();
        for batch in batches {
            memtable.append(batch, 0, Append::Live);
        }
        append_ns += now_ns() - start;
        rows += memtable.rows() as usize;
        let start = now_ns();
        flushed.extend(encode(&memtable, &context(0)).unwrap());
        encode_ns += now_ns() - start;
        if rows >= spans {
            let reader = TracesReader::new(vec![Arc::new(memtable)], Vec::new());
            lookups("memtable", &reader, &ids[ids.len() - 50..], now_ns, print);
        }
    }
    let per_span = |ns: u64| format!("{:.3} us/span", ns as f64 / 1e3 / rows as f64);
    print(format!("{rows} spans of {} bytes", source.wire_bytes / rows));
    print(format!("append {}", per_span(append_ns)));
    print(format!("encode {}", per_span(encode_ns)));
    sizes("L0", &flushed, rows, print);
    let handles: Vec<_> = flushed.iter().map(handle).collect();
    let start = now_ns();
    let inputs: Vec<Arc<Segment>> = handles.iter().map(|handle| handle.get().unwrap()).collect();
    print(format!("open {:.2} ms/segment", (now_ns() - start) as f64 / 1e6 / inputs.len() as f64));
    let start = now_ns();
    let merged = merge(&inputs, &context(1)).unwrap();
    print(format!("merge {}", per_span(now_ns() - start)));
    sizes("L1", &merged, rows, print);
    let reader = TracesReader::new(Vec::new(), handles);
    lookups("L0", &reader, &ids, now_ns, print);
    let merged = TracesReader::new(Vec::new(), merged.iter().map(handle).collect());
    lookups("L1", &merged, &ids, now_ns, print);
    scans(&merged, now_ns, print);
}

fn sizes(what: &str, segments: &[EncodedSegment], rows: usize, print: &mut dyn FnMut(String)) {
    let mut total = 0;
    let mut parts = Vec::new();
    for index in 0..3 {
        let bytes: usize = segments.iter().map(|segment| segment.files[index].bytes.len()).sum();
        total += bytes;
        let name = segments[0].files[index].extension;
        parts.push(format!("{name} {:.2}", bytes as f64 / rows as f64));
    }
    print(format!("{what} {:.2} B/span ({})", total as f64 / rows as f64, parts.join(", ")));
    let handle = handle(&segments[0]);
    if let Ok(segment) = handle.get() {
        for (name, bytes) in segment.file.column_bytes() {
            let bytes = bytes as f64 / segments[0].rows as f64;
            if bytes >= 0.02 {
                print(format!("    {name} {bytes:.2}"));
            }
        }
    }
}

fn lookups(
    what: &str,
    reader: &TracesReader,
    ids: &[[u8; 16]],
    now_ns: &dyn Fn() -> u64,
    print: &mut dyn FnMut(String),
) {
    let budget = Budget::new(Arc::new(StillClock), u64::MAX, 0);
    let mut numbers = Numbers(77);
    for (kind, is_present) in [("trace", true), ("absent trace", false)] {
        let mut times = Vec::with_capacity(LOOKUPS);
        let mut found = 0;
        for _ in 0..LOOKUPS {
            let mut id = ids[numbers.below(ids.len() as u64) as usize];
            if !is_present {
                id[..8].copy_from_slice(&numbers.next().to_be_bytes());
            }
            let start = now_ns();
            let (blocks, _) = reader.trace(&id, &budget).unwrap_or_default();
            times.push(now_ns() - start);
            found += blocks.iter().map(|block| block.rows.len()).sum::<usize>();
        }
        times.sort_unstable();
        let at = |share: usize| times[LOOKUPS * share / 100] as f64 / 1e3;
        print(format!(
            "{what}: {kind} p50 {:.1} us, p99 {:.1} us, {:.1} spans",
            at(50),
            at(99),
            found as f64 / LOOKUPS as f64
        ));
    }
}

fn scans(reader: &TracesReader, now_ns: &dyn Fn() -> u64, print: &mut dyn FnMut(String)) {
    let budget = Budget::new(Arc::new(StillClock), u64::MAX, 0);
    let all = SpanScan {
        range: TimeRange::ALL,
        service: None,
        name: None,
        attribute_hints: Vec::new(),
        duration_min_ns: None,
        duration_max_ns: None,
    };
    let one = SpanScan { service: Some("service-3".to_owned()), ..all.clone() };
    let slow = SpanScan { duration_min_ns: Some(33_550_000), ..all.clone() };
    let hint = vec![("http.target".to_owned(), "/api/v1/resource-1/4711".to_owned())];
    let hinted = SpanScan { attribute_hints: hint, ..all.clone() };
    for (what, scan) in [("all", all), ("one service", one), ("slow", slow), ("attribute", hinted)]
    {
        let mut count = 0;
        let start = now_ns();
        let _notices = reader.scan(&scan, &budget, &mut |block| {
            count += black_box(&block).rows.len();
            ControlFlow::Continue(())
        });
        print(format!("scan {what}: {count} spans, {:.1} ms", (now_ns() - start) as f64 / 1e6));
    }
}
