//! Which protocol a request speaks, told by its path and headers, and how each one answers.
//!
//! The generic handler in `http` reads, decodes and hands on; everything in which the protocols
//! differ at that edge is a row here: content types, encodings, success and failure bodies.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{Encoding, Protocol, Reason, Rejections, Signal};

use crate::body::encoding_from_name;
use crate::failure::{Class, Failure};
use crate::otlp;
use crate::remote_write;

/// A family of endpoints that share how they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Otlp(Signal),
    RemoteWrite,
    Loki,
}

/// What a request's headers say about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) protocol: Protocol,
    pub(crate) encoding: Encoding,
}

impl Dialect {
    pub(crate) fn signal(self) -> Signal {
        match self {
            Dialect::Otlp(signal) => signal,
            Dialect::RemoteWrite => Signal::Metrics,
            Dialect::Loki => Signal::Logs,
        }
    }

    /// Reads content type and encoding.
    ///
    /// Errors: Unsupported.
    pub(crate) fn negotiate(self, headers: &HeaderMap) -> Result<Spoken, Failure> {
        let media_type = MediaType::of(headers);
        match self {
            Dialect::Otlp(signal) => {
                let protocol = otlp_protocol(signal, otlp_is_json(&media_type)?);
                Ok(Spoken { protocol, encoding: content_encoding(headers)? })
            }
            Dialect::RemoteWrite => negotiate_remote_write(&media_type, headers),
            Dialect::Loki => negotiate_loki(&media_type, headers),
        }
    }

    /// The answer to a request that was taken, wholly or in part.
    pub(crate) fn accepted(self, headers: &HeaderMap, rejections: &Rejections) -> Response {
        match self {
            Dialect::Otlp(signal) => {
                let json = wants_json(headers);
                let body = otlp::response::export_response(signal, rejections, json);
                respond(StatusCode::OK, content_type(json), body)
            }
            Dialect::RemoteWrite | Dialect::Loki
                if rejections.is_empty()
                    || self == Dialect::RemoteWrite && remote_write::is_success(rejections) =>
            {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Dialect::RemoteWrite => self.refused(headers, &Failure::invalid_records(rejections)),
            Dialect::Loki => {
                let failure = Failure::invalid_records(rejections);
                let status = if is_stream_limit(rejections) {
                    StatusCode::TOO_MANY_REQUESTS
                } else {
                    failure.class.http_status()
                };
                respond(status, TEXT, failure.message.into_bytes())
            }
        }
    }

    /// The answer to a request that was not taken.
    pub(crate) fn refused(self, headers: &HeaderMap, failure: &Failure) -> Response {
        let status = failure.class.http_status();
        let mut response = match self {
            Dialect::Otlp(_) => {
                let json = wants_json(headers);
                let body = otlp::response::status_body(failure, json);
                respond(status, content_type(json), body)
            }
            Dialect::RemoteWrite | Dialect::Loki => {
                respond(status, TEXT, format!("{}\n", failure.message).into_bytes())
            }
        };
        if let Some(seconds) = failure.retry_after_s() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if failure.class == Class::Unsupported {
            response
                .headers_mut()
                .insert("accept-encoding", HeaderValue::from_static("gzip, zstd, deflate, snappy"));
        }
        response
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn content_type(json: bool) -> &'static str {
    if json { "application/json" } else { "application/x-protobuf" }
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn is_stream_limit(rejections: &Rejections) -> bool {
    rejections.list.iter().all(|rejection| rejection.reason == Reason::MaxActiveStreams)
}

/// A `Content-Type`, lower case, with its `proto` parameter.
#[derive(Debug, Default, PartialEq, Eq)]
struct MediaType {
    essence: String,
    proto: Option<String>,
}

impl MediaType {
    fn of(headers: &HeaderMap) -> MediaType {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or("").to_ascii_lowercase();
        let proto = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("proto").then(|| value.trim_matches('"').to_owned())
        });
        MediaType { essence, proto }
    }
}

fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::with_id(Class::Unsupported, "unsupported_media_type", what)
}

fn otlp_is_json(media_type: &MediaType) -> Result<bool, Failure> {
    match media_type.essence.as_str() {
        "application/json" => Ok(true),
        "application/x-protobuf" | "application/protobuf" => Ok(false),
        other => Err(unsupported(format_args!(
            "content type {other:?} is not spoken here; send application/x-protobuf or \
             application/json"
        ))),
    }
}

/// Answers use the request's type; to a type that we do not know, JSON is the readable answer.
fn wants_json(headers: &HeaderMap) -> bool {
    otlp_is_json(&MediaType::of(headers)).unwrap_or(true)
}

fn otlp_protocol(signal: Signal, json: bool) -> Protocol {
    match (signal, json) {
        (Signal::Metrics, false) => Protocol::OtlpMetricsProtobuf,
        (Signal::Metrics, true) => Protocol::OtlpMetricsJson,
        (Signal::Logs, false) => Protocol::OtlpLogsProtobuf,
        (Signal::Logs, true) => Protocol::OtlpLogsJson,
        (Signal::Traces, false) => Protocol::OtlpTracesProtobuf,
        (Signal::Traces, true) => Protocol::OtlpTracesJson,
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(encoding_from_name).ok_or_else(|| {
        unsupported(format_args!(
            "content encoding {value:?} is not spoken here; send gzip, zstd, deflate, snappy or none"
        ))
    })
}

/// Remote write 1.0: always a snappy block of `prometheus.WriteRequest`. Senders of 2.0 fall back to
/// it when they are told 415.
fn negotiate_remote_write(media_type: &MediaType, headers: &HeaderMap) -> Result<Spoken, Failure> {
    let known_type = matches!(media_type.essence.as_str(), "" | "application/x-protobuf");
    let known_proto = matches!(media_type.proto.as_deref(), None | Some("prometheus.WriteRequest"));
    if !known_type || !known_proto {
        return Err(unsupported(
            "only remote write 1.0 is spoken here: send application/x-protobuf, or with \
             proto=prometheus.WriteRequest",
        ));
    }
    let encoding = if headers.contains_key(CONTENT_ENCODING) {
        content_encoding(headers)?
    } else {
        Encoding::Snappy
    };
    if encoding != Encoding::Snappy {
        return Err(unsupported("remote write is spoken with content encoding snappy only"));
    }
    Ok(Spoken { protocol: Protocol::RemoteWrite1, encoding })
}

/// Loki: `application/json` is JSON, compressed as its header says; all else is protobuf in a snappy
/// block whatever its header says (Loki 3.7 `pkg/loghttp/push`).
fn negotiate_loki(media_type: &MediaType, headers: &HeaderMap) -> Result<Spoken, Failure> {
    if media_type.essence == "application/json" {
        let encoding = content_encoding(headers)?;
        return Ok(Spoken { protocol: Protocol::LokiPushJson, encoding });
    }
    Ok(Spoken { protocol: Protocol::LokiPushProtobuf, encoding: Encoding::Snappy })
}
