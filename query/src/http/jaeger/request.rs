//! Jaeger's search parameters. Source: Jaeger 2.20 `query_parser.go`.

use storage::TimeRange;

use crate::http::params::Params;
use crate::traces::id::parse_trace_id;
use crate::traces::search::Search;

/// Traces in an answer where the request does not say. Source: Jaeger's `defaultQueryLimit`.
const LIMIT: usize = 100;
/// How far back a search without `start` looks. Units: ns.
const LOOKBACK_NS: i64 = 2 * 86_400 * model::NS_PER_S;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Wanted {
    Ids(Vec<[u8; 16]>),
    Search(Search),
}

/// Reads a search.
///
/// Errors: what is wrong with which parameter.
pub(super) fn parse(params: &Params, now_ns: i64, traces_max: usize) -> Result<Wanted, String> {
    let ids: Vec<&str> = params.all("traceID").filter(|id| !id.is_empty()).collect();
    if !ids.is_empty() {
        let parsed = ids.iter().map(|id| {
            parse_trace_id(id).ok_or_else(|| format!("cannot parse trace ID {id:?}: not hex"))
        });
        return parsed.collect::<Result<_, _>>().map(Wanted::Ids);
    }
    let service = params.get("service").ok_or("parameter 'service' is required")?;
    let limit = match params.get("limit") {
        None => LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&limit| limit > 0)
            .ok_or_else(|| format!("unable to parse param 'limit': {text:?}"))?,
    };
    if limit > traces_max {
        return Err(format!(
            "tercet-err-limit: param 'limit' is {limit}, limits.query.max_traces={traces_max}"
        ));
    }
    let end_ns = time(params, "end")?.unwrap_or(now_ns);
    let start_ns = time(params, "start")?.unwrap_or(end_ns.saturating_sub(LOOKBACK_NS));
    if start_ns > end_ns {
        return Err("param 'start' lies after param 'end'".to_owned());
    }
    let operation = params.get("operation").filter(|name| *name != "all");
    Ok(Wanted::Search(Search {
        service: Some(service.to_owned()),
        operation: operation.map(str::to_owned),
        tags: tags(params)?,
        // Both ends count for Jaeger.
        range: TimeRange { start_ns, end_ns: end_ns.saturating_add(1) },
        duration_min_ns: duration(params, "minDuration")?,
        duration_max_ns: duration(params, "maxDuration")?,
        limit,
    }))
}

/// A time in microseconds; one in milliseconds is told by its magnitude (api.md 6.1).
fn time(params: &Params, name: &str) -> Result<Option<i64>, String> {
    const MICROSECONDS_FROM: u64 = 100_000_000_000_000;
    let Some(text) = params.get(name) else { return Ok(None) };
    let number: i64 =
        text.parse().map_err(|_| format!("unable to parse param '{name}': {text:?}"))?;
    let scale = if number.unsigned_abs() >= MICROSECONDS_FROM { 1_000 } else { 1_000_000 };
    Ok(Some(number.saturating_mul(scale)))
}

/// `tags`, a JSON object of strings, and any number of `tag=key:value`.
fn tags(params: &Params) -> Result<Vec<(String, String)>, String> {
    let mut tags = Vec::new();
    for text in params.all("tag").filter(|text| !text.is_empty()) {
        let (key, value) = text.split_once(':').ok_or_else(|| {
            format!("malformed 'tag' parameter, expecting key:value, received: {text}")
        })?;
        tags.push((key.to_owned(), value.to_owned()));
    }
    for text in params.all("tags").filter(|text| !text.is_empty()) {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
            .map_err(|error| {
                format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}")
            })?;
        for (key, value) in object {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            tags.push((key, text));
        }
    }
    Ok(tags)
}

/// A duration as Go writes it: `1ms`, `1.5s`, `100us`. Units: ns.
fn duration(params: &Params, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = params.get(name) else { return Ok(None) };
    parse_go_duration(text)
        .filter(|&ns| ns >= 0)
        .map(Some)
        .ok_or_else(|| format!("unable to parse param '{name}': invalid duration {text:?}"))
}

/// Source: Go's `time.ParseDuration`. Units: ns.
pub(super) fn parse_go_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = rest.get(..letters)?;
        total += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = rest.get(letters..)?;
    }
    let total = if negative { -total } else { total };
    (total.abs() < 9.2e18).then_some(total as i64)
}
