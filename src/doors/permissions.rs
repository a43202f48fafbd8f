//! What each route needs. A route that is not in this table answers nobody once there is
//! authentication, and a test walks the router to see that none is missing.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

use super::access::Permission;
use Permission::{Admin, Open, Read, Write};

/// The one route whose path names a tenant, as `{id}`.
const TENANT_LIMITS: &str = "/api/v1/tenants/{id}/limits";

/// Where a dialect's paths are served.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At the root.
    Root,
    /// At the root and below `/ds/<name>`.
    Both(&'static str),
    /// Below `/ds/<name>` only.
    Source(&'static str),
}

/// A group of routes: their place, what GET and HEAD need, what every other method needs.
type Group = (Place, Permission, Permission, &'static [&'static str]);

const GROUPS: &[Group] = &[
    (
        Place::Root,
        Open,
        Open,
        &["/-/healthy", "/-/ready", "/health/live", "/health/ready", "/ready"],
    ),
    (
        Place::Root,
        Admin,
        Admin,
        &[
            "/metrics",
            "/-/flush",
            "/-/compact",
            "/-/backup",
            "/-/backup/{id}",
            "/-/retention",
            "/-/retention/confirm",
            "/-/reload",
            "/tercet/api/v1/settings",
            "/tercet/api/v1/permissions",
        ],
    ),
    (
        Place::Root,
        Read,
        Read,
        &[
            "/tercet/api/v1/ingest",
            "/tercet/api/v1/limits",
            "/tercet/api/v1/status",
            "/tercet/api/v1/lookup/{*id}",
            // Of the tenant that the path names.
            TENANT_LIMITS,
        ],
    ),
    (
        Place::Root,
        Write,
        Write,
        &[
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            "/opentelemetry.proto.collector.logs.v1.LogsService/{method}",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "/opentelemetry.proto.collector.trace.v1.TraceService/{method}",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/{method}",
            "/v1/logs",
            "/v1/traces",
            "/v1/metrics",
            "/otlp/v1/traces",
            "/otlp/v1/metrics",
            "/api/v1/push",
        ],
    ),
    (Place::Both("prometheus"), Write, Write, &["/api/v1/otlp/v1/metrics", "/api/v1/write"]),
    (Place::Both("loki"), Write, Write, &["/otlp/v1/logs", "/loki/api/v1/push", "/api/prom/push"]),
    (
        Place::Both("prometheus"),
        Read,
        Read,
        &[
            "/api/v1/query",
            "/api/v1/query_range",
            "/api/v1/format_query",
            "/api/v1/labels",
            "/api/v1/label/{name}/values",
            "/api/v1/series",
            "/api/v1/metadata",
            "/api/v1/query_exemplars",
            "/api/v1/rules",
            "/api/v1/alerts",
            "/api/v1/status/buildinfo",
        ],
    ),
    (
        Place::Both("loki"),
        Read,
        Read,
        &[
            "/loki/api/v1/query",
            "/loki/api/v1/query_range",
            "/loki/api/v1/format_query",
            "/loki/api/v1/labels",
            "/loki/api/v1/label",
            "/loki/api/v1/label/{name}/values",
            "/loki/api/v1/series",
            "/loki/api/v1/index/stats",
            "/loki/api/v1/index/volume",
            "/loki/api/v1/index/volume_range",
            "/loki/api/v1/detected_labels",
            "/loki/api/v1/detected_fields",
            "/loki/api/v1/detected_field/{name}/values",
            "/loki/api/v1/patterns",
            "/loki/api/v1/drilldown-limits",
            "/loki/api/v1/status/buildinfo",
            "/loki/api/v1/rules",
            "/api/prom/rules",
            "/prometheus/api/v1/rules",
            "/prometheus/api/v1/alerts",
        ],
    ),
    (Place::Both("tempo"), Read, Read, &["/api/echo", "/api/v2/traces/{id}"]),
    (Place::Source("tempo"), Read, Read, &["/api/traces/{id}", "/api/status/buildinfo", "/ready"]),
    (
        Place::Both("jaeger"),
        Read,
        Read,
        &[
            "/api/traces/{id}",
            "/api/traces",
            "/api/services",
            "/api/services/{*rest}",
            "/api/operations",
            "/api/dependencies",
        ],
    ),
    (
        Place::Both("zipkin"),
        Read,
        Read,
        &[
            "/api/v2/services",
            "/api/v2/spans",
            "/api/v2/traces",
            "/api/v2/trace/{id}",
            "/api/v2/traceMany",
            "/api/v2/dependencies",
            "/api/v2/autocompleteKeys",
            "/api/v2/autocompleteValues",
        ],
    ),
    (
        Place::Both("alertmanager"),
        Read,
        Write,
        &[
            "/api/v2/status",
            "/api/v2/alerts",
            "/api/v2/alerts/groups",
            "/api/v2/silences",
            "/api/v2/silence/{id}",
            "/api/v2/receivers",
        ],
    ),
];

/// What a route needs: GET and HEAD, every other method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) look: Permission,
    pub(crate) change: Permission,
}

static BY_ROUTE: LazyLock<HashMap<String, Needs>> = LazyLock::new(|| {
    let mut routes = HashMap::new();
    for &(place, look, change, paths) in GROUPS {
        for path in paths {
            let needs = Needs { look, change };
            if matches!(place, Place::Root | Place::Both(_)) {
                routes.insert((*path).to_owned(), needs);
            }
            if let Place::Both(name) | Place::Source(name) = place {
                routes.insert(format!("/ds/{name}{path}"), needs);
            }
        }
    }
    routes
});

/// What a request to a route needs; nothing where the route was forgotten here.
pub(crate) fn needed(route: &str, method: &Method) -> Option<Permission> {
    let needs = BY_ROUTE.get(route)?;
    let looks = matches!(*method, Method::GET | Method::HEAD);
    Some(if looks { needs.look } else { needs.change })
}

/// Whether the path of a route names the tenant that a request is about.
pub(crate) fn names_tenant(route: &str) -> bool {
    route == TENANT_LIMITS
}

/// Every route with what it needs, in order.
pub(crate) fn all() -> Vec<(&'static str, Needs)> {
    let mut all: Vec<_> = BY_ROUTE.iter().map(|(route, needs)| (route.as_str(), *needs)).collect();
    all.sort_unstable_by_key(|(route, _)| *route);
    all
}
