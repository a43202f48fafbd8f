//! Writes answers: JSON text without a tree in between, numbers as Go's servers print them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use model::{ErrorId, Exceeded, Labels, Pressure};
use storage::{Budget, ErrorKind, StorageError};

use super::Query;
use super::stats::Stats;
use crate::Source;
use crate::turns::Turn;

/// A response of JSON text.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    with_type(status, body, "application/json")
}

/// A response of plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    with_type(status, body.into(), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Appends a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        // `at` is at an ASCII byte, so both cuts are between characters.
        out.push_str(&text[copied..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                let _infallible = write!(out, "\\u{byte:04x}");
            }
        }
        copied = at + 1;
    }
    out.push_str(&text[copied..]);
    out.push('"');
}

/// Appends an array of JSON strings.
pub(crate) fn push_strings<S: AsRef<str>>(out: &mut String, texts: &[S]) {
    out.push('[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, text.as_ref());
    }
    out.push(']');
}

/// Appends a float as Prometheus prints sample values, without quotes: shortest digits, plain
/// notation unless the magnitude is below 1e-6 or at least 1e21.
pub(crate) fn push_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        push_exponent(out, value);
    } else if value.fract() == 0.0 && value.abs() < 1e15 && value.to_bits() != (-0.0f64).to_bits() {
        out.push_str(itoa::Buffer::new().format(value as i64));
    } else {
        let _infallible = write!(out, "{value}");
    }
}

/// Go's `'e'` notation: a sign and two digits at least in the exponent.
pub(crate) fn push_exponent(out: &mut String, value: f64) {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) =
        exponent.strip_prefix('-').map_or(('+', exponent), |positive| ('-', positive));
    let _infallible = write!(out, "{digits}e{sign}{exponent:0>2}");
}

/// Appends a time as seconds with up to three decimals. Units: ms.
pub(crate) fn push_time_ms(out: &mut String, time_ms: i64) {
    if time_ms < 0 {
        out.push('-');
    }
    let magnitude = time_ms.unsigned_abs();
    out.push_str(itoa::Buffer::new().format(magnitude / 1000));
    let fraction = magnitude % 1000;
    if fraction != 0 {
        let text = format!(".{fraction:03}");
        out.push_str(text.trim_end_matches('0'));
    }
}

/// Appends labels as a JSON object.
pub(crate) fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, value);
    }
    out.push('}');
}

/// Appends what a program needs to know of a limit that was met, after a member of a JSON object.
pub(crate) fn push_exceeded(out: &mut String, exceeded: &Exceeded, status: StatusCode) {
    let fields = [
        ("error_id", exceeded.id.as_str()),
        ("limit_value", &exceeded.limit),
        ("current", &exceeded.current),
        ("limit", exceeded.key),
    ];
    for (name, value) in fields {
        let _infallible = write!(out, ",\"{name}\":");
        push_string(out, value);
    }
    out.push_str(",\"config_key\":");
    push_string(out, &exceeded.config_key());
    let retryable = status == StatusCode::TOO_MANY_REQUESTS;
    let _infallible = write!(out, ",\"retryable\":{retryable}");
}

/// A query at work. When the future that waits for it is dropped, its client has gone: the query is
/// told to stop.
struct Working<'q> {
    stats: &'q Stats,
    budget: &'q Budget,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.budget.cancel();
        self.stats.count_work(self.budget);
    }
}

/// Runs `work` on the source's pool under `budget`, which is cancelled if the caller goes away.
///
/// Errors: those of the pool.
pub(crate) async fn run<T: Send + 'static>(
    query: &Query,
    budget: &Budget,
    work: impl FnOnce(&dyn Source, &Budget) -> T + Send + 'static,
) -> Result<T, StorageError> {
    let working = Working { stats: &query.stats, budget };
    let turn = admit(query, budget).await.inspect_err(|error| {
        budget.finish();
        query.stats.count_rejected(budget.tenant(), error);
    })?;
    let (source, inner_budget) = (Arc::clone(&query.source), budget.clone());
    let outcome = query.source.pool().run(move || {
        let answer = work(&*source, &inner_budget);
        // Held until the work is over, whoever still waits for it.
        drop(turn);
        answer
    });
    let outcome = outcome.await;
    budget.finish();
    drop(working);
    outcome
}

/// Lets a query in when its tenant's turn comes.
///
/// Errors: Unavailable while memory is short, TooMany.
async fn admit(query: &Query, budget: &Budget) -> Result<Turn, StorageError> {
    if budget.pressure() >= Pressure::Queries {
        let why = format!(
            "tercet-err-{}: the server is short of memory and takes no queries for now \
             (memory.limit)",
            ErrorId::MemoryFull.as_str()
        );
        return Err(StorageError::new(ErrorKind::Unavailable, why));
    }
    let limits = query.source.limits(budget.tenant());
    query.turns.enter(budget.tenant(), &limits).await
}

/// As [`run`], with a time of the caller's choice.
///
/// Errors: Timeout too.
pub(crate) async fn run_within<T: Send + 'static>(
    query: &Query,
    budget: &Budget,
    timeout: Option<Duration>,
    work: impl FnOnce(&dyn Source, &Budget) -> T + Send + 'static,
) -> Result<T, StorageError> {
    let work = std::pin::pin!(run(query, budget, work));
    let Some(timeout) = timeout else { return work.await };
    // `work` is dropped after the reason is known.
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_elapsed| Err(budget.time_out()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_like_gos() {
        let check = |value: f64, want: &str| {
            let mut out = String::new();
            push_float(&mut out, value);
            assert_eq!(out, want);
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(2.0, "2");
        check(-12345.678, "-12345.678");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-07");
        check(1e-6, "0.000001");
        check(0.1 + 0.2, "0.30000000000000004");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(1.797_693_134_862_315_7e308, "1.7976931348623157e+308");
        check(9_007_199_254_740_993.0, "9007199254740992");
    }

    #[test]
    fn times_have_milliseconds_where_needed() {
        let check = |ms: i64, want: &str| {
            let mut out = String::new();
            push_time_ms(&mut out, ms);
            assert_eq!(out, want);
        };
        check(4000, "4");
        check(1_435_781_451_781, "1435781451.781");
        check(1500, "1.5");
        check(-1, "-0.001");
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        push_string(&mut out, "a\"b\\c\nd\u{1}é");
        assert_eq!(out, "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }
}
