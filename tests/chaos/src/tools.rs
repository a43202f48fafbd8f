//! Programs that are not ours: where they are, and how a test runs them.
//!
//! `tests/install-tools.sh` puts them into `target/tools`. A test whose tool is not there says
//! `SKIPPED` with its name and returns.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// Longer than any tool needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A tool's path below `target/tools`, or nothing after saying so.
pub fn find(path: &str) -> Option<PathBuf> {
    let tool = root().join("target/tools").join(path);
    if !tool.exists() {
        println!("SKIPPED {path}: not in target/tools, tests/install-tools.sh installs it");
        return None;
    }
    Some(tool)
}

/// A file of `tests/tools`.
pub fn source(path: &str) -> PathBuf {
    root().join("tests/tools").join(path)
}

/// Runs a program to its end and returns what it printed; it must succeed.
pub async fn run(program: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(args).kill_on_drop(true).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.expect("ends in time").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{} {args:?}: {}\n{}{}",
        program.display(),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A program in the background; ended with SIGKILL when dropped. What it says goes to `log`.
pub fn spawn(program: &Path, args: &[&str], log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a log file");
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

/// A port that was free a moment ago, for programs that cannot say which one they chose.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Asks again until the answer is yes.
pub async fn eventually(what: &str, ask: impl AsyncFn() -> bool) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "not in {PATIENCE:?}: {what}");
}

/// Now, in whole seconds since 1970.
pub fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}
