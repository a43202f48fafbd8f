//! The shop's records as OTLP/JSON.

use serde_json::{Value, json};

/// Upper bounds of the duration histogram. Units: s.
const BOUNDS: [f64; 8] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.5, 3.0];
const SERVICES: [&str; 5] = ["web", "checkout", "payments", "fraud", "ledger"];

#[derive(Debug)]
pub(super) struct Span {
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    /// 0 for a root.
    pub(super) parent_id: u64,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) kind: &'static str,
    pub(super) error: bool,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) service: &'static str,
    pub(super) time_ns: i64,
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) severity: u8,
    pub(super) text: String,
    pub(super) correlation_id: String,
}

/// What one tick sends.
#[derive(Debug, Default)]
pub(super) struct Tick {
    pub(super) spans: Vec<Span>,
    pub(super) logs: Vec<Log>,
    pub(super) metrics: Option<Value>,
    pub(super) failed: Option<String>,
}

impl Tick {
    /// Paths and bodies of the requests.
    pub(super) fn requests(&self) -> Vec<(&'static str, String)> {
        let mut requests = Vec::new();
        if !self.spans.is_empty() {
            let groups = by_service("scopeSpans", "spans", &self.spans, |span| span.service, span);
            requests.push(("/v1/traces", json!({ "resourceSpans": groups }).to_string()));
        }
        if !self.logs.is_empty() {
            let groups = by_service("scopeLogs", "logRecords", &self.logs, |log| log.service, log);
            requests.push(("/v1/logs", json!({ "resourceLogs": groups }).to_string()));
        }
        if let Some(metrics) = &self.metrics {
            requests.push(("/v1/metrics", metrics.to_string()));
        }
        requests
    }

    /// The trace of a checkout that failed in this tick.
    pub(super) fn failed_trace(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

fn by_service<T>(
    scopes: &str,
    records: &str,
    all: &[T],
    service: impl Fn(&T) -> &'static str,
    write: impl Fn(&T) -> Value,
) -> Vec<Value> {
    SERVICES
        .iter()
        .filter_map(|name| {
            let of_service: Vec<Value> =
                all.iter().filter(|record| service(record) == *name).map(&write).collect();
            if of_service.is_empty() {
                return None;
            }
            let scope = json!({ "scope": { "name": "shop" }, records: of_service });
            Some(json!({ "resource": resource(name), scopes: [scope] }))
        })
        .collect()
}

fn resource(service: &str) -> Value {
    json!({ "attributes": [
        attribute("service.name", &json!(service)),
        attribute("service.namespace", &json!("shop")),
        attribute("service.instance.id", &json!(format!("{service}-0"))),
        attribute("deployment.environment.name", &json!("demo")),
    ] })
}

fn attribute(key: &str, value: &Value) -> Value {
    let any = match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        other => json!({ "stringValue": other.as_str().unwrap_or_default() }),
    };
    json!({ "key": key, "value": any })
}

fn span(span: &Span) -> Value {
    let kind = match span.kind {
        "server" => 2,
        "client" => 3,
        _ => 1,
    };
    let status = if span.error {
        json!({ "code": 2, "message": "card gateway timeout" })
    } else {
        json!({})
    };
    let parent =
        if span.parent_id == 0 { String::new() } else { format!("{:016x}", span.parent_id) };
    json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{:016x}", span.span_id),
        "parentSpanId": parent,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "status": status,
        "attributes": span.attributes.iter()
            .map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    })
}

fn log(log: &Log) -> Value {
    let word = match log.severity {
        17.. => "ERROR",
        13.. => "WARN",
        9.. => "INFO",
        _ => "DEBUG",
    };
    json!({
        "timeUnixNano": log.time_ns.to_string(),
        "observedTimeUnixNano": log.time_ns.to_string(),
        "severityNumber": log.severity,
        "severityText": word,
        "body": { "stringValue": log.text },
        "traceId": format!("{:032x}", log.trace_id),
        "spanId": format!("{:016x}", log.span_id),
        "attributes": [attribute("x-correlation-id", &json!(log.correlation_id))],
    })
}

/// Counters and the duration histogram of the checkout, cumulative since the start.
#[derive(Debug)]
pub(super) struct Metrics {
    started_ns: i64,
    placed: u64,
    failed: u64,
    buckets: [u64; BOUNDS.len() + 1],
    seconds_sum: f64,
    /// The slowest checkout since the last write.
    exemplar: Option<(f64, u128, u64, i64)>,
}

impl Metrics {
    pub(super) fn new(started_ns: i64) -> Metrics {
        Metrics {
            started_ns,
            placed: 0,
            failed: 0,
            buckets: [0; BOUNDS.len() + 1],
            seconds_sum: 0.0,
            exemplar: None,
        }
    }

    pub(super) fn checkout(
        &mut self,
        total_us: u64,
        failed: bool,
        trace_id: u128,
        span_id: u64,
        end_ns: i64,
    ) {
        let seconds = total_us as f64 / 1e6;
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.seconds_sum += seconds;
        if failed {
            self.failed += 1;
        } else {
            self.placed += 1;
        }
        if self.exemplar.is_none_or(|(slowest, ..)| seconds > slowest) {
            self.exemplar = Some((seconds, trace_id, span_id, end_ns));
        }
    }

    pub(super) fn write(&mut self, now_ns: i64, tick: &mut Tick) {
        let times = |mut point: Value| {
            point["startTimeUnixNano"] = json!(self.started_ns.to_string());
            point["timeUnixNano"] = json!(now_ns.to_string());
            point
        };
        let orders = [("placed", self.placed), ("failed", self.failed)].map(|(outcome, count)| {
            let outcome = attribute("outcome", &json!(outcome));
            times(json!({ "attributes": [outcome], "asInt": count.to_string() }))
        });
        let exemplars: Vec<Value> = self
            .exemplar
            .take()
            .map(|(seconds, trace_id, span_id, time_ns)| {
                json!({
                    "timeUnixNano": time_ns.to_string(),
                    "asDouble": seconds,
                    "traceId": format!("{trace_id:032x}"),
                    "spanId": format!("{span_id:016x}"),
                })
            })
            .into_iter()
            .collect();
        let duration = times(json!({
            "attributes": [],
            "count": (self.placed + self.failed).to_string(),
            "sum": self.seconds_sum,
            "bucketCounts": self.buckets.map(|count| count.to_string()),
            "explicitBounds": BOUNDS,
            "exemplars": exemplars,
        }));
        let metrics = json!([
            {
                "name": "shop.orders", "unit": "{order}", "description": "Orders by outcome",
                "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": orders },
            },
            {
                "name": "shop.checkout.duration", "unit": "s",
                "description": "Time from the click to the answer",
                "histogram": { "aggregationTemporality": 2, "dataPoints": [duration] },
            },
        ]);
        tick.metrics = Some(json!({ "resourceMetrics": [{
            "resource": resource("checkout"),
            "scopeMetrics": [{ "scope": { "name": "shop" }, "metrics": metrics }],
        }] }));
    }
}
