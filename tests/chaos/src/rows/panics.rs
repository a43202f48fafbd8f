//! I6: a bug panics, in a request, in a task, in the log's thread.
//!
//! The panics come from `TERCET_FAULTS`, so that the binary under test is the one that is shipped.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::rows::crash::{SMALL, restart};
use crate::server::{Launch, Server, escape};
use crate::witness::{Witness, until};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "I6-request",
        fault: "one write and one query of eight at a time panic",
        expected: "500 for that one each, all others are answered; tercet_panics_total is 2",
        tier: Tier::Fast,
        run: requests,
    },
    Row {
        id: "I6-flush",
        fault: "the first two flushes panic, under load",
        expected: "they are tried again; requests and queries go on meanwhile; nothing lost or doubled",
        tier: Tier::Fast,
        run: flushes,
    },
    Row {
        id: "I6-stuck",
        fault: "each flush of one memtable panics",
        expected: "it is set aside after three tries, stays readable and in the log, and is counted; \
                   all others are flushed; after the next start it is there once",
        tier: Tier::Fast,
        run: stuck,
    },
    Row {
        id: "I6-merge",
        fault: "the first two merges panic",
        expected: "tried once more, then those segments stay as they are and are counted; the other \
                   signals are merged; nothing lost or doubled",
        tier: Tier::Fast,
        run: merges,
    },
    Row {
        id: "I6-log",
        fault: "the log's thread panics between the write of a group and its answers, under load",
        expected: "the process aborts (SIGABRT, 134 in a shell); no acknowledged record lost",
        tier: Tier::Fast,
        run: log_thread,
    },
];

async fn start(data: &Path, faults: &str) -> Server {
    let variables = [("TERCET_FAULTS", faults)];
    let server = Server::launch(data, &SMALL, &variables, &Launch::QUIET).await;
    server.wait_ready(Duration::from_secs(60)).await;
    server
}

/// How many of the statuses are `one`; all others must be `other`.
fn one_of(statuses: &[u16], one: u16, other: u16) {
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(one), count(other)), (1, statuses.len() - 1), "{statuses:?}");
}

fn requests(case: Case) -> Running {
    Box::pin(async move {
        let server = start(&case.folder, "ingest=1,query=1").await;
        let now_s = crate::tools::now_s();
        let write = async |batch: u64| {
            let body = load::logs(batch, 10, now_s * 1_000_000_000);
            server.post("/v1/logs", "application/x-protobuf", body).await.0
        };
        let written = futures::future::join_all((0..8).map(&write)).await;
        one_of(&written, 500, 200);
        // What its sender repeats.
        let lost = written.iter().position(|status| *status == 500).unwrap_or_default();
        assert_eq!(write(lost as u64).await, 200);
        let logs = escape("count_over_time({service_name=\"crash\"}[1h])");
        let path = format!("/loki/api/v1/query?query=sum({logs})&time={}", now_s + 1);
        let read = futures::future::join_all((0..8).map(|_| server.get(&path))).await;
        let statuses: Vec<u16> = read.iter().map(|(status, _)| *status).collect();
        one_of(&statuses, 500, 200);
        for (status, answer) in read {
            assert!(status == 500 || answer.contains("\"80\""), "{answer}");
        }
        assert_eq!(server.figure("panics_total", "").await, 2.0);
        Outcome::Held(format!("writes {written:?}, queries {statuses:?}; 80 records once each"))
    })
}

fn flushes(case: Case) -> Running {
    Box::pin(async move {
        let server = start(&case.folder, "flush=2").await;
        let witness = Witness::mixed(300);
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let flush = async || server.post("/-/flush", "text/plain", Vec::new()).await.0;
        until("two flushes panic", async || {
            let flushed = flush().await;
            assert!([204, 503].contains(&flushed), "{flushed}");
            server.figure("panics_total", "").await >= 2.0
        })
        .await;
        sending.stop().await;
        witness.check(&server).await;
        until("a flush succeeds", async || flush().await == 204).await;
        let failures = server.figure("flush_failures_total", "").await;
        assert_eq!((failures, server.figure("panics_total", "").await), (2.0, 2.0));
        assert_eq!(server.figure("memtable_rows", "").await, 0.0);
        witness.check_all(&server).await;
        server.kill().await;
        let (server, _) = restart(&case.folder, &SMALL).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("2 flushes panicked; {}", witness.acked_text()))
    })
}

fn stuck(case: Case) -> Running {
    Box::pin(async move {
        const RECORDS: u64 = 50;
        let server = start(&case.folder, "flush=3").await;
        let now_s = crate::tools::now_s();
        let body = load::logs(1, RECORDS, now_s * 1_000_000_000);
        let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        let flush = async |server: &Server| {
            server.post("/-/flush", "text/plain", Vec::new()).await.0 == 204
        };
        until("the flush goes on without it", async || flush(&server).await).await;
        assert_eq!(server.figure("panics_total", "").await, 3.0);
        assert_eq!(server.figure("memtables_set_aside", "logs").await, 1.0);
        let witness = Witness::mixed(300);
        witness.send_for(&server.http, Duration::from_millis(500)).await;
        assert!(flush(&server).await, "the others are flushed");
        assert_eq!(server.figure("memtable_rows", "").await, RECORDS as f64);
        let logs = escape("count_over_time({service_name=\"crash\"}[1h])");
        let query = format!("/loki/api/v1/query?query=sum({logs})&time={}", now_s + 1);
        let counted = async |server: &Server| {
            let answer = server.json(&query).await;
            answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
        };
        assert_eq!(counted(&server).await, Some(RECORDS.to_string()));
        server.kill().await;
        for round in 0..2 {
            let (server, _) = restart(&case.folder, &SMALL).await;
            let replayed = server.figure("wal_replayed_entries_total", "logs").await;
            assert_eq!(counted(&server).await, Some(RECORDS.to_string()));
            witness.check_all(&server).await;
            assert!(flush(&server).await, "it is flushed like any other");
            assert_eq!(server.figure("memtable_rows", "").await, 0.0);
            assert_eq!(counted(&server).await, Some(RECORDS.to_string()), "{replayed} {round}");
            server.kill().await;
        }
        Outcome::Held(format!(
            "set aside after 3 panics, {RECORDS} records once each before and after; {}",
            witness.acked_text()
        ))
    })
}

fn merges(case: Case) -> Running {
    Box::pin(async move {
        let server = start(&case.folder, "merge=2").await;
        let flush = async || {
            server.upkeep("/-/flush").await;
        };
        let compact = async || server.post("/-/compact", "text/plain", Vec::new()).await.0 == 204;
        // Logs alone have segments to be merged: the panics are theirs.
        for batch in 0..4 {
            let body = load::logs(batch, 100, crate::tools::now_s() * 1_000_000_000);
            let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
            assert_eq!(answer.0, 200, "{}", answer.1);
            flush().await;
        }
        until("merging goes on without them", compact).await;
        let witness = Witness::mixed(300);
        for _segment in 0..4 {
            witness.send_for(&server.http, Duration::from_millis(200)).await;
            flush().await;
        }
        assert!(compact().await, "the others are merged");
        let figure = async |name| server.figure(name, "").await;
        assert_eq!(figure("panics_total").await, 2.0);
        let left = figure("segments_unmergeable").await;
        assert!(left >= 4.0, "{left} segments are left as they are");
        let merged = figure("compactions_total").await;
        assert!(merged >= 2.0, "only {merged} merges of the other signals");
        witness.check_all(&server).await;
        server.kill().await;
        let (server, _) = restart(&case.folder, &SMALL).await;
        server.upkeep("/-/compact").await;
        assert_eq!(server.figure("segments_unmergeable", "").await, 0.0);
        witness.check_all(&server).await;
        Outcome::Held(format!(
            "{left} segments left as they were, {merged} other merges done; after the next start all \
             are merged; {}",
            witness.acked_text()
        ))
    })
}

fn log_thread(case: Case) -> Running {
    Box::pin(async move {
        let rounds = case.rounds(2, 20);
        let witness = Witness::mixed(300);
        for round in 0..rounds {
            let mut server = start(&case.folder, &format!("log={}+1", 50 + 37 * round)).await;
            witness.check(&server).await;
            let sending = witness.send(&server.http);
            let status = server.status().await;
            sending.stop().await;
            assert_eq!(status.signal(), Some(6), "{status:?}");
        }
        let (server, _) = restart(&case.folder, &SMALL).await;
        assert_eq!(server.figure("prev_shutdown_unclean", "").await, 1.0);
        witness.check_all(&server).await;
        Outcome::Held(format!("{rounds} aborts by signal 6: {}", witness.acked_text()))
    })
}
