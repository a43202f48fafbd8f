//! Ranges of time.

/// Half-open: `start_ns <= t < end_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub start_ns: i64,
    pub end_ns: i64,
}

impl TimeRange {
    pub const ALL: TimeRange = TimeRange { start_ns: i64::MIN, end_ns: i64::MAX };

    #[must_use]
    pub fn contains(self, time_ns: i64) -> bool {
        self.start_ns <= time_ns && time_ns < self.end_ns
    }

    /// Whether it meets the closed range `[min_ns, max_ns]`.
    #[must_use]
    pub fn meets(self, min_ns: i64, max_ns: i64) -> bool {
        self.start_ns <= max_ns && min_ns < self.end_ns
    }
}

/// Closed at both ends, as PromQL's are: `start_ms <= t <= end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsRange {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl MsRange {
    pub const ALL: MsRange = MsRange { start_ms: i64::MIN, end_ms: i64::MAX };

    #[must_use]
    pub fn contains(self, time_ms: i64) -> bool {
        self.start_ms <= time_ms && time_ms <= self.end_ms
    }

    /// Whether it meets the closed range `[min_ms, max_ms]`.
    #[must_use]
    pub fn meets(self, min_ms: i64, max_ms: i64) -> bool {
        self.start_ms <= max_ms && min_ms <= self.end_ms
    }
}
