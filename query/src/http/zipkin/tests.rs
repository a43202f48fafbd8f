use axum::body::Body;
use http::Request;
use storage::{Notices, TimeRange, UnreadPart};

use super::request::{range, search, trace_ids};
use crate::http::params::Params;
use crate::http::respond::warning;
use crate::traces::zipkin::search::{Condition, Search};

const NOW_NS: i64 = 1_700_000_000_000_000_000;
const TRACES_MAX: usize = 100;

fn params(query: &str) -> Params {
    let request = Request::get(format!("/?{query}")).body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Params::read(request)).unwrap()
}

fn parse(query: &str) -> Result<Search, String> {
    search(&params(query), NOW_NS, TRACES_MAX)
}

fn tag(key: &str, text: &str) -> Condition {
    Condition::Tag { key: key.to_owned(), text: text.to_owned() }
}

#[test]
fn a_search_without_parameters_is_the_last_day() {
    let search = parse("serviceName=&spanName=all").unwrap();
    assert_eq!((search.service, search.limit), (None, 10));
    assert!(search.conditions.is_empty());
    let day_ns = 86_400_000_000_000;
    assert_eq!(search.range, TimeRange { start_ns: NOW_NS - day_ns, end_ns: NOW_NS + 1 });
}

#[test]
fn times_are_milliseconds_and_durations_microseconds() {
    let found = range(&params("endTs=2000&lookback=500"), NOW_NS).unwrap();
    assert_eq!(found, TimeRange { start_ns: 1_500_000_000, end_ns: 2_000_000_001 });
    let check = |query: &str, min_ns: i64, max_ns: i64| {
        let want = [Condition::Duration { min_ns, max_ns }];
        assert_eq!(parse(query).unwrap().conditions, want, "{query}");
    };
    // All that is shown as 2 and 3, rounded; nothing is shown as 0 but what took no time.
    check("minDuration=2&maxDuration=3", 1_500, 3_499);
    check("minDuration=1&maxDuration=1", 1, 1_499);
    check("minDuration=5", 4_500, i64::MAX);
}

#[test]
fn annotations_are_words_and_tags() {
    let query = "annotationQuery=http.method%3DGET+and+error+and+++a%3D1+and+a%3D+2%3D2+and+b%3D";
    let word = |word: &str| Condition::Word(word.to_owned());
    let want = vec![tag("a", "2=2"), word("b"), word("error"), tag("http.method", "GET")];
    assert_eq!(parse(query).unwrap().conditions, want);
    let query = "serviceName=shop&spanName=GET&remoteServiceName=bank&annotationQuery=+and+";
    let search = parse(query).unwrap();
    assert_eq!(search.service.as_deref(), Some("shop"));
    let name = Condition::Name("GET".to_owned());
    assert_eq!(search.conditions, [name, tag("peer.service", "bank")]);
}

#[test]
fn what_zipkin_refuses_is_refused() {
    let check = |query: &str, want: &str| {
        assert_eq!(parse(query).unwrap_err(), want, "{query}");
    };
    check("limit=0", "limit <= 0");
    check("limit=ten", "parameter 'limit' is not a whole number: \"ten\"");
    check("limit=101", "tercet-err-limit: param 'limit' is 101, limits.query.max_traces=100");
    check("endTs=0", "endTs <= 0");
    check("lookback=-1", "lookback <= 0");
    check("minDuration=0", "minDuration <= 0");
    check("minDuration=2&maxDuration=1", "maxDuration < minDuration");
    check("maxDuration=1", "maxDuration is only valid with minDuration");
    let words: Vec<String> = (0..65).map(|number| format!("w{number}")).collect();
    let query = format!("annotationQuery={}", words.join("+and+"));
    check(&query, "tercet-err-limit: 65 conditions, at most 64");
}

#[test]
fn many_traces_are_two_or_more_different_ones() {
    let ids = |text: &str| trace_ids(&params(&format!("traceIds={text}")), 3);
    let id = |number: u128| number.to_be_bytes();
    assert_eq!(ids("2a,%200000000000000001").unwrap(), [id(0x2a), id(1)]);
    let check = |text: &str, want: &str| assert_eq!(ids(text).unwrap_err(), want, "{text}");
    check("", "traceIds parameter is empty");
    check("1", "Use /api/v2/trace/{traceId} endpoint to retrieve a single trace");
    check("1,2,01", "redundant traceId: 00000000000000000000000000000001");
    check("1,x", "a trace ID has 1 to 32 hex digits, not all zero: \"x\"");
    check("1,2,3,4", "tercet-err-limit: param 'traceIds' is 4, limits.query.max_traces=3");
}

#[test]
fn notices_become_one_header() {
    assert_eq!(warning(&Notices::default()), None);
    let part = UnreadPart { name: "s1".to_owned(), why: "\"größer\"\n".to_owned() };
    let notices = Notices { warnings: vec!["slow".to_owned()], unread: vec![part] };
    let found = warning(&notices).unwrap();
    assert_eq!(found.to_str().unwrap(), "199 tercet \"slow; s1 not read: 'gr??er'?\"");
}
