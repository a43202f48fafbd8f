//! I3: the clock is wrong at the start, and jumps while records are written. I5 and I6 cannot run yet.

use std::path::PathBuf;
use std::time::Duration;

use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server, tercet};
use crate::witness::{Witness, until};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "I3",
        fault: "started with the clock 1 year ahead, 1 hour behind, 10 years ahead, kill -9 under \
                load in between",
        expected: "no acknowledged record lost, none doubled; retention drops nothing and says so",
        tier: Tier::Fast,
        run: wrong_at_start,
    },
    Row {
        id: "I3-jump",
        fault: "the clock jumps ahead and back while records are written",
        expected: "no acknowledged record lost, none doubled; flushes go on in time; queries answer",
        tier: Tier::Fast,
        run: jumps,
    },
    Row {
        id: "I3-confirm",
        fault: "retention after a jump of 1 year, looked at and confirmed with tercet retention",
        expected: "more than a quarter of the data goes only after that; a second start waits as well",
        tier: Tier::Fast,
        run: confirmed,
    },
    Row {
        id: "I5",
        fault: "kill -9 while alerts are pending and firing; the webhook is down or slow",
        expected: "state kept; at least one notification for each transition; the queue bounded",
        tier: Tier::Full,
        run: |_| {
            Box::pin(async { Outcome::Skipped("there are no rules and no alerts yet".to_owned()) })
        },
    },
    Row {
        id: "I6",
        fault: "a panic in a handler, in a merge, in the thread of the log",
        expected: "500 for that request only; the merge is tried again, then its segments are left \
                   alone; the process aborts and no acknowledged record is lost",
        tier: Tier::Full,
        run: |_| {
            let why = "nothing makes the shipped binary panic on purpose; tests of doors and store \
                       make handlers and merges panic";
            Box::pin(async move { Outcome::Skipped(why.to_owned()) })
        },
    },
];

/// The load of these rows. Units: requests a second.
const RATE: u32 = 300;
/// A change of the clock is seen after this.
const SEEN: Duration = Duration::from_millis(1500);
/// The records are of now, whatever the server takes for now.
const FLAGS: [&str; 6] = [
    "--limits-ingest-max-future",
    "0",
    "--limits-ingest-max-age",
    "0",
    "--storage-flush-age",
    "2s",
];

/// The library that puts a clock of its own before a process.
fn library() -> Result<PathBuf, String> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let mut found = libraries.filter(|library| library.is_file());
    found.next().ok_or_else(|| "there is no libfaketime (package faketime)".to_owned())
}

/// A data folder whose servers have a clock of their own.
struct Clocked {
    data: PathBuf,
    /// How far the clock is off, at any time.
    file: PathBuf,
    library: PathBuf,
}

impl Clocked {
    fn new(case: &Case) -> Result<Clocked, String> {
        let (data, file) = (case.folder.join("data"), case.folder.join("clock"));
        Ok(Clocked { data, file, library: library()? })
    }

    fn set(&self, offset: &str) {
        // Renamed, so that nobody reads half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, offset).expect("it can be written");
        std::fs::rename(new, &self.file).expect("it can be renamed");
    }

    /// Starts with a clock that is off by `offset`.
    async fn start(&self, offset: &str) -> Server {
        self.set(offset);
        let variables = [
            ("LD_PRELOAD", self.library.to_str().expect("a path of text")),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().expect("a path of text")),
            // In seconds: a look at the file for each look at the clock makes a server slow.
            ("FAKETIME_CACHE_DURATION", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        let server = Server::launch(&self.data, &FLAGS, &variables, &Launch::QUIET).await;
        server.wait_ready(Duration::from_secs(60)).await;
        server
    }
}

/// How far the server's clock is off, as it says itself. Units: minutes.
async fn off_by(server: &Server) -> i64 {
    let state = server.json("/tercet/api/v1/ingest").await;
    let now = state["nowNs"].as_str().and_then(|now| now.parse::<i64>().ok()).expect("a time");
    (now / 1_000_000_000 - crate::tools::now_s().cast_signed()) / 60
}

fn wrong_at_start(case: Case) -> Running {
    Box::pin(async move {
        let clocked = match Clocked::new(&case) {
            Ok(clocked) => clocked,
            Err(why) => return Outcome::Skipped(why),
        };
        let witness = Witness::mixed(RATE);
        let mut waited = 0;
        let year = 365 * 24 * 60;
        for (offset, minutes) in [
            ("+0", -1..2),
            ("+1y", year - 5..year + 2000),
            ("-1h", -62..-58),
            ("+10y", 10 * year - 5..10 * year + 9000),
        ] {
            let server = clocked.start(offset).await;
            let off = off_by(&server).await;
            assert!(minutes.contains(&off), "{offset}: the clock is off by {off} minutes");
            witness.check(&server).await;
            // Before anything of a wrong time is merged with the rest.
            server.upkeep("/-/compact").await;
            assert_eq!(server.figure("retention_dropped_segments_total", "").await, 0.0);
            let waiting = server.figure("retention_waiting_segments", "").await;
            let notices = server.json("/tercet/api/v1/status").await["notices"].to_string();
            if offset.ends_with('y') {
                assert!(waiting > 0.0, "{offset}: nothing waits");
                assert!(notices.contains("tercet retention --confirm"), "{notices}");
                waited += 1;
            } else {
                assert_eq!((waiting, notices.as_str()), (0.0, "[]"), "{offset}");
            }
            let sending = witness.send(&server.http);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            server.upkeep("/-/flush").await;
            server.upkeep("/-/compact").await;
            assert_eq!(server.figure("retention_dropped_segments_total", "").await, 0.0);
            server.kill().await;
            sending.stop().await;
        }
        let server = clocked.start("+0").await;
        server.upkeep("/-/compact").await;
        witness.check_all(&server).await;
        Outcome::Held(format!("retention waited {waited} times; {}", witness.acked_text()))
    })
}

fn jumps(case: Case) -> Running {
    Box::pin(async move {
        let clocked = match Clocked::new(&case) {
            Ok(clocked) => clocked,
            Err(why) => return Outcome::Skipped(why),
        };
        let server = clocked.start("+0").await;
        let witness = Witness::mixed(RATE);
        let sending = witness.send(&server.http);
        let jumps = ["+10y", "-1h", "+1y", "+0", "-1y", "+1d"];
        let jumps = &jumps[..case.rounds(2, 6) as usize];
        for offset in jumps {
            tokio::time::sleep(Duration::from_millis(500)).await;
            clocked.set(offset);
            tokio::time::sleep(SEEN).await;
            // Memory is flushed by its age, which no clock on the wall decides.
            let flushes = server.figure("flushes_total", "").await;
            until("memory is flushed by its age", || async {
                server.figure("flushes_total", "").await > flushes
            })
            .await;
            let (status, answer) = server.get("/api/v1/query?query=1").await;
            assert_eq!(status, 200, "{answer}");
            server.upkeep("/-/compact").await;
            assert_eq!(server.figure("retention_dropped_segments_total", "").await, 0.0);
        }
        server.kill().await;
        sending.stop().await;
        let server = clocked.start("+0").await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{} jumps, then kill -9; {}", jumps.len(), witness.acked_text()))
    })
}

fn confirmed(case: Case) -> Running {
    Box::pin(async move {
        let clocked = match Clocked::new(&case) {
            Ok(clocked) => clocked,
            Err(why) => return Outcome::Skipped(why),
        };
        let server = clocked.start("+0").await;
        let witness = Witness::mixed(RATE);
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        server.upkeep("/-/flush").await;
        let retention = async |server: &Server, confirm: &[&str]| {
            let args = [&["retention", "--server", server.http.as_str()], confirm].concat();
            tercet(&args).await
        };
        let (code, said) = retention(&server, &[]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = retention(&server, &["--confirm"]).await;
        assert_eq!(code, Some(0), "{said}");
        let mut server = server;
        let mut waits = String::new();
        for _start in 0..2 {
            server.kill().await;
            server = clocked.start("+1y").await;
            server.upkeep("/-/compact").await;
            let (code, said) = retention(&server, &[]).await;
            assert_eq!(code, Some(2), "{said}");
            waits = said;
        }
        witness.check_all(&server).await;
        let (code, said) = retention(&server, &["--confirm"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(server.figure("retention_dropped_segments_total", "").await >= 3.0, "{said}");
        assert_eq!(server.figure("segments", "").await, 0.0, "{said}");
        let (code, said) = retention(&server, &[]).await;
        assert_eq!(code, Some(0), "{said}");
        Outcome::Held(waits.lines().next().unwrap_or_default().to_owned())
    })
}
