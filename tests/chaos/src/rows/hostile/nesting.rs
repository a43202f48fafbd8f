//! F2: what is in itself in itself.

use std::time::Duration;

use super::{post, still_serves, worked};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, escape};

pub(super) const ROWS: &[Row] = &[Row {
    id: "F2",
    fault: "AnyValue in AnyValue 10,000 times, JSON 100,000 levels deep, 100,000 parentheses and \
            exclamation marks in PromQL and LogQL",
    expected: "400 (or the record refused as too deep) after 100 ms of work at most; it lives",
    tier: Tier::Fast,
    run,
}];

const WORK_MAX: Duration = Duration::from_millis(100);

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

/// A logs request whose body is an array (5) or a map (6) in itself, `levels` times.
fn nested(kind: u8, levels: usize) -> Vec<u8> {
    let mut value = vec![0x10, 0x01];
    for _ in 0..levels {
        let inner = if kind == 5 { value } else { [field(1, b"k"), field(2, &value)].concat() };
        value = field(kind, &field(1, &inner));
    }
    let record = field(5, &value);
    field(1, &field(2, &field(2, &record)))
}

fn run(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let (protobuf, json) = ("application/x-protobuf", "application/json");
        let deep = 100_000;
        let open = |start: &str, part: &str| format!("{start}{}", part.repeat(deep)).into_bytes();
        let bodies: Vec<(&str, &str, &str, Vec<u8>)> = vec![
            ("arrays in AnyValue", "/v1/logs", protobuf, nested(5, 10_000)),
            ("maps in AnyValue", "/v1/logs", protobuf, nested(6, 10_000)),
            ("[ in OTLP/JSON", "/v1/logs", json, open("{\"resourceLogs\":", "[")),
            ("{ in OTLP/JSON", "/v1/traces", json, open("", "{\"resourceSpans\":")),
            ("[ in an unknown field", "/v1/metrics", json, open("{\"x\":", "[")),
            ("[ in Loki's JSON", "/loki/api/v1/push", json, open("{\"streams\":", "[")),
            ("{ in Loki's JSON", "/loki/api/v1/push", json, open("", "{\"streams\":")),
        ];
        let mut most = Duration::ZERO;
        for (name, path, kind, body) in bodies {
            let before = server.busy();
            let (status, answer) = post(&server, path, &[("content-type", kind)], body).await;
            let took = worked(&server, before);
            let text = String::from_utf8_lossy(&answer);
            let refused = status == 400 || (status == 200 && text.contains("max_nesting_depth"));
            assert!(refused, "{name}: {status}: {text}");
            assert!(took <= WORK_MAX, "{name}: {took:?} of work");
            most = most.max(took);
        }
        let mut asked = 0;
        for (part, least) in [
            ("(", 0),
            ("!", 0),
            ("-", 0),
            ("{", 0),
            ("[", 0),
            ("(", 60_000),
            ("-", 60_000),
            ("sum(", 15_000),
        ] {
            let text = part.repeat(if least == 0 { deep } else { least });
            for path in ["/api/v1/query", "/loki/api/v1/query_range", "/loki/api/v1/format_query"] {
                let body = format!("query={}", escape(&text)).into_bytes();
                let form = "application/x-www-form-urlencoded";
                let before = server.busy();
                let (status, answer) = post(&server, path, &[("content-type", form)], body).await;
                let took = worked(&server, before);
                let text = String::from_utf8_lossy(&answer);
                assert!(status == 400, "{part} x {} to {path}: {status}: {text}", text.len());
                assert!(took <= WORK_MAX, "{part} to {path}: {took:?} of work");
                most = most.max(took);
                asked += 1;
            }
        }
        still_serves(&server).await;
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0), "exit code");
        Outcome::Held(format!("7 bodies and {asked} queries refused, {most:?} of work at most"))
    })
}
