//! The bodies that OTLP answers with: export responses and `google.rpc.Status`, in protobuf and JSON.
//!
//! Source: opentelemetry-proto `collector/*/v1/*_service.proto` (all three responses have the same
//! numbers), googleapis `google/rpc/status.proto` and `error_details.proto`.

use model::wire::{put_bytes, put_message, put_uint};
use model::{Rejections, Signal};
use serde_json::json;

use crate::Failure;
use crate::failure::Class;

/// Bytes of a partial success's message.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// `Export<Signal>ServiceResponse`; empty when nothing was refused.
pub(crate) fn export_response(signal: Signal, rejections: &Rejections, json: bool) -> Vec<u8> {
    if rejections.is_empty() {
        return if json { b"{}".to_vec() } else { Vec::new() };
    }
    let count = rejections.count();
    let message = rejections.message(MESSAGE_BYTES_MAX);
    if json {
        let rejected = match signal {
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Traces => "rejectedSpans",
        };
        return json!({
            "partialSuccess": { rejected: count.to_string(), "errorMessage": message }
        })
        .to_string()
        .into_bytes();
    }
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| {
        put_uint(out, 1, count);
        put_bytes(out, 2, message.as_bytes());
    });
    out
}

/// A failure as `google.rpc.Status` with the details that tell clients what to do.
pub(crate) fn status_body(failure: &Failure, json: bool) -> Vec<u8> {
    if json { status_json(failure) } else { status_protobuf(failure) }
}

/// The same in protobuf, as `grpc-status-details-bin` carries it too.
pub(crate) fn status_protobuf(failure: &Failure) -> Vec<u8> {
    let mut out = Vec::new();
    put_uint(&mut out, 1, failure.class.grpc_code() as u64);
    put_bytes(&mut out, 2, failure.message.as_bytes());
    if let Some(seconds) = failure.retry_after_s() {
        put_detail(&mut out, RETRY_INFO, |out| {
            put_message(out, 1, |out| put_uint(out, 1, seconds));
        });
    }
    if failure.class == Class::Undecodable {
        put_detail(&mut out, BAD_REQUEST, |out| {
            put_message(out, 1, |out| {
                put_bytes(out, 1, b"body");
                put_bytes(out, 2, failure.message.as_bytes());
            });
        });
    }
    out
}

fn put_detail(out: &mut Vec<u8>, type_url: &str, write: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, 3, |out| {
        put_bytes(out, 1, type_url.as_bytes());
        put_message(out, 2, write);
    });
}

fn status_json(failure: &Failure) -> Vec<u8> {
    let mut details = Vec::new();
    if let Some(seconds) = failure.retry_after_s() {
        details.push(json!({ "@type": RETRY_INFO, "retryDelay": format!("{seconds}s") }));
    }
    if failure.class == Class::Undecodable {
        let violation = json!({ "field": "body", "description": failure.message });
        details.push(json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] }));
    }
    let code = failure.class.grpc_code() as u8;
    json!({ "code": code, "message": failure.message, "details": details }).to_string().into_bytes()
}
