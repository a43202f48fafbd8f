//! Jaeger's JSON API v1, as of 2.20 (api.md 6.1): what Grafana's plugin and Jaeger's UI call.
//!
//! `/api/traces/{id}` is both Tempo's and Jaeger's (api.md 1.1): at the root the `Accept` header tells,
//! under `/ds/jaeger` it is always this one.

mod request;

use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{Request, StatusCode};
use model::{Signal, SpanKind};
use serde_json::{Value as Json, json};
use storage::{Budget, Notices, Snapshot, StorageError, TimeRange};

use super::Query;
use super::lookup::status_of;
use super::params::{BadRequest, Params};
use super::respond::{self, with_warning};
use super::tempo;
use crate::Source;
use crate::traces::dependencies::{Calls, calls};
use crate::traces::id::parse_trace_id;
use crate::traces::{assemble, jaeger, search};

/// Paths served at the root.
pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/traces/{id}", get(trace_or_tempo))
        .with_state(Arc::clone(query))
        .merge(shared(query))
}

/// Paths served under `/ds/jaeger`.
pub(super) fn data_source_router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/traces/{id}", get(trace))
        .with_state(Arc::clone(query))
        .merge(shared(query))
}

fn shared(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/api/services", get(services))
        // A service's name may hold slashes: they arrive as further segments.
        .route("/api/services/{*rest}", get(service_operations))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(find))
        .route("/api/dependencies", get(dependencies))
        .with_state(Arc::clone(query))
}

/// What was found, and in `errors`, as Jaeger does, what could not be read.
fn envelope(data: Vec<Json>, notices: &Notices) -> Json {
    let unread = warnings(notices).into_iter();
    let code = StatusCode::PARTIAL_CONTENT.as_u16();
    let errors: Vec<Json> = unread.map(|msg| json!({ "code": code, "msg": msg })).collect();
    let errors = if errors.is_empty() { Json::Null } else { Json::Array(errors) };
    json!({ "total": data.len(), "limit": 0, "offset": 0, "errors": errors, "data": data })
}

fn failed(status: StatusCode, message: &str) -> Response {
    let errors = json!([{ "code": status.as_u16(), "msg": message }]);
    let body = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors });
    respond::json(status, body.to_string())
}

/// Data, and what could not be read for it.
type Found = (Vec<Json>, Notices);

/// Runs `work` on the pool and renders what it found.
async fn answer<W>(query: &Arc<Query>, params: Params, work: W) -> Response
where
    W: FnOnce(&Snapshot, &dyn Source, &Budget) -> Result<Found, StorageError> + Send + 'static,
{
    let budget = query.source.budget(&params.tenant);
    let outcome = respond::run(query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        let (data, mut notices) = work(&snapshot, source, budget)?;
        notices.merge(snapshot.notices(Signal::Traces).clone());
        Ok((envelope(data, &notices), notices))
    })
    .await;
    match outcome.and_then(|inner: Result<_, StorageError>| inner) {
        Ok((body, notices)) => {
            with_warning(respond::json(StatusCode::OK, body.to_string()), &notices)
        }
        Err(error) => failed(status_of(&error), &error.to_string()),
    }
}

async fn read(request: Request<Body>) -> Result<Params, Box<Response>> {
    Params::read(request)
        .await
        .map_err(|BadRequest { status, message }| Box::new(failed(status, &message)))
}

async fn services(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    answer(&query, params, |snapshot, _, budget| {
        let (services, notices) = snapshot.traces().services(TimeRange::ALL, budget)?;
        Ok((services.into_iter().map(Json::String).collect(), notices))
    })
    .await
}

async fn service_operations(
    State(query): State<Arc<Query>>,
    Path(rest): Path<String>,
    request: Request<Body>,
) -> Response {
    let Some(service) = rest.strip_suffix("/operations").map(str::to_owned) else {
        return failed(StatusCode::NOT_FOUND, "page not found");
    };
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    answer(&query, params, move |snapshot, _, budget| {
        let (operations, notices) =
            snapshot.traces().operations(&service, TimeRange::ALL, budget)?;
        let names: BTreeSet<String> = operations.into_iter().map(|(name, _)| name).collect();
        Ok((names.into_iter().map(Json::String).collect(), notices))
    })
    .await
}

async fn operations(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let Some(service) = params.get("service").map(str::to_owned) else {
        return failed(StatusCode::BAD_REQUEST, "parameter 'service' is required");
    };
    let wanted = params.get("spanKind").map(str::to_lowercase);
    answer(&query, params, move |snapshot, _, budget| {
        let (operations, notices) =
            snapshot.traces().operations(&service, TimeRange::ALL, budget)?;
        let list = operations
            .into_iter()
            .map(|(name, kind)| (name, kind_text(kind)))
            .filter(|(_, kind)| wanted.as_deref().is_none_or(|wanted| wanted == *kind))
            .map(|(name, kind)| json!({ "name": name, "spanKind": kind }))
            .collect();
        Ok((list, notices))
    })
    .await
}

fn kind_text(kind: SpanKind) -> &'static str {
    if kind == SpanKind::Unspecified { "" } else { kind.as_str() }
}

async fn trace_or_tempo(
    state: State<Arc<Query>>,
    path: Path<String>,
    request: Request<Body>,
) -> Response {
    if tempo::is_tempo(request.headers()) {
        tempo::trace_v1(state, path, request).await
    } else {
        trace(state, path, request).await
    }
}

async fn trace(
    State(query): State<Arc<Query>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let Some(trace_id) = parse_trace_id(&id) else {
        return failed(StatusCode::BAD_REQUEST, &format!("cannot parse trace ID {id:?}: not hex"));
    };
    let budget = query.source.budget(&params.tenant);
    let outcome = respond::run(&query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&params.tenant);
        Ok(load(&snapshot, &trace_id, budget)?.map_err(|notices| warnings(&notices)))
    })
    .await;
    match outcome.and_then(|inner: Result<_, StorageError>| inner) {
        Ok(Ok(trace)) => {
            respond::json(StatusCode::OK, envelope(vec![trace], &Notices::default()).to_string())
        }
        // It may be in what could not be read.
        Ok(Err(unread)) => {
            let message = iter::once("trace not found".to_owned()).chain(unread);
            failed(StatusCode::NOT_FOUND, &message.collect::<Vec<_>>().join("; "))
        }
        Err(error) => failed(status_of(&error), &error.to_string()),
    }
}

fn warnings(notices: &Notices) -> Vec<String> {
    let unread = notices.unread.iter().map(|part| format!("{} not read: {}", part.name, part.why));
    notices.warnings.iter().cloned().chain(unread).collect()
}

/// One trace, or what could not be read where it has no spans: an empty list of spans breaks
/// Grafana's plugin.
fn load(
    snapshot: &Snapshot,
    trace_id: &[u8; 16],
    budget: &Budget,
) -> Result<Result<Json, Notices>, StorageError> {
    let (blocks, mut notices) = snapshot.traces().trace(trace_id, budget)?;
    notices.merge(snapshot.notices(Signal::Traces).clone());
    let spans = assemble::spans(&blocks);
    if spans.is_empty() {
        return Ok(Err(notices));
    }
    Ok(Ok(jaeger::trace_json(&spans, &warnings(&notices))))
}

async fn find(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let now_ns = query.source.now_ns();
    let traces_max = query.source.limits(&params.tenant).query_traces_max;
    let wanted = match request::parse(&params, now_ns, traces_max) {
        Ok(wanted) => wanted,
        Err(message) => return failed(StatusCode::BAD_REQUEST, &message),
    };
    answer(&query, params, move |snapshot, _, budget| {
        let (ids, mut notices) = match wanted {
            request::Wanted::Ids(ids) => (ids, Notices::default()),
            request::Wanted::Search(search) => search::find(snapshot, &search, budget)?,
        };
        let mut traces = Vec::with_capacity(ids.len());
        for trace_id in ids {
            match load(snapshot, &trace_id, budget)? {
                Ok(trace) => traces.push(trace),
                // It may be in what could not be read.
                Err(unread) => notices.merge(unread),
            }
        }
        Ok((traces, notices))
    })
    .await
}

/// Calls from service to service in a window: `endTs` and `lookback` in milliseconds.
async fn dependencies(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    const LOOKBACK_MS: i64 = 86_400_000;
    let params = match read(request).await {
        Ok(params) => params,
        Err(response) => return *response,
    };
    let number = |name: &str| params.get(name).map(str::parse::<i64>).transpose();
    let (Ok(end_ms), Ok(lookback_ms)) = (number("endTs"), number("lookback")) else {
        let message = "parameters 'endTs' and 'lookback' are milliseconds";
        return failed(StatusCode::BAD_REQUEST, message);
    };
    let end_ns = end_ms.map_or(query.source.now_ns(), model::ms_to_ns);
    let lookback_ns = model::ms_to_ns(lookback_ms.unwrap_or(LOOKBACK_MS));
    let range = TimeRange { start_ns: end_ns.saturating_sub(lookback_ns), end_ns };
    answer(&query, params, move |snapshot, _, budget| {
        let (found, notices) = calls(snapshot, range, budget)?;
        let list = found
            .into_iter()
            .map(|Calls { parent, child, count, .. }| {
                json!({ "parent": parent, "child": child, "callCount": count })
            })
            .collect();
        Ok((list, notices))
    })
    .await
}
