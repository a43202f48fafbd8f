//! Recorded telemetry of real systems through the live server: what is in the recording is found,
//! all of it and once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::server::Server;

/// The folder of recordings: below `TERCET_CONFORMANCE`, or beside the repository.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("TERCET_CONFORMANCE").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = ["../shared/conformance", "../../shared/conformance"].map(|at| root.join(at));
    let places = named.into_iter().chain(beside).map(|at| at.join("otlp/recorded"));
    let found = { places }.find(|at| at.is_dir());
    if found.is_none() {
        println!("SKIPPED recorded telemetry: the conformance data is not there");
    }
    found
}

/// The requests of a recording: one a line, or the whole file.
fn requests(path: &Path) -> Vec<Json> {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    match serde_json::from_str(&text) {
        Ok(whole) => vec![whole],
        Err(_) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

fn items<'a>(value: &'a Json, path: &[&str]) -> Vec<&'a Json> {
    let Some((first, rest)) = path.split_first() else { return vec![value] };
    let list = value[first].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().flat_map(|item| items(item, rest)).collect()
}

/// What of a recording must be found again.
#[derive(Debug, Default)]
struct Recorded {
    /// Names of spans by span ID, by trace ID.
    traces: BTreeMap<String, BTreeMap<String, String>>,
    logs: usize,
    points: usize,
}

impl Recorded {
    /// Sends a recording's requests and notes what they hold.
    async fn send(&mut self, server: &Server, path: &Path) {
        for request in requests(path) {
            for span in items(&request, &["resourceSpans", "scopeSpans", "spans"]) {
                let [trace, id, name] =
                    ["traceId", "spanId", "name"].map(|key| span[key].as_str().unwrap().to_owned());
                self.traces
                    .entry(trace.to_lowercase())
                    .or_default()
                    .insert(id.to_lowercase(), name);
            }
            self.logs += items(&request, &["resourceLogs", "scopeLogs", "logRecords"]).len();
            for metric in items(&request, &["resourceMetrics", "scopeMetrics", "metrics"]) {
                let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
                let count = |kind: &&str| items(&metric[*kind], &["dataPoints"]).len();
                self.points += kinds.iter().map(count).sum::<usize>();
            }
            for (field, signal) in [
                ("resourceSpans", "traces"),
                ("resourceLogs", "logs"),
                ("resourceMetrics", "metrics"),
            ] {
                if request[field].is_array() {
                    let url = format!("{}/v1/{signal}", server.otlp_http);
                    let answer = server.client.post(url).json(&request).send().await.unwrap();
                    assert_eq!(answer.status(), 200, "{}", path.display());
                    assert_eq!(answer.text().await.unwrap(), "{}", "{}", path.display());
                }
            }
        }
    }

    async fn check(&self, server: &Server) {
        for (trace_id, want) in &self.traces {
            let answer = server.json(&format!("/ds/jaeger/api/traces/{trace_id}")).await;
            let spans = answer["data"][0]["spans"].as_array().unwrap();
            assert_eq!(spans.len(), want.len(), "{trace_id}");
            for span in spans {
                let id = span["spanID"].as_str().unwrap();
                assert_eq!(span["operationName"], json!(want[id]), "{trace_id} {id}");
            }
        }
        let query = "query?query=sum(count_over_time({service_name=~\".%2B\"}[200000h]))";
        let answer = server.json(&format!("/loki/api/v1/{query}")).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().unwrap();
        assert_eq!(found, self.logs.to_string());
    }
}

#[tokio::test]
async fn recorded_telemetry_is_found_in_memory_and_in_files() {
    let Some(recordings) = folder() else { return };
    let folder = TempDir::new().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let mut recorded = Recorded::default();
    let files = std::fs::read_dir(recordings).unwrap();
    let files: BTreeSet<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    for path in &files {
        recorded.send(&server, path).await;
    }
    let spans: usize = recorded.traces.values().map(BTreeMap::len).sum();
    println!(
        "{} files: {spans} spans, {} logs, {} points",
        files.len(),
        recorded.logs,
        recorded.points
    );
    assert_eq!((spans, recorded.points), (703, 17363));
    recorded.check(&server).await;
    for step in ["/-/flush", "/-/compact"] {
        let (status, body) = server.post(step, "text/plain", Vec::new()).await;
        assert!(status < 300, "{step}: {status} {body}");
        recorded.check(&server).await;
    }
}
