//! A1 to A5: the process or the power goes at any moment, and the process is asked to go.

use std::path::Path;
use std::time::{Duration, Instant};

use tercet::canary::Options;

use crate::dice::Dice;
use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server};
use crate::system::{self, Mount};
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "A1",
        fault: "kill -9 at random times under mixed load of 8 writers, 4 of which repeat",
        expected: "no acknowledged record lost, none doubled or changed; ready within 10 s; \
                   tercet_prev_shutdown_unclean is 1",
        tier: Tier::Fast,
        run: kills,
    },
    Row {
        id: "A2-ext4",
        fault: "power cut under load: ext4 is shut down without its journal, then kill -9, mount",
        expected: "no acknowledged record lost, none doubled or changed; ready within 10 s",
        tier: Tier::Fast,
        run: |case| power_cuts(case, &["mkfs.ext4", "-qF"]),
    },
    Row {
        id: "A2-xfs",
        fault: "power cut under load: XFS is shut down without its journal, then kill -9, mount",
        expected: "no acknowledged record lost, none doubled or changed; ready within 10 s",
        tier: Tier::Fast,
        run: |case| power_cuts(case, &["mkfs.xfs", "-qf"]),
    },
    Row {
        id: "A4-replay",
        fault: "kill -9 while the log is replayed, three times in a row",
        expected: "no acknowledged record lost, none doubled: replay can be repeated",
        tier: Tier::Fast,
        run: killed_replays,
    },
    Row {
        id: "A4-flush",
        fault: "kill -9 while memory is flushed and segments are merged",
        expected: "no acknowledged record lost, none doubled",
        tier: Tier::Fast,
        run: killed_flushes,
    },
    Row {
        id: "A5",
        fault: "SIGTERM under full load",
        expected: "/-/ready is 503 while requests are still taken; exit code 0 within 30 s; the \
                   next start replays nothing; no acknowledged record lost",
        tier: Tier::Fast,
        run: sigterm,
    },
    Row {
        id: "A5-twice",
        fault: "a second SIGTERM while the first one waits for a request",
        expected: "ends within 1 s; no acknowledged record lost",
        tier: Tier::Fast,
        run: sigterm_twice,
    },
];

/// Small thresholds, so that faults also meet flushes and merges under way.
pub(super) const SMALL: [&str; 8] = [
    "--storage-flush-wal-bytes",
    "1MiB",
    "--storage-wal-segment-bytes",
    "4MiB",
    "--storage-group-commit",
    "500us",
    "--storage-disk-min-free",
    "16MiB",
];
/// `reliability.md`: ready again within this.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// The load of these rows. Units: requests a second.
const RATE: u32 = 600;

/// Starts on what a fault left; how long until it was ready, or how long its own work took where
/// others had the machine.
pub(super) async fn restart(data: &Path, flags: &[&str]) -> (Server, Duration) {
    let start = Instant::now();
    let server = Server::launch(data, flags, &[], &Launch::QUIET).await;
    server.wait_ready(Duration::from_secs(60)).await;
    let took = start.elapsed().min(server.busy());
    assert!(took < READY_WITHIN, "ready only after {took:?}");
    (server, took)
}

fn kills(case: Case) -> Running {
    Box::pin(async move {
        let rounds = case.rounds(20, 200);
        let longest_ms = case.rounds(700, 5000);
        let mut dice = Dice::new(case.seed);
        let witness = Witness::mixed(RATE);
        let mut slowest = Duration::ZERO;
        for round in 0..=rounds {
            let (server, took) = restart(&case.folder, &SMALL).await;
            slowest = slowest.max(took);
            let unclean = server.figure("prev_shutdown_unclean", "").await;
            assert_eq!(unclean, if round == 0 { 0.0 } else { 1.0 }, "prev_shutdown_unclean");
            witness.check(&server).await;
            if round == rounds {
                witness.check_all(&server).await;
                break;
            }
            let sending = witness.send(&server.http);
            tokio::time::sleep(dice.ms(50, longest_ms)).await;
            server.kill().await;
            sending.stop().await;
        }
        let acked = witness.acked_text();
        Outcome::Held(format!("{rounds} kills: {acked}; ready after at most {slowest:.1?}"))
    })
}

fn power_cuts(case: Case, make: &'static [&'static str]) -> Running {
    Box::pin(async move {
        let mut mount = match Mount::image(&case.folder, make, "512M") {
            Ok(mount) => mount,
            Err(why) => return Outcome::Skipped(why),
        };
        if let Err(why) = system::run("xfs_io", &["-V"]) {
            return Outcome::Skipped(format!("{why} (package xfsprogs)"));
        }
        let rounds = case.rounds(2, 25);
        let mut dice = Dice::new(case.seed);
        let witness = Witness::mixed(RATE);
        let data = mount.path.join("data");
        let mut slowest = Duration::ZERO;
        for _cut in 0..rounds {
            let (server, took) = restart(&data, &SMALL).await;
            slowest = slowest.max(took);
            witness.check(&server).await;
            let sending = witness.send(&server.http);
            tokio::time::sleep(dice.ms(300, 3000)).await;
            // An fdatasync that the shutdown meets half-way can succeed although ext4 has not noted
            // that the blocks are written. Where power goes nobody hears of that any more.
            witness.canary.doubt();
            mount.cut_power().expect("the file system can be shut down");
            tokio::time::sleep(dice.ms(0, 300)).await;
            server.kill().await;
            sending.stop().await;
            mount.unmount().expect("nobody holds it");
            mount.mount().expect("its journal can be replayed");
        }
        let (server, took) = restart(&data, &SMALL).await;
        witness.check_all(&server).await;
        server.kill().await;
        mount.unmount().expect("nobody holds it");
        let acked = witness.acked_text();
        let slowest = slowest.max(took);
        Outcome::Held(format!("{rounds} cuts: {acked}; ready after at most {slowest:.1?}"))
    })
}

/// Makes a log that takes a while to replay, beside what the witness looks at.
async fn lengthen_log(server: &Server, bytes: f64) {
    let now_ns = crate::tools::now_s() * 1_000_000_000;
    let mut batch = 0;
    while server.figure("wal_bytes", "traces").await < bytes {
        let bodies = (batch..batch + 8).map(|number| load::traces(number, 2000, now_ns));
        let sent = bodies.map(|body| server.post("/v1/traces", "application/x-protobuf", body));
        for (status, answer) in futures::future::join_all(sent).await {
            assert_eq!(status, 200, "{answer}");
        }
        batch += 8;
    }
}

fn killed_replays(case: Case) -> Running {
    Box::pin(async move {
        // A log that is never flushed: each start replays it.
        const LONG: [&str; 6] = [
            "--storage-flush-wal-bytes",
            "8GiB",
            "--storage-flush-memory-bytes",
            "8GiB",
            "--storage-memtable-max-bytes",
            "8GiB",
        ];
        let rounds = case.rounds(2, 50);
        let mut dice = Dice::new(case.seed);
        let (records, rate) = (400, case.rounds(100, 20) as u32);
        let witness = Witness::new(Options { records, rate, ..Options::default() });
        let (mut met, mut kills) = (0, 0);
        for round in 0..rounds {
            let (server, _) = restart(&case.folder, &LONG).await;
            witness.check(&server).await;
            witness.send_for(&server.http, dice.ms(500, 1000)).await;
            if round == 0 {
                lengthen_log(&server, case.rounds(48 << 20, 128 << 20) as f64).await;
            }
            server.kill().await;
            for _again in 0..3 {
                // Writes are taken, and what was there before is still coming back.
                let server = Server::launch(&case.folder, &LONG, &[], &Launch::QUIET).await;
                tokio::time::sleep(dice.ms(0, 60)).await;
                met += u64::from(server.get("/-/ready").await.0 == 503);
                kills += 1;
                server.kill().await;
            }
        }
        let (server, took) = restart(&case.folder, &LONG).await;
        witness.check_all(&server).await;
        assert!(met * 2 > kills, "only {met} of {kills} kills met a replay");
        let acked = witness.acked_text();
        Outcome::Held(format!(
            "{kills} kills after a start, {met} of them during replay: {acked}; ready after {took:.1?}"
        ))
    })
}

fn killed_flushes(case: Case) -> Running {
    Box::pin(async move {
        let rounds = case.rounds(4, 50);
        let mut dice = Dice::new(case.seed);
        let witness = Witness::mixed(RATE);
        for _round in 0..rounds {
            let (server, _) = restart(&case.folder, &SMALL).await;
            witness.check(&server).await;
            let sending = witness.send(&server.http);
            tokio::time::sleep(dice.ms(200, 500)).await;
            let ask = |path: &str| server.client.post(format!("{}{path}", server.http)).send();
            let upkeep = async { tokio::join!(ask("/-/flush"), ask("/-/compact")) };
            // They are cut short at any point, or just done.
            drop(tokio::time::timeout(dice.ms(0, 250), upkeep).await);
            server.kill().await;
            sending.stop().await;
        }
        let (server, _) = restart(&case.folder, &SMALL).await;
        witness.check_all(&server).await;
        server.upkeep("/-/compact").await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{rounds} kills: {}", witness.acked_text()))
    })
}

fn sigterm(case: Case) -> Running {
    Box::pin(async move {
        let delay = [&SMALL[..], &["--server-shutdown-delay", "1s"]].concat();
        let mut server = Server::ready(&case.folder, &delay).await;
        let witness = Witness::mixed(RATE);
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        server.signal("TERM").await;
        let told = loop {
            let answer = server.client.get(format!("{}/-/ready", server.http)).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Ok(503) => break start.elapsed(),
                Ok(200) if start.elapsed() < Duration::from_secs(5) => {}
                other => panic!("/-/ready before the end: {other:?}"),
            }
        };
        let before: u64 = witness.acked().iter().sum();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let meanwhile = witness.acked().iter().sum::<u64>() - before;
        assert!(meanwhile > 0, "requests are taken while /-/ready says 503");
        let (code, _) = server.ended().await;
        let took = start.elapsed();
        assert_eq!(code, Some(0), "exit code");
        assert!(took < Duration::from_secs(30), "ended only after {took:?}");
        sending.stop().await;
        let (server, ready) = restart(&case.folder, &SMALL).await;
        assert_eq!(server.figure("prev_shutdown_unclean", "").await, 0.0);
        assert_eq!(server.figure("wal_replayed_entries_total", "").await, 0.0);
        witness.check_all(&server).await;
        Outcome::Held(format!(
            "ready said 503 after {told:.1?}, exit code 0 after {took:.1?}, nothing to replay, \
             ready again after {ready:.1?}; {}",
            witness.acked_text()
        ))
    })
}

fn sigterm_twice(case: Case) -> Running {
    Box::pin(async move {
        let mut server = Server::ready(&case.folder, &SMALL).await;
        let witness = Witness::mixed(RATE);
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        // A request whose body does not come: the first signal waits for it.
        let address = server.http.trim_start_matches("http://").to_owned();
        let mut slow = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
                    content-length: 1000\r\n\r\nx";
        tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("TERM").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.signal("TERM").await;
        let (code, took) = server.ended().await;
        assert_eq!(code, Some(1), "exit code of an end in a hurry");
        assert!(took < Duration::from_secs(1), "ended only after {took:?}");
        let (server, _) = restart(&case.folder, &SMALL).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("exit code 1 after {took:.1?}; {}", witness.acked_text()))
    })
}
