//! Log records of the same shop over OTLP: 20 services, texts with numbers, IDs and paths.

use std::sync::Arc;

use model::wire::{put_bytes, put_fixed32, put_fixed64, put_message, put_uint};

use crate::load::{Load, OTLP_GZIP};
use crate::random::{Random, mix};
use crate::spans::{
    SERVICES, hex, put_number, put_resource_group, put_text, resource, span_id, spans_of, trace_id,
};

const RECORDS_PER_REQUEST: u64 = 2_000;
const RESOURCES_PER_REQUEST: u64 = 6;
const MORE_SERVICES: [&str; 5] = ["ingress", "scheduler", "audit", "billing", "reporting"];
const PODS: u64 = 3;
/// Requests of users that are under way at once: their lines stand between each other.
const TRACES_AT_ONCE: u64 = 64;

const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const PATHS: [&str; 6] = ["products", "cart", "checkout", "orders", "users", "stock"];
const REASONS: [&str; 5] = [
    "connection reset by peer",
    "deadline exceeded",
    "card declined",
    "no such product",
    "too many requests",
];

/// What to make: records, their last time, and how many traces they can belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) records: u64,
    pub(crate) end_ns: u64,
    pub(crate) traces: u64,
}

pub(crate) fn generate(wanted: Wanted) -> Arc<Load> {
    let mut load = Load::new(OTLP_GZIP);
    let mut random = Random::new(23);
    let services: Vec<&str> = SERVICES.into_iter().chain(MORE_SERVICES).collect();
    let resources: Vec<Vec<u8>> = (0..services.len() as u64 * PODS)
        .map(|index| resource(services[(index / PODS) as usize], index % PODS))
        .collect();
    let apart_ns = 1_700_000_000_000 / wanted.records;
    let mut record = 0;
    while load.records < wanted.records {
        let mut plain = Vec::new();
        for _ in 0..RESOURCES_PER_REQUEST {
            let resource = random.below(resources.len() as u64) as usize;
            let mut records = Vec::new();
            for line in 0..RECORDS_PER_REQUEST / RESOURCES_PER_REQUEST {
                let at_ns = wanted.end_ns - (wanted.records.saturating_sub(record)) * apart_ns;
                // Traces come in the order of time.
                let trace = (record * wanted.traces / wanted.records
                    + random.below(TRACES_AT_ONCE))
                    % wanted.traces;
                let traced = random.chance(70).then(|| (trace, random.below(spans_of(trace))));
                put_record(&mut records, &mut random, at_ns + line, traced);
                record += 1;
            }
            put_resource_group(&mut plain, &resources[resource], "shop.logger", &records);
        }
        let count = RECORDS_PER_REQUEST / RESOURCES_PER_REQUEST * RESOURCES_PER_REQUEST;
        load.push(load.requests(), count, &plain);
    }
    Arc::new(load)
}

fn put_record(out: &mut Vec<u8>, random: &mut Random, at_ns: u64, traced: Option<(u64, u64)>) {
    let (severity, word) = match random.below(100) {
        0..=2 => (17, "ERROR"),
        3..=8 => (13, "WARN"),
        9..=30 => (5, "DEBUG"),
        _ => (9, "INFO"),
    };
    put_message(out, 2, |out| {
        put_fixed64(out, 1, at_ns);
        put_uint(out, 2, severity);
        put_bytes(out, 3, word.as_bytes());
        put_message(out, 5, |out| put_bytes(out, 1, text(random, severity).as_bytes()));
        put_text(out, 6, "code.function.name", random.pick(&["handle", "retry", "commit", "load"]));
        if random.chance(60) {
            let id = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
            put_text(out, 6, "x-request-id", &hex(&id));
        }
        put_text(out, 6, "thread.name", &format!("worker-{}", random.below(16)));
        if random.chance(80) {
            put_number(out, 6, "app.user.id", 100_000 + random.below(40_000));
        }
        if let Some((trace, span)) = traced {
            put_fixed32(out, 8, 1);
            put_bytes(out, 9, &trace_id(trace));
            put_bytes(out, 10, &span_id(trace, span));
        }
        put_fixed64(out, 11, at_ns + 200_000 + random.below(1_000));
    });
}

fn text(random: &mut Random, severity: u64) -> String {
    let method = random.pick(&METHODS);
    let path = random.pick(&PATHS);
    let id = 1_000 + random.below(50_000);
    let ms = random.skewed(30);
    let bytes = 200 + random.below(20_000);
    let peer = format!("10.{}.{}.{}", random.below(4), random.below(16), random.below(250));
    if severity >= 13 {
        let reason = random.pick(&REASONS);
        let claim = hex(&mix(random.next()).to_be_bytes()[..6]);
        return format!("{method} /api/{path}/{id} failed after {ms} ms: {reason} (claim {claim})");
    }
    match random.below(4) {
        0 => format!("{method} /api/{path}/{id} HTTP/1.1 200 {bytes} {ms}ms client={peer}"),
        1 => format!("cache lookup key={path}:{id} hit={} took={ms}us", random.chance(80)),
        2 => format!("query on {path} returned {} rows in {ms} ms for user {id}", bytes % 60),
        _ => format!(
            "order {id} moved to state {} by worker, {bytes} bytes",
            random.pick(&["paid", "packed", "shipped"])
        ),
    }
}
