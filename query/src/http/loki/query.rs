//! `query`, `query_range`, `format_query`.

use http::StatusCode;
use storage::{Budget, Direction};

use super::super::respond;
use super::render::{Body, Envelope, answer};
use super::{Answer, Call, Failure, window};
use crate::Source;
use crate::kernels::Steps;
use crate::logql::{Context, Expr, LogEntry, LogWindow, format_line, parse, run_log, run_metric};
use model::{Signal, TenantId};

/// One moment of a metric query.
pub(super) async fn instant(call: Call) -> Answer {
    let now_ns = call.source.now_ns();
    let time_ns = window::instant(&call.params, now_ns)?;
    let expr = parse(call.params.get("query").unwrap_or(""), call.limits())?;
    if expr.is_log() {
        return Err(Failure::bad_request(
            "log queries are not supported as an instant query type, please change your query to a \
             range query type",
        ));
    }
    let (tenant, categorize) = (call.tenant().clone(), call.categorize);
    let body = call
        .run(move |source, budget| {
            metric(
                source,
                budget,
                &tenant,
                &expr,
                Steps::instant(time_ns),
                Shape { instant: true, categorize },
            )
        })
        .await?;
    Ok(respond::json(StatusCode::OK, body))
}

/// Lines, or a metric query over steps.
pub(super) async fn range(call: Call) -> Answer {
    let now_ns = call.source.now_ns();
    let bounds = window::bounds(&call.params, now_ns)?;
    call.check_range(bounds)?;
    let steps = window::steps(&call.params, bounds)?;
    let direction = window::direction(&call.params)?;
    let interval = window::interval(&call.params)?;
    let expr = parse(call.params.get("query").unwrap_or(""), call.limits())?;
    let (tenant, categorize) = (call.tenant().clone(), call.categorize);
    let Expr::Log(_) = &expr else {
        let body = call
            .run(move |source, budget| {
                metric(source, budget, &tenant, &expr, steps, Shape { instant: false, categorize })
            })
            .await?;
        return Ok(respond::json(StatusCode::OK, body));
    };
    let limit = window::limit(&call.params, call.tenant_limits().query_entries_max)?;
    let window = LogWindow { start_ns: bounds.start_ns, end_ns: bounds.end_ns, limit, direction };
    let body = call
        .run(move |source, budget| {
            let Expr::Log(log) = &expr else { return Err(Failure::bad_request("not a log query")) };
            let started = source.now_ns();
            let snapshot = source.snapshot(&tenant);
            let mut ctx = Context::new(snapshot.logs(), budget, &source.limits(&tenant));
            ctx.notices.merge(snapshot.notices(Signal::Logs).clone());
            let mut entries = run_log(log, window, &mut ctx)?;
            thin_out(&mut entries, interval, direction);
            let envelope = Envelope {
                notices: ctx.notices,
                figures: ctx.figures,
                elapsed_ns: source.now_ns().saturating_sub(started),
                categorize,
            };
            Ok(answer(&envelope, &Body::Streams(&entries)))
        })
        .await?;
    Ok(respond::json(StatusCode::OK, body))
}

/// How an answer is to look.
struct Shape {
    instant: bool,
    categorize: bool,
}

fn metric(
    source: &dyn Source,
    budget: &Budget,
    tenant: &TenantId,
    expr: &Expr,
    steps: Steps,
    shape: Shape,
) -> Result<String, Failure> {
    let started = source.now_ns();
    let snapshot = source.snapshot(tenant);
    let mut ctx = Context::new(snapshot.logs(), budget, &source.limits(tenant));
    ctx.notices.merge(snapshot.notices(Signal::Logs).clone());
    let series = run_metric(expr, steps, &mut ctx)?;
    let envelope = Envelope {
        notices: ctx.notices,
        figures: ctx.figures,
        elapsed_ns: source.now_ns().saturating_sub(started),
        categorize: shape.categorize,
    };
    let body = match expr {
        Expr::Literal(value) if shape.instant => Body::Scalar(*value, steps),
        _ if shape.instant => Body::Vector(&series, steps),
        _ => Body::Matrix(&series, steps),
    };
    Ok(answer(&envelope, &body))
}

/// Keeps lines that are at least `interval` apart. Units: ns.
fn thin_out(entries: &mut Vec<LogEntry>, interval: i64, direction: Direction) {
    if interval == 0 {
        return;
    }
    let mut last: Option<i64> = None;
    entries.retain(|entry| {
        let far = last.is_none_or(|last| match direction {
            Direction::Forward => entry.time_ns >= last.saturating_add(interval),
            Direction::Backward => entry.time_ns <= last.saturating_sub(interval),
        });
        if far {
            last = Some(entry.time_ns);
        }
        far
    });
}

/// The query laid out anew, or what is wrong with it.
pub(super) async fn format(call: Call) -> Answer {
    let text = call.params.get("query").unwrap_or("");
    Ok(match parse(text, call.limits()) {
        Ok(expr) => {
            let body = serde_json::json!({"status": "success", "data": format_line(&expr)});
            respond::json(StatusCode::OK, body.to_string())
        }
        Err(error) => {
            let body = serde_json::json!({"status": "invalid-query", "error": error.to_string()});
            respond::json(StatusCode::BAD_REQUEST, body.to_string())
        }
    })
}
