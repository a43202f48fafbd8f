//! F6: names by chance, a new one with every request.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::still_serves;
use crate::dice::Dice;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::Server;

pub(super) const ROWS: &[Row] = &[Row {
    id: "F6",
    fault: "random paths, methods, agents and tenants: 1,000,000 requests (10,000 in the fast tier)",
    expected: "the series of /metrics are the same as before",
    tier: Tier::Fast,
    run,
}];

/// Requests sent before their answers are read.
const BATCH: u64 = 50;

/// Every series of `/metrics`, without its value.
async fn series(server: &Server) -> BTreeSet<String> {
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

fn request(seed: u64, number: u64) -> String {
    let mut dice = Dice::new(seed ^ number);
    let mut next = || dice.number() >> 33;
    let method = ["GET", "PUT", "DELETE", "OPTIONS", "BREW"][(next() % 5) as usize];
    let method = if next() % 3 == 0 { format!("X{:X}", next()) } else { method.to_owned() };
    let path = match next() % 5 {
        0 => format!("/{:x}/{:x}", next(), next()),
        1 => format!("/api/v1/label/{:x}/values?x={:x}", next(), next()),
        2 => format!("/api/traces/{:x}", next()),
        3 => format!("/loki/api/v1/label/{:x}/values", next()),
        _ => format!("/v1/{:x}", next()),
    };
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {:x}\r\n", next());
    let _infallible = write!(text, "user-agent: {:x}\r\nx-scope-orgid: t-{:x}\r\n", next(), next());
    text.push_str("content-length: 0\r\n\r\n");
    text
}

/// Sends requests `numbers` over one connection after another.
async fn storm(address: String, seed: u64, numbers: std::ops::Range<u64>) -> u64 {
    let (mut at, mut answered) = (numbers.start, 0);
    while at < numbers.end {
        let Ok(mut stream) = TcpStream::connect(&address).await else { break };
        while at < numbers.end {
            let end = (at + BATCH).min(numbers.end);
            let text: String = (at..end).map(|number| request(seed, number)).collect();
            let wanted = end - at;
            at = end;
            if stream.write_all(text.as_bytes()).await.is_err() {
                break;
            }
            let (mut seen, mut tail, mut buffer) = (0, Vec::new(), vec![0; 64 << 10]);
            while seen < wanted {
                let Ok(count @ 1..) = stream.read(&mut buffer).await else { break };
                tail.extend_from_slice(&buffer[..count]);
                let mark = b"HTTP/1.1 ";
                seen += tail.windows(mark.len()).filter(|part| part == mark).count() as u64;
                let keep = tail.len().saturating_sub(mark.len() - 1);
                drop(tail.drain(..keep));
            }
            answered += seen;
            if seen < wanted {
                break;
            }
        }
    }
    answered
}

async fn all(server: &Server, seed: u64, count: u64) -> u64 {
    const CONNECTIONS: u64 = 4;
    let address = server.http.trim_start_matches("http://").to_owned();
    let part = count.div_ceil(CONNECTIONS);
    let mut storms = tokio::task::JoinSet::new();
    for index in 0..CONNECTIONS {
        let numbers = index * part..((index + 1) * part).min(count);
        storms.spawn(storm(address.clone(), seed, numbers));
    }
    storms.join_all().await.into_iter().sum()
}

fn run(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        // Families that appear with the first of their kind do so now.
        all(&server, case.seed, 400).await;
        let before = series(&server).await;
        let count = case.rounds(10_000, 1_000_000);
        let answered = all(&server, case.seed ^ 1, count).await;
        assert!(answered * 10 >= count * 9, "{answered} of {count} were answered");
        let after = series(&server).await;
        let new: Vec<&String> = after.difference(&before).take(5).collect();
        let gone: Vec<&String> = before.difference(&after).take(5).collect();
        assert!(new.is_empty() && gone.is_empty(), "new: {new:?}, gone: {gone:?}");
        still_serves(&server).await;
        Outcome::Held(format!("{} series before and after {answered} answers", after.len()))
    })
}
