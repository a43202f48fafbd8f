//! Sums, means, variances, quantiles and regression with Prometheus' rounding.

/// A compensated sum (Neumaier's form).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) rest: f64,
}

impl Kahan {
    pub(crate) fn new(sum: f64) -> Kahan {
        Kahan { sum, rest: 0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.rest = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.rest += (self.sum - total) + value;
        } else {
            self.rest += (value - total) + self.sum;
        }
        self.sum = total;
    }

    #[inline]
    pub(crate) fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.rest }
    }
}

/// A mean that is a plain sum until that would overflow, and incremental from there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    total: Kahan,
    count: f64,
    incremental: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.total = Kahan::new(value);
            return;
        }
        if !self.incremental {
            let mut next = self.total;
            next.add(value);
            if !next.sum.is_infinite() {
                self.total = next;
                return;
            }
            self.incremental = true;
            self.total.sum /= self.count - 1.0;
            self.total.rest /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.total.sum *= share;
        self.total.rest *= share;
        self.total.add(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.total.sum + self.total.rest
        } else {
            self.total.sum / self.count + self.total.rest / self.count
        }
    }
}

/// The population variance (Welford, compensated).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Kahan,
    squares: Kahan,
}

impl Variance {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - (self.mean.sum + self.mean.rest);
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - (self.mean.sum + self.mean.rest)));
    }

    pub(crate) fn value(self) -> f64 {
        (self.squares.sum + self.squares.rest) / self.count
    }
}

/// The q-quantile; sorts `values`, NaN first.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    quantile_of_sorted(q, values)
}

/// The q-quantile of ascending values, interpolated between neighbours.
pub(crate) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Slope (per second) and value at `intercept_ms` of the least-squares line. Units: ms.
///
/// Shape: slices of one length, not empty.
pub(crate) fn linear_regression(times: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|&value| value == first) {
        if first.is_infinite() {
            return (f64::NAN, f64::NAN);
        }
        return (0.0, first);
    }
    let mut n = 0.0;
    let (mut x_sum, mut y_sum, mut xy_sum, mut x2_sum) =
        (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for (&time, &y) in times.iter().zip(values) {
        n += 1.0;
        let x = (time - intercept_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        x2_sum.add(x * x);
    }
    let (x_sum, y_sum) = (x_sum.sum + x_sum.rest, y_sum.sum + y_sum.rest);
    let (xy_sum, x2_sum) = (xy_sum.sum + xy_sum.rest, x2_sum.sum + x2_sum.rest);
    let covariance = xy_sum - x_sum * y_sum / n;
    let variance = x2_sum - x_sum * x_sum / n;
    let slope = covariance / variance;
    (slope, y_sum / n - slope * x_sum / n)
}
