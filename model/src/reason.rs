//! Why a record was not taken, in words that responses, stats and the page share.

use crate::TenantId;

/// A closed list, so that it can label our own stats. `as_str` is the id in `tercet-err-<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    InvalidRecord,
    InvalidLabels,
    MissingLabels,
    TooManyLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    DuplicateLabelNames,
    TooManyAttributes,
    AttributeTooLong,
    LineTooLong,
    TooDeep,
    TooOld,
    TooFarInFuture,
    OutOfOrder,
    DuplicateTimestamp,
    InvalidHistogram,
    UnsupportedTemporality,
    MaxActiveSeries,
    MaxActiveStreams,
    LiveTraces,
    TraceTooLarge,
    ExemplarInvalid,
}

impl Reason {
    pub const ALL: [Reason; 22] = [
        Reason::InvalidRecord,
        Reason::InvalidLabels,
        Reason::MissingLabels,
        Reason::TooManyLabels,
        Reason::LabelNameTooLong,
        Reason::LabelValueTooLong,
        Reason::DuplicateLabelNames,
        Reason::TooManyAttributes,
        Reason::AttributeTooLong,
        Reason::LineTooLong,
        Reason::TooDeep,
        Reason::TooOld,
        Reason::TooFarInFuture,
        Reason::OutOfOrder,
        Reason::DuplicateTimestamp,
        Reason::InvalidHistogram,
        Reason::UnsupportedTemporality,
        Reason::MaxActiveSeries,
        Reason::MaxActiveStreams,
        Reason::LiveTraces,
        Reason::TraceTooLarge,
        Reason::ExemplarInvalid,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidRecord => "invalid_record",
            Reason::InvalidLabels => "invalid_labels",
            Reason::MissingLabels => "missing_labels",
            Reason::TooManyLabels => "too_many_labels",
            Reason::LabelNameTooLong => "label_name_too_long",
            Reason::LabelValueTooLong => "label_value_too_long",
            Reason::DuplicateLabelNames => "duplicate_label_names",
            Reason::TooManyAttributes => "too_many_attributes",
            Reason::AttributeTooLong => "attribute_too_long",
            Reason::LineTooLong => "line_too_long",
            Reason::TooDeep => "too_deep",
            Reason::TooOld => "too_old",
            Reason::TooFarInFuture => "too_far_in_future",
            Reason::OutOfOrder => "out_of_order",
            Reason::DuplicateTimestamp => "duplicate_timestamp",
            Reason::InvalidHistogram => "invalid_histogram",
            Reason::UnsupportedTemporality => "unsupported_temporality",
            Reason::MaxActiveSeries => "max_active_series",
            Reason::MaxActiveStreams => "max_active_streams",
            Reason::LiveTraces => "live_traces",
            Reason::TraceTooLarge => "trace_too_large",
            Reason::ExemplarInvalid => "exemplar_invalid",
        }
    }
}

/// Records refused for one reason, with one of them as the example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    pub count: u64,
    /// One sentence about the first of them: what, which limit, its value. At most 256 bytes.
    pub example: String,
}

/// What of a request was refused while the rest was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    /// At most one entry for each reason, in order of first appearance.
    pub list: Vec<Rejection>,
}

impl Rejections {
    /// Bytes of an example that are kept.
    pub const EXAMPLE_BYTES_MAX: usize = 256;

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All records refused.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.list.iter().map(|rejection| rejection.count).sum()
    }

    /// Counts `count` records; `example` is called for the first of each reason only.
    pub fn add(&mut self, reason: Reason, count: u64, example: impl FnOnce() -> String) {
        if let Some(known) = self.list.iter_mut().find(|known| known.reason == reason) {
            known.count += count;
            return;
        }
        let mut example = example();
        if example.len() > Self::EXAMPLE_BYTES_MAX {
            let end = (0..=Self::EXAMPLE_BYTES_MAX).rev().find(|&at| example.is_char_boundary(at));
            example.truncate(end.unwrap_or(0));
        }
        self.list.push(Rejection { reason, count, example });
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: Rejections) {
        for rejection in other.list {
            self.add(rejection.reason, rejection.count, || rejection.example);
        }
    }

    /// Adds to each example whose limit it was and where it is raised.
    pub fn say_whose(&mut self, tenant: &TenantId) {
        for rejection in &mut self.list {
            if let Some(key) = rejection.reason.config_key() {
                let place = crate::refusal::tenant_key(tenant, key);
                rejection.example.push_str(&format!(" (tenant {tenant}); raise it in {place}"));
            }
        }
    }

    /// All reasons in one line of at most `bytes_max` bytes.
    #[must_use]
    pub fn message(&self, bytes_max: usize) -> String {
        let mut message = String::new();
        for rejection in &self.list {
            let separator = if message.is_empty() { "" } else { "; " };
            let part = format!(
                "{separator}tercet-err-{}: {} refused, for example: {}",
                rejection.reason.as_str(),
                rejection.count,
                rejection.example
            );
            if message.len() + part.len() > bytes_max {
                break;
            }
            message.push_str(&part);
        }
        message
    }
}
