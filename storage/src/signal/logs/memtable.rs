//! Unflushed logs, readable at once.
