//! Binary operators: vector with scalar row by row, vector with vector by matching labels.
//! Source: Prometheus `promql/engine.go`, `VectorBinop` and its neighbours (3.14).

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use model::{Labels, LabelsBuilder};

use super::super::ast::{Binary, BinaryOp, Cardinality, Expr, Matching, Type};
use super::super::error::QueryError;
use super::super::labels::{describe, filtered, is_metadata, key};
use super::super::value::{Cell, Row};
use super::matching::floats;
use super::{Evaluator, Sink};
use crate::kernels::{ABSENT, Steps, is_absent};

type Map<K, V> = HashMap<K, V, RandomState>;

impl Evaluator<'_> {
    pub(super) fn binary(
        &self,
        expr: &Expr,
        binary: &Binary,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let is_scalar = |expr: &Expr| expr.kind_of_value() == Type::Scalar;
        match (is_scalar(&binary.lhs), is_scalar(&binary.rhs)) {
            (false, true) => {
                let scalars = self.scalar(&binary.rhs, steps)?;
                self.with_scalar(expr, binary, &binary.lhs, (&scalars, false), steps, sink)
            }
            (true, false) => {
                let scalars = self.scalar(&binary.lhs, steps)?;
                self.with_scalar(expr, binary, &binary.rhs, (&scalars, true), steps, sink)
            }
            _ if binary.op.is_set() => self.sets(binary, steps, sink),
            _ => self.vectors(expr, binary, steps, sink),
        }
    }

    fn with_scalar(
        &self,
        expr: &Expr,
        binary: &Binary,
        vector: &Expr,
        (scalars, is_swapped): (&[f64], bool),
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let op = binary.op;
        let renames = op.changes_metric() || binary.returns_bool;
        let produce = |evaluator: &Self, sink: &mut Sink<'_>| {
            evaluator.rows(vector, steps, &mut |mut row| {
                for (step, &scalar) in scalars.iter().enumerate() {
                    let value = row.floats[step];
                    if is_absent(value) {
                        continue;
                    }
                    let (lhs, rhs) = if is_swapped { (scalar, value) } else { (value, scalar) };
                    row.floats[step] = match floats(op, lhs, rhs) {
                        Some((_, keep)) if binary.returns_bool => f64::from(u8::from(keep)),
                        // A comparison keeps the element's value, on whichever side it stands.
                        Some((_, keep)) if op.is_comparison() => {
                            if keep {
                                value
                            } else {
                                ABSENT
                            }
                        }
                        Some((result, _)) => result,
                        None => {
                            let (one, other) = (Cell::Float(lhs), Cell::Float(rhs));
                            evaluator.cells(op, &one, &other, expr.start)?;
                            ABSENT
                        }
                    };
                }
                for (step, &scalar) in scalars.iter().enumerate() {
                    let Some(histogram) = row.histogram(step).cloned() else { continue };
                    let (element, scalar) = (Cell::Histogram(histogram), Cell::Float(scalar));
                    let outcome = if is_swapped {
                        evaluator.cells(op, &scalar, &element, expr.start)?
                    } else {
                        evaluator.cells(op, &element, &scalar, expr.start)?
                    };
                    row.set(step, outcome.filter(|(_, keep)| *keep).map(|(cell, _)| cell));
                }
                if renames {
                    evaluator.drop_name(&mut row);
                }
                if row.is_empty() { Ok(()) } else { sink(row) }
            })
        };
        if renames { self.renamed(vector, sink, produce) } else { produce(self, sink) }
    }

    fn sets(&self, binary: &Binary, steps: Steps, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let lhs = self.collect(&binary.lhs, steps)?;
        let rhs = self.collect(&binary.rhs, steps)?;
        let sign = |row: &Row| key(&row.labels, &binary.matching.labels, binary.matching.on);
        let presence = |rows: &[Row]| {
            let mut map: Map<Labels, Vec<bool>> = Map::default();
            for row in rows {
                let seen = map.entry(sign(row)).or_insert_with(|| vec![false; steps.count()]);
                for (step, seen) in seen.iter_mut().enumerate() {
                    *seen = *seen || row.has(step);
                }
            }
            map
        };
        let keep = |mut row: Row, wanted: &dyn Fn(usize) -> bool, sink: &mut Sink<'_>| {
            for step in 0..row.floats.len() {
                if !wanted(step) {
                    row.set(step, None);
                }
            }
            if row.is_empty() { Ok(()) } else { sink(row) }
        };
        match binary.op {
            BinaryOp::Or => {
                let present = presence(&lhs);
                self.merged(sink, |_, sink| {
                    lhs.into_iter().try_for_each(&mut *sink)?;
                    for row in rhs {
                        let other = present.get(&sign(&row));
                        keep(row, &|step| other.is_none_or(|seen| !seen[step]), sink)?;
                    }
                    Ok(())
                })
            }
            op => {
                let present = presence(&rhs);
                let is_and = op == BinaryOp::And;
                for row in lhs {
                    let other = present.get(&sign(&row));
                    let wanted = |step: usize| other.is_some_and(|seen| seen[step]) == is_and;
                    keep(row, &wanted, sink)?;
                }
                Ok(())
            }
        }
    }

    fn vectors(
        &self,
        expr: &Expr,
        binary: &Binary,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let matching = &binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let lhs = self.collect(&binary.lhs, steps)?;
        if lhs.is_empty() && !fills {
            return Ok(());
        }
        let rhs = self.collect(&binary.rhs, steps)?;
        let is_swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_swapped { (rhs, lhs) } else { (lhs, rhs) };
        // Upstream does not swap these with the sides.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let join = Join { expr, binary, is_swapped, count: steps.count(), fill_many, fill_one };
        self.join(&join, &many, &one, sink)
    }

    fn join(
        &self,
        join: &Join<'_>,
        many: &[Row],
        one: &[Row],
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let matching = &join.binary.matching;
        let sign = |row: &Row| key(&row.labels, &matching.labels, matching.on);
        let mut signs: Map<Labels, usize> = Map::default();
        let mut groups: Vec<Group> = Vec::new();
        let mut place = |row: &Row, is_many: bool, index: usize| {
            let sign = sign(row);
            let next = groups.len();
            let at = *signs.entry(sign).or_insert(next);
            if at == next {
                groups.push(Group::default());
            }
            let group = &mut groups[at];
            if is_many { group.many.push(index) } else { group.one.push(index) }
        };
        many.iter().enumerate().for_each(|(index, row)| place(row, true, index));
        one.iter().enumerate().for_each(|(index, row)| place(row, false, index));
        let mut outputs = Outputs::default();
        for group in &groups {
            if (group.one.is_empty() && join.fill_one.is_none())
                || (group.many.is_empty() && join.fill_many.is_none())
            {
                continue;
            }
            self.budget.check()?;
            for step in 0..join.count {
                self.join_step(join, group, (many, one), step, &mut outputs)?;
            }
        }
        for mut row in outputs.rows {
            if join.binary.returns_bool || join.binary.op.changes_metric() {
                row.drop_name |= self.options.delayed_names && join.binary.returns_bool;
            }
            if !row.is_empty() {
                sink(row)?;
            }
        }
        Ok(())
    }

    fn join_step(
        &self,
        join: &Join<'_>,
        group: &Group,
        (many, one): (&[Row], &[Row]),
        step: usize,
        outputs: &mut Outputs,
    ) -> Result<(), QueryError> {
        let mut partner: Option<usize> = None;
        for &index in group.one.iter().filter(|&&index| one[index].has(step)) {
            if let Some(other) = partner {
                return Err(join.duplicate(&one[index], &one[other]));
            }
            partner = Some(index);
        }
        let is_one_to_one = join.binary.matching.cardinality == Cardinality::OneToOne;
        let mut matched = 0;
        let mut seen: HashSet<usize> = HashSet::new();
        for &index in group.many.iter().filter(|&&index| many[index].has(step)) {
            let Some(cell) = many[index].cell(step) else { continue };
            let other = match (partner, join.fill_one) {
                (Some(partner), _) => one[partner].cell(step),
                (None, fill) => fill.map(Cell::Float),
            };
            let Some(other) = other else { continue };
            let Some((cell, keep)) = self.joined(join, &cell, &other)? else { continue };
            if is_one_to_one && matched > 0 {
                return Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                ));
            }
            matched += 1;
            let output = outputs.at(
                self,
                join,
                Some(&many[index]),
                partner.map(|at| &one[at]),
                (index, partner),
            );
            if !is_one_to_one && !seen.insert(output) {
                return Err(QueryError::execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
            outputs.put(output, step, cell, keep || join.binary.returns_bool)?;
        }
        if let (0, Some(fill), Some(partner)) = (matched, join.fill_many, partner) {
            let Some(other) = one[partner].cell(step) else { return Ok(()) };
            if let Some((cell, keep)) = self.joined(join, &Cell::Float(fill), &other)? {
                let output =
                    outputs.at(self, join, None, Some(&one[partner]), (usize::MAX, Some(partner)));
                outputs.put(output, step, cell, keep || join.binary.returns_bool)?;
            }
        }
        Ok(())
    }

    /// The operator on a cell of each side, given as (many, one).
    fn joined(
        &self,
        join: &Join<'_>,
        many: &Cell,
        one: &Cell,
    ) -> Result<Option<(Cell, bool)>, QueryError> {
        let (lhs, rhs) = if join.is_swapped { (one, many) } else { (many, one) };
        let outcome = self.cells(join.binary.op, lhs, rhs, join.expr.start)?;
        Ok(outcome.map(|(cell, keep)| match join.binary.returns_bool {
            true => (Cell::Float(f64::from(u8::from(keep))), true),
            false => (cell, keep),
        }))
    }
}

struct Join<'j> {
    expr: &'j Expr,
    binary: &'j Binary,
    is_swapped: bool,
    count: usize,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

impl Join<'_> {
    fn duplicate(&self, one: &Row, other: &Row) -> QueryError {
        let matching = &self.binary.matching;
        let group = filtered(&one.labels, |name| {
            matching.labels.iter().any(|wanted| wanted == name) == matching.on
                && (matching.on || name != model::METRIC_NAME)
        });
        let side = if self.is_swapped { "left" } else { "right" };
        let mut pair = [describe(&one.labels), describe(&other.labels)];
        pair.sort();
        QueryError::execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the \
             operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique \
             on one side",
            describe(&group),
            pair[0],
            pair[1]
        ))
    }
}

/// Rows of one match group.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// Rows of the result by their labels.
#[derive(Default)]
struct Outputs {
    rows: Vec<Row>,
    places: Map<Labels, usize>,
    /// By pair of inputs, so that labels are made once for each.
    pairs: Map<(usize, Option<usize>), usize>,
}

impl Outputs {
    fn at(
        &mut self,
        evaluator: &Evaluator<'_>,
        join: &Join<'_>,
        many: Option<&Row>,
        one: Option<&Row>,
        pair: (usize, Option<usize>),
    ) -> usize {
        if let Some(&place) = self.pairs.get(&pair) {
            return place;
        }
        let labels = result_labels(evaluator, join.binary, many, one);
        let next = self.rows.len();
        let place = *self.places.entry(labels.clone()).or_insert(next);
        if place == next {
            self.rows.push(Row::absent(labels, join.count));
        }
        self.pairs.insert(pair, place);
        place
    }

    fn put(&mut self, place: usize, step: usize, cell: Cell, keep: bool) -> Result<(), QueryError> {
        if !keep {
            return Ok(());
        }
        if self.rows[place].has(step) {
            return Err(QueryError::execution(super::SAME_LABELS));
        }
        self.rows[place].set(step, Some(cell));
        Ok(())
    }
}

/// Labels of a result: those of "many", cut to the matching ones where it is one to one, with the
/// included ones of "one".
fn result_labels(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    many: Option<&Row>,
    one: Option<&Row>,
) -> Labels {
    let matching: &Matching = &binary.matching;
    let matched = |row: &Row| {
        filtered(&row.labels, |name| {
            matching.labels.iter().any(|wanted| wanted == name) == matching.on
                && (matching.on || name != model::METRIC_NAME)
        })
    };
    // A side that was filled in has the labels that matched.
    let base = match (many, one) {
        (Some(many), _) => many.labels.clone(),
        (None, Some(one)) => matched(one),
        (None, None) => Labels::default(),
    };
    let drops_name =
        binary.op.changes_metric() || (binary.returns_bool && !evaluator.options.delayed_names);
    let is_one_to_one = matching.cardinality == Cardinality::OneToOne;
    let mut builder = LabelsBuilder::default();
    for (name, value) in base.iter() {
        let is_named = matching.labels.iter().any(|label| label == name);
        let is_included = matching.include.iter().any(|label| label == name);
        if (drops_name && is_metadata(name))
            || (is_one_to_one && is_named != matching.on)
            || is_included
        {
            continue;
        }
        builder.push(name, value);
    }
    let source = match (one, many) {
        (Some(one), _) => one.labels.clone(),
        (None, Some(many)) => matched(many),
        (None, None) => Labels::default(),
    };
    for name in &matching.include {
        builder.push(name, source.get(name).unwrap_or(""));
    }
    builder.finish()
}
