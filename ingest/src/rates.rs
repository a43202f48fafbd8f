//! How fast a tenant sends, held against its limits: token buckets that may go into debt.
//!
//! A request is refused whole while a bucket that it would draw from is empty; what was let in is
//! charged when its size is known. So nothing is decoded for a refusal, a request larger than the
//! burst passes once its turn comes, and replay, which knows no rates, brings back exactly what was
//! acknowledged. A limit of 0 costs one comparison.

use std::collections::HashMap;
use std::time::Duration;

use model::{Batch, ErrorId, Exceeded, Limits, LogsBatch, Signal, StreamId, TenantId};
use parking_lot::Mutex;

use crate::failure::{Class, Failure};

/// Buckets of tenants or streams that are remembered; full ones are forgotten first.
const BUCKETS_MAX: usize = 100_000;
const NS_PER_S: f64 = 1e9;

/// A rate and the burst above it. Units: bytes or samples.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_s: u64,
    burst: u64,
}

impl Rate {
    fn new(per_s: u64, burst: u64, default_bursts: u64) -> Rate {
        let burst = if burst == 0 { per_s.saturating_mul(default_bursts) } else { burst };
        Rate { per_s, burst: burst.max(1) }
    }
}

/// What is left, and how much came in this second and in the last one.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at_ns: i64,
    second: i64,
    in_second: f64,
    in_last: f64,
}

impl Bucket {
    fn full(rate: Rate, now_ns: i64) -> Bucket {
        let second = now_ns.div_euclid(model::NS_PER_S);
        Bucket { tokens: rate.burst as f64, at_ns: now_ns, second, in_second: 0.0, in_last: 0.0 }
    }

    /// A clock that goes back adds nothing, one that leaps fills the bucket at most.
    fn refill(&mut self, rate: Rate, now_ns: i64) {
        let passed_s = now_ns.saturating_sub(self.at_ns).max(0) as f64 / NS_PER_S;
        self.at_ns = now_ns;
        self.tokens = (self.tokens + passed_s * rate.per_s as f64).min(rate.burst as f64);
        let second = now_ns.div_euclid(model::NS_PER_S);
        if second != self.second {
            self.in_last = if second == self.second + 1 { self.in_second } else { 0.0 };
            (self.second, self.in_second) = (second, 0.0);
        }
    }

    fn take(&mut self, amount: f64) {
        self.tokens -= amount;
        self.in_second += amount;
    }

    fn current(&self) -> f64 {
        self.in_second.max(self.in_last)
    }
}

/// Buckets by owner.
#[derive(Debug)]
struct Buckets<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Buckets(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq + Clone> Buckets<K> {
    /// Works on an owner's bucket.
    fn with<T>(&self, key: &K, rate: Rate, now_ns: i64, work: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.0.lock();
        if !buckets.contains_key(key) && buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| {
                bucket.refill(rate, now_ns);
                bucket.tokens < rate.burst as f64
            });
            if buckets.len() >= BUCKETS_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key.clone()).or_insert_with(|| Bucket::full(rate, now_ns));
        bucket.refill(rate, now_ns);
        work(bucket)
    }

    /// What an owner sent in the last second. Whoever has no bucket gets none.
    fn current(&self, key: &K, rate: Rate, now_ns: i64) -> f64 {
        let Some(mut bucket) = self.0.lock().get(key).copied() else { return 0.0 };
        bucket.refill(rate, now_ns);
        bucket.current()
    }
}

/// Rates of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    tenants: Buckets<(TenantId, Signal)>,
    streams: Buckets<(TenantId, StreamId)>,
}

/// The rate of a signal, its setting and what it counts.
fn rate_of(signal: Signal, limits: &Limits) -> Option<(Rate, &'static str, &'static str)> {
    let (rate, key, unit) = match signal {
        Signal::Logs => (
            Rate::new(limits.logs_rate_bytes, limits.logs_burst_bytes, 2),
            "limits.ingest.rate_bytes_logs",
            "bytes of logs",
        ),
        Signal::Traces => (
            Rate::new(limits.traces_rate_bytes, limits.traces_burst_bytes, 2),
            "limits.ingest.rate_bytes_traces",
            "bytes of traces",
        ),
        Signal::Metrics => (
            Rate::new(limits.rate_samples, limits.burst_samples, 4),
            "limits.ingest.rate_samples",
            "samples",
        ),
    };
    (rate.per_s != 0).then_some((rate, key, unit))
}

fn refusal(id: ErrorId, what: String, rate: Rate, bucket: Bucket, key: &'static str) -> Failure {
    let exceeded = Exceeded {
        id,
        what,
        key,
        limit: format!("{}/s", rate.per_s),
        current: format!("{:.0}/s", bucket.current()),
        tenant: None,
    };
    let wait_s = (1.0 - bucket.tokens) / rate.per_s as f64;
    let retry_after = Some(Duration::from_secs_f64(wait_s.clamp(1.0, 30.0)));
    Failure { retry_after, ..Failure::exceeded(Class::RateLimited, exceeded) }
}

impl Rates {
    /// Whether a request of a tenant may be decoded now.
    ///
    /// Errors: RateLimited.
    pub(crate) fn admit(
        &self,
        tenant: &TenantId,
        signal: Signal,
        limits: &Limits,
        now_ns: i64,
    ) -> Result<(), Failure> {
        let Some((rate, key, unit)) = rate_of(signal, limits) else { return Ok(()) };
        let owner = (tenant.clone(), signal);
        self.tenants.with(&owner, rate, now_ns, |bucket| {
            if bucket.tokens > 0.0 {
                return Ok(());
            }
            let what = format!("the tenant sends too many {unit} a second");
            Err(refusal(ErrorId::RateLimited, what, rate, *bucket, key).of(tenant))
        })
    }

    /// Charges what was decoded, and looks at the rates of its streams.
    ///
    /// Errors: RateLimited. Nothing is charged then.
    pub(crate) fn charge(
        &self,
        tenant: &TenantId,
        batch: &Batch,
        bytes: usize,
        limits: &Limits,
        now_ns: i64,
    ) -> Result<(), Failure> {
        if limits.stream_rate_bytes != 0
            && let Batch::Logs(batch) = batch
        {
            self.charge_streams(tenant, batch, limits, now_ns)?;
        }
        let Some((rate, ..)) = rate_of(batch.signal(), limits) else { return Ok(()) };
        let amount = match batch {
            Batch::Metrics(_) => batch.record_count() as f64,
            Batch::Logs(_) | Batch::Traces(_) => bytes as f64,
        };
        let owner = (tenant.clone(), batch.signal());
        self.tenants.with(&owner, rate, now_ns, |bucket| bucket.take(amount));
        Ok(())
    }

    fn charge_streams(
        &self,
        tenant: &TenantId,
        batch: &LogsBatch,
        limits: &Limits,
        now_ns: i64,
    ) -> Result<(), Failure> {
        let rate = Rate::new(limits.stream_rate_bytes, limits.stream_burst_bytes, 5);
        let mut amounts = vec![0usize; batch.streams.len()];
        for row in &batch.rows {
            if let Some(amount) = amounts.get_mut(row.stream as usize) {
                *amount += batch.line(row).len();
            }
        }
        for stream in &batch.streams {
            let owner = (tenant.clone(), stream.id);
            self.streams.with(&owner, rate, now_ns, |bucket| {
                if bucket.tokens > 0.0 {
                    return Ok(());
                }
                let what = format!("stream of {:?} has too many bytes a second", stream.service());
                let key = "limits.ingest.stream_rate_bytes";
                Err(refusal(ErrorId::StreamRateLimited, what, rate, *bucket, key).of(tenant))
            })?;
        }
        for (stream, amount) in batch.streams.iter().zip(amounts) {
            let owner = (tenant.clone(), stream.id);
            self.streams.with(&owner, rate, now_ns, |bucket| bucket.take(amount as f64));
        }
        Ok(())
    }

    /// What a tenant sent of a signal in the last second; nothing where it has no limit.
    pub(crate) fn usage(
        &self,
        tenant: &TenantId,
        signal: Signal,
        limits: &Limits,
        now_ns: i64,
    ) -> Option<f64> {
        let (rate, ..) = rate_of(signal, limits)?;
        let owner = (tenant.clone(), signal);
        Some(self.tenants.current(&owner, rate, now_ns))
    }
}

#[cfg(test)]
mod tests {
    use model::{MetricsBatch, NS_PER_S};

    use super::*;

    #[test]
    fn a_tenant_over_its_rate_waits_until_its_debt_is_paid_and_others_do_not() {
        let rates = Rates::default();
        let [acme, other] = ["acme", "other"].map(|name| TenantId::parse(name).unwrap());
        let limits = Limits { logs_rate_bytes: 100, ..Limits::default() };
        let batch = Batch::Logs(LogsBatch::default());
        let admit = |tenant, now_s| rates.admit(tenant, Signal::Logs, &limits, now_s * NS_PER_S);
        admit(&acme, 0).unwrap();
        // Twice the rate is the burst; half a burst more is debt.
        rates.charge(&acme, &batch, 300, &limits, 0).unwrap();
        let refused = admit(&acme, 1).unwrap_err();
        assert_eq!(refused.class, Class::RateLimited);
        assert_eq!(
            refused.message,
            "tercet-err-rate_limited: the tenant sends too many bytes of logs a second; limit \
             limits.ingest.rate_bytes_logs=100/s, current 300/s (tenant acme); raise it in \
             tenants.acme.limits.ingest.rate_bytes_logs"
        );
        assert!(refused.retry_after.is_some());
        let used = |tenant| rates.usage(tenant, Signal::Logs, &limits, NS_PER_S);
        assert_eq!((used(&acme), used(&other)), (Some(300.0), Some(0.0)));
        assert_eq!(rates.tenants.0.lock().len(), 1, "a look leaves nothing behind");
        admit(&acme, 2).unwrap();
        admit(&other, 1).unwrap();
        rates.admit(&acme, Signal::Traces, &limits, NS_PER_S).unwrap();
    }

    #[test]
    fn samples_count_for_metrics_and_a_clock_that_goes_back_fills_nothing() {
        let rates = Rates::default();
        let tenant = TenantId::default();
        let limits = Limits { rate_samples: 1, burst_samples: 1, ..Limits::default() };
        let sample = model::Sample { series: 0, time_ms: 0, value: 0.0 };
        let batch = MetricsBatch { samples: vec![sample; 3], ..MetricsBatch::default() };
        rates.charge(&tenant, &Batch::Metrics(batch), 0, &limits, 10 * NS_PER_S).unwrap();
        for now_s in [10, 5, 0, 6] {
            let refused = rates.admit(&tenant, Signal::Metrics, &limits, now_s * NS_PER_S);
            assert_eq!(refused.is_err(), now_s != 6, "{now_s}");
        }
    }
}
