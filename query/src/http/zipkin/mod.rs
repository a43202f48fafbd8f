//! Zipkin's JSON API v2 for reading (api.md 6.3): what Grafana's plugin and Zipkin's UI call.
//!
//! Its paths are its own, so that they are served at the root too: Tempo has `/api/v2/traces/{id}`,
//! Alertmanager has other words. The bodies are bare arrays without room for notices: these go into
//! the header `Warning`. Errors are plain text.

mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, Request, StatusCode, header};
use model::Signal;
use serde_json::{Value as Json, json};
use storage::{Budget, Notices, Snapshot, StorageError, TimeRange};

use super::Query;
use super::lookup::status_of;
use super::params::{BadRequest, Params};
use super::respond;
use crate::traces::dependencies::{Calls, calls};
use crate::traces::zipkin::{search, spans_json};
use crate::traces::{assemble, id};

/// A longer list of notices is cut. Units: bytes.
const WARNING_BYTES_MAX: usize = 1024;

pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/v2/services", get(services))
        .route("/api/v2/spans", get(span_names))
        .route("/api/v2/traces", get(find))
        .route("/api/v2/trace/{id}", get(trace))
        .route("/api/v2/traceMany", get(trace_many))
        .route("/api/v2/dependencies", get(dependencies))
        .route("/api/v2/autocompleteKeys", get(nothing))
        .route("/api/v2/autocompleteValues", get(nothing))
        .with_state(Arc::clone(query))
}

async fn read(request: Request<Body>) -> Result<Params, Box<Response>> {
    Params::read(request)
        .await
        .map_err(|BadRequest { status, message }| Box::new(respond::text(status, message)))
}

fn bad(message: impl Into<String>) -> Response {
    respond::text(StatusCode::BAD_REQUEST, message)
}

/// Runs `work` on the pool and renders what it found.
async fn answer<W>(query: &Arc<Query>, params: Params, work: W) -> Response
where
    W: FnOnce(&Snapshot, &Budget) -> Result<(Json, Notices), StorageError> + Send + 'static,
{
    let budget = query.source.budget(&params.tenant);
    let outcome = respond::run(query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        let (body, mut notices) = work(&snapshot, budget)?;
        notices.merge(snapshot.notices(Signal::Traces).clone());
        Ok((body, notices))
    })
    .await;
    match outcome.and_then(|inner: Result<_, StorageError>| inner) {
        Ok((body, notices)) => found(&body, &notices),
        Err(error) => respond::text(status_of(&error), error.to_string()),
    }
}

fn found(body: &Json, notices: &Notices) -> Response {
    with_warning(respond::json(StatusCode::OK, body.to_string()), notices)
}

fn with_warning(mut response: Response, notices: &Notices) -> Response {
    if let Some(warning) = warning(notices) {
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

/// The notices as one `warn-code warn-agent warn-text` (RFC 7234, 5.5).
fn warning(notices: &Notices) -> Option<HeaderValue> {
    let unread = notices.unread.iter().map(|part| format!("{} not read: {}", part.name, part.why));
    let texts: Vec<String> = notices.warnings.iter().cloned().chain(unread).collect();
    if texts.is_empty() {
        return None;
    }
    let printable = |c: char| match c {
        '"' | '\\' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    let text: String = texts.join("; ").chars().map(printable).take(WARNING_BYTES_MAX).collect();
    HeaderValue::try_from(format!("199 tercet \"{text}\"")).ok()
}

async fn services(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    answer(&query, params, |snapshot, budget| {
        let (mut services, notices) = snapshot.traces().services(TimeRange::ALL, budget)?;
        services.retain(|name| !name.is_empty());
        Ok((json!(services), notices))
    })
    .await
}

async fn span_names(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let Some(service) = params.get("serviceName").map(str::to_owned) else {
        return bad("parameter 'serviceName' is required");
    };
    answer(&query, params, move |snapshot, budget| {
        let (operations, notices) =
            snapshot.traces().operations(&service, TimeRange::ALL, budget)?;
        let names: BTreeSet<String> = operations.into_iter().map(|(name, _)| name).collect();
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        Ok((json!(names), notices))
    })
    .await
}

async fn find(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let traces_max = query.source.limits(&params.tenant).query_traces_max;
    let wanted = match request::search(&params, query.source.now_ns(), traces_max) {
        Ok(wanted) => wanted,
        Err(message) => return bad(message),
    };
    answer(&query, params, move |snapshot, budget| {
        let (ids, mut notices) = search::find(snapshot, &wanted, budget)?;
        let traces = load(snapshot, &ids, &mut notices, budget)?;
        Ok((traces, notices))
    })
    .await
}

/// The traces that exist, each as an array of spans.
fn load(
    snapshot: &Snapshot,
    ids: &[[u8; 16]],
    notices: &mut Notices,
    budget: &Budget,
) -> Result<Json, StorageError> {
    let mut traces = Vec::with_capacity(ids.len());
    for trace_id in ids {
        let (blocks, more) = snapshot.traces().trace(trace_id, budget)?;
        notices.merge(more);
        let spans = assemble::spans(&blocks);
        if !spans.is_empty() {
            traces.push(spans_json(&spans));
        }
    }
    Ok(Json::Array(traces))
}

async fn trace(
    State(query): State<Arc<Query>>,
    Path(text): Path<String>,
    request: Request<Body>,
) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let text = text.trim().to_owned();
    let Some(trace_id) = id::parse_trace_id(&text) else {
        return bad(request::bad_id(&text));
    };
    let budget = query.source.budget(&params.tenant);
    let outcome = respond::run(&query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        let (blocks, mut notices) = snapshot.traces().trace(&trace_id, budget)?;
        notices.merge(snapshot.notices(Signal::Traces).clone());
        Ok((blocks, notices))
    })
    .await;
    match outcome.and_then(|inner: Result<_, StorageError>| inner) {
        Ok((blocks, notices)) => match assemble::spans(&blocks).as_slice() {
            [] => {
                let message = format!("{text} not found");
                with_warning(respond::text(StatusCode::NOT_FOUND, message), &notices)
            }
            spans => found(&spans_json(spans), &notices),
        },
        Err(error) => respond::text(status_of(&error), error.to_string()),
    }
}

async fn trace_many(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let ids =
        match request::trace_ids(&params, query.source.limits(&params.tenant).query_traces_max) {
            Ok(ids) => ids,
            Err(message) => return bad(message),
        };
    answer(&query, params, move |snapshot, budget| {
        let mut notices = Notices::default();
        let traces = load(snapshot, &ids, &mut notices, budget)?;
        Ok((traces, notices))
    })
    .await
}

async fn dependencies(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let range = match request::range(&params, query.source.now_ns()) {
        Ok(range) => range,
        Err(message) => return bad(message),
    };
    answer(&query, params, move |snapshot, budget| {
        let (calls, notices) = calls(snapshot, range, budget)?;
        Ok((calls.iter().map(link).collect(), notices))
    })
    .await
}

fn link(calls: &Calls) -> Json {
    let Calls { parent, child, count, error_count } = calls;
    let mut link = json!({ "parent": parent, "child": child, "callCount": count });
    if *error_count > 0 {
        link["errorCount"] = json!(error_count);
    }
    link
}

/// No tag is named for completion, as in a Zipkin without `AUTOCOMPLETE_KEYS`.
async fn nothing() -> Response {
    respond::json(StatusCode::OK, "[]".to_owned())
}
