//! Zipkin's parameters. Source: Zipkin 3 `ZipkinQueryApiV2` and `QueryRequest`.

use std::collections::BTreeMap;

use storage::TimeRange;

use crate::http::params::Params;
use crate::traces::id::parse_trace_id;
use crate::traces::zipkin::search::{CONDITIONS_MAX, Condition, Search};

/// Traces in an answer where the request does not say.
const LIMIT: i64 = 10;
/// How far back is looked where the request does not say. Units: ms.
const LOOKBACK_MS: i64 = 86_400_000;

/// What is wrong with an ID.
pub(super) fn bad_id(text: &str) -> String {
    format!("a trace ID has 1 to 32 hex digits, not all zero: {text:?}")
}

fn number(params: &Params, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| format!("parameter '{name}' is not a whole number: {text:?}"))
}

fn positive(params: &Params, name: &str) -> Result<Option<i64>, String> {
    match number(params, name)? {
        Some(number) if number <= 0 => Err(format!("{name} <= 0")),
        number => Ok(number),
    }
}

/// `endTs` and `lookback` in milliseconds; both ends count.
pub(super) fn range(params: &Params, now_ns: i64) -> Result<TimeRange, String> {
    let end_ns = positive(params, "endTs")?.map_or(now_ns, model::ms_to_ns);
    let lookback_ms = positive(params, "lookback")?.unwrap_or(LOOKBACK_MS);
    let start_ns = end_ns.saturating_sub(model::ms_to_ns(lookback_ms));
    Ok(TimeRange { start_ns, end_ns: end_ns.saturating_add(1) })
}

/// Reads a search.
///
/// Errors: what is wrong with which parameter.
pub(super) fn search(params: &Params, now_ns: i64, traces_max: usize) -> Result<Search, String> {
    let limit = positive(params, "limit")?.unwrap_or(LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit > traces_max {
        return Err(over("limit", limit, traces_max));
    }
    let mut conditions = Vec::new();
    if let Some(name) = params.get("spanName").filter(|name| *name != "all") {
        conditions.push(Condition::Name(name.to_owned()));
    }
    if let Some(name) = params.get("remoteServiceName") {
        let (key, text) = ("peer.service".to_owned(), name.to_owned());
        conditions.push(Condition::Tag { key, text });
    }
    conditions.extend(duration(params)?);
    conditions.extend(annotations(params.get("annotationQuery").unwrap_or("")));
    if conditions.len() > CONDITIONS_MAX {
        let count = conditions.len();
        return Err(format!("tercet-err-limit: {count} conditions, at most {CONDITIONS_MAX}"));
    }
    let service = params.get("serviceName").map(str::to_owned);
    Ok(Search { service, conditions, range: range(params, now_ns)?, limit })
}

fn over(name: &str, count: usize, traces_max: usize) -> String {
    format!("tercet-err-limit: param '{name}' is {count}, limits.query.max_traces={traces_max}")
}

/// `minDuration` and `maxDuration` in microseconds, as the spans' durations are rounded.
fn duration(params: &Params) -> Result<Option<Condition>, String> {
    let min_us = positive(params, "minDuration")?;
    let Some(max_us) = number(params, "maxDuration")? else {
        let from_us = |min_us| Condition::Duration { min_ns: min_ns(min_us), max_ns: i64::MAX };
        return Ok(min_us.map(from_us));
    };
    let Some(min_us) = min_us else {
        return Err("maxDuration is only valid with minDuration".to_owned());
    };
    if max_us < min_us {
        return Err("maxDuration < minDuration".to_owned());
    }
    let max_ns = max_us.saturating_mul(1_000).saturating_add(499);
    Ok(Some(Condition::Duration { min_ns: min_ns(min_us), max_ns }))
}

/// The shortest duration that is shown as `us`: what is below one microsecond is shown as one.
fn min_ns(us: i64) -> i64 {
    if us == 1 { 1 } else { us.saturating_mul(1_000).saturating_sub(500) }
}

/// `http.method=GET and error`: tags with their value, or annotations and tags of any value.
fn annotations(text: &str) -> Vec<Condition> {
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for part in text.split(" and ") {
        match part.split_once('=') {
            None => {
                wanted.entry(part.trim()).or_insert("");
            }
            Some((key, value)) => {
                wanted.insert(key.trim(), value.trim());
            }
        }
    }
    let conditions = wanted.into_iter().filter(|(key, _)| !key.is_empty());
    let condition = |(key, text): (&str, &str)| match text {
        "" => Condition::Word(key.to_owned()),
        text => Condition::Tag { key: key.to_owned(), text: text.to_owned() },
    };
    conditions.map(condition).collect()
}

/// `traceIds`, two or more, separated by commas.
pub(super) fn trace_ids(params: &Params, traces_max: usize) -> Result<Vec<[u8; 16]>, String> {
    let text = params.get("traceIds").ok_or("traceIds parameter is empty")?;
    let count = text.split(',').count();
    if count > traces_max {
        return Err(over("traceIds", count, traces_max));
    }
    let mut ids = Vec::with_capacity(count);
    for part in text.split(',').map(str::trim) {
        ids.push(parse_trace_id(part).ok_or_else(|| bad_id(part))?);
    }
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    if let Some([id, _]) = sorted.array_windows().find(|[one, next]| one == next) {
        return Err(format!("redundant traceId: {}", hex::encode(id)));
    }
    match ids.as_slice() {
        [_] => Err("Use /api/v2/trace/{traceId} endpoint to retrieve a single trace".to_owned()),
        _ => Ok(ids),
    }
}
