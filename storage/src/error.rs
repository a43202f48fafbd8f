//! Errors, told apart by what the caller should do.

use std::fmt;

use model::Exceeded;

/// What to do about a [`StorageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is at fault: do not repeat it.
    Invalid,
    /// A limit was met: ask for less.
    LimitExceeded,
    /// The tenant asks more at one time than it may: repeat later.
    TooMany,
    /// Not now (disk full, read-only, shutting down, memory): repeat later.
    Unavailable,
    /// Bytes on disk contradict themselves. What they hold is quarantined, never guessed.
    Corrupt,
    /// The time or the client is gone.
    Cancelled,
    /// The query's time ran out.
    Timeout,
    /// Reading or writing failed.
    Io,
}

/// What could not be done, to what, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageError {
    kind: ErrorKind,
    message: String,
    exceeded: Option<Box<Exceeded>>,
}

impl StorageError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        StorageError { kind, message: message.into(), exceeded: None }
    }

    /// A limit that was met.
    #[must_use]
    pub fn limit(exceeded: Exceeded) -> Self {
        let message = exceeded.to_string();
        let exceeded = Some(Box::new(exceeded));
        StorageError { kind: ErrorKind::LimitExceeded, message, exceeded }
    }

    /// The same, when a later try may not meet it.
    #[must_use]
    pub fn too_many(exceeded: Exceeded) -> Self {
        StorageError { kind: ErrorKind::TooMany, ..Self::limit(exceeded) }
    }

    /// A limit of the whole process that was met: a later try may not meet it.
    #[must_use]
    pub fn unavailable(exceeded: Exceeded) -> Self {
        StorageError { kind: ErrorKind::Unavailable, ..Self::limit(exceeded) }
    }

    /// The limit that was met, if it was one.
    #[must_use]
    pub fn exceeded(&self) -> Option<&Exceeded> {
        self.exceeded.as_deref()
    }

    /// Contradicting bytes in `what`.
    pub fn corrupt(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("{what} is corrupt: {why}"))
    }

    /// A failed read or write of `what`.
    pub fn io(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {why}"))
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StorageError {}
