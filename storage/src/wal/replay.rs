//! Reading the log at start: what is whole is replayed, what is damaged is copied aside and told.
//!
//! First the headers ([`Wal::scan`]), so that writes can be taken; then, piece by piece, the bodies
//! ([`Wal::read`]).
//!
//! A torn tail (bytes behind the last whole frame of a file that nothing continues) is the normal
//! trace of a crash: those bytes were never acknowledged. Anything else that is no frame is damage:
//! the records before and after it are kept, the bytes go to `quarantine/`, and nothing is deleted.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{TenantId, Wire};

use crate::wal::frame::{self, Frame, Scan};
use crate::wal::skim::{Skim, skim};
use crate::wal::{LogFile, Wal, WalStats, Watermark};
use crate::{FileEntry, StorageError, UnreadPart};

/// Entries that are read at once have this much together, but for a single one that has more.
/// Units: bytes.
const PIECE_BYTES: usize = 1 << 20;

/// How closely a log is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Bodies are read only where the end of a write may lie that failed.
    Headers,
    /// Every byte.
    Bodies,
}

/// What a log holds, before anything of it is decoded.
#[derive(Debug, Default)]
pub(crate) struct LogScan {
    files: Vec<ScannedFile>,
    /// Hash of the body and tenant, and time of arrival, of every whole entry.
    pub(crate) hashes: Vec<EntryHash>,
    /// Entries that are not in segments, ascending.
    pub(crate) outstanding: Vec<u64>,
    pub(crate) next_sequence: u64,
    /// Damage, for the notices of answers.
    pub(crate) unread: Vec<UnreadPart>,
    /// Files that end in a write cut short, and where.
    pub(crate) torn: Vec<(String, usize)>,
    pub(crate) entries: u64,
    /// Units: bytes.
    pub(crate) bytes: u64,
}

/// What recognises a retry of an entry.
#[derive(Debug, Clone)]
pub(crate) struct EntryHash {
    pub(crate) tenant: TenantId,
    pub(crate) body_hash: u128,
    pub(crate) received_ns: i64,
    pub(crate) sequence: u64,
}

#[derive(Debug)]
struct ScannedFile {
    file: LogFile,
    /// Those not in segments.
    frames: Vec<Frame>,
}

/// Entries that lie one after the other in a file.
#[derive(Debug)]
pub(crate) struct Piece {
    path: Arc<Path>,
    frames: Vec<Frame>,
}

/// An entry to be decoded again.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) sequence: u64,
    pub(crate) tenant: TenantId,
    pub(crate) wire: Wire,
    pub(crate) body_hash: u128,
    /// Its bytes are not those that were written.
    pub(crate) damaged: Option<Damaged>,
}

/// Where in the log a damaged entry lies.
#[derive(Debug)]
pub(crate) struct Damaged {
    file: Arc<Path>,
    range: Range<usize>,
}

impl LogScan {
    pub(crate) fn files(&self) -> Vec<LogFile> {
        self.files.iter().map(|scanned| scanned.file.clone()).collect()
    }

    /// Everything that is not in segments, in order of sequence.
    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for scanned in self.files {
            let path: Arc<Path> = scanned.file.path.into();
            // Where a piece that begins here may end.
            let mut limit = 0;
            for frame in scanned.frames {
                let content = frame.content();
                match pieces.last_mut().filter(|_| content.end <= limit) {
                    Some(piece) => piece.frames.push(frame),
                    None => {
                        limit = content.start.saturating_add(PIECE_BYTES);
                        pieces.push(Piece { path: Arc::clone(&path), frames: vec![frame] });
                    }
                }
            }
        }
        pieces
    }
}

impl Wal {
    /// Reads all files and tells whole entries from damage. `quarantine` is where copies of damaged
    /// bytes go; without it (verification) nothing is written.
    ///
    /// Errors: Io when the folder cannot be listed. Never because of what a file holds.
    pub(crate) fn scan(
        &self,
        watermark: &Watermark,
        quarantine: Option<&Path>,
        depth: Depth,
    ) -> Result<LogScan, StorageError> {
        let disk = self.shared.components.files.as_ref();
        let listed = disk
            .list(self.path())
            .map_err(|error| StorageError::io(self.path().display(), error))?;
        let mut found = LogScan { next_sequence: watermark.sequence + 1, ..LogScan::default() };
        let mut before = Before { last_sequence: watermark.sequence, tail: None };
        let named: Vec<_> =
            listed.iter().filter_map(|entry| Some((entry, parse_name(&entry.name)?))).collect();
        let mut skims: Vec<Option<Skim>> = match depth {
            Depth::Bodies => Vec::new(),
            Depth::Headers => {
                let of = |(entry, (_, salt)): &(&FileEntry, (u64, u64))| {
                    let path = self.path().join(&entry.name);
                    // A file that cannot be read is met again below.
                    skim(disk, &path, entry.bytes, *salt).ok().flatten()
                };
                named.iter().map(of).collect()
            }
        };
        for (index, &(entry, (first_sequence, salt))) in named.iter().enumerate() {
            let next = skims.get(index + 1).and_then(Option::as_ref);
            let is_whole = |skim: &Skim| next.is_some_and(|next| skim.is_continued_by(next));
            let is_skimmed = skims.get(index).and_then(Option::as_ref).is_some_and(is_whole);
            // Its header is looked at once more, by the file before this one, which is done.
            let skimmed = skims.get_mut(index).and_then(|skim| skim.take_if(|_| is_skimmed));
            let path = self.path().join(&entry.name);
            if let Some(skimmed) = skimmed {
                let scan = skimmed.into_scan();
                let judged = Judged { name: &entry.name, first_sequence, watermark };
                self.judge(&mut found, &mut before, &judged, &scan);
                before.follow(first_sequence, &entry.name, &scan);
                found.take(path, first_sequence, scan, watermark);
                continue;
            }
            let bytes = match self.read_file(&path, quarantine.is_some()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.damage(&mut found, &entry.name, format!("cannot be read: {error}"));
                    // As many entries as it has room for, but none of the next file's.
                    let most = entry.bytes / frame::FRAME_HEADER_BYTES as u64;
                    let mut later = named.iter().skip(index + 1).map(|later| later.1.0);
                    // A file beside it, of a life that wrote nothing durable, may begin alike.
                    let next = later.find(|next| *next > first_sequence).unwrap_or(u64::MAX);
                    let limit = next.min(first_sequence.saturating_add(most));
                    found.take_unread(path, (first_sequence, limit), entry.bytes, watermark);
                    before = Before { last_sequence: u64::MAX, tail: None };
                    continue;
                }
            };
            let scan = frame::scan(&bytes, salt);
            let judged = Judged { name: &entry.name, first_sequence, watermark };
            self.judge(&mut found, &mut before, &judged, &scan);
            for range in scan.damaged.iter().chain(&scan.tail) {
                self.keep_aside(quarantine, &entry.name, &bytes, range);
            }
            for range in &scan.damaged {
                let why = damage_text(range, &lost_in(&scan.frames, range));
                self.damage(&mut found, &entry.name, why);
            }
            before.follow(first_sequence, &entry.name, &scan);
            found.take(path, first_sequence, scan, watermark);
        }
        if let Some((name, tail)) = before.tail {
            self.torn(&mut found, &name, &tail);
        }
        Ok(found)
    }

    /// Reads a file that nothing continues: the process that wrote it may have ended between a write and
    /// its sync, or at a sync that failed. Before a retry of what is in it may be acknowledged
    /// (`settle`), it is on disk, or gone.
    fn read_file(&self, path: &Path, settle: bool) -> std::io::Result<Vec<u8>> {
        let disk = self.shared.components.files.as_ref();
        if settle {
            // A sync tells of an earlier failure once; afterwards memory holds nothing but what is on disk.
            disk.settle(path).or_else(|_| disk.settle(path))?;
        }
        disk.read(path)
    }

    /// Tells a torn tail from damage, and a missing file from a gap that a failed write left.
    fn judge(&self, found: &mut LogScan, before: &mut Before, file: &Judged<'_>, scan: &Scan) {
        let continues = scan.header.is_some_and(|header| header.continues);
        let (first, last) =
            (before.last_sequence.saturating_add(1), file.first_sequence.saturating_sub(1));
        // Files whose entries are all in segments may have gone.
        let is_gap = continues && first <= last && !file.watermark.covers_all(first, last);
        if let Some((torn, tail)) = before.tail.take() {
            if is_gap {
                let why = format!("{} damaged bytes at offset {}", tail.len(), tail.start);
                self.damage(found, &torn, why);
            } else {
                self.torn(found, &torn, &tail);
            }
        } else if is_gap {
            let why = format!("entries before it are missing, up to number {last}");
            self.damage(found, file.name, why);
        }
    }

    fn torn(&self, found: &mut LogScan, name: &str, tail: &Range<usize>) {
        tracing::info!(file = name, offset = tail.start, "the log ends in a write cut short");
        found.torn.push((name.to_owned(), tail.start));
        WalStats::add(&self.shared.stats.torn_tails, 1);
    }

    fn damage(&self, found: &mut LogScan, name: &str, why: String) {
        found.unread.push(self.note_damage(name, why));
    }

    fn note_damage(&self, name: &str, why: String) -> UnreadPart {
        tracing::error!(file = name, %why, "the log is damaged");
        WalStats::add(&self.shared.stats.corruptions, 1);
        UnreadPart { name: name.to_owned(), why }
    }

    /// Copies an entry aside whose bytes are not those that were written, and says what is missing.
    pub(crate) fn set_aside_damaged(
        &self,
        entry: &Replayed,
        quarantine: &Path,
    ) -> Option<UnreadPart> {
        let Damaged { file, range } = entry.damaged.as_ref()?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        self.keep_bytes(Some(quarantine), &name, Some(&entry.wire.bytes), range);
        let lost = format!(": entries {0} to {0}", entry.sequence);
        Some(self.note_damage(&name, damage_text(range, &lost)))
    }

    fn keep_aside(
        &self,
        quarantine: Option<&Path>,
        name: &str,
        bytes: &[u8],
        range: &Range<usize>,
    ) {
        self.keep_bytes(quarantine, name, bytes.get(range.clone()), range);
    }

    fn keep_bytes(
        &self,
        quarantine: Option<&Path>,
        name: &str,
        damaged: Option<&[u8]>,
        range: &Range<usize>,
    ) {
        let (Some(folder), Some(damaged)) = (quarantine, damaged) else { return };
        let files = &self.shared.components.files;
        let path = folder.join(format!("{name}.{}-{}", range.start, range.end));
        let kept = files.create_folder(folder).and_then(|()| {
            let mut file = match files.create(&path, 0) {
                // The same damage was seen at an earlier start.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
                other => other?,
            };
            file.append(&[damaged])?;
            file.sync_data()
        });
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), %error, "damaged bytes could not be copied aside");
        }
    }

    /// Reads a piece of the log.
    ///
    /// Errors: Io; its entries stay outstanding, so that the next start tries again.
    pub(crate) fn read(&self, piece: Piece) -> Result<Vec<Replayed>, StorageError> {
        let Piece { path, frames } = piece;
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Ok(Vec::new());
        };
        let start = first.content().start;
        let mut bytes = vec![0; last.payload.end.saturating_sub(start)];
        let files = &self.shared.components.files;
        files.read_at(&path, start as u64, &mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                StorageError::corrupt(path.display(), "it has become shorter")
            }
            _ => StorageError::io(path.display(), error),
        })?;
        let bytes = Bytes::from(bytes);
        let entry = |frame: Frame| {
            let content = frame.content();
            let range = content.start - start..content.end - start;
            let is_whole = bytes.get(range.clone()).is_some_and(|bytes| frame.is_whole(bytes));
            let damaged =
                (!is_whole).then(|| Damaged { file: Arc::clone(&path), range: content.clone() });
            let wire_range = if is_whole { frame.payload.start - start..range.end } else { range };
            let Frame { sequence, received_ns, body_hash, tenant, protocol, encoding, .. } = frame;
            let wire = Wire { protocol, encoding, bytes: bytes.slice(wire_range), received_ns };
            Replayed { sequence, tenant, wire, body_hash, damaged }
        };
        Ok(frames.into_iter().map(entry).collect())
    }

    /// Damage found so far.
    pub(crate) fn corruptions(&self) -> u64 {
        self.shared.stats.corruptions.load(Ordering::Relaxed)
    }
}

/// The file that is being judged.
struct Judged<'a> {
    name: &'a str,
    first_sequence: u64,
    watermark: &'a Watermark,
}

struct Before {
    last_sequence: u64,
    tail: Option<(String, Range<usize>)>,
}

impl Before {
    fn follow(&mut self, first_sequence: u64, name: &str, scan: &Scan) {
        let empty = self.last_sequence.max(first_sequence.saturating_sub(1));
        self.last_sequence = scan.frames.last().map_or(empty, |frame| frame.sequence);
        self.tail = scan.tail.clone().map(|tail| (name.to_owned(), tail));
    }
}

impl LogScan {
    /// Takes in a file that cannot be read now: none of the numbers that it may hold is used again,
    /// and no watermark covers them, so that they are replayed once it can be read.
    fn take_unread(
        &mut self,
        path: std::path::PathBuf,
        (first_sequence, limit): (u64, u64),
        bytes: u64,
        watermark: &Watermark,
    ) {
        let numbers = first_sequence..limit;
        self.next_sequence = self.next_sequence.max(limit);
        self.outstanding.extend(numbers.filter(|number| !watermark.covers(*number)));
        let last_sequence = limit.saturating_sub(1);
        let file = LogFile { path, first_sequence, last_sequence, bytes };
        self.files.push(ScannedFile { file, frames: Vec::new() });
    }

    fn take(
        &mut self,
        path: std::path::PathBuf,
        first_sequence: u64,
        scan: Scan,
        watermark: &Watermark,
    ) {
        let highest = scan.frames.iter().map(|frame| frame.sequence).max();
        let last_sequence = highest.unwrap_or(first_sequence.saturating_sub(1));
        self.next_sequence =
            self.next_sequence.max(last_sequence.saturating_add(1)).max(first_sequence);
        self.entries += scan.frames.len() as u64;
        self.bytes += scan.used_bytes as u64;
        self.hashes.extend(scan.frames.iter().map(|frame| EntryHash {
            tenant: frame.tenant.clone(),
            body_hash: frame.body_hash,
            received_ns: frame.received_ns,
            sequence: frame.sequence,
        }));
        let mut frames = scan.frames;
        frames.retain(|frame| !watermark.covers(frame.sequence));
        self.outstanding.extend(frames.iter().map(|frame| frame.sequence));
        let bytes = scan.used_bytes as u64;
        let file = LogFile { path, first_sequence, last_sequence, bytes };
        self.files.push(ScannedFile { file, frames });
    }
}

fn damage_text(range: &Range<usize>, lost: &str) -> String {
    format!("{} damaged bytes at offset {}{lost}", range.len(), range.start)
}

/// The numbers of the entries that a damaged range held, in words; nothing where it held none.
fn lost_in(frames: &[Frame], range: &Range<usize>) -> String {
    let after = frames.partition_point(|frame| frame.payload.end <= range.start);
    let before = after.checked_sub(1).and_then(|index| frames.get(index));
    let (Some(before), Some(next)) = (before, frames.get(after)) else { return String::new() };
    let (first, last) = (before.sequence.saturating_add(1), next.sequence.saturating_sub(1));
    if first > last {
        return String::new();
    }
    format!(": entries {first} to {last}")
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, salt) = name.strip_suffix(".log")?.split_once('-')?;
    Some((sequence.parse().ok()?, u64::from_str_radix(salt, 16).ok()?))
}
