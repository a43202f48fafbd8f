//! A memtable into a segment.
