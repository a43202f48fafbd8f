//! Batches as requests: OTLP for logs and spans, remote write for samples.

use model::Signal;
use model::wire::{put_bytes, put_fixed64, put_message, put_uint};

use super::record::{METRIC, Name, Run, SERVICE};

/// A request, apart from where it goes.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub path: &'static str,
    pub is_snappy: bool,
    pub body: Vec<u8>,
}

impl Run {
    /// The request of a batch: the same bytes for the same arguments.
    #[must_use]
    pub fn encode(&self, name: Name, time_ms: i64) -> Encoded {
        match name.signal {
            Signal::Logs => {
                Encoded { path: "/v1/logs", is_snappy: false, body: self.logs(name, time_ms) }
            }
            Signal::Traces => {
                Encoded { path: "/v1/traces", is_snappy: false, body: self.spans(name, time_ms) }
            }
            Signal::Metrics => Encoded {
                path: "/api/v1/write",
                is_snappy: true,
                body: self.samples(name, time_ms),
            },
        }
    }

    /// Source: opentelemetry-proto, `ExportLogsServiceRequest`.
    fn logs(&self, name: Name, time_ms: i64) -> Vec<u8> {
        self.resource_and_scope(|out| {
            for index in 0..self.records {
                let time_ns = time_ns(time_ms, index);
                put_message(out, 2, |out| {
                    put_fixed64(out, 1, time_ns);
                    put_uint(out, 2, 9);
                    put_message(out, 5, |out| {
                        put_bytes(out, 1, self.text(name, time_ms, index).as_bytes());
                    });
                    self.attributes(out, 6);
                    put_fixed64(out, 11, time_ns);
                });
            }
        })
    }

    /// Source: opentelemetry-proto, `ExportTraceServiceRequest`. A root and its children.
    fn spans(&self, name: Name, time_ms: i64) -> Vec<u8> {
        let trace_id = self.trace_id(name.writer, name.seq).to_be_bytes();
        let span_id = |index: u32| (name.seq << 16 | u64::from(index + 1)).to_be_bytes();
        self.resource_and_scope(|out| {
            for index in 0..self.records {
                put_message(out, 2, |out| {
                    put_bytes(out, 1, &trace_id);
                    put_bytes(out, 2, &span_id(index));
                    if index > 0 {
                        put_bytes(out, 4, &span_id(0));
                    }
                    put_bytes(out, 5, format!("step {}", index % 20).as_bytes());
                    put_uint(out, 6, 1);
                    put_fixed64(out, 7, time_ns(time_ms, index));
                    put_fixed64(out, 8, time_ns(time_ms, index) + 900_000);
                    self.attributes(out, 9);
                    attribute(out, 9, "canary", &self.text(name, time_ms, index));
                });
            }
        })
    }

    /// `run` and `tenant` of a record.
    fn attributes(&self, out: &mut Vec<u8>, number: u32) {
        attribute(out, number, "run", &self.label());
        attribute(out, number, "tenant", &self.tenant);
    }

    /// One `ResourceLogs` or `ResourceSpans` with one scope.
    fn resource_and_scope(&self, records: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put_message(&mut out, 1, |out| {
            put_message(out, 1, |out| attribute(out, 1, "service.name", SERVICE));
            put_message(out, 2, records);
        });
        out
    }

    /// Source: `prometheus.WriteRequest`. One sample for each of as many series as there are records.
    fn samples(&self, name: Name, time_ms: i64) -> Vec<u8> {
        let mut out = Vec::new();
        let (run, writer) = (self.label(), name.writer.to_string());
        for index in 0..self.records {
            put_message(&mut out, 1, |out| {
                for (label, value) in [
                    ("__name__", METRIC),
                    ("index", &index.to_string()),
                    ("job", SERVICE),
                    ("run", &run),
                    ("tenant", &self.tenant),
                    ("writer", &writer),
                ] {
                    put_message(out, 1, |out| {
                        put_bytes(out, 1, label.as_bytes());
                        put_bytes(out, 2, value.as_bytes());
                    });
                }
                put_message(out, 2, |out| {
                    let value = self.value(name.writer, name.seq, index, time_ms);
                    put_fixed64(out, 1, value.to_bits());
                    put_uint(out, 2, time_ms as u64);
                });
            });
        }
        // It refuses only what is longer than 4 GiB.
        snap::raw::Encoder::new().compress_vec(&out).unwrap_or_default()
    }
}

fn time_ns(time_ms: i64, index: u32) -> u64 {
    time_ms as u64 * 1_000_000 + u64::from(index)
}

fn attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    put_message(out, number, |out| {
        put_bytes(out, 1, key.as_bytes());
        put_message(out, 2, |out| put_bytes(out, 1, value.as_bytes()));
    });
}
