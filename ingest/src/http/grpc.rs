//! gRPC without a framework: one unary call is five bytes of prefix, one message, and trailers.
//!
//! The message is a body like any other (identity, gzip, zstd, deflate) and goes the way of all
//! bodies. Told apart by `content-type: application/grpc`, on any listener that speaks HTTP/2.
//! Source: gRPC "over HTTP/2" protocol, "Compression"; OTLP specification, "OTLP/gRPC".

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use model::{Encoding, Protocol, Rejections, Signal, Wire};

use super::{Ingest, tenant_of};
use crate::Failure;
use crate::body::encoding_from_name;
use crate::dialect::Dialect;
use crate::failure::{Class, GrpcCode};
use crate::otlp::response::{export_response, status_protobuf};

const SERVICES: [(&str, Signal); 3] = [
    ("/opentelemetry.proto.collector.logs.v1.LogsService", Signal::Logs),
    ("/opentelemetry.proto.collector.trace.v1.TraceService", Signal::Traces),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService", Signal::Metrics),
];

/// One flag byte and four bytes of length.
const PREFIX_BYTES: usize = 5;
/// The longest call that a `grpc-timeout` can ask us to wait for.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn router(ingest: &Arc<Ingest>) -> Router {
    let mut router = Router::new();
    for (service, signal) in SERVICES {
        let ingest = Arc::clone(ingest);
        let export = post(move |request: Request| {
            let ingest = Arc::clone(&ingest);
            async move { serve(&ingest, signal, request).await }
        });
        router = router
            .route(&format!("{service}/Export"), export)
            .route(&format!("{service}/{{method}}"), post(unknown_method));
    }
    router
}

/// Answers a request for which the server has no route: in gRPC if it is gRPC, else nothing.
pub(crate) fn unimplemented(headers: &HeaderMap) -> Option<Response> {
    is_grpc(headers).then(|| {
        trailers_only(
            GrpcCode::Unimplemented,
            "tercet-err-unsupported: unknown service or method",
            None,
        )
    })
}

/// A call that was turned away; nothing if it is no gRPC.
pub(super) fn refuse(headers: &HeaderMap, failure: &Failure) -> Option<Response> {
    is_grpc(headers).then(|| {
        let details = status_protobuf(failure);
        trailers_only(failure.class.grpc_code(), &failure.message, Some(&details))
    })
}

async fn unknown_method(request: Request) -> Response {
    unimplemented(request.headers()).unwrap_or_else(|| not_grpc(request.headers()))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"),
        None => false,
    }
}

fn not_grpc(headers: &HeaderMap) -> Response {
    let failure = Failure::new(
        Class::Unsupported,
        "this path is gRPC (content type application/grpc); OTLP/HTTP is at /v1/{logs,traces,metrics}",
    );
    Dialect::Loki.refused(headers, &failure)
}

async fn serve(ingest: &Ingest, signal: Signal, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return not_grpc(request.headers());
    }
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let limit = timeout_of(headers).unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX);
    match tokio::time::timeout(limit, take(ingest, signal, headers, body)).await {
        Ok(Ok(rejections)) => success(&export_response(signal, &rejections, false)),
        Ok(Err(failure)) => {
            let failure = ingest.note_refusal(Dialect::Otlp(signal), headers, failure);
            let code = failure.class.grpc_code();
            trailers_only(code, &failure.message, Some(&status_protobuf(&failure)))
        }
        Err(_elapsed) => {
            let message = "tercet-err-deadline: the call's grpc-timeout has passed";
            trailers_only(GrpcCode::DeadlineExceeded, message, None)
        }
    }
}

async fn take(
    ingest: &Ingest,
    signal: Signal,
    headers: &HeaderMap,
    body: Body,
) -> Result<Rejections, Failure> {
    let tenant = tenant_of(headers)?;
    let (framed, permit) = ingest.collect(&tenant, body).await?;
    let (is_compressed, bytes) = unframe(framed)?;
    let encoding = if is_compressed { message_encoding(headers)? } else { Encoding::Identity };
    let protocol = match signal {
        Signal::Logs => Protocol::OtlpLogsProtobuf,
        Signal::Traces => Protocol::OtlpTracesProtobuf,
        Signal::Metrics => Protocol::OtlpMetricsProtobuf,
    };
    let wire = Wire { protocol, encoding, bytes, received_ns: ingest.sink.now_ns() };
    ingest.keep(tenant, wire, permit).await
}

/// The one message of a unary call, and whether it is compressed.
pub(crate) fn unframe(mut framed: Bytes) -> Result<(bool, Bytes), Failure> {
    let undecodable = |what: &str| Failure::new(Class::Undecodable, what);
    if framed.len() < PREFIX_BYTES {
        return Err(undecodable("the call has no message"));
    }
    let flag = framed.get_u8();
    let length = framed.get_u32() as usize;
    if flag > 1 {
        return Err(undecodable("the message's compression flag is neither 0 nor 1"));
    }
    match framed.len().cmp(&length) {
        std::cmp::Ordering::Less => Err(undecodable("the message is cut short")),
        std::cmp::Ordering::Greater => Err(undecodable("the call has more than one message")),
        std::cmp::Ordering::Equal => Ok((flag == 1, framed)),
    }
}

fn message_encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    let name = headers.get("grpc-encoding").map_or("", |value| value.to_str().unwrap_or("?"));
    match encoding_from_name(name) {
        Some(Encoding::Identity) => Err(Failure::new(
            Class::Undecodable,
            "the message is marked compressed, but grpc-encoding names no encoding",
        )),
        Some(encoding) => Ok(encoding),
        None => Err(Failure::new(
            Class::Unsupported,
            format_args!("grpc-encoding {name:?} is not spoken here; send gzip, zstd or identity"),
        )),
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn grpc_response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(
        "grpc-accept-encoding",
        HeaderValue::from_static("identity,gzip,zstd,deflate,snappy"),
    );
    response
}

fn success(message: &[u8]) -> Response {
    let mut framed = Vec::with_capacity(PREFIX_BYTES.saturating_add(message.len()));
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(GrpcCode::Ok as u16));
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    grpc_response(Body::new(body))
}

/// A call that failed: everything is in the headers, and there is no body.
fn trailers_only(code: GrpcCode, message: &str, details: Option<&[u8]>) -> Response {
    let mut response = grpc_response(Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(value) = HeaderValue::from_str(&percent_encode(message)) {
        headers.insert("grpc-message", value);
    }
    if let Some(details) = details.filter(|details| details.len() <= DETAILS_BYTES_MAX)
        && let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(details))
    {
        headers.insert("grpc-status-details-bin", value);
    }
    response
}

/// Clients refuse header lists that are too long (8 KiB is common).
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const DETAILS_BYTES_MAX: usize = 4 << 10;

/// Percent-encodes what is not printable ASCII, as `grpc-message` asks.
#[expect(clippy::indexing_slicing, reason = "a nibble is below 16")]
fn percent_encode(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for &byte in message.as_bytes() {
        if out.len() >= MESSAGE_BYTES_MAX {
            break;
        }
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(byte as char);
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    out
}
