//! The loki dialect: queries, metadata, what Logs Drilldown asks, empty rules.
//!
//! Paths are relative, so that the same router serves the root and `/ds/loki`. Errors are plain text.
//! Source: api.md 4, 8.1, 12 and 14; Loki 3.7.

mod fields;
mod metadata;
mod query;
mod render;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, Request, StatusCode};
use model::{Limits, Oversize, TenantId};
use storage::{Budget, ErrorKind, StorageError, TimeRange};

use super::Query;
use super::params::{BadRequest, Params};
use super::respond;
use crate::Source;
use crate::limits::{ParseLimits, range_too_long};
use crate::logql::LogqlError;

/// Asks for labels by category, see api.md 4.2.
const ENCODING_FLAGS_HEADER: &str = "x-loki-response-encoding-flags";
const CATEGORIZE_LABELS: &str = "categorize-labels";

/// Paths served at the root and under `/ds/loki`.
pub(super) fn router(query: &Arc<Query>) -> Router {
    Router::new()
        .route("/loki/api/v1/query", both(query::instant))
        .route("/loki/api/v1/query_range", both(query::range))
        .route("/loki/api/v1/format_query", both(query::format))
        .route("/loki/api/v1/labels", both(metadata::labels))
        .route("/loki/api/v1/label", both(metadata::labels))
        .route("/loki/api/v1/label/{name}/values", get(label_values).post(label_values))
        .route("/loki/api/v1/series", both(metadata::series))
        .route("/loki/api/v1/index/stats", both(metadata::stats))
        .route("/loki/api/v1/index/volume", both(metadata::volume))
        .route("/loki/api/v1/index/volume_range", both(metadata::volume_range))
        .route("/loki/api/v1/detected_labels", both(metadata::detected_labels))
        .route("/loki/api/v1/detected_fields", both(fields::detected_fields))
        .route("/loki/api/v1/detected_field/{name}/values", get(field_values).post(field_values))
        .route("/loki/api/v1/patterns", both(patterns))
        .route("/loki/api/v1/drilldown-limits", both(drilldown_limits))
        .route("/loki/api/v1/status/buildinfo", both(build_info))
        .route("/loki/api/v1/rules", get(no_rules))
        .route("/api/prom/rules", get(no_rules))
        .route("/prometheus/api/v1/rules", get(no_rule_groups))
        .route("/prometheus/api/v1/alerts", get(no_alerts))
        .with_state(Arc::clone(query))
}

/// What a handler has in hand.
pub(super) struct Call {
    pub(super) source: Arc<dyn Source>,
    pub(super) query: Arc<Query>,
    pub(super) params: Params,
    /// Whether labels are wanted by category.
    pub(super) categorize: bool,
}

impl Call {
    async fn read(query: Arc<Query>, request: Request<Body>) -> Result<Call, Failure> {
        let categorize = asks_for_categories(request.headers());
        let params = Params::read(request).await?;
        Ok(Call { source: Arc::clone(&query.source), query, params, categorize })
    }

    pub(super) fn limits(&self) -> ParseLimits {
        ParseLimits::of(&self.tenant_limits())
    }

    /// Refuses a range that is longer than the tenant may ask for.
    pub(super) fn check_range(&self, range: TimeRange) -> Result<(), Failure> {
        let range_ns = range.end_ns.saturating_sub(range.start_ns);
        let max_ns = self.tenant_limits().query_range_max_ns;
        match range_too_long(self.tenant(), range_ns, max_ns) {
            Some(error) => Err(Failure::bad_request(error.to_string())),
            None => Ok(()),
        }
    }

    pub(super) fn tenant_limits(&self) -> Arc<Limits> {
        self.source.limits(self.tenant())
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.params.tenant
    }

    /// Runs work on the pool; it stops when the client goes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Source, &Budget) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let budget = self.source.budget(self.tenant());
        respond::run(&self.query, &budget, work).await?
    }
}

fn asks_for_categories(headers: &HeaderMap) -> bool {
    headers.get_all(ENCODING_FLAGS_HEADER).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|flags| flags.split(',').any(|flag| flag.trim() == CATEGORIZE_LABELS))
    })
}

/// A failed call: status and plain text.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

impl From<BadRequest> for Failure {
    fn from(bad: BadRequest) -> Failure {
        Failure { status: bad.status, message: bad.message }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        let status = match error.kind() {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => StatusCode::BAD_REQUEST,
            ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            // Loki's code for a client that has gone.
            ErrorKind::Cancelled => {
                StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            ErrorKind::Corrupt | ErrorKind::Io => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure { status, message: error.to_string() }
    }
}

impl From<LogqlError> for Failure {
    fn from(error: LogqlError) -> Failure {
        match error {
            LogqlError::Storage(error) => error.into(),
            other => Failure::bad_request(other.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        respond::text(self.status, self.message)
    }
}

type Answer = Result<Response, Failure>;

/// GET and POST alike.
fn both<F, R>(handler: F) -> MethodRouter<Arc<Query>>
where
    F: Fn(Call) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send,
{
    let handle = move |State(query): State<Arc<Query>>, request: Request<Body>| {
        let handler = handler.clone();
        async move {
            match Call::read(query, request).await {
                Ok(call) => handler(call).await.into_response(),
                Err(failure) => failure.into_response(),
            }
        }
    };
    get(handle.clone()).post(handle)
}

async fn label_values(
    State(query): State<Arc<Query>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer {
    metadata::label_values(Call::read(query, request).await?, name).await
}

async fn field_values(
    State(query): State<Arc<Query>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer {
    fields::field_values(Call::read(query, request).await?, name).await
}

/// Says that patterns are off: Drilldown hides its tab.
async fn patterns(_call: Call) -> Answer {
    Err(Failure { status: StatusCode::NOT_FOUND, message: "404 page not found\n".to_owned() })
}

async fn build_info(call: Call) -> Answer {
    let build = &call.query.options.build;
    let body = serde_json::json!({
        "version": build.version,
        "revision": build.revision,
        "branch": build.branch,
        "buildUser": "",
        "buildDate": build.build_date,
        "goVersion": "",
    });
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

async fn drilldown_limits(call: Call) -> Answer {
    let limits = call.tenant_limits();
    let seconds = limits.query_timeout_ns / model::NS_PER_S;
    let body = serde_json::json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": [
                "service", "app", "application", "app_name", "name", "app_kubernetes_io_name",
                "container", "container_name", "k8s_container_name", "component", "workload", "job",
                "k8s_job_name"
            ],
            "log_level_fields": ["level", "LEVEL", "Level", "log.level", "severity", "SEVERITY"],
            "max_entries_limit_per_query": limits.query_entries_max,
            "max_line_size_truncate": limits.on_oversize == Oversize::Truncate,
            "max_query_bytes_read": format!("{}B", limits.query_bytes_scanned_max),
            "max_query_length": format!("{}s", limits.query_range_max_ns / model::NS_PER_S),
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": limits.query_series_max,
            "metric_aggregation_enabled": false,
            "otlp_config": {},
            "pattern_persistence_enabled": false,
            "query_timeout": format!("{seconds}s"),
            "retention_period": "0s",
            "retention_stream": [],
            "volume_enabled": true,
            "volume_max_series": 1000,
        },
        "pattern_ingester_enabled": false,
        "version": call.query.options.build.version,
    });
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

async fn no_rules() -> Response {
    let mut response = respond::text(StatusCode::OK, "{}\n");
    let kind = http::HeaderValue::from_static("application/yaml");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

async fn no_rule_groups() -> Response {
    respond::json(StatusCode::OK, "{\"status\":\"success\",\"data\":{\"groups\":[]}}".to_owned())
}

async fn no_alerts() -> Response {
    respond::json(StatusCode::OK, "{\"status\":\"success\",\"data\":{\"alerts\":[]}}".to_owned())
}
