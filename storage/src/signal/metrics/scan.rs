//! Reads memtables and segments.
