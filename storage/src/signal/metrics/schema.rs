//! What a segment of metrics holds. Format: FORMAT.md.
