//! What can go wrong with a LogQL query, told apart by who is at fault.

use storage::StorageError;

/// Why a query cannot be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LogqlError {
    /// The text is not LogQL. Lines and columns count from one.
    #[error("parse error at line {line}, col {column}: {message}")]
    Syntax { line: u32, column: u32, message: String },
    /// It reads as LogQL and means nothing.
    #[error("parse error : {0}")]
    Invalid(String),
    /// Records that a metric query met carry an `__error__`.
    #[error("{0}")]
    Pipeline(String),
    /// The data do not fit the operation, such as many-to-many matching.
    #[error("{0}")]
    Execution(String),
    /// A limit was met.
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

impl LogqlError {
    pub(crate) fn invalid(message: impl Into<String>) -> LogqlError {
        LogqlError::Invalid(message.into())
    }
}

pub(crate) type Result<T> = std::result::Result<T, LogqlError>;
