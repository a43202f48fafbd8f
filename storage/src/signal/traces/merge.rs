//! Segments into one segment.
