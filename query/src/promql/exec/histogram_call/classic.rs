//! Classic histograms: cumulative counts by upper bound.
//! Source: Prometheus `promql/quantile.go`, `BucketQuantile` and `BucketFraction` (3.14).

/// Counts closer than this, relatively, are the same: the noise of sums of rates.
const NOISE: f64 = 1e-12;

/// Buckets of one histogram at one moment.
#[derive(Debug, Default)]
pub(super) struct Classic {
    buckets: Vec<(f64, f64)>,
}

impl Classic {
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    pub(super) fn push(&mut self, bound: f64, count: f64) {
        self.buckets.push((bound, count));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Ascending by bound, equal bounds joined; false where the last bound is not infinite.
    fn arrange(&mut self) -> bool {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                earlier.1 += later.1;
            }
            is_same
        });
        self.buckets.last().is_some_and(|last| last.0 == f64::INFINITY)
    }

    /// Makes counts ascend; whether that took more than removing noise.
    fn straighten(&mut self) -> bool {
        let mut was_forced = false;
        let mut previous = self.buckets.first().map_or(0.0, |bucket| bucket.1);
        for bucket in self.buckets.iter_mut().skip(1) {
            let count = bucket.1;
            if count == previous {
                continue;
            }
            if is_noise(previous, count) {
                bucket.1 = previous;
            } else if count < previous {
                bucket.1 = previous;
                was_forced = true;
            } else {
                previous = count;
            }
        }
        was_forced
    }

    /// The q-quantile, and whether counts had to be forced to ascend.
    pub(super) fn quantile(&mut self, q: f64) -> (f64, bool) {
        if q.is_nan() {
            return (f64::NAN, false);
        }
        if q < 0.0 {
            return (f64::NEG_INFINITY, false);
        }
        if q > 1.0 {
            return (f64::INFINITY, false);
        }
        if !self.arrange() {
            return (f64::NAN, false);
        }
        let was_forced = self.straighten();
        let buckets = &self.buckets;
        let last = buckets.len() - 1;
        let observations = buckets[last].1;
        if buckets.len() < 2 || observations == 0.0 || observations.is_nan() {
            return (f64::NAN, was_forced);
        }
        let mut rank = q * observations;
        let at = buckets[..last].partition_point(|bucket| bucket.1 < rank);
        if at == last {
            return (buckets[last - 1].0, was_forced);
        }
        if at == 0 && buckets[0].0 <= 0.0 {
            return (buckets[0].0, was_forced);
        }
        let (mut start, mut count) = (0.0, buckets[at].1);
        if at > 0 {
            start = buckets[at - 1].0;
            count -= buckets[at - 1].1;
            rank -= buckets[at - 1].1;
        }
        (start + (buckets[at].0 - start) * (rank / count), was_forced)
    }

    /// The share of observations between two bounds.
    pub(super) fn fraction(&mut self, lower: f64, upper: f64) -> f64 {
        if !self.arrange() {
            return f64::NAN;
        }
        let total = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        if total == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.rank(upper, total) - self.rank(lower, total)) / total
    }

    fn rank(&self, limit: f64, total: f64) -> f64 {
        let first = self.buckets.first().map_or(0.0, |bucket| bucket.0);
        let mut start = if first <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        let mut rank = 0.0;
        for &(end, count) in &self.buckets {
            if start >= limit {
                return f64::min(rank, total);
            }
            if end > limit {
                if start == f64::NEG_INFINITY {
                    return f64::min(count, total);
                }
                let inside = rank + (count - rank) * (limit - start) / (end - start);
                return f64::min(inside, total);
            }
            rank = count;
            start = end;
        }
        total
    }
}

fn is_noise(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    let (size, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < NOISE * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < NOISE
}
