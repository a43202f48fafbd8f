//! Requests of every protocol as bytes, and a client of gRPC that shows what came back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::Signal;
use model::wire::{put_bytes, put_fixed64, put_message, put_uint};
use serde_json::{Value as Json, json};

use crate::server::Server;

/// How an OTLP request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Protobuf,
    Json,
}

impl Transport {
    pub const ALL: [Transport; 3] = [Transport::Grpc, Transport::Protobuf, Transport::Json];
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    pub const ALL: [Coding; 3] = [Coding::Plain, Coding::Gzip, Coding::Zstd];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Coding::Plain => "identity",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    #[must_use]
    pub fn encode(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Coding::Plain => plain.to_vec(),
            Coding::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut out, plain).expect("into memory");
                out.finish().expect("into memory")
            }
            Coding::Zstd => zstd::stream::encode_all(plain, 3).expect("into memory"),
        }
    }
}

/// What was answered to an OTLP request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// HTTP's status, or gRPC's.
    pub code: u16,
    pub content_type: String,
    pub body: Vec<u8>,
    pub message: String,
    /// Of a partial success.
    pub rejected: u64,
    /// A time to wait was given.
    pub retry: bool,
}

impl Reply {
    #[must_use]
    pub fn is_success(&self, transport: Transport) -> bool {
        self.code == if transport == Transport::Grpc { 0 } else { 200 }
    }
}

/// An OTLP request of one record at each time: log records, spans of one trace, samples of a gauge,
/// all named `name`.
#[must_use]
pub fn otlp(signal: Signal, transport: Transport, name: &str, times_ns: &[u64]) -> Vec<u8> {
    if transport == Transport::Json {
        return otlp_json(signal, name, times_ns).to_string().into_bytes();
    }
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| {
        put_message(out, 1, |out| {
            put_message(out, 1, |out| {
                put_bytes(out, 1, b"service.name");
                put_message(out, 2, |out| put_bytes(out, 1, name.as_bytes()));
            });
        });
        put_message(out, 2, |out| match signal {
            Signal::Metrics => put_message(out, 2, |out| {
                put_bytes(out, 1, name.as_bytes());
                put_message(out, 5, |out| {
                    for (at, time_ns) in times_ns.iter().enumerate() {
                        put_message(out, 1, |out| {
                            put_fixed64(out, 3, *time_ns);
                            put_fixed64(out, 4, (at as f64).to_bits());
                        });
                    }
                });
            }),
            Signal::Logs | Signal::Traces => {
                for (at, time_ns) in times_ns.iter().enumerate() {
                    put_message(out, 2, |out| record(out, signal, name, (at, *time_ns)));
                }
            }
        });
    });
    out
}

fn record(out: &mut Vec<u8>, signal: Signal, name: &str, (at, time_ns): (usize, u64)) {
    if signal == Signal::Logs {
        put_fixed64(out, 1, time_ns);
        put_message(out, 5, |out| put_bytes(out, 1, format!("record {at}").as_bytes()));
        return;
    }
    put_bytes(out, 1, &trace_id(name).to_be_bytes());
    put_bytes(out, 2, &(at as u64 + 1).to_be_bytes());
    put_bytes(out, 5, b"step");
    put_fixed64(out, 7, time_ns);
    put_fixed64(out, 8, time_ns + 1);
}

/// The trace of a name's spans.
#[must_use]
pub fn trace_id(name: &str) -> u128 {
    let bytes = name.bytes().rev().take(12);
    bytes.fold(0xc4, |id, byte| id << 8 | u128::from(byte))
}

fn otlp_json(signal: Signal, name: &str, times_ns: &[u64]) -> Json {
    let resource = json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": name } }] });
    let each = |make: &dyn Fn(usize, String) -> Json| -> Vec<Json> {
        times_ns.iter().enumerate().map(|(at, time)| make(at, time.to_string())).collect()
    };
    match signal {
        Signal::Logs => {
            let records = each(
                &|at, time| json!({ "timeUnixNano": time, "body": { "stringValue": format!("record {at}") } }),
            );
            let scopes = json!([{ "logRecords": records }]);
            json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": scopes }] })
        }
        Signal::Traces => {
            let trace_id = format!("{:032x}", trace_id(name));
            let spans = each(&|at, time| {
                json!({ "traceId": trace_id, "spanId": format!("{:016x}", at + 1), "name": "step",
                    "startTimeUnixNano": time, "endTimeUnixNano": time })
            });
            let scopes = json!([{ "spans": spans }]);
            json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": scopes }] })
        }
        Signal::Metrics => {
            let points = each(&|at, time| json!({ "timeUnixNano": time, "asDouble": at }));
            let metrics = json!([{ "name": name, "gauge": { "dataPoints": points } }]);
            let scopes = json!([{ "metrics": metrics }]);
            json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": scopes }] })
        }
    }
}

/// Sends an OTLP body.
pub async fn export(
    server: &Server,
    signal: Signal,
    (transport, coding): (Transport, Coding),
    plain: &[u8],
) -> Reply {
    let body = coding.encode(plain);
    if transport == Transport::Grpc {
        return call(server, signal, coding, body).await;
    }
    let is_json = transport == Transport::Json;
    let content_type = if is_json { "application/json" } else { "application/x-protobuf" };
    let url = format!("{}/v1/{}", server.otlp_http, signal.as_str());
    let mut request = server.client.post(url).header("content-type", content_type).body(body);
    if coding != Coding::Plain {
        request = request.header("content-encoding", coding.name());
    }
    let answer = request.send().await.expect("an answer");
    let header = |name: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut reply = Reply {
        code: answer.status().as_u16(),
        content_type: header("content-type"),
        retry: !header("retry-after").is_empty(),
        ..Reply::default()
    };
    reply.body = answer.bytes().await.expect("a body").to_vec();
    if is_json {
        let json: Json = serde_json::from_slice(&reply.body).unwrap_or_default();
        let partial = json["partialSuccess"].as_object();
        let counts = partial.into_iter().flat_map(|partial| partial.values());
        let mut counts = counts.filter_map(|value| value.as_str()?.parse().ok());
        reply.rejected = counts.next().unwrap_or(0);
        let texts = [&json["partialSuccess"]["errorMessage"], &json["message"]];
        reply.message = texts.iter().find_map(|text| text.as_str()).unwrap_or_default().to_owned();
    } else {
        read_protobuf(&mut reply);
    }
    reply
}

/// Reads a partial success, or the message of a status.
fn read_protobuf(reply: &mut Reply) {
    let mut fields = model::wire::Reader::new(&reply.body);
    let mut partial = Vec::new();
    let mut message = String::new();
    while let Ok(Some((number, field))) = fields.next_field() {
        match (number, field.bytes()) {
            (1, Some(bytes)) => partial = bytes.to_vec(),
            (2, Some(bytes)) => message = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
    }
    let mut fields = model::wire::Reader::new(&partial);
    while let Ok(Some((number, field))) = fields.next_field() {
        match (number, field.number(), field.bytes()) {
            (1, Some(count), _) => reply.rejected = count,
            (2, _, Some(bytes)) => message = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
    }
    reply.message = message;
}

/// One unary call. Source: gRPC "over HTTP/2".
async fn call(server: &Server, signal: Signal, coding: Coding, message: Vec<u8>) -> Reply {
    let service = match signal {
        Signal::Metrics => "metrics.v1.MetricsService",
        Signal::Logs => "logs.v1.LogsService",
        Signal::Traces => "trace.v1.TraceService",
    };
    let address = server.otlp_grpc.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut framed = vec![u8::from(coding != Coding::Plain)];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let request = http::Request::post(format!(
        "{}/opentelemetry.proto.collector.{service}/Export",
        server.otlp_grpc
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("grpc-encoding", coding.name())
    .body(Full::new(Bytes::from(framed)))
    .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.expect("a body");
    let mut headers = head.headers;
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    let framed = collected.to_bytes();
    connection.abort();
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let details = STANDARD_NO_PAD.decode(text("grpc-status-details-bin")).unwrap_or_default();
    let mut reply = Reply {
        code: text("grpc-status").parse().expect("a gRPC status"),
        content_type: text("content-type"),
        body: framed.get(5..).unwrap_or_default().to_vec(),
        retry: String::from_utf8_lossy(&details).contains("RetryInfo"),
        ..Reply::default()
    };
    read_protobuf(&mut reply);
    if reply.code != 0 {
        reply.message = text("grpc-message");
    }
    reply
}

/// A series of a remote write request.
pub type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// A `prometheus.WriteRequest`, without snappy.
#[must_use]
pub fn write_request(series: &[Series<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (labels, samples) in series {
        put_message(&mut out, 1, |out| {
            for (name, value) in *labels {
                put_message(out, 1, |out| {
                    put_bytes(out, 1, name.as_bytes());
                    put_bytes(out, 2, value.as_bytes());
                });
            }
            for (time_ms, value) in *samples {
                put_message(out, 2, |out| {
                    put_fixed64(out, 1, value.to_bits());
                    put_uint(out, 2, *time_ms as u64);
                });
            }
        });
    }
    out
}

/// Sends series by remote write 1.0; status and answer.
pub async fn remote_write(server: &Server, series: &[Series<'_>]) -> (u16, String) {
    remote_write_body(server, "application/x-protobuf", snappy(&write_request(series))).await
}

#[must_use]
pub fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("snappy takes any bytes")
}

/// Sends any bytes as remote write.
pub async fn remote_write_body(
    server: &Server,
    content_type: &str,
    body: Vec<u8>,
) -> (u16, String) {
    let request = server.client.post(format!("{}/api/v1/write", server.http));
    let request = request.header("content-type", content_type).header("content-encoding", "snappy");
    let answer = request.body(body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}
