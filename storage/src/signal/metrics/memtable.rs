//! Unflushed metrics, readable at once.
