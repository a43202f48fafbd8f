//! What a segment of traces holds. Format: FORMAT.md.
