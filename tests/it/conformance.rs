//! Conformance data sent to a live server and read back through its APIs.
//!
//! The data lies beside the project and is not part of it; where it is absent the tests say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use chaos::server::{Server, escape};

/// The folder of conformance data, if this machine has it.
fn data(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var("TERCET_CONFORMANCE").ok().map(PathBuf::from);
    let places = [root.join("../shared/conformance"), root.join("../../shared/conformance")];
    let found = given.into_iter().chain(places).map(|place| place.join(path)).find(|p| p.exists());
    if found.is_none() {
        println!("SKIPPED conformance data {path}: it is not on this machine");
    }
    found
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn post_json(server: &Server, path: &str, body: Vec<u8>) {
    let (status, answer) = server.post(path, "application/json", body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(
        answer.get("partialSuccess").is_none_or(|partial| partial["errorMessage"] == ""),
        "{answer}"
    );
}

fn trace_ids(request: &Value) -> BTreeSet<String> {
    spans(request).map(|span| span["traceId"].as_str().unwrap().to_lowercase()).collect()
}

fn spans(request: &Value) -> impl Iterator<Item = &Value> {
    request["resourceSpans"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten())
        .flat_map(|scope| scope["spans"].as_array().into_iter().flatten())
}

fn micros(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros()
}

/// Jaeger's own storage integration: each search finds its fixtures and nothing else, before and
/// after everything has been flushed and merged.
#[tokio::test]
async fn jaegers_searches_find_their_fixtures() {
    let Some(folder) = data("otlp/jaeger-storage-integration") else { return };
    let home = tempfile::tempdir().unwrap();
    let server = Server::ready(home.path(), &[]).await;
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join("traces")).unwrap() {
        let path = entry.unwrap().path();
        let fixture = json(&path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        ids.insert(name, trace_ids(&fixture));
        post_json(&server, "/v1/traces", serde_json::to_vec(&fixture).unwrap()).await;
    }
    for state in ["in memory", "flushed", "merged"] {
        match state {
            "flushed" => assert_eq!(server.post("/-/flush", "", Vec::new()).await.0, 204),
            "merged" => assert_eq!(server.post("/-/compact", "", Vec::new()).await.0, 204),
            _ => {}
        }
        for case in json(&folder.join("queries.json")).as_array().unwrap() {
            let (caption, query) = (&case["Caption"], &case["Query"]);
            let wanted: BTreeSet<String> = case["ExpectedFixtures"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|name| ids[name.as_str().unwrap()].clone())
                .collect();
            let found = search(&server, query).await;
            assert_eq!(found, wanted, "{caption} ({state})");
        }
    }
}

async fn search(server: &Server, query: &Value) -> BTreeSet<String> {
    let text = |name: &str| query[name].as_str().unwrap_or_default().to_owned();
    let mut path = format!(
        "/ds/jaeger/api/traces?service={}&start={}&end={}&limit={}",
        escape(&text("ServiceName")),
        micros(&text("StartTimeMin")),
        micros(&text("StartTimeMax")),
        query["NumTraces"],
    );
    if !text("OperationName").is_empty() {
        path += &format!("&operation={}", escape(&text("OperationName")));
    }
    for (name, parameter) in [("DurationMin", "minDuration"), ("DurationMax", "maxDuration")] {
        if query[name] != 0 {
            path += &format!("&{parameter}={}ns", query[name]);
        }
    }
    if let Some(tags) = query["Tags"].as_object() {
        let tag = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let tags: BTreeMap<&String, String> =
            tags.iter().map(|(key, value)| (key, tag(value))).collect();
        path += &format!("&tags={}", escape(&serde_json::to_string(&tags).unwrap()));
    }
    let answer = server.json(&path).await;
    let traces = answer["data"].as_array().unwrap();
    traces.iter().map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect()
}

/// The OTLP trace that Jaeger's UI takes comes back as Jaeger's own JSON. The request holds one span
/// twice: as from Jaeger's query service (`adjuster.DeduplicateSpans`), it comes back once.
#[tokio::test]
async fn an_otlp_trace_is_what_jaegers_page_shows() {
    let Some(folder) = data("otlp/jaeger") else { return };
    let home = tempfile::tempdir().unwrap();
    let server = Server::ready(home.path(), &[]).await;
    let request = std::fs::read(folder.join("otlp2jaeger-in.json")).unwrap();
    post_json(&server, "/v1/traces", request).await;
    let mut wanted = json(&folder.join("otlp2jaeger-out.json"));
    wanted["data"][0]["spans"].as_array_mut().unwrap().dedup();
    let id = wanted["data"][0]["traceID"].as_str().unwrap();
    let found = server.json(&format!("/api/traces/{id}")).await;
    assert_eq!(found["data"], wanted["data"]);
}

/// Every span, log record and data point of the recorded telemetry is found again.
#[tokio::test]
async fn recorded_telemetry_is_found_again() {
    let Some(folder) = data("otlp/recorded") else { return };
    let home = tempfile::tempdir().unwrap();
    let server = Server::ready(home.path(), &["--limits-ingest-max-future", "0"]).await;
    let (mut spans_sent, mut logs_sent, mut points_sent) = (BTreeMap::new(), 0u64, 0u64);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let mut text = String::new();
        let file = std::fs::File::open(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        } else {
            std::io::BufReader::new(file).read_to_string(&mut text).unwrap();
        }
        for request in requests(&text) {
            let count = |key: &str, inner: &str, leaf: &str| -> u64 {
                let scopes = request[key].as_array().into_iter().flatten();
                let scopes = scopes.flat_map(|r| r[inner].as_array().into_iter().flatten());
                scopes.map(|scope| scope[leaf].as_array().map_or(0, Vec::len) as u64).sum()
            };
            let endpoint = if request.get("resourceSpans").is_some() {
                for span in spans(&request) {
                    let id = span["traceId"].as_str().unwrap().to_lowercase();
                    let span_id = span["spanId"].as_str().unwrap().to_lowercase();
                    spans_sent.entry(id).or_insert_with(BTreeSet::new).insert(span_id);
                }
                "/v1/traces"
            } else if request.get("resourceLogs").is_some() {
                logs_sent += count("resourceLogs", "scopeLogs", "logRecords");
                "/v1/logs"
            } else if request.get("resourceMetrics").is_some() {
                points_sent += count("resourceMetrics", "scopeMetrics", "metrics");
                "/v1/metrics"
            } else {
                continue;
            };
            let body = serde_json::to_vec(&request).unwrap();
            let (status, answer) = server.post(endpoint, "application/json", body).await;
            assert_eq!(status, 200, "{}: {answer}", path.display());
        }
    }
    assert!(spans_sent.len() > 20 && logs_sent > 100 && points_sent > 1000);
    for state in ["in memory", "merged"] {
        if state == "merged" {
            assert_eq!(server.post("/-/flush", "", Vec::new()).await.0, 204);
            assert_eq!(server.post("/-/compact", "", Vec::new()).await.0, 204);
        }
        for (id, wanted) in &spans_sent {
            let answer = server.json(&format!("/tercet/api/v1/lookup/{id}")).await;
            let found: BTreeSet<String> = answer["spans"]
                .as_array()
                .unwrap()
                .iter()
                .map(|span| span["spanId"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(&found, wanted, "trace {id} ({state})");
        }
        // Years of telemetry in one count.
        let query = "sum(count_over_time({service_name=~\".+\"}[10y]))";
        let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(query))).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().unwrap().to_owned();
        assert_eq!(found, logs_sent.to_string(), "log records ({state})");
    }
}

/// A file of one request, of one a line, or of an array of them.
fn requests(text: &str) -> Vec<Value> {
    if let Ok(request) = serde_json::from_str::<Value>(text) {
        return match request {
            Value::Array(list) => list,
            one => vec![one],
        };
    }
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
