//! What no query may do, whatever its text: panic, or need more than the stack.

use proptest::prelude::*;

use super::super::engine::Question;
use super::super::parse::parse;
use super::engine;
use super::memory::{MemorySource, budget};
use crate::kernels::Steps;
use crate::limits::ParseLimits;
use crate::promql::format;

fn limits() -> ParseLimits {
    ParseLimits::of(&model::Limits::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_text_parses_or_fails(text in "\\PC{0,60}") {
        let _either = parse(&text, limits());
    }

    #[test]
    fn what_looks_like_a_query_parses_or_fails_and_prints_as_one(
        words in prop::collection::vec(prop::sample::select(vec![
            "sum", "by", "(", ")", "a", "{", "}", "b=\"c\"", ",", "[5m]", "[", "]", "5m", ":", "+",
            "-", "^", "==", "bool", "on", "(x)", "group_left", "offset", "@", "1", "0x", "start()",
            "rate", "\"s\"", "and", "Inf", "'\\x'", "é", "fill(1)", "anchored", "step()",
        ]), 0..14),
    ) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text, limits()) {
            let printed = format(&expr);
            let again = parse(&printed, limits());
            prop_assert!(again.is_ok(), "{text:?} prints as {printed:?}: {again:?}");
        }
    }
}

#[test]
fn nesting_has_a_limit() {
    let deep = format!("{}1{}", "(".repeat(200), ")".repeat(200));
    assert!(parse(&deep, limits()).unwrap_err().message.contains("nested too deeply"));
    let chain = vec!["a"; 2000].join(" + ");
    assert!(parse(&chain, limits()).unwrap_err().message.contains("nested too deeply"));
    assert!(parse(&"-".repeat(60_000), limits()).is_err());
    let lengths = format!("a[{}1{}]", "(".repeat(5000), ")".repeat(5000));
    assert!(parse(&lengths, limits()).is_err());
    let long = "a".repeat(70_000);
    assert!(parse(&long, limits()).unwrap_err().message.contains("max_expr_bytes"));
}

#[test]
fn rows_in_memory_count_against_the_budget() {
    let (source, limits) = (MemorySource::default(), model::Limits::default());
    let budget = storage::Budget::new(std::sync::Arc::new(super::memory::StillClock), 1, 1000);
    let steps = Steps { start: 0, end: 5000, step: 1 };
    let outcome = engine(&source, &budget, &limits, false).run(Question {
        text: "vector(1)",
        steps,
        is_instant: false,
    });
    assert_eq!(outcome.unwrap_err().kind(), "execution");
}

#[test]
fn a_long_chain_is_evaluated_on_a_small_stack() {
    let (source, budget, limits) = (MemorySource::default(), budget(), model::Limits::default());
    let text = vec!["vector(1)"; 400].join(" + ");
    let steps = Steps::instant(0);
    let answer = engine(&source, &budget, &limits, false)
        .run(Question { text: &text, steps, is_instant: true })
        .unwrap();
    assert!(format!("{:?}", answer.value).contains("400.0"));
}
