//! C: the bucket refuses, forgets to answer, and answers wrongly: a real S3 gateway behind a proxy
//! of our own.

use std::path::Path;
use std::time::{Duration, Instant};

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
        run: refusals,
    },
    Row {
        id: "C3",
        fault: "PUTs are carried out and their answers are lost",
        expected: "each segment and commit counts once: no record lost, none doubled",
        tier: Tier::Full,
        run: lost_answers,
    },
    Row {
        id: "C4",
        fault: "GETs cut, flipped or 404, listings of some time ago",
        expected: "never wrong data: answers are whole or partial; all is there once the bucket is \
                   well",
        tier: Tier::Full,
        run: wrong_answers,
    },
    Row {
        id: "C5",
        fault: "a process is stopped (SIGSTOP), another one runs on a copy of its folder, the first \
                goes on",
        expected: "the first one notices, takes nothing more and exits with code 75; no record lost, \
                   none doubled",
        tier: Tier::Full,
        run: zombie,
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

fn refusals(case: Case) -> Running {
    Box::pin(async move {
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = case.folder.join("data");
        let server = bucket.server(&data).await;
        let witness = Witness::mixed(300);
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
        let drained = drain(&server).await;
        witness.check(&server).await;
        server.kill().await;
        let server = bucket.server(&data).await;
        witness.check_all(&server).await;
        Outcome::Held(format!(
            "{asked:.1} requests a second while away, drained within {drained:.1?}; {}",
            witness.acked_text()
        ))
    })
}

fn lost_answers(case: Case) -> Running {
    Box::pin(async move {
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = case.folder.join("data");
        let server = bucket.server(&data).await;
        let witness = Witness::mixed(300);
        bucket.proxy.spoil(Spoil { lose_answers: 30, ..Spoil::default() });
        witness.send_for(&server.http, Duration::from_secs(case.rounds(3, 60))).await;
        let lost = bucket.proxy.seen().spoiled;
        bucket.proxy.spoil(Spoil::default());
        drain(&server).await;
        witness.check(&server).await;
        assert_eq!(server.post("/-/compact", "", Vec::new()).await.0, 204);
        server.kill().await;
        let server = bucket.server(&data).await;
        witness.check_all(&server).await;
        assert!(lost > 0, "no answer was lost");
        Outcome::Held(format!("{lost} answers lost; {}", witness.acked_text()))
    })
}

fn wrong_answers(case: Case) -> Running {
    Box::pin(async move {
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = case.folder.join("data");
        let server = bucket.server(&data).await;
        let witness = Witness::mixed(300);
        witness.send_for(&server.http, Duration::from_secs(case.rounds(2, 30))).await;
        drain(&server).await;
        witness.check(&server).await;
        // A server whose cache is empty has to fetch.
        assert_eq!(server.terminate().await.0, Some(0), "exit code");
        let server = bucket.server(&data).await;
        bucket.proxy.spoil(Spoil {
            truncate: 20,
            flip: 20,
            hide: 10,
            stale: 30,
            ..Spoil::default()
        });
        let mut partial = 0;
        for _ in 0..case.rounds(6, 60) {
            let found = witness.canary.check_settled(&server.http, tercet::canary::Depth::Records);
            let found = found.await;
            assert!(found.holds(), "{found:#?}");
            partial += u64::from(!found.is_whole());
        }
        let spoiled = bucket.proxy.seen().spoiled;
        bucket.proxy.spoil(Spoil::default());
        server.kill().await;
        let server = bucket.server(&data).await;
        witness.check_all(&server).await;
        assert!(spoiled > 0, "nothing was spoiled");
        Outcome::Held(format!("{spoiled} spoiled, {partial} partial; {}", witness.acked_text()))
    })
}

fn zombie(case: Case) -> Running {
    Box::pin(async move {
        let bucket = match Bucket::start(&case.folder, case.seed).await {
            Ok(bucket) => bucket,
            Err(why) => return Outcome::Skipped(why),
        };
        let (first, second) = (case.folder.join("first"), case.folder.join("second"));
        let mut zombie = bucket.server(&first).await;
        let witness = Witness::mixed(300);
        witness.send_for(&zombie.http, Duration::from_secs(2)).await;
        zombie.signal("STOP").await;
        let (from, to) = (first.to_string_lossy(), second.to_string_lossy());
        crate::system::run("cp", &["-a", &from, &to]).expect("a copy");
        let server = bucket.server(&second).await;
        witness.check(&server).await;
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        drain(&server).await;
        zombie.signal("CONT").await;
        let (code, took) = zombie.ended().await;
        assert_eq!(code, Some(75), "exit code of the one that was replaced");
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        drain(&server).await;
        witness.check_all(&server).await;
        server.kill().await;
        let server = bucket.server(&second).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("exit code 75 after {took:.1?}; {}", witness.acked_text()))
    })
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
