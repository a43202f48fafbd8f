//! A6 to A10, I7 and the flipped bits: what is damaged or interrupted in the store, in a simulated
//! machine (`storage::sim`) where thousands of cases take minutes, and once each on a real server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage::sim::{self, Damages, Flips, Moment, Plan, Report};

use crate::dice::Dice;
use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server};
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "A1-1GiB",
        fault: "kill -9 with 1 GiB of log that is in no segment",
        expected: "requests are taken within 2 s, ready within 10 s (of the server's own work, where \
                   others have the machine); answers before that say what they lack; nothing lost",
        tier: Tier::Full,
        run: gibibyte,
    },
    Row {
        id: "A6",
        fault: "the machine goes down before, amid and after each step of the commit path (simulated)",
        expected: "no acknowledged record lost or doubled; the same seed makes the same steps",
        tier: Tier::Fast,
        run: commit_path,
    },
    Row {
        id: "A7",
        fault: "a log of 64 KiB is cut at every byte (simulated)",
        expected: "it opens; every whole request is there; one torn tail is counted, no alarm",
        tier: Tier::Fast,
        run: |case| damages(case, |case| sim::cut_log(case.seed, case.rounds(211, 1) as usize)),
    },
    Row {
        id: "A8",
        fault: "each byte in the middle of a log is flipped; a file removed, two swapped, a hole of \
                zeros (simulated)",
        expected: "it opens; everything before and after is there; the damage is counted and named \
                   in answers; nothing is deleted",
        tier: Tier::Fast,
        run: |case| damages(case, |case| sim::damage_log(case.seed, case.rounds(31, 1) as usize)),
    },
    Row {
        id: "A8-server",
        fault: "a byte in the middle of a real server's log is flipped after kill -9",
        expected: "it starts; tercet_wal_corruptions_total 1, tercet_data_loss_suspected 1; the bytes \
                   lie in quarantine/; answers are partial and name the log file",
        tier: Tier::Full,
        run: flipped_log,
    },
    Row {
        id: "A9",
        fault: "each segment file cut at each 512 bytes, each byte of its end flipped (simulated)",
        expected: "verify finds each; answers are right, or partial; no merge consumes the segment",
        tier: Tier::Fast,
        run: |case| {
            damages(case, |case| sim::damage_segments(case.seed, case.rounds(19, 1) as usize))
        },
    },
    Row {
        id: "A9-bits",
        fault: "single bits flipped in files of every kind (simulated): 10,000 in a full run",
        expected: "verify finds every one; the store opens; no wrong data; nothing is deleted",
        tier: Tier::Fast,
        run: bits,
    },
    Row {
        id: "A9-server",
        fault: "a segment of a real server is flipped, then tercet verify and a restart",
        expected: "verify exits 2 and names file, signal, tenant and time; the server starts, its \
                   answers are partial and name the segment",
        tier: Tier::Full,
        run: flipped_segment,
    },
    Row {
        id: "A9-traces",
        fault: "a segment of a real server's traces is cut",
        expected: "every search, in Jaeger's dialect and Zipkin's, says which segment it lacks",
        tier: Tier::Fast,
        run: cut_traces,
    },
    Row {
        id: "A10",
        fault: "the catalog deleted, emptied, cut, its objects one by one, an old copy, a double \
                (simulated)",
        expected: "everything is there once; no segment file is deleted",
        tier: Tier::Fast,
        run: |case| damages(case, |case| sim::damage_catalog(case.seed)),
    },
    Row {
        id: "I7",
        fault: "seeded simulation: crashes, torn and lost writes, disk and bucket faults, clock jumps; \
                10,000 seeds in a full run",
        expected: "no promise broken; a mutation of the disk is noticed",
        tier: Tier::Fast,
        run: seeds,
    },
];

/// Runs work that computes, off the threads that serve others.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

fn damages(case: Case, work: fn(&Case) -> Damages) -> Running {
    Box::pin(async move {
        let Damages { cases, partial, problem } = computed(move || work(&case)).await;
        assert_eq!(problem, None);
        Outcome::Held(format!("{cases} cases, {partial} with partial answers"))
    })
}

fn bits(case: Case) -> Running {
    Box::pin(async move {
        let count = case.rounds(200, 10_000);
        let Flips { flips, torn, partial, problem } =
            computed(move || sim::flip_bits(case.seed, count)).await;
        assert_eq!(problem, None);
        Outcome::Held(format!(
            "{count} flips in {} kinds of files found; {partial} with partial answers, {torn} in a \
             log's last request, which verify notes",
            flips.len()
        ))
    })
}

/// A run must hold; its trace is printed if not.
fn must_hold(report: &Report) {
    if let Some(problem) = &report.problem {
        for line in &report.trace {
            println!("{line}");
        }
        panic!("seed {}: {problem}", report.seed);
    }
}

fn commit_path(case: Case) -> Running {
    Box::pin(async move {
        let rounds = case.rounds(1, 40);
        let (crashes, acknowledged) = computed(move || {
            let (mut crashes, mut acknowledged) = (0, 0);
            let mut seed = case.seed;
            for point in sim::points() {
                for moment in [Moment::Before, Moment::Amid, Moment::After] {
                    for _ in 0..rounds {
                        seed = seed.wrapping_add(1);
                        let crash = Some((point, moment));
                        let report = sim::run_plan(Plan { seed, crash, ..Plan::default() });
                        must_hold(&report);
                        crashes += report.crashes;
                        acknowledged += report.acknowledged;
                    }
                }
            }
            (crashes, acknowledged)
        })
        .await;
        assert!(crashes > 20, "only {crashes} crashes");
        let points = sim::points().len();
        Outcome::Held(format!(
            "{points} steps, {crashes} crashes, {acknowledged} requests acknowledged, none lost"
        ))
    })
}

/// What seeds have come to.
#[derive(Default)]
struct Sum {
    crashes: u64,
    steps: u64,
    acknowledged: u64,
}

/// Runs seeds until none is left, or until another thread has broken a promise.
fn run_seeds(case: &Case, count: u64, next: &AtomicU64) -> Sum {
    let mut sum = Sum::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return sum;
        }
        // Every other machine's clients send again what nobody acknowledged in an earlier life.
        let seed = case.seed.wrapping_add(number);
        let plan = Plan { seed, resends: number % 2 == 1, ..Plan::default() };
        let report = sim::run_plan(plan);
        if report.problem.is_some() {
            next.store(count, Ordering::Relaxed);
        }
        must_hold(&report);
        if number.is_multiple_of(500) {
            let again = sim::run_plan(plan);
            assert_eq!(again.hash, report.hash, "seed {} makes other steps", report.seed);
        }
        sum.crashes += report.crashes;
        sum.steps += report.steps;
        sum.acknowledged += report.acknowledged;
    }
}

fn seeds(case: Case) -> Running {
    Box::pin(async move {
        let count = case.rounds(100, 10_000);
        let start = Instant::now();
        // Each seed is a machine of its own, so that every core can take the next one.
        let next = Arc::new(AtomicU64::new(0));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (0..cores).map(|_| {
            let (case, next) = (case.clone(), Arc::clone(&next));
            tokio::task::spawn_blocking(move || run_seeds(&case, count, &next))
        });
        let mut all = Sum::default();
        for sum in futures::future::join_all(workers).await {
            let sum = match sum {
                Ok(sum) => sum,
                Err(broken) => std::panic::resume_unwind(broken.into_panic()),
            };
            all.crashes += sum.crashes;
            all.steps += sum.steps;
            all.acknowledged += sum.acknowledged;
        }
        let Sum { crashes, steps, acknowledged } = all;
        let took = start.elapsed();
        Outcome::Held(format!(
            "{count} seeds: {steps} steps, {crashes} crashes, {acknowledged} requests acknowledged, \
             none lost; {took:.0?} on {cores} cores"
        ))
    })
}

/// All files below a folder whose name ends like this, in order.
pub(super) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("it can be read");
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).expect("it can be written");
}

fn flipped_log(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        let now_ns = crate::tools::now_s() * 1_000_000_000;
        for batch in 0..20 {
            let body = load::logs(batch, 50, now_ns);
            let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
            assert_eq!(answer.0, 200, "{}", answer.1);
        }
        server.kill().await;
        let logs = files(&case.folder.join("wal/logs"), ".log");
        let bytes = std::fs::read(&logs[0]).expect("a log");
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        let mut dice = Dice::new(case.seed);
        let at = dice.between(used as u64 / 4, used as u64 / 2) as usize;
        flip(&logs[0], at);
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        server.wait_ready(Duration::from_secs(60)).await;
        assert_eq!(server.figure("wal_corruptions_total", "logs").await, 1.0);
        assert_eq!(server.figure("data_loss_suspected", "").await, 1.0);
        let name = logs[0].file_name().expect("a name").to_string_lossy().into_owned();
        let kept = files(&case.folder.join("quarantine"), "").len();
        assert!(kept >= 1, "nothing in quarantine/");
        let query = crate::server::escape("count_over_time({service_name=\"crash\"}[1h])");
        let path = format!("/loki/api/v1/query?query={query}&time={}", crate::tools::now_s() + 1);
        let (status, answer) = server.get(&path).await;
        assert_eq!(status, 200, "{answer}");
        assert!(
            answer.contains(&name) && answer.contains("entries "),
            "it names no loss: {answer}"
        );
        assert!(logs[0].exists(), "the damaged log was deleted");
        Outcome::Held(format!("byte {at} of {name}; {kept} copies in quarantine/"))
    })
}

fn flipped_segment(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        let now_ns = crate::tools::now_s() * 1_000_000_000;
        let body = load::logs(1, 2000, now_ns);
        let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0));
        let segment = files(&case.folder.join("store/segments"), ".parquet").remove(0);
        let bytes = std::fs::metadata(&segment).expect("a segment").len();
        let at = Dice::new(case.seed).between(0, bytes) as usize;
        flip(&segment, at);
        let mut verify = tokio::process::Command::new(crate::server::binary());
        let verify = verify.env_remove("TERCET_BIN").args(["verify", "--data"]).arg(&case.folder);
        let verify = verify.output().await;
        let verify = verify.expect("it runs");
        let report = String::from_utf8_lossy(&verify.stdout).into_owned();
        assert_eq!(verify.status.code(), Some(2), "{report}");
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        for word in [name.as_str(), "2000 records of logs", "tenant default", "segment files"] {
            assert!(report.contains(word), "{word} is not in {report}");
        }
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        server.wait_ready(Duration::from_secs(60)).await;
        let query = crate::server::escape("{service_name=\"crash\"} |= `GET`");
        let path = format!("/loki/api/v1/query_range?query={query}&limit=5000&since=1h");
        let (status, answer) = server.get(&path).await;
        assert_eq!(status, 200, "{answer}");
        let id = name.split('.').next().unwrap_or_default();
        assert!(answer.contains(id), "it does not name the segment: {}", &answer[..300]);
        assert!(segment.exists());
        Outcome::Held(format!("byte {at} of {name}"))
    })
}

/// What is answered from rows; names of services and operations are in the segments' statistics.
const SEARCHES: [&str; 3] = [
    "/api/traces?service=crash&lookback=1h",
    "/api/dependencies?lookback=3600000",
    "/api/v2/traces?serviceName=crash",
];

fn cut_traces(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        let body = load::traces(1, 200, crate::tools::now_s() * 1_000_000_000);
        let answer = server.post("/v1/traces", "application/x-protobuf", body).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0));
        let segment = files(&case.folder.join("store/segments"), ".parquet").remove(0);
        let bytes = std::fs::read(&segment).expect("a segment");
        std::fs::write(&segment, &bytes[..bytes.len() / 3]).expect("it can be written");
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        let id = name.split('.').next().unwrap_or_default();
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        server.wait_ready(Duration::from_secs(60)).await;
        for path in SEARCHES {
            let asked = server.client.get(format!("{}{path}", server.http)).send().await;
            let answer = asked.expect(path);
            let told = format!("{:?}", answer.headers().get("warning"));
            let status = answer.status();
            let body = answer.text().await.expect("a body");
            assert_eq!(status, 200, "{path}: {body}");
            assert!(told.contains(id), "{path} does not name {id}: {told} {body}");
            let is_jaeger = !path.starts_with("/api/v2/");
            assert!(!is_jaeger || body.contains(id), "{path} does not name {id}: {body}");
        }
        Outcome::Held(format!("{} searches name {name}", SEARCHES.len()))
    })
}

/// Lets so much stay in the log.
const UNFLUSHED: [&str; 10] = [
    "--storage-wal-max-bytes",
    "8GiB",
    "--storage-flush-wal-bytes",
    "8GiB",
    "--storage-memtable-max-bytes",
    "12GiB",
    "--storage-flush-memory-bytes",
    "12GiB",
    "--storage-flush-age",
    "2h",
];

/// Remote write is known by its encoding.
async fn remote_write(server: &Server, body: Vec<u8>) -> (u16, String) {
    let request = server.client.post(format!("{}/api/v1/write", server.http));
    let request = request.header("content-type", "application/x-protobuf");
    let answer = request.header("content-encoding", "snappy").body(body).send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// What an answer must not keep silent about.
const REPLAYING: &str = "it is being replayed";

/// A question in each dialect, about data that is in the log.
fn questions(now_s: u64) -> [(&'static str, String); 5] {
    let escape = crate::server::escape;
    let trace = hex::encode(load::trace_id(1));
    let logs = escape(&format!("{{service_name=\"{}\"}}", load::SERVICE));
    let samples = escape("count({job=\"crash\"})");
    [
        ("Prometheus", format!("/api/v1/query?query={samples}&time={now_s}")),
        ("Loki", format!("/loki/api/v1/query_range?query={logs}&limit=1&since=1h")),
        ("Tempo", format!("/api/v2/traces/{trace}")),
        ("Jaeger", format!("/ds/jaeger/api/traces/{trace}")),
        ("lookup", format!("/tercet/api/v1/lookup/{trace}")),
    ]
}

/// Sends requests of a signal until its log has a third of a gibibyte.
async fn fill(server: &Server, signal: &'static str, now_ns: u64) {
    const THIRD: f64 = ((1u64 << 30) / 3) as f64;
    let labels = format!("signal=\"{signal}\"");
    let mut batch = 0;
    while server.figure("wal_bytes", &labels).await < THIRD {
        for _ in 0..16 {
            batch += 1;
            let protobuf = "application/x-protobuf";
            let (status, why) = match signal {
                "logs" => server.post("/v1/logs", protobuf, load::logs(batch, 3000, now_ns)).await,
                "traces" => {
                    server.post("/v1/traces", protobuf, load::traces(batch, 2000, now_ns)).await
                }
                _ => {
                    let start_ms = (now_ns / 1_000_000).cast_signed() - 1_800_000;
                    remote_write(server, load::scrape(batch, 2000, start_ms)).await
                }
            };
            assert!((200..300).contains(&status), "{status}: {why}");
        }
    }
}

fn gibibyte(case: Case) -> Running {
    Box::pin(async move {
        const GIB: f64 = (1u64 << 30) as f64;
        let server = Server::launch(&case.folder, &UNFLUSHED, &[], &Launch::QUIET).await;
        let witness = Witness::mixed(200);
        witness.send_for(&server.http, Duration::from_secs(3)).await;
        let now_ns = crate::tools::now_s() * 1_000_000_000;
        tokio::join!(
            fill(&server, "metrics", now_ns),
            fill(&server, "logs", now_ns),
            fill(&server, "traces", now_ns),
        );
        let log_bytes = server.figure("wal_bytes", "").await;
        server.kill().await;
        // As anybody starts it: what made the log so long is over.
        let start = Instant::now();
        let server = Server::launch(&case.folder, &[], &[], &Launch::QUIET).await;
        let mut early = Vec::new();
        for (dialect, path) in questions(now_ns / 1_000_000_000) {
            early.push((dialect, server.get(&path).await));
        }
        let body = load::logs(u64::from(u32::MAX), 1, now_ns);
        let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        let (open_wall, open) = (start.elapsed(), start.elapsed().min(server.busy()));
        assert_eq!(server.get("/-/ready").await.0, 503, "replay was over before it was looked at");
        assert!(open < Duration::from_secs(2), "requests are taken after {open:?}");
        server.wait_ready(Duration::from_secs(120)).await;
        let (ready_wall, ready) = (start.elapsed(), start.elapsed().min(server.busy()));
        assert!(ready < Duration::from_secs(10), "ready after {ready:?}");
        for (dialect, (status, answer)) in early {
            assert!(
                status == 503 || answer.contains(REPLAYING),
                "{dialect} does not say what it lacks: {status} {answer}"
            );
        }
        for (dialect, path) in questions(now_ns / 1_000_000_000) {
            let (status, answer) = server.get(&path).await;
            assert_eq!(status, 200, "{dialect}: {answer}");
            assert!(!answer.contains(REPLAYING), "{dialect} is still partial: {answer}");
        }
        witness.check_all(&server).await;
        Outcome::Held(format!(
            "{:.2} GiB of log: requests taken after {open:.1?} ({open_wall:.1?} by the clock), ready \
             after {ready:.1?} ({ready_wall:.1?}); {}",
            log_bytes / GIB,
            witness.acked_text()
        ))
    })
}
