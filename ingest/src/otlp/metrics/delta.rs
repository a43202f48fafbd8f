//! Adds delta points up into counters that only grow.
//!
//! One total for each series, by the key under which the series cache knows it. What a sender
//! repeats is not added twice: a point as old as the last one answers the same total again, and an
//! older one is refused. A total starts at 0 whenever it is not known, that is after a restart, after
//! the table let a cold series go, or when bucket bounds change. PromQL reads the smaller value as a
//! counter reset and adds the new total in full, which is what was counted since, so rates stay
//! right across it.
//!
//! Replay: the log is decoded from its oldest entry on, in the order in which it was written, by a
//! table that is empty then, so what replay makes is a counter of its own with one reset at its
//! start. The same bytes in the same order always give the same totals.

use model::{BucketSpan, Histogram};
use parking_lot::Mutex;

use crate::series_cache::Generations;

/// Totals that are kept in all. Units: series.
const TOTALS_MAX: usize = 1_000_000;
const SHARDS: usize = 16;

/// Why a delta was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OlderDelta;

#[derive(Debug)]
enum Total {
    Number(f64),
    Explicit { bounds: u64, counts: Vec<u64>, count: u64, sum: f64 },
    Exponential(Box<Histogram>),
}

#[derive(Debug)]
struct Entry {
    time_ns: i64,
    total: Total,
}

/// The totals of all delta series.
#[derive(Debug)]
pub(crate) struct DeltaTable {
    shards: Box<[Mutex<Generations<Entry>>]>,
}

impl Default for DeltaTable {
    fn default() -> Self {
        let shard = || Mutex::new(Generations::new(TOTALS_MAX / SHARDS));
        DeltaTable { shards: (0..SHARDS).map(|_| shard()).collect() }
    }
}

/// An explicit histogram's counts: a delta going in, a total coming out.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExplicitDelta {
    /// Hash of the bucket bounds.
    pub(super) bounds: u64,
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl DeltaTable {
    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    fn with<R>(
        &self,
        key: u128,
        time_ns: i64,
        merge: impl FnOnce(Option<&mut Total>) -> (R, Option<Total>),
        repeat: impl FnOnce(&Total) -> Option<R>,
    ) -> Result<R, OlderDelta> {
        let mut shard = self.shards[(key >> 120) as usize % SHARDS].lock();
        let Some(entry) = shard.get(key) else {
            let (answer, total) = merge(None);
            if let Some(total) = total {
                shard.insert(key, Entry { time_ns, total });
            }
            return Ok(answer);
        };
        if time_ns <= entry.time_ns {
            let same = time_ns == entry.time_ns;
            return if same { repeat(&entry.total) } else { None }.ok_or(OlderDelta);
        }
        entry.time_ns = time_ns;
        let (answer, total) = merge(Some(&mut entry.total));
        if let Some(total) = total {
            entry.total = total;
        }
        Ok(answer)
    }

    /// Adds `delta`, answers the total.
    pub(super) fn add_number(
        &self,
        key: u128,
        time_ns: i64,
        delta: f64,
    ) -> Result<f64, OlderDelta> {
        let merge = |total: Option<&mut Total>| match total {
            Some(Total::Number(total)) => {
                *total += delta;
                (*total, None)
            }
            _ => (delta, Some(Total::Number(delta))),
        };
        self.with(key, time_ns, merge, |total| match total {
            Total::Number(total) => Some(*total),
            _ => None,
        })
    }

    /// Adds a histogram's counts in place.
    pub(super) fn add_explicit(
        &self,
        key: u128,
        time_ns: i64,
        delta: ExplicitDelta,
        buckets: &mut [u64],
    ) -> Result<ExplicitDelta, OlderDelta> {
        let out = std::cell::RefCell::new(buckets);
        let merge = |total: Option<&mut Total>| {
            let mut buckets = out.borrow_mut();
            if let Some(Total::Explicit { bounds, counts, count, sum }) = total
                && *bounds == delta.bounds
                && counts.len() == buckets.len()
            {
                *count = count.saturating_add(delta.count);
                *sum += delta.sum;
                for (total, bucket) in counts.iter_mut().zip(buckets.iter_mut()) {
                    *total = total.saturating_add(*bucket);
                    *bucket = *total;
                }
                return (ExplicitDelta { count: *count, sum: *sum, ..delta }, None);
            }
            let total = Total::Explicit {
                bounds: delta.bounds,
                counts: buckets.to_vec(),
                count: delta.count,
                sum: delta.sum,
            };
            (delta, Some(total))
        };
        let repeat = |total: &Total| {
            let mut buckets = out.borrow_mut();
            match total {
                Total::Explicit { bounds, counts, count, sum }
                    if *bounds == delta.bounds && counts.len() == buckets.len() =>
                {
                    buckets.copy_from_slice(counts);
                    Some(ExplicitDelta { bounds: *bounds, count: *count, sum: *sum })
                }
                _ => None,
            }
        };
        self.with(key, time_ns, merge, repeat)
    }

    /// Adds an exponential histogram, answers the total at the coarser of both scales.
    pub(super) fn add_exponential(
        &self,
        key: u128,
        time_ns: i64,
        delta: Box<Histogram>,
    ) -> Result<Box<Histogram>, OlderDelta> {
        let merge = |total: Option<&mut Total>| match total {
            Some(Total::Exponential(total)) => {
                let sum = sum_of(total, &delta);
                **total = sum.clone();
                (Box::new(sum), None)
            }
            _ => (delta.clone(), Some(Total::Exponential(delta.clone()))),
        };
        self.with(key, time_ns, merge, |total| match total {
            Total::Exponential(total) => Some(total.clone()),
            _ => None,
        })
    }
}

/// Adds two exponential histograms.
fn sum_of(left: &Histogram, right: &Histogram) -> Histogram {
    let schema = left.schema.min(right.schema);
    let add = |side: fn(&Histogram) -> (&[BucketSpan], &[f64])| {
        let mut counts = std::collections::BTreeMap::new();
        for histogram in [left, right] {
            let (spans, buckets) = side(histogram);
            let shift = histogram.schema.saturating_sub(schema).clamp(0, 31) as u32;
            for (index, count) in indexed(spans, buckets) {
                // Bucket i covers (base^(i-1), base^i]: halving the resolution pairs 2i-1 with 2i.
                let merged = (index.saturating_sub(1) >> shift).saturating_add(1);
                *counts.entry(merged).or_insert(0.0) += count;
            }
        }
        layout(counts)
    };
    let (positive_spans, positive_buckets) =
        add(|histogram| (&histogram.positive_spans, &histogram.positive_buckets));
    let (negative_spans, negative_buckets) =
        add(|histogram| (&histogram.negative_spans, &histogram.negative_buckets));
    Histogram {
        schema,
        zero_threshold: left.zero_threshold.max(right.zero_threshold),
        zero_count: left.zero_count + right.zero_count,
        count: left.count + right.count,
        sum: left.sum + right.sum,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..Histogram::default()
    }
}

/// Buckets with their indexes.
fn indexed(spans: &[BucketSpan], buckets: &[f64]) -> impl Iterator<Item = (i64, f64)> {
    let mut next = 0i64;
    let indexes = spans.iter().flat_map(move |span| {
        let start = next.saturating_add(i64::from(span.offset));
        next = start.saturating_add(i64::from(span.length));
        start..next
    });
    indexes.zip(buckets.iter().copied())
}

/// Spans and counts of buckets in ascending order of index; a gap of up to two empty buckets is
/// filled, because a span costs more.
pub(super) fn layout(counts: impl IntoIterator<Item = (i64, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    const GAP_FILLED_MAX: i64 = 2;
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut buckets = Vec::new();
    let mut next = 0i64;
    for (index, count) in counts {
        if count == 0.0 {
            continue;
        }
        let gap = index.saturating_sub(next);
        match spans.last_mut() {
            Some(span) if (0..=GAP_FILLED_MAX).contains(&gap) => {
                buckets.extend(std::iter::repeat_n(0.0, gap as usize));
                span.length = span.length.saturating_add(gap as u32).saturating_add(1);
            }
            _ => spans.push(BucketSpan { offset: gap as i32, length: 1 }),
        }
        buckets.push(count);
        next = index.saturating_add(1);
    }
    (spans, buckets)
}
