//! Makes the checksums of a log file right, for fuzzing: what stands behind them is then looked at.

use std::ops::Range;

use memchr::memmem;

use super::frame::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES};

/// How many whole frames a file has.
pub(crate) fn frames_in(bytes: &[u8], salt: u64) -> usize {
    let found = frame::scan(bytes, salt);
    for frame in &found.frames {
        assert!(bytes.get(frame.payload.clone()).is_some(), "bug: a frame lies outside its file");
    }
    assert!(found.used_bytes <= bytes.len(), "bug: more is used than there is");
    found.frames.len()
}

/// Writes the checksums of the file's header and of every frame that can be seen.
pub(crate) fn heal(bytes: &mut [u8], salt: u64) {
    let header = bytes.get(..28).map(crc32fast::hash);
    if let (Some(crc), true) = (header, bytes.len() >= FILE_HEADER_BYTES) {
        put(bytes, 28..32, crc);
    }
    let starts: Vec<usize> = memmem::find_iter(bytes, b"TFRM").collect();
    for start in starts {
        let field = |at: usize| bytes.get(start + at..)?.first_chunk::<4>().copied();
        let Some(length) = field(8).map(u32::from_le_bytes) else { continue };
        let Some(&tenant_bytes) = bytes.get(start + 18) else { continue };
        let from = start + FRAME_HEADER_BYTES;
        let end = from.saturating_add(usize::from(tenant_bytes)).saturating_add(length as usize);
        if let Some(crc) = bytes.get(from..end).map(crc32fast::hash) {
            put(bytes, start + 12..start + 16, crc);
        }
        let fields = bytes.get(start + 8..from).map(|fields| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&salt.to_le_bytes());
            crc.update(fields);
            crc.finalize()
        });
        if let Some(crc) = fields {
            put(bytes, start + 4..start + 8, crc);
        }
    }
}

fn put(bytes: &mut [u8], at: Range<usize>, crc: u32) {
    if let Some(place) = bytes.get_mut(at) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}
