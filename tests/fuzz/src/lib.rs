//! Fuzz targets: one for every decoder, parser and file reader that bytes from outside can reach.
//!
//! A target is a function of bytes. Cases that matter lie in `corpus/<target>/` and are run by
//! `cargo test`; the program `fuzz` makes new ones of them for as long as it is told. A case is bad
//! when something panics in it, when it takes longer than [`CASE_TIME_MAX`], or when the heap grows
//! beyond four times the case and what the target may have besides.

pub mod campaign;
pub mod mutate;
pub mod random;
mod targets;

use std::path::PathBuf;
use std::time::Duration;

use mutate::Shape;

/// The longest that a case of [`mutate::CASE_BYTES_MAX`] may take.
pub const CASE_TIME_MAX: Duration = Duration::from_secs(1);
/// The heap that a case may take. Units: bytes for each byte of it.
pub const HEAP_PER_BYTE: usize = 4;

/// One thing to try.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The folder of its corpus; the row of the matrix is `F5-` and this.
    pub name: &'static str,
    pub shape: Shape,
    /// The heap that it may take beside [`HEAP_PER_BYTE`]. Units: bytes.
    pub heap_bytes: usize,
    /// Cases to begin with, beside the corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Tries a case and tells what came of it: equal numbers, the same way through the code.
    pub run: fn(&[u8]) -> u64,
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    [targets::ingest::TARGETS, targets::query::TARGETS, targets::storage::TARGETS].concat()
}

/// Where the corpus of a target lies.
#[must_use]
pub fn corpus_folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The files of a target's corpus, by name.
#[must_use]
pub fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(folder) = std::fs::read_dir(corpus_folder(target)) else { return Vec::new() };
    let mut files: Vec<(String, Vec<u8>)> = folder
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, std::fs::read(entry.path()).ok()?))
        })
        .collect();
    files.sort();
    files
}
