//! Reading a log file from header to header: what it holds is known without its bodies.
//!
//! A start takes writes as soon as it knows the entries' numbers and hashes, so that this must not
//! cost what reading the log costs. A skim tells less than a scan: a damaged body is found when it is
//! replayed. So only a file that the next one continues without a gap is skimmed, because then each
//! of its frames was on disk before that one began; anything else is scanned.

use std::io;
use std::path::Path;

use model::TenantId;

use crate::files::Files;
use crate::wal::frame::{
    FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, Frame, Scan, frame_headed,
};

/// A header and the longest name of a tenant. Units: bytes.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES + TenantId::BYTES_MAX;
/// Read at once where one small frame follows the other. Units: bytes.
const STRIDE_BYTES: usize = 256 << 10;
/// Frames that are this near are read through, bodies and all. Units: bytes.
const NEAR_BYTES: usize = 16 << 10;

/// What the headers in a file say.
#[derive(Debug)]
pub(super) struct Skim {
    pub(super) header: FileHeader,
    /// In file order.
    frames: Vec<Frame>,
}

impl Skim {
    /// Whether `next` began when all of this file was on disk, and nothing is missing between them.
    pub(super) fn is_continued_by(&self, next: &Skim) -> bool {
        let before = self.header.first_sequence.saturating_sub(1);
        let last = self.frames.last().map_or(before, |frame| frame.sequence);
        next.header.continues && last.checked_add(1) == Some(next.header.first_sequence)
    }

    /// The same as a scan that has found no fault.
    pub(super) fn into_scan(self) -> Scan {
        let used_bytes = self.frames.last().map_or(FILE_HEADER_BYTES, |frame| frame.payload.end);
        Scan { header: Some(self.header), frames: self.frames, used_bytes, ..Scan::default() }
    }
}

/// Goes from header to header as long as there are whole ones. Nothing where the file's own is not.
pub(super) fn skim(
    files: &dyn Files,
    path: &Path,
    file_bytes: u64,
    salt: u64,
) -> io::Result<Option<Skim>> {
    let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
    let mut window = Window { files, path, file_bytes, start: 0, buf: Vec::new() };
    let header = FileHeader::decode(window.at(0, FILE_HEADER_BYTES)?);
    let Some(header) = header.filter(|header| header.salt == salt) else { return Ok(None) };
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = FILE_HEADER_BYTES;
    loop {
        let head = window.at(at, HEAD_BYTES)?;
        let frame = frame_headed(head, at, salt).filter(|frame| frame.payload.end <= file_bytes);
        let Some(frame) = frame else { return Ok(Some(Skim { header, frames })) };
        at = frame.payload.end;
        frames.push(frame);
    }
}

/// The part of a file that was read last.
struct Window<'a> {
    files: &'a dyn Files,
    path: &'a Path,
    file_bytes: usize,
    start: usize,
    buf: Vec<u8>,
}

impl Window<'_> {
    /// Up to `bytes` from `at`; fewer where the file ends.
    fn at(&mut self, at: usize, bytes: usize) -> io::Result<&[u8]> {
        let left = self.file_bytes.saturating_sub(at);
        let wanted = bytes.min(left);
        let end = self.start + self.buf.len();
        if at < self.start || at + wanted > end {
            let is_near = at >= end && at - end <= NEAR_BYTES || (self.start..end).contains(&at);
            let read = if is_near { STRIDE_BYTES.min(left) } else { wanted };
            self.buf.resize(read, 0);
            self.start = at;
            self.files.read_at(self.path, at as u64, &mut self.buf)?;
        }
        Ok(self.buf.get(at - self.start..).unwrap_or_default())
    }
}
