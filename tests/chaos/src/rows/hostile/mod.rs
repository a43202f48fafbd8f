//! F, G2, G3, H6, H8, I1: bytes, queries and folders that nobody vouches for.

mod bombs;
mod display;
mod fuzzed;
mod names;
mod nesting;
mod queries;
mod sandbox;
mod sizes;
mod versions;

use std::time::Duration;

use tokio::process::Command;

use crate::row::Row;
use crate::server::{Server, binary};

pub(super) fn rows() -> Vec<Row> {
    [
        bombs::ROWS,
        nesting::ROWS,
        sizes::ROWS,
        fuzzed::ROWS,
        names::ROWS,
        queries::ROWS,
        display::ROWS,
        sandbox::ROWS,
        versions::ROWS,
    ]
    .concat()
}

/// A command of the binary under test, without the variables that are for tests.
fn tercet() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("TERCET_BIN").env_remove("TERCET_CONFORMANCE");
    command
}

/// POST with headers; the status and the answer's bytes.
async fn post(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let mut request = server.client.post(format!("{}{path}", server.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match request.body(body).send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            (status, answer.bytes().await.unwrap_or_default().to_vec())
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

/// The most memory that the server has had since [`forget_peak`]. Units: bytes.
fn peak_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn forget_peak(server: &Server) {
    let file = format!("/proc/{}/clear_refs", server.pid());
    std::fs::write(file, "5").expect("the peak can be forgotten");
}

/// What the server itself has worked since `before`, on all cores together.
fn worked(server: &Server, before: Duration) -> Duration {
    server.busy().saturating_sub(before)
}

/// It is there and does what it does.
async fn still_serves(server: &Server) {
    let (status, body) = server.get("/-/ready").await;
    assert_eq!(status, 200, "after all that: {body}");
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
