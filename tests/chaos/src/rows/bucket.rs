//! C: the bucket refuses, forgets to answer, and answers wrongly: a real S3 gateway behind a proxy
//! of our own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tercet::canary::Depth;
use tokio::process::Child;

use crate::proxy::{Proxy, Spoil};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server, tercet_in};
use crate::tools;
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "C1",
        fault: "the bucket answers 503 and 429, first to 10 % of the requests, then to all",
        expected: "writes go on into the log; few requests while it is away; then the backlog \
                   drains; no acknowledged record lost, none doubled",
        tier: Tier::Full,
        run: |case| on_bucket(case, 100, |bench, case| Box::pin(refusals(bench, case))),
    },
    Row {
        id: "C3",
        fault: "PUTs are carried out and their answers are lost",
        expected: "each segment and commit counts once: no record lost, none doubled",
        tier: Tier::Full,
        run: |case| on_bucket(case, 300, |bench, case| Box::pin(lost_answers(bench, case))),
    },
    Row {
        id: "C4",
        fault: "GETs cut, flipped or 404, listings of some time ago",
        expected: "never wrong data: answers are whole or partial; all is there once the bucket is \
                   well",
        tier: Tier::Full,
        run: |case| on_bucket(case, 300, |bench, case| Box::pin(wrong_answers(bench, case))),
    },
    Row {
        id: "C5",
        fault: "a process is stopped (SIGSTOP), another one runs on a copy of its folder, the first \
                goes on",
        expected: "the first one notices, takes nothing more and exits with code 75; no record lost, \
                   none doubled",
        tier: Tier::Full,
        run: |case| on_bucket(case, 300, |bench, case| Box::pin(zombie(bench, case))),
    },
    Row {
        id: "I2-bucket",
        fault: "tercet backup, under load, of a server on a bucket into a bucket; restore into a \
                folder",
        expected: "everything acknowledged before it began is there once, nothing foreign; a second \
                   backup copies next to nothing",
        tier: Tier::Full,
        run: backed_up,
    },
];

const FLAGS: [&str; 8] = [
    "--bucket",
    "s3://telemetry/tercet",
    "--storage-flush-wal-bytes",
    "256KiB",
    "--storage-wal-segment-bytes",
    "1MiB",
    "--storage-disk-min-free",
    "16MiB",
];

/// A gateway that serves a folder as buckets, and the proxy before it.
struct Bucket {
    proxy: Proxy,
    _gateway: Child,
}

impl Bucket {
    async fn start(folder: &Path, seed: u64) -> Result<Bucket, String> {
        let program = tools::find("bin/versitygw").ok_or("versitygw is not installed")?;
        let root = folder.join("buckets");
        std::fs::create_dir_all(root.join("telemetry")).map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{}", tools::free_port());
        let root_text = root.to_string_lossy().into_owned();
        let args = [
            "--access",
            "tester",
            "--secret",
            "tester-secret",
            "--quiet",
            "--port",
            &address,
            "posix",
            &root_text,
        ];
        let gateway = tools::spawn(&program, &args, &folder.join("gateway.log"));
        let start = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(start.elapsed() < tools::PATIENCE, "the S3 gateway does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Bucket { proxy: Proxy::start(&address, seed).await, _gateway: gateway })
    }

    fn variables(&self) -> [(&str, &str); 5] {
        [
            ("AWS_ENDPOINT", self.proxy.address.as_str()),
            ("AWS_ACCESS_KEY_ID", "tester"),
            ("AWS_SECRET_ACCESS_KEY", "tester-secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }

    async fn server(&self, data: &Path) -> Server {
        let server = Server::launch(data, &FLAGS, &self.variables(), &Launch::QUIET).await;
        server.wait_ready(tools::PATIENCE).await;
        server
    }
}

/// Flushes until it succeeds: what waits for the bucket is in it then.
async fn drain(server: &Server) -> Duration {
    let start = Instant::now();
    while server.post("/-/flush", "", Vec::new()).await.0 != 204 {
        assert!(start.elapsed() < tools::PATIENCE, "the backlog does not drain");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

/// A server that keeps its data in a bucket, and somebody who sends to it.
struct Bench {
    bucket: Bucket,
    data: PathBuf,
    server: Server,
    witness: Witness,
}

impl Bench {
    /// A new server with an empty cache, on what a killed one left.
    async fn restart(&mut self) {
        self.server.signal("KILL").await;
        let _code = self.server.ended().await;
        self.server = self.bucket.server(&self.data).await;
    }

    /// Everything is there after a kill as well; what was acknowledged.
    async fn killed_and_whole(mut self) -> String {
        self.restart().await;
        self.witness.check_all(&self.server).await;
        self.witness.acked_text()
    }
}

/// A row on a bucket; `rate` is what is sent. Units: requests a second.
fn on_bucket(
    case: Case,
    rate: u32,
    work: fn(Bench, Case) -> BoxFuture<'static, String>,
) -> Running {
    Box::pin(async move {
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = case.folder.join("data");
        let server = bucket.server(&data).await;
        let bench = Bench { bucket, data, server, witness: Witness::mixed(rate) };
        Outcome::Held(work(bench, case).await)
    })
}

async fn refusals(bench: Bench, case: Case) -> String {
    let Bench { bucket, server, witness, .. } = &bench;
    let sending = witness.send(&server.http);
    bucket.proxy.spoil(Spoil { refuse: 10, ..Spoil::default() });
    tokio::time::sleep(Duration::from_secs(case.rounds(2, 60))).await;
    bucket.proxy.spoil(Spoil { refuse: 100, ..Spoil::default() });
    let (before, acked) = (bucket.proxy.seen().requests, witness.acked());
    let away = Duration::from_secs(case.rounds(3, 600));
    tokio::time::sleep(away).await;
    let asked = (bucket.proxy.seen().requests - before) as f64 / away.as_secs_f64();
    let grown = witness.acked().iter().zip(acked).all(|(now, before)| *now > before);
    assert!(grown, "writes stopped while the bucket was away");
    assert!(asked < 30.0, "{asked:.1} requests a second to a bucket that is away");
    bucket.proxy.spoil(Spoil::default());
    sending.stop().await;
    let drained = drain(server).await;
    witness.check(server).await;
    let acked = bench.killed_and_whole().await;
    format!("{asked:.1} requests a second while away, drained within {drained:.1?}; {acked}")
}

async fn lost_answers(bench: Bench, case: Case) -> String {
    let Bench { bucket, server, witness, .. } = &bench;
    bucket.proxy.spoil(Spoil { lose_answers: 30, ..Spoil::default() });
    witness.send_for(&server.http, Duration::from_secs(case.rounds(3, 60))).await;
    let lost = bucket.proxy.seen().spoiled;
    bucket.proxy.spoil(Spoil::default());
    drain(server).await;
    witness.check(server).await;
    server.upkeep("/-/compact").await;
    let acked = bench.killed_and_whole().await;
    assert!(lost > 0, "no answer was lost");
    format!("{lost} answers lost; {acked}")
}

async fn wrong_answers(mut bench: Bench, case: Case) -> String {
    let time = Duration::from_secs(case.rounds(2, 30));
    bench.witness.send_for(&bench.server.http, time).await;
    drain(&bench.server).await;
    bench.witness.check(&bench.server).await;
    // A server whose cache is empty has to fetch.
    bench.server.signal("TERM").await;
    assert_eq!(bench.server.ended().await.0, Some(0), "exit code");
    bench.server = bench.bucket.server(&bench.data).await;
    let wrong = Spoil { truncate: 20, flip: 20, hide: 10, stale: 30, ..Spoil::default() };
    bench.bucket.proxy.spoil(wrong);
    let mut partial = 0;
    for _ in 0..case.rounds(6, 20) {
        let found = bench.witness.canary.check_settled(&bench.server.http, Depth::Records).await;
        assert!(found.holds(), "{found:#?}");
        partial += u64::from(!found.is_whole());
    }
    let spoiled = bench.bucket.proxy.seen().spoiled;
    bench.bucket.proxy.spoil(Spoil::default());
    let acked = bench.killed_and_whole().await;
    assert!(spoiled > 0, "nothing was spoiled");
    format!("{spoiled} spoiled, {partial} partial; {acked}")
}

async fn zombie(mut bench: Bench, case: Case) -> String {
    bench.witness.send_for(&bench.server.http, Duration::from_secs(2)).await;
    bench.server.signal("STOP").await;
    let second = case.folder.join("second");
    let (from, to) = (bench.data.to_string_lossy(), second.to_string_lossy());
    crate::system::run("cp", &["-a", &from, &to]).expect("a copy");
    let server = bench.bucket.server(&second).await;
    let mut zombie = std::mem::replace(&mut bench.server, server);
    bench.data = second;
    let Bench { server, witness, .. } = &bench;
    witness.check(server).await;
    witness.send_for(&server.http, Duration::from_secs(1)).await;
    drain(server).await;
    zombie.signal("CONT").await;
    let (code, took) = zombie.ended().await;
    assert_eq!(code, Some(75), "exit code of the one that was replaced");
    witness.send_for(&server.http, Duration::from_secs(1)).await;
    drain(server).await;
    witness.check_all(server).await;
    let acked = bench.killed_and_whole().await;
    format!("exit code 75 after {took:.1?}; {acked}")
}

fn backed_up(case: Case) -> Running {
    Box::pin(async move {
        const TARGET: &str = "s3://telemetry/backups";
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let server = bucket.server(&case.folder.join("data")).await;
        let witness = Witness::mixed(300);
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(case.rounds(2, 10))).await;
        witness.canary.doubt();
        let variables = bucket.variables();
        let backup = ["backup", "--from", &server.http, "--to", TARGET];
        let (code, said) = tercet_in(&backup, &variables).await;
        assert_eq!(code, Some(0), "{said}");
        server.kill().await;
        sending.stop().await;
        let server = bucket.server(&case.folder.join("data")).await;
        let again = ["backup", "--from", &server.http, "--to", "s3://telemetry/backups/"];
        let (code, again) = tercet_in(&again, &variables).await;
        assert_eq!(code, Some(0), "{again}");
        assert!(!again.contains(" 0 were there"), "{again}");
        let (code, ids) = tercet_in(&["restore", "--from", TARGET, "--list"], &variables).await;
        assert_eq!((code, ids.lines().count()), (Some(0), 2), "{ids}");
        let restored = case.folder.join("restored");
        let folder = restored.to_str().expect("a path of text");
        let id = ids.lines().next().unwrap_or_default();
        let restore = ["restore", "--from", TARGET, "--backup", id, "--data", folder];
        let (code, told) = tercet_in(&restore, &variables).await;
        assert_eq!(code, Some(0), "{told}");
        let server = Server::ready(&restored, &[]).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{}; {}", witness.acked_text(), said.trim()))
    })
}
