//! G2, G3: questions that cost much to understand, and numbers that mean nothing.

use std::time::Duration;

use super::{post, still_serves, worked};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, escape};
use crate::tools::now_s;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "G2",
        fault: "(a+)+$, (.*){64}, a{1000}{1000} and their like, a pattern of 1 MB, over a line of \
                200 KiB, wherever a pattern can stand",
        expected: "400, or an answer in linear time: 1 s of work at most",
        tier: Tier::Fast,
        run: patterns,
    },
    Row {
        id: "G3",
        fault: "limit=2^31, step=1ns, ranges of 100 years, negative numbers, NaN, start after end, \
                topk and quantile of huge numbers",
        expected: "400 after 10 ms of work at most",
        tier: Tier::Fast,
        run: numbers,
    },
];

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

async fn ask(server: &Server, path: &str, query: &str, more: &str) -> (u16, String) {
    let body = format!("query={}&{more}", escape(query)).into_bytes();
    let (status, answer) = post(server, path, &FORM, body).await;
    (status, String::from_utf8_lossy(&answer).into_owned())
}

fn patterns(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let line = format!("{}!", "a".repeat(200 << 10));
        let time = format!("{}000000000", now_s());
        let stream = serde_json::json!({"app": "a"});
        let push = serde_json::json!({"streams": [{"stream": stream, "values": [[time, line]]}]});
        let json = [("content-type", "application/json")];
        let body = push.to_string().into_bytes();
        let (status, answer) = post(&server, "/loki/api/v1/push", &json, body).await;
        assert_eq!(status, 204, "{}", String::from_utf8_lossy(&answer));

        let monsters = [
            "(a+)+$".to_owned(),
            "(.*){64}".to_owned(),
            "a{1000}{1000}".to_owned(),
            "((a{100}){100}){100}".to_owned(),
            "(a?){500}a{500}".to_owned(),
            "(x+x+)+y".to_owned(),
            "(.*a){30}".to_owned(),
            "(?i)(\\\\pL|\\\\pN)+[^\\\\w]{900}$".to_owned(),
            "a".repeat(1 << 20),
        ];
        let (mut refused, mut answered, mut most) = (0, 0, Duration::ZERO);
        for monster in &monsters {
            let places = [
                ("/loki/api/v1/query_range", format!("{{app=\"a\"}} |~ \"{monster}\"")),
                ("/loki/api/v1/query_range", format!("{{app=~\"{monster}\"}}")),
                (
                    "/loki/api/v1/query_range",
                    format!("{{app=\"a\"}} | regexp \"(?P<x>{monster})\""),
                ),
                ("/loki/api/v1/query_range", format!("{{app=\"a\"}} | app=~\"{monster}\"")),
                (
                    "/loki/api/v1/query_range",
                    format!(
                        "{{app=\"a\"}} | line_format `{{{{regexReplaceAll \"{monster}\" __line__ \"\"}}}}`"
                    ),
                ),
                ("/api/v1/query", format!("{{__name__=~\"{monster}\"}}")),
                (
                    "/api/v1/query",
                    format!("label_replace(vector(1), \"x\", \"$1\", \"y\", \"{monster}\")"),
                ),
            ];
            for (path, query) in places {
                let before = server.busy();
                let (status, answer) = ask(&server, path, &query, "limit=1").await;
                let took = worked(&server, before);
                let start: String = query.chars().take(60).collect();
                let said: String = answer.chars().take(200).collect();
                assert!([200, 400, 422].contains(&status), "{start}: {status}: {said}");
                assert!(took <= Duration::from_secs(1), "{start}: {took:?} of work");
                most = most.max(took);
                if status == 200 { answered += 1 } else { refused += 1 }
            }
        }
        still_serves(&server).await;
        Outcome::Held(format!("{refused} refused, {answered} answered, {most:?} of work at most"))
    })
}

/// What must be refused: path, and the query string that is wrong in one place.
const WRONG: &[&str] = &[
    "/api/v1/query_range?query=up&start=0&end=100&step=0",
    "/api/v1/query_range?query=up&start=0&end=100&step=-1",
    "/api/v1/query_range?query=up&start=0&end=100&step=NaN",
    "/api/v1/query_range?query=up&start=0&end=100&step=0.000000001",
    "/api/v1/query_range?query=up&start=0&end=100&step=1ns",
    "/api/v1/query_range?query=up&start=100&end=0&step=1",
    "/api/v1/query_range?query=up&start=NaN&end=100&step=1",
    "/api/v1/query_range?query=up&start=0&end=3153600000&step=1",
    "/api/v1/query_range?query=up&start=0&end=1e400&step=1",
    "/api/v1/query_range?query=up&start=0&end=100&step=1&limit=-1",
    "/api/v1/query_range?query=up&start=0&end=100&step=1&limit=NaN",
    "/api/v1/query?query=up&time=NaN",
    "/api/v1/query?query=up&limit=99999999999999999999",
    "/api/v1/query?query=up&timeout=-1s",
    "/api/v1/series?match[]=up&start=5&end=1",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&limit=2147483648",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&limit=-1",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&limit=NaN",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&start=5&end=1",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&start=x&end=1",
    "/loki/api/v1/query_range?query=rate(%7Ba=%22b%22%7D[1m])&start=0&end=100&step=1ns",
    "/loki/api/v1/query_range?query=rate(%7Ba=%22b%22%7D[1m])&start=0&end=100&step=0",
    "/loki/api/v1/query_range?query=rate(%7Ba=%22b%22%7D[1m])&start=0&end=100&step=-5",
    "/loki/api/v1/query_range?query=rate(%7Ba=%22b%22%7D[1m])&start=0&end=3153600000&step=1",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&interval=-1",
    "/loki/api/v1/query_range?query=%7Ba=%22b%22%7D&direction=sideways",
    "/loki/api/v1/query?query=vector(1)&time=NaN",
    "/ds/jaeger/api/traces?service=a&limit=2147483648",
    "/ds/jaeger/api/traces?service=a&limit=-1",
    "/ds/jaeger/api/traces?service=a&start=5&end=1",
    "/ds/jaeger/api/traces?service=a&minDuration=NaN",
    "/ds/jaeger/api/traces?service=a&minDuration=-1s",
    "/ds/zipkin/api/v2/traces?serviceName=a&limit=2147483648",
    "/ds/zipkin/api/v2/traces?serviceName=a&limit=-1",
    "/ds/zipkin/api/v2/traces?serviceName=a&lookback=-1",
];

/// What means something, if not much: it is answered as quickly.
const ODD: &[&str] = &[
    "/api/v1/query?query=topk(9223372036854775807,up)",
    "/api/v1/query?query=topk(NaN,up)",
    "/api/v1/query?query=quantile(1e308,up)",
    "/api/v1/query?query=quantile(NaN,up)",
    "/api/v1/query?query=up[100y:1ms]",
    "/api/v1/query?query=up&limit=2147483648",
    "/api/v1/query_range?query=up&start=0&end=3153600000&step=1y",
    "/loki/api/v1/query?query=topk(9223372036854775807,rate(%7Ba=%22b%22%7D[1m]))",
];

fn numbers(case: Case) -> Running {
    Box::pin(async move {
        const TIMES: u32 = 20;
        let server = Server::ready(&case.folder, &[]).await;
        let (mut most, mut wrong) = (Duration::ZERO, Vec::new());
        for path in WRONG.iter().chain(ODD) {
            let before = server.busy();
            for _ in 0..TIMES {
                let (status, answer) = server.get(path).await;
                let fits = if WRONG.contains(path) { status == 400 } else { status < 500 };
                if !fits {
                    let said: String = answer.chars().take(120).collect();
                    wrong.push(format!("{path}: {status}: {said}"));
                    break;
                }
            }
            let took = worked(&server, before) / TIMES;
            assert!(took <= Duration::from_millis(10), "{path}: {took:?} of work each");
            most = most.max(took);
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), WRONG.len(), wrong.join("\n"));
        still_serves(&server).await;
        let count = WRONG.len() + ODD.len();
        Outcome::Held(format!("{count} kinds, {most:?} of work each at most"))
    })
}
