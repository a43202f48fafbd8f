//! How long a trace, an ID and an ID that does not exist take to answer over one kept connection,
//! with all three signals stored, before and after compaction.

use std::time::Instant;

use crate::http::Connection;
use crate::random::Random;
use crate::server::{OURS, Server, VICTORIA_TRACES};
use crate::spans::{hex, spans_of, trace_id};
use crate::{Options, logs, metrics, now_s, spans};

const QUESTIONS: usize = 500;
const PROTOBUF: &str = "Accept: application/protobuf\r\n";

/// A question: its name, what it asks, and what the answer's status must be.
struct Question {
    name: &'static str,
    headers: &'static str,
    target: fn(&str) -> String,
    exists: bool,
    status: &'static [u16],
}

const OUR_QUESTIONS: [Question; 5] = [
    Question {
        name: "trace by ID, protobuf",
        headers: PROTOBUF,
        target: |id| format!("/api/v2/traces/{id}"),
        exists: true,
        status: &[200],
    },
    Question {
        name: "trace by ID, JSON",
        headers: "",
        target: |id| format!("/api/v2/traces/{id}"),
        exists: true,
        status: &[200],
    },
    Question {
        name: "trace by ID that does not exist",
        headers: PROTOBUF,
        target: |id| format!("/api/v2/traces/{id}"),
        exists: false,
        status: &[200, 404],
    },
    Question {
        name: "ID lookup, three signals",
        headers: "",
        target: |id| format!("/tercet/api/v1/lookup/{id}"),
        exists: true,
        status: &[200],
    },
    Question {
        name: "ID lookup that finds nothing",
        headers: "",
        target: |id| format!("/tercet/api/v1/lookup/{id}"),
        exists: false,
        status: &[200, 404],
    },
];
const PEER_QUESTIONS: [Question; 2] = [
    Question {
        name: "trace by ID, JSON (Jaeger)",
        headers: "",
        target: |id| format!("/select/jaeger/api/traces/{id}"),
        exists: true,
        status: &[200],
    },
    Question {
        name: "trace by ID that does not exist",
        headers: "",
        target: |id| format!("/select/jaeger/api/traces/{id}"),
        exists: false,
        status: &[200, 404],
    },
];

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let end_ns = (now_s() as u64 - 10) * 1_000_000_000;
    let (spans, traces) = spans::generate(1_000_000, end_ns);
    let logs = logs::generate(logs::Wanted { records: 2_000_000, end_ns, traces });
    let end_ms = (end_ns / 1_000_000) as i64;
    let metrics =
        metrics::generate(metrics::Wanted { series: 100_000, scrapes: 10, end_ms, traces });
    println!(
        "## Answers among {} spans of {traces} traces, {} log records, {} samples with exemplars\n\n\
         {QUESTIONS} random IDs each, one kept connection; times in ms\n\n\
         | product | question | p50 | p99 | max |\n|---|---|--:|--:|--:|",
        spans.records, logs.records, metrics.records
    );
    if let Some(binary) = options.binary(OURS) {
        let server = Server::start(OURS, &binary, &options.scratch)?;
        server.send(&spans, "/v1/traces")?;
        server.send(&logs, "/v1/logs")?;
        server.send(&metrics, "/api/v1/write")?;
        time_all(&server, "before compaction", &OUR_QUESTIONS, traces)?;
        server.settle()?;
        time_all(&server, "after compaction", &OUR_QUESTIONS, traces)?;
    }
    if let Some(binary) = options.binary(VICTORIA_TRACES) {
        let server = Server::start(VICTORIA_TRACES, &binary, &options.scratch)?;
        server.send(&spans, "/v1/traces")?;
        server.settle()?;
        time_all(&server, "after its merge, spans only", &PEER_QUESTIONS, traces)?;
    }
    println!();
    Ok(())
}

fn time_all(
    server: &Server,
    when: &str,
    questions: &[Question],
    traces: u64,
) -> Result<(), String> {
    for question in questions {
        let mut times = time(server, question, traces)?;
        times.sort_by(f64::total_cmp);
        println!(
            "| {}, {when} | {} | {:.2} | {:.2} | {:.2} |",
            server.product.name,
            question.name,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1],
        );
    }
    Ok(())
}

fn time(server: &Server, question: &Question, traces: u64) -> Result<Vec<f64>, String> {
    let mut random = Random::new(41);
    let mut connection = Connection::open(server.port).map_err(|error| error.to_string())?;
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let index = random.below(traces) + if question.exists { 0 } else { 1 << 40 };
        let target = (question.target)(&hex(&trace_id(index)));
        let start = Instant::now();
        let answer = connection
            .request_with("GET", &target, question.headers)
            .map_err(|error| format!("{target}: {error}"))?;
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
        if !question.status.contains(&answer.status) {
            return Err(format!("{target}: {} {}", answer.status, answer.text()));
        }
        if question.exists && answer.body.len() < 200 {
            return Err(format!("{target}: found nothing: {}", answer.text()));
        }
    }
    Ok(times)
}

/// How many spans our answer to a trace by ID has.
pub(crate) fn spans_found(server: &Server, trace: u64) -> Result<u64, String> {
    let target = format!("/ds/tempo/api/v2/traces/{}", hex(&trace_id(trace)));
    let (status, text) = server.ask("GET", &target)?;
    let found = text.matches("\"spanId\"").count() as u64;
    if status != 200 || found == 0 {
        return Err(format!("{target}: {status}, spans wanted {}", spans_of(trace)));
    }
    Ok(found)
}
