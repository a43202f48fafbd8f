//! `</` and `>/`: observations beyond a limit are taken away. A bucket that the limit cuts is
//! divided as interpolation says; the sum is estimated anew from the middles of what stays.
//! Source: Prometheus `model/histogram/float_histogram.go`, `TrimBuckets` (3.14).

use model::Histogram;

use super::{Bucket, Pairs, buckets, fraction_below, is_custom, narrowed, set_buckets};

/// Keeps observations up to `limit` (`keeps_below`) or those from it on.
pub(crate) fn trimmed(histogram: &Histogram, limit: f64, keeps_below: bool) -> Histogram {
    let all = buckets(histogram);
    let mut out = histogram.clone();
    let (mut count, mut sum, mut is_changed) = (0.0, 0.0, false);
    let (mut positives, mut negatives): (Pairs, Pairs) = (Vec::new(), Vec::new());
    for bucket in all.iter().filter(|bucket| bucket.count != 0.0) {
        let (kept, middle) = keep(histogram, bucket, limit, keeps_below);
        is_changed |= kept != bucket.count;
        count += kept;
        sum += middle * kept;
        if bucket.is_zero {
            out.zero_count = kept;
        } else if bucket.is_negative {
            negatives.push((bucket.index, kept));
        } else {
            positives.push((bucket.index, kept));
        }
    }
    if is_changed {
        negatives.sort_by_key(|pair| pair.0);
        set_buckets(&mut out, &positives, &negatives);
        out.count = count;
        out.sum = sum;
        out.is_float = true;
    }
    out
}

/// How many observations of a bucket stay, and the middle of where they are.
fn keep(histogram: &Histogram, bucket: &Bucket, limit: f64, keeps_below: bool) -> (f64, f64) {
    let is_linear = is_custom(histogram);
    if bucket.is_zero {
        return keep_zero(&narrowed(histogram, *bucket), limit, keeps_below);
    }
    let is_whole = if keeps_below { bucket.upper <= limit } else { bucket.lower >= limit };
    if is_whole {
        return (bucket.count, middle(bucket.lower, bucket.upper, bucket, is_linear));
    }
    let is_cut = if keeps_below { bucket.lower < limit } else { bucket.upper > limit };
    if !is_cut {
        return (0.0, 0.0);
    }
    if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
        return keep_open(bucket, limit, keeps_below);
    }
    let below = bucket.count * fraction_below(histogram, bucket, limit);
    if keeps_below {
        (below, middle(bucket.lower, limit, bucket, is_linear))
    } else {
        (bucket.count - below, middle(limit, bucket.upper, bucket, is_linear))
    }
}

fn keep_zero(bucket: &Bucket, limit: f64, keeps_below: bool) -> (f64, f64) {
    let (lower, upper) = (bucket.lower, bucket.upper);
    let whole = (bucket.count, (lower + upper) / 2.0);
    if limit <= lower {
        return if keeps_below { (0.0, 0.0) } else { whole };
    }
    if limit >= upper {
        return if keeps_below { whole } else { (0.0, 0.0) };
    }
    let width = upper - lower;
    if keeps_below {
        (bucket.count * ((limit - lower) / width), f64::midpoint(lower, limit))
    } else {
        (bucket.count * ((upper - limit) / width), f64::midpoint(limit, upper))
    }
}

/// A cut bucket without one of its ends: how observations lie in it is unknown, so all go or stay,
/// but for a positive first bucket, which counts as starting at 0.
fn keep_open(bucket: &Bucket, limit: f64, keeps_below: bool) -> (f64, f64) {
    if bucket.lower == f64::NEG_INFINITY {
        let starts_at_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
        return match keeps_below {
            true if limit > 0.0 && starts_at_zero => {
                (bucket.count * limit / bucket.upper, limit / 2.0)
            }
            true if bucket.upper <= 0.0 => (bucket.count, limit),
            false if limit >= 0.0 && starts_at_zero => {
                (bucket.count * (1.0 - limit / bucket.upper), f64::midpoint(limit, bucket.upper))
            }
            _ => (0.0, 0.0),
        };
    }
    if !keeps_below && limit >= bucket.lower { (bucket.count, limit) } else { (0.0, 0.0) }
}

fn middle(lower: f64, upper: f64, bucket: &Bucket, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        _ if is_linear => f64::midpoint(lower, upper),
        _ => {
            let mean = (lower * upper).abs().sqrt();
            if bucket.is_negative { -mean } else { mean }
        }
    }
}
