//! The manifest: every file of a backup with its size and checksum.

use serde::{Deserialize, Serialize};

use crate::backup::{CHECKPOINT_PATH, MANIFEST_BYTES_MAX};
use crate::catalog::unseal;
use crate::objects::{ObjectEntry, Objects};
use crate::{ErrorKind, StorageError};

/// The version of backups.
pub(super) const BACKUP_VERSION: u32 = 1;
/// Folder of the manifests and of what belongs to one backup alone.
pub(super) const BACKUPS: &str = "backups";
/// A path has at most so many bytes.
const PATH_BYTES_MAX: usize = 400;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupFile {
    /// Below the data folder, as in FORMAT.md.
    pub(crate) path: String,
    pub(super) bytes: u64,
    /// Hex xxh3-128 of the hex xxh3-64 of each 64 KiB.
    pub(super) checksum: String,
}

/// See the module's docs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) version: u32,
    pub(super) id: String,
    /// When it was begun; everything acknowledged before is in it. Units: ns since the Unix epoch.
    pub(super) began_ns: i64,
    /// Of the catalog.
    pub(super) sequence: u64,
    pub(crate) files: Vec<BackupFile>,
    /// What the source could not give, in words.
    pub(super) missing: Vec<String>,
}

impl Manifest {
    pub(super) fn path(id: &str) -> String {
        format!("{BACKUPS}/{id}.json")
    }

    /// Where a file of this backup lies: segments are shared by all backups of a place.
    pub(super) fn place_of(id: &str, path: &str) -> String {
        if path.starts_with("segments/") {
            path.to_owned()
        } else {
            format!("{BACKUPS}/{id}/{path}")
        }
    }

    /// Reads and judges a manifest.
    ///
    /// Errors: those of [`Manifest::parse`], Io.
    pub(super) async fn load(
        objects: &Objects,
        entry: &ObjectEntry,
    ) -> Result<Manifest, StorageError> {
        let path = entry.path.as_str();
        if entry.bytes > MANIFEST_BYTES_MAX {
            return Err(StorageError::corrupt(path, "it is longer than any manifest"));
        }
        let content = objects.get(path).await?;
        let content = content.ok_or_else(|| StorageError::corrupt(path, "it is missing"))?;
        Manifest::parse(path, &content)
    }

    /// Judges the content of a manifest.
    ///
    /// Errors: Corrupt, Invalid for a newer version.
    pub(crate) fn parse(path: &str, content: &[u8]) -> Result<Manifest, StorageError> {
        let manifest: Manifest = unseal(path, content)?;
        if manifest.version > BACKUP_VERSION {
            let version = manifest.version;
            let why = format!(
                "{path} is of version {version}, and this program knows {BACKUP_VERSION} at most: \
                 it was written by a newer tercet"
            );
            return Err(StorageError::new(ErrorKind::Invalid, why));
        }
        if Some(manifest.id.as_str()) != id_of(path) {
            return Err(StorageError::corrupt(path, "it is the manifest of another backup"));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_ours(&file.path)) {
            let why = format!("it names {:?}, which is no file of a backup", file.path);
            return Err(StorageError::corrupt(path, why));
        }
        Ok(manifest)
    }
}

/// The backup whose manifest lies at a path.
pub(super) fn id_of(path: &str) -> Option<&str> {
    let id = path.strip_prefix(BACKUPS)?.strip_prefix('/')?.strip_suffix(".json")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// Whether a path is one that a backup may bring into a data folder.
pub(super) fn is_ours(path: &str) -> bool {
    let parts = || path.split('/');
    let plain = |part: &str| {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
    };
    if path.len() > PATH_BYTES_MAX || !parts().all(plain) {
        return false;
    }
    let is_segment = path.starts_with("segments/") && parts().count() == 4;
    is_segment || path == CHECKPOINT_PATH || is_extra(path)
}

/// Whether a file of a data folder belongs into a backup beside the catalog and the segments.
pub(crate) fn is_extra(path: &str) -> bool {
    if ["writer", "life", "settings.json", "retention.json"].contains(&path) {
        return true;
    }
    model::Signal::ALL.into_iter().any(|signal| {
        let rest = path.strip_prefix("wal/").and_then(|path| path.strip_prefix(signal.as_str()));
        let is_log = |rest: &str| {
            rest.strip_prefix('/').is_some_and(|name| name.ends_with(".log") && !name.contains('/'))
        };
        rest.is_some_and(|rest| rest == ".recent" || is_log(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::{id_of, is_ours};

    #[test]
    fn a_manifest_brings_nothing_but_a_stores_files() {
        for ours in [
            "checkpoint.json",
            "writer",
            "life",
            "settings.json",
            "wal/logs.recent",
            "wal/metrics/00000000000000000001-0123456789abcdef.log",
            "segments/t-default/logs/0123-4567.logs.parquet",
            "segments/h-00ff/traces/0123-4567.meta",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            "/etc/passwd",
            "../writer",
            "segments/../../../etc/passwd",
            "segments/t-a/logs/../../../../x",
            "segments/t-a/logs/a/b",
            "segments//logs/a",
            "segments/t-a/logs/.a",
            "segments/t-a/logs/a\0b",
            "wal/logs/../../writer.log",
            "wal/logs/a/b.log",
            "wal/other/a.log",
            "lock",
            "store/catalog/1.json",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
        assert!(!is_ours(&format!("segments/t-a/logs/{}", "a".repeat(400))));
    }

    #[test]
    fn manifests_are_told_from_other_files_by_their_path() {
        assert_eq!(
            id_of("backups/000001-20261121T000000Z-0a.json"),
            Some("000001-20261121T000000Z-0a")
        );
        assert_eq!(id_of("backups/x/checkpoint.json"), None);
        assert_eq!(id_of("backups/x/wal/logs.json"), None);
        assert_eq!(id_of("segments/x.json"), None);
    }
}
