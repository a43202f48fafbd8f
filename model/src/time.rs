//! Units of time. Logs and traces count nanoseconds since the Unix epoch, metrics milliseconds.

/// Nanoseconds in a millisecond.
pub const NS_PER_MS: i64 = 1_000_000;
/// Nanoseconds in a second.
pub const NS_PER_S: i64 = 1_000_000_000;

/// Milliseconds to nanoseconds, held at the ends of the range.
#[must_use]
pub fn ms_to_ns(ms: i64) -> i64 {
    ms.saturating_mul(NS_PER_MS)
}

/// Nanoseconds to milliseconds, rounded towards the past.
#[must_use]
pub fn ns_to_ms(ns: i64) -> i64 {
    ns.div_euclid(NS_PER_MS)
}
