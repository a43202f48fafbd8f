//! Why a query gave no answer, and the notes that travel with one that did.

use std::fmt;

use storage::{ErrorKind, StorageError};

/// A syntax or type error with the place it is at. Units: bytes into the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl ParseError {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> ParseError {
        ParseError { at, message: message.into() }
    }

    /// The text as Prometheus prints it: `1:5: parse error: ...`.
    pub(crate) fn render(&self, input: &str) -> String {
        format!("{}: parse error: {}", position(input, self.at), self.message)
    }
}

/// `line:column` of a byte offset, both from 1.
pub(crate) fn position(input: &str, at: usize) -> String {
    let before = input.as_bytes().get(..at.min(input.len())).unwrap_or_default();
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().position(|&byte| byte == b'\n').unwrap_or(before.len()) + 1;
    format!("{line}:{column}")
}

/// Why a query has no answer.
#[derive(Debug, Clone)]
pub(crate) enum QueryError {
    /// The text is no query; rendered.
    Parse(String),
    /// The query cannot be evaluated on this data.
    Execution(String),
    /// The budget ran out, the client went away, or storage failed.
    Storage(StorageError),
}

impl QueryError {
    pub(crate) fn execution(message: impl Into<String>) -> QueryError {
        QueryError::Execution(message.into())
    }

    /// Prometheus' `errorType`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            QueryError::Parse(_) => "bad_data",
            QueryError::Execution(_) => "execution",
            QueryError::Storage(error) => match error.kind() {
                ErrorKind::Invalid => "bad_data",
                ErrorKind::LimitExceeded => "execution",
                ErrorKind::TooMany => "too_many_requests",
                ErrorKind::Cancelled => "canceled",
                ErrorKind::Timeout => "timeout",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::Corrupt | ErrorKind::Io => "internal",
            },
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Parse(message) | QueryError::Execution(message) => f.write_str(message),
            QueryError::Storage(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> QueryError {
        QueryError::Storage(error)
    }
}
