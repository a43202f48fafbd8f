//! E: what each protocol promises its senders.

use model::Signal;
use serde_json::{Value as Json, json};

use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::sender::{
    self, Coding, Transport, export, otlp, remote_write, remote_write_body, snappy, write_request,
};
use crate::server::{Server, escape};
use crate::tools::now_s;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E1",
        fault: "1000 records of which 10 are invalid, empty requests, garbage: OTLP over gRPC, \
                protobuf and JSON, three signals",
        expected: "success with 10 rejected and a message of at most 4 KiB, 990 stored; empty is \
                   success; a full success leaves the field unset; errors are a Status in the \
                   request's content type",
        tier: Tier::Fast,
        run: partial_success,
    },
    Row {
        id: "E2",
        fault: "one byte more than a body may have, as sent and decompressed (plain, gzip, zstd); \
                a body of 5 MiB",
        expected: "413, or RESOURCE_EXHAUSTED without a time to wait; 5 MiB are taken",
        tier: Tier::Fast,
        run: too_large,
    },
    Row {
        id: "E4",
        fault: "remote write: 5 of 100 samples bad, another type, version 2.0, framed snappy, no \
                snappy, cut at every byte",
        expected: "400 and 95 stored; 415; 415; 400; 400; 400 or a request that is whole",
        tier: Tier::Fast,
        run: remote_write_faults,
    },
    Row {
        id: "E5",
        fault: "the same time again, an older time, times at the ends of every range, spans that \
                end before they start",
        expected: "same value 204 and stored once; another value 400 and the first one stays; \
                   within the window sorted; outside 400; never a crash",
        tier: Tier::Fast,
        run: times,
    },
    Row {
        id: "E6",
        fault: "each of three requests 100 times, with kill -9 in between",
        expected: "stored once; 99 repetitions recognised of each",
        tier: Tier::Fast,
        run: repetitions,
    },
    Row {
        id: "E7",
        fault: "stale markers, -0 and NaN through log, restart, flush and merge",
        expected: "the series ends at the marker; -0 stays -0; NaN stays NaN",
        tier: Tier::Fast,
        run: special_values,
    },
    Row {
        id: "E8",
        fault: "Loki push: each reason to refuse once, as JSON, gzip and protobuf; undecodable, too \
                large",
        expected: "400 (streams 429) naming the reason, valid siblings stored; 400; 413",
        tier: Tier::Fast,
        run: loki_reasons,
    },
];

const NS_PER_S: u64 = 1_000_000_000;

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Grpc => "grpc",
        Transport::Protobuf => "protobuf",
        Transport::Json => "json",
    }
}

/// The value of an instant vector's only element; 0 of an empty one.
fn number(answer: &Json) -> f64 {
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.map_or(0.0, |text| text.parse().expect("a number"))
}

async fn promql(server: &Server, query: &str) -> Json {
    server.json(&format!("/api/v1/query?query={}", escape(query))).await
}

/// How many records of a name are stored.
async fn stored(server: &Server, signal: Signal, name: &str) -> u64 {
    match signal {
        Signal::Logs => {
            let query = format!("sum(count_over_time({{service_name=\"{name}\"}}[1h]))");
            let path = format!("/loki/api/v1/query?query={}", escape(&query));
            number(&server.json(&path).await) as u64
        }
        Signal::Metrics => {
            number(&promql(server, &format!("sum(count_over_time({name}[1h]))")).await) as u64
        }
        Signal::Traces => {
            let path = format!("/api/v2/traces/{:032x}", sender::trace_id(name));
            let answer = server.json(&path).await;
            let groups = answer["trace"]["resourceSpans"].as_array().cloned().unwrap_or_default();
            let scopes = groups.iter().flat_map(|group| group["scopeSpans"].as_array().cloned());
            scopes.flatten().filter_map(|scope| Some(scope["spans"].as_array()?.len() as u64)).sum()
        }
    }
}

fn partial_success(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let now = now_s() * NS_PER_S;
        let mut sent = 0;
        for signal in Signal::ALL {
            for transport in Transport::ALL {
                let name = format!("e1_{}_{}", word(transport), signal.as_str());
                let times: Vec<u64> = (0..1000)
                    .map(|at| {
                        let ahead = if at % 100 == 50 { 3600 * NS_PER_S } else { 0 };
                        now - 60 * NS_PER_S + at * 1_000_000 + ahead
                    })
                    .collect();
                let way = (transport, Coding::Plain);
                let body = otlp(signal, transport, &name, &times);
                let reply = export(&server, signal, way, &body).await;
                assert!(reply.is_success(transport), "{name}: {reply:?}");
                assert_eq!(reply.rejected, 10, "{name}: {reply:?}");
                assert!(reply.message.contains("too_far_in_future"), "{name}: {reply:?}");
                assert!(reply.message.len() <= 4096, "{name}: {reply:?}");
                assert_eq!(stored(&server, signal, &name).await, 990, "{name}");
                sent += 1000;

                let whole = otlp(signal, transport, &format!("{name}_whole"), &times[..10]);
                let empty: &[u8] = if transport == Transport::Json { b"{}" } else { b"" };
                for (what, body) in [("whole", whole.as_slice()), ("empty", empty)] {
                    let reply = export(&server, signal, way, body).await;
                    assert!(reply.is_success(transport), "{name} {what}: {reply:?}");
                    assert_eq!(reply.body, empty, "{name} {what}: the field is unset: {reply:?}");
                }

                let reply = export(&server, signal, way, b"\xff\xff\xff garbage").await;
                let want = if transport == Transport::Grpc { 3 } else { 400 };
                assert_eq!(reply.code, want, "{name}: {reply:?}");
                assert!(reply.message.contains("tercet-err-"), "{name}: {reply:?}");
                let wanted_type = match transport {
                    Transport::Grpc => "application/grpc",
                    Transport::Protobuf => "application/x-protobuf",
                    Transport::Json => "application/json",
                };
                assert!(reply.content_type.starts_with(wanted_type), "{name}: {reply:?}");
            }
        }
        Outcome::Held(format!("nine ways: 90 of {sent} records rejected, the others stored"))
    })
}

fn too_large(case: Case) -> Running {
    Box::pin(async move {
        let (wire, plain) = (1 << 20, 2 << 20);
        let flags =
            ["--server-max-request-bytes", "1MiB", "--server-max-decompressed-bytes", "2MiB"];
        let server = Server::ready(&case.folder.join("small"), &flags).await;
        let mut refused = 0;
        for signal in Signal::ALL {
            for transport in Transport::ALL {
                for coding in Coding::ALL {
                    let size = if coding == Coding::Plain { wire } else { plain };
                    let body = vec![b' '; size + 1];
                    let reply = export(&server, signal, (transport, coding), &body).await;
                    let want = if transport == Transport::Grpc { 8 } else { 413 };
                    let way = format!("{signal:?} {transport:?} {coding:?}: {reply:?}");
                    assert_eq!(reply.code, want, "{way}");
                    assert!(!reply.retry, "it would never be taken: {way}");
                    refused += 1;
                }
            }
        }
        let server = Server::ready(&case.folder.join("default"), &[]).await;
        let now = now_s() * NS_PER_S;
        let times: Vec<u64> = (0..200_000).map(|at| now - 60 * NS_PER_S + at * 1000).collect();
        let mut taken = 0;
        for transport in Transport::ALL {
            let name = format!("e2_{}", word(transport));
            let body = otlp(Signal::Logs, transport, &name, &times);
            assert!(body.len() > 5 << 20, "{} bytes", body.len());
            let reply = export(&server, Signal::Logs, (transport, Coding::Plain), &body).await;
            assert!(reply.is_success(transport) && reply.rejected == 0, "{transport:?}: {reply:?}");
            assert_eq!(stored(&server, Signal::Logs, &name).await, times.len() as u64);
            taken += body.len();
        }
        Outcome::Held(format!("{refused} bodies refused; {taken} bytes in three requests taken"))
    })
}

fn remote_write_faults(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let now = now_s() as i64 * 1000;
        let labels = [("__name__", "e4"), ("job", "e4")];
        let samples: Vec<(i64, f64)> = (0..100)
            .map(|at| (now - 60_000 + at * 100 + i64::from(at % 20 == 10) * 7_200_000, at as f64))
            .collect();
        let (status, answer) = remote_write(&server, &[(&labels, &samples)]).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("too_far_in_future") && answer.contains("5 refused"), "{answer}");
        assert_eq!(stored(&server, Signal::Metrics, "e4").await, 95);

        let one = [(now, 1.0)];
        let plain = write_request(&[(&labels[..], &one[..])]);
        let good = snappy(&plain);
        for content_type in
            ["application/json", "application/x-protobuf;proto=io.prometheus.write.v2.Request"]
        {
            let (status, answer) = remote_write_body(&server, content_type, good.clone()).await;
            assert_eq!(status, 415, "{content_type}: {answer}");
        }
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut framed, &plain).expect("into memory");
        let framed = framed.into_inner().expect("into memory");
        for (what, body) in [("framed", framed), ("no snappy", plain.clone())] {
            let (status, answer) = remote_write_body(&server, "application/x-protobuf", body).await;
            assert_eq!(status, 400, "{what}: {answer}");
        }
        let mut whole = 0;
        for length in 0..plain.len() {
            let body = snappy(&plain[..length]);
            let (status, answer) = remote_write_body(&server, "application/x-protobuf", body).await;
            assert!(status == 400 || status == 204, "{length} bytes: {status} {answer}");
            whole += u64::from(status == 204);
        }
        // Nothing, and a series without its sample or with a shorter one: no part of the sample is there.
        let count = stored(&server, Signal::Metrics, "e4").await;
        assert_eq!(count, 95, "a cut request stored a sample");
        Outcome::Held(format!(
            "5 of 100 refused, 95 stored; of {} cuts {whole} are whole requests without a sample",
            plain.len()
        ))
    })
}

async fn write_one(server: &Server, name: &str, time_ms: i64, value: f64) -> (u16, String) {
    let labels = [("__name__", name)];
    remote_write(server, &[(&labels, &[(time_ms, value)])]).await
}

fn times(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let now = now_s() as i64 * 1000;
        let hour = 3_600_000;
        for (what, time_ms, value, want) in [
            ("first", now, 1.0, 204),
            ("same time, same value", now, 1.0, 204),
            ("same time, another value", now, 2.0, 400),
            ("older, inside the window", now - hour, 3.0, 204),
            ("older, outside the window", now - 3 * hour, 4.0, 400),
        ] {
            let (status, answer) = write_one(&server, "e5", time_ms, value).await;
            assert_eq!(status, want, "{what}: {answer}");
        }
        let query = format!("e5[2h] @ {}", now / 1000 + 1);
        let answer = promql(&server, &query).await;
        let values: Vec<&str> = answer["data"]["result"][0]["values"]
            .as_array()
            .expect("samples")
            .iter()
            .map(|sample| sample[1].as_str().expect("a value"))
            .collect();
        assert_eq!(values, ["3", "1"], "sorted by time, the first value stays");

        let year = 365 * 24 * hour;
        let mut answers = Vec::new();
        let ends =
            [0, 1, -1, i64::MIN, i64::MAX, now + 10 * year, now - 10 * year, 9_214_646_400_000];
        for (at, time_ms) in ends.into_iter().enumerate() {
            let (status, answer) = write_one(&server, &format!("e5_end_{at}"), time_ms, 1.0).await;
            assert!(status == 204 || status == 400, "{time_ms} ms: {status} {answer}");
            let is_ahead = time_ms > now + hour;
            assert!(!is_ahead || answer.contains("too_far_in_future"), "{time_ms} ms: {answer}");
            answers.push(status);
        }
        let now_ns = now as u64 * 1_000_000;
        for (at, time_ns) in [0, 1, u64::MAX, i64::MAX as u64, now_ns].into_iter().enumerate() {
            for signal in Signal::ALL {
                for transport in Transport::ALL {
                    let name = format!("e5_{at}_{}", word(transport));
                    let body = otlp(signal, transport, &name, &[time_ns.min(u64::MAX - 1)]);
                    let way = (transport, Coding::Plain);
                    let reply = export(&server, signal, way, &body).await;
                    assert!(
                        reply.is_success(transport) || [400, 3].contains(&reply.code),
                        "{time_ns} ns: {reply:?}"
                    );
                }
            }
        }
        let span = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
            "traceId": "e5000000000000000000000000000001", "spanId": "e500000000000001",
            "name": "back", "startTimeUnixNano": now_ns.to_string(),
            "endTimeUnixNano": (now_ns - 1_000_000_000).to_string() }] }] }] });
        let way = (Transport::Json, Coding::Plain);
        let reply = export(&server, Signal::Traces, way, span.to_string().as_bytes()).await;
        assert_eq!(reply.code, 200, "{reply:?}");
        let answer = server.json("/tercet/api/v1/lookup/e5000000000000000000000000000001").await;
        let spans = answer["spans"].as_array().map_or(0, Vec::len);
        assert_eq!(spans, 1 - reply.rejected as usize, "taken and found, or refused: {answer}");
        server.kill().await;
        let server = Server::ready(&case.folder, &[]).await;
        let again = promql(&server, &query).await;
        assert_eq!(again["data"]["result"], answer_of(&["3", "1"], &again), "after a restart");
        Outcome::Held(format!(
            "answers to times at the ends: {answers:?}; no crash, same after kill"
        ))
    })
}

/// The result itself if its values are these, else something that it is not.
fn answer_of(values: &[&str], answer: &Json) -> Json {
    let result = &answer["data"]["result"];
    let held = result[0]["values"].as_array().into_iter().flatten();
    let held: Vec<&str> = held.filter_map(|sample| sample[1].as_str()).collect();
    if held == values { result.clone() } else { json!(values) }
}

fn repetitions(case: Case) -> Running {
    Box::pin(async move {
        let now = now_s();
        let times: Vec<u64> = (0..20).map(|at| (now - 60) * NS_PER_S + at * 1_000_000).collect();
        let name = "e6";
        let mut recognised = 0.0;
        for part in [40, 60] {
            let server = Server::ready(&case.folder, &[]).await;
            for _time in 0..part {
                for signal in Signal::ALL {
                    let body = otlp(signal, Transport::Protobuf, name, &times);
                    let way = (Transport::Protobuf, Coding::Plain);
                    let reply = export(&server, signal, way, &body).await;
                    assert_eq!((reply.code, reply.rejected), (200, 0), "{reply:?}");
                }
            }
            recognised += server.figure("ingest_deduplicated_requests_total", "").await;
            server.kill().await;
        }
        assert_eq!(recognised, 3.0 * 99.0, "tercet_ingest_deduplicated_requests_total");
        let server = Server::ready(&case.folder, &[]).await;
        for signal in Signal::ALL {
            assert_eq!(stored(&server, signal, name).await, times.len() as u64, "{signal:?}");
        }
        Outcome::Held(format!("{recognised} of 300 requests recognised, each signal stored once"))
    })
}

fn special_values(case: Case) -> Running {
    Box::pin(async move {
        const STALE: u64 = 0x7ff0_0000_0000_0002;
        let now = now_s() as i64;
        let at = |seconds: i64| (now - seconds) * 1000;
        let mut server = Server::ready(&case.folder, &[]).await;
        let stale = f64::from_bits(STALE);
        let payload = f64::from_bits(0x7ff8_0000_0000_1234);
        for (name, samples) in [
            ("e7_stale", [(at(50), 1.0), (at(40), stale)]),
            ("e7_zero", [(at(50), 0.0), (at(40), -0.0)]),
            ("e7_nan", [(at(50), 1.0), (at(40), payload)]),
        ] {
            let labels = [("__name__", name)];
            let (status, answer) = remote_write(&server, &[(&labels, &samples)]).await;
            assert_eq!(status, 204, "{answer}");
        }
        for stage in ["in memory", "from the log", "from segments", "merged"] {
            match stage {
                "from the log" => {
                    server.kill().await;
                    server = Server::ready(&case.folder, &[]).await;
                }
                "from segments" | "merged" => {
                    let path = if stage == "merged" { "/-/compact" } else { "/-/flush" };
                    server.upkeep(path).await;
                }
                _ => {}
            }
            let server = &server;
            let value = |query: String| async move {
                let answer = promql(server, &query).await;
                answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
            };
            let (before, after) = (now - 41, now - 39);
            let text = |text: &str| Some(text.to_owned());
            assert_eq!(value(format!("e7_stale @ {before}")).await, text("1"), "{stage}");
            assert_eq!(value(format!("e7_stale @ {after}")).await, None, "{stage}: it has ended");
            assert_eq!(value(format!("1 / e7_zero @ {before}")).await, text("+Inf"), "{stage}");
            assert_eq!(value(format!("1 / e7_zero @ {after}")).await, text("-Inf"), "{stage}");
            assert_eq!(value(format!("e7_nan @ {after}")).await, text("NaN"), "{stage}");
        }
        Outcome::Held("the same in memory, from the log, from segments and merged".to_owned())
    })
}

/// A Loki push of two streams, the second of which is beyond doubt.
struct Push {
    reason: &'static str,
    status: u16,
    labels: Vec<(String, String)>,
    time_ns: u64,
    line: String,
}

fn pushes(now_ns: u64) -> Vec<Push> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let push = |reason, labels, ahead_s: i64, line: &str| Push {
        reason,
        status: if reason == "max_active_streams" { 429 } else { 400 },
        labels,
        time_ns: now_ns.saturating_add_signed(ahead_s * NS_PER_S as i64),
        line: line.to_owned(),
    };
    let many = (0..50).map(|at| pair(&format!("l{at}"), "x")).collect();
    vec![
        push("line_too_long", vec![pair("a", "1")], 0, &"x".repeat(2000)),
        push("invalid_labels", vec![pair("not a name", "1")], 0, "x"),
        push("too_many_labels", many, 0, "x"),
        push("label_name_too_long", vec![pair(&"n".repeat(2000), "1")], 0, "x"),
        push("label_value_too_long", vec![pair("a", &"v".repeat(5000))], 0, "x"),
        push("too_far_in_future", vec![pair("a", "1")], 3600, "x"),
        push("too_old", vec![pair("a", "1")], -8 * 3600, "x"),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LokiWay {
    Json,
    Gzip,
    Protobuf,
}

impl LokiWay {
    async fn send(self, server: &Server, push: &Push, sibling: &str) -> (u16, String) {
        let now = now_s() * NS_PER_S;
        let request = server.client.post(format!("{}/loki/api/v1/push", server.http));
        let request = if self == LokiWay::Protobuf {
            request
                .header("content-type", "application/x-protobuf")
                .body(snappy(&loki_protobuf(push, sibling, now)))
        } else {
            let labels: serde_json::Map<String, Json> =
                push.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let body = json!({ "streams": [
                { "stream": labels, "values": [[push.time_ns.to_string(), push.line]] },
                { "stream": { "service_name": sibling }, "values": [[now.to_string(), "sibling"]] },
            ] });
            let body = body.to_string().into_bytes();
            let request = request.header("content-type", "application/json");
            if self == LokiWay::Gzip {
                request.header("content-encoding", "gzip").body(Coding::Gzip.encode(&body))
            } else {
                request.body(body)
            }
        };
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

/// `logproto.PushRequest`.
fn loki_protobuf(push: &Push, sibling: &str, now_ns: u64) -> Vec<u8> {
    use model::wire::{put_bytes, put_message, put_uint};

    let pairs: Vec<String> =
        push.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let bad = format!("{{{}}}", pairs.join(","));
    let good = format!("{{service_name=\"{sibling}\"}}");
    let mut out = Vec::new();
    for (labels, time_ns, line) in
        [(bad, push.time_ns, push.line.as_str()), (good, now_ns, "sibling")]
    {
        put_message(&mut out, 1, |out| {
            put_bytes(out, 1, labels.as_bytes());
            put_message(out, 2, |out| {
                put_message(out, 1, |out| {
                    put_uint(out, 1, time_ns / NS_PER_S);
                    put_uint(out, 2, time_ns % NS_PER_S);
                });
                put_bytes(out, 2, line.as_bytes());
            });
        });
    }
    out
}

fn loki_reasons(case: Case) -> Running {
    Box::pin(async move {
        let flags = ["--limits-ingest-max-line-bytes", "1KiB", "--limits-ingest-max-age", "6h"];
        let server = Server::ready(&case.folder.join("reasons"), &flags).await;
        let mut refused = 0;
        for way in [LokiWay::Json, LokiWay::Gzip, LokiWay::Protobuf] {
            for push in pushes(now_s() * NS_PER_S) {
                let sibling = format!("e8_{way:?}_{}", push.reason);
                let (status, answer) = way.send(&server, &push, &sibling).await;
                let what = format!("{way:?} {}: {status} {answer}", push.reason);
                assert_eq!(status, push.status, "{what}");
                assert!(answer.contains(&format!("tercet-err-{}", push.reason)), "{what}");
                assert_eq!(stored(&server, Signal::Logs, &sibling).await, 1, "sibling: {what}");
                refused += 1;
            }
        }
        let twice = Push {
            reason: "invalid_labels",
            status: 400,
            labels: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            time_ns: now_s() * NS_PER_S,
            line: "x".to_owned(),
        };
        let (status, answer) = LokiWay::Protobuf.send(&server, &twice, "e8_twice").await;
        assert_eq!(status, 400, "a label twice: {answer}");
        assert_eq!(stored(&server, Signal::Logs, "e8_twice").await, 1, "sibling: {answer}");
        for body in [&b"{"[..], b"{\"streams\":7}", b"\xff\xff"] {
            let (status, answer) =
                server.post("/loki/api/v1/push", "application/json", body.to_vec()).await;
            assert_eq!(status, 400, "{answer}");
        }
        // A handful of streams is all that this one takes.
        let flags = ["--limits-ingest-max-active-streams", "3"];
        let server = Server::ready(&case.folder.join("streams"), &flags).await;
        let mut last = (0, String::new());
        for at in 0..8 {
            let stream = json!({ "service_name": format!("s{at}") });
            let time = (now_s() * NS_PER_S).to_string();
            let body = json!({ "streams": [{ "stream": stream, "values": [[time, "x"]] }] });
            let body = body.to_string().into_bytes();
            last = server.post("/loki/api/v1/push", "application/json", body).await;
        }
        assert_eq!(last.0, 429, "{}", last.1);
        assert!(last.1.contains("max_active_streams"), "{}", last.1);
        let small = ["--server-max-request-bytes", "64KiB"];
        let server = Server::ready(&case.folder.join("small"), &small).await;
        let body = vec![b' '; (64 << 10) + 1];
        let (status, answer) = server.post("/loki/api/v1/push", "application/json", body).await;
        assert_eq!(status, 413, "{answer}");
        Outcome::Held(format!(
            "{refused} pushes refused by reason, each sibling stored; 400, 413, 429"
        ))
    })
}
