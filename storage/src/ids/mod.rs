//! The ID index of a segment: fingerprint of an ID -> blocks (or whatever number its owner gives).
//!
//! Logs and traces share it: trace IDs, span IDs and the values of declared ID fields, all in one
//! normal form so that a binary trace ID and the same ID as text in an attribute meet. It may say
//! "maybe" for an ID that is not there (about once in 256), never "no" for one that is: whoever
//! looks up verifies on the data. The fingerprints are the filter: they lie together, apart from
//! the numbers they lead to, so that absence costs one small read or none at all.
//! Format: FORMAT.md, "ID index".

// Bytes from disk are read here: they are looked at with `get`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod bits;
mod build;
mod fields;
mod index;
mod normal;
#[cfg(test)]
mod tests;

pub(crate) use bits::{BitWriter, read_bits};
pub(crate) use build::IdIndexBuilder;
pub(crate) use fields::IdFields;
pub(crate) use index::IdIndex;
pub(crate) use normal::{
    OneId, hash_span_id, hash_text, hash_trace_id, hash_value, same_id, same_value,
};
