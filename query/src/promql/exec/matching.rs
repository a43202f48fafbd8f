//! One operator on two values.
//! Source: Prometheus `promql/engine.go`, `vectorElemBinop` (3.14).

use super::super::ast::BinaryOp;
use super::super::error::QueryError;
use super::super::histogram::{self, Collision, Operation};
use super::super::value::Cell;
use super::Evaluator;

/// An operator on scalars; comparisons give 0 or 1.
pub(super) fn scalars(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match floats(op, lhs, rhs) {
        Some((_, keep)) if op.is_comparison() => f64::from(u8::from(keep)),
        Some((value, _)) => value,
        None => f64::NAN,
    }
}

/// An operator on floats: the value, and whether a comparison holds. None for operators that are
/// not for floats.
#[inline]
pub(super) fn floats(op: BinaryOp, lhs: f64, rhs: f64) -> Option<(f64, bool)> {
    #[expect(clippy::float_cmp, reason = "the language compares exactly")]
    Some(match op {
        BinaryOp::Add => (lhs + rhs, true),
        BinaryOp::Sub => (lhs - rhs, true),
        BinaryOp::Mul => (lhs * rhs, true),
        BinaryOp::Div => (lhs / rhs, true),
        BinaryOp::Mod => (lhs % rhs, true),
        BinaryOp::Pow => (lhs.powf(rhs), true),
        BinaryOp::Atan2 => (lhs.atan2(rhs), true),
        BinaryOp::Equal => (lhs, lhs == rhs),
        BinaryOp::NotEqual => (lhs, lhs != rhs),
        BinaryOp::Less => (lhs, lhs < rhs),
        BinaryOp::LessEqual => (lhs, lhs <= rhs),
        BinaryOp::Greater => (lhs, lhs > rhs),
        BinaryOp::GreaterEqual => (lhs, lhs >= rhs),
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => return None,
    })
}

impl Evaluator<'_> {
    /// An operator on two cells: the result and whether a comparison holds; none where the kinds do
    /// not go together, which is noted at `at`.
    pub(super) fn cells(
        &self,
        op: BinaryOp,
        lhs: &Cell,
        rhs: &Cell,
        at: usize,
    ) -> Result<Option<(Cell, bool)>, QueryError> {
        let mismatch = |lhs: &str, rhs: &str| {
            let word = op.as_str();
            self.notes.info(
                at,
                format!(
                    "incompatible sample types encountered for binary operator {word:?}: \
                     {lhs} {word} {rhs}"
                ),
            );
            Ok(None)
        };
        let whole = |histogram| Ok(Some((Cell::Histogram(std::sync::Arc::new(histogram)), true)));
        match (lhs, rhs) {
            (Cell::Float(l), Cell::Float(r)) => match floats(op, *l, *r) {
                Some((value, keep)) => Ok(Some((Cell::Float(value), keep))),
                None => mismatch("float", "float"),
            },
            (Cell::Float(factor), Cell::Histogram(histogram)) => match op {
                BinaryOp::Mul => whole(histogram::compacted(histogram::scaled(histogram, *factor))),
                _ => mismatch("float", "histogram"),
            },
            (Cell::Histogram(histogram), Cell::Float(number)) => match op {
                BinaryOp::Mul => whole(histogram::compacted(histogram::scaled(histogram, *number))),
                BinaryOp::Div => {
                    whole(histogram::compacted(histogram::divided(histogram, *number)))
                }
                BinaryOp::TrimUpper => whole(histogram::trimmed(histogram, *number, true)),
                BinaryOp::TrimLower => whole(histogram::trimmed(histogram, *number, false)),
                _ => mismatch("histogram", "float"),
            },
            (Cell::Histogram(l), Cell::Histogram(r)) => match op {
                BinaryOp::Add | BinaryOp::Sub => {
                    let operation =
                        if op == BinaryOp::Add { Operation::Add } else { Operation::Sub };
                    let mut out = (**l).clone();
                    match histogram::combine(&mut out, r, operation) {
                        Ok(collision) => {
                            if op == BinaryOp::Sub {
                                out.reset_hint = histogram::GAUGE;
                            }
                            self.note_collision(collision, operation, at);
                            whole(histogram::compacted(out))
                        }
                        Err(histogram::Incompatible) => {
                            self.notes.warn(
                                at,
                                format!(
                                    "incompatible bucket layout encountered for binary operator {}",
                                    op.as_str()
                                ),
                            );
                            Ok(None)
                        }
                    }
                }
                BinaryOp::Equal => Ok(Some((lhs.clone(), histogram::equal(l, r)))),
                BinaryOp::NotEqual => Ok(Some((lhs.clone(), !histogram::equal(l, r)))),
                _ => mismatch("histogram", "histogram"),
            },
        }
    }

    /// Notes what was odd about combining two histograms.
    pub(super) fn note_collision(&self, collision: Collision, operation: Operation, at: usize) {
        let word = operation.as_str();
        if collision.resets {
            self.notes.warn(at, format!("conflicting counter resets during histogram {word}"));
        }
        if collision.bounds {
            self.notes.info(at, format!("mismatched custom buckets were reconciled during {word}"));
        }
    }
}
