//! Offline verification: every log frame, every catalog object, every chunk of every segment.

use std::sync::Arc;

use model::Signal;

use crate::catalog::{CatalogState, Checkpoint, Commit, Named, Sidecar, parse_path, unseal};
use crate::files::DiskFiles;
use crate::objects::{Objects, blocking, checksums};
use crate::segment::SegmentMeta;
use crate::store::core::segment_base;
use crate::wal::Wal;
use crate::{Clock, Components, Options, Random, StorageError, Verified};

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

/// Reads everything below the options' folder and bucket. Changes nothing.
///
/// Errors: Io when something cannot be listed; what cannot be read is a problem of the answer.
pub(super) async fn verify(options: &Options) -> Result<Verified, StorageError> {
    let components = Components {
        clock: Arc::new(Still),
        random: Arc::new(Still),
        files: Arc::new(DiskFiles),
        object_store: None,
    };
    let objects = Objects::open(options, &components)?;
    let mut verified = Verified::default();
    let state = catalog(&objects, &mut verified).await?;
    for meta in state.segments.values() {
        segment(&objects, meta, &mut verified).await?;
    }
    logs(options, &components, &state, &mut verified).await?;
    Ok(verified)
}

async fn logs(
    options: &Options,
    components: &Components,
    state: &CatalogState,
    verified: &mut Verified,
) -> Result<(), StorageError> {
    let writer = components.files.read(&options.data_dir.join("writer")).unwrap_or_default();
    let marks = std::str::from_utf8(&writer).ok().and_then(|writer| state.wal.get(writer));
    let marks = marks.cloned().unwrap_or_default();
    for signal in Signal::ALL {
        let mark = marks.get(signal.as_str()).cloned().unwrap_or_default();
        let wal = Wal::new(signal, options, components);
        let scan = blocking(move || wal.scan(&mark, None)).await?;
        verified.files += scan.files().len() as u64;
        verified.bytes += scan.bytes;
        verified.log_entries += scan.entries;
        for part in scan.unread {
            let name = format!("wal/{}/{}", signal.as_str(), part.name);
            verified.problems.push(format!("{name}: {}", part.why));
        }
    }
    Ok(())
}

/// Every object of the catalog; returns the newest state that can be read.
async fn catalog(objects: &Objects, verified: &mut Verified) -> Result<CatalogState, StorageError> {
    for entry in objects.list("catalog").await? {
        let Some(content) = objects.get(&entry.path).await? else { continue };
        verified.files += 1;
        verified.bytes += content.len() as u64;
        let outcome = match parse_path(&entry.path) {
            Named::Commit(_) => unseal::<Commit>(&entry.path, &content).map(|_| ()),
            Named::Checkpoint(_) => unseal::<Checkpoint>(&entry.path, &content).map(|_| ()),
            Named::Other => continue,
        };
        if let Err(error) = outcome {
            verified.problems.push(error.to_string());
        }
    }
    let (state, problems) = crate::catalog::read_state(objects).await?;
    for problem in problems {
        if !verified.problems.contains(&problem) {
            verified.problems.push(problem);
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
    for file in &meta.files {
        let path = format!("{base}.{}", file.extension);
        let content = match objects.get(&path).await {
            Ok(Some(content)) => content,
            Ok(None) => {
                verified.problems.push(format!("{path} is missing"));
                continue;
            }
            Err(error) => {
                verified.problems.push(error.to_string());
                continue;
            }
        };
        verified.files += 1;
        verified.bytes += content.len() as u64;
        if content.len() as u64 != file.bytes {
            let (found, expected) = (content.len(), file.bytes);
            verified.problems.push(format!("{path} has {found} bytes instead of {expected}"));
        } else if let Some(offset) = first_difference(&content, &file.checksums) {
            verified
                .problems
                .push(format!("{path} is corrupt: checksum differs at offset {offset}"));
        }
    }
    let path = format!("{base}.meta");
    let Some(content) = objects.get(&path).await? else {
        verified.problems.push(format!("{path} is missing"));
        return Ok(());
    };
    verified.files += 1;
    verified.bytes += content.len() as u64;
    if let Err(error) = unseal::<Sidecar>(&path, &content) {
        verified.problems.push(error.to_string());
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
