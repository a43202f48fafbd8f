//! kill -9 under load: what was acknowledged is there afterwards, once, and nothing that was never
//! sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use chaos::load;
use chaos::server::{Server, escape};

const KILLS: u64 = 20;
/// `reliability.md`: ready again within this, with up to 64 MB of unflushed log for each signal.
const READY_WITHIN: Duration = Duration::from_secs(2);
const RECORDS: u64 = 200;
const SPANS: u64 = 50;
const SERIES: u64 = 100;

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// What became of the batches of one signal, by number.
#[derive(Debug, Default)]
struct Ledger {
    sent: Mutex<BTreeSet<u64>>,
    acked: Mutex<BTreeSet<u64>>,
}

#[derive(Debug)]
struct Run {
    next: AtomicU64,
    /// Time of the first sample; each batch's is one millisecond later.
    base_ms: i64,
    logs: Ledger,
    traces: Ledger,
    metrics: Ledger,
}

impl Run {
    /// Sends batches of all signals in turn until told to stop or the server is gone.
    async fn send(&self, server: &Server, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let batch = self.next.fetch_add(1, Ordering::Relaxed);
            let (ledger, path, body) = match batch % 3 {
                0 => (&self.logs, "/v1/logs", load::logs(batch, RECORDS, now_ns())),
                1 => (&self.traces, "/v1/traces", load::traces(batch, SPANS, now_ns())),
                _ => {
                    let body = load::metrics(batch, SERIES, self.base_ms + batch as i64);
                    (&self.metrics, "/api/v1/write", body)
                }
            };
            ledger.sent.lock().insert(batch);
            let mut request = server
                .client
                .post(format!("{}{path}", server.otlp_http))
                .header("content-type", "application/x-protobuf")
                .body(body);
            if batch % 3 == 2 {
                request = request.header("content-encoding", "snappy");
            }
            // No answer is no acknowledgement.
            if let Ok(answer) = request.send().await
                && answer.status().is_success()
            {
                ledger.acked.lock().insert(batch);
            }
        }
    }

    /// Holds what is stored against what was sent and acknowledged.
    async fn check(&self, server: &Server, traces_from: u64) {
        let logs =
            format!("sum by (batch) (count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
        let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(&logs))).await;
        self.logs.settle("logs", &counts(&answer, "batch"), RECORDS);

        let samples = format!("{}{{n=\"0\"}}[1h]", load::METRIC);
        let at = format!("&time={}", self.base_ms / 1000 + 1000);
        let answer = server.json(&format!("/api/v1/query?query={}{at}", escape(&samples))).await;
        let series = answer["data"]["result"].as_array().unwrap();
        let mut stored = BTreeMap::new();
        for sample in series.iter().flat_map(|series| series["values"].as_array().unwrap()) {
            let batch: u64 = sample[1].as_str().unwrap().parse().unwrap();
            let time_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
            assert_eq!(time_ms, self.base_ms + batch as i64);
            *stored.entry(batch).or_insert(0) += SERIES;
        }
        self.metrics.settle("metrics", &stored, SERIES);
        let each = format!("count_over_time({}[1h])", load::METRIC);
        let answer = server.json(&format!("/api/v1/query?query={}{at}", escape(&each))).await;
        for (n, count) in counts(&answer, "n") {
            assert_eq!(count, stored.len() as u64, "samples of series {n}");
        }

        let sent: Vec<u64> = self.traces.sent.lock().range(traces_from..).copied().collect();
        let mut stored = BTreeMap::new();
        for batch in sent {
            let id = hex::encode(load::trace_id(batch));
            let (status, body) = server.get(&format!("/tercet/api/v1/lookup/{id}")).await;
            assert!(status == 200 || status == 404, "{id}: {status} {body}");
            let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
            let spans = answer["spans"].as_array().map_or(0, Vec::len);
            if spans > 0 {
                stored.insert(batch, spans as u64);
            }
        }
        self.traces.settle_from("traces", &stored, SPANS, traces_from);
    }
}

impl Ledger {
    fn settle(&self, signal: &str, stored: &BTreeMap<u64, u64>, size: u64) {
        self.settle_from(signal, stored, size, 0);
    }

    fn settle_from(&self, signal: &str, stored: &BTreeMap<u64, u64>, size: u64, from: u64) {
        for batch in self.acked.lock().range(from..) {
            let count = stored.get(batch).copied().unwrap_or(0);
            assert_eq!(count, size, "{signal}: acknowledged batch {batch} has {count} of {size}");
        }
        for (batch, count) in stored {
            assert!(self.sent.lock().contains(batch), "{signal}: batch {batch} was never sent");
            assert_eq!(*count, size, "{signal}: batch {batch} has {count} of {size}");
        }
    }
}

/// Values of an instant vector by one of its labels.
fn counts(answer: &serde_json::Value, label: &str) -> BTreeMap<u64, u64> {
    let result = answer["data"]["result"].as_array().unwrap();
    result
        .iter()
        .map(|series| {
            let name = series["metric"][label].as_str().unwrap_or_default();
            let value = series["value"][1].as_str().unwrap();
            (name.parse().unwrap(), value.parse::<f64>().unwrap() as u64)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(Run {
        next: AtomicU64::new(0),
        base_ms: now_ns() as i64 / 1_000_000 - 500_000,
        logs: Ledger::default(),
        traces: Ledger::default(),
        metrics: Ledger::default(),
    });
    // Small thresholds, so that kills also meet flushes and merges under way.
    let flags = ["--storage-flush-wal-bytes", "1MiB", "--storage-group-commit", "500us"];
    let mut slowest = Duration::ZERO;
    let mut random = 0x2545_f491_4f6c_dd1du64 ^ now_ns();
    println!("seed {random:#x}");
    for kill in 0..=KILLS {
        let started = std::time::Instant::now();
        let server = Arc::new(Server::start(folder.path(), &flags).await);
        server.wait_ready(Duration::from_secs(30)).await;
        slowest = slowest.max(started.elapsed().min(server.busy()));
        let is_last = kill == KILLS;
        let from =
            run.next.load(Ordering::Relaxed).saturating_sub(if is_last { u64::MAX } else { 600 });
        run.check(&server, from).await;
        if is_last {
            break;
        }
        let over = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (run, server, over) =
                    (Arc::clone(&run), Arc::clone(&server), Arc::clone(&over));
                tokio::spawn(async move { run.send(&server, &over).await })
            })
            .collect();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(100 + random % 1200)).await;
        server.signal("KILL").await;
        over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.unwrap();
        }
    }
    let acked = |ledger: &Ledger| ledger.acked.lock().len() as u64;
    let (logs, traces, metrics) = (acked(&run.logs), acked(&run.traces), acked(&run.metrics));
    println!(
        "{KILLS} kills: {} log records, {} spans, {} samples acknowledged, none lost; ready after at most {slowest:?}",
        logs * RECORDS,
        traces * SPANS,
        metrics * SERIES
    );
    assert!(logs > 50 && traces > 50 && metrics > 50);
    assert!(slowest < READY_WITHIN, "ready only after {slowest:?}");
}

/// Close to the 64 MiB at which a signal is flushed.
const UNFLUSHED_BYTES: usize = 60 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_as_long_as_it_gets_is_replayed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let base_ms = now_ns() as i64 / 1_000_000 - 3_000_000;
    let mut sent = [0u64; 3];
    for (signal, path) in ["/v1/logs", "/v1/traces", "/api/v1/write"].into_iter().enumerate() {
        let mut bytes = 0;
        while bytes < UNFLUSHED_BYTES {
            let batch = sent[signal];
            let body = match signal {
                0 => load::logs(batch, 5000, now_ns()),
                1 => load::traces(batch, 5000, now_ns()),
                _ => load::metrics(batch, 20_000, base_ms + batch as i64 * 1000),
            };
            bytes += body.len();
            let request = server.client.post(format!("{}{path}", server.http));
            let request =
                if signal == 2 { request.header("content-encoding", "snappy") } else { request };
            let request = request.header("content-type", "application/x-protobuf").body(body);
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
            sent[signal] += 1;
        }
    }
    server.kill().await;
    let started = std::time::Instant::now();
    let server = Server::start(folder.path(), &[]).await;
    let open = started.elapsed();
    server.wait_ready(Duration::from_secs(60)).await;
    let (ready, busy) = (started.elapsed(), server.busy());
    println!(
        "{UNFLUSHED_BYTES} bytes of log for each signal: open after {open:?}, ready after {ready:?}, {busy:?} of it its own"
    );
    let logs = format!("sum(count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
    let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(&logs))).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], (sent[0] * 5000).to_string());
    let samples = format!("sum(count_over_time({}[1h]))", load::METRIC);
    let answer = server.json(&format!("/api/v1/query?query={}", escape(&samples))).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], (sent[2] * 20_000).to_string());
    assert!(open < READY_WITHIN, "takes writes only after {open:?}");
    assert!(ready.min(busy) < READY_WITHIN, "ready only after {ready:?}, {busy:?} of it its own");
}

#[tokio::test]
async fn sigterm_flushes_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let body = load::logs(1, RECORDS, now_ns());
    let (status, answer) = server.post("/v1/logs", "application/x-protobuf", body).await;
    assert_eq!(status, 200, "{answer}");
    let (code, took) = server.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(30));
    let left = std::fs::read_dir(folder.path().join("wal/logs")).unwrap().count();
    assert_eq!(left, 0, "the log is empty after an orderly end");
    let server = Server::ready(folder.path(), &[]).await;
    let query = format!("sum(count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
    let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(&query))).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], RECORDS.to_string());
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_tighter_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let body = load::logs(1, RECORDS, now_ns());
    let (status, answer) = server.post("/v1/logs", "application/x-protobuf", body).await;
    assert_eq!(status, 200, "{answer}");
    server.kill().await;
    let tighter = ["--limits-ingest-max-line-bytes", "16B"];
    let server = Server::ready(folder.path(), &tighter).await;
    let (_, answer) =
        server.post("/v1/logs", "application/x-protobuf", load::logs(2, 3, now_ns())).await;
    assert!(!answer.is_empty(), "the new limit counts for what comes now");
    server.kill().await;
    let server = Server::ready(folder.path(), &[]).await;
    let query = format!("sum(count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
    let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(&query))).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], RECORDS.to_string());
}

/// Flips a byte in the middle of the only file of a signal's log.
fn damage(data: &std::path::Path, signal: &str) {
    let folder = data.join("wal").join(signal);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 4] ^= 0x55;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn damage_is_told_in_the_answers_that_it_concerns() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    for batch in 0..2 {
        for (path, body) in [
            ("/v1/logs", load::logs(batch, RECORDS, now_ns())),
            ("/v1/traces", load::traces(batch, SPANS, now_ns())),
        ] {
            let (status, answer) = server.post(path, "application/x-protobuf", body).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
    server.kill().await;
    damage(folder.path(), "logs");
    let logs = escape(&format!("{{service_name=\"{}\"}}", load::SERVICE));
    let logs = format!("/loki/api/v1/query_range?query={logs}");
    let id = hex::encode(load::trace_id(1));

    let server = Server::ready(folder.path(), &[]).await;
    let answer = server.json(&logs).await;
    assert!(answer.to_string().contains("damaged"), "{answer}");
    let (_, answer) = server.get(&format!("/api/v2/traces/{id}")).await;
    assert!(!answer.contains("PARTIAL"), "traces are whole: {answer}");
    let answer = server.json(&format!("/tercet/api/v1/lookup/{id}")).await;
    assert_eq!(answer["verdict"]["complete"], false, "{}", answer["verdict"]);
    assert_eq!(answer["spans"].as_array().map(Vec::len), Some(SPANS as usize));
    server.kill().await;

    damage(folder.path(), "traces");
    let server = Server::ready(folder.path(), &[]).await;
    for path in [format!("/api/v2/traces/{id}"), format!("/ds/jaeger/api/traces/{id}")] {
        let answer = server.json(&path).await;
        assert!(answer.to_string().contains("damaged"), "{path}: {answer}");
    }
}
