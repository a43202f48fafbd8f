//! Golden answers of api.md 14 and what Grafana relies on, over the router.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use model::{BucketSpan, Histogram, Labels, Limits};

use super::encode::push_value;
use crate::http::tests;
use crate::kernels::{ABSENT, Steps};
use crate::promql::{Row, Value};

fn ask(request: Request<Body>) -> (StatusCode, String) {
    tests::ask(&tests::query(Limits::default()), request)
}

fn get(path: &str) -> (StatusCode, String) {
    ask(Request::get(path).body(Body::empty()).unwrap())
}

fn post(path: &str, form: &str) -> (StatusCode, String) {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    ask(request.body(Body::from(form.to_owned())).unwrap())
}

const HEALTHY: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#;

#[test]
fn the_health_check_is_answered_byte_for_byte() {
    assert_eq!(post("/api/v1/query", "query=1%2B1&time=4"), (StatusCode::OK, HEALTHY.to_owned()));
    assert_eq!(get("/api/v1/query?query=1%2B1&time=4"), (StatusCode::OK, HEALTHY.to_owned()));
    // Parameters split between URL and body.
    assert_eq!(post("/api/v1/query?time=4", "query=1%2B1").1, HEALTHY);
}

#[test]
fn fixed_answers() {
    let check = |path: &str, want: &str| assert_eq!(get(path), (StatusCode::OK, want.to_owned()));
    check("/api/v1/rules", r#"{"status":"success","data":{"groups":[]}}"#);
    check("/api/v1/alerts", r#"{"status":"success","data":{"alerts":[]}}"#);
    check(
        "/api/v1/status/buildinfo",
        r#"{"status":"success","data":{"version":"3.0.0","revision":"x","branch":"x","buildUser":"","buildDate":"20260101-00:00:00","goVersion":""}}"#,
    );
    check("/api/v1/format_query?query=a%2Bb", r#"{"status":"success","data":"a + b"}"#);
    check(
        "/api/v1/query_range?query=vector(time())&start=1&end=2&step=0.5",
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[1.5,"1.5"],[2,"2"]]}]}}"#,
    );
    check(
        "/api/v1/query?query=%22hi%22&time=1.5",
        r#"{"status":"success","data":{"resultType":"string","result":[1.5,"hi"]}}"#,
    );
}

#[test]
fn errors_have_type_and_status() {
    let check = |path: &str, status: u16, want: &str| {
        let (got, body) = get(path);
        assert_eq!(got.as_u16(), status, "{path}: {body}");
        assert!(body.contains(want), "{path}: {body}");
    };
    check(
        "/api/v1/query?query=1%2B",
        400,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error: unexpected end of input"}"#,
    );
    check("/api/v1/query_range?query=1&start=2&end=1&step=1", 400, "end timestamp must not be");
    check("/api/v1/query_range?query=1&start=1&end=2&step=0", 400, "zero or negative query");
    check("/api/v1/query_range?query=1&start=x&end=2&step=1", 400, "cannot parse");
    check(
        "/api/v1/query_range?query=1&start=0&end=11001&step=1",
        400,
        "exceeded maximum resolution of 11,000 points per timeseries",
    );
    check("/api/v1/series", 400, "no match[] parameter provided");
    check(
        "/api/v1/query?query=label_replace(vector(1),%22a%22,%22%22,%22%22,%22(%22)",
        422,
        "execution",
    );
}

#[test]
fn the_limits_of_eleven_thousand_points_is_inclusive() {
    let (status, _) = get("/api/v1/query_range?query=1&start=0&end=11000&step=1");
    assert_eq!(status, StatusCode::OK);
}

fn rendered(value: &Value, steps: Steps, is_instant: bool) -> String {
    let mut out = String::new();
    push_value(&mut out, value, steps, is_instant);
    out
}

#[test]
fn special_floats_and_histograms() {
    let labels = Labels::from_pairs([("__name__", "a"), ("b", "c")]);
    let floats = vec![f64::NAN, ABSENT, f64::INFINITY];
    let steps = Steps { start: 0, end: 2000, step: 1000 };
    assert_eq!(
        rendered(&Value::Vector(vec![Row::of(labels, floats)]), steps, false),
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"a","b":"c"},"values":[[0,"NaN"],[2,"+Inf"]]}]"#
    );
    let histogram = Histogram {
        schema: 3,
        count: 3.0,
        sum: 4.2,
        positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
        positive_buckets: vec![3.0],
        ..Histogram::default()
    };
    let mut row = Row::absent(Labels::default(), 1);
    row.set(0, Some(crate::promql::Cell::Histogram(Arc::new(histogram))));
    assert_eq!(
        rendered(&Value::Vector(vec![row]), Steps::instant(1500), true),
        r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1.5,{"count":"3","sum":"4.2","buckets":[[0,"1","1.0905077326652577","3"]]}]}]"#
    );
}
