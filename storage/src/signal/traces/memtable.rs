//! Unflushed traces, readable at once.
