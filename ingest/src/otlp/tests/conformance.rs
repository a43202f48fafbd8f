//! The shared conformance data; each test says so and returns where it is not there.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{Protocol, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value as Json;

use super::{RECEIVED_NS, decode, logs, oracle, spans};
use crate::otlp::json::to_protobuf;

fn folder(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    #[expect(clippy::disallowed_methods, reason = "tests have no settings file")]
    let named = std::env::var("TERCET_CONFORMANCE").ok().map(PathBuf::from);
    let places = [
        named,
        Some(root.join("../shared/conformance")),
        Some(root.join("../../shared/conformance")),
    ];
    let found = places.into_iter().flatten().map(|place| place.join(name)).find(|at| at.is_dir());
    if found.is_none() {
        println!("conformance data {name} is absent: nothing was checked");
    }
    found
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_lines(path: &Path) -> Vec<Json> {
    let text = String::from_utf8(read(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn signal(case: &Json) -> Signal {
    match case["signal"].as_str().unwrap() {
        "logs" => Signal::Logs,
        "traces" => Signal::Traces,
        "metrics" => Signal::Metrics,
        other => panic!("{other}"),
    }
}

/// What prost reads, as text, so that NaN equals itself.
fn prost_text(signal: Signal, body: &[u8]) -> String {
    match signal {
        Signal::Logs => format!("{:?}", ExportLogsServiceRequest::decode(body).unwrap()),
        Signal::Traces => format!("{:?}", ExportTraceServiceRequest::decode(body).unwrap()),
        Signal::Metrics => format!("{:?}", ExportMetricsServiceRequest::decode(body).unwrap()),
    }
}

/// Rows of `body` equal the oracle's, and the number of them is returned.
fn check_rows(name: &str, signal: Signal, protocol: Protocol, body: &Bytes, pb: &[u8]) -> usize {
    if signal == Signal::Metrics {
        // What becomes of metrics is judged where they are translated.
        return 0;
    }
    let decoded = decode(protocol, body.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(decoded.rejections.is_empty(), "{name}: {:?}", decoded.rejections);
    let (got, want) = match signal {
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(pb).unwrap();
            (oracle::of_logs_batch(logs(&decoded)), oracle::of_logs_request(&request, RECEIVED_NS))
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(pb).unwrap();
            (oracle::of_spans_batch(spans(&decoded)), oracle::of_trace_request(&request))
        }
        Signal::Metrics => return 0,
    };
    let (got, want): (Vec<_>, Vec<_>) = (
        got.iter().map(|line| with_status(line)).collect(),
        want.iter().map(|line| with_status(line)).collect(),
    );
    assert_eq!(got, want, "{name}");
    got.len()
}

/// The Collector writes an empty status where none was sent.
fn with_status(line: &str) -> String {
    line.replace("status: None", "status: Some(Status { message: \"\", code: Unset })")
}

fn protocols(signal: Signal) -> (Protocol, Protocol) {
    match signal {
        Signal::Logs => (Protocol::OtlpLogsProtobuf, Protocol::OtlpLogsJson),
        Signal::Traces => (Protocol::OtlpTracesProtobuf, Protocol::OtlpTracesJson),
        Signal::Metrics => (Protocol::OtlpMetricsProtobuf, Protocol::OtlpMetricsJson),
    }
}

#[test]
fn json_and_protobuf_of_a_request_mean_the_same() {
    let Some(folder) = folder("otlp/pairs") else { return };
    for case in json_lines(&folder.join("index.jsonl")) {
        let name = case["id"].as_str().unwrap();
        let signal = signal(&case);
        let pb = Bytes::from(read(&folder.join(case["protobuf"].as_str().unwrap())));
        let json = Bytes::from(read(&folder.join(case["json"].as_str().unwrap())));
        let converted =
            to_protobuf(signal, &json).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(prost_text(signal, &converted), prost_text(signal, &pb), "{name}");
        let (protobuf_protocol, json_protocol) = protocols(signal);
        let of_pb = check_rows(name, signal, protobuf_protocol, &pb, &pb);
        let of_json = check_rows(name, signal, json_protocol, &json, &pb);
        assert_eq!(of_pb, of_json, "{name}");
        if signal == Signal::Metrics {
            let of_pb = decode(protobuf_protocol, pb).unwrap();
            let of_json = decode(json_protocol, json).unwrap();
            assert_eq!(of_pb.rejections, of_json.rejections, "{name}");
            assert_eq!(format!("{:?}", of_pb.batch), format!("{:?}", of_json.batch), "{name}");
        } else {
            assert_eq!(of_pb as u64, case["records"].as_u64().unwrap(), "{name}");
        }
    }
}

#[test]
fn edge_cases_are_taken_as_the_collector_takes_them() {
    let Some(folder) = folder("otlp") else { return };
    let cases = json_lines(&folder.join("json-edge-cases.jsonl"));
    for case in &cases {
        let name = case["id"].as_str().unwrap();
        let signal = signal(case);
        let json = Bytes::copy_from_slice(case["json"].as_str().unwrap().as_bytes());
        let converted = to_protobuf(signal, &json);
        if !case["collector_accepts"].as_bool().unwrap() {
            assert!(converted.is_err(), "{name}");
            continue;
        }
        let converted = converted.unwrap_or_else(|error| panic!("{name}: {error}"));
        let pb = STANDARD.decode(case["protobuf_base64"].as_str().unwrap()).unwrap();
        check_rows(name, signal, protocols(signal).1, &json, &pb);
        check_rows(name, signal, protocols(signal).0, &converted, &pb);
        if signal == Signal::Metrics {
            check_metric_edge_case(name, &converted, &pb);
        }
    }
    assert_eq!(cases.len(), 28);
}

/// The Collector writes defaults that the JSON leaves out (an unset number as 0): compared by what
/// both say.
fn check_metric_edge_case(name: &str, converted: &[u8], pb: &[u8]) {
    let got = prost_text(Signal::Metrics, converted);
    let want = prost_text(Signal::Metrics, pb);
    assert_eq!(got, want, "{name}");
}

#[test]
fn recorded_requests_lose_nothing() {
    let Some(folder) = folder("otlp") else { return };
    let mut records = 0;
    let mut files = Vec::new();
    for place in [
        "recorded",
        "hyperdx-smoke",
        "opentelemetry-proto",
        "jaeger-storage-integration/traces",
        "jaeger",
    ] {
        files.extend(
            std::fs::read_dir(folder.join(place)).unwrap().map(|file| file.unwrap().path()),
        );
    }
    for path in files.iter().filter(|path| !path.ends_with("otlp2jaeger-out.json")) {
        let mut bytes = read(path);
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
            bytes = plain;
        }
        let name = path.display().to_string();
        let is_lines = name.contains(".jsonl");
        let requests: Vec<&[u8]> = if is_lines {
            bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect()
        } else {
            vec![&bytes]
        };
        for request in requests {
            records += check_recorded(&name, request);
        }
    }
    println!("{records} records of {} files", files.len());
    assert!(records > 900);
}

fn check_recorded(name: &str, request: &[u8]) -> usize {
    let json: Json = serde_json::from_slice(request).unwrap();
    let mut records = 0;
    for (key, signal) in [
        ("resourceLogs", Signal::Logs),
        ("resourceSpans", Signal::Traces),
        ("resourceMetrics", Signal::Metrics),
    ] {
        if json.get(key).is_none() {
            continue;
        }
        let body = Bytes::copy_from_slice(request);
        let pb = to_protobuf(signal, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
        drop(prost_text(signal, &pb));
        records += check_rows(name, signal, protocols(signal).1, &body, &pb);
    }
    records
}

#[test]
fn log_streams_have_the_labels_that_loki_gives_them() {
    let Some(folder) = folder("loki_push") else { return };
    let mut missed = Vec::new();
    for case in json_lines(&folder.join("otlp-logs-to-loki.jsonl")) {
        let name = case["id"].as_str().unwrap();
        let decoded = decode(Protocol::OtlpLogsJson, case["otlp_json"].to_string()).unwrap();
        let batch = logs(&decoded);
        let mut got: Vec<(String, String, String)> = batch
            .rows
            .iter()
            .map(|row| {
                let labels = &batch.streams[row.stream as usize].labels;
                let text: Vec<String> =
                    labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                let line = batch.line(row).into_owned();
                (format!("{{{}}}", text.join(", ")), row.time_ns.to_string(), line)
            })
            .collect();
        let mut want = Vec::new();
        for stream in case["expect"]["streams"].as_array().unwrap() {
            for entry in stream["entries"].as_array().unwrap() {
                want.push((
                    stream["labels_string"].as_str().unwrap().to_owned(),
                    entry["ts"].as_str().unwrap().to_owned(),
                    entry["line"].as_str().unwrap().to_owned(),
                ));
            }
        }
        got.sort();
        want.sort();
        if got != want {
            missed.push(name.to_owned());
        }
    }
    assert!(missed.is_empty(), "not as Loki has it: {missed:?}");
}
