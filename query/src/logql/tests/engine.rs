//! Whole queries over the streams of the conformance set.

use std::collections::BTreeMap;

use serde_json::Value;
use storage::Direction;

use super::super::ast::Expr;
use super::super::exec::{Context, Series, run_log, run_metric};
use super::super::number::parse_duration;
use super::super::pipeline::LogWindow;
use super::memory::{MemoryLogs, budget};
use super::{Score, conformance, json_lines, parse};
use crate::kernels::{Steps, is_absent};

type Pairs = BTreeMap<String, String>;

fn streams(text: &str) -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    for stream in json_lines(text) {
        let labels: Pairs = serde_json::from_value(stream["labels"].clone()).unwrap();
        for entry in stream["entries"].as_array().unwrap() {
            let metadata: Pairs =
                serde_json::from_value(entry["structured_metadata"].clone()).unwrap_or_default();
            let metadata: Vec<(String, String)> = metadata.into_iter().collect();
            let time_ns = entry["ts"].as_str().unwrap().parse().unwrap();
            logs.push(&labels, time_ns, entry["line"].as_str().unwrap(), &metadata);
        }
    }
    logs
}

fn nanoseconds(case: &Value, names: [&str; 2]) -> Option<i64> {
    names.iter().find_map(|name| case[*name].as_str()?.parse().ok())
}

/// Series by labels: (time in seconds, value) pairs.
fn found_points(series: &[Series], steps: Steps) -> BTreeMap<Pairs, Vec<(f64, f64)>> {
    let mut all: BTreeMap<Pairs, Vec<(f64, f64)>> = BTreeMap::new();
    for one in series {
        let points = one.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
        let points = points.map(|(at, value)| (steps.at(at) as f64 / 1e9, *value)).collect();
        all.insert(one.labels.iter().cloned().collect(), points);
    }
    all
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().replace("Inf", "inf").parse().unwrap()
}

fn wanted_points(result: &Value) -> BTreeMap<Pairs, Vec<(f64, f64)>> {
    let mut all = BTreeMap::new();
    let point = |pair: &Value| (pair[0].as_f64().unwrap(), number(&pair[1]));
    for one in result.as_array().unwrap() {
        let labels: Pairs = serde_json::from_value(one["metric"].clone()).unwrap();
        let points = match one["values"].as_array() {
            Some(values) => values.iter().map(point).collect(),
            None => vec![point(&one["value"])],
        };
        all.insert(labels, points);
    }
    all
}

pub(super) fn close(found: f64, want: f64) -> bool {
    found == want
        || found.is_nan() && want.is_nan()
        || (found - want).abs() <= 1e-6 * want.abs().max(1e-12)
}

/// With ties, only how many series there are at each time and their values can be compared.
fn values_by_time(points: &BTreeMap<Pairs, Vec<(f64, f64)>>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = points
        .values()
        .flatten()
        .map(|(time, value)| (time.to_bits(), ((value * 1e6).round() / 1e6).to_bits()))
        .collect();
    all.sort_unstable();
    all
}

fn compare_metric(case: &Value, series: &[Series], steps: Steps) -> Result<(), String> {
    if case["resultType"] == "scalar" {
        let value = series.first().map_or(f64::NAN, |one| one.values[0]);
        let want = number(&case["result"][1]);
        return if close(value, want) { Ok(()) } else { Err(format!("{value} is not {want}")) };
    }
    let found = found_points(series, steps);
    let want = wanted_points(&case["result"]);
    if case["tie_sensitive"] == true {
        return if values_by_time(&found) == values_by_time(&want) {
            Ok(())
        } else {
            Err("values differ beyond ties".to_owned())
        };
    }
    for (labels, points) in &want {
        let Some(others) = found.get(labels) else {
            return Err(format!(
                "missing {labels:?}; found {:?}",
                found.keys().take(3).collect::<Vec<_>>()
            ));
        };
        let same = points.len() == others.len()
            && points.iter().zip(others).all(|(a, b)| close(b.0, a.0) && close(b.1, a.1));
        if !same {
            return Err(format!("{labels:?}: {others:?}\n     want {points:?}"));
        }
    }
    match found.keys().find(|labels| !want.contains_key(*labels)) {
        Some(extra) => Err(format!("unexpected {extra:?}")),
        None => Ok(()),
    }
}

fn run_case(case: &Value, logs: &MemoryLogs) -> Result<(), String> {
    let query = case["query"].as_str().unwrap();
    let parsed = parse(query);
    if case["type"] == "parse" {
        return if parsed.is_err() { Ok(()) } else { Err("should be refused".to_owned()) };
    }
    let expr = parsed.map_err(|error| error.to_string())?;
    let budget = budget();
    let limits = model::Limits::default();
    let mut ctx = Context::new(logs, &budget, &limits);
    let steps = if case["type"] == "instant" {
        Steps::instant(nanoseconds(case, ["time", "time_ns"]).ok_or("no time")?)
    } else {
        Steps {
            start: nanoseconds(case, ["start", "start_ns"]).ok_or("no start")?,
            end: nanoseconds(case, ["end", "end_ns"]).ok_or("no end")?,
            step: parse_duration(case["step"].as_str().unwrap_or("60s")).ok_or("no step")?,
        }
    };
    let fails = case.get("error").is_some_and(|error| !error.is_null());
    if let Expr::Log(log) = &expr {
        if case["type"] == "instant" {
            return Ok(());
        }
        let direction =
            if case["direction"] == "forward" { Direction::Forward } else { Direction::Backward };
        let limit = case["limit"].as_u64().unwrap_or(100) as usize;
        let window = LogWindow { start_ns: steps.start, end_ns: steps.end, limit, direction };
        let entries = run_log(log, window, &mut ctx).map_err(|error| error.to_string())?;
        let mut found: BTreeMap<Pairs, Vec<(String, String)>> = BTreeMap::new();
        for entry in entries {
            let labels = entry.labels.merged().into_iter().collect();
            found.entry(labels).or_default().push((entry.time_ns.to_string(), entry.line));
        }
        let mut want: BTreeMap<Pairs, Vec<(String, String)>> = BTreeMap::new();
        for stream in case["result"].as_array().unwrap() {
            let mut values: Vec<(String, String)> = Vec::new();
            for value in stream["values"].as_array().unwrap() {
                values.push((value[0].as_str().unwrap().into(), value[1].as_str().unwrap().into()));
            }
            want.insert(serde_json::from_value(stream["stream"].clone()).unwrap(), values);
        }
        return if found == want { Ok(()) } else { Err(format!("{found:?}\n     want {want:?}")) };
    }
    match run_metric(&expr, steps, &mut ctx) {
        Err(_) if fails => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) if fails => Err("should fail".to_owned()),
        Ok(series) => compare_metric(case, &series, steps),
    }
}

fn shorten(query: &Value, why: String) -> String {
    let why: String = why.chars().take(1500).collect();
    format!("{query}\n     {why}")
}

#[test]
fn engine_cases() {
    let Some(root) = conformance() else { return };
    let logs = streams(&std::fs::read_to_string(root.join("logql/engine/streams.jsonl")).unwrap());
    let mut score = Score::new("engine");
    let text = std::fs::read_to_string(root.join("logql/engine/cases.jsonl")).unwrap();
    for case in json_lines(&text) {
        let outcome = run_case(&case, &logs).map_err(|why| shorten(&case["query"], why));
        score.record(case["id"].as_str().unwrap(), outcome);
    }
    score.settle();
}

#[test]
fn compliance_cases() {
    use std::io::Read as _;
    let Some(root) = conformance() else { return };
    let logs = streams(&std::fs::read_to_string(root.join("logql/engine/streams.jsonl")).unwrap());
    let file = std::fs::File::open(root.join("logql/compliance/expected-range.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut score = Score::new("compliance");
    for case in json_lines(&text) {
        let outcome = run_case(&case, &logs).map_err(|why| shorten(&case["query"], why));
        score.record(case["id"].as_str().unwrap(), outcome);
    }
    score.settle();
}

/// As deep as a query can be, on the stack of a test's thread.
#[test]
fn a_long_chain_is_evaluated() {
    let (logs, budget, limits) = (MemoryLogs::default(), budget(), model::Limits::default());
    let steps = Steps { start: 0, end: 0, step: 1 };
    for chain in [vec!["vector(1)"; 450].join(" + "), vec!["vector(1)"; 90].join(" ^ ")] {
        let expr = parse(&chain).unwrap();
        let mut ctx = Context::new(&logs, &budget, &limits);
        let series = run_metric(&expr, steps, &mut ctx).unwrap();
        let want = if chain.contains('^') { 1.0 } else { 450.0 };
        assert_eq!(series[0].values, [want]);
    }
}
