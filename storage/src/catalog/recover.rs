//! Opening the catalog, whatever state its objects are in.
//!
//! The newest checkpoint that can be read, then every commit after it. Where a commit is missing or
//! unreadable, or the catalog is empty and segments lie in the store, the sidecars of the segments
//! are read and those that nothing replaces are taken in: data comes back rather than being lost,
//! and retention or the next merge removes what should have been gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::StorageError;
use crate::catalog::{
    CatalogState, Checkpoint, Commit, Named, Sidecar, commit_path, fetch, parse_path,
};
use crate::objects::Objects;
use crate::segment::SegmentMeta;
use crate::store::segment_base;
use crate::wal::Watermark;

/// What could be made of the catalog's objects.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) state: CatalogState,
    pub(super) problems: Vec<String>,
    /// Something of the newest generation is missing.
    pub(super) is_damaged: bool,
}

pub(super) async fn load(objects: &Objects, writer: &str) -> Result<Recovered, StorageError> {
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
        let adopted = adopt(objects, writer, &mut found).await?;
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
    let replaced: BTreeSet<&String> =
        complete.iter().flat_map(|sidecar| &sidecar.replaces).collect();
    let doubled = doubled(&complete, &replaced);
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
        if replaced.contains(id)
            || doubled.contains(id)
            || is_gone(&sidecar.meta)
            || found.state.removed.contains_key(id)
            || found.state.segments.contains_key(id)
        {
            continue;
        }
        found.state.segments.insert(id.clone(), sidecar.meta.clone());
        adopted.segments += 1;
    }
    let superseded: Vec<String> =
        found.state.segments.keys().filter(|id| replaced.contains(id)).cloned().collect();
    for id in superseded {
        found.state.segments.remove(&id);
    }
    let is_ours =
        |sidecar: &&&Sidecar| sidecar.writer == writer && !doubled.contains(&sidecar.meta.id);
    for sidecar in complete.iter().filter(is_ours) {
        let marks = found.state.wal.entry(writer.to_owned()).or_default();
        let mark: &mut Watermark = marks.entry(sidecar.meta.signal.clone()).or_default();
        mark.join(&sidecar.wal);
    }
    Ok(adopted)
}

/// Segments of flushes that were made again: the first never came into the catalog, and its entries
/// went from the log into the second, or, after a start, into several. Of flushes that begin at the
/// same watermark that one counts which a merge has read, or else which most others follow, each from
/// where the one before it ended: together they may end where a single one would have.
fn doubled(complete: &[&Sidecar], replaced: &BTreeSet<&String>) -> BTreeSet<String> {
    let mut last: BTreeMap<_, &Sidecar> = BTreeMap::new();
    let flushes = || {
        let begun = complete.iter().filter_map(|sidecar| Some((*sidecar, sidecar.from.as_ref()?)));
        begun.map(|(sidecar, from)| ((&sidecar.writer, &sidecar.meta.signal, from), sidecar))
    };
    let mut by_end: Vec<_> = flushes().collect();
    let open = |mark: &Watermark| {
        let lengths = mark.holes.iter().map(|(first, last)| last.saturating_sub(*first));
        lengths.fold(0, |sum: u64, length| sum.saturating_add(length).saturating_add(1))
    };
    by_end.sort_by_key(|(_, sidecar)| (Reverse(sidecar.wal.sequence), open(&sidecar.wal)));
    // How many flushes follow one another from a watermark on.
    let mut following: BTreeMap<_, usize> = BTreeMap::new();
    for ((writer, signal, from), sidecar) in by_end {
        let after = following.get(&(writer, signal, &sidecar.wal)).copied().unwrap_or(0);
        let most = following.entry((writer, signal, from)).or_default();
        *most = (*most).max(after + 1);
    }
    let rank = |sidecar: &Sidecar| {
        let end = (&sidecar.writer, &sidecar.meta.signal, &sidecar.wal);
        let followers = following.get(&end).copied().unwrap_or(0);
        let is_merged = sidecar.siblings.iter().any(|sibling| replaced.contains(sibling));
        (is_merged, followers, sidecar.wal.sequence, sidecar.siblings.iter().max().cloned())
    };
    for (key, sidecar) in flushes() {
        let held = last.entry(key).or_insert(sidecar);
        if rank(held) < rank(sidecar) {
            *held = sidecar;
        }
    }
    let is_older = |(key, sidecar): &(_, &Sidecar)| {
        last.get(key).is_some_and(|held| held.siblings != sidecar.siblings)
    };
    flushes().filter(is_older).map(|(_, sidecar)| sidecar.meta.id.clone()).collect()
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
