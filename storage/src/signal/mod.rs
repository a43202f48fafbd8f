//! The three signals, each in a folder of the same file names: schema (what a segment holds),
//! memtable, encode, index, scan, merge. What differs stands in a table in ARCHITECTURE.md.

// Bytes from disk are read here: they are looked at with `get`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;
