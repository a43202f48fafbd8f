//! Paths and methods.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use model::Signal;

use super::{Ingest, grpc};
use crate::dialect::Dialect;

/// Every path that takes data over plain HTTP.
const PATHS: [(&str, Dialect); 16] = [
    ("/v1/logs", Dialect::Otlp(Signal::Logs)),
    ("/v1/traces", Dialect::Otlp(Signal::Traces)),
    ("/v1/metrics", Dialect::Otlp(Signal::Metrics)),
    // Loki's and Prometheus' places for OTLP.
    ("/otlp/v1/logs", Dialect::Otlp(Signal::Logs)),
    ("/otlp/v1/traces", Dialect::Otlp(Signal::Traces)),
    ("/otlp/v1/metrics", Dialect::Otlp(Signal::Metrics)),
    ("/api/v1/otlp/v1/metrics", Dialect::Otlp(Signal::Metrics)),
    ("/ds/loki/otlp/v1/logs", Dialect::Otlp(Signal::Logs)),
    ("/ds/prometheus/api/v1/otlp/v1/metrics", Dialect::Otlp(Signal::Metrics)),
    ("/api/v1/write", Dialect::RemoteWrite),
    ("/api/v1/push", Dialect::RemoteWrite),
    ("/ds/prometheus/api/v1/write", Dialect::RemoteWrite),
    ("/loki/api/v1/push", Dialect::Loki),
    ("/api/prom/push", Dialect::Loki),
    ("/ds/loki/loki/api/v1/push", Dialect::Loki),
    ("/ds/loki/api/prom/push", Dialect::Loki),
];

/// What is spoken at a path.
pub(super) fn dialect_of(path: &str) -> Option<Dialect> {
    PATHS.iter().find(|(known, _)| *known == path).map(|(_, dialect)| *dialect)
}

pub(super) fn router(ingest: &Arc<Ingest>) -> Router {
    let mut router = grpc::router(ingest);
    for (path, dialect) in PATHS {
        router = router.route(path, endpoint(ingest, path, dialect));
    }
    router
}

fn endpoint(ingest: &Arc<Ingest>, path: &'static str, dialect: Dialect) -> MethodRouter {
    let ingest = Arc::clone(ingest);
    post(move |request: Request| {
        let ingest = Arc::clone(&ingest);
        async move { ingest.serve(dialect, request).await }
    })
    .fallback(move |method: Method| async move { explain(&method, path, dialect) })
}

/// What a person sees who opens an ingest path in a browser.
fn explain(method: &Method, path: &str, dialect: Dialect) -> Response {
    let what = match dialect {
        Dialect::Otlp(_) => {
            "OpenTelemetry export requests (OTLP/HTTP, application/x-protobuf or application/json)"
        }
        Dialect::RemoteWrite => "Prometheus remote write 1.0 (application/x-protobuf, snappy)",
        Dialect::Loki => "Loki push requests (application/json, or protobuf with snappy)",
    };
    let signal = dialect.signal().as_str();
    let text = format!(
        "{path} takes {signal}: POST {what} to it. {method} does nothing here; the web page is at /.\n"
    );
    let mut response = Response::new(text.into());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("POST"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
