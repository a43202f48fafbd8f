//! One record through one pipeline, and one record to one sample.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ast::{Expr, RangeAggregation};
use super::super::labels::{Hints, LabelSet};
use super::super::pipeline::{Extractor, Pipeline, working_set};
use super::super::stage::Line;
use super::{Score, conformance, json_lines, limits, parse};

type Pairs = BTreeMap<String, String>;

fn pairs(value: &Value) -> Pairs {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

fn record(case: &Value, hints: Hints) -> (LabelSet, Line<'_>) {
    let labels = pairs(&case["labels"]);
    // Stream labels with empty values exist in some of the cases.
    let mut bytes = Vec::new();
    for (name, value) in &labels {
        for part in [name, value] {
            model::wire::put_varint(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    let mut set = working_set(&model::Labels::from_canonical(bytes.into()), hints);
    for (name, value) in pairs(&case["structured_metadata"]) {
        set.add_metadata(&name, &value);
    }
    let time_ns = case["ts_ns"].as_str().unwrap().parse().unwrap();
    (set, Line { time_ns, text: case["line"].as_str().unwrap().into() })
}

fn same_labels(found: &Pairs, want: &Value) -> Result<(), String> {
    let mut found = found.clone();
    let mut want = pairs(want);
    if let (Some(_), Some(_)) = (found.get("__error_details__"), want.get("__error_details__")) {
        found.remove("__error_details__");
        want.remove("__error_details__");
    }
    if found == want { Ok(()) } else { Err(format!("labels {found:?}\n     want   {want:?}")) }
}

fn all_labels(set: &mut LabelSet) -> Pairs {
    set.labels().map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect()
}

fn categories(set: &mut LabelSet, category: super::super::labels::Category) -> Pairs {
    set.labels()
        .filter(|(_, _, found)| *found == category)
        .map(|(name, value, _)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn pipeline_case(case: &Value) -> Result<(), String> {
    use super::super::labels::Category;
    let query = case["query"].as_str().unwrap();
    let expr = parse(query).map_err(|error| format!("{query}: {error}"))?;
    let Expr::Log(log) = expr else { return Err(format!("{query} is no log query")) };
    let pipeline =
        Pipeline::build(&log.stages, limits().regex).map_err(|error| error.to_string())?;
    let (mut set, mut line) = record(case, Hints::default());
    let keep = pipeline.process(&mut line, &mut set);
    let expect = &case["expect"];
    let context = |why: String| format!("{query}\n     {:?}\n     {why}", case["line"]);
    if expect["keep"] != keep {
        return Err(context(format!("keep is {keep}")));
    }
    if !keep {
        return Ok(());
    }
    if expect["line"].as_str() != Some(&*line.text) {
        return Err(context(format!("line is {:?}\n     want    {}", line.text, expect["line"])));
    }
    same_labels(&all_labels(&mut set), &expect["labels"]).map_err(context)?;
    for (name, category) in [
        ("stream", Category::Stream),
        ("structured_metadata", Category::Metadata),
        ("parsed", Category::Parsed),
    ] {
        same_labels(&categories(&mut set, category), &expect["categorised"][name])
            .map_err(|why| context(format!("{name}: {why}")))?;
    }
    Ok(())
}

fn range_of(expr: &Expr) -> Option<(&RangeAggregation, Option<&super::super::ast::Grouping>)> {
    match expr {
        Expr::Range(range) => Some((range, None)),
        Expr::Vector(vector) => {
            let (range, inner) = range_of(&vector.inner)?;
            let pushed = vector.op == super::super::ast::VectorOp::Sum && range.grouping.is_none();
            Some((range, if pushed { Some(&vector.grouping) } else { inner }))
        }
        Expr::Binary(binary) => range_of(&binary.lhs).or_else(|| range_of(&binary.rhs)),
        Expr::LabelReplace(replace) => range_of(&replace.inner),
        _ => None,
    }
}

fn sample_case(case: &Value) -> Result<(), String> {
    let query = case["query"].as_str().unwrap();
    let expr = parse(query).map_err(|error| format!("{query}: {error}"))?;
    let (range, outer) = range_of(&expr).ok_or("no range aggregation")?;
    let extractor = Extractor::build(range, outer, &range.log.stages, limits().regex)
        .map_err(|e| e.to_string())?;
    let (mut set, mut line) = record(case, extractor.hints.clone());
    let sample = extractor.extract(&mut line, &mut set);
    let expect = &case["expect"];
    let context = |why: String| format!("{query}\n     {:?}\n     {why}", case["line"]);
    if expect["keep"] != sample.is_some() {
        return Err(context(format!("keep is {}", sample.is_some())));
    }
    let Some(sample) = sample else { return Ok(()) };
    let want: f64 = match &expect["value"] {
        Value::String(text) => text.replace("Inf", "inf").parse().unwrap(),
        value => value.as_f64().unwrap(),
    };
    if !(sample == want
        || (sample - want).abs() <= 1e-6 * want.abs()
        || sample.is_nan() && want.is_nan())
    {
        return Err(context(format!("value is {sample}, not {want}")));
    }
    let mut labels: Pairs =
        super::super::labels::key_labels(extractor.key(&mut set)).into_iter().collect();
    let mut want = expect["labels"].clone();
    if let Some(want) = want.as_object_mut() {
        want.remove("__preserve_error__");
    }
    labels.remove("__preserve_error__");
    same_labels(&labels, &want).map_err(context)
}

fn run(corpus: &'static str, files: &[&str], check: fn(&Value) -> Result<(), String>) {
    let Some(root) = conformance() else { return };
    let mut score = Score::new(corpus);
    for file in files {
        let text = std::fs::read_to_string(root.join("logql").join(file)).unwrap();
        for case in json_lines(&text) {
            score.record(case["id"].as_str().unwrap(), check(&case));
        }
    }
    score.settle();
}

#[test]
fn pipelines_do_what_lokis_do() {
    run("pipeline", &["pipeline-cases.jsonl", "pipeline-cases-own.jsonl"], pipeline_case);
}

#[test]
fn samples_are_lokis() {
    run(
        "samples",
        &["sample-extraction-cases.jsonl", "sample-extraction-cases-own.jsonl"],
        sample_case,
    );
}
