//! What a start finds: a long log, an orderly end, tighter limits, damage. Kills at random times
//! under load are row A1 of `tests/chaos`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chaos::load;
use chaos::server::{Server, escape};

/// `reliability.md`: ready again within this, with up to 64 MB of unflushed log for each signal.
const READY_WITHIN: Duration = Duration::from_secs(2);
const RECORDS: u64 = 200;
const SPANS: u64 = 50;

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
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
    // Where it is not found it may be in what could not be read.
    let unknown = "0102030405060708090a0b0c0d0e0f10";
    let (status, answer) = server.get(&format!("/ds/jaeger/api/traces/{unknown}")).await;
    assert!(status == 404 && answer.contains("damaged"), "{status} {answer}");
    for path in [
        format!("/ds/tempo/api/traces/{unknown}"),
        format!("/ds/tempo/api/traces/{id}"),
        "/api/services".to_owned(),
    ] {
        let answer = server.client.get(format!("{}{path}", server.http)).send().await.unwrap();
        let warning = answer.headers().get("warning").map(|it| it.to_str().unwrap().to_owned());
        assert!(warning.is_some_and(|it| it.contains("damaged")), "{path}");
    }
}
