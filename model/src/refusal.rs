//! How a refusal is said: a stable id, the limit, its value, what met it, and where to raise it.

use crate::{Reason, TenantId};

/// A limit that was met, in the words that every refusal uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Stable: `tercet-err-<id>`.
    pub id: ErrorId,
    /// What happened, without figures.
    pub what: String,
    /// The setting, such as `limits.query.max_samples`.
    pub key: &'static str,
    /// Its value, as settings write it.
    pub limit: String,
    /// What was met it, in the same unit.
    pub current: String,
    /// Whose limit it is; nothing for limits of the whole process.
    pub tenant: Option<TenantId>,
}

impl Exceeded {
    /// Where the limit is raised.
    #[must_use]
    pub fn config_key(&self) -> String {
        match &self.tenant {
            Some(tenant) => tenant_key(tenant, self.key),
            None => self.key.to_owned(),
        }
    }
}

/// Where one tenant's own limit is set.
pub(crate) fn tenant_key(tenant: &TenantId, key: &str) -> String {
    format!("tenants.{}.{key}", toml_key(tenant.as_str()))
}

/// A name as TOML writes it between dots.
fn toml_key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { format!("\"{name}\"") }
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Exceeded { id, what, key, limit, current, tenant } = self;
        write!(f, "tercet-err-{}: {what}; limit {key}={limit}, current {current}", id.as_str())?;
        if let Some(tenant) = tenant {
            write!(f, " (tenant {tenant})")?;
        }
        write!(f, "; raise it in {}", self.config_key())
    }
}

/// Ids of refusals of whole requests and queries; those of records are [`Reason`]s.
/// `docs/errors.md` explains every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorId {
    AcceptLate,
    BadTenant,
    BodyLate,
    Deadline,
    DecodeLate,
    DiskFull,
    DiskShare,
    Forbidden,
    HeadersTooBig,
    InflightBytes,
    Internal,
    InvalidRecords,
    Limit,
    LogFull,
    MemoryFull,
    MemtablesFull,
    QueryBytesScanned,
    QueryMemory,
    QueryQueueFull,
    QuerySamples,
    QuerySeries,
    RangeTooLong,
    RateLimited,
    RequestTooBig,
    ShuttingDown,
    StreamRateLimited,
    TooBig,
    TooManyHeaders,
    TwoLengths,
    Unauthenticated,
    Unavailable,
    Undecodable,
    Unsupported,
    UnsupportedMediaType,
}

impl ErrorId {
    pub const ALL: [ErrorId; 34] = [
        ErrorId::AcceptLate,
        ErrorId::BadTenant,
        ErrorId::BodyLate,
        ErrorId::Deadline,
        ErrorId::DecodeLate,
        ErrorId::DiskFull,
        ErrorId::DiskShare,
        ErrorId::Forbidden,
        ErrorId::HeadersTooBig,
        ErrorId::InflightBytes,
        ErrorId::Internal,
        ErrorId::InvalidRecords,
        ErrorId::Limit,
        ErrorId::LogFull,
        ErrorId::MemoryFull,
        ErrorId::MemtablesFull,
        ErrorId::QueryBytesScanned,
        ErrorId::QueryMemory,
        ErrorId::QueryQueueFull,
        ErrorId::QuerySamples,
        ErrorId::QuerySeries,
        ErrorId::RangeTooLong,
        ErrorId::RateLimited,
        ErrorId::RequestTooBig,
        ErrorId::ShuttingDown,
        ErrorId::StreamRateLimited,
        ErrorId::TooBig,
        ErrorId::TooManyHeaders,
        ErrorId::TwoLengths,
        ErrorId::Unauthenticated,
        ErrorId::Unavailable,
        ErrorId::Undecodable,
        ErrorId::Unsupported,
        ErrorId::UnsupportedMediaType,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorId::AcceptLate => "accept_late",
            ErrorId::BadTenant => "bad_tenant",
            ErrorId::BodyLate => "body_late",
            ErrorId::Deadline => "deadline",
            ErrorId::DecodeLate => "decode_late",
            ErrorId::DiskFull => "disk_full",
            ErrorId::DiskShare => "max_disk_bytes",
            ErrorId::Forbidden => "forbidden",
            ErrorId::HeadersTooBig => "headers_too_big",
            ErrorId::InflightBytes => "inflight_bytes",
            ErrorId::Internal => "internal",
            ErrorId::InvalidRecords => "invalid_records",
            ErrorId::Limit => "limit",
            ErrorId::LogFull => "log_full",
            ErrorId::MemoryFull => "memory_full",
            ErrorId::MemtablesFull => "memtables_full",
            ErrorId::QueryBytesScanned => "max_bytes_scanned",
            ErrorId::QueryMemory => "max_memory",
            ErrorId::QueryQueueFull => "query_queue_full",
            ErrorId::QuerySamples => "max_samples",
            ErrorId::QuerySeries => "max_series",
            ErrorId::RangeTooLong => "range_too_long",
            ErrorId::RateLimited => "rate_limited",
            ErrorId::RequestTooBig => "request_too_big",
            ErrorId::ShuttingDown => "shutting_down",
            ErrorId::StreamRateLimited => "stream_rate_limited",
            ErrorId::TooBig => "too_big",
            ErrorId::TooManyHeaders => "too_many_headers",
            ErrorId::TwoLengths => "two_lengths",
            ErrorId::Unauthenticated => "unauthenticated",
            ErrorId::Unavailable => "unavailable",
            ErrorId::Undecodable => "undecodable",
            ErrorId::Unsupported => "unsupported",
            ErrorId::UnsupportedMediaType => "unsupported_media_type",
        }
    }
}

impl Reason {
    /// The setting behind it, where there is one.
    #[must_use]
    pub fn config_key(self) -> Option<&'static str> {
        Some(match self {
            Reason::TooManyLabels => "limits.ingest.max_labels",
            Reason::LabelNameTooLong => "limits.ingest.max_label_name_bytes",
            Reason::LabelValueTooLong => "limits.ingest.max_label_value_bytes",
            Reason::TooManyAttributes => "limits.ingest.max_attributes",
            Reason::AttributeTooLong => "limits.ingest.max_attribute_bytes",
            Reason::LineTooLong => "limits.ingest.max_line_bytes",
            Reason::TooDeep => "limits.ingest.max_nesting_depth",
            Reason::TooOld => "limits.ingest.max_age",
            Reason::TooFarInFuture => "limits.ingest.max_future",
            Reason::OutOfOrder => "limits.ingest.ooo_window",
            Reason::MaxActiveSeries => "limits.ingest.max_active_series",
            Reason::MaxActiveStreams => "limits.ingest.max_active_streams",
            Reason::LiveTraces => "limits.ingest.max_live_traces",
            Reason::TraceTooLarge => "limits.ingest.max_bytes_per_trace",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_what_to_do() {
        let exceeded = |tenant| Exceeded {
            id: ErrorId::QuerySamples,
            what: "too many samples".to_owned(),
            key: "limits.query.max_samples",
            limit: "5".to_owned(),
            current: "6".to_owned(),
            tenant,
        };
        let tenant = TenantId::parse("a.b").unwrap();
        assert_eq!(
            exceeded(Some(tenant)).to_string(),
            "tercet-err-max_samples: too many samples; limit limits.query.max_samples=5, \
             current 6 (tenant a.b); raise it in tenants.\"a.b\".limits.query.max_samples"
        );
        assert!(exceeded(None).to_string().ends_with("6; raise it in limits.query.max_samples"));
    }

    #[test]
    fn ids_are_sorted_and_each_its_own() {
        let ids: Vec<&str> = ErrorId::ALL.into_iter().map(ErrorId::as_str).collect();
        let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
    }
}
