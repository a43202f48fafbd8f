//! The Prometheus dialect: queries, series, labels, metadata, exemplars, rules, build information.
//!
//! Paths are relative, so that the router serves the root and `/ds/prometheus` alike. Every
//! endpoint takes URL parameters and a form as one list. Answers are written in the order in which
//! Grafana's streaming parser wants them (`resultType` before `result`).
//! Source: Prometheus `web/api/v1/api.go` (3.14); what Grafana asks: api.md 3.

mod encode;
mod evaluate;
mod metadata;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{Request, StatusCode};
use model::Exceeded;
use storage::{ErrorKind, Notices, StorageError};

use super::Query;
use super::params::{BadRequest, Params, parse_time_ms};
use super::respond::{json, push_exceeded, push_string, push_strings};
use crate::promql::QueryError;

pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/v1/query", get(evaluate::query).post(evaluate::query))
        .route("/api/v1/query_range", get(evaluate::query_range).post(evaluate::query_range))
        .route("/api/v1/format_query", get(evaluate::format_query).post(evaluate::format_query))
        .route("/api/v1/labels", get(metadata::labels).post(metadata::labels))
        .route("/api/v1/label/{name}/values", get(label_values).post(label_values))
        .route("/api/v1/series", get(metadata::series).post(metadata::series))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/query_exemplars", get(metadata::exemplars).post(metadata::exemplars))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/status/buildinfo", get(build_info))
        .with_state(Arc::clone(query))
}

async fn label_values(
    State(query): State<Arc<Query>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    metadata::label_values(&query, &name, request).await
}

async fn rules() -> Response {
    success("{\"groups\":[]}", &Notes::default())
}

async fn alerts() -> Response {
    success("{\"alerts\":[]}", &Notes::default())
}

async fn build_info(State(query): State<Arc<Query>>) -> Response {
    let build = &query.options.build;
    let mut data = String::from("{");
    for (name, value) in [
        ("version", build.version.as_str()),
        ("revision", &build.revision),
        ("branch", &build.branch),
        ("buildUser", ""),
        ("buildDate", &build.build_date),
        ("goVersion", ""),
    ] {
        if data.len() > 1 {
            data.push(',');
        }
        push_string(&mut data, name);
        data.push(':');
        push_string(&mut data, value);
    }
    data.push('}');
    success(&data, &Notes::default())
}

/// What is said beside an answer.
#[derive(Debug, Default)]
struct Notes {
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Notes {
    /// Storage's notices as warnings: a part that could not be read makes the answer partial.
    fn add(&mut self, notices: &Notices) {
        self.warnings.extend(notices.warnings.iter().cloned());
        for part in &notices.unread {
            self.warnings.push(format!("partial answer: {} was not read: {}", part.name, part.why));
        }
    }

    fn truncated(&mut self) {
        self.warnings.push("results truncated due to limit".to_owned());
    }
}

/// `{"status":"success","data":...}` around `data`.
fn success(data: &str, notes: &Notes) -> Response {
    let mut body = String::with_capacity(data.len() + 64);
    body.push_str("{\"status\":\"success\",\"data\":");
    body.push_str(data);
    for (name, texts) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !texts.is_empty() {
            body.push_str(&format!(",\"{name}\":"));
            push_strings(&mut body, texts);
        }
    }
    body.push('}');
    json(StatusCode::OK, body)
}

/// Why there is no answer.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
    exceeded: Option<Box<Exceeded>>,
}

impl Failure {
    /// A parameter that cannot be understood.
    fn parameter(name: &str, why: impl std::fmt::Display) -> Failure {
        Failure::bad_data(format!("invalid parameter \"{name}\": {why}"))
    }

    fn bad_data(message: impl Into<String>) -> Failure {
        Failure {
            status: StatusCode::BAD_REQUEST,
            kind: "bad_data",
            message: message.into(),
            exceeded: None,
        }
    }

    fn response(&self) -> Response {
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":", self.kind);
        push_string(&mut body, &self.message);
        if let Some(exceeded) = &self.exceeded {
            push_exceeded(&mut body, exceeded, self.status);
        }
        body.push('}');
        json(self.status, body)
    }
}

impl From<BadRequest> for Failure {
    fn from(bad: BadRequest) -> Failure {
        Failure { status: bad.status, kind: "bad_data", message: bad.message, exceeded: None }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        let kind = error.kind();
        let message = match &error {
            QueryError::Parse(text) => format!("invalid parameter \"query\": {text}"),
            QueryError::Storage(storage) if storage.kind() == ErrorKind::Timeout => {
                "query timed out in expression evaluation".to_owned()
            }
            QueryError::Storage(storage) if storage.kind() == ErrorKind::Cancelled => {
                "query was canceled in expression evaluation".to_owned()
            }
            other => other.to_string(),
        };
        let exceeded = match error {
            QueryError::Storage(storage) => storage.exceeded().cloned().map(Box::new),
            QueryError::Parse(_) | QueryError::Execution(_) => None,
        };
        Failure { status: status_of(kind), kind, message, exceeded }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        QueryError::Storage(error).into()
    }
}

/// Prometheus' status of an error type; where it says 500, Grafana would show raw text, so what
/// may be repeated is 503.
fn status_of(kind: &str) -> StatusCode {
    match kind {
        "bad_data" => StatusCode::BAD_REQUEST,
        "execution" => StatusCode::UNPROCESSABLE_ENTITY,
        "canceled" => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        "too_many_requests" => StatusCode::TOO_MANY_REQUESTS,
        "timeout" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer or the failure's rendering.
fn respond(outcome: Result<Response, Failure>) -> Response {
    outcome.unwrap_or_else(|failure| failure.response())
}

/// A moment parameter in milliseconds.
fn time_param(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name) else { return Ok(None) };
    match parse_time_ms(text) {
        Some(ms) => Ok(Some(ms)),
        None => {
            Err(Failure::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
        }
    }
}
