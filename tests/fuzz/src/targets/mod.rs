//! The targets, by the crate that they try.

pub(crate) mod ingest;
pub(crate) mod query;
pub(crate) mod storage;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

const MIB: usize = 1 << 20;

/// In every kind of JSON.
const JSON_WORDS: &[&str] = &["{", "}", "[", "]", "\"", ":", ",", "null"];
/// In both query languages.
const QUERY_WORDS: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "!=",
    "\"",
    "`",
    "==",
    "and",
    "offset",
    "rate(",
    "quantile_over_time(",
    "label_replace(",
    "topk(",
    "#",
];

/// The number of a way through the code: texts that differ in digits and quotations alone are one.
fn way(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut quoted = false;
    for c in text.chars().take(200) {
        quoted ^= c == '"' || c == '`';
        if !quoted && !c.is_ascii_digit() {
            c.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The number of a count: those of the same length in bits are one.
fn size(count: usize) -> u64 {
    u64::from(usize::BITS - count.leading_zeros())
}

fn texts(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The parts of a case: each but the last has its length before it, in four bytes.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts.iter().take(parts.len() - 1) {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// What [`join`] put together; a length that lies is as long as can be.
fn split(case: &[u8], count: usize) -> Vec<bytes::Bytes> {
    let header = case.len().min((count - 1) * 4);
    let (lengths, mut rest) = case.split_at(header);
    let mut parts = Vec::with_capacity(count);
    for length in lengths.as_chunks::<4>().0 {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(bytes::Bytes::copy_from_slice(part));
        rest = after;
    }
    parts.push(bytes::Bytes::copy_from_slice(rest));
    parts.resize(count, bytes::Bytes::new());
    parts
}
