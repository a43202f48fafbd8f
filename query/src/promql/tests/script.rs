//! Runs Prometheus' `.test` scripts. What does not pass yet stands by name in
//! `query/testdata/promql-not-yet.txt`, which may only shrink.
//! Source: the language is described in the conformance data's README.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Histogram, Labels, Limits};
use regex_automata::meta::Regex;

use super::super::engine::{Answer, Question};
use super::super::error::QueryError;
use super::super::histogram;
use super::super::text::{number, unquote};
use super::super::value::{Cell, Row, Value};
use super::memory::{MemorySource, budget};
use super::notation::{Item, items, labels, series, split, start_timestamps};
use super::{conformance, engine};
use crate::http::params::duration_text_ns;
use crate::kernels::Steps;

#[test]
#[expect(clippy::disallowed_methods, reason = "further scripts are named by the environment")]
fn upstream_scripts_give_their_answers() {
    let mut folders: Vec<PathBuf> = conformance("promql/upstream-tests").into_iter().collect();
    if let Ok(more) = std::env::var("PROMQLTEST_DIRS") {
        folders.extend(more.split(':').map(PathBuf::from));
    }
    if folders.is_empty() {
        return;
    }
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/promql-not-yet.txt");
    let text = fs::read_to_string(&list).unwrap_or_default();
    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut outcomes: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for folder in &folders {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            Script::run(&name, &fs::read_to_string(&file).unwrap(), &mut outcomes);
        }
    }
    let mut wrong = Vec::new();
    let mut by_file: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, outcome) in &outcomes {
        let tally = by_file.entry(name.split(':').next().unwrap()).or_default();
        tally.1 += 1;
        tally.0 += usize::from(outcome.is_ok());
        match (outcome, known.contains(name.as_str())) {
            (Err(why), false) => wrong.push(format!("{name}\n    {why}")),
            (Ok(()), true) => wrong.push(format!("{name} passes now: take it off the list")),
            _ => {}
        }
    }
    for (file, (passed, total)) in &by_file {
        println!("{file}: {passed} of {total}");
    }
    let passed = outcomes.values().filter(|outcome| outcome.is_ok()).count();
    println!("{passed} of {} evaluations; {} listed as not yet", outcomes.len(), known.len());
    assert!(wrong.is_empty(), "{}\n{} problems", wrong.join("\n"), wrong.len());
}

struct Script<'o> {
    name: &'o str,
    source: MemorySource,
    outcomes: &'o mut BTreeMap<String, Result<(), String>>,
}

impl Script<'_> {
    fn run(name: &str, text: &str, outcomes: &mut BTreeMap<String, Result<(), String>>) {
        let mut script = Script { name, source: MemorySource::default(), outcomes };
        let lines: Vec<&str> = text
            .lines()
            .map(|line| if line.trim().starts_with('#') { "" } else { line.trim() })
            .collect();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let end = (at + 1..lines.len()).find(|&i| lines[i].is_empty()).unwrap_or(lines.len());
            let lower = line.to_lowercase();
            if line.is_empty() {
                at += 1;
            } else if lower == "clear" {
                script.source = MemorySource::default();
                at += 1;
            } else if lower.starts_with("load") {
                script.load(line, &lines[at + 1..end]);
                at = end;
            } else {
                let outcome = script.eval(line, &lines[at + 1..end]);
                script.outcomes.insert(format!("{}:{}", script.name, at + 1), outcome);
                at = end;
            }
        }
    }

    fn load(&mut self, line: &str, block: &[&str]) {
        let with_nhcb = line.starts_with("load_with_nhcb");
        let interval = duration(line.split_whitespace().nth(1).unwrap()).unwrap();
        let mut loaded: Vec<(Labels, Vec<Item>)> = Vec::new();
        let mut starts: BTreeMap<usize, Vec<Option<i64>>> = BTreeMap::new();
        for line in block {
            let told = |why| format!("{}: {line}: {why}", self.name);
            match start_timestamps(line) {
                Some(offsets) => {
                    starts.insert(loaded.len(), offsets.map_err(told).unwrap());
                }
                None => loaded.push(series(line).map_err(told).unwrap()),
            }
        }
        if with_nhcb {
            let made = super::notation_nhcb::assemble(&loaded);
            loaded.extend(made);
        }
        for (nth, (labels, items)) in loaded.into_iter().enumerate() {
            let offsets = starts.remove(&nth).unwrap_or_default();
            for (index, item) in items.into_iter().enumerate() {
                let time = index as i64 * interval;
                let offset = offsets.get(index).copied().flatten();
                let start = offset.map_or(0, |offset| time + offset);
                match item {
                    Item::Gap => {}
                    Item::Float(value) => self.source.float_since(&labels, time, value, start),
                    Item::Stale => self.source.float(&labels, time, model::stale_nan()),
                    Item::Histogram(histogram) => {
                        self.source.histogram(&labels, time, &histogram, start);
                    }
                }
            }
        }
    }

    fn eval(&self, line: &str, block: &[&str]) -> Result<(), String> {
        let (query, steps, is_instant, suffix) = head(line)?;
        let wanted = Wanted::read(block, suffix)?;
        let limits = Limits::default();
        let budget = budget();
        let engine = engine(&self.source, &budget, &limits, true);
        let question = Question { text: &query, steps, is_instant };
        let answer = engine.run(question);
        wanted.check(&answer, question)
    }
}

/// Units: ms.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    if let Ok(seconds) = digits.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as i64);
    }
    duration_text_ns(digits).map(|ns| sign * ns / 1_000_000).ok_or(format!("duration {text:?}"))
}

/// Query, moments, whether it is instant, and the old suffix.
fn head(line: &str) -> Result<(String, Steps, bool, &str), String> {
    let (verb, rest) = line.split_once(char::is_whitespace).ok_or("short line")?;
    let suffix = verb.strip_prefix("eval").ok_or_else(|| format!("unknown verb {verb}"))?;
    let suffix = suffix.trim_start_matches('_');
    let mut rest = rest.trim_start();
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        word.to_owned()
    };
    let kind = word();
    if kind == "instant" {
        word();
        let time = duration(&word())?;
        return Ok((rest.to_owned(), Steps::instant(time), true, suffix));
    }
    word();
    let start = duration(&word())?;
    word();
    let end = duration(&word())?;
    word();
    let step = duration(&word())?;
    Ok((rest.to_owned(), Steps { start, end, step }, false, suffix))
}

/// What is expected of a level of notes or of the failure.
#[derive(Default)]
struct Texts {
    expected: bool,
    forbidden: bool,
    exact: Vec<String>,
    patterns: Vec<Regex>,
}

impl Texts {
    fn matches(&self, text: &str) -> bool {
        if self.exact.is_empty() && self.patterns.is_empty() {
            return true;
        }
        self.exact.iter().any(|wanted| wanted == text)
            || self.patterns.iter().any(|pattern| pattern.is_match(text))
    }

    fn check(&self, what: &str, got: &[String]) -> Result<(), String> {
        if self.forbidden && !got.is_empty() {
            return Err(format!("unexpected {what}: {got:?}"));
        }
        if !self.expected {
            return Ok(());
        }
        if got.is_empty() {
            return Err(format!("no {what}"));
        }
        if let Some(other) = got.iter().find(|text| !self.matches(text)) {
            return Err(format!("another {what}: {other}, wanted {:?}", self.exact));
        }
        for wanted in &self.exact {
            if !got.contains(wanted) {
                return Err(format!("{what} missing: {wanted}"));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Wanted {
    fail: Texts,
    warn: Texts,
    info: Texts,
    ordered: bool,
    text: Option<String>,
    scalar: Option<f64>,
    matrix: Option<Steps>,
    series: Vec<(Labels, Vec<Item>)>,
}

impl Wanted {
    fn read(block: &[&str], suffix: &str) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        match suffix {
            "fail" => wanted.fail.expected = true,
            "warn" => wanted.warn.expected = true,
            "info" => wanted.info.expected = true,
            "ordered" => wanted.ordered = true,
            _ => {}
        }
        for line in block {
            if let Some(rest) = line.strip_prefix("expect ") {
                wanted.expect(rest.trim())?;
            } else if let Some(text) = line.strip_prefix("expected_fail_message ") {
                wanted.fail.exact.push(text.trim().to_owned());
            } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
                wanted.fail.patterns.push(Regex::new(text.trim()).map_err(|e| e.to_string())?);
            } else if let Some(value) = plain_number(line) {
                wanted.scalar = Some(value);
            } else {
                let (metric, values) = split(line);
                wanted.series.push((labels(metric)?, items(values)?));
            }
        }
        Ok(wanted)
    }

    fn expect(&mut self, rest: &str) -> Result<(), String> {
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (word, rest) = match word.split_once(':') {
            Some((word, _)) => (word, rest),
            None => (word, rest.trim()),
        };
        let texts = match word {
            "ordered" => {
                self.ordered = true;
                return Ok(());
            }
            "string" => {
                self.text = Some(unquote(rest, 0).map_err(|error| error.message)?);
                return Ok(());
            }
            "range" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                self.matrix = Some(Steps {
                    start: duration(words[2])?,
                    end: duration(words[4])?,
                    step: duration(words[6])?,
                });
                return Ok(());
            }
            "no_warn" => {
                self.warn.forbidden = true;
                return Ok(());
            }
            "no_info" => {
                self.info.forbidden = true;
                return Ok(());
            }
            "fail" => &mut self.fail,
            "warn" => &mut self.warn,
            "info" => &mut self.info,
            other => return Err(format!("unknown expectation {other}")),
        };
        texts.expected = true;
        if let Some(text) = rest.strip_prefix("msg:") {
            texts.exact.push(text.trim().to_owned());
        } else if let Some(pattern) = rest.strip_prefix("regex:") {
            texts.patterns.push(Regex::new(pattern.trim()).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn check(
        &self,
        answer: &Result<Answer, QueryError>,
        question: Question<'_>,
    ) -> Result<(), String> {
        let answer = match answer {
            Err(error) if self.fail.expected => {
                let text = error.to_string();
                return if self.fail.matches(&text) {
                    Ok(())
                } else {
                    Err(format!("another failure: {text}, wanted {:?}", self.fail.exact))
                };
            }
            Err(error) => return Err(format!("failed: {error}")),
            Ok(_) if self.fail.expected => return Err("did not fail".to_owned()),
            Ok(answer) => answer,
        };
        self.warn.check("warning", &answer.warnings)?;
        self.info.check("info", &answer.infos)?;
        match &answer.value {
            Value::Text(text) => match &self.text {
                Some(wanted) if wanted == text => Ok(()),
                other => Err(format!("string {text:?}, wanted {other:?}")),
            },
            Value::Scalar(values) => match (self.scalar, self.series.first()) {
                (Some(wanted), _) if close(wanted, values[0]) => Ok(()),
                (None, Some((_, items))) => {
                    self.row(&Row::of(Labels::default(), values.clone()), items)
                }
                _ => Err(format!("scalar {values:?}, wanted {:?}", self.scalar)),
            },
            Value::Vector(rows) => self.rows(rows, question),
            Value::Matrix(series) => {
                let steps = self.matrix.ok_or("a range vector was not wanted")?;
                let mut rows = Vec::new();
                for points in series {
                    let mut row = Row::absent(points.labels.clone(), steps.count());
                    for (&time, &value) in points.times.iter().zip(&points.values) {
                        row.set(place(steps, time)?, Some(Cell::Float(value)));
                    }
                    for (time, h) in &points.histograms {
                        row.set(place(steps, *time)?, Some(Cell::Histogram(Arc::clone(h))));
                    }
                    rows.push(row);
                }
                self.rows(&rows, question)
            }
        }
    }

    fn rows(&self, rows: &[Row], question: Question<'_>) -> Result<(), String> {
        if rows.len() != self.series.len() {
            let got: Vec<&Labels> = rows.iter().map(|row| &row.labels).collect();
            return Err(format!("{} series, wanted {}: {got:?}", rows.len(), self.series.len()));
        }
        if self.ordered && question.is_instant {
            for (row, (labels, _)) in rows.iter().zip(&self.series) {
                if row.labels != *labels {
                    return Err(format!("{:?} where {labels:?} should be", row.labels));
                }
            }
        }
        for (labels, items) in &self.series {
            let Some(row) = rows.iter().find(|row| row.labels == *labels) else {
                let got: Vec<&Labels> = rows.iter().map(|row| &row.labels).collect();
                return Err(format!("{labels:?} is missing among {got:?}"));
            };
            self.row(row, items).map_err(|why| format!("{labels:?}: {why}"))?;
        }
        Ok(())
    }

    fn row(&self, row: &Row, items: &[Item]) -> Result<(), String> {
        for step in 0..row.floats.len() {
            let wanted = items.get(step).unwrap_or(&Item::Gap);
            let got = row.cell(step);
            let same = match (wanted, &got) {
                (Item::Gap, None) => true,
                (Item::Float(wanted), Some(Cell::Float(got))) => close(*wanted, *got),
                (Item::Histogram(wanted), Some(Cell::Histogram(got))) => alike(wanted, got),
                _ => false,
            };
            if !same {
                return Err(format!("step {step}: {got:?}, wanted {wanted:?}"));
            }
        }
        Ok(())
    }
}

fn place(steps: Steps, time: i64) -> Result<usize, String> {
    let index = (time - steps.start) / steps.step;
    if time < steps.start || time > steps.end || steps.at(index as usize) != time {
        return Err(format!("a point at {time} was not wanted"));
    }
    Ok(index as usize)
}

fn plain_number(line: &str) -> Option<f64> {
    let (sign, digits) = match line.as_bytes().first()? {
        b'-' => (-1.0, &line[1..]),
        b'+' => (1.0, &line[1..]),
        _ => (1.0, line),
    };
    number(digits).map(|value| sign * value)
}

fn close(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()) || (a - b).abs() < 1e-300
}

fn alike(wanted: &Histogram, got: &Histogram) -> bool {
    let (wanted, got) = (histogram::compacted(wanted.clone()), histogram::compacted(got.clone()));
    let all =
        |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(*a, *b));
    wanted.schema == got.schema
        && close(wanted.count, got.count)
        && close(wanted.sum, got.sum)
        && close(wanted.zero_count, got.zero_count)
        && wanted.zero_threshold == got.zero_threshold
        && wanted.positive_spans == got.positive_spans
        && wanted.negative_spans == got.negative_spans
        && all(&wanted.positive_buckets, &got.positive_buckets)
        && all(&wanted.negative_buckets, &got.negative_buckets)
        && all(&wanted.custom_values, &got.custom_values)
        && (wanted.reset_hint == histogram::UNKNOWN || wanted.reset_hint == got.reset_hint)
}
