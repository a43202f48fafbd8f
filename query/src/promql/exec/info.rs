//! `info()`: elements with the labels of the info series that describe the same target.
//! Source: Prometheus `promql/info.go` (3.14).

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use model::{Labels, METRIC_NAME};
use storage::{MatchOp, Matcher, RegexLimits};

use super::super::ast::{At, Expr, Kind, Length, Selector, Shift};
use super::super::error::QueryError;
use super::super::labels::{describe, filtered, with};
use super::super::value::Row;
use super::lookback::Facet;
use super::{Evaluator, Sink};
use crate::kernels::{Steps, is_absent};

/// Labels that say which target a series is of.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Bytes of alternatives up to which target labels narrow the selection of info series.
const ALTERNATIVES_BYTES_MAX: usize = 16 << 10;

impl Evaluator<'_> {
    pub(super) fn info(
        &self,
        args: &[Expr],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let base = self.collect(&args[0], steps)?;
        let wanted = Wanted::of(args.get(1), self.regex)?;
        let is_info: Vec<bool> =
            base.iter().map(|row| wanted.is_info(row.labels.metric_name())).collect();
        let infos = self.infos(&args[0], &base, &is_info, &wanted, steps)?;
        self.merged(sink, |evaluator, sink| {
            let join = Join { wanted: &wanted, infos: &infos, steps };
            evaluator.with_infos(&join, base, &is_info, sink)
        })
    }

    /// Info series of the targets of `base`, with the times of their samples as values.
    fn infos(
        &self,
        expr: &Expr,
        base: &[Row],
        is_info: &[bool],
        wanted: &Wanted,
        steps: Steps,
    ) -> Result<Vec<Row>, QueryError> {
        let mut matchers = wanted.names.clone();
        matchers.extend(wanted.data.iter().cloned());
        let mut any = false;
        for label in IDENTIFYING {
            let values: BTreeSet<&str> = base
                .iter()
                .zip(is_info)
                .filter(|(_, is_info)| !**is_info)
                .filter_map(|(row, _)| row.labels.get(label))
                .collect();
            any = any || !values.is_empty();
            let pattern: Vec<String> =
                values.iter().map(|value| regex_syntax::escape(value)).collect();
            let pattern = pattern.join("|");
            // What is not narrowed here is found out when the sides are joined.
            if !pattern.is_empty()
                && pattern.len() <= ALTERNATIVES_BYTES_MAX
                && let Ok(matcher) =
                    Matcher::new(label, MatchOp::Regex, &pattern, self.regex.any_length())
            {
                matchers.push(matcher);
            }
        }
        if !any {
            return Ok(Vec::new());
        }
        let mut moved = (None, 0);
        self.first_shift(expr, None, 0, &mut moved)?;
        let (at, offset) = moved.0.unwrap_or((None, 0));
        let shift = Shift {
            offset: Some(Length::Literal { seconds: offset as f64 / 1000.0, is_duration: true }),
            at: at.map(At::Time),
        };
        let selector = Selector { matchers, shift, ..Selector::default() };
        self.latest(&selector, steps, Facet::Value, &mut |row| {
            let is_float = row.histograms.iter().all(Option::is_none);
            if is_float {
                Ok(())
            } else {
                Err(QueryError::execution("info sample should be float"))
            }
        })?;
        let mut rows = Vec::new();
        self.latest(&selector, steps, Facet::Time, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// When the first selector of an expression looks, subqueries around it included.
    fn first_shift(
        &self,
        expr: &Expr,
        at: Option<i64>,
        offset: i64,
        found: &mut (Option<(Option<i64>, i64)>, i64),
    ) -> Result<(), QueryError> {
        if found.0.is_some() {
            return Ok(());
        }
        if let Kind::Selector(selector) = &expr.kind {
            let (own_at, own_offset) = self.shift(&selector.shift)?;
            found.0 = Some(match own_at {
                Some(own_at) => (Some(own_at), own_offset),
                None => (at, own_offset + offset),
            });
            return Ok(());
        }
        let (at, offset) = match &expr.kind {
            Kind::Subquery { shift, .. } => {
                let (own_at, own_offset) = self.shift(shift)?;
                (own_at.or(at), offset + own_offset)
            }
            _ => (at, offset),
        };
        let mut outcome = Ok(());
        expr.parts(&mut |part| {
            if outcome.is_ok() {
                outcome = self.first_shift(part, at, offset, found);
            }
        });
        outcome
    }

    fn with_infos(
        &self,
        join: &Join<'_>,
        base: Vec<Row>,
        is_info: &[bool],
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut by_step: Vec<HashMap<(&str, Labels), usize, RandomState>> = Vec::new();
        for step in 0..join.steps.count() {
            by_step.push(join.latest_of(step)?);
        }
        let names: BTreeSet<&str> = join.infos.iter().map(|row| row.labels.metric_name()).collect();
        let keeps_bare = join.wanted.data.iter().all(Matcher::matches_empty);
        for (row, &is_info) in base.into_iter().zip(is_info) {
            if is_info {
                sink(row)?;
                continue;
            }
            self.budget.check()?;
            let key = target(&row.labels);
            let mut outputs: HashMap<Vec<usize>, Row, RandomState> = HashMap::default();
            for (step, infos) in by_step.iter().enumerate() {
                let Some(cell) = row.cell(step) else { continue };
                let found: Vec<usize> = names
                    .iter()
                    .filter_map(|name| infos.get(&(*name, key.clone())).copied())
                    .collect();
                if found.is_empty() && !keeps_bare {
                    continue;
                }
                if !outputs.contains_key(&found) {
                    let labels = join.labels(&row.labels, &found)?;
                    let mut output = Row::absent(labels, join.steps.count());
                    output.drop_name = row.drop_name;
                    outputs.insert(found.clone(), output);
                }
                if let Some(output) = outputs.get_mut(&found) {
                    output.set(step, Some(cell));
                }
            }
            outputs.into_values().try_for_each(&mut *sink)?;
        }
        Ok(())
    }
}

/// The labels that identify a series' target.
fn target(labels: &Labels) -> Labels {
    filtered(labels, |name| IDENTIFYING.contains(&name))
}

/// Which info series, and which of their labels.
struct Wanted {
    names: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(selector: Option<&Expr>, limits: RegexLimits) -> Result<Wanted, QueryError> {
        let limits = limits.any_length();
        let matchers: &[Matcher] = match selector.map(|expr| &expr.kind) {
            Some(Kind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name == METRIC_NAME);
        let says_which =
            names.iter().any(|matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex));
        if names.is_empty() {
            names.push(Matcher::new(METRIC_NAME, MatchOp::Equal, "target_info", limits)?);
        } else if !says_which {
            names.push(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info", limits)?);
        }
        Ok(Wanted { names, data })
    }

    fn is_info(&self, name: &str) -> bool {
        self.names.iter().all(|matcher| matcher.matches(name))
    }
}

struct Join<'j> {
    wanted: &'j Wanted,
    infos: &'j [Row],
    steps: Steps,
}

impl Join<'_> {
    /// At a step, the info series of each name and target whose sample is the newest.
    fn latest_of(
        &self,
        step: usize,
    ) -> Result<HashMap<(&str, Labels), usize, RandomState>, QueryError> {
        let mut found: HashMap<(&str, Labels), usize, RandomState> = HashMap::default();
        for (index, row) in self.infos.iter().enumerate() {
            let time = row.floats[step];
            if is_absent(time) {
                continue;
            }
            let key = (row.labels.metric_name(), target(&row.labels));
            let Some(&other) = found.get(&key) else {
                found.insert(key, index);
                continue;
            };
            let other_time = self.infos[other].floats[step];
            if time > other_time {
                found.insert(key, index);
            } else if time >= other_time {
                return Err(QueryError::execution(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    describe(&self.infos[other].labels),
                    (other_time * 1000.0).round(),
                    describe(&row.labels),
                    (time * 1000.0).round()
                )));
            }
        }
        Ok(found)
    }

    /// An element's labels with those of its info series.
    fn labels(&self, base: &Labels, infos: &[usize]) -> Result<Labels, QueryError> {
        let mut labels = base.clone();
        let data = &self.wanted.data;
        for &info in infos {
            for (name, value) in self.infos[info].labels.iter() {
                let is_wanted = data.is_empty() || data.iter().any(|matcher| matcher.name == name);
                if name == METRIC_NAME || !is_wanted || base.get(name).is_some() {
                    continue;
                }
                if labels.get(name).is_some_and(|other| other != value) {
                    return Err(QueryError::execution(format!("conflicting label: {name}")));
                }
                labels = with(&labels, name, value);
            }
        }
        Ok(labels)
    }
}
