//! Offline verification: every log frame, every catalog object, every chunk of every segment, and
//! the small files beside them. What is damaged comes with what that means for the data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Signal;

use crate::catalog::{CatalogState, Checkpoint, Commit, Named, Sidecar, parse_path, unseal};
use crate::objects::{Objects, checksums};
use crate::segment::SegmentMeta;
use crate::store::core::segment_base;
use crate::store::dedup::Dedup;
use crate::store::identity::{Identity, Life};
use crate::store::retention::is_whole;
use crate::wal::{Depth, Wal, Watermark};
use crate::{Clock, Components, Options, Random, StorageError};

/// The kinds of files that a store is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    Log,
    RecentHashes,
    Identity,
    Retention,
    Commit,
    Checkpoint,
    Segment,
    Sidecar,
}

impl FileKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FileKind::Log => "log files",
            FileKind::RecentHashes => "hashes of recent requests",
            FileKind::Identity => "the folder's name",
            FileKind::Retention => "how far retention has come",
            FileKind::Commit => "catalog commits",
            FileKind::Checkpoint => "catalog checkpoints",
            FileKind::Segment => "segment files",
            FileKind::Sidecar => "segment sidecars",
        }
    }
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub kind: FileKind,
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// What that means for the data.
    pub meaning: String,
}

/// Files of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub files: u64,
    pub bytes: u64,
}

/// What `verify` found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    pub kinds: BTreeMap<FileKind, Tally>,
    pub log_entries: u64,
    pub damage: Vec<Damage>,
    /// What is no damage and still worth knowing.
    pub notes: Vec<String>,
}

impl Verified {
    fn count(&mut self, kind: FileKind, bytes: usize) {
        let tally = self.kinds.entry(kind).or_default();
        tally.files += 1;
        tally.bytes += bytes as u64;
    }

    fn damaged(&mut self, kind: FileKind, file: &str, what: impl ToString, meaning: &str) {
        let (file, what, meaning) = (file.to_owned(), what.to_string(), meaning.to_owned());
        let damage = Damage { kind, file, what, meaning };
        if !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }
}

/// Verification asks neither for the time nor for random numbers.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

impl Random for Still {
    fn next_u64(&self) -> u64 {
        0
    }
}

/// The disk, and no time or chance.
pub(super) fn on_disk() -> Components {
    Components::new(Arc::new(Still), Arc::new(Still))
}

/// Reads everything below the options' folder and bucket. Changes nothing.
///
/// Errors: Io when something cannot be listed; what cannot be read is damage of the answer.
pub(crate) async fn verify(
    options: &Options,
    components: &Components,
) -> Result<Verified, StorageError> {
    let objects = Objects::open(options, components)?;
    let mut verified = Verified::default();
    let state = catalog(&objects, &mut verified).await?;
    for meta in state.segments.values() {
        segment(&objects, meta, &mut verified).await?;
    }
    sidecars(&objects, &state, &mut verified).await?;
    let writer = identity(options, components, &mut verified);
    for file in &DISPENSABLE {
        file.verify(options, components, &mut verified);
    }
    let marks = writer.and_then(|writer| state.wal.get(&writer)).cloned().unwrap_or_default();
    logs(options, components, &marks, &mut verified).await?;
    Ok(verified)
}

fn identity(options: &Options, components: &Components, verified: &mut Verified) -> Option<String> {
    let content = components.files.read(&options.data_dir.join("writer")).ok()?;
    verified.count(FileKind::Identity, content.len());
    let identity = Identity::parse(&content);
    if identity.is_damaged {
        let meaning = match &identity.name {
            Some(_) => "nothing is lost: its other copy is whole, and the next start mends it",
            None => {
                "the log is taken for another folder's: what it and segments both hold is \
                 replayed a second time"
            }
        };
        verified.damaged(FileKind::Identity, "writer", "its checksum does not fit", meaning);
    }
    identity.name
}

/// A file of the folder that may be absent and of which the next start makes good whatever is lost.
struct Dispensable {
    kind: FileKind,
    name: &'static str,
    is_whole: fn(&[u8]) -> bool,
    /// What its loss comes to.
    meaning: &'static str,
}

const DISPENSABLE: [Dispensable; 2] = [
    Dispensable {
        kind: FileKind::Identity,
        name: "life",
        is_whole: |content| Life::parse(content).is_some(),
        meaning: "nothing is lost: the next start counts on from the clock",
    },
    Dispensable {
        kind: FileKind::Retention,
        name: "retention.json",
        is_whole,
        meaning: "nothing is lost: the next start takes it from the newest data",
    },
];

impl Dispensable {
    fn verify(&self, options: &Options, components: &Components, verified: &mut Verified) {
        let Ok(content) = components.files.read(&options.data_dir.join(self.name)) else { return };
        verified.count(self.kind, content.len());
        if !(self.is_whole)(&content) {
            let what = "its checksum does not fit";
            verified.damaged(self.kind, self.name, what, self.meaning);
        }
    }
}

async fn logs(
    options: &Options,
    components: &Components,
    marks: &BTreeMap<String, Watermark>,
    verified: &mut Verified,
) -> Result<(), StorageError> {
    for signal in Signal::ALL {
        let name = signal.as_str();
        let mark = marks.get(name).cloned().unwrap_or_default();
        let wal = Wal::new(signal, options, components);
        let scan =
            components.threads.blocking(move || wal.scan(&mark, None, Depth::Bodies)).await?;
        for file in scan.files() {
            verified.count(FileKind::Log, usize::try_from(file.bytes).unwrap_or(usize::MAX));
        }
        verified.log_entries += scan.entries;
        for part in scan.unread {
            let file = format!("wal/{name}/{}", part.name);
            let meaning = format!(
                "requests of {name} in these bytes may be missing; those before and after are kept"
            );
            verified.damaged(FileKind::Log, &file, part.why, &meaning);
        }
        for (file, offset) in scan.torn {
            verified.notes.push(format!(
                "wal/{name}/{file} ends at offset {offset} in a write that was cut short, as a \
                 crash leaves it; the log's last request, if its bytes changed later, looks alike"
            ));
        }
        let path = options.data_dir.join("wal").join(format!("{name}.recent"));
        if let Ok(content) = components.files.read(&path) {
            verified.count(FileKind::RecentHashes, content.len());
            if !Dedup::new(i64::MAX, path).load(components.files.as_ref()) {
                let file = format!("wal/{name}.recent");
                let meaning = format!(
                    "no record is lost; a request of {name} that is sent again after the restart \
                     may be stored twice"
                );
                let what = "its checksum does not fit";
                verified.damaged(FileKind::RecentHashes, &file, what, &meaning);
            }
        }
    }
    Ok(())
}

/// Every object of the catalog; returns the newest state that can be read.
async fn catalog(objects: &Objects, verified: &mut Verified) -> Result<CatalogState, StorageError> {
    const MEANING: &str = "the catalog is put together from older ones and from the segments' \
                           sidecars; deleted segments may come back until retention or a merge";
    for entry in objects.list("catalog").await? {
        let content = match objects.get(&entry.path).await {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(error) => {
                verified.damaged(FileKind::Commit, &entry.path, error, MEANING);
                continue;
            }
        };
        let (kind, outcome) = match parse_path(&entry.path) {
            Named::Commit(_) => {
                (FileKind::Commit, unseal::<Commit>(&entry.path, &content).map(|_| ()))
            }
            Named::Checkpoint(_) => {
                (FileKind::Checkpoint, unseal::<Checkpoint>(&entry.path, &content).map(|_| ()))
            }
            Named::Other => continue,
        };
        verified.count(kind, content.len());
        if let Err(error) = outcome {
            verified.damaged(kind, &entry.path, error, MEANING);
        }
    }
    let (state, problems) = crate::catalog::read_state(objects, "").await?;
    for problem in problems {
        if !verified.damage.iter().any(|damage| damage.what == problem) {
            verified.damaged(FileKind::Commit, "catalog", problem, MEANING);
        }
    }
    Ok(state)
}

async fn segment(
    objects: &Objects,
    meta: &SegmentMeta,
    verified: &mut Verified,
) -> Result<(), StorageError> {
    let base = segment_base(meta);
    let meaning = format!(
        "{} records of {}, tenant {}, from {} to {}: answers about that time are partial and name \
         the segment",
        meta.rows,
        meta.signal,
        meta.tenant,
        utc(meta.time_min_ns),
        utc(meta.time_max_ns)
    );
    for file in &meta.files {
        let path = format!("{base}.{}", file.extension);
        let what = match objects.get(&path).await {
            Ok(Some(content)) => {
                verified.count(FileKind::Segment, content.len());
                if content.len() as u64 == file.bytes {
                    let differs = |at| format!("its checksum differs at offset {at}");
                    first_difference(&content, &file.checksums).map(differs)
                } else {
                    let (found, expected) = (content.len(), file.bytes);
                    Some(format!("it has {found} bytes instead of {expected}"))
                }
            }
            Ok(None) => Some("it is missing".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = what {
            verified.damaged(FileKind::Segment, &path, what, &meaning);
        }
    }
    Ok(())
}

/// The sidecars of all segments, and what lies there that nothing lists.
async fn sidecars(
    objects: &Objects,
    state: &CatalogState,
    verified: &mut Verified,
) -> Result<(), StorageError> {
    const MEANING: &str = "nothing is lost now; without it the segment cannot be found again \
                           should the catalog be lost";
    let mut expected: BTreeSet<String> =
        state.segments.values().map(|meta| format!("{}.meta", segment_base(meta))).collect();
    let listed: BTreeSet<String> = state
        .segments
        .values()
        .flat_map(|meta| {
            let base = segment_base(meta);
            meta.files.iter().map(move |file| format!("{base}.{}", file.extension))
        })
        .collect();
    let mut unlisted = 0u64;
    for entry in objects.list("segments").await? {
        if !entry.path.ends_with(".meta") {
            unlisted += u64::from(!listed.contains(&entry.path));
            continue;
        }
        expected.remove(&entry.path);
        let content = match objects.get(&entry.path).await {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(error) => {
                verified.damaged(FileKind::Sidecar, &entry.path, error, MEANING);
                continue;
            }
        };
        verified.count(FileKind::Sidecar, content.len());
        if let Err(error) = unseal::<Sidecar>(&entry.path, &content) {
            verified.damaged(FileKind::Sidecar, &entry.path, error, MEANING);
        }
    }
    for path in expected {
        verified.damaged(FileKind::Sidecar, &path, "it is missing", MEANING);
    }
    if unlisted > 0 {
        verified.notes.push(format!(
            "{unlisted} segment files are in no catalog: replaced, or never finished; they are \
             removed after their grace is over"
        ));
    }
    Ok(())
}

/// Offset of the first chunk whose checksum is not the catalog's.
fn first_difference(content: &[u8], expected: &str) -> Option<usize> {
    let found = checksums(content);
    if found == expected {
        return None;
    }
    let same = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
    // 16 hex digits for each chunk.
    Some(same / 16 * crate::segment::CHECKSUM_CHUNK_BYTES)
}

/// A time for people: `2026-11-21T18:00:00Z`.
pub(crate) fn utc(time_ns: i64) -> String {
    let seconds = time_ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, by eras of 400 years. Source: Hinnant, "chrono-compatible low-level
    // date algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59Z");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_700_000_000_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(utc(4_102_444_799_000_000_000), "2099-12-31T23:59:59Z");
    }
}
