//! What does one warm sample cost the decoder, by remote write and by OTLP?
//!
//! 100,000 series, one sample each in requests of 2,000 series, 12 labels as a Kubernetes scrape has
//! them. Bodies come uncompressed, so decompression is not in the figure; the hash of the whole body
//! that the edge asks for is.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark takes times and prints them"
)]

use std::time::Instant;

use bytes::Bytes;
use ingest::Decoder;
use model::wire::{put_bytes, put_fixed64, put_message, put_uint};
use model::{Encoding, Limits, Protocol, TenantId, Wire};

const SERIES: usize = 100_000;
const SERIES_OF_REQUEST: usize = 2_000;
const ROUNDS: i64 = 20;

fn labels(index: usize) -> Vec<(String, String)> {
    let pod = format!("checkout-service-6d8f9c7b5d-{:05x}", index / 50);
    [
        ("__name__", format!("http_server_request_duration_seconds_metric_{}", index % 50)),
        ("cluster", "production-eu-central-1".to_owned()),
        ("container", "checkout-service".to_owned()),
        ("endpoint", "http-metrics".to_owned()),
        ("instance", format!("10.20.{}.{}:9102", index / 12_800, index / 50 % 256)),
        ("job", "shop/checkout-service".to_owned()),
        ("method", "POST".to_owned()),
        ("namespace", "shop-production".to_owned()),
        ("node", format!("ip-10-20-30-{}.eu-central-1.compute.internal", index / 5000)),
        ("pod", pod),
        ("service", "checkout-service-metrics".to_owned()),
        ("status_code", "200".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn remote_write(first: usize, time_ms: i64) -> Vec<u8> {
    let mut body = Vec::new();
    for index in first..first + SERIES_OF_REQUEST {
        put_message(&mut body, 1, |out| {
            for (name, value) in labels(index) {
                put_message(out, 1, |out| {
                    put_bytes(out, 1, name.as_bytes());
                    put_bytes(out, 2, value.as_bytes());
                });
            }
            put_message(out, 2, |out| {
                put_fixed64(out, 1, (index as f64 * 1.5).to_bits());
                put_uint(out, 2, time_ms as u64);
            });
        });
    }
    body
}

fn key_value(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    put_message(out, number, |out| {
        put_bytes(out, 1, key.as_bytes());
        put_message(out, 2, |out| put_bytes(out, 1, value.as_bytes()));
    });
}

/// 40 metrics of 50 points; half of the labels belong to the resource.
fn otlp(first: usize, time_ms: i64) -> Vec<u8> {
    let mut body = Vec::new();
    let all = labels(first);
    put_message(&mut body, 1, |out| {
        put_message(out, 1, |out| {
            key_value(out, 1, "service.name", "checkout-service");
            for (name, value) in &all[1..7] {
                key_value(out, 1, name, value);
            }
        });
        put_message(out, 2, |out| {
            for metric in 0..SERIES_OF_REQUEST / 50 {
                put_message(out, 2, |out| {
                    put_bytes(out, 1, format!("http.server.request.duration.{metric}").as_bytes());
                    put_bytes(out, 3, b"s");
                    put_message(out, 5, |out| {
                        for index in 0..50 {
                            let labels = labels(first + metric * 50 + index);
                            put_message(out, 1, |out| {
                                put_fixed64(out, 3, time_ms as u64 * 1_000_000);
                                put_fixed64(out, 4, (index as f64 * 1.5).to_bits());
                                key_value(out, 7, "index", &(first + index).to_string());
                                for (name, value) in &labels[7..] {
                                    key_value(out, 7, name, value);
                                }
                            });
                        }
                    });
                });
            }
        });
    });
    body
}

fn run(name: &str, protocol: Protocol, make: fn(usize, i64) -> Vec<u8>) {
    let decoder = Decoder::new(Limits::default());
    let tenant = TenantId::default();
    let time_ms = 1_755_500_000_000;
    let bodies: Vec<Bytes> = (0..SERIES)
        .step_by(SERIES_OF_REQUEST)
        .map(|first| Bytes::from(make(first, time_ms)))
        .collect();
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    let decode = |body: &Bytes| {
        let wire = Wire {
            protocol,
            encoding: Encoding::Identity,
            bytes: body.clone(),
            received_ns: time_ms * 1_000_000,
        };
        let decoded = decoder.decode(&tenant, &wire).unwrap();
        assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
        decoded.batch.record_count()
    };
    let start = Instant::now();
    let samples: usize = bodies.iter().map(decode).sum();
    let cold = start.elapsed();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let warm: usize = bodies.iter().map(decode).sum();
        assert_eq!(warm, samples);
    }
    let warm = start.elapsed() / ROUNDS as u32;
    let per_sample = |time: std::time::Duration| time.as_nanos() as f64 / samples as f64;
    println!(
        "{name}: {samples} samples of {} B; warm {:.0} ns/sample, {:.1} M samples/s; cold {:.0} ns",
        bytes / samples,
        per_sample(warm),
        1e3 / per_sample(warm),
        per_sample(cold),
    );
}

fn main() {
    run("remote write", Protocol::RemoteWrite1, remote_write);
    run("otlp", Protocol::OtlpMetricsProtobuf, otlp);
}
