//! Runs Loki's own scripts (`.logqltest`).

use std::collections::BTreeMap;

use super::super::ast::Expr;
use super::super::exec::{Context, Series, run_metric};
use super::super::number::parse_duration;
use super::engine::close;
use super::memory::{MemoryLogs, budget};
use super::{Score, conformance, parse};
use crate::kernels::{Steps, is_absent};

type Pairs = BTreeMap<String, String>;

struct Eval {
    name: String,
    instant: bool,
    steps: Steps,
    query: String,
    expectations: Vec<String>,
}

/// Cuts a comment off, except inside quotes.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return &line[..at],
            (None, '"' | '`') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    line
}

/// `k="v"` pairs with quotes undone by cutting them.
fn pairs(text: &str) -> Pairs {
    let mut pairs = Pairs::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let mut after = after.trim_start();
        let quote = after.chars().next().unwrap();
        after = &after[1..];
        let end = after.find(quote).unwrap();
        pairs
            .insert(name.trim().trim_start_matches(',').trim().to_owned(), after[..end].to_owned());
        rest = after[end + 1..].trim_start().trim_start_matches(',').trim_start();
    }
    pairs
}

/// The labels in `{..}` at the front, and what follows.
fn labels(text: &str) -> (Pairs, &str) {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return (pairs(&text[1..at]), &text[at + 1..]),
            (None, '"' | '`') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    (Pairs::new(), "")
}

fn duration(text: &str) -> i64 {
    parse_duration(text).unwrap_or_else(|| unreachable!("not a duration: {text:?}"))
}

/// The text between `open` and the next bracket.
fn bracket<'a>(text: &'a str, open: &str) -> Option<&'a str> {
    let inside = text.split_once(open)?.1;
    let mut quote = None;
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(&inside[..at]),
            (None, '"' | '`') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn load(line: &str, logs: &mut MemoryLogs) {
    let (labels, rest) = labels(line);
    let rest = rest.trim();
    let quote = rest.chars().next().unwrap();
    let end = 1 + rest[1..].find(quote).unwrap();
    // A line may hold the quote that surrounds it: it ends at the one before ` @ `.
    let end = rest.rfind(&format!("{quote} @")).map_or(end, |at| at.max(end));
    let text = &rest[1..end];
    let rest = rest[end + 1..].trim().trim_start_matches('@').trim();
    let start = duration(rest.split_whitespace().next().unwrap());
    let (mut step, mut count) = (0, 1);
    if let Some(repeat) = bracket(rest, "[repeat every ") {
        let (every, times) = repeat.split_once(" for ").unwrap();
        step = duration(every.trim());
        count = times.trim().parse().unwrap();
    }
    let metadata: Vec<(String, String)> =
        bracket(rest, "[metadata ").map(pairs).unwrap_or_default().into_iter().collect();
    for at in 0..count {
        let text = text.replace("{{.i}}", &at.to_string());
        logs.push(&labels, start + step * at, &text, &metadata);
    }
}

fn eval(name: String, line: &str) -> Eval {
    let rest = line.strip_prefix("eval ").unwrap();
    let mut words = rest.splitn(4, ' ');
    let kind = words.next().unwrap();
    if kind == "instant" {
        let (_at, time, query) = (words.next(), words.next().unwrap(), words.next().unwrap());
        let steps = Steps::instant(duration(time));
        return Eval { name, instant: true, steps, query: query.into(), expectations: Vec::new() };
    }
    let mut words = rest.splitn(8, ' ');
    let word = |words: &mut std::str::SplitN<'_, char>| words.nth(1).unwrap().to_owned();
    let start = duration(&{
        words.next();
        word(&mut words)
    });
    let end = duration(&word(&mut words));
    let step = duration(&word(&mut words));
    let query = words.next().unwrap().to_owned();
    Eval {
        name,
        instant: false,
        steps: Steps { start, end, step },
        query,
        expectations: Vec::new(),
    }
}

/// One value a step, `_` where there is none.
fn values(text: &str) -> Vec<Option<f64>> {
    let number = |text: &str| -> f64 { text.replace("Inf", "inf").parse().unwrap() };
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        if word == "_" {
            out.push(None);
            continue;
        }
        if let Some(count) = word.strip_prefix("_x") {
            out.extend(std::iter::repeat_n(None, count.parse().unwrap()));
            continue;
        }
        let Some((head, count)) = word.split_once('x') else {
            out.push(Some(number(word)));
            continue;
        };
        let sign = head
            .char_indices()
            .skip(1)
            .filter(|(at, c)| matches!(c, '+' | '-') && !head[..*at].ends_with(['e', 'E']));
        let (start, change) = match sign.last() {
            Some((at, _)) => (number(&head[..at]), number(&head[at..])),
            None => (number(head), 0.0),
        };
        let count: usize = count.parse().unwrap();
        out.extend((0..=count).map(|at| Some(start + change * at as f64)));
    }
    out
}

fn verdict(eval: &Eval, logs: &MemoryLogs) -> Result<(), String> {
    let outcome = parse(&eval.query).and_then(|expr| {
        let budget = budget();
        let limits = model::Limits::default();
        let mut ctx = Context::new(logs, &budget, &limits);
        run_metric(&expr, eval.steps, &mut ctx).map(|series| (expr, series))
    });
    let mut ordered = false;
    let mut want: Vec<(Pairs, Vec<Option<f64>>)> = Vec::new();
    for line in &eval.expectations {
        if line.starts_with("expect fail") {
            return match outcome {
                Err(_) => Ok(()),
                Ok(_) => Err(format!("should fail: {line}")),
            };
        }
        if line == "expect empty" || line.starts_with("skip ") {
            continue;
        }
        if line == "expect ordered" {
            ordered = true;
        } else if line.starts_with('{') {
            let (labels, rest) = labels(line);
            want.push((labels, values(rest)));
        } else {
            want.push((Pairs::new(), values(line)));
        }
    }
    let (expr, series) = outcome.map_err(|error| error.to_string())?;
    let is_scalar = matches!(expr, Expr::Literal(_));
    same(eval, &series, &want, ordered, is_scalar)
}

fn same(
    eval: &Eval,
    series: &[Series],
    want: &[(Pairs, Vec<Option<f64>>)],
    ordered: bool,
    is_scalar: bool,
) -> Result<(), String> {
    let found: Vec<(Pairs, Vec<Option<f64>>)> = series
        .iter()
        .map(|one| {
            let values = one.values.iter().map(|value| (!is_absent(*value)).then_some(*value));
            (one.labels.iter().cloned().collect(), values.collect())
        })
        .collect();
    let differs = || Err(format!("found {found:?}\n     want  {want:?}"));
    if found.len() != want.len() {
        return differs();
    }
    for (at, (labels, values)) in want.iter().enumerate() {
        let other = if ordered { found.get(at) } else { found.iter().find(|(l, _)| l == labels) };
        let Some((other_labels, others)) = other else { return differs() };
        // A bare number of a range query stands for every step.
        let values: Vec<Option<f64>> = if is_scalar && values.len() == 1 && !eval.instant {
            vec![values[0]; others.len()]
        } else {
            values.clone()
        };
        let equal = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => close(*b, *a),
            (None, None) => true,
            _ => false,
        };
        if other_labels != labels
            || others.len() != values.len()
            || !values.iter().zip(others).all(equal)
        {
            return differs();
        }
    }
    Ok(())
}

fn run_file(file: &str, text: &str, score: &mut Score) {
    let mut logs = MemoryLogs::default();
    let mut loading = false;
    let mut open: Option<Eval> = None;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let line = uncommented(line).trim_end();
        let indented = line.starts_with([' ', '\t']);
        if !indented {
            if let Some(eval) = open.take() {
                let outcome = verdict(&eval, &logs).map_err(|why| {
                    let why: String = why.chars().take(1200).collect();
                    format!("{}\n     {why}", eval.query)
                });
                score.record(eval.name, outcome);
            }
            loading = false;
        }
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        match (indented, content) {
            (false, "clear") => logs = MemoryLogs::default(),
            (false, "load") => loading = true,
            (false, content) if content.starts_with("eval ") => {
                open = Some(eval(format!("{file}:{}", at + 1), content));
            }
            (true, content) if loading => load(content, &mut logs),
            (true, content) => {
                if let Some(eval) = &mut open {
                    eval.expectations.push(content.to_owned());
                }
            }
            _ => {}
        }
    }
    if let Some(eval) = open {
        score.record(eval.name.clone(), verdict(&eval, &logs));
    }
}

#[test]
fn lokis_scripts() {
    let Some(root) = conformance() else { return };
    let mut score = Score::new("script");
    let mut files: Vec<_> = std::fs::read_dir(root.join("logql/upstream-agpl"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "logqltest"))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        run_file(name, &std::fs::read_to_string(&file).unwrap(), &mut score);
    }
    score.settle();
}
