//! What the catalog's objects hold, and the seal that tells whole ones from damaged ones.
//!
//! Format: FORMAT.md, "Catalog".

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::StorageError;
use crate::segment::SegmentMeta;
use crate::wal::Watermark;

/// Length of the seal: a newline, 16 hex digits, a newline.
const SEAL_BYTES: usize = 18;

/// One change of the catalog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) version: u32,
    pub(crate) sequence: u64,
    /// Whose log the watermarks are of: one data folder.
    pub(crate) writer: String,
    /// Tells this commit from every other with the same content.
    pub(crate) nonce: u64,
    pub(crate) time_ns: i64,
    pub(crate) added: Vec<SegmentMeta>,
    pub(crate) removed: Vec<String>,
    /// By signal, where it changed.
    pub(crate) wal: BTreeMap<String, Watermark>,
}

/// The catalog as a whole after commit `sequence`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) version: u32,
    pub(crate) sequence: u64,
    pub(crate) time_ns: i64,
    pub(crate) segments: Vec<SegmentMeta>,
    /// Segments that were removed and whose files may still be there, with the time of removal.
    pub(crate) removed: BTreeMap<String, i64>,
    /// By writer, by signal.
    pub(crate) wal: BTreeMap<String, BTreeMap<String, Watermark>>,
}

/// What lies beside a segment's files, so that the catalog can be made again from a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) version: u32,
    pub(crate) meta: SegmentMeta,
    /// All segments that were made in the same step; they count only together.
    pub(crate) siblings: Vec<String>,
    /// The segments that they stand for.
    pub(crate) replaces: Vec<String>,
    pub(crate) writer: String,
    /// For a flush what segments hold of the log with this one, for a merge what they held anyway.
    pub(crate) wal: Watermark,
    /// For a flush, what segments held before: of two that begin alike, one never came into the
    /// catalog, and its entries were replayed and flushed once more.
    #[serde(default)]
    pub(crate) from: Option<Watermark>,
    /// Higher for each flush and merge of the data folder; 0 where an older version wrote it.
    #[serde(default)]
    pub(crate) made: u64,
}

/// The version of all three.
pub(crate) const CATALOG_VERSION: u32 = 1;

/// JSON, a newline, the hex xxh3-64 of the JSON, a newline.
pub(crate) fn seal(content: &impl Serialize) -> Result<Bytes, StorageError> {
    let out = serde_json::to_string(content)
        .map_err(|error| StorageError::io("a catalog object cannot be written", error))?;
    Ok(seal_text(&out).into())
}

/// Text, a newline, the hex xxh3-64 of the text, a newline.
#[must_use]
pub fn seal_text(text: &str) -> Vec<u8> {
    format!("{text}{}", seal_of(text.as_bytes())).into_bytes()
}

/// What follows a text that is sealed.
pub(crate) fn seal_of(body: &[u8]) -> String {
    format!("\n{:016x}\n", xxh3_64(body))
}

/// What [`seal_text`] sealed; nothing where the seal does not fit.
#[must_use]
pub fn unseal_text(bytes: &[u8]) -> Option<&[u8]> {
    let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
    (seal == seal_of(body).as_bytes()).then_some(body)
}

/// Reads what [`seal`] wrote.
///
/// Errors: Corrupt.
pub(crate) fn unseal<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, StorageError> {
    let body =
        unseal_text(bytes).ok_or_else(|| StorageError::corrupt(name, "its seal does not fit"))?;
    serde_json::from_slice(body).map_err(|error| StorageError::corrupt(name, error))
}

pub(crate) fn commit_path(sequence: u64) -> String {
    format!("catalog/{sequence:020}.json")
}

pub(crate) fn checkpoint_path(sequence: u64) -> String {
    format!("catalog/checkpoint-{sequence:020}.json")
}

/// What an object's name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Commit(u64),
    Checkpoint(u64),
    Other,
}

pub(crate) fn parse_path(path: &str) -> Named {
    let stem = path.strip_prefix("catalog/").and_then(|name| name.strip_suffix(".json"));
    let Some(stem) = stem else { return Named::Other };
    match stem.strip_prefix("checkpoint-") {
        Some(number) => number.parse().map_or(Named::Other, Named::Checkpoint),
        None => stem.parse().map_or(Named::Other, Named::Commit),
    }
}
