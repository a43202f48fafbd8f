//! Every way in and every way out, with a sink that does as it is told.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use model::wire::{Field, Reader, put_bytes, put_message};
use model::{Limits, Memory, Reason, Signal, TenantId};
use parking_lot::Mutex;
use tower::ServiceExt;

use super::{Ingest, IngestOptions};
use crate::failure::Class;
use crate::{Accepted, Decoder, Failure, Sink, Taken};

const NOW_NS: i64 = 1_700_000_000 * model::NS_PER_S;

/// Remembers what it was given, or fails with a class.
#[derive(Debug, Default)]
struct FakeSink {
    fails: Mutex<Option<Class>>,
    refuses: Mutex<Option<Reason>>,
    duplicate: Mutex<bool>,
    kept: Mutex<Vec<(String, Signal, usize)>>,
}

impl Sink for FakeSink {
    fn now_ns(&self) -> i64 {
        NOW_NS
    }

    fn accept(&self, accepted: Accepted) -> BoxFuture<'_, Result<Taken, Failure>> {
        Box::pin(async move {
            if let Some(class) = *self.fails.lock() {
                return Err(Failure::with_id(class, "fake", "é 100 % refused"));
            }
            let (signal, count) = (accepted.batch.signal(), accepted.batch.record_count());
            self.kept.lock().push((accepted.tenant.as_str().to_owned(), signal, count));
            let mut taken = Taken { duplicate: *self.duplicate.lock(), ..Taken::default() };
            if let Some(reason) = *self.refuses.lock() {
                taken.rejections.add(reason, 1, || "too many".to_owned());
            }
            Ok(taken)
        })
    }
}

struct Bench {
    sink: Arc<FakeSink>,
    ingest: Arc<Ingest>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(IngestOptions::default())
    }

    fn with(options: IngestOptions) -> Bench {
        let sink = Arc::new(FakeSink::default());
        let decoder = Arc::new(Decoder::new(Limits::default()));
        let ingest = Ingest::new(options, decoder, Arc::clone(&sink) as Arc<dyn Sink>);
        Bench { sink, ingest }
    }

    async fn send(&self, request: Request) -> Answer {
        Answer::of(self.ingest.router().oneshot(request).await.unwrap()).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.into())).unwrap()).await
    }

    async fn grpc(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut all = vec![("content-type", "application/grpc+proto"), ("te", "trailers")];
        all.extend_from_slice(headers);
        self.post(TRACES_GRPC, &all, body).await
    }
}

const TRACES_GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    async fn of(response: Response) -> Answer {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let body = collected.to_bytes();
        Answer { status: parts.status, headers: parts.headers, body, trailers }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn grpc_status(&self) -> u32 {
        let value = self.headers.get("grpc-status").or_else(|| self.trailers.get("grpc-status"));
        value.unwrap().to_str().unwrap().parse().unwrap()
    }
}

/// One span, with a name of `name_bytes` bytes.
fn spans(name_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| {
        put_message(out, 2, |out| {
            put_message(out, 2, |out| put_bytes(out, 5, &vec![b'n'; name_bytes]));
        });
    });
    out
}

const SPANS_JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name",
    "value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![flag];
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// Code, message and details' type URLs of a `google.rpc.Status`.
fn read_status(bytes: &[u8]) -> (u64, String, Vec<String>) {
    let (mut code, mut message, mut details) = (0, String::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field().unwrap() {
        match (number, field) {
            (1, Field::Varint(number)) => code = number,
            (2, Field::Bytes(text)) => message = String::from_utf8(text.to_vec()).unwrap(),
            (3, Field::Bytes(any)) => {
                let Some((1, Field::Bytes(url))) = Reader::new(any).next_field().unwrap() else {
                    panic!("a detail without a type")
                };
                details.push(String::from_utf8(url.to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    (code, message, details)
}

#[tokio::test]
async fn success_answers_in_the_requests_type_and_leaves_partial_success_unset() {
    let bench = Bench::new();
    for path in ["/v1/traces", "/otlp/v1/traces"] {
        let answer = bench.post(path, &[PROTOBUF], spans(5)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), "application/x-protobuf");
        assert!(answer.body.is_empty());
        let answer = bench.post(path, &[JSON], SPANS_JSON).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{}"));
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let default = |count| ("default".to_owned(), Signal::Traces, count);
    assert_eq!(*bench.sink.kept.lock(), [default(1), default(2), default(1), default(2)]);
    let arrivals = bench.ingest.arrivals();
    assert_eq!(arrivals.len(), 2);
    assert_eq!((arrivals[1].service.as_str(), arrivals[1].requests), ("shop", 2));
}

#[tokio::test]
async fn an_empty_request_is_a_success_that_keeps_nothing() {
    let bench = Bench::new();
    for path in ["/v1/logs", "/v1/traces", "/ds/loki/otlp/v1/logs"] {
        assert_eq!(bench.post(path, &[PROTOBUF], "").await.status, StatusCode::OK);
        assert_eq!(bench.post(path, &[JSON], "{}").await.status, StatusCode::OK);
    }
    assert_eq!(bench.grpc(&[], framed(0, &[])).await.grpc_status(), 0);
    assert!(bench.sink.kept.lock().is_empty());
}

#[tokio::test]
async fn compressed_bodies_are_taken() {
    let bench = Bench::new();
    let (small, large) = (spans(5), spans(100_000));
    for plain in [&small, &large] {
        let zstd = zstd::bulk::compress(plain, 1).unwrap();
        for (encoding, body) in [("gzip", gzip(plain)), ("zstd", zstd)] {
            let headers = [PROTOBUF, ("content-encoding", encoding)];
            let answer = bench.post("/v1/traces", &headers, body.clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "{encoding} {answer:?}");
            let answer = bench.grpc(&[("grpc-encoding", encoding)], framed(1, &body)).await;
            assert_eq!(answer.grpc_status(), 0, "{encoding} {answer:?}");
        }
    }
    assert_eq!(bench.sink.kept.lock().len(), 8);
}

#[tokio::test]
async fn refused_records_are_a_partial_success() {
    let bench = Bench::new();
    *bench.sink.refuses.lock() = Some(Reason::MaxActiveStreams);
    let said = "tercet-err-max_active_streams: 1 refused, for example: too many (tenant default); \
                raise it in tenants.default.limits.ingest.max_active_streams";
    let answer = bench.post("/v1/traces", &[JSON], SPANS_JSON).await;
    assert_eq!(answer.status, StatusCode::OK);
    let json: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(json["partialSuccess"]["rejectedSpans"], "1");
    assert_eq!(json["partialSuccess"]["errorMessage"], said);
    let mut want = Vec::new();
    put_message(&mut want, 1, |out| {
        model::wire::put_uint(out, 1, 1);
        put_bytes(out, 2, said.as_bytes());
    });
    assert_eq!(bench.post("/v1/traces", &[PROTOBUF], spans(1)).await.body, want);
    let answer = bench.grpc(&[], framed(0, &spans(1))).await;
    assert_eq!((answer.grpc_status(), &answer.body[..]), (0, &framed(0, &want)[..]));
    let discarded = bench.ingest.stats().counters.into_iter().find(|(name, labels, _)| {
        *name == "ingest_discarded_records_total"
            && labels.contains(&("reason", "max_active_streams".to_owned()))
    });
    assert_eq!(discarded.unwrap().2, 3.0);
    assert_eq!(bench.ingest.problems().len(), 3);
}

#[tokio::test]
async fn every_class_of_failure_is_said_as_each_protocol_says_it() {
    // Class, HTTP status, gRPC code, whether it says when to come back.
    for (class, status, code, retryable) in [
        (Class::Undecodable, 400, 3, false),
        (Class::InvalidRecords, 400, 3, false),
        (Class::TooBig, 413, 8, false),
        (Class::Unsupported, 415, 12, false),
        (Class::Unauthenticated, 401, 16, false),
        (Class::Forbidden, 403, 7, false),
        (Class::BadTenant, 400, 3, false),
        (Class::RateLimited, 429, 8, true),
        (Class::Overloaded, 503, 14, true),
        (Class::Internal, 500, 13, false),
    ] {
        let bench = Bench::new();
        *bench.sink.fails.lock() = Some(class);
        let message = "tercet-err-fake: é 100 % refused";

        let answer = bench.post("/v1/traces", &[PROTOBUF], spans(1)).await;
        assert_eq!(answer.status.as_u16(), status, "{class:?}");
        assert_eq!(answer.header("content-type"), "application/x-protobuf");
        assert_eq!(answer.headers.contains_key("retry-after"), retryable, "{class:?}");
        let (got, said, details) = read_status(&answer.body);
        assert_eq!((got, said.as_str()), (code, message), "{class:?}");
        let retry_info = details.iter().any(|url| url.ends_with("google.rpc.RetryInfo"));
        assert_eq!(retry_info, retryable, "{class:?}");

        let answer = bench.post("/v1/traces", &[JSON], SPANS_JSON).await;
        let json: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!((json["code"].as_u64(), json["message"].as_str()), (Some(code), Some(message)));
        assert_eq!(json["details"][0]["retryDelay"].is_string(), retryable);

        let answer = bench.grpc(&[], framed(0, &spans(1))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(u64::from(answer.grpc_status()), code, "{class:?}");
        assert_eq!(answer.header("grpc-message"), "tercet-err-fake: %C3%A9 100 %25 refused");
        let details = STANDARD_NO_PAD.decode(answer.header("grpc-status-details-bin")).unwrap();
        let (got, _, details) = read_status(&details);
        let retry_info = details.iter().any(|url| url.ends_with("google.rpc.RetryInfo"));
        assert_eq!((got, retry_info), (code, retryable), "{class:?}");
        assert!(answer.body.is_empty() && answer.trailers.is_empty());
    }
}

#[tokio::test]
async fn times_to_wait_grow_with_attempts_and_stay_in_bounds() {
    let bench = Bench::new();
    *bench.sink.fails.lock() = Some(Class::Overloaded);
    for attempt in ["0", "3", "99", "x"] {
        for _ in 0..20 {
            let headers = [PROTOBUF, ("retry-attempt", attempt)];
            let answer = bench.post("/v1/traces", &headers, spans(1)).await;
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            let range = match attempt {
                "3" => 8..=24,
                "99" => 15..=30,
                _ => 1..=3,
            };
            assert!(range.contains(&wait), "attempt {attempt}: {wait}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_for_good() {
    let bench = Bench::new();
    let answer = bench.post("/v1/traces", &[PROTOBUF], "no protobuf").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let (code, message, details) = read_status(&answer.body);
    assert_eq!(code, 3);
    assert!(message.starts_with("tercet-err-undecodable: "), "{message}");
    assert!(details[0].ends_with("google.rpc.BadRequest"));
    assert_eq!(bench.post("/v1/traces", &[JSON], "[]").await.status, StatusCode::BAD_REQUEST);
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    assert_eq!(bench.post("/v1/traces", &headers, "no gzip").await.status, StatusCode::BAD_REQUEST);
    for body in [vec![], vec![0, 0, 0, 0, 9, 1], framed(7, &[]), framed(0, &[]).repeat(2)] {
        assert_eq!(bench.grpc(&[], body).await.grpc_status(), 3);
    }
    assert_eq!(bench.grpc(&[], framed(1, &spans(1))).await.grpc_status(), 3);
}

#[tokio::test]
async fn types_and_encodings_that_are_not_spoken_are_415_or_unimplemented() {
    let bench = Bench::new();
    let answer = bench.post("/v1/traces", &[("content-type", "text/xml")], "<a/>").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.text().contains("text/xml"), "{}", answer.text());
    assert_eq!(bench.post("/v1/logs", &[], "{}").await.status.as_u16(), 415);
    let headers = [PROTOBUF, ("content-encoding", "br")];
    let answer = bench.post("/v1/traces", &headers, "x").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.header("accept-encoding"), "gzip, zstd, deflate, snappy");
    assert_eq!(bench.grpc(&[("grpc-encoding", "br")], framed(1, b"x")).await.grpc_status(), 12);
    // gRPC bytes on a plain path and plain bytes on a gRPC path.
    assert_eq!(bench.post(TRACES_GRPC, &[PROTOBUF], spans(1)).await.status.as_u16(), 415);
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(bench.post("/api/v1/write", &[("content-type", v2)], "").await.status.as_u16(), 415);
}

#[tokio::test]
async fn unknown_grpc_calls_are_unimplemented() {
    let bench = Bench::new();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Delete";
    let answer = bench.post(path, &[("content-type", "application/grpc")], framed(0, &[])).await;
    assert_eq!((answer.status, answer.grpc_status()), (StatusCode::OK, 12));
    let mut headers = HeaderMap::new();
    assert!(Ingest::unknown_grpc(&headers).is_none());
    headers.insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
    let answer = Answer::of(Ingest::unknown_grpc(&headers).unwrap()).await;
    assert_eq!(answer.grpc_status(), 12);
}

#[tokio::test]
async fn bodies_over_the_caps_are_too_big_and_bombs_go_nowhere() {
    let bench = Bench::with(IngestOptions {
        request_bytes_max: 10_000,
        decompressed_bytes_max: 50_000,
        ..IngestOptions::default()
    });
    let answer = bench.post("/v1/traces", &[PROTOBUF], spans(10_001)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let (_, message, details) = read_status(&answer.body);
    assert!(message.contains("server.max_request_bytes"), "{message}");
    assert!(details.is_empty());
    // Without a declared length.
    let chunks = (0..200).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 100])));
    let body = Body::from_stream(futures::stream::iter(chunks));
    let request = Request::post("/v1/traces").header(PROTOBUF.0, PROTOBUF.1).body(body).unwrap();
    assert_eq!(bench.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let bomb = gzip(&vec![0; 4 << 20]);
    let answer = bench.post("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], bomb.clone());
    assert_eq!(answer.await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // One that lies about its size.
    let mut liar = gzip(&vec![0; 4 << 20]);
    let at = liar.len() - 4;
    liar[at..].copy_from_slice(&100u32.to_le_bytes());
    let answer = bench.grpc(&[("grpc-encoding", "gzip")], framed(1, &liar)).await;
    assert_eq!(answer.grpc_status(), 8);
    let details = STANDARD_NO_PAD.decode(answer.header("grpc-status-details-bin")).unwrap();
    assert!(read_status(&details).2.is_empty(), "no RetryInfo");
    assert!(bench.sink.kept.lock().is_empty());
    // A body larger than it says, but within the cap, is taken.
    let mut liar = gzip(&spans(40_000));
    let at = liar.len() - 4;
    liar[at..].copy_from_slice(&100u32.to_le_bytes());
    let answer = bench.post("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], liar).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "its trailer is wrong");
    let two = [gzip(&spans(20_000)), gzip(&spans(10))].concat();
    let answer = bench.post("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], two).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_full_house_asks_to_come_back() {
    let options = IngestOptions { inflight_bytes_max: 1 << 20, ..IngestOptions::default() };
    let bench = Bench::with(options);
    let held = bench.ingest.gate.enter(&TenantId::default(), 1 << 20).await.unwrap();
    let answer = bench.post("/v1/traces", &[PROTOBUF], spans(1000)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    drop(held);
    assert_eq!(bench.post("/v1/traces", &[PROTOBUF], spans(1000)).await.status, StatusCode::OK);
    assert_eq!(bench.ingest.gate.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_finds_no_room_is_read_to_its_end_so_that_the_answer_arrives() {
    let short = Arc::new(Memory::new(1 << 20));
    short.measured(u64::MAX);
    let no_memory = IngestOptions { memory: short, ..IngestOptions::default() };
    let full_gate = IngestOptions { inflight_bytes_max: 1 << 20, ..IngestOptions::default() };
    for (options, id) in [(no_memory, "memory_full"), (full_gate, "inflight_bytes")] {
        let bench = Bench::with(options);
        let _held = bench.ingest.gate.enter(&TenantId::default(), 1 << 20).await.unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let chunks = (0..100).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![0; 100]))
        });
        let body = Body::from_stream(futures::stream::iter(chunks));
        let request = Request::post("/v1/traces").header(PROTOBUF.0, PROTOBUF.1);
        let answer = bench.send(request.body(body).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{id}");
        assert!(answer.headers.contains_key("retry-after"), "{id}");
        assert!(read_status(&answer.body).1.contains(id), "{id}");
        assert_eq!(taken.load(Ordering::Relaxed), 100, "{id}");
    }
}

#[tokio::test]
async fn tenants_come_from_the_header() {
    let bench = Bench::new();
    let headers = [PROTOBUF, ("X-Scope-OrgID", "acme")];
    assert_eq!(bench.post("/v1/traces", &headers, spans(1)).await.status, StatusCode::OK);
    assert_eq!(bench.grpc(&[("x-scope-orgid", "b")], framed(0, &spans(1))).await.grpc_status(), 0);
    let tenants: Vec<String> = bench.sink.kept.lock().iter().map(|kept| kept.0.clone()).collect();
    assert_eq!(tenants, ["acme", "b"]);
    for bad in ["", "a/b", "..", &"x".repeat(151)] {
        let headers = [PROTOBUF, ("X-Scope-OrgID", bad)];
        let answer = bench.post("/v1/traces", &headers, spans(1)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad:?}");
        let answer = bench.grpc(&[("x-scope-orgid", bad)], framed(0, &spans(1))).await;
        assert_eq!(answer.grpc_status(), 3);
    }
}

#[tokio::test]
async fn other_methods_are_told_what_the_path_is_for() {
    let bench = Bench::new();
    for (path, word) in [("/v1/traces", "OpenTelemetry"), ("/loki/api/v1/push", "Loki")] {
        let answer = bench.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "POST");
        assert!(answer.text().contains(word), "{}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_given_up_when_its_time_has_passed() {
    let bench = Bench::new();
    let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::post(TRACES_GRPC)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "250m")
        .body(body)
        .unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(1), bench.send(request)).await;
    assert_eq!(sent.unwrap().grpc_status(), 4);
    // Over HTTP a body has a minute, and what we add to it some seconds.
    let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::post("/v1/logs").header(JSON.0, JSON.1).body(body).unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(68), bench.send(request)).await;
    assert_eq!(sent.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn duplicates_are_acknowledged_and_counted() {
    let bench = Bench::new();
    *bench.sink.duplicate.lock() = true;
    assert_eq!(bench.post("/v1/traces", &[PROTOBUF], spans(1)).await.status, StatusCode::OK);
    let stats = bench.ingest.stats();
    let count = |name: &str| {
        stats.counters.iter().filter(|figure| figure.0 == name).map(|figure| figure.2).sum::<f64>()
    };
    assert_eq!(count("ingest_deduplicated_requests_total"), 1.0);
    assert_eq!(count("ingest_requests_total"), 1.0);
    assert_eq!(count("ingest_received_records_total"), 1.0);
    assert!(count("ingest_received_bytes_total") > 0.0);
}

/// A remote write request of one sample, in a snappy block.
fn remote_write() -> Vec<u8> {
    let mut plain = Vec::new();
    put_message(&mut plain, 1, |out| {
        put_message(out, 1, |out| {
            put_bytes(out, 1, b"__name__");
            put_bytes(out, 2, b"up");
        });
        put_message(out, 2, |out| {
            model::wire::put_fixed64(out, 1, 1f64.to_bits());
            model::wire::put_uint(out, 2, (NOW_NS / model::NS_PER_MS) as u64);
        });
    });
    snap::raw::Encoder::new().compress_vec(&plain).unwrap()
}

#[tokio::test]
async fn remote_write_and_loki_push_answer_in_their_own_words() {
    let bench = Bench::new();
    let push =
        format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{NOW_NS}","hi"]]}}]}}"#);
    let snappy = [PROTOBUF, ("content-encoding", "snappy")];
    for path in ["/api/v1/write", "/api/v1/push", "/ds/prometheus/api/v1/write"] {
        let answer = bench.post(path, &snappy, remote_write()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""), "{path}");
        assert!(!answer.headers.contains_key("x-prometheus-remote-write-samples-written"));
    }
    for path in ["/loki/api/v1/push", "/ds/loki/loki/api/v1/push"] {
        assert_eq!(bench.post(path, &[JSON], push.clone()).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(bench.sink.kept.lock().len(), 5);
    // Records refused: the rest was kept, and 400 says so; a full house of streams is 429.
    for (reason, loki) in [(Reason::OutOfOrder, 400), (Reason::MaxActiveStreams, 429)] {
        *bench.sink.refuses.lock() = Some(reason);
        let said = format!("tercet-err-{}: 1 refused", reason.as_str());
        let answer = bench.post("/api/v1/write", &snappy, remote_write()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().starts_with(&said), "{}", answer.text());
        let answer = bench.post("/loki/api/v1/push", &[JSON], push.clone()).await;
        assert_eq!(answer.status.as_u16(), loki);
        assert!(answer.text().starts_with(&said), "{}", answer.text());
    }
    for class in [Class::Overloaded, Class::RateLimited] {
        *bench.sink.fails.lock() = Some(class);
        let answer = bench.post("/api/v1/write", &snappy, remote_write()).await;
        assert_eq!(answer.status, class.http_status());
        assert!(answer.header("content-type").starts_with("text/plain"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    let wrong = [PROTOBUF, ("content-encoding", "gzip")];
    assert_eq!(bench.post("/api/v1/write", &wrong, remote_write()).await.status.as_u16(), 415);
    assert_eq!(bench.post("/api/v1/write", &snappy, "junk").await.status.as_u16(), 400);
    assert_eq!(bench.post("/loki/api/v1/push", &[JSON], "junk").await.status.as_u16(), 400);
}
