//! Traces of a shop over OTLP: 15 services, 10 to 20 spans a trace, events now and then.
//!
//! A request holds what a collector's batch would: whole traces, their spans grouped by service.

use std::sync::Arc;

use model::wire::{put_bytes, put_fixed64, put_message, put_uint};

use crate::load::{Load, OTLP_GZIP};
use crate::random::{Random, mix};

const SPANS_PER_REQUEST: usize = 2_000;
/// Traces begin so far apart. Units: ns.
const TRACE_APART_NS: u64 = 8_000_000;
const PODS: u64 = 3;

pub(crate) const SERVICES: [&str; 15] = [
    "frontend",
    "gateway",
    "checkout",
    "cart",
    "catalog",
    "payment",
    "shipping",
    "email",
    "currency",
    "recommendation",
    "ads",
    "inventory",
    "ledger",
    "fraud",
    "users",
];
const OPERATIONS: [&str; 8] = [
    "GET /api/products/{id}",
    "POST /api/cart/items",
    "POST /api/checkout",
    "GET /api/users/{id}/orders",
    "SELECT orders",
    "UPDATE stock",
    "oteldemo.PaymentService/Charge",
    "publish order.placed",
];

/// The trace ID of the `index`th trace: whoever knows the number knows the ID.
pub(crate) fn trace_id(index: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(index ^ 0x7472_6163).to_be_bytes());
    id[8..].copy_from_slice(&mix(index ^ 0x6964_0000_0000).to_be_bytes());
    id
}

/// The ID of a span of a trace.
pub(crate) fn span_id(trace: u64, index: u64) -> [u8; 8] {
    mix(trace.wrapping_mul(64) + index + 0x7370_616e_0000).to_be_bytes()
}

/// Spans of the `index`th trace.
pub(crate) fn spans_of(index: u64) -> u64 {
    10 + mix(index ^ 0x636f_756e_7400) % 11
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn put_text(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    put_message(out, field, |out| {
        put_bytes(out, 1, key.as_bytes());
        put_message(out, 2, |out| put_bytes(out, 1, value.as_bytes()));
    });
}

pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, key: &str, value: u64) {
    put_message(out, field, |out| {
        put_bytes(out, 1, key.as_bytes());
        put_message(out, 2, |out| put_uint(out, 3, value));
    });
}

/// A resource as the SDK of a service in Kubernetes describes it.
pub(crate) fn resource(service: &str, pod: u64) -> Vec<u8> {
    let seed = mix(service.bytes().fold(pod, |seed, byte| seed * 31 + u64::from(byte)));
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| {
        put_text(out, 1, "service.name", service);
        put_text(out, 1, "service.namespace", "shop");
        put_text(out, 1, "service.version", &format!("1.{}.{}", seed % 20, seed % 7));
        put_text(out, 1, "k8s.pod.name", &format!("{service}-{:08x}-{pod}", seed as u32));
        put_text(out, 1, "deployment.environment.name", "production");
    });
    out
}

/// The traces asked for, and how many spans they have.
pub(crate) fn generate(spans: u64, end_ns: u64) -> (Arc<Load>, u64) {
    let mut load = Load::new(OTLP_GZIP);
    let mut random = Random::new(11);
    let mut traces = 0;
    let total = spans * TRACE_APART_NS / 15;
    let resources: Vec<Vec<u8>> = (0..SERVICES.len() as u64 * PODS)
        .map(|index| resource(SERVICES[(index / PODS) as usize], index % PODS))
        .collect();
    while load.records < spans {
        let mut by_resource: Vec<Vec<u8>> = vec![Vec::new(); resources.len()];
        let mut count = 0;
        while count < SPANS_PER_REQUEST {
            let start_ns = end_ns - total + traces * TRACE_APART_NS;
            count += put_trace(&mut by_resource, &mut random, traces, start_ns);
            traces += 1;
        }
        let mut plain = Vec::new();
        for (resource, spans) in resources.iter().zip(&by_resource) {
            if !spans.is_empty() {
                put_resource_group(&mut plain, resource, "shop.instrumentation", spans);
            }
        }
        load.push(load.requests(), count as u64, &plain);
    }
    (Arc::new(load), traces)
}

/// `ResourceSpans` or `ResourceLogs` with one scope: their field numbers are the same.
pub(crate) fn put_resource_group(out: &mut Vec<u8>, resource: &[u8], scope: &str, records: &[u8]) {
    put_message(out, 1, |out| {
        out.extend_from_slice(resource);
        put_message(out, 2, |out| {
            put_message(out, 1, |out| {
                put_bytes(out, 1, scope.as_bytes());
                put_bytes(out, 2, b"1.4.2");
            });
            out.extend_from_slice(records);
        });
    });
}

fn put_trace(by_resource: &mut [Vec<u8>], random: &mut Random, trace: u64, start: u64) -> usize {
    let count = spans_of(trace);
    let mut at = start + random.below(1_000_000);
    for index in 0..count {
        let parent = (index > 0).then(|| random.below(index));
        let service = if index == 0 { 0 } else { random.below(SERVICES.len() as u64) };
        let pod = mix(trace ^ service) % PODS;
        at += random.skewed(400_000);
        let end = at + random.skewed(20_000_000 / (index + 1));
        let out = &mut by_resource[(service * PODS + pod) as usize];
        put_message(out, 2, |out| {
            put_bytes(out, 1, &trace_id(trace));
            put_bytes(out, 2, &span_id(trace, index));
            if let Some(parent) = parent {
                put_bytes(out, 4, &span_id(trace, parent));
            }
            let operation = OPERATIONS[((service * 3 + random.below(3)) % 8) as usize];
            put_bytes(out, 5, operation.as_bytes());
            put_uint(out, 6, if index == 0 { 2 } else { 2 + random.below(2) });
            put_fixed64(out, 7, at);
            put_fixed64(out, 8, end);
            put_details(out, random, operation, end);
        });
    }
    count as usize
}

fn put_details(out: &mut Vec<u8>, random: &mut Random, operation: &str, end: u64) {
    let failed = random.chance(2);
    if operation.contains('/') {
        put_text(out, 9, "http.request.method", operation.split(' ').next().unwrap_or("POST"));
        put_number(out, 9, "http.response.status_code", if failed { 503 } else { 200 });
        put_text(out, 9, "url.path", &format!("/api/products/{}", 1000 + random.below(5000)));
        put_text(out, 9, "server.address", "shop.internal");
    } else {
        put_text(out, 9, "db.system.name", "postgresql");
        put_text(out, 9, "db.operation.name", operation.split(' ').next().unwrap_or("SELECT"));
        put_number(out, 9, "db.response.returned_rows", random.below(40));
        put_text(out, 9, "server.address", "orders-db.internal");
    }
    if random.chance(90) {
        put_number(out, 9, "app.user.id", 100_000 + random.below(40_000));
    }
    if random.chance(12) {
        put_message(out, 11, |out| {
            put_fixed64(out, 1, end - 1_000);
            put_bytes(out, 2, if failed { b"exception".as_slice() } else { b"cache miss" });
            put_text(out, 3, "app.key", &format!("product:{}", random.below(5000)));
        });
    }
    if failed {
        put_message(out, 15, |out| {
            put_bytes(out, 2, b"upstream connect error");
            put_uint(out, 3, 2);
        });
    }
}
