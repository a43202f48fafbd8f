//! Limits of tenants, reloads, and queries that ask too much: E3, F4, G1, G4, I4.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, escape, tercet};
use crate::tools::{PATIENCE, now_s};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E3-quota",
        fault: "a tenant sends more than its rate, in every protocol",
        expected: "429 with Retry-After and what to raise; other tenants 2xx",
        tier: Tier::Fast,
        run: over_quota,
    },
    Row {
        id: "E3-overload",
        fault: "the process has no memory left, asked in every protocol",
        expected: "503 with Retry-After, never 500; health answers",
        tier: Tier::Fast,
        run: overloaded,
    },
    Row {
        id: "F4",
        fault: "a flood of new series and streams",
        expected: "known ones are taken wholly, new ones are refused by name",
        tier: Tier::Fast,
        run: flood,
    },
    Row {
        id: "F4-traces",
        fault: "a flood of new traces, and one that does not end",
        expected: "spans beyond the limits are refused by name; after a flush there is room again",
        tier: Tier::Fast,
        run: flood_of_traces,
    },
    Row {
        id: "E3-retention",
        fault: "a tenant's data is kept for a shorter time than everybody else's",
        expected: "its own goes, that of the others stays",
        tier: Tier::Fast,
        run: own_retention,
    },
    Row {
        id: "G1",
        fault: "queries that want too much memory, too many samples, too long a time",
        expected: "422, 400 or 503 that names the limit, in time; memory stays under its limit",
        tier: Tier::Fast,
        run: monsters,
    },
    Row {
        id: "G4",
        fault: "one tenant asks 200 heavy queries at once",
        expected: "it gets 429; another tenant is refused nothing and waits for none of them",
        tier: Tier::Fast,
        run: noisy_neighbour,
    },
    Row {
        id: "D2-memory",
        fault: "the client of one heavy query hangs up",
        expected: "the query stops, and gives its memory back",
        tier: Tier::Fast,
        run: client_gone,
    },
    Row {
        id: "I4",
        fault: "a wrong settings file, SIGHUP under load, a second process on the folder",
        expected: "old settings stay and it is said; no request fails; exit code 73 within 1 s",
        tier: Tier::Fast,
        run: reloads,
    },
];

/// Writes a settings file; returns its path as text.
fn settings(folder: &Path, text: &str) -> String {
    let path = folder.join("tercet.toml");
    std::fs::write(&path, text).expect("the settings file can be written");
    path.display().to_string()
}

/// A folder for data below that of the case.
fn data(case: &Case) -> std::path::PathBuf {
    case.folder.join("data")
}

/// A line of `/metrics` while nothing is kept for queries.
const NO_QUERY_BYTES: &str = "tercet_memory_used_bytes{pool=\"queries\"} 0\n";
/// A line of `/metrics` while tenant `a` runs one query.
const ONE_RUNS: &str = "tercet_limit_usage{tenant=\"a\",limit=\"limits.query.max_concurrent\"} 1\n";

/// Waits until `/metrics` is as wanted.
async fn until(server: &Server, is_wanted: fn(&str) -> bool) {
    let start = Instant::now();
    loop {
        let page = server.get("/metrics").await.1;
        if is_wanted(&page) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}:\n{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `limits.ingest.max_labels` and where it is set.
async fn max_labels(server: &Server) -> (String, serde_json::Value) {
    let limits = server.json("/tercet/api/v1/limits").await;
    let list = limits["limits"].as_array().expect("a list");
    let found = list.iter().find(|limit| limit["name"] == "limits.ingest.max_labels");
    let found = found.expect("the limit is listed");
    (found["value"].as_str().expect("text").to_owned(), found["source"].clone())
}

/// One request to one tenant.
struct Ask<'a> {
    path: &'a str,
    content_type: &'a str,
    tenant: &'a str,
}

/// Status, `Retry-After`, body.
async fn send(server: &Server, ask: &Ask<'_>, body: Vec<u8>) -> (u16, Option<u64>, String) {
    let request = server
        .client
        .post(format!("{}{}", server.http, ask.path))
        .header("content-type", ask.content_type)
        .header("x-scope-orgid", ask.tenant)
        .body(body);
    let answer = request.send().await.expect(ask.path);
    let wait =
        answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
    let status = answer.status().as_u16();
    (status, wait, String::from_utf8_lossy(&answer.bytes().await.expect(ask.path)).into_owned())
}

fn loki(number: u64, now_ns: u64) -> Vec<u8> {
    let line = format!("line {number} {}", "x".repeat(200));
    format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{now_ns}","{line}"]]}}]}}"#)
        .into_bytes()
}

fn otlp_json(number: u64, now_ns: u64) -> Vec<u8> {
    format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{now_ns}","body":
        {{"stringValue":"record {number} {}"}}}}]}}]}}]}}"#,
        "x".repeat(200)
    )
    .into_bytes()
}

/// Every protocol over HTTP: its path, its content type, and a request that is unlike all others.
type Protocol = (&'static str, &'static str, fn(u64) -> Vec<u8>);

const PROTOCOLS: [Protocol; 5] = [
    ("/v1/logs", "application/x-protobuf", |number| load::logs(number, 5, now_s() * 1_000_000_000)),
    ("/v1/logs", "application/json", |number| otlp_json(number, now_s() * 1_000_000_000)),
    ("/v1/traces", "application/x-protobuf", |number| {
        load::traces(number, 5, now_s() * 1_000_000_000)
    }),
    ("/api/v1/write", "application/x-protobuf", |number| {
        load::metrics(number, 5, (now_s() * 1000 + number) as i64)
    }),
    ("/loki/api/v1/push", "application/json", |number| loki(number, now_s() * 1_000_000_000)),
];

fn over_quota(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(
            &case.folder,
            "[tenants.small.limits.ingest]\nrate_bytes_logs = 100\nrate_bytes_traces = 100\n\
             rate_samples = 1\n",
        );
        let server = Server::ready(&data(&case), &["--config", &file]).await;
        let mut came = String::new();
        for (path, content_type, body) in PROTOCOLS {
            let ask = |tenant| Ask { path, content_type, tenant };
            let mut refused = None;
            for number in 0..20 {
                let (status, wait, text) = send(&server, &ask("small"), body(number)).await;
                assert!(status < 300 || status == 429, "{path} {content_type}: {status} {text}");
                if status == 429 {
                    refused = Some((wait, text));
                    break;
                }
            }
            let (wait, text) = refused.expect("a tenant over its rate is refused");
            assert!(
                wait.is_some_and(|wait| (1..=30).contains(&wait)),
                "{path}: Retry-After {wait:?}"
            );
            for part in ["tercet-err-rate_limited", "tenants.small.limits.ingest.rate_"] {
                assert!(text.contains(part), "{path} {content_type}: {part} is not in {text}");
            }
            let (status, _, text) = send(&server, &ask("other"), body(100)).await;
            assert!(status < 300, "{path}: another tenant got {status} {text}");
            let _infallible = write!(came, "{path} 429 after {wait:?} s, ");
        }
        let (_, page) = server.get("/metrics").await;
        let counted = "tercet_ingest_discarded_bytes_total{tenant=\"small\",signal=\"logs\",reason=\"rate_limited\"}";
        assert!(page.contains(counted), "no {counted}");
        Outcome::Held(came.replace("Some(", "").replace(')', ""))
    })
}

fn overloaded(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::start(&data(&case), &["--memory-limit", "1MiB"]).await;
        until(&server, |page| page.contains("tercet_backpressure_state 2")).await;
        for (path, content_type, body) in PROTOCOLS {
            let ask = Ask { path, content_type, tenant: "any" };
            let (status, wait, text) = send(&server, &ask, body(1)).await;
            assert_eq!(status, 503, "{path} {content_type}: {text}");
            assert!(wait.is_some(), "{path}: no Retry-After");
            assert!(text.contains("tercet-err-memory_full"), "{path}: {text}");
        }
        for path in ["/api/v1/query?query=up", "/loki/api/v1/labels", "/api/traces/abc"] {
            let answer = server.client.get(format!("{}{path}", server.http)).send().await;
            let answer = answer.expect(path);
            assert_eq!(answer.status(), 503, "{path}");
            assert!(answer.headers().contains_key("retry-after"), "{path}: no Retry-After");
        }
        let (status, _) = server.get("/-/healthy").await;
        assert_eq!(status, 200, "health");
        Outcome::Held(
            "503 with Retry-After five times for writes, three times for queries".to_owned(),
        )
    })
}

fn flood(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(
            &case.folder,
            "[limits.ingest]\nmax_active_series = 1000\nmax_active_streams = 50\n",
        );
        let server = Server::ready(&data(&case), &["--config", &file]).await;
        let now_ms = (now_s() * 1000) as i64;
        let write = "/api/v1/write";
        let ask = Ask { path: write, content_type: "application/x-protobuf", tenant: "default" };
        let known = |round: i64| load::metrics(1, 1000, now_ms + round);
        let (status, _, text) = send(&server, &ask, known(0)).await;
        assert_eq!(status, 204, "{text}");
        let rounds = case.rounds(5, 50);
        let flood = load::metrics(2, case.rounds(20_000, 100_000), now_ms + 100_000);
        for round in 1..=rounds as i64 {
            let (status, _, text) = send(&server, &ask, flood.clone()).await;
            if round == 1 {
                assert_eq!(status, 400, "{text}");
                for part in ["tercet-err-max_active_series", "limits.ingest.max_active_series=1000"]
                {
                    assert!(text.contains(part), "{part} is not in {text}");
                }
            }
            let (status, _, text) = send(&server, &ask, known(round)).await;
            assert_eq!(status, 204, "a known series was refused: {text}");
        }
        let count = format!("count({})", load::METRIC);
        let series = server.json(&format!("/api/v1/query?query={}", escape(&count))).await;
        assert_eq!(series["data"]["result"][0]["value"][1], "1000", "{series}");

        let push =
            Ask { path: "/loki/api/v1/push", content_type: "application/json", tenant: "default" };
        let stream = |number: u64, line: u64| {
            let now_ns = now_s() * 1_000_000_000 + line;
            format!(r#"{{"streams":[{{"stream":{{"n":"{number}"}},"values":[["{now_ns}","{line}"]]}}]}}"#)
                .into_bytes()
        };
        let (mut kept, mut refused) = (0, 0);
        for number in 0..case.rounds(200, 2000) {
            match send(&server, &push, stream(number, 0)).await {
                (204, ..) => kept += 1,
                (429, _, text) if text.contains("tercet-err-max_active_streams") => refused += 1,
                (status, _, text) => panic!("stream {number}: {status} {text}"),
            }
        }
        assert_eq!(kept, 50, "streams taken");
        for number in 0..50 {
            let (status, _, text) = send(&server, &push, stream(number, 1)).await;
            assert_eq!(status, 204, "a known stream was refused: {text}");
        }
        Outcome::Held(format!(
            "1000 known series taken {rounds} times amid floods, none of the new ones; 50 streams \
             taken, {refused} refused"
        ))
    })
}

fn flood_of_traces(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(
            &case.folder,
            "[tenants.t.limits.ingest]\nmax_live_traces = 20\nmax_bytes_per_trace = \"20KiB\"\n",
        );
        let server = Server::ready(&data(&case), &["--config", &file]).await;
        let ask =
            |tenant| Ask { path: "/v1/traces", content_type: "application/x-protobuf", tenant };
        let now_ns = now_s() * 1_000_000_000;
        let send = async |tenant, body| {
            let (status, _, text) = send(&server, &ask(tenant), body).await;
            assert_eq!(status, 200, "{text}");
            text
        };
        let (floods, mut refused) = (case.rounds(100, 1000), 0);
        for trace in 0..floods {
            let text = send("t", load::traces(trace, 2, now_ns)).await;
            let key = "limits.ingest.max_live_traces=20";
            let is_refused = text.contains("tercet-err-live_traces") && text.contains(key);
            assert!(is_refused || text.is_empty(), "{text}");
            assert_eq!(is_refused, trace >= 20, "trace {trace}: {text}");
            refused += u64::from(is_refused);
            assert_eq!(send("other", load::traces(trace, 2, now_ns)).await, "");
        }
        assert_eq!(send("t", load::traces(3, 3, now_ns)).await, "", "a known trace goes on");
        let text = send("t", load::traces(5, 1000, now_ns)).await;
        for part in ["tercet-err-trace_too_large", "limits.ingest.max_bytes_per_trace=20480"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let reason = "tenant=\"t\",signal=\"traces\",reason=\"live_traces\"";
        let counted = server.figure("ingest_discarded_records_total", reason).await;
        assert_eq!(counted, 2.0 * refused as f64);
        let next = AtomicU64::new(floods);
        crate::witness::until("a flush makes room for new traces", || async {
            let trace = next.fetch_add(1, Ordering::Relaxed);
            send("t", load::traces(trace, 2, now_ns)).await.is_empty()
        })
        .await;
        Outcome::Held(format!("20 traces taken, {refused} refused, room again after a flush"))
    })
}

fn own_retention(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(&case.folder, "[tenants.short.limits]\nretention = \"2s\"\n");
        let server = Server::ready(&data(&case), &["--config", &file]).await;
        let now_ns = now_s() * 1_000_000_000;
        let path = "/loki/api/v1/push";
        for tenant in ["short", "long"] {
            let ask = Ask { path, content_type: "application/json", tenant };
            let (status, _, text) = send(&server, &ask, loki(1, now_ns)).await;
            assert_eq!(status, 204, "{text}");
        }
        server.upkeep("/-/flush").await;
        crate::witness::until("retention drops what is old", || async {
            server.upkeep("/-/compact").await;
            server.figure("retention_dropped_segments_total", "").await >= 1.0
        })
        .await;
        let ask = format!("/loki/api/v1/query_range?query={}", escape("{a=\"b\"}"));
        let (_, gone, _) = query(&server, "short", &ask).await;
        let (_, there, _) = query(&server, "long", &ask).await;
        assert!(!gone.contains("line 1") && there.contains("line 1"), "{gone}\n{there}");
        Outcome::Held("the one segment of the tenant with 2 s went, the other stayed".to_owned())
    })
}

/// Keeps a metric of many series for some hours.
async fn fill(server: &Server, series: u64, rounds: i64) {
    let now_ms = (now_s() * 1000) as i64;
    for round in 0..rounds {
        let body = load::metrics(round as u64, series, now_ms - (rounds - round) * 15_000);
        let ask =
            Ask { path: "/api/v1/write", content_type: "application/x-protobuf", tenant: "a" };
        let (status, _, text) = send(server, &ask, body).await;
        assert_eq!(status, 204, "{text}");
    }
}

async fn query(server: &Server, tenant: &str, path: &str) -> (u16, String, Duration) {
    let start = Instant::now();
    let request = server.client.get(format!("{}{path}", server.http));
    let answer = request.header("x-scope-orgid", tenant).send().await.expect(path);
    let status = answer.status().as_u16();
    (status, answer.text().await.expect(path), start.elapsed())
}

/// A range query over the last hour.
fn range(text: &str, step_s: u64) -> String {
    let end = now_s();
    let start = end - 3600;
    format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step_s}", escape(text))
}

fn monsters(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(
            &case.folder,
            "[limits.query]\nmax_memory = \"16MiB\"\nmax_samples = 2000000\ntimeout = \"5s\"\n\
             max_range = \"1d\"\n",
        );
        let flags = ["--config", &file, "--memory-limit", "512MiB"];
        let server = Server::ready(&data(&case), &flags).await;
        fill(&server, 2000, case.rounds(40, 240) as i64).await;
        let all = "{__name__=~\".+\"}";
        let mut came = String::new();
        for (text, step_s, status_wanted, id) in [
            (all.to_owned(), 1, 422, "tercet-err-max_"),
            (format!("sum_over_time({all}[30m:1s])"), 15, 422, "tercet-err-max_"),
            (format!("{all} * on(instance) group_left {all}"), 1, 422, "tercet-err-max_"),
            (format!("{all} or {all} offset 1m"), 1, 422, "tercet-err-max_"),
        ] {
            let (status, body, took) = query(&server, "a", &range(&text, step_s)).await;
            assert!(
                status == status_wanted && body.contains(id) || status == 503,
                "{text}: {status} {}",
                &body[..body.len().min(300)]
            );
            assert!(took < Duration::from_secs(30), "{text} took {took:?}");
            let key = "\"config_key\":\"tenants.a.limits.query.max_";
            assert!(status == 503 || body.contains(key), "{text}: {body}");
            let _infallible = write!(came, "{status} in {} ms, ", took.as_millis());
        }
        let (end, start) = (now_s(), now_s() - 200_000);
        let long = format!("/api/v1/query_range?query=up&start={start}&end={end}&step=60");
        let (status, body, _) = query(&server, "a", &long).await;
        assert!(status == 400 && body.contains("tercet-err-range_too_long"), "{status} {body}");
        let page = server.get("/metrics").await.1;
        let figure = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect(name).parse().expect(name)
        };
        let resident = figure("tercet_memory_resident_bytes");
        assert!(resident < 512e6 * 1.1, "resident {resident} bytes");
        until(&server, |page| page.contains(NO_QUERY_BYTES)).await;
        let (status, ..) = query(&server, "a", &range("up", 60)).await;
        assert_eq!(status, 200, "a small query afterwards");
        Outcome::Held(format!("{came}400 for the range; {:.0} MB resident", resident / 1e6))
    })
}

fn noisy_neighbour(case: Case) -> Running {
    Box::pin(async move {
        let flags = ["--server-profile", "multi", "--limits-ingest-rate-samples", "0"];
        let server = Server::ready(&data(&case), &flags).await;
        fill(&server, 2000, 60).await;
        let quiet = "/api/v1/query?query=vector(1)";
        let mut solo = Vec::new();
        for _ in 0..20 {
            let (status, body, took) = query(&server, "b", quiet).await;
            assert_eq!(status, 200, "{body}");
            solo.push(took);
        }
        let heavy = range(&format!("quantile_over_time(0.5, {}[20m])", load::METRIC), 5);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut noisy = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (client, http, heavy) = (server.client.clone(), server.http.clone(), heavy.clone());
            let stopped = stopped.clone();
            noisy.spawn(async move {
                let mut came = Vec::new();
                while !*stopped.borrow() || came.is_empty() {
                    let request = client.get(format!("{http}{heavy}")).header("x-scope-orgid", "a");
                    came.push(request.send().await.map(|answer| answer.status().as_u16()));
                    // Refused at once; it comes back while the others are still at it.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                came
            });
        }
        let mut beside = Vec::new();
        for _ in 0..case.rounds(20, 200) {
            let (status, body, took) = query(&server, "b", quiet).await;
            assert_eq!(status, 200, "the quiet tenant was refused: {body}");
            beside.push(took);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let running = server.get("/metrics").await.1;
        assert!(
            running.contains(
                "tercet_limit_usage{tenant=\"a\",limit=\"limits.query.max_concurrent\"} 2"
            ),
            "the noisy tenant was still at it"
        );
        stop.send_replace(true);
        let (mut refused, mut others) = (0, 0);
        let waiting = async {
            while let Some(ended) = noisy.join_next().await {
                for came in ended.expect("it ends") {
                    match came {
                        Ok(429) => refused += 1,
                        Ok(200 | 422 | 503) | Err(_) => others += 1,
                        Ok(status) => panic!("a heavy query got {status}"),
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("all of them end");
        assert!(refused >= 200 - 64 - 4, "only {refused} of 200 were refused");
        solo.sort_unstable();
        beside.sort_unstable();
        let (solo, beside) = (solo[solo.len() - 2], beside[beside.len() - 2]);
        // One of the noisy tenant's queries takes seconds: who waits for it takes as long.
        assert!(beside < Duration::from_secs(2), "the quiet tenant waited {beside:?}");
        Outcome::Held(format!(
            "noisy: {refused} refused, {others} answered or ended; quiet: none refused, \
             {beside:?} beside it, {solo:?} alone"
        ))
    })
}

fn reloads(case: Case) -> Running {
    Box::pin(async move {
        let file = settings(&case.folder, "[limits.ingest]\nmax_labels = 20\n");
        let server = Server::ready(&data(&case), &["--config", &file]).await;
        assert_eq!(max_labels(&server).await, ("20".to_owned(), "file".into()));

        settings(&case.folder, "[limits.ingest]\nmax_labels = \"many\"\nmax_lables = 1\n");
        let (status, body) = server.post("/-/reload", "", Vec::new()).await;
        assert_eq!(status, 400, "{body}");
        for part in ["max_labels: \"many\"", "max_lables: no such setting"] {
            assert!(body.contains(part), "{part} is not in {body}");
        }
        let page = server.get("/metrics").await.1;
        assert!(page.contains("tercet_config_last_reload_successful 0"));
        assert_eq!(max_labels(&server).await.0, "20", "old settings stay");

        let failed = std::sync::atomic::AtomicU64::new(0);
        let sent = std::sync::atomic::AtomicU64::new(0);
        let order = std::sync::atomic::Ordering::Relaxed;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let loading = async {
            while !stop.load(order) {
                let number = sent.fetch_add(1, order);
                let body = loki(number, now_s() * 1_000_000_000);
                let (status, _) = server.post("/loki/api/v1/push", "application/json", body).await;
                failed.fetch_add(u64::from(status != 204), order);
            }
        };
        let changing = async {
            for labels in 21..21 + case.rounds(2, 20) {
                settings(
                    &case.folder,
                    &format!(
                        "[limits.ingest]\nmax_labels = {labels}\n[tenants.t.limits.ingest]\nmax_labels = 3\n"
                    ),
                );
                server.signal("HUP").await;
                let wanted = labels.to_string();
                let start = Instant::now();
                while max_labels(&server).await.0 != wanted {
                    assert!(start.elapsed() < PATIENCE, "the new limit does not count");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            stop.store(true, order);
        };
        futures_join(loading, changing).await;
        assert_eq!(failed.load(order), 0, "requests failed amid reloads");
        let own = server.json("/api/v1/tenants/t/limits").await;
        let own = own["limits"].as_array().expect("a list").iter();
        let own: Vec<_> = own.filter(|limit| limit["source"] == "tenant").collect();
        assert!(own.len() == 1 && own[0]["value"] == "3", "{own:?}");
        let page = server.get("/metrics").await.1;
        assert!(page.contains("tercet_config_last_reload_successful 1"));

        let start = Instant::now();
        let folder = data(&case).display().to_string();
        let mut args = vec!["serve", "--data", &folder, "--otlp-grpc", "127.0.0.1:0"];
        args.extend(["--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]);
        let (code, said) = tercet(&args).await;
        let took = start.elapsed();
        assert_eq!(code, Some(73), "{said}");
        assert!(said.contains("is used by another process"), "{said}");
        assert!(took < Duration::from_secs(5), "the second process took {took:?}");
        Outcome::Held(format!(
            "{} requests amid reloads, none failed; second process: exit code 73 after {took:?}",
            sent.load(order)
        ))
    })
}

/// Both to their end.
async fn futures_join(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::join!(one, other);
}

/// A heavy query's client hangs up; how long the server goes on with it.
fn client_gone(case: Case) -> Running {
    use tokio::io::AsyncWriteExt as _;

    Box::pin(async move {
        let server = Server::ready(&data(&case), &[]).await;
        fill(&server, 2000, 60).await;
        let mut worst = Duration::ZERO;
        let rounds = case.rounds(2, 20);
        for _ in 0..rounds {
            let address = server.http.strip_prefix("http://").expect("an address");
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let heavy = range(&format!("quantile_over_time(0.5, {}[50m])", load::METRIC), 1);
            let head = format!("GET {heavy} HTTP/1.1\r\nhost: x\r\nx-scope-orgid: a\r\n\r\n");
            socket.write_all(head.as_bytes()).await.expect("it reads");
            until(&server, |page| page.contains(ONE_RUNS)).await;
            drop(socket);
            let start = Instant::now();
            until(&server, |page| !page.contains(ONE_RUNS)).await;
            worst = worst.max(start.elapsed());
        }
        // On a busy machine; a second is what an idle one needs at most.
        assert!(worst < Duration::from_secs(5), "a query went on for {worst:?}");
        let page = server.get("/metrics").await.1;
        let counted = format!("tercet_queries_ended_total{{reason=\"client_gone\"}} {rounds}");
        assert!(page.contains(&counted), "no {counted}");
        assert!(page.contains(NO_QUERY_BYTES), "memory is kept");
        Outcome::Held(format!("{rounds} queries stopped, the last one to within {worst:?}"))
    })
}
