//! The query list of prometheus/compliance over synthetic data, against recorded answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use model::{Labels, Limits};

use super::super::engine::Question;
use super::super::value::Value;
use super::memory::{MemorySource, budget};
use super::{conformance, engine};
use crate::kernels::{Steps, is_absent};

fn lines(path: &str) -> Option<String> {
    let file = fs::File::open(conformance(path)?).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

fn value(json: &serde_json::Value) -> f64 {
    match json.as_str() {
        Some("stale") => model::stale_nan(),
        Some("NaN") => f64::NAN,
        Some("+Inf") => f64::INFINITY,
        Some("-Inf") => f64::NEG_INFINITY,
        Some(text) => text.parse().unwrap(),
        None => json.as_f64().unwrap(),
    }
}

fn labels(json: &serde_json::Value) -> Labels {
    let pairs = json.as_object().unwrap();
    Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
}

#[test]
fn compliance_queries_give_the_recorded_answers() {
    let (Some(data), Some(expected)) = (
        lines("promql/compliance/demo-data.jsonl.gz"),
        lines("promql/compliance/expected-range.jsonl.gz"),
    ) else {
        return;
    };
    let mut source = MemorySource::default();
    for line in data.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let labels = labels(&row["metric"]);
        let times = row["timestamps"].as_array().unwrap();
        for (time, sample) in times.iter().zip(row["values"].as_array().unwrap()) {
            source.float(&labels, time.as_i64().unwrap(), value(sample));
        }
    }
    let limits = Limits::default();
    let mut total = 0;
    let mut wrong = Vec::new();
    for line in expected.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        total += 1;
        if let Err(why) = check(&source, &limits, &row) {
            wrong.push(format!("{} {}: {why}", row["id"], row["query"]));
        }
    }
    println!("compliance: {} of {total}", total - wrong.len());
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
}

fn check(source: &MemorySource, limits: &Limits, row: &serde_json::Value) -> Result<(), String> {
    let ms = |name: &str| (row[name].as_f64().unwrap() * 1000.0) as i64;
    let steps = Steps { start: ms("start"), end: ms("end"), step: ms("step") };
    let budget = budget();
    let engine = engine(source, &budget, limits, false);
    let text = row["query"].as_str().unwrap();
    let answer = engine.run(Question { text, steps, is_instant: false });
    let should_fail = row["should_fail"].as_bool().unwrap_or(false);
    let answer = match (answer, should_fail) {
        (Err(_), true) => return Ok(()),
        (Ok(_), true) => return Err("should fail".to_owned()),
        (Err(error), false) => return Err(error.to_string()),
        (Ok(answer), false) => answer,
    };
    let mut got: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    let points = |values: &[f64]| -> Vec<(i64, f64)> {
        steps.iter().zip(values.iter().copied()).filter(|(_, v)| !is_absent(*v)).collect()
    };
    match &answer.value {
        Value::Scalar(values) => {
            got.insert(Labels::default(), points(values));
        }
        Value::Vector(rows) => {
            for row in rows {
                got.insert(row.labels.clone(), points(&row.floats));
            }
        }
        _ => return Err("not a matrix".to_owned()),
    }
    let wanted = row["result"].as_array().unwrap();
    if wanted.len() != got.len() {
        return Err(format!("{} series, wanted {}", got.len(), wanted.len()));
    }
    for series in wanted {
        let labels = labels(&series["metric"]);
        let Some(points) = got.get(&labels) else { return Err(format!("{labels:?} is missing")) };
        let wanted = series["values"].as_array().unwrap();
        if points.len() != wanted.len() {
            return Err(format!("{labels:?}: {} points, wanted {}", points.len(), wanted.len()));
        }
        for ((time, got), wanted) in points.iter().zip(wanted) {
            let at = (wanted[0].as_f64().unwrap() * 1000.0).round() as i64;
            let number = value(&wanted[1]);
            let close = got == &number
                || (got.is_nan() && number.is_nan())
                || (got - number).abs() <= 1e-5 * got.abs().max(number.abs());
            if at != *time || !close {
                return Err(format!("{labels:?} at {time}: {got}, wanted {number} at {at}"));
            }
        }
    }
    Ok(())
}
