//! F3: records that are far too large, among others that are not.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::{forget_peak, mib, peak_bytes, post, still_serves};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, escape};
use crate::tools::now_s;

pub(super) const ROWS: &[Row] = &[Row {
    id: "F3",
    fault: "a line of 100 MB, a record of 1,000,000 attributes, a label name of 1 MB, an attribute \
            key of 64 KiB",
    expected: "that record alone is refused, with its limit named; its siblings are stored",
    tier: Tier::Fast,
    run,
}];

fn text(value: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) })
}

fn attribute(key: impl Into<String>, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: text(value), ..KeyValue::default() }
}

/// A request of `bad` between two records that say `before` and `after`.
fn among_others(service: &str, bad: LogRecord) -> Vec<u8> {
    let time_unix_nano = now_s() * 1_000_000_000;
    let good = |body: &str| LogRecord { time_unix_nano, body: text(body), ..LogRecord::default() };
    let bad = LogRecord { time_unix_nano, ..bad };
    let log_records = vec![good("before"), bad, good("after")];
    let attributes = vec![attribute("service.name", service)];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The lines of a service, newest first.
async fn lines(server: &Server, service: &str) -> Vec<String> {
    let query = escape(&format!("{{service_name=\"{service}\"}}"));
    let found = server.json(&format!("/loki/api/v1/query_range?since=1h&query={query}")).await;
    let streams = found["data"]["result"].as_array().cloned().unwrap_or_default();
    let values =
        streams.iter().flat_map(|stream| stream["values"].as_array().into_iter().flatten());
    let mut lines: Vec<String> =
        values.map(|value| value[1].as_str().unwrap_or_default().to_owned()).collect();
    lines.sort();
    lines
}

fn run(case: Case) -> Running {
    Box::pin(async move {
        let room = [
            ("TERCET_SERVER_MAX_REQUEST_BYTES", "256MiB"),
            ("TERCET_SERVER_MAX_DECOMPRESSED_BYTES", "256MiB"),
            ("TERCET_SERVER_MAX_INFLIGHT_INGEST_BYTES", "1GiB"),
        ];
        let server = Server::start_in(&case.folder, &[], &room).await;
        server.wait_ready(Duration::from_secs(30)).await;
        forget_peak(&server);
        let memory = peak_bytes(&server);

        let many = (0..1_000_000).map(|number| attribute(number.to_string(), "v")).collect();
        let cases = [
            (
                "line",
                "max_line_bytes",
                LogRecord { body: text("x".repeat(100_000_000)), ..Default::default() },
            ),
            (
                "attributes",
                "max_attributes",
                LogRecord { body: text("x"), attributes: many, ..Default::default() },
            ),
            (
                "key",
                "max_attribute",
                LogRecord {
                    body: text("x"),
                    attributes: vec![attribute("k".repeat((64 << 10) + 1), "v")],
                    ..Default::default()
                },
            ),
        ];
        for (name, limit, bad) in cases {
            let headers = [("content-type", "application/x-protobuf")];
            let (status, answer) =
                post(&server, "/v1/logs", &headers, among_others(name, bad)).await;
            assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&answer));
            let answer = ExportLogsServiceResponse::decode(&answer[..]).expect("an OTLP answer");
            let partial = answer.partial_success.expect("it says what was refused");
            assert_eq!(partial.rejected_log_records, 1, "{name}: {}", partial.error_message);
            assert!(partial.error_message.contains(limit), "{name}: {}", partial.error_message);
            assert_eq!(lines(&server, name).await, ["after", "before"], "{name}: the siblings");
        }

        let name = "n".repeat(1 << 20);
        let stream = |labels: serde_json::Value, line: &str| {
            let time = format!("{}000000000", now_s());
            serde_json::json!({"stream": labels, "values": [[time, line]]})
        };
        let push = serde_json::json!({"streams": [
            stream(serde_json::json!({"service_name": "loki"}), "before"),
            stream(serde_json::json!({"service_name": "loki", name.clone(): "v"}), "bad"),
            stream(serde_json::json!({"service_name": "loki"}), "after"),
        ]});
        let body = push.to_string().into_bytes();
        let json = [("content-type", "application/json")];
        let (status, answer) = post(&server, "/loki/api/v1/push", &json, body).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 400, "a label name of 1 MB: {answer}");
        assert!(answer.contains("max_label_name_bytes"), "{answer}");
        assert!(answer.len() <= 4 << 10, "the refusal has {} bytes", answer.len());
        assert_eq!(lines(&server, "loki").await, ["after", "before"], "siblings of the long name");

        still_serves(&server).await;
        let grown = peak_bytes(&server).saturating_sub(memory);
        assert!(grown < 1 << 30, "memory grew by {} MiB", mib(grown));
        Outcome::Held(format!("4 records refused, 8 siblings stored, +{} MiB at most", mib(grown)))
    })
}
