//! The bytes of a log file: header, frames, and the scan that finds whole frames in damaged bytes.
//!
//! Format: FORMAT.md, "Log". Every file has a random salt (in its name and its header) that goes
//! into every frame's checksum, so that a request body that happens to hold the bytes of a frame is
//! never taken for one. Nothing here panics on any input.

use std::ops::Range;

use memchr::memmem;
use model::{Encoding, Protocol, TenantId};

use crate::wal::Entry;

/// The newest version of the log's format that is known.
pub(crate) const LOG_VERSION: u8 = 1;
/// First bytes of a log file; the last is the format's version.
const FILE_MAGIC: [u8; 8] = *b"TERCWAL\x01";
pub(super) const FILE_HEADER_BYTES: usize = 32;
const FRAME_MAGIC: [u8; 4] = *b"TFRM";
pub(super) const FRAME_HEADER_BYTES: usize = 56;
/// Larger lengths are damage. Units: bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The header of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) salt: u64,
    /// Sequence number of the first frame.
    pub(super) first_sequence: u64,
    /// The file before this one ended whole: all its frames were durable when this one began.
    pub(super) continues: bool,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut out = [0; FILE_HEADER_BYTES];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[24..28].copy_from_slice(&u32::from(self.continues).to_le_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let header = bytes.get(..FILE_HEADER_BYTES)?;
        let (body, crc) = header.split_at(28);
        if !body.starts_with(&FILE_MAGIC) || crc != crc32fast::hash(body).to_le_bytes() {
            return None;
        }
        Some(FileHeader {
            salt: u64_at(body, 8)?,
            first_sequence: u64_at(body, 16)?,
            continues: body.get(24) == Some(&1),
        })
    }
}

/// Appends the header of a frame (tenant included, payload not) to `out`.
pub(super) fn put_frame_header(out: &mut Vec<u8>, salt: u64, sequence: u64, entry: &Entry) {
    let tenant = entry.tenant.as_str().as_bytes();
    let payload = &entry.wire.bytes;
    let mut payload_crc = crc32fast::Hasher::new();
    payload_crc.update(tenant);
    payload_crc.update(payload);
    let start = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[0; 4]);
    // The length was checked against PAYLOAD_BYTES_MAX, which is less than 2^32.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&payload_crc.finalize().to_le_bytes());
    // A tenant's name has at most 150 bytes.
    let tenant_bytes = tenant.len() as u8;
    out.extend_from_slice(&[entry.wire.protocol as u8, entry.wire.encoding as u8, tenant_bytes, 0]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&entry.wire.received_ns.to_le_bytes());
    out.extend_from_slice(&entry.body_hash.to_le_bytes());
    let crc = header_crc(salt, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(tenant);
}

fn header_crc(salt: u64, fields: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(fields);
    crc.finalize()
}

/// A whole frame found in a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) received_ns: i64,
    pub(super) body_hash: u128,
    pub(super) tenant: TenantId,
    pub(super) protocol: Protocol,
    pub(super) encoding: Encoding,
    /// Where the body lies in the file.
    pub(super) payload: Range<usize>,
    /// Of the tenant's name and the body.
    content_crc: u32,
}

impl Frame {
    /// Where the tenant's name and the body lie in the file.
    pub(super) fn content(&self) -> Range<usize> {
        self.payload.start - self.tenant.as_str().len()..self.payload.end
    }

    /// Whether these bytes are the tenant's name and the body as they were written.
    pub(super) fn is_whole(&self, content: &[u8]) -> bool {
        crc32fast::hash(content) == self.content_crc
    }
}

/// What a file's bytes hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) header: Option<FileHeader>,
    /// In file order.
    pub(super) frames: Vec<Frame>,
    /// Ranges that hold something else than frames, with whole frames behind them.
    pub(super) damaged: Vec<Range<usize>>,
    /// Bytes at the end that are no whole frame: a write that was cut short, or damage.
    pub(super) tail: Option<Range<usize>>,
    /// Where the last whole frame or the damage ends; zeros or nothing follow.
    pub(super) used_bytes: usize,
}

/// Finds all whole frames. `salt` is the one in the file's name.
pub(super) fn scan(bytes: &[u8], salt: u64) -> Scan {
    let mut found = Scan::default();
    let mut bad: Option<Range<usize>> = None;
    let mut at = 0;
    match FileHeader::decode(bytes).filter(|header| header.salt == salt) {
        Some(header) => {
            found.header = Some(header);
            at = FILE_HEADER_BYTES;
        }
        None if is_zero(bytes) => return found,
        None => {
            let end = FILE_HEADER_BYTES.min(bytes.len());
            bad = Some(0..end);
            at = at.max(end);
        }
    }
    while at < bytes.len() {
        match parse(bytes, at, salt) {
            Parsed::Frame(frame) => {
                at = frame.payload.end;
                found.frames.push(frame);
                found.damaged.extend(bad.take());
            }
            Parsed::Damaged(end) => {
                extend(&mut bad, at..end);
                at = end;
            }
            Parsed::NoFrame if is_zero(&bytes[at..]) => break,
            Parsed::NoFrame => {
                let end = next_header(bytes, at + 1, salt).unwrap_or_else(|| {
                    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
                    (bytes.len() - zeros).max(at + 1)
                });
                extend(&mut bad, at..end);
                at = end;
            }
        }
    }
    found.used_bytes = at.min(bytes.len());
    // A whole header of another file: it was put in this one's place.
    let is_foreign = FileHeader::decode(bytes).is_some_and(|header| header.salt != salt);
    if is_foreign {
        found.damaged.extend(bad);
    } else {
        found.tail = bad;
    }
    found
}

fn extend(bad: &mut Option<Range<usize>>, more: Range<usize>) {
    match bad {
        Some(range) => range.end = more.end,
        None => *bad = Some(more),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Offset of the next frame header with a good checksum.
fn next_header(bytes: &[u8], from: usize, salt: u64) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memmem::find_iter(rest, &FRAME_MAGIC)
        .map(|offset| from + offset)
        .find(|&at| header_at(bytes, at, salt).is_some())
}

enum Parsed {
    Frame(Frame),
    /// A frame begins here, and its body is damaged or its kind unknown: the next may begin at the
    /// offset given.
    Damaged(usize),
    NoFrame,
}

/// The header's bytes after magic and checksum.
fn header_at(bytes: &[u8], at: usize, salt: u64) -> Option<&[u8]> {
    let header = bytes.get(at..at.checked_add(FRAME_HEADER_BYTES)?)?;
    let (prefix, fields) = header.split_at(8);
    let good = prefix.starts_with(&FRAME_MAGIC)
        && prefix.get(4..)? == header_crc(salt, fields).to_le_bytes();
    good.then_some(fields)
}

fn parse(bytes: &[u8], at: usize, salt: u64) -> Parsed {
    let Some(fields) = header_at(bytes, at, salt) else { return Parsed::NoFrame };
    frame_of(bytes, at, fields).unwrap_or(Parsed::NoFrame)
}

fn frame_of(bytes: &[u8], at: usize, fields: &[u8]) -> Option<Parsed> {
    let lengths = Lengths::of(fields)?;
    let start = at + FRAME_HEADER_BYTES;
    let end = start + lengths.tenant_bytes + lengths.payload_bytes;
    let Some(content) = bytes.get(start..end) else {
        return Some(Parsed::Damaged(bytes.len()));
    };
    let whole = frame_with(fields, at, content).filter(|frame| frame.is_whole(content));
    Some(whole.map_or(Parsed::Damaged(end), Parsed::Frame))
}

/// What follows a frame's header.
struct Lengths {
    tenant_bytes: usize,
    payload_bytes: usize,
}

impl Lengths {
    fn of(fields: &[u8]) -> Option<Lengths> {
        let payload_bytes = u32_at(fields, 0)? as usize;
        let tenant_bytes = usize::from(*fields.get(10)?);
        (payload_bytes <= PAYLOAD_BYTES_MAX).then_some(Lengths { tenant_bytes, payload_bytes })
    }
}

/// The frame whose header lies at `at` of a file and at the start of `bytes`, which hold the tenant's
/// name as well; the body is not looked at.
pub(super) fn frame_headed(bytes: &[u8], at: usize, salt: u64) -> Option<Frame> {
    frame_with(header_at(bytes, 0, salt)?, at, bytes.get(FRAME_HEADER_BYTES..)?)
}

/// The frame at `at` whose header holds `fields`, and whose content begins with `content`; the
/// content's checksum is not looked at.
fn frame_with(fields: &[u8], at: usize, content: &[u8]) -> Option<Frame> {
    let Lengths { tenant_bytes, payload_bytes } = Lengths::of(fields)?;
    let tenant = std::str::from_utf8(content.get(..tenant_bytes)?).ok()?;
    let start = at + FRAME_HEADER_BYTES + tenant_bytes;
    Some(Frame {
        sequence: u64_at(fields, 16)?,
        received_ns: u64_at(fields, 24)?.cast_signed(),
        body_hash: u128::from(u64_at(fields, 32)?) | u128::from(u64_at(fields, 40)?) << 64,
        tenant: TenantId::parse(tenant).ok()?,
        protocol: Protocol::from_number(*fields.get(8)?)?,
        encoding: Encoding::from_number(*fields.get(9)?)?,
        payload: start..start + payload_bytes,
        content_crc: u32_at(fields, 4)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
