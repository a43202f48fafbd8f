//! Durations in buckets, for quantiles of a run of any length in constant memory.

use std::time::Duration;

/// Each bucket ends this much later than the one before.
const GROWTH: f64 = 1.08;
/// The first bucket. Units: us.
const FIRST_US: f64 = 10.0;
/// Up to a quarter of an hour.
const BUCKETS: usize = 240;

/// See the module's docs.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        let bucket = (us / FIRST_US).ln() / GROWTH.ln();
        let bucket = (bucket.ceil().max(0.0) as usize).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The end of the bucket that holds the quantile; zero where nothing was added. Units: ms.
    #[must_use]
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return FIRST_US * GROWTH.powi(i32::try_from(bucket).unwrap_or(0)) / 1e3;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut latencies = Latencies::default();
        assert!(latencies.quantile_ms(0.5) == 0.0);
        for ms in 1..=1000 {
            latencies.add(Duration::from_millis(ms));
        }
        for (quantile, want) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = latencies.quantile_ms(quantile);
            assert!(got >= want && got <= want * GROWTH * 1.001, "{quantile}: {got}");
        }
        latencies.add(Duration::ZERO);
        latencies.add(Duration::from_secs(1_000_000));
    }
}
