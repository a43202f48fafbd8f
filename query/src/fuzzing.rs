//! Doors for the fuzz targets of `tests/fuzz`, behind the feature `fuzzing` and no part of the
//! crate's face: languages and numbers without HTTP around them.

use model::{Labels, Limits};
use storage::{Budget, Direction, Snapshot};

use crate::http::params;
use crate::kernels::Steps;
use crate::limits::ParseLimits;
use crate::logql::labels::Hints;
use crate::logql::pipeline::{Pipeline, working_set};
use crate::logql::stage::Line;
use crate::logql::template::Template;
use crate::logql::{self, Context, Expr, LogWindow};
use crate::promql::{self, Engine, EngineOptions, Question, StoredMetrics};
use crate::traces::id as traces;

const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 60_000;

/// Reads a PromQL query and runs it over an hour of `snapshot`.
///
/// Errors: the text of the refusal.
pub fn promql(text: &str, snapshot: &Snapshot, budget: &Budget) -> Result<usize, String> {
    let limits = Limits::default();
    let _selector = promql::parse_selector(text, ParseLimits::of(&limits));
    let expr = promql::parse(text, ParseLimits::of(&limits)).map_err(|e| e.message)?;
    let _laid_out = promql::format(&expr);
    let options =
        EngineOptions { lookback_ms: 300_000, subquery_step_ms: STEP_MS, delayed_names: false };
    let source = StoredMetrics(snapshot.clone());
    let engine = Engine { options, limits: &limits, source: &source, budget };
    let steps = Steps { start: 0, end: HOUR_MS, step: STEP_MS };
    let question = Question { text, steps, is_instant: false };
    engine.run(question).map(|answer| answer.warnings.len()).map_err(|error| error.to_string())
}

/// Reads a LogQL query and runs it over all of `snapshot`.
///
/// Errors: the text of the refusal.
pub fn logql(text: &str, snapshot: &Snapshot, budget: &Budget) -> Result<usize, String> {
    let limits = Limits::default();
    let expr = logql::parse(text, ParseLimits::of(&limits)).map_err(|e| e.to_string())?;
    let _laid_out = logql::format_line(&expr);
    let mut ctx = Context::new(snapshot.logs(), budget, &limits);
    match &expr {
        Expr::Log(log) => {
            let window = LogWindow {
                start_ns: i64::MIN,
                end_ns: i64::MAX,
                limit: 1000,
                direction: Direction::Backward,
            };
            logql::run_log(log, window, &mut ctx).map(|lines| lines.len())
        }
        metric => {
            let (end, step) = (HOUR_MS * 1_000_000, STEP_MS * 1_000_000);
            let steps = Steps { start: 0, end, step };
            logql::run_metric(metric, steps, &mut ctx).map(|series| series.len())
        }
    }
    .map_err(|error| error.to_string())
}

/// Sends one line through the stages of a log query. Returns whether it passed.
///
/// Errors: the text of the refusal.
pub fn pipeline(query: &str, line: &str) -> Result<bool, String> {
    let limits = ParseLimits::of(&Limits::default());
    let expr = logql::parse(query, limits).map_err(|error| error.to_string())?;
    let Expr::Log(log) = expr else { return Err("no log query".to_owned()) };
    let pipeline = Pipeline::build(&log.stages, limits.regex).map_err(|error| error.to_string())?;
    let mut labels = working_set(&Labels::from_pairs([("app", "fuzz")]), Hints::default());
    labels.add_metadata("trace_id", "0af7651916cd43dd8448eb211c80319c");
    let passed = pipeline.process(&mut Line { time_ns: 1, text: line.into() }, &mut labels);
    let _labels = labels.labels().count();
    Ok(passed)
}

/// Reads a template and makes a line of it.
///
/// Errors: what is wrong with it.
pub fn template(text: &str, line: &str) -> Result<usize, String> {
    let limits = ParseLimits::of(&Limits::default());
    let template = Template::parse(text, limits.regex)?;
    let labels = working_set(&Labels::from_pairs([("app", "fuzz"), ("n", "12")]), Hints::default());
    let mut out = String::new();
    template.execute(line, 1, &labels, &mut out)?;
    Ok(out.len())
}

/// Everything that is read as a number, a time, a length, a size, an ID or an escaped name. Returns
/// what it was taken for, a bit each.
#[must_use]
pub fn numbers(text: &str) -> u64 {
    let id = traces::parse_any(text);
    let form = params::decode_form(text);
    let taken = [
        params::parse_time_ns(text).is_some(),
        params::parse_time_ms(text).is_some(),
        params::parse_duration_ns(text).is_some(),
        params::duration_text_ns(text).is_some(),
        params::unescape_name(text) != text,
        form != text,
        logql::parse_bytes(text).is_some(),
        logql::parse_duration(text).is_some(),
        logql::parse_go_duration(text).is_ok(),
        id.trace_id.is_some(),
        id.span_id.is_some(),
        traces::parse_trace_id(text).is_some(),
        traces::parse_span_id(text).is_some(),
    ];
    taken.iter().fold(0, |bits, &taken| bits << 1 | u64::from(taken))
}
