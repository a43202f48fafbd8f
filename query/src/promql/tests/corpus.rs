//! The corpus of queries that parse, that do not, and how they print.

use std::fs;

use super::super::format::format;
use super::super::parse::parse;
use super::conformance;
use crate::limits::ParseLimits;

/// Strings that are no UTF-8 are not kept byte for byte.
const NOT_YET: [&str; 1] = ["count_values(\"wrong label!\\xff\", metric)"];

#[test]
fn the_corpus_parses_and_prints_as_in_prometheus() {
    let Some(path) = conformance("promql/parse/queries.jsonl") else { return };
    let limits = ParseLimits::of(&model::Limits {
        expression_bytes_max: 1 << 20,
        expression_depth_max: 400,
        ..model::Limits::default()
    });
    let (mut total, mut texts) = (0, 0);
    let mut wrong = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let query = row["query"].as_str().unwrap();
        total += 1;
        if NOT_YET.contains(&query) {
            continue;
        }
        match (parse(query, limits), row["valid"].as_bool().unwrap()) {
            (Ok(expr), true) => {
                let canonical = row["canonical"].as_str().unwrap();
                let printed = format(&expr);
                if printed != canonical {
                    wrong.push(format!("{query:?}\n  printed {printed}\n  wanted  {canonical}"));
                }
            }
            (Err(error), false) => {
                let rendered = error.render(query);
                texts += usize::from(Some(rendered.as_str()) == row["error"].as_str());
            }
            (Ok(_), false) => wrong.push(format!("{query:?} parses; wanted {}", row["error"])),
            (Err(error), true) => wrong.push(format!("{query:?}: {}", error.render(query))),
        }
    }
    println!(
        "parse corpus: {} of {total}; {texts} errors word for word",
        total - wrong.len() - NOT_YET.len()
    );
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
}
