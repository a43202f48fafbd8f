//! Selectors of whose native histograms nothing but count and sum is looked at: their samples need no
//! buckets, and whether a counter was reset is settled where they are read.
//! Source: Prometheus `promql/engine.go`, `detectHistogramStatsDecoding` (3.14); the notes about resets
//! depend on it.

use super::ast::{BinaryOp, Expr, Kind};
use super::functions::{Run, Special};

/// What the expressions around one ask of histograms.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// For count, sum or average.
    totals: bool,
    /// For something that needs buckets.
    buckets: bool,
}

/// Marks such selectors.
pub(super) fn mark_totals(expr: &mut Expr) {
    mark(expr, Asked::default());
}

fn mark(expr: &mut Expr, mut asked: Asked) {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => {}
        Kind::Selector(selector) => selector.totals_only = asked.totals && !asked.buckets,
        Kind::Matrix { selector: inner, .. }
        | Kind::Paren(inner)
        | Kind::Negate { expr: inner, .. } => mark(inner, asked),
        // Between its steps samples are passed over, whose resets only buckets tell.
        Kind::Subquery { expr: inner, .. } => mark(inner, Asked { buckets: true, ..asked }),
        Kind::Binary(binary) => {
            asked.buckets |= matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
            mark(&mut binary.lhs, asked);
            mark(&mut binary.rhs, asked);
        }
        Kind::Call { function, args } => {
            match function.run {
                Run::Special(
                    Special::HistogramCount | Special::HistogramSum | Special::HistogramAvg,
                ) => asked.totals = true,
                Run::Special(
                    Special::HistogramQuantile
                    | Special::HistogramQuantiles
                    | Special::HistogramFraction,
                ) => asked.buckets = true,
                _ => {}
            }
            args.iter_mut().for_each(|arg| mark(arg, asked));
        }
        Kind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                mark(param, asked);
            }
            mark(&mut aggregate.expr, asked);
        }
    }
}
