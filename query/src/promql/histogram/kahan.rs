//! Compensated sums and means of native histograms, bucket by bucket.
//! Source: Prometheus `model/histogram/float_histogram.go`, `KahanAdd` (3.14).

use std::collections::BTreeMap;

use model::Histogram;

use super::{
    Collision, Incompatible, Operation, Pairs, absorb_zero, combine, divided, is_custom,
    join_hints, negative, positive, rebin, reconcile_bounds, reconcile_zero, reduce, scaled,
    set_buckets,
};
use crate::kernels::Kahan;

/// A running sum and what rounding has taken from it.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    total: Histogram,
    /// Shape: schema, bounds and zero bucket as those of `total`.
    rest: Histogram,
}

impl HistogramSum {
    pub(crate) fn new(first: &Histogram) -> HistogramSum {
        let rest = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_values: first.custom_values.clone(),
            is_float: true,
            ..Histogram::default()
        };
        HistogramSum { total: first.clone(), rest }
    }

    /// Adds one.
    ///
    /// Errors: exponential and custom buckets do not mix; the sum is as before.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Collision, Incompatible> {
        let (total, rest) = (&mut self.total, &mut self.rest);
        if is_custom(total) != is_custom(other) {
            return Err(Incompatible);
        }
        let mut collision =
            Collision { resets: join_hints(total, other.reset_hint), bounds: false };
        let mut other = other.clone();
        if is_custom(total) {
            collision.bounds = reconcile_bounds(total, &mut other);
            rebin(rest, &total.custom_values);
        } else {
            reconcile_zero(total, &mut other);
            absorb_zero(rest, total.zero_threshold);
            let schema = total.schema.min(other.schema);
            for histogram in [&mut *total, &mut *rest, &mut other] {
                reduce(histogram, schema);
            }
        }
        total.is_float = true;
        step(&mut total.zero_count, &mut rest.zero_count, other.zero_count);
        step(&mut total.count, &mut rest.count, other.count);
        step(&mut total.sum, &mut rest.sum, other.sum);
        let (positives, positive_rests) =
            joined(&positive(total), &positive(rest), &positive(&other));
        let (negatives, negative_rests) =
            joined(&negative(total), &negative(rest), &negative(&other));
        set_buckets(total, &positives, &negatives);
        set_buckets(rest, &positive_rests, &negative_rests);
        Ok(collision)
    }

    /// The sum.
    pub(crate) fn finish(mut self) -> Histogram {
        self.rest.reset_hint = self.total.reset_hint;
        // Both have one layout, so this cannot fail.
        let _same_layout = combine(&mut self.total, &self.rest, Operation::Add);
        self.total
    }

    fn scale(&mut self, factor: f64) {
        self.total = scaled(&self.total, factor);
        self.rest = scaled(&self.rest, factor);
    }

    fn divide(&mut self, divisor: f64) {
        self.total = divided(&self.total, divisor);
        self.rest = divided(&self.rest, divisor);
    }

    fn overflows(&self) -> bool {
        let total = &self.total;
        [total.zero_count, total.count, total.sum].iter().any(|value| value.is_infinite())
            || total.positive_buckets.iter().any(|value| value.is_infinite())
            || total.negative_buckets.iter().any(|value| value.is_infinite())
    }
}

fn step(total: &mut f64, rest: &mut f64, value: f64) {
    let mut sum = Kahan { sum: *total, rest: *rest };
    sum.add(value);
    (*total, *rest) = (sum.sum, sum.rest);
}

fn joined(totals: &[(i32, f64)], rests: &[(i32, f64)], others: &[(i32, f64)]) -> (Pairs, Pairs) {
    let mut sums: BTreeMap<i32, Kahan> = BTreeMap::new();
    for &(index, total) in totals {
        sums.entry(index).or_default().sum = total;
    }
    for &(index, rest) in rests {
        sums.entry(index).or_default().rest = rest;
    }
    for &(index, value) in others {
        sums.entry(index).or_default().add(value);
    }
    let total = sums.iter().map(|(&index, sum)| (index, sum.sum)).collect();
    (total, sums.iter().map(|(&index, sum)| (index, sum.rest)).collect())
}

/// A running mean: a plain sum until that would overflow, and incremental from there.
#[derive(Debug, Clone)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &Histogram) -> HistogramMean {
        HistogramMean { sum: HistogramSum::new(first), count: 1.0, incremental: false }
    }

    /// Adds one.
    ///
    /// Errors: as [`HistogramSum::add`].
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Collision, Incompatible> {
        self.count += 1.0;
        if !self.incremental {
            let mut trial = self.sum.clone();
            let collision = trial.add(other)?;
            if !trial.overflows() {
                self.sum = trial;
                return Ok(collision);
            }
            self.incremental = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.scale((self.count - 1.0) / self.count);
        self.sum.add(&divided(other, self.count))
    }

    /// The mean.
    pub(crate) fn finish(mut self) -> Histogram {
        if !self.incremental {
            self.sum.divide(self.count);
        }
        self.sum.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::HistogramSum;
    use model::Histogram;

    #[test]
    fn small_values_survive_large_ones() {
        let of = |sum: f64| Histogram { sum, ..Histogram::default() };
        let mut total = HistogramSum::new(&of(1e100));
        for value in [1.5, -1e100, 1.0] {
            total.add(&of(value)).unwrap();
        }
        assert_eq!(total.finish().sum, 2.5);
    }
}
