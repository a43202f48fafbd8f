//! F5: the fuzz targets of `tests/fuzz`, a row each.

use std::path::PathBuf;

use tokio::process::Command;

use crate::row::{Case, Outcome, Row, Running, Tier};

/// Seconds of each target.
const FAST_S: u64 = 1;
const FULL_S: u64 = 60;

const fn row(id: &'static str, run: fn(Case) -> Running) -> Row {
    Row {
        id,
        fault: "its corpus and cases made of it: cut, flipped, nested, repeated, with lengths that lie",
        expected: "0 panics, 0 over 1 s, 0 beyond four times their size on the heap",
        tier: Tier::Fast,
        run,
    }
}

/// A row whose target is what its number says after `F5-`.
macro_rules! targets {
    ($($id:literal),* $(,)?) => {
        &[$(row($id, |case| Box::pin(run($id, case)))),*]
    };
}

pub(super) const ROWS: &[Row] = targets![
    "F5-otlp-logs",
    "F5-otlp-traces",
    "F5-otlp-metrics",
    "F5-otlp-logs-json",
    "F5-otlp-traces-json",
    "F5-otlp-metrics-json",
    "F5-remote-write",
    "F5-loki-json",
    "F5-loki-protobuf",
    "F5-bodies",
    "F5-grpc",
    "F5-tenants",
    "F5-promql",
    "F5-logql",
    "F5-log-stages",
    "F5-templates",
    "F5-numbers",
    "F5-query-http",
    "F5-wal-file",
    "F5-catalog",
    "F5-backup",
    "F5-checksums",
    "F5-segment-metrics",
    "F5-segment-logs",
    "F5-segment-traces",
    "F5-id-index",
    "F5-word-index",
    "F5-settings",
];

/// The program `fuzz` beside this one.
fn program() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join("fuzz"));
    beside.into_iter().find(|path| path.is_file())
}

async fn run(id: &'static str, case: Case) -> Outcome {
    let name = id.trim_start_matches("F5-");
    let Some(program) = program() else {
        return Outcome::Skipped(
            "fuzz is not built beside this program: cargo build -p fuzz".to_owned(),
        );
    };
    let seconds = case.rounds(FAST_S, FULL_S).to_string();
    let seed = case.seed.to_string();
    let fuzz = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--target", name, "--seconds", &seconds, "--seed", &seed, "--bad"]);
        command.arg(&case.folder).args(more).kill_on_drop(true);
        command
    };
    let output = fuzz(&[]).output().await.expect("fuzz runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code().is_none() {
        // A signal: a stack that was too small. The same cases again, each written before it is tried.
        let last = case.folder.join("last.bin");
        let last = last.to_str().expect("a path that is text");
        let _same = fuzz(&["--careful", last]).output().await;
        panic!("{}; the case is {last}\n{said}", output.status);
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Outcome::Held(said.trim().trim_start_matches(name).trim_start_matches(": ").to_owned())
}
