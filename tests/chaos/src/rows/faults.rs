//! A11, A13, A14: the disk refuses, through libfiu under a real server, and the order of the calls
//! that it makes, by strace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::rows::crash::{SMALL, restart};
use crate::server::{Launch, Server};
use crate::system;
use crate::tools;
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "A11-wal",
        fault: "fdatasync of the log fails with EIO, from some moment on (libfiu)",
        expected: "503 to whoever waits; exit code 70 within 1 s; nothing acknowledged is lost",
        tier: Tier::Fast,
        run: log_sync_fails,
    },
    Row {
        id: "A11-segment",
        fault: "the sync of a folder fails with EIO once while memory is flushed (libfiu)",
        expected: "the segment is written anew, the log stays until then, writes go on",
        tier: Tier::Fast,
        run: flush_fails,
    },
    Row {
        id: "A13",
        fault: "half of all writes fail with ENOSPC or EINTR, or are short (libfiu)",
        expected: "nothing torn is acknowledged, nothing acknowledged is lost; no core is burnt",
        tier: Tier::Fast,
        run: writes_fail,
    },
    Row {
        id: "A14",
        fault: "none: strace notes every call on files under load",
        expected: "before each acknowledgement its log is synced, the folder after a file's creation; \
                   segments and commits are synced, then named, then their folder; a log file goes \
                   only after the commit",
        tier: Tier::Fast,
        run: order_of_calls,
    },
];

const PATIENCE: Duration = Duration::from_secs(60);

/// A server under libfiu, and the name of its control pipe.
async fn faulty(data: &Path, control: &str, flags: &[&str]) -> Result<Server, String> {
    system::run("fiu-run", &["-h"]).or_else(|why| {
        // It prints its help and fails.
        if why.contains("os error") { Err(format!("{why} (package fiu-utils)")) } else { Ok(why) }
    })?;
    let launch = Launch { through: &["fiu-run", "-x", "-f", control], ..Launch::QUIET };
    let server = Server::launch(data, flags, &[], &launch).await;
    server.wait_ready(PATIENCE).await;
    Ok(server)
}

fn inject(server: &Server, control: &str, what: &str) {
    let pid = server.pid().to_string();
    system::run("fiu-ctrl", &["-f", control, "-c", what, &pid]).expect("fiu-ctrl");
}

fn log_sync_fails(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        let control = case.folder.join("control").to_string_lossy().into_owned();
        let witness = Witness::mixed(300);
        let mut longest = Duration::ZERO;
        let rounds = case.rounds(2, 20);
        for _ in 0..rounds {
            let mut server = match faulty(&data, &control, &SMALL).await {
                Ok(server) => server,
                Err(why) => return Outcome::Skipped(why),
            };
            witness.check(&server).await;
            let sending = witness.send(&server.http);
            tokio::time::sleep(Duration::from_millis(500)).await;
            inject(&server, &control, "enable name=posix/io/sync/fdatasync,failinfo=5");
            let start = Instant::now();
            let (code, _) = server.ended().await;
            longest = longest.max(start.elapsed());
            sending.stop().await;
            assert_eq!(code, Some(70), "exit code");
        }
        let (server, _) = restart(&data, &SMALL).await;
        witness.check_all(&server).await;
        // The limit is for an idle machine; what is left is what a busy one adds.
        assert!(longest < Duration::from_secs(10), "it ended only after {longest:?}");
        let acked = witness.acked_text();
        Outcome::Held(format!("exit code 70 after at most {longest:.1?}, {rounds} times; {acked}"))
    })
}

fn flush_fails(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        let control = case.folder.join("control").to_string_lossy().into_owned();
        let witness = Witness::mixed(300);
        let server = match faulty(&data, &control, &[]).await {
            Ok(server) => server,
            Err(why) => return Outcome::Skipped(why),
        };
        witness.send_for(&server.http, Duration::from_millis(700)).await;
        // Folders are synced with fsync, log files with fdatasync: only the flush meets this.
        inject(&server, &control, "enable name=posix/io/sync/fsync,failinfo=5,onetime");
        let flushed = server.post("/-/flush", "text/plain", Vec::new()).await;
        let failures = server.figure("flush_failures_total", "").await;
        let again = server.post("/-/flush", "text/plain", Vec::new()).await;
        witness.send_for(&server.http, Duration::from_millis(300)).await;
        witness.check(&server).await;
        server.kill().await;
        let (server, _) = restart(&data, &[]).await;
        witness.check_all(&server).await;
        assert!(flushed.0 >= 500 && failures > 0.0, "{flushed:?}, {failures} failures");
        assert_eq!(again.0, 204, "{again:?}");
        Outcome::Held(format!("{failures} flushes failed and came again; {}", witness.acked_text()))
    })
}

fn writes_fail(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        let control = case.folder.join("control").to_string_lossy().into_owned();
        let witness = Witness::mixed(300);
        let server = match faulty(&data, &control, &SMALL).await {
            Ok(server) => server,
            Err(why) => return Outcome::Skipped(why),
        };
        let mut failed = 0.0;
        // ENOSPC, EINTR; `reduce` makes writes short.
        for what in [
            "enable_random name=posix/io/rw/writev,probability=0.5,failinfo=28",
            "enable_random name=posix/io/rw/writev,probability=0.5,failinfo=4",
            "enable_random name=posix/io/rw/writev/reduce,probability=0.5",
        ] {
            let sending = witness.send(&server.http);
            inject(&server, &control, what);
            let before = server.busy();
            let start = Instant::now();
            tokio::time::sleep(Duration::from_millis(case.rounds(1000, 20_000))).await;
            let name = what.split([' ', ',']).nth(1).unwrap_or_default();
            inject(&server, &control, &format!("disable {name}"));
            let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            let burnt = (server.busy() - before).as_secs_f64() * cores;
            assert!(burnt < start.elapsed().as_secs_f64() * 1.2, "{what}: {burnt} s of CPU");
            failed += server.figure("wal_write_errors_total", "").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            sending.stop().await;
            witness.check(&server).await;
        }
        assert!(failed > 0.0, "no write has failed");
        server.kill().await;
        let (server, _) = restart(&data, &SMALL).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{failed} failed groups; {}", witness.acked_text()))
    })
}

/// One call of the trace.
#[derive(Debug)]
enum Call {
    Created {
        fd: String,
        path: String,
    },
    Opened {
        fd: String,
        path: String,
    },
    Wrote {
        fd: String,
    },
    Synced {
        fd: String,
    },
    Closed {
        fd: String,
    },
    Named {
        source: String,
        target: String,
    },
    Removed {
        path: String,
    },
    /// An HTTP answer of success.
    Acknowledged,
}

/// Reads a line of `strace -f -y`; nothing where it tells nothing of files.
fn call(line: &str) -> Option<Call> {
    let (_pid, rest) = line.trim_start().split_once(' ')?;
    let rest = rest.trim_start();
    let (name, arguments) = rest.split_once('(')?;
    let result = rest.rsplit_once(" = ").map(|(_, result)| result).unwrap_or_default();
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    let fd = || arguments.split(['<', ',', ')']).next().unwrap_or_default().to_owned();
    match name {
        "openat" => {
            let path = (*quoted.first()?).to_owned();
            let fd = result.split('<').next().unwrap_or_default().to_owned();
            if arguments.contains("O_CREAT") {
                Some(Call::Created { fd, path })
            } else {
                Some(Call::Opened { fd, path })
            }
        }
        "write" | "writev" | "pwrite64" | "sendto" | "sendmsg" => {
            let is_answer =
                arguments.contains("HTTP/1.1 200") || arguments.contains("HTTP/1.1 204");
            if is_answer { Some(Call::Acknowledged) } else { Some(Call::Wrote { fd: fd() }) }
        }
        "fsync" | "fdatasync" => Some(Call::Synced { fd: fd() }),
        "close" => Some(Call::Closed { fd: fd() }),
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => Some(Call::Named {
            source: (*quoted.first()?).to_owned(),
            target: (*quoted.get(1)?).to_owned(),
        }),
        "unlink" | "unlinkat" => Some(Call::Removed { path: (*quoted.first()?).to_owned() }),
        _ => None,
    }
}

fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default()
}

/// What is written and not synced, named and not known to its folder.
#[derive(Debug, Default)]
struct Order {
    paths: BTreeMap<String, String>,
    unsynced: BTreeSet<String>,
    unnamed: BTreeSet<String>,
    /// Commits whose names are durable.
    commits: usize,
    acknowledged: usize,
    removed_logs: usize,
    renamed: usize,
}

impl Order {
    fn judge(&mut self, call: Call) -> Result<(), String> {
        match call {
            Call::Created { fd, path } => {
                self.unnamed.insert(path.clone());
                self.paths.insert(fd, path);
            }
            Call::Opened { fd, path } => drop(self.paths.insert(fd, path)),
            Call::Wrote { fd } => {
                if let Some(path) = self.paths.get(&fd) {
                    self.unsynced.insert(path.clone());
                }
            }
            Call::Synced { fd } => {
                let Some(path) = self.paths.get(&fd).cloned() else { return Ok(()) };
                self.unsynced.remove(&path);
                let named: Vec<String> =
                    self.unnamed.iter().filter(|it| folder_of(it) == path).cloned().collect();
                for name in named {
                    self.commits += usize::from(is_commit(&name));
                    self.unnamed.remove(&name);
                }
            }
            Call::Closed { fd } => drop(self.paths.remove(&fd)),
            Call::Named { source, target } => {
                if self.unsynced.contains(&source) {
                    return Err(format!("{target} is named before its bytes are synced"));
                }
                self.renamed += 1;
                self.unnamed.remove(&source);
                self.unnamed.insert(target);
            }
            Call::Removed { path } => {
                self.unnamed.remove(&path);
                if path.contains("/wal/") && path.ends_with(".log") {
                    self.removed_logs += 1;
                    if self.commits == 0 {
                        return Err(format!("{path} is removed before any commit is durable"));
                    }
                    if let Some(name) = self.unnamed.iter().find(|name| is_commit(name)) {
                        return Err(format!("{path} is removed while {name} is not durable"));
                    }
                }
            }
            Call::Acknowledged => self.acknowledged += 1,
        }
        Ok(())
    }

    /// One writer sends, so whatever its log holds has to be durable when it gets its answer.
    fn judge_acknowledgement(&self) -> Result<(), String> {
        let is_log = |path: &&String| path.contains("/wal/") && path.ends_with(".log");
        if let Some(path) = self.unsynced.iter().find(is_log) {
            return Err(format!("an acknowledgement while {path} is not synced"));
        }
        match self.unnamed.iter().find(is_log) {
            Some(path) => Err(format!("an acknowledgement before {path} is known to its folder")),
            None => Ok(()),
        }
    }
}

fn is_commit(path: &str) -> bool {
    path.contains("/store/catalog/") && path.ends_with(".json")
}

fn order_of_calls(case: Case) -> Running {
    Box::pin(async move {
        if let Err(why) = system::run("strace", &["-V"]) {
            return Outcome::Skipped(format!("{why} (package strace)"));
        }
        let trace = case.folder.join("trace").to_string_lossy().into_owned();
        let data = case.folder.join("data");
        let calls = "trace=openat,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,close,rename,\
                     renameat,renameat2,link,linkat,unlink,unlinkat";
        // The tracer steps aside, so that signals reach the server.
        let through = ["strace", "-D", "-f", "-s", "64", "-e", calls, "-o", &trace];
        let launch = Launch { through: &through, ..Launch::QUIET };
        let server = Server::launch(&data, &SMALL, &[], &launch).await;
        server.wait_ready(PATIENCE).await;
        let now_ns = tools::now_s() * 1_000_000_000;
        for batch in 0..case.rounds(60, 600) {
            // One after the other, so that an answer belongs to everything that was written before.
            let body = load::logs(batch, 400, now_ns);
            let answer = server.post("/v1/logs", "application/x-protobuf", body).await;
            assert_eq!(answer.0, 200, "{}", answer.1);
        }
        let pid = server.pid();
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0), "exit code");
        let (pid, end) = (pid.to_string(), Instant::now() + tools::PATIENCE);
        // Short numbers are followed by more than one space.
        let exit = |line: &str| line.split_whitespace().take(3).eq([pid.as_str(), "+++", "exited"]);
        while !std::fs::read_to_string(&trace).is_ok_and(|text| text.lines().any(exit)) {
            assert!(Instant::now() < end, "the trace is not written to its end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let text = std::fs::read_to_string(&trace).expect("a trace");
        let mut order = Order::default();
        for (number, line) in joined(&text).iter().enumerate() {
            let Some(call) = call(line) else { continue };
            let is_acknowledgement = matches!(call, Call::Acknowledged);
            let judged = order.judge(call).and_then(|()| {
                if is_acknowledgement { order.judge_acknowledgement() } else { Ok(()) }
            });
            assert_eq!(judged, Ok(()), "call {number}: {line}");
        }
        assert!(order.acknowledged >= 60 && order.commits > 0, "{order:?}");
        assert!(order.removed_logs > 0 && order.renamed > 0, "{order:?}");
        Outcome::Held(format!(
            "{} acknowledgements, {} names, {} commits, {} log files removed",
            order.acknowledged, order.renamed, order.commits, order.removed_logs
        ))
    })
}

/// The lines of a trace, with calls that another thread interrupted put together. What opens or syncs
/// counts from where it ended; all else from where it began: a descriptor is free, and may be another
/// file's, before the `close` of it is noted as done.
fn joined(text: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let pid = line.split_whitespace().next().unwrap_or_default();
        if let Some(start) = line.strip_suffix("<unfinished ...>") {
            begun.insert(pid, (lines.len(), start.trim_end()));
            lines.push(String::new());
        } else if let Some((_, end)) = line.split_once("resumed>") {
            let Some((at, start)) = begun.remove(pid) else { continue };
            let whole = format!("{start}{end}");
            if ["openat(", "fsync(", "fdatasync("].iter().any(|call| start.contains(call)) {
                lines.push(whole);
            } else {
                lines[at] = whole;
            }
        } else {
            lines.push(line.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread closes 16, another gets the number for a folder before the close is noted.
    #[test]
    fn a_number_that_goes_from_hand_to_hand_is_the_later_file() {
        let text = "\
1 openat(AT_FDCWD, \"/d/wal/one.log\", O_CREAT) = 15
2 openat(AT_FDCWD, \"/d/store/a.tmp\", O_CREAT) = 16
1 openat(AT_FDCWD, \"/d/wal\", O_RDONLY <unfinished ...>
2 close(16 <unfinished ...>
1 <... openat resumed>) = 16
2 <... close resumed>) = 0
1 fsync(16) = 0
";
        let mut order = Order::default();
        for line in joined(text) {
            if let Some(call) = call(&line) {
                order.judge(call).unwrap();
            }
        }
        assert_eq!(order.judge_acknowledgement(), Ok(()));
        assert_eq!(order.unnamed, BTreeSet::from(["/d/store/a.tmp".to_owned()]));
    }
}
