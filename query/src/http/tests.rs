//! What holds for every dialect: limits of a query's text, and the figures for `/metrics`.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use model::{Limits, TenantId};
use storage::{Budget, Clock, Pool, Snapshot};
use tower::ServiceExt as _;

use super::{BuildInfo, Figure, Query, QueryOptions};
use crate::limits::ParseLimits;
use crate::promql::parse_selector;

#[derive(Debug)]
struct StillClock;

impl Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

/// A source without data: queries that select nothing need no snapshot.
#[derive(Debug)]
struct Nothing {
    limits: Limits,
    pool: Pool,
}

impl crate::Source for Nothing {
    fn snapshot(&self, _: &TenantId) -> Snapshot {
        panic!("no data here")
    }

    fn budget(&self, _: &TenantId) -> Budget {
        Budget::new(Arc::new(StillClock), 1, self.limits.query_samples_max as u64)
    }

    fn limits(&self, _: &TenantId) -> Arc<Limits> {
        Arc::new(self.limits.clone())
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn now_ns(&self) -> i64 {
        0
    }
}

/// A query side without data.
pub(super) fn query(limits: Limits) -> Arc<Query> {
    let build = BuildInfo {
        version: "3.0.0".to_owned(),
        revision: "x".to_owned(),
        branch: "x".to_owned(),
        build_date: "20260101-00:00:00".to_owned(),
    };
    let options = QueryOptions { build, lookback_ms: 300_000, started_ns: 0, places: 4 };
    Query::new(options, Arc::new(Nothing { limits, pool: Pool::new(1) }))
}

pub(super) fn ask(query: &Arc<Query>, request: Request<Body>) -> (StatusCode, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let response = query.router().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    })
}

/// Sends a query's text to an endpoint that reads it and runs nothing.
fn check_text(limits: &Limits, path: &str, text: &str) -> (StatusCode, String) {
    let form = format!("query={}", percent_encoded(text));
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    ask(&query(limits.clone()), request.body(Body::from(form)).unwrap())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

const PROMQL: &str = "/api/v1/format_query";
const PROMQL_RUN: &str = "/api/v1/query";
const LOGQL: &str = "/loki/api/v1/format_query";

/// The text is taken with the limit at `least`, and refused with `want` one below.
fn check(path: &str, text: &str, least: usize, set: fn(&mut Limits, usize), want: &str) {
    let mut limits = Limits::default();
    for enough in [least, 0] {
        set(&mut limits, enough);
        let (status, body) = check_text(&limits, path, text);
        assert_eq!(status, StatusCode::OK, "{path} {enough}: {body}");
    }
    set(&mut limits, least - 1);
    let (status, body) = check_text(&limits, path, text);
    assert!(status.is_client_error(), "{path}: {status} {body}");
    assert!(body.contains(want), "{path}: {body}");
}

#[test]
fn the_length_of_a_query_is_limited_in_both_languages() {
    let set = |limits: &mut Limits, max| limits.expression_bytes_max = max;
    let want = "query is 11 bytes long (limits.query.max_expr_bytes=10)";
    check(PROMQL, "sum(rate_a)", 11, set, want);
    check(LOGQL, "{abcd=\"efg\"}", 12, set, "12 bytes long (limits.query.max_expr_bytes=11)");
}

#[test]
fn the_nesting_of_a_query_is_limited_in_both_languages() {
    let set = |limits: &mut Limits, max| limits.expression_depth_max = max;
    let want = "query is nested too deeply: 3 levels or more (limits.query.max_expr_depth=2)";
    check(PROMQL, "sum(sum(a))", 3, set, want);
    check(LOGQL, "sum(sum(vector(1)))", 3, set, want);
}

#[test]
fn the_length_of_a_pattern_is_limited_wherever_one_stands() {
    let set = |limits: &mut Limits, max| limits.regex_bytes_max = max;
    let want = "regular expression is 3 bytes long (limits.query.max_regex_bytes=2)";
    for (path, text) in [
        (PROMQL, "a{b=~\"x.y\"}"),
        (PROMQL, "a{b!~\"x.y\"}"),
        (PROMQL_RUN, "label_replace(vector(1), \"a\", \"\", \"b\", \"x.y\")"),
        (LOGQL, "{a=~\"x.y\"}"),
        // Longer when translated: what was written counts.
        (LOGQL, "{a=~\"x\\\\d\"}"),
        (LOGQL, "{a=\"b\"} |~ \"x.y\""),
        (LOGQL, "{a=\"b\"} !~ \"x.y\""),
        (LOGQL, "{a=\"b\"} | json | b=~\"x.y\""),
        (LOGQL, "{a=\"b\"} | keep b=~\"x.y\""),
        (LOGQL, "label_replace(vector(1), \"a\", \"\", \"b\", \"x.y\")"),
    ] {
        check(path, text, 3, set, want);
    }
    let regexp = "{a=\"b\"} | regexp \"(?P<b>.)\"";
    check(LOGQL, regexp, 8, set, "8 bytes long (limits.query.max_regex_bytes=7)");
}

#[test]
fn the_memory_of_a_pattern_is_limited_wherever_one_stands() {
    let mut limits =
        Limits { regex_program_bytes_max: 20_000, regex_bytes_max: 0, ..Limits::default() };
    let texts = [
        (PROMQL, "a{b=~\"[a-z0-9]{800}\"}"),
        (PROMQL_RUN, "label_replace(vector(1), \"a\", \"\", \"b\", \"[a-z0-9]{800}\")"),
        (LOGQL, "{a=~\"[a-z0-9]{800}\"}"),
        (LOGQL, "{a=\"b\"} |~ \"[a-z0-9]{800}\""),
        (LOGQL, "{a=\"b\"} | json | b=~\"[a-z0-9]{800}\""),
    ];
    for (path, text) in texts {
        let (status, body) = check_text(&limits, path, text);
        assert!(status.is_client_error(), "{path}: {status} {body}");
        let want = "needs more than 20000 bytes when compiled \
                    (limits.query.regex_program_bytes=20000)";
        assert!(body.contains(want), "{path}: {body}");
    }
    for enough in [1 << 20, 0] {
        limits.regex_program_bytes_max = enough;
        for (path, text) in texts {
            assert_eq!(check_text(&limits, path, text).0, StatusCode::OK, "{path} {text}");
        }
    }
}

#[test]
fn selectors_of_metadata_are_limited_too() {
    let limits = Limits { regex_bytes_max: 2, ..Limits::default() };
    let error = parse_selector("{b=~\"x.y\"}", ParseLimits::of(&limits)).unwrap_err();
    assert_eq!(
        error.message,
        "regular expression is 3 bytes long (limits.query.max_regex_bytes=2)"
    );
    for path in ["labels", "label/a/values", "index/stats", "detected_fields"] {
        let path = format!("/loki/api/v1/{path}");
        let (status, body) = check_text(&limits, &path, "{b=~\"x.y\"}");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert!(body.contains("limits.query.max_regex_bytes=2"), "{path}: {body}");
    }
}

/// Without any limit set, what recursion may need is still bounded.
#[test]
fn no_query_is_deeper_than_the_stack() {
    let limits = Limits { expression_depth_max: 0, expression_bytes_max: 0, ..Limits::default() };
    let nested = |open: &str, leaf: &str, close: &str, count: usize| {
        format!("{}{leaf}{}", open.repeat(count), close.repeat(count))
    };
    for count in [450, 20_000] {
        let want = if count < 500 { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        for (path, text) in [
            (PROMQL, nested("(", "a", ")", count)),
            (PROMQL, vec!["a"; count].join("+")),
            (LOGQL, nested("(", "vector(1)", ")", count)),
            (LOGQL, nested("sum(", "vector(1)", ")", count)),
            (LOGQL, vec!["vector(1)"; count].join("+")),
            (LOGQL, vec!["vector(1)"; count].join("^")),
            (LOGQL, format!("{{a=\"b\"}} | {}", nested("(", "c=\"d\"", ")", count))),
            (LOGQL, format!("{{a=\"b\"}} | {}", vec!["c=\"d\""; count].join(" or "))),
            (LOGQL, format!("{{a=\"b\"}} | {}", vec!["c=\"d\""; count].join(", "))),
        ] {
            let (status, body) = check_text(&limits, path, &text);
            let start: String = text.chars().take(30).collect();
            assert_eq!(status, want, "{count} of {start}: {body}");
            assert!(status == StatusCode::OK || body.contains("at most 500"), "{start}: {body}");
        }
    }
}

fn figure(query: &Query, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let stats = query.stats();
    let is_wanted = |(found, pairs, _): &&Figure| {
        *found == name
            && labels.iter().all(|want| pairs.iter().any(|(n, v)| (*n, v.as_str()) == *want))
    };
    stats.counters.iter().chain(&stats.gauges).find(is_wanted).map(|(_, _, value)| *value)
}

#[test]
fn requests_and_work_are_counted_by_endpoint() {
    let query = query(Limits { query_samples_max: 100, ..Limits::default() });
    let get = |path: &str| ask(&query, Request::get(path).body(Body::empty()).unwrap());
    get("/api/v1/query?query=1");
    get("/ds/prometheus/api/v1/query?query=2");
    get("/api/v1/query?query=)");
    get("/loki/api/v1/label/a/values?query=)");
    // Rows in memory count as samples: more of them than are allowed.
    assert_eq!(get("/api/v1/query_range?query=vector(1)&start=0&end=500&step=1").0, 422);
    get("/nothing/here");

    let requests = |dialect, endpoint, class| {
        let labels = [("dialect", dialect), ("endpoint", endpoint), ("status_class", class)];
        figure(&query, "query_requests_total", &labels)
    };
    assert_eq!(requests("prometheus", "/api/v1/query", "2xx"), Some(2.0));
    assert_eq!(requests("prometheus", "/api/v1/query", "4xx"), Some(1.0));
    assert_eq!(requests("loki", "/loki/api/v1/label/{name}/values", "4xx"), Some(1.0));
    assert_eq!(requests("prometheus", "/ds/prometheus/api/v1/query", "2xx"), None);
    let answered: f64 = query
        .stats()
        .counters
        .iter()
        .filter(|(name, ..)| *name == "query_requests_total")
        .map(|(_, _, value)| value)
        .sum();
    assert_eq!(answered as u64, 5, "what no route serves is not counted");
    assert_eq!(figure(&query, "queries_in_flight", &[]), Some(0.0));
    assert!(figure(&query, "query_samples_total", &[]) > Some(100.0));
    let ended = |reason| figure(&query, "queries_ended_total", &[("reason", reason)]);
    assert_eq!(ended("max_samples"), Some(1.0));
    for reason in ["timeout", "client_gone", "max_series"] {
        assert_eq!(ended(reason), Some(0.0), "{reason}");
    }
}

/// The caller's own time, and a caller who goes away.
#[test]
fn a_query_that_is_not_waited_for_is_counted_by_reason() {
    let query = query(Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for timeout in [Some(std::time::Duration::from_millis(1)), None] {
            let (open, gate) = std::sync::mpsc::channel::<()>();
            let budget = query.source.budget(&TenantId::default());
            let work = super::respond::run_within(&query, &budget, timeout, move |_, _| {
                // Returns when the gate is gone.
                gate.recv().is_err()
            });
            if timeout.is_some() {
                assert_eq!(work.await.unwrap_err().kind(), storage::ErrorKind::Timeout);
            } else {
                let mut work = Box::pin(work);
                assert!(futures::poll!(&mut work).is_pending());
                drop(work);
            }
            assert_eq!(budget.check().unwrap_err().kind(), storage::ErrorKind::Cancelled);
            drop(open);
        }
    });
    let ended = |reason| figure(&query, "queries_ended_total", &[("reason", reason)]);
    assert_eq!((ended("timeout"), ended("client_gone")), (Some(1.0), Some(1.0)));
}
