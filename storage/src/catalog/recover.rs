//! Opening the catalog, whatever state its objects are in.
//!
//! The newest checkpoint that can be read, then every commit after it. Where a commit is missing or
//! unreadable, or the catalog is empty and segments lie in the store, the sidecars of the segments
//! are read and those that nothing replaces are taken in: data comes back rather than being lost,
//! and retention or the next merge removes what should have been gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::StorageError;
use crate::catalog::{
    CatalogState, Checkpoint, Commit, Named, Sidecar, commit_path, fetch, parse_path,
};
use crate::objects::Objects;
use crate::segment::SegmentMeta;
use crate::store::segment_base;
use crate::wal::Watermark;

/// After this long a listing of a bucket has everything that was written before.
const LISTING_SETTLES: Duration = Duration::from_secs(10);

/// Whose catalog is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opener<'a> {
    /// The name of the data folder; empty where it is not known.
    pub(super) writer: &'a str,
    /// It may have written to the store before.
    pub(super) has_lived: bool,
}

/// What could be made of the catalog's objects.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) state: CatalogState,
    pub(super) problems: Vec<String>,
    /// Something of the newest generation is missing.
    pub(super) is_damaged: bool,
}

pub(super) async fn load(objects: &Objects, opener: Opener<'_>) -> Result<Recovered, StorageError> {
    let mut commits = BTreeSet::new();
    let mut checkpoints = BTreeSet::new();
    for entry in objects.list("catalog").await? {
        match parse_path(&entry.path) {
            Named::Commit(sequence) => drop(commits.insert(sequence)),
            Named::Checkpoint(sequence) => drop(checkpoints.insert((sequence, entry.path))),
            Named::Other => {}
        }
    }
    let numbers = checkpoints.iter().map(|(sequence, _)| *sequence);
    let newest = numbers.chain(commits.last().copied()).max();
    let mut found = Recovered::default();
    for (_, path) in checkpoints.iter().rev() {
        match read::<Checkpoint>(objects, path).await? {
            Ok(checkpoint) => {
                found.state = CatalogState::from_checkpoint(checkpoint);
                break;
            }
            Err(problem) => found.problems.push(problem),
        }
    }
    // One after the other, whether listed or not: a listing may be older than the last commit.
    loop {
        let next = found.state.sequence + 1;
        let Some(commit) = fetch::<Commit>(objects, &commit_path(next)).await? else {
            let Some(later) = commits.range(next..).next().copied() else { break };
            let last = (later - 1).max(next);
            found.problems.push(format!("commits {next} to {last} of the catalog are missing"));
            found.is_damaged = true;
            // What is listed and cannot be had is missing as well.
            found.state.sequence = last;
            continue;
        };
        match commit {
            Ok(commit) => found.state.apply(&commit),
            Err(error) => {
                found.problems.push(error.to_string());
                found.is_damaged = true;
            }
        }
        found.state.sequence = next;
    }
    if newest.is_some_and(|newest| newest > found.state.sequence) {
        found.is_damaged = true;
        found.state.sequence = newest.unwrap_or_default();
    }
    let is_empty = newest.is_none();
    if found.is_damaged || is_empty {
        if objects.is_shared()
            && (found.is_damaged || opener.has_lived || !objects.list("segments").await?.is_empty())
        {
            tracing::warn!(
                seconds = LISTING_SETTLES.as_secs(),
                "the catalog is missing or damaged: waiting until the bucket lists all segments"
            );
            tokio::time::sleep(LISTING_SETTLES).await;
        }
        let adopted = adopt(objects, opener.writer, &mut found).await?;
        if adopted.segments > 0 {
            found.is_damaged = true;
            // Of a first flush that was cut short before its commit nothing can be missing.
            if !(is_empty && adopted.is_first_flush) {
                let count = adopted.segments;
                found.problems.push(format!("{count} segments were found by listing the store"));
            }
        }
    }
    for problem in &found.problems {
        tracing::error!(problem, "the catalog is damaged");
    }
    Ok(found)
}

/// Segments that a listing brought in.
#[derive(Debug)]
struct Adopted {
    segments: usize,
    /// They are what this writer has flushed first, and nothing else has ever been in the store.
    is_first_flush: bool,
}

/// Takes in segments that lie in the store whole, that no later one replaces, and that were not
/// removed as far as is known.
async fn adopt(
    objects: &Objects,
    writer: &str,
    found: &mut Recovered,
) -> Result<Adopted, StorageError> {
    let mut sidecars: BTreeMap<String, Sidecar> = BTreeMap::new();
    let listed = objects.list("segments").await?;
    let paths: BTreeSet<&str> = listed.iter().map(|entry| entry.path.as_str()).collect();
    for entry in &listed {
        if !entry.path.ends_with(".meta") {
            continue;
        }
        match read::<Sidecar>(objects, &entry.path).await? {
            Ok(sidecar) => drop(sidecars.insert(sidecar.meta.id.clone(), sidecar)),
            Err(problem) => found.problems.push(problem),
        }
    }
    // A step that was cut short has made only some of its segments: what it read from is still
    // there, in the log or in the segments that it was to replace.
    let whole =
        |sidecar: &Sidecar| sidecar.siblings.iter().all(|sibling| sidecars.contains_key(sibling));
    let complete: Vec<&Sidecar> = sidecars.values().filter(|sidecar| whole(sidecar)).collect();
    let history = History::of(&complete);
    // The sidecar alone is left of what was removed while siblings of it live on.
    let is_gone = |meta: &SegmentMeta| {
        let base = segment_base(meta);
        let mut files = meta.files.iter().map(|file| format!("{base}.{}", file.extension));
        !meta.files.is_empty() && !files.any(|path| paths.contains(path.as_str()))
    };
    let from_the_start = Some(Watermark::default());
    let is_first_flush =
        complete.iter().all(|sidecar| sidecar.writer == writer && sidecar.from == from_the_start)
            && complete.len() == sidecars.len();
    let mut adopted = Adopted { segments: 0, is_first_flush };
    for sidecar in &complete {
        let id = &sidecar.meta.id;
        if history.replaced.contains(id.as_str())
            || !history.made.contains(id.as_str())
            || is_gone(&sidecar.meta)
            || found.state.removed.contains_key(id)
            || found.state.segments.contains_key(id)
        {
            continue;
        }
        found.state.segments.insert(id.clone(), sidecar.meta.clone());
        adopted.segments += 1;
    }
    found.state.segments.retain(|id, _| !history.replaced.contains(id.as_str()));
    let is_ours = |sidecar: &&&Sidecar| {
        sidecar.writer == writer && history.made.contains(sidecar.meta.id.as_str())
    };
    for sidecar in complete.iter().filter(is_ours) {
        let marks = found.state.wal.entry(writer.to_owned()).or_default();
        let mark: &mut Watermark = marks.entry(sidecar.meta.signal.clone()).or_default();
        mark.join(&sidecar.wal);
    }
    Ok(adopted)
}

/// What one flush or merge made: its segments count only together, and they alike say from what.
type Step<'a> = &'a [&'a Sidecar];

/// What is left of the steps once those are out that never came into the catalog and were made again.
#[derive(Debug, Default)]
struct History<'a> {
    /// Segments of the steps that count.
    made: BTreeSet<&'a str>,
    /// Segments that they stand for.
    replaced: BTreeSet<&'a str>,
}

impl<'a> History<'a> {
    /// Two steps that take the same entries of a log, or the same segment, cannot both have come into
    /// the catalog; what only the first did, the second has done again. So of such two the later one
    /// counts, but for one whose segments a merge has read: those were in the catalog.
    fn of(complete: &[&'a Sidecar]) -> History<'a> {
        let mut steps: BTreeMap<&[String], Vec<&Sidecar>> = BTreeMap::new();
        for sidecar in complete {
            steps.entry(&sidecar.siblings).or_default().push(sidecar);
        }
        let merged: BTreeSet<&String> =
            complete.iter().flat_map(|sidecar| &sidecar.replaces).collect();
        let following = following(complete);
        let rank = |step: Step<'_>| {
            let first = step.first()?;
            let is_merged = first.siblings.iter().any(|sibling| merged.contains(sibling));
            let end = (&first.writer, &first.meta.signal, &first.wal);
            // What older versions wrote does not say when it was made.
            let followers = following.get(&end).copied().unwrap_or(0);
            let last = first.siblings.iter().max().cloned();
            Some((is_merged, first.made, followers, first.wal.sequence, last))
        };
        let mut steps: Vec<_> = steps.into_values().collect();
        steps.sort_by_cached_key(|step| Reverse(rank(step)));
        let mut history = History::default();
        let mut flushes: BTreeMap<_, Vec<(&Watermark, &Watermark)>> = BTreeMap::new();
        for step in &steps {
            let Some(first) = step.first() else { continue };
            if first.replaces.iter().any(|id| history.replaced.contains(id.as_str())) {
                continue;
            }
            if let Some(from) = &first.from {
                let flushed = flushes.entry((&first.writer, &first.meta.signal)).or_default();
                if flushed.iter().any(|other| share(*other, (from, &first.wal))) {
                    continue;
                }
                flushed.push((from, &first.wal));
            }
            history.made.extend(step.iter().map(|sidecar| sidecar.meta.id.as_str()));
            history.replaced.extend(first.replaces.iter().map(String::as_str));
        }
        history
    }
}

/// Whether two flushes, each from one watermark to another, took entries of the same numbers.
fn share(one: (&Watermark, &Watermark), other: (&Watermark, &Watermark)) -> bool {
    let overlap = one.0.sequence < other.1.sequence && other.0.sequence < one.1.sequence;
    overlap || one.0 == other.0
}

/// How many flushes follow one another from a watermark on, by writer and signal.
fn following<'a>(
    complete: &[&'a Sidecar],
) -> BTreeMap<(&'a String, &'a String, &'a Watermark), usize> {
    let open = |mark: &Watermark| {
        let lengths = mark.holes.iter().map(|(first, last)| last.saturating_sub(*first));
        lengths.fold(0, |sum: u64, length| sum.saturating_add(length).saturating_add(1))
    };
    let mut by_end: Vec<_> =
        complete.iter().filter_map(|sidecar| Some((*sidecar, sidecar.from.as_ref()?))).collect();
    by_end.sort_by_key(|(sidecar, _)| (Reverse(sidecar.wal.sequence), open(&sidecar.wal)));
    let mut following: BTreeMap<_, usize> = BTreeMap::new();
    for (sidecar, from) in by_end {
        let (writer, signal) = (&sidecar.writer, &sidecar.meta.signal);
        let after = following.get(&(writer, signal, &sidecar.wal)).copied().unwrap_or(0);
        let most = following.entry((writer, signal, from)).or_default();
        *most = (*most).max(after + 1);
    }
    following
}

/// The object, or in words why it cannot be used.
async fn read<T: serde::de::DeserializeOwned>(
    objects: &Objects,
    path: &str,
) -> Result<Result<T, String>, StorageError> {
    Ok(match fetch(objects, path).await? {
        Some(read) => read.map_err(|error| error.to_string()),
        None => Err(format!("{path} is missing")),
    })
}
