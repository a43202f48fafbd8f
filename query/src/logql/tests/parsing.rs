//! The parse corpus and the small languages inside LogQL.

use serde_json::Value;

use super::super::ast::Expr;
use super::super::format::line;
use super::super::labels::sanitize_into;
use super::super::number::parse_duration;
use super::super::stage::{PathStep, Pattern, parse_field, parse_path};
use super::{Score, conformance, json_lines, parse};

fn check(case: &Value) -> Result<(), String> {
    let query = case["query"].as_str().unwrap();
    match (parse(query), case["valid"].as_bool().unwrap()) {
        (Ok(_), false) => Err(format!("{query} should be refused: {}", case["error"])),
        (Err(error), true) => Err(format!("{query} refused: {error}")),
        (Err(_), false) => Ok(()),
        (Ok(expr), true) => {
            let kind = if expr.is_log() { "logs" } else { "metric" };
            if case["kind"] != kind {
                return Err(format!("{query} is {kind}, not {}", case["kind"]));
            }
            Ok(())
        }
    }
}

#[test]
fn queries_are_read_or_refused_as_loki_does() {
    let Some(root) = conformance() else { return };
    let mut score = Score::new("parse");
    for (at, case) in
        json_lines(&std::fs::read_to_string(root.join("logql/parse/queries.jsonl")).unwrap())
            .iter()
            .enumerate()
    {
        score.record(format!("{at:04}"), check(case));
    }
    score.settle();
}

#[test]
fn canonical_text_is_lokis() {
    let Some(root) = conformance() else { return };
    let mut score = Score::new("canonical");
    for (at, case) in
        json_lines(&std::fs::read_to_string(root.join("logql/parse/queries.jsonl")).unwrap())
            .iter()
            .enumerate()
    {
        let (Some(want), Ok(expr)) =
            (case["canonical"].as_str(), parse(case["query"].as_str().unwrap()))
        else {
            continue;
        };
        let found = line(&expr);
        let outcome = if found == want { Ok(()) } else { Err(format!("{found}\n     {want}")) };
        score.record(format!("{at:04}"), outcome);
    }
    score.settle();
}

#[test]
fn expanded_queries_are_read() {
    let Some(root) = conformance() else { return };
    let mut score = Score::new("expanded");
    let text =
        std::fs::read_to_string(root.join("logql/compliance/expanded-queries.jsonl")).unwrap();
    for (at, case) in json_lines(&text).iter().enumerate() {
        let query = case["query"].as_str().unwrap();
        let refused = case["should_fail"].as_bool().unwrap_or(false)
            || case["valid"].as_bool() == Some(false);
        let outcome = match (parse(query), refused) {
            (Err(error), false) => Err(format!("{query}: {error}")),
            _ => Ok(()),
        };
        score.record(format!("{at:04}"), outcome);
    }
    score.settle();
}

fn sublanguage(case: &Value) -> Result<(), String> {
    let expression = case["expression"].as_str().unwrap();
    let same = |found: Value, want: &Value| {
        if found == *want { Ok(()) } else { Err(format!("{expression}: {found} is not {want}")) }
    };
    let validity = |found: bool| match case["valid"].as_bool() {
        Some(want) => same(Value::Bool(found), &Value::Bool(want)),
        None => Ok(()),
    };
    match case["sublanguage"].as_str().unwrap() {
        "json-path" => {
            let path = parse_path(expression);
            validity(path.is_ok())?;
            let Ok(path) = path else { return Ok(()) };
            let steps = path.into_iter().map(|step| match step {
                PathStep::Key(key) => Value::from(key),
                PathStep::Index(index) => Value::from(index),
            });
            same(steps.collect(), &case["path"])
        }
        "logfmt-field" => validity(parse_field(expression).is_ok()),
        "pattern" => {
            let pattern = Pattern::parse(expression);
            validity(pattern.is_ok())?;
            let (Ok(pattern), Some(line)) = (pattern, case["line"].as_str()) else { return Ok(()) };
            let mut captures = Vec::new();
            pattern.captures(line, |_, value| captures.push(Value::from(value)));
            same(Value::from(captures), &case["captures"])
        }
        "pattern-line-filter" => validity(Pattern::parse_filter(expression).is_ok()),
        "duration" if case["nanoseconds"].is_i64() => {
            same(Value::from(parse_duration(expression)), &case["nanoseconds"])
        }
        "label-key-sanitise" => {
            let mut name = String::new();
            sanitize_into(expression, true, &mut name);
            same(Value::from(name), &case["result"])
        }
        _ => Ok(()),
    }
}

#[test]
fn small_languages() {
    let Some(root) = conformance() else { return };
    let mut score = Score::new("sublanguages");
    let text = std::fs::read_to_string(root.join("logql/parse/sublanguages.jsonl")).unwrap();
    for (at, case) in json_lines(&text).iter().enumerate() {
        score.record(format!("{at:04}"), sublanguage(case));
    }
    score.settle();
}

#[test]
fn errors_say_where() {
    let check = |query: &str, want: &str| {
        assert_eq!(parse(query).unwrap_err().to_string(), want);
    };
    check(
        "{foo=\"bar\"",
        "parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,",
    );
    check("{foo=\"bar}", "parse error at line 1, col 6: literal not terminated");
    check(
        "vector(abc)",
        "parse error at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    );
}

#[test]
fn keywords_have_no_case() {
    let query = "{a=\"b\"} | x=\"1\" OR y=\"2\" AND z=\"3\"";
    let Expr::Log(log) = parse(query).unwrap() else { unreachable!() };
    assert_eq!(log.stages.len(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is typed, reading it ends in a tree or an error.
    #[test]
    fn any_text_is_survived(text in "[{}()\\[\\]|=~!<>\"`a-z0-9., \\\\-]{0,60}") {
        let _outcome = parse(&text);
        let _outcome = parse(&format!("{{a=\"b\"}} {text}"));
    }
}
