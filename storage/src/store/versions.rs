//! Refuses data that a newer program has written, before anything of it is changed.
//!
//! Damage is told from a newer version by checksums: only what is whole can be newer. The places of
//! the log's version and checksum, and `version` in sealed objects of the catalog, stay where they
//! are in every version (FORMAT.md).

use std::path::Path;

use model::Signal;
use serde::Deserialize;

use crate::catalog::{CATALOG_VERSION, Named, parse_path, unseal};
use crate::files::Files;
use crate::objects::Objects;
use crate::wal::LOG_VERSION;
use crate::{ErrorKind, StorageError};

#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Looks at the headers of the log's files.
///
/// Errors: Invalid where one is of a newer version.
pub(super) fn check_log(files: &dyn Files, data_dir: &Path) -> Result<(), StorageError> {
    for signal in Signal::ALL {
        let folder = data_dir.join("wal").join(signal.as_str());
        // A folder that is not there holds nothing newer.
        for entry in files.list(&folder).unwrap_or_default() {
            let path = folder.join(&entry.name);
            let mut header = [0; 32];
            if entry.is_folder || files.read_at(&path, 0, &mut header).is_err() {
                continue;
            }
            let (body, crc) = header.split_at(28);
            let is_whole = crc == crc32fast::hash(body).to_le_bytes();
            let version = body.strip_prefix(b"TERCWAL").and_then(|rest| rest.first().copied());
            if let (true, Some(version)) = (is_whole, version)
                && version > LOG_VERSION
            {
                let what = format!("{} is a log", path.display());
                return Err(newer(&what, u32::from(version), u32::from(LOG_VERSION)));
            }
        }
    }
    Ok(())
}

/// Looks at the newest commit and the newest checkpoint.
///
/// Errors: Invalid where one is of a newer version, Io.
pub(super) async fn check_catalog(objects: &Objects) -> Result<(), StorageError> {
    let (mut commit, mut checkpoint) = (None, None);
    for entry in objects.list("catalog").await? {
        match parse_path(&entry.path) {
            Named::Commit(sequence) => commit = commit.max(Some((sequence, entry.path))),
            Named::Checkpoint(sequence) => {
                checkpoint = checkpoint.max(Some((sequence, entry.path)));
            }
            Named::Other => {}
        }
    }
    for (_, path) in [commit, checkpoint].into_iter().flatten() {
        let Some(content) = objects.get(&path).await? else { continue };
        let Ok(found) = unseal::<Versioned>(&path, &content) else { continue };
        if found.version > CATALOG_VERSION {
            return Err(newer(&format!("{path} is a catalog"), found.version, CATALOG_VERSION));
        }
    }
    Ok(())
}

fn newer(what: &str, version: u32, known: u32) -> StorageError {
    let message = format!(
        "{what} of version {version}, and this program knows {known} at most: it was written by a \
         newer tercet; nothing was changed, start that one"
    );
    StorageError::new(ErrorKind::Invalid, message)
}
