//! Arithmetic on native histograms. Buckets are unpacked to (index, count) pairs, worked on, and
//! packed again without empty ones.
//! Source: Prometheus `model/histogram/float_histogram.go` (3.14), whose results these match.

use std::sync::Arc;

use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram};

use super::text::go_g;

mod kahan;
mod trim;

pub(crate) use kahan::{HistogramMean, HistogramSum};
pub(crate) use trim::trimmed;

/// Counter reset hints.
pub(crate) const UNKNOWN: u8 = 0;
pub(crate) const RESET: u8 = 1;
pub(crate) const NOT_RESET: u8 = 2;
pub(crate) const GAUGE: u8 = 3;

/// Exponential and custom buckets do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What was odd about a combination that worked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Collision {
    /// One side said reset, the other said none.
    pub(crate) resets: bool,
    /// Custom bounds differed and were cut to the common ones.
    pub(crate) bounds: bool,
}

/// How two histograms are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Sub,
    Aggregate,
}

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Add => "addition",
            Operation::Sub => "subtraction",
            Operation::Aggregate => "aggregation",
        }
    }
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
    pub(crate) is_zero: bool,
    pub(crate) is_negative: bool,
    /// Its place among the buckets of its sign.
    pub(crate) index: i32,
    /// Which ends belong to it.
    pub(crate) has_lower: bool,
    pub(crate) has_upper: bool,
}

type Pairs = Vec<(i32, f64)>;

pub(crate) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_BUCKETS_SCHEMA
}

fn unpack(spans: &[BucketSpan], counts: &[f64]) -> Pairs {
    let mut out = Vec::with_capacity(counts.len());
    let mut index = 0i32;
    let mut counts = counts.iter();
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(&count) = counts.next() else { return out };
            out.push((index, count));
            index = index.saturating_add(1);
        }
    }
    out
}

fn pack(pairs: &[(i32, f64)]) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0;
    for &(index, count) in pairs.iter().filter(|(_, count)| *count != 0.0) {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index.wrapping_sub(next), length: 1 }),
        }
        counts.push(count);
        next = index.saturating_add(1);
    }
    (spans, counts)
}

fn positive(histogram: &Histogram) -> Pairs {
    unpack(&histogram.positive_spans, &histogram.positive_buckets)
}

fn negative(histogram: &Histogram) -> Pairs {
    unpack(&histogram.negative_spans, &histogram.negative_buckets)
}

fn set_buckets(histogram: &mut Histogram, positive: &[(i32, f64)], negative: &[(i32, f64)]) {
    (histogram.positive_spans, histogram.positive_buckets) = pack(positive);
    (histogram.negative_spans, histogram.negative_buckets) = pack(negative);
}

/// Without empty buckets.
pub(crate) fn compacted(mut histogram: Histogram) -> Histogram {
    let (positive, negative) = (positive(&histogram), negative(&histogram));
    set_buckets(&mut histogram, &positive, &negative);
    histogram
}

/// Times a number; a negative one makes a gauge of it.
pub(crate) fn scaled(histogram: &Histogram, factor: f64) -> Histogram {
    let mut out = each(histogram, |value| value * factor);
    if factor < 0.0 {
        out.reset_hint = GAUGE;
    }
    out
}

/// Divided by a number; by zero, no bucket is left.
pub(crate) fn divided(histogram: &Histogram, divisor: f64) -> Histogram {
    let mut out = each(histogram, |value| value / divisor);
    if divisor == 0.0 {
        set_buckets(&mut out, &[], &[]);
    }
    if divisor < 0.0 {
        out.reset_hint = GAUGE;
    }
    out
}

fn each(histogram: &Histogram, change: impl Fn(f64) -> f64) -> Histogram {
    let mut out = histogram.clone();
    out.is_float = true;
    for value in [&mut out.zero_count, &mut out.count, &mut out.sum] {
        *value = change(*value);
    }
    for value in out.positive_buckets.iter_mut().chain(&mut out.negative_buckets) {
        *value = change(*value);
    }
    out
}

/// The upper bound of an exponential bucket.
fn bound(index: i32, schema: i32) -> f64 {
    let value = if schema <= 0 {
        (f64::from(index) * f64::from(-schema).exp2()).exp2()
    } else {
        let per_power = 1i32 << schema.min(8);
        let power = index.div_euclid(per_power);
        let fraction = f64::from(index.rem_euclid(per_power)) / f64::from(per_power);
        fraction.exp2() * f64::from(power).exp2()
    };
    if value.is_infinite() { f64::MAX } else { value }
}

/// Adds or subtracts `other`, at the coarser of both resolutions.
///
/// Errors: one has custom buckets and the other has not.
pub(crate) fn combine(
    target: &mut Histogram,
    other: &Histogram,
    operation: Operation,
) -> Result<Collision, Incompatible> {
    if is_custom(target) != is_custom(other) {
        return Err(Incompatible);
    }
    let mut collision = Collision { resets: join_hints(target, other.reset_hint), bounds: false };
    let sign = if operation == Operation::Sub { -1.0 } else { 1.0 };
    let mut other = other.clone();
    if is_custom(target) {
        collision.bounds = reconcile_bounds(target, &mut other);
    } else {
        reconcile_zero(target, &mut other);
        let schema = target.schema.min(other.schema);
        reduce(target, schema);
        reduce(&mut other, schema);
    }
    target.is_float = true;
    target.zero_count += sign * other.zero_count;
    target.count += sign * other.count;
    target.sum += sign * other.sum;
    let joined_positive = joined(&positive(target), &positive(&other), sign);
    let joined_negative = joined(&negative(target), &negative(&other), sign);
    set_buckets(target, &joined_positive, &joined_negative);
    Ok(collision)
}

/// The hint of a combination; whether the hints contradict each other.
fn join_hints(target: &mut Histogram, other: u8) -> bool {
    let hint = target.reset_hint;
    if hint == other || hint == GAUGE {
        return false;
    }
    if other == GAUGE {
        target.reset_hint = GAUGE;
        return false;
    }
    target.reset_hint = UNKNOWN;
    hint != UNKNOWN && other != UNKNOWN
}

fn joined(a: &[(i32, f64)], b: &[(i32, f64)], sign: f64) -> Pairs {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                out.push((x.0, x.1 + sign * y.1));
                a.next();
                b.next();
            }
            (Some(x), Some(y)) if x.0 < y.0 => {
                out.push(**x);
                a.next();
            }
            (Some(x), None) => {
                out.push(**x);
                a.next();
            }
            (_, Some(y)) => {
                out.push((y.0, sign * y.1));
                b.next();
            }
            (None, None) => return out,
        }
    }
}

/// Coarsens to `schema`, which must not be finer.
fn reduce(histogram: &mut Histogram, schema: i32) {
    if is_custom(histogram) || histogram.schema <= schema {
        return;
    }
    let shift = (histogram.schema - schema).min(31);
    let coarse = |pairs: Pairs| {
        let mut out: Pairs = Vec::with_capacity(pairs.len());
        for (index, count) in pairs {
            let index = ((index - 1) >> shift) + 1;
            match out.last_mut() {
                Some(last) if last.0 == index => last.1 += count,
                _ => out.push((index, count)),
            }
        }
        out
    };
    let (positive, negative) = (coarse(positive(histogram)), coarse(negative(histogram)));
    set_buckets(histogram, &positive, &negative);
    histogram.schema = schema;
}

/// The zero count for a wider zero bucket, and that bucket's width: at least `threshold`, and wide
/// enough that no bucket with observations is cut.
fn zero_for(histogram: &Histogram, threshold: f64) -> (f64, f64) {
    let mut width = threshold;
    let (positive, negative) = (positive(histogram), negative(histogram));
    loop {
        let mut count = histogram.zero_count;
        let mut wider = width;
        for &(index, observed) in positive.iter().chain(&negative) {
            let lower = bound(index - 1, histogram.schema);
            if lower < width {
                count += observed;
                let upper = bound(index, histogram.schema);
                if observed != 0.0 && upper > wider {
                    wider = upper;
                }
            }
        }
        if wider <= width {
            return (count, width);
        }
        width = wider;
    }
}

fn widen_zero(histogram: &mut Histogram, threshold: f64) {
    if histogram.zero_threshold >= threshold {
        return;
    }
    let (count, width) = zero_for(histogram, threshold);
    let schema = histogram.schema;
    let outside = |pairs: Pairs| -> Pairs {
        pairs.into_iter().filter(|(index, _)| bound(index - 1, schema) >= width).collect()
    };
    let (positive, negative) = (outside(positive(histogram)), outside(negative(histogram)));
    histogram.zero_count = count;
    histogram.zero_threshold = width;
    set_buckets(histogram, &positive, &negative);
}

fn reconcile_zero(a: &mut Histogram, b: &mut Histogram) {
    // Each round widens one of the two; a bucket that is swallowed never comes back.
    for _ in 0..64 {
        if a.zero_threshold < b.zero_threshold {
            widen_zero(a, b.zero_threshold);
        } else if b.zero_threshold < a.zero_threshold {
            widen_zero(b, a.zero_threshold);
        } else {
            return;
        }
    }
}

/// Cuts both to the bounds they have in common; whether that changed anything.
fn reconcile_bounds(a: &mut Histogram, b: &mut Histogram) -> bool {
    if a.custom_values == b.custom_values {
        return false;
    }
    let common: Vec<f64> =
        a.custom_values.iter().copied().filter(|bound| b.custom_values.contains(bound)).collect();
    rebin(a, &common);
    rebin(b, &common);
    true
}

/// Puts custom buckets between fewer bounds, each a bound of before.
fn rebin(histogram: &mut Histogram, common: &[f64]) {
    if histogram.custom_values == common {
        return;
    }
    let mut pairs: Pairs = Vec::new();
    for (index, count) in positive(histogram) {
        let upper = usize::try_from(index)
            .ok()
            .and_then(|index| histogram.custom_values.get(index))
            .copied()
            .unwrap_or(f64::INFINITY);
        let index = common.partition_point(|&bound| bound < upper) as i32;
        match pairs.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => pairs.push((index, count)),
        }
    }
    set_buckets(histogram, &pairs, &[]);
    histogram.custom_values = common.to_vec();
}

/// Counts buckets below `width` to the zero bucket, which becomes that wide.
fn absorb_zero(histogram: &mut Histogram, width: f64) {
    let schema = histogram.schema;
    let mut absorbed = 0.0;
    let mut outside = |pairs: Pairs| -> Pairs {
        pairs
            .into_iter()
            .filter(|&(index, count)| {
                let is_inside = bound(index - 1, schema) < width;
                if is_inside {
                    absorbed += count;
                }
                !is_inside
            })
            .collect()
    };
    let (positive, negative) = (outside(positive(histogram)), outside(negative(histogram)));
    histogram.zero_count += absorbed;
    histogram.zero_threshold = width;
    set_buckets(histogram, &positive, &negative);
}

/// Whether a counter was reset between `before` and `now`.
pub(crate) fn is_reset(now: &Histogram, before: &Histogram) -> bool {
    match now.reset_hint {
        RESET => return true,
        NOT_RESET => return false,
        _ => {}
    }
    if now.count < before.count || is_custom(now) != is_custom(before) {
        return true;
    }
    let (mut now, mut before) = (now.clone(), before.clone());
    if is_custom(&now) {
        reconcile_bounds(&mut now, &mut before);
    } else {
        if now.schema > before.schema || now.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, width) = zero_for(&before, now.zero_threshold);
        if width > now.zero_threshold || now.zero_count < zero_count {
            return true;
        }
        widen_zero(&mut before, now.zero_threshold);
        reduce(&mut before, now.schema);
    }
    let fell = |now: Pairs, before: Pairs| {
        before.iter().any(|&(index, count)| {
            let current = now
                .binary_search_by_key(&index, |pair| pair.0)
                .ok()
                .and_then(|at| now.get(at))
                .map_or(0.0, |pair| pair.1);
            current < count
        })
    };
    fell(positive(&now), positive(&before)) || fell(negative(&now), negative(&before))
}

/// Keeps counts and sums of a series' samples, and what their buckets say about resets: a hint for
/// each sample that has none and follows another.
/// Source: Prometheus `promql/histogram_stats_iterator.go` (3.14).
pub(crate) fn keep_totals(samples: &mut [(i64, Arc<Histogram>)]) {
    let mut before: Option<Arc<Histogram>> = None;
    for (_, sample) in samples {
        let whole = Arc::clone(sample);
        let is_stale = model::is_stale(whole.sum);
        let reset_hint = match &before {
            Some(before) if whole.reset_hint == UNKNOWN && !is_stale => {
                if is_reset(&whole, before) { RESET } else { NOT_RESET }
            }
            _ => whole.reset_hint,
        };
        let Histogram { schema, count, sum, .. } = *whole;
        *sample = Arc::new(Histogram { schema, count, sum, reset_hint, ..Histogram::default() });
        if !is_stale {
            before = Some(whole);
        }
    }
}

/// Equality as the language sees it: the same numbers in the same buckets.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
    let same_pairs = |a: Pairs, b: Pairs| {
        let full =
            |pairs: Pairs| -> Pairs { pairs.into_iter().filter(|pair| pair.1 != 0.0).collect() };
        full(a) == full(b)
    };
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (is_custom(a)
            || (a.zero_threshold == b.zero_threshold && same(a.zero_count, b.zero_count)))
        && a.custom_values == b.custom_values
        && same_pairs(positive(a), positive(b))
        && same_pairs(negative(a), negative(b))
}

/// All buckets with their bounds, ascending; empty ones too.
pub(crate) fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let mut out = Vec::new();
    if is_custom(histogram) {
        for (index, count) in positive(histogram) {
            let at = usize::try_from(index).unwrap_or(0);
            let bounds = &histogram.custom_values;
            let lower = at.checked_sub(1).and_then(|at| bounds.get(at)).copied();
            let upper = bounds.get(at).copied().unwrap_or(f64::INFINITY);
            out.push(Bucket {
                lower: lower.unwrap_or(f64::NEG_INFINITY),
                upper,
                count,
                is_zero: false,
                is_negative: false,
                index,
                has_lower: lower.is_none(),
                has_upper: true,
            });
        }
        return out;
    }
    for (index, count) in negative(histogram).into_iter().rev() {
        out.push(Bucket {
            lower: -bound(index, histogram.schema),
            upper: -bound(index - 1, histogram.schema),
            count,
            is_zero: false,
            is_negative: true,
            index,
            has_lower: true,
            has_upper: false,
        });
    }
    if histogram.zero_count > 0.0 {
        out.push(Bucket {
            lower: -histogram.zero_threshold,
            upper: histogram.zero_threshold,
            count: histogram.zero_count,
            is_zero: true,
            is_negative: false,
            index: 0,
            has_lower: true,
            has_upper: true,
        });
    }
    for (index, count) in positive(histogram) {
        out.push(Bucket {
            lower: bound(index - 1, histogram.schema),
            upper: bound(index, histogram.schema),
            count,
            is_zero: false,
            is_negative: false,
            index,
            has_lower: false,
            has_upper: true,
        });
    }
    out
}

/// The share of a bucket's observations at or below `limit`.
fn fraction_below(histogram: &Histogram, bucket: &Bucket, limit: f64) -> f64 {
    if limit >= bucket.upper {
        return 1.0;
    }
    if limit <= bucket.lower {
        return 0.0;
    }
    if bucket.lower == f64::NEG_INFINITY {
        return 1.0;
    }
    if bucket.upper == f64::INFINITY {
        return 0.0;
    }
    if is_custom(histogram) || bucket.is_zero {
        return (limit - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper, at) =
        (bucket.lower.abs().log2(), bucket.upper.abs().log2(), limit.abs().log2());
    if limit > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
}

/// Bounds of the zero bucket where only one sign has buckets: it cannot hold the other's.
fn narrowed(histogram: &Histogram, mut bucket: Bucket) -> Bucket {
    if !(bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket;
    }
    let (has_negative, has_positive) =
        (!histogram.negative_buckets.is_empty(), !histogram.positive_buckets.is_empty());
    if !has_negative && has_positive {
        bucket.lower = 0.0;
    } else if has_negative && !has_positive {
        bucket.upper = 0.0;
    }
    bucket
}

/// What a quantile or fraction has to say about NaN observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanNote {
    None,
    Result,
    Skew,
}

/// The q-quantile, interpolated inside its bucket.
pub(crate) fn quantile(histogram: &Histogram, q: f64) -> (f64, NanNote) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanNote::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanNote::None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanNote::None);
    }
    let has_nan = histogram.sum.is_nan();
    let forward = has_nan || q < 0.5;
    let mut all = buckets(histogram);
    if !forward {
        all.reverse();
    }
    let rank = if forward { q } else { 1.0 - q } * histogram.count;
    let mut count = 0.0;
    let mut found = None;
    for bucket in all.iter().filter(|bucket| bucket.count != 0.0) {
        count += bucket.count;
        found = Some(*bucket);
        if count >= rank {
            break;
        }
    }
    let total: f64 = all.iter().map(|bucket| bucket.count).sum();
    let Some(bucket) = found else {
        return (f64::NAN, if has_nan { NanNote::Result } else { NanNote::None });
    };
    let mut bucket = if is_custom(histogram) { bucket } else { narrowed(histogram, bucket) };
    if is_custom(histogram) {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, NanNote::None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, NanNote::None);
        }
    }
    let count = count.min(histogram.count);
    if count < rank {
        return if has_nan { (f64::NAN, NanNote::Result) } else { (bucket.upper, NanNote::None) };
    }
    let note = if has_nan && total < histogram.count { NanNote::Skew } else { NanNote::None };
    let inside = if forward { rank - (count - bucket.count) } else { count - rank };
    let fraction = inside / bucket.count;
    let value = if is_custom(histogram) || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        bucket.lower + (bucket.upper - bucket.lower) * fraction
    } else {
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    };
    (value, note)
}

/// The share of observations between two bounds, and whether NaN observations were left out.
pub(crate) fn fraction(histogram: &Histogram, lower: f64, upper: f64) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let all = buckets(histogram);
    let seen: f64 = all.iter().map(|bucket| bucket.count).sum();
    let has_nan = histogram.sum.is_nan() && seen < histogram.count;
    let total = if histogram.sum.is_nan() { seen } else { histogram.count };
    let rank_of = |limit: f64| {
        let mut rank = 0.0;
        for bucket in &all {
            let bucket = narrowed(histogram, *bucket);
            if bucket.lower >= limit {
                return rank;
            }
            if bucket.upper > limit {
                if bucket.lower == f64::NEG_INFINITY {
                    return bucket.count.min(total);
                }
                let inside = if bucket.upper == f64::INFINITY {
                    0.0
                } else {
                    fraction_below(histogram, &bucket, limit)
                };
                return f64::min(rank + bucket.count * inside, total);
            }
            rank += bucket.count;
        }
        total
    };
    ((rank_of(upper) - rank_of(lower)) / histogram.count, has_nan)
}

/// The variance, each observation taken at the middle of its bucket.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut sum = crate::kernels::Kahan::default();
    for bucket in buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if is_custom(histogram) {
            (bucket.lower.max(if bucket.upper > 0.0 { 0.0 } else { f64::NEG_INFINITY })
                + bucket.upper)
                / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.lower * bucket.upper).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        sum.add(bucket.count * delta * delta);
    }
    (sum.sum + sum.rest) / histogram.count
}

/// `{count:3, sum:4.2, (1,2]:3}`.
pub(crate) fn describe(histogram: &Histogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", go_g(histogram.count), go_g(histogram.sum));
    for bucket in buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        out.push_str(&format!(
            ", {}{},{}{}:{}",
            if bucket.has_lower { '[' } else { '(' },
            go_g(bucket.lower),
            go_g(bucket.upper),
            if bucket.has_upper { ']' } else { ')' },
            go_g(bucket.count)
        ));
    }
    out.push('}');
    out
}
