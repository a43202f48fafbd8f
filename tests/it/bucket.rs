//! Segments and catalog in a bucket of a real S3 server: what was flushed outlives the machine that
//! took it in.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::process::{Child, Command};

use chaos::load;
use chaos::server::{Server, binary, escape};
use chaos::tools;

/// A gateway that serves the folders of `root` as buckets.
async fn gateway(program: &Path, root: &Path) -> (Child, String) {
    let address = format!("127.0.0.1:{}", tools::free_port());
    let args =
        ["--access", "tester", "--secret", "tester-secret", "--quiet", "--port", &address, "posix"];
    let root_text = root.to_str().unwrap();
    let args: Vec<&str> = args.into_iter().chain([root_text]).collect();
    let child = tools::spawn(program, &args, &root.with_extension("log"));
    let start = Instant::now();
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        assert!(start.elapsed() < tools::PATIENCE, "the S3 server does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (child, format!("http://{address}"))
}

fn variables(endpoint: &str) -> [(&str, &str); 5] {
    [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", "tester-secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ]
}

async fn count(server: &Server) -> (String, String, usize) {
    let logs = format!("sum(count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
    let logs = server.json(&format!("/loki/api/v1/query?query={}", escape(&logs))).await;
    let samples = format!("sum(count_over_time({}[1h]))", load::METRIC);
    let samples = server.json(&format!("/api/v1/query?query={}", escape(&samples))).await;
    let value = |answer: &serde_json::Value| {
        answer["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned()
    };
    let id = hex::encode(load::trace_id(3));
    let (_, story) = server.get(&format!("/tercet/api/v1/lookup/{id}")).await;
    let story: serde_json::Value = serde_json::from_str(&story).unwrap();
    (value(&logs), value(&samples), story["spans"].as_array().map_or(0, Vec::len))
}

#[tokio::test]
async fn what_was_flushed_into_a_bucket_outlives_the_machine() {
    let Some(program) = tools::find("bin/versitygw") else { return };
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("buckets");
    std::fs::create_dir_all(root.join("telemetry")).unwrap();
    let (_gateway, endpoint) = gateway(&program, &root).await;
    let variables = variables(&endpoint);
    let flags = ["--bucket", "s3://telemetry/tercet"];

    let first = place.path().join("first");
    let server = Server::start_in(&first, &flags, &variables).await;
    server.wait_ready(tools::PATIENCE).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ns = u64::try_from(now.as_nanos()).unwrap();
    let now_ms = now.as_millis() as i64;
    for batch in 0..8 {
        let snappy = load::metrics(batch, 100, now_ms - 60_000 + batch as i64);
        let answer = server
            .client
            .post(format!("{}/api/v1/write", server.http))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .body(snappy);
        assert!(answer.send().await.unwrap().status().is_success());
        for (path, body) in [
            ("/v1/logs", load::logs(batch, 100, now_ns)),
            ("/v1/traces", load::traces(batch, 20, now_ns)),
        ] {
            let (status, answer) = server.post(path, "application/x-protobuf", body).await;
            assert_eq!(status, 200, "{answer}");
        }
        if batch % 2 == 1 {
            assert_eq!(server.post("/-/flush", "", Vec::new()).await.0, 204);
        }
    }
    assert_eq!(server.post("/-/compact", "", Vec::new()).await.0, 204);
    let wanted = ("800".to_owned(), "800".to_owned(), 20);
    assert_eq!(count(&server).await, wanted);
    server.kill().await;
    assert!(!first.join("store").exists(), "nothing but the log lies on the machine");

    // Another machine: an empty folder, the same bucket.
    let second = place.path().join("second");
    let server = Server::start_in(&second, &flags, &variables).await;
    server.wait_ready(tools::PATIENCE).await;
    assert_eq!(count(&server).await, wanted);
    assert_eq!(server.terminate().await.0, Some(0));

    let verified = Command::new(binary())
        .args(["verify", "--data", second.to_str().unwrap()])
        .args(flags)
        .env_remove("TERCET_BIN")
        .env_remove("TERCET_CONFORMANCE")
        .envs(variables)
        .output()
        .await
        .unwrap();
    let report = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{report}");
    assert!(report.contains("all checksums fit"), "{report}");
}
