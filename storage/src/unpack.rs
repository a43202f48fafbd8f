//! Decompressing what a file says about its own length, without believing it.

// Bytes from disk are read here: they are looked at with `get`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::io::{self, Read as _};

/// How much longer than its packed form a section is at most, mostly.
const RATIO_LIKELY: usize = 64;
/// The same for short ones. Units: bytes.
const LENGTH_LIKELY: usize = 1 << 20;

/// Whether room can be made at once for what says to be `raw_len` bytes long.
pub(crate) fn is_likely(packed: &[u8], raw_len: usize) -> bool {
    raw_len <= packed.len().saturating_mul(RATIO_LIKELY).max(LENGTH_LIKELY)
}

/// Decompresses what says to be `raw_len` bytes long. Room is made at once for a length that is
/// likely, and for any other only as far as bytes really come. The answer may be shorter, and one
/// byte longer: the caller compares where that matters.
///
/// Errors: no zstd frame.
pub(crate) fn decompress(packed: &[u8], raw_len: usize) -> io::Result<Vec<u8>> {
    if is_likely(packed, raw_len) {
        return zstd::bulk::decompress(packed, raw_len);
    }
    let mut raw = Vec::with_capacity(LENGTH_LIKELY);
    let decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
    // One byte more than it says is enough to see that it lies.
    decoder.take(raw_len as u64 + 1).read_to_end(&mut raw)?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_pack_well_are_read_and_lengths_that_lie_are_seen() {
        for length in [0, 1000, LENGTH_LIKELY, 20 << 20] {
            let packed = zstd::bulk::compress(&vec![7; length], 3).unwrap();
            assert_eq!(decompress(&packed, length).unwrap(), vec![7; length], "{length}");
            let claimed = decompress(&packed, (length + 1) << 10);
            assert_eq!(claimed.unwrap().len(), length, "the caller compares");
        }
        let packed = zstd::bulk::compress(&vec![7; 20 << 20], 3).unwrap();
        let short = decompress(&packed, 19 << 20).unwrap();
        assert_eq!(short.len(), (19 << 20) + 1, "no more than shows the lie");
        decompress(b"no zstd frame at all", 1 << 30).unwrap_err();
    }
}
