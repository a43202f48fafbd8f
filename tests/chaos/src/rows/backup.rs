//! I2: backups under load, what comes back of them, and what is refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

use super::crash::SMALL;
use super::storage::files;
use crate::dice::Dice;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server, tercet};
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "I2",
        fault: "tercet backup under load while segments are merged and removed, kill -9, restore \
                into an empty folder, again and again",
        expected: "everything acknowledged before a backup began is there once, nothing foreign; a \
                   later backup copies only what is new",
        tier: Tier::Fast,
        run: under_load,
    },
    Row {
        id: "I2-rest",
        fault: "tercet backup of the folder of a server that was killed, its log unflushed",
        expected: "no acknowledged record lost, none doubled; a folder in use is refused",
        tier: Tier::Fast,
        run: at_rest,
    },
    Row {
        id: "I2-bad",
        fault: "each kind of file of a backup cut, flipped and removed; its manifest removed",
        expected: "tercet restore names the file, exits 2 (1 without a manifest) and writes nothing",
        tier: Tier::Fast,
        run: bad,
    },
    Row {
        id: "I2-deleted",
        fault: "data goes by retention, then backup and restore",
        expected: "what was deleted does not come back; what was there does",
        tier: Tier::Fast,
        run: deleted,
    },
    Row {
        id: "I2-speed",
        fault: "backup and restore of some hundred megabytes of a running server",
        expected: "at least 100 MB/s each, the second backup copies next to nothing",
        tier: Tier::Full,
        run: speed,
    },
];

/// The load of these rows. Units: requests a second.
const RATE: u32 = 300;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// Backs up a running server; what the command said.
async fn back_up(server: &Server, to: &Path) -> String {
    let (code, said) = tercet(&["backup", "--from", &server.http, "--to", text(to)]).await;
    assert_eq!(code, Some(0), "{said}");
    said
}

async fn restore(from: &Path, to: &Path) -> String {
    let (code, said) = tercet(&["restore", "--from", text(from), "--data", text(to)]).await;
    assert_eq!(code, Some(0), "{said}");
    said
}

async fn serve(data: &Path, flags: &[&str]) -> Server {
    let server = Server::launch(data, flags, &[], &Launch::QUIET).await;
    server.wait_ready(Duration::from_secs(60)).await;
    server
}

fn under_load(case: Case) -> Running {
    Box::pin(async move {
        let rounds = case.rounds(2, 12);
        let mut dice = Dice::new(case.seed);
        let flags = [&SMALL[..], &["--storage-gc-grace", "1s"]].concat();
        let (data, target) = (case.folder.join("data"), case.folder.join("backups"));
        let mut acked = Vec::new();
        let mut last = String::new();
        for round in 0..rounds {
            let server = serve(&data, &flags).await;
            let witness = Witness::mixed(RATE);
            let sending = witness.send(&server.http);
            tokio::time::sleep(dice.ms(1500, 2500)).await;
            // What is acknowledged from now on may be in the backup and need not.
            witness.canary.doubt();
            let over = AtomicBool::new(false);
            let backup = async {
                last = back_up(&server, &target).await;
                over.store(true, Ordering::Relaxed);
            };
            let upkeep = async {
                while !over.load(Ordering::Relaxed) {
                    for path in ["/-/flush", "/-/compact"] {
                        server.upkeep(path).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::join!(backup, upkeep);
            assert_eq!(server.figure("backups_active", "").await, 0.0, "segments stay pinned");
            server.kill().await;
            sending.stop().await;
            let restored = case.folder.join(format!("restored-{round}"));
            restore(&target, &restored).await;
            let server = serve(&restored, &[]).await;
            assert_eq!(server.figure("data_loss_suspected", "").await, 0.0);
            witness.check_all(&server).await;
            acked.push(witness.acked_text());
            server.kill().await;
        }
        let text = acked.last().cloned().unwrap_or_default();
        Outcome::Held(format!("{rounds} backups, each restored; in the last one {text}; {last}"))
    })
}

fn at_rest(case: Case) -> Running {
    Box::pin(async move {
        let (data, target) = (case.folder.join("data"), case.folder.join("backups"));
        let server = serve(&data, &[]).await;
        let witness = Witness::mixed(RATE);
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        server.upkeep("/-/flush").await;
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let offline = ["backup", "--data", text(&data), "--to", text(&target)];
        let (code, said) = tercet(&offline).await;
        assert!(code != Some(0) && said.contains("used by another process"), "{said}");
        server.kill().await;
        sending.stop().await;
        let (code, said) = tercet(&offline).await;
        assert_eq!(code, Some(0), "{said}");
        let restored = case.folder.join("restored");
        restore(&target, &restored).await;
        let server = serve(&restored, &[]).await;
        assert!(server.figure("wal_replayed_entries_total", "").await > 0.0, "there was no log");
        witness.check_all(&server).await;
        Outcome::Held(format!("{}; {}", witness.acked_text(), said.trim()))
    })
}

fn bad(case: Case) -> Running {
    Box::pin(async move {
        let (data, target) = (case.folder.join("data"), case.folder.join("backups"));
        let server = serve(&data, &[]).await;
        let witness = Witness::mixed(RATE);
        witness.send_for(&server.http, Duration::from_secs(1)).await;
        back_up(&server, &target).await;
        server.kill().await;
        let mut dice = Dice::new(case.seed);
        let restored = case.folder.join("restored");
        // The first file of each kind, or all of them.
        let mut victims: Vec<PathBuf> = Vec::new();
        for kind in [".json", ".meta", ".parquet", ".index", ".metrics"] {
            let found = files(&target, kind);
            assert!(!found.is_empty(), "there is no file {kind}");
            victims.extend(found.into_iter().take(case.rounds(2, 100) as usize));
        }
        let mut cases = 0;
        for victim in &victims {
            let whole = std::fs::read(victim).expect("it can be read");
            for damage in ["cut", "flipped", "removed"] {
                let at = dice.between(0, whole.len() as u64) as usize;
                match damage {
                    "cut" => std::fs::write(victim, &whole[..at]).expect("it can be written"),
                    "flipped" => {
                        let mut bytes = whole.clone();
                        bytes[at] ^= 1 << dice.between(0, 8);
                        std::fs::write(victim, bytes).expect("it can be written");
                    }
                    _ => std::fs::remove_file(victim).expect("it can be removed"),
                }
                let is_gone = damage == "removed"
                    && victim.parent().is_some_and(|parent| parent.ends_with("backups/backups"));
                let (code, said) =
                    tercet(&["restore", "--from", text(&target), "--data", text(&restored)]).await;
                let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
                let (expected, word) =
                    if is_gone { (1, "no finished backup") } else { (2, name.as_str()) };
                assert_eq!(code, Some(expected), "{damage} {name}: {said}");
                assert!(said.contains(word), "{damage} {name}: {said}");
                assert!(!restored.exists(), "{damage} {name}: something was written");
                std::fs::write(victim, &whole).expect("it can be written");
                cases += 1;
            }
        }
        let (code, said) = tercet(&["restore", "--from", text(&target), "--check"]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) =
            tercet(&["restore", "--from", text(&target), "--data", text(&data)]).await;
        assert!(code == Some(1) && said.contains("is not empty"), "{said}");
        restore(&target, &restored).await;
        let server = serve(&restored, &[]).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{cases} damages refused, then restored: {}", witness.acked_text()))
    })
}

fn deleted(case: Case) -> Running {
    Box::pin(async move {
        let (data, target) = (case.folder.join("data"), case.folder.join("backups"));
        let flags = ["--retention", "6s", "--limits-ingest-max-age", "0"];
        let server = serve(&data, &flags).await;
        let old = Witness::mixed(RATE);
        old.send_for(&server.http, Duration::from_secs(1)).await;
        server.upkeep("/-/flush").await;
        back_up(&server, &target).await;
        let run = old.canary.run().clone();
        crate::witness::until("retention drops what is old", || async {
            server.upkeep("/-/compact").await;
            server.figure("retention_dropped_segments_total", "").await >= 3.0
        })
        .await;
        let new = Witness::mixed(RATE);
        new.send_for(&server.http, Duration::from_secs(1)).await;
        back_up(&server, &target).await;
        server.kill().await;
        let restored = case.folder.join("restored");
        let said = restore(&target, &restored).await;
        let server = serve(&restored, &[]).await;
        new.check_all(&server).await;
        assert_ne!(run, *new.canary.run());
        let segments = server.figure("segment_rows", "").await;
        let acked: u64 = new.acked().iter().sum();
        // Requests that were stored and never answered are not among those acknowledged.
        assert!(segments >= acked as f64, "{segments} rows, {acked} acknowledged");
        let dropped = old.acked().iter().sum::<u64>() as f64;
        assert!(segments < acked as f64 + dropped / 2.0, "{segments} rows: the deleted are back");
        Outcome::Held(format!("{dropped} records stayed deleted; {}", said.trim()))
    })
}

/// A request of lines that compress badly.
fn noise(dice: &mut Dice, records: u64, now_ns: u64) -> Vec<u8> {
    let mut log_records = Vec::new();
    for record in 0..records {
        let words: Vec<String> =
            (0..32).map(|_| format!("{:016x}", dice.between(0, u64::MAX))).collect();
        let body = any_value::Value::StringValue(words.concat());
        log_records.push(LogRecord {
            time_unix_nano: now_ns + record,
            body: Some(AnyValue { value: Some(body) }),
            ..LogRecord::default()
        });
    }
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The speed that a command printed. Units: MB/s.
fn speed_in(said: &str) -> f64 {
    let before = said.rsplit(" MB/s)").nth(1).unwrap_or_default();
    let word = before.rsplit('(').next().unwrap_or_default();
    word.parse().unwrap_or_else(|error| panic!("no speed ({error}) in {said}"))
}

fn speed(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        let server = serve(&data, &[]).await;
        let mut dice = Dice::new(case.seed);
        let now_ns = crate::tools::now_s() * 1_000_000_000;
        for request in 0..600 {
            let body = noise(&mut dice, 2000, now_ns + request * 1_000_000);
            let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
            assert_eq!(answer.0, 200, "{}", answer.1);
        }
        server.upkeep("/-/compact").await;
        let (mut backup, mut restored) = (0.0, 0.0);
        let mut said = String::new();
        // The machine may be busy with other things for a while.
        for round in 0..3 {
            let (target, folder) = (format!("backups-{round}"), format!("restored-{round}"));
            let (target, folder) = (case.folder.join(target), case.folder.join(folder));
            said = back_up(&server, &target).await;
            backup = speed_in(&said).max(backup);
            let again = back_up(&server, &target).await;
            let count = |word: &str| -> u64 {
                let before = again.split(word).next().unwrap_or_default();
                let count = before.rsplit(' ').next().and_then(|count| count.parse().ok());
                count.unwrap_or_else(|| panic!("no number before {word:?} in {again}"))
            };
            // All but the checkpoint of the catalog.
            assert_eq!(count(" were there") + 1, count(" files,"), "{again}");
            restored = speed_in(&restore(&target, &folder).await).max(restored);
            for folder in [target, folder] {
                std::fs::remove_dir_all(folder).expect("it can be removed");
            }
            if backup >= 100.0 && restored >= 100.0 {
                break;
            }
        }
        assert!(backup >= 100.0, "{backup} MB/s");
        assert!(restored >= 100.0, "{restored} MB/s");
        Outcome::Held(format!("{backup} MB/s out, {restored} MB/s in; {}", said.trim()))
    })
}
