//! Bytes in, [`model::Batch`] out: one folder for each protocol, one place for each duty they share.
//!
//! A request goes `body` (cap, decompress) -> a protocol's decoder (one pass) -> [`Sink`]. What went
//! wrong is a class of `failure`; `dialect` knows how each protocol says it. This crate never
//! imports storage: the root implements [`Sink`] with it, and replays its log through [`Decoder`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod body;
mod checks;
mod decoder;
mod dialect;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod loki;
mod otlp;
mod rates;
mod raw_cache;
mod remote_write;
mod series_cache;
mod sink;
mod stats;
#[cfg(test)]
mod testing;

pub use decoder::{DecodeError, Decoded, Decoder};
pub use failure::{Class, Failure};
pub use http::{Ingest, IngestOptions, IngestStats};
pub use otlp::metrics::{DeltaMode, Promote, Strategy, TranslationOptions};
pub use sink::{Accepted, Sink, Taken};
pub use stats::{Arrival, Problem};
