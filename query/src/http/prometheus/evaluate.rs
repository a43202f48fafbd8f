//! `query`, `query_range` and `format_query`.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use model::{NS_PER_MS, TenantId, ns_to_ms};
use storage::{Budget, Matcher, MsRange, Snapshot, StorageError};

use super::super::Query;
use super::super::params::{Params, parse_duration_ns};
use super::super::respond::{push_string, run_within};
use super::encode::{push_stats, push_value};
use super::{Failure, Notes, respond, success, time_param};
use crate::Source;
use crate::kernels::Steps;
use crate::limits::{ParseLimits, range_too_long};
use crate::promql::{
    Answer, Engine, EngineOptions, QueryError, Question, SampleSource, SeriesSet, StoredMetrics,
    Value, format, parse,
};

/// The step of subqueries that name none: Prometheus' default evaluation interval. Units: ms.
const SUBQUERY_STEP_MS: i64 = 60_000;

pub(super) async fn query(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    respond(instant(&query, request).await)
}

pub(super) async fn query_range(
    State(query): State<Arc<Query>>,
    request: Request<Body>,
) -> Response {
    respond(range(&query, request).await)
}

async fn instant(query: &Arc<Query>, request: Request<Body>) -> Result<Response, Failure> {
    let params = Params::read(request).await?;
    let now = ns_to_ms(query.source.now_ns());
    let time = time_param(&params, "time")?.unwrap_or(now);
    evaluate(query, params, Steps::instant(time), true).await
}

async fn range(query: &Arc<Query>, request: Request<Body>) -> Result<Response, Failure> {
    let params = Params::read(request).await?;
    let needed = |name: &str| match time_param(&params, name)? {
        Some(time) => Ok(time),
        None => Err(Failure::parameter(name, "cannot parse \"\" to a valid timestamp")),
    };
    let (start, end) = (needed("start")?, needed("end")?);
    if end < start {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step = duration_ms(&params, "step")?
        .ok_or_else(|| Failure::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step <= 0 {
        return Err(Failure::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let range_max_ns = query.source.limits(&params.tenant).query_range_max_ns;
    let range_ns = end.saturating_sub(start).saturating_mul(NS_PER_MS);
    if let Some(error) = range_too_long(&params.tenant, range_ns, range_max_ns) {
        let failure = Failure::bad_data(error.to_string());
        return Err(Failure { exceeded: Some(Box::new(error)), ..failure });
    }
    let points_max = query.source.limits(&params.tenant).query_points_max;
    let points = end.saturating_sub(start) / step;
    if points_max != 0 && usize::try_from(points).unwrap_or(usize::MAX) > points_max {
        return Err(Failure::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
            grouped(points_max)
        )));
    }
    evaluate(query, params, Steps { start, end, step }, false).await
}

async fn evaluate(
    query: &Arc<Query>,
    params: Params,
    steps: Steps,
    is_instant: bool,
) -> Result<Response, Failure> {
    let timeout = duration_ms(&params, "timeout")?;
    let lookback = duration_ms(&params, "lookback_delta")?.filter(|&ms| ms > 0);
    let limit = params.count("limit")?.filter(|&limit| limit > 0);
    let stats = params.get("stats").map(str::to_owned);
    let options = EngineOptions {
        lookback_ms: lookback.unwrap_or(query.options.lookback_ms),
        subquery_step_ms: SUBQUERY_STEP_MS,
        delayed_names: false,
    };
    let budget = query.source.budget(&params.tenant);
    let begun = query.source.now_ns();
    let timeout = timeout.filter(|&ms| ms > 0).map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let work = run_within(query, &budget, timeout, move |source, budget| {
        let text = params.get("query").unwrap_or("");
        let lazy = LazyMetrics { source, tenant: &params.tenant, snapshot: OnceCell::new() };
        let limits = source.limits(&params.tenant);
        let engine = Engine { options, limits: &limits, source: &lazy, budget };
        let answer = engine.run(Question { text, steps, is_instant })?;
        let rendered = render(answer, is_instant, limit);
        budget.take_memory(rendered.data.len())?;
        Ok(rendered)
    });
    let outcome: Result<Rendered, QueryError> = work.await?;
    let mut rendered = outcome?;
    if let Some(mode) = stats {
        let elapsed_ns = query.source.now_ns().saturating_sub(begun);
        push_stats(&mut rendered.data, &mode, rendered.samples, elapsed_ns);
    }
    rendered.data.push('}');
    Ok(success(&rendered.data, &rendered.notes))
}

/// The answer's JSON, its last brace left open for statistics.
struct Rendered {
    data: String,
    notes: Notes,
    samples: u64,
}

fn render(mut answer: Answer, is_instant: bool, limit: Option<usize>) -> Rendered {
    let mut notes = Notes {
        warnings: std::mem::take(&mut answer.warnings),
        infos: std::mem::take(&mut answer.infos),
    };
    notes.add(&answer.notices);
    if let Some(limit) = limit {
        let was_cut = match &mut answer.value {
            Value::Vector(rows) if rows.len() > limit => {
                rows.truncate(limit);
                true
            }
            Value::Matrix(series) if series.len() > limit => {
                series.truncate(limit);
                true
            }
            _ => false,
        };
        if was_cut {
            notes.truncated();
        }
    }
    let mut data = String::with_capacity(256);
    push_value(&mut data, &answer.value, answer.steps, is_instant);
    Rendered { data, notes, samples: answer.samples }
}

pub(super) async fn format_query(
    State(query): State<Arc<Query>>,
    request: Request<Body>,
) -> Response {
    let outcome = async {
        let params = Params::read(request).await?;
        let text = params.get("query").unwrap_or("");
        let expr = parse(text, ParseLimits::of(&query.source.limits(&params.tenant)))
            .map_err(|error| Failure::parameter("query", error.render(text)))?;
        let mut data = String::new();
        push_string(&mut data, &format(&expr));
        Ok(success(&data, &Notes::default()))
    };
    respond(outcome.await)
}

fn duration_ms(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name) else { return Ok(None) };
    match parse_duration_ns(text) {
        Some(ns) => Ok(Some(ns / NS_PER_MS)),
        None => Err(Failure::parameter(name, format!("cannot parse {text:?} to a valid duration"))),
    }
}

/// `11000` as `11,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A tenant's metrics, whose snapshot is taken when first asked for: `1+1` needs none.
struct LazyMetrics<'s> {
    source: &'s dyn Source,
    tenant: &'s TenantId,
    snapshot: OnceCell<Snapshot>,
}

impl fmt::Debug for LazyMetrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyMetrics").field("tenant", self.tenant).finish_non_exhaustive()
    }
}

impl SampleSource for LazyMetrics<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet>, StorageError> {
        let snapshot = self.snapshot.get_or_init(|| self.source.snapshot(self.tenant));
        StoredMetrics(snapshot.clone()).select(matchers, range, budget)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_grouped() {
        assert_eq!(super::grouped(11_000), "11,000");
        assert_eq!(super::grouped(999), "999");
    }
}
