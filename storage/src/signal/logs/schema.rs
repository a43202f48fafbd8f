//! What a segment of logs holds. Format: FORMAT.md.
