use axum::body::Body;
use axum::response::IntoResponse as _;
use http::Request;

use super::render::{Body as Shape, Envelope, answer};
use super::window::parse_moment;
use super::{Failure, asks_for_categories};
use crate::kernels::Steps;
use crate::logql::{Categorized, LogEntry, QueryFigures, Series};

fn envelope(categorize: bool) -> Envelope {
    Envelope {
        notices: storage::Notices::default(),
        figures: QueryFigures::default(),
        elapsed_ns: 0,
        categorize,
    }
}

#[test]
fn golden_health_check() {
    let time_ns = parse_moment("4000000000").unwrap();
    let series = [Series { labels: Vec::new(), values: vec![2.0] }];
    assert_eq!(
        answer(&envelope(false), &Shape::Vector(&series, Steps::instant(time_ns))),
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}],"stats":{}}}"#
    );
}

#[test]
fn golden_empty_range() {
    assert_eq!(
        answer(&envelope(true), &Shape::Streams(&[])),
        r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[],"stats":{}}}"#
    );
}

#[test]
fn entries_have_two_or_three_elements() {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let entry = LogEntry {
        time_ns: 1_700_000_000_000_000_001,
        line: "hello".to_owned(),
        labels: Categorized {
            stream: pair("service_name", "a"),
            metadata: pair("detected_level", "info"),
            parsed: Vec::new(),
        },
    };
    let bare = LogEntry { labels: Categorized::default(), ..entry.clone() };
    let categorized = answer(&envelope(true), &Shape::Streams(std::slice::from_ref(&entry)));
    assert!(categorized.contains(
        r#"{"stream":{"service_name":"a"},"values":[["1700000000000000001","hello",{"structuredMetadata":{"detected_level":"info"}}]]}"#
    ));
    let plain = answer(&envelope(false), &Shape::Streams(&[entry]));
    assert!(plain.contains(
        r#"{"stream":{"detected_level":"info","service_name":"a"},"values":[["1700000000000000001","hello"]]}"#
    ));
    assert!(answer(&envelope(true), &Shape::Streams(&[bare])).contains(r#""hello",{}]"#));
}

#[test]
fn moments_follow_lokis_rule() {
    let check = |text: &str, want: Option<i64>| assert_eq!(parse_moment(text), want, "{text}");
    check("4000000000", Some(4_000_000_000_000_000_000));
    check("17000000000", Some(17_000_000_000));
    check("1700000000000000001", Some(1_700_000_000_000_000_001));
    check("1700000000.5", Some(1_700_000_000_500_000_000));
    check("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000));
    check("yesterday", None);
}

#[test]
fn flags_are_found_in_a_list() {
    let request = Request::builder()
        .header("X-Loki-Response-Encoding-Flags", "other, categorize-labels")
        .body(Body::empty())
        .unwrap();
    assert!(asks_for_categories(request.headers()));
}

#[test]
fn errors_are_plain_text() {
    let response = Failure::bad_request("parse error").into_response();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
}
