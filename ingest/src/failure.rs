//! The failure-class table (reliability.md 2.5), once, for every protocol.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use model::{Exceeded, Rejections, TenantId};
use xxhash_rust::xxh3::xxh3_64;

/// What kind of failure a request met. What each protocol answers stands in one table here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Bytes that are not what they claim to be.
    Undecodable,
    /// Some records were refused, the rest was kept (protocols without a partial answer need it).
    InvalidRecords,
    /// Too many bytes, on the wire or decoded.
    TooBig,
    /// Content type or encoding that is not spoken here.
    Unsupported,
    Unauthenticated,
    Forbidden,
    BadTenant,
    /// The tenant sends more than it may.
    RateLimited,
    /// Overload, disk full, read-only, replaying, shutting down.
    Overloaded,
    /// A bug of ours.
    Internal,
}

/// A gRPC status code; the few that we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GrpcCode {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Class {
    pub const ALL: [Class; 10] = [
        Class::Undecodable,
        Class::InvalidRecords,
        Class::TooBig,
        Class::Unsupported,
        Class::Unauthenticated,
        Class::Forbidden,
        Class::BadTenant,
        Class::RateLimited,
        Class::Overloaded,
        Class::Internal,
    ];

    /// The word in messages and stats.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The table: word, HTTP status (all protocols agree on it), gRPC code.
    fn row(self) -> (&'static str, StatusCode, GrpcCode) {
        use GrpcCode as Code;
        match self {
            Class::Undecodable => ("undecodable", StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Class::InvalidRecords => {
                ("invalid_records", StatusCode::BAD_REQUEST, Code::InvalidArgument)
            }
            Class::TooBig => ("too_big", StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Class::Unsupported => {
                ("unsupported", StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented)
            }
            Class::Unauthenticated => {
                ("unauthenticated", StatusCode::UNAUTHORIZED, Code::Unauthenticated)
            }
            Class::Forbidden => ("forbidden", StatusCode::FORBIDDEN, Code::PermissionDenied),
            Class::BadTenant => ("bad_tenant", StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Class::RateLimited => {
                ("rate_limited", StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted)
            }
            Class::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Class::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    pub(crate) fn http_status(self) -> StatusCode {
        self.row().1
    }

    pub(crate) fn grpc_code(self) -> GrpcCode {
        self.row().2
    }

    /// Whether the same request may succeed later: such answers carry a time to wait.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Class::RateLimited | Class::Overloaded)
    }
}

/// A request that was not (wholly) taken.
#[derive(Debug, Clone)]
pub struct Failure {
    pub class: Class,
    /// Starts with `tercet-err-<id>:`.
    pub message: String,
    /// Only with RateLimited and Overloaded.
    pub retry_after: Option<Duration>,
    /// The limit that was met, if it was one.
    pub exceeded: Option<Box<Exceeded>>,
}

impl Failure {
    /// The status that every protocol over HTTP answers with.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        self.class.http_status()
    }

    /// Bytes of a message that are sent (`server.max_response_error_bytes`).
    pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 10;

    /// A failure whose message starts with the class as its id.
    pub fn new(class: Class, what: impl fmt::Display) -> Failure {
        Failure::with_id(class, class.as_str(), what)
    }

    /// A failure with an id of its own.
    pub fn with_id(class: Class, id: &str, what: impl fmt::Display) -> Failure {
        let mut message = format!("tercet-err-{id}: {what}");
        if message.len() > Self::MESSAGE_BYTES_MAX {
            let end = (0..=Self::MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at));
            message.truncate(end.unwrap_or(0));
        }
        Failure { class, message, retry_after: None, exceeded: None }
    }

    /// A limit that was met.
    #[must_use]
    pub fn exceeded(class: Class, exceeded: Exceeded) -> Failure {
        let message = exceeded.to_string();
        Failure { class, message, retry_after: None, exceeded: Some(Box::new(exceeded)) }
    }

    /// The same failure, as one tenant's.
    pub(crate) fn of(mut self, tenant: &TenantId) -> Failure {
        if let Some(exceeded) = &mut self.exceeded {
            exceeded.tenant = Some(tenant.clone());
            self.message = exceeded.to_string();
        }
        self
    }

    /// The id in the message.
    pub(crate) fn id(&self) -> &str {
        let named = self.message.strip_prefix("tercet-err-").and_then(|rest| rest.split_once(':'));
        named.map_or("", |(id, _)| id)
    }

    /// A body over one of the process-wide limits.
    pub(crate) fn too_big(what: &str, config_key: &str) -> Failure {
        let text = format!("{what}; send smaller batches, or raise {config_key}");
        Failure::with_id(Class::TooBig, "request_too_big", text)
    }

    /// Records that were refused, for protocols that have no word for a partial success.
    pub(crate) fn invalid_records(rejections: &Rejections) -> Failure {
        Failure {
            class: Class::InvalidRecords,
            message: rejections.message(Self::MESSAGE_BYTES_MAX),
            retry_after: None,
            exceeded: None,
        }
    }

    /// Gives a retryable failure a time to wait: its own or 2 s, doubled for each attempt that the
    /// client says it has made, with a jitter of +-50 %, within 1..=30 s. `seed` makes the jitter.
    pub(crate) fn with_retry_after(mut self, attempt: u32, seed: u64) -> Failure {
        if !self.class.is_retryable() {
            self.retry_after = None;
            return self;
        }
        let base_ms = self.retry_after.map_or(2_000, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(RETRY_MS_MAX)
        });
        let grown_ms = base_ms.saturating_mul(1 << attempt.min(5)).min(RETRY_MS_MAX);
        let jitter_percent = 50 + xxh3_64(&seed.to_le_bytes()) % 101;
        let wait_ms = (grown_ms * jitter_percent / 100).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        self.retry_after = Some(Duration::from_millis(wait_ms));
        self
    }

    /// The header's value: whole seconds, rounded up.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_millis().div_ceil(1000).clamp(1, 30) as u64)
    }
}

const RETRY_MS_MIN: u64 = 1_000;
const RETRY_MS_MAX: u64 = 30_000;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn classes_have_names_of_their_own() {
        let names: HashSet<&str> = Class::ALL.into_iter().map(Class::as_str).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }

    #[test]
    fn only_retryable_failures_say_when_and_within_bounds() {
        for class in Class::ALL {
            for seed in 0..200 {
                let mut failure = Failure::new(class, "x");
                failure.retry_after = Some(Duration::from_secs(seed));
                let failure = failure.with_retry_after((seed % 9) as u32, seed);
                assert_eq!(failure.retry_after.is_some(), class.is_retryable());
                assert!(failure.retry_after_s().is_none_or(|wait| (1..=30).contains(&wait)));
            }
        }
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let failure = Failure::new(Class::Undecodable, "é".repeat(4000));
        assert!(failure.message.len() <= Failure::MESSAGE_BYTES_MAX);
        assert!(failure.message.starts_with("tercet-err-undecodable: é"));
    }
}
