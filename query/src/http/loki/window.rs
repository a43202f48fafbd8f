//! Times, steps and limits of a request, with Loki's defaults.

use model::NS_PER_S;
use storage::{Direction, TimeRange};

use super::super::params::{Params, parse_time_ns};
use super::Failure;
use crate::kernels::Steps;
use crate::logql::parse_duration;

/// Steps of one answer. Source: Loki's and Prometheus' rule.
const STEPS_MAX: i64 = 11_000;
const LIMIT_DEFAULT: usize = 100;
const SINCE_DEFAULT_NS: i64 = 3600 * NS_PER_S;

/// A moment as every Loki endpoint reads it: with a dot seconds, up to ten digits seconds, more
/// digits nanoseconds, else RFC 3339. Units: ns.
pub(super) fn parse_moment(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return if text.len() <= 10 { number.checked_mul(NS_PER_S) } else { Some(number) };
    }
    parse_time_ns(text)
}

fn moment(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let wrong = || Failure::bad_request(format!("could not parse '{name}' parameter: {text:?}"));
    parse_moment(text).map(Some).ok_or_else(wrong)
}

/// A duration: seconds with a fraction, or with units.
fn duration(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let ns = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 9.2e9 => {
            Some((seconds * NS_PER_S as f64) as i64)
        }
        Ok(_) => None,
        Err(_) => parse_duration(text),
    };
    let wrong = || Failure::bad_request(format!("cannot parse {text:?} to a valid duration"));
    ns.map(Some).ok_or_else(wrong)
}

/// `start` and `end` (or `since`); by default the last hour. Units: ns.
pub(super) fn bounds(params: &Params, now_ns: i64) -> Result<TimeRange, Failure> {
    let end_ns = moment(params, "end")?.unwrap_or(now_ns);
    let since = duration(params, "since")?.unwrap_or(SINCE_DEFAULT_NS);
    let start_ns = match moment(params, "start")? {
        Some(start) => start,
        None => end_ns.min(now_ns).saturating_sub(since),
    };
    Ok(TimeRange { start_ns, end_ns })
}

/// The moment of an instant query. Units: ns.
pub(super) fn instant(params: &Params, now_ns: i64) -> Result<i64, Failure> {
    Ok(moment(params, "time")?.unwrap_or(now_ns))
}

/// The steps of a range query.
pub(super) fn steps(params: &Params, range: TimeRange) -> Result<Steps, Failure> {
    let span = range.end_ns.saturating_sub(range.start_ns);
    if span <= 0 {
        return Err(Failure::bad_request(
            "end timestamp must not be before or equal to start time",
        ));
    }
    let default = (span / NS_PER_S / 250).max(1) * NS_PER_S;
    let step = duration(params, "step")?.unwrap_or(default);
    if step <= 0 {
        return Err(Failure::bad_request(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if span / step > STEPS_MAX {
        return Err(Failure::bad_request(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value \
             of the step parameter",
        ));
    }
    Ok(Steps { start: range.start_ns, end: range.end_ns, step })
}

/// The least distance of the lines of an answer; 0: any. Units: ns.
pub(super) fn interval(params: &Params) -> Result<i64, Failure> {
    match duration(params, "interval")?.unwrap_or(0) {
        interval if interval < 0 => Err(Failure::bad_request("interval must be >= 0")),
        interval => Ok(interval),
    }
}

/// How many lines (or series) are wanted.
pub(super) fn limit(params: &Params, max: usize) -> Result<usize, Failure> {
    let limit = count(params, "limit", LIMIT_DEFAULT)?;
    if max != 0 && limit > max {
        return Err(Failure::bad_request(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})"
        )));
    }
    Ok(limit)
}

/// A positive whole number.
pub(super) fn count(params: &Params, name: &str, default: usize) -> Result<usize, Failure> {
    match params.count(name)? {
        Some(0) => Err(Failure::bad_request(format!("{name} must be a positive value"))),
        Some(count) => Ok(count),
        None => Ok(default),
    }
}

pub(super) fn direction(params: &Params) -> Result<Direction, Failure> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(Failure::bad_request(format!("invalid direction '{other}'"))),
    }
}
