//! The failure-class table (reliability.md 2.5), once, for every protocol.

use std::fmt;
use std::time::Duration;

/// What kind of failure a request met. What each protocol answers stands in one table here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// A request that was not (wholly) taken.
#[derive(Debug, Clone)]
pub struct Failure {
    pub class: Class,
    /// Starts with `tercet-err-<id>:`.
    pub message: String,
    /// Only with RateLimited and Overloaded.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
