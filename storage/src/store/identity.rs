//! The name of a data folder, by which its logs are told apart in a shared catalog, and the number of
//! its life.
//!
//! The name is random, made once. It stands in its file twice, each with a checksum, so that a damaged copy is
//! mended from the other one: under a wrong name the log would be replayed a second time.
//! Format: FORMAT.md, "Folder layout".

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::{seal_text, unseal_text};
use crate::files::{self, Files};

const NAME_BYTES: usize = 16;
/// A name, a space, a checksum, a newline.
const LINE_BYTES: usize = 34;
/// Numbers that the steps of one life have.
const STEPS_MAX: u64 = 1 << 24;
/// Numbers that the entries of one life have in a log; whatever a clock says, the last fits.
const ENTRIES_MAX: u64 = 1 << 29;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: Option<String>,
    pub(super) is_damaged: bool,
}

impl Identity {
    pub(super) fn parse(content: &[u8]) -> Identity {
        // As it was before it had checksums.
        if content.len() == NAME_BYTES && content.iter().all(u8::is_ascii_hexdigit) {
            let name = std::str::from_utf8(content).ok().map(str::to_owned);
            return Identity { name, is_damaged: false };
        }
        let whole = |copy: &[u8]| {
            let name = std::str::from_utf8(copy.get(..NAME_BYTES)?).ok()?;
            (copy == line(name).as_bytes()).then(|| name.to_owned())
        };
        let mut copies = content.chunks(LINE_BYTES).map(whole);
        let (first, second) = (copies.next().flatten(), copies.next().flatten());
        let is_damaged = first.is_none() || first != second || content.len() != 2 * LINE_BYTES;
        Identity { name: first.or(second), is_damaged }
    }
}

fn line(name: &str) -> String {
    format!("{name} {:016x}\n", xxh3_64(name.as_bytes()))
}

/// The folder's name: the one in the file, or `fresh` where there is none that can be read; and whether
/// there was a file.
pub(super) fn read_or_create(
    files: &dyn Files,
    path: &Path,
    fresh: &str,
) -> io::Result<(String, bool)> {
    let (content, was_there) = match files.read(path) {
        Ok(content) => (content, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    let Identity { name, is_damaged } = Identity::parse(&content);
    if is_damaged && !content.is_empty() {
        tracing::error!(path = %path.display(), mended = name.is_some(), "the folder's name is damaged");
    }
    let name = name.unwrap_or_else(|| fresh.to_owned());
    if is_damaged || content.len() == NAME_BYTES {
        files::replace(files, path, line(&name).repeat(2).as_bytes())?;
    }
    Ok((name, was_there))
}

/// What a data folder goes through from one start of a process to the next. A later one has a higher
/// number, and so has all that is numbered in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life(u64);

impl Life {
    /// Begins the next one: its number is the time in seconds, or one more than the last where a clock
    /// was set back.
    ///
    /// Errors: those of the file system.
    pub(super) fn begin(files: &dyn Files, path: &Path, now_ns: i64) -> io::Result<Life> {
        let last = match files.read(path) {
            Ok(content) => Life::parse(&content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let now_s = u64::try_from(now_ns / 1_000_000_000).unwrap_or(0);
        let life = last.map_or(now_s, |last| now_s.max(last.0.saturating_add(1)));
        files::replace(files, path, &seal_text(&life.to_string()))?;
        Ok(Life(life))
    }

    /// What the file says; nothing where it is damaged.
    pub(super) fn parse(content: &[u8]) -> Option<Life> {
        std::str::from_utf8(unseal_text(content)?).ok()?.parse().ok().map(Life)
    }

    /// Where the numbers of flushes and merges begin.
    pub(super) fn first_step(self) -> u64 {
        self.0.saturating_mul(STEPS_MAX)
    }

    /// Where the numbers of a log's entries begin.
    pub(super) fn first_entry(self) -> u64 {
        self.0.saturating_mul(ENTRIES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Life, line};
    use crate::DiskFiles;

    #[test]
    fn each_life_has_a_higher_number_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("life");
        let mut last = Life(0);
        for now_s in [1_700_000_000, 1_700_000_000, 5, -5, 1_800_000_000] {
            let life = Life::begin(&DiskFiles, &path, now_s * 1_000_000_000).unwrap();
            assert!(life > last, "{life:?} at {now_s}");
            assert!(life.first_entry() > last.first_entry());
            assert!(life.first_step() > last.first_step());
            last = life;
        }
        assert_eq!(last, Life(1_800_000_000));
        std::fs::write(&path, "9").unwrap();
        let life = Life::begin(&DiskFiles, &path, 77_000_000_000).unwrap();
        assert_eq!(life, Life(77), "the file is damaged");
    }

    #[test]
    fn each_flipped_bit_is_found_and_mended() {
        let name = "0123456789abcdef";
        let whole = line(name).repeat(2).into_bytes();
        let expected = Some(name.to_owned());
        assert_eq!(Identity::parse(&whole), Identity { name: expected.clone(), is_damaged: false });
        assert!(Identity::parse(name.as_bytes()).name == expected, "as it was before");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = Identity::parse(&damaged);
            assert_eq!(found, Identity { name: expected.clone(), is_damaged: true }, "bit {bit}");
        }
        assert_eq!(Identity::parse(b"").name, None);
    }
}
