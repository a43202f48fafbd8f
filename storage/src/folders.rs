//! Folders that outlive a power cut: one that merely exists may not.
//!
//! A folder is durable once its entry in its parent has been synced. The process that made it may
//! have been killed before that, or the sync may have failed, and neither leaves a trace. So each
//! folder, with those above it, is synced into its parent when this process first needs it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Folders whose entry in their parent is on the disk.
#[derive(Debug)]
pub(crate) struct Folders {
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Folders {
    pub(crate) const fn new() -> Folders {
        Folders { durable: Mutex::new(BTreeSet::new()) }
    }

    /// Makes a folder and those above it as far as they are missing, and all of them durable by
    /// `sync`, which makes the entries of a folder durable.
    ///
    /// Errors: those of the system. What could not be synced is synced by the next call.
    pub(crate) fn create(
        &self,
        path: &Path,
        sync: &dyn Fn(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_there = path.is_dir();
        if is_there && self.durable.lock().contains(path) {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if parent != Path::new(".") {
            self.create(parent, sync)?;
        }
        if !is_there {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        match sync(parent) {
            // Above our own folders there may be some that we may pass and not read: whoever made
            // what is in them has kept it.
            Err(error) if is_there && error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
        self.durable.lock().insert(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::Folders;

    /// A sync that notes what it was called for, and fails while told to.
    #[derive(Default)]
    struct Syncs {
        fails: RefCell<Option<io::ErrorKind>>,
        seen: RefCell<Vec<PathBuf>>,
    }

    impl Syncs {
        fn call(&self, path: &Path) -> io::Result<()> {
            if let Some(kind) = *self.fails.borrow() {
                return Err(kind.into());
            }
            self.seen.borrow_mut().push(path.to_owned());
            Ok(())
        }

        fn take(&self) -> Vec<PathBuf> {
            self.seen.take()
        }
    }

    #[test]
    fn a_folder_whose_sync_failed_is_synced_by_the_next_call() {
        let root = tempfile::tempdir().unwrap();
        let (folders, syncs) = (Folders::new(), Syncs::default());
        let sync = |path: &Path| syncs.call(path);
        folders.create(root.path(), &sync).unwrap();
        syncs.take();
        let path = root.path().join("wal");
        syncs.fails.replace(Some(io::ErrorKind::StorageFull));
        assert!(folders.create(&path, &sync).is_err());
        assert!(path.is_dir());
        syncs.fails.replace(None);
        folders.create(&path, &sync).unwrap();
        assert_eq!(syncs.take(), [root.path()]);
        folders.create(&path, &sync).unwrap();
        assert!(syncs.take().is_empty(), "synced once is enough");
    }

    #[test]
    fn folders_of_a_process_that_was_killed_are_made_durable() {
        let root = tempfile::tempdir().unwrap();
        let (folders, syncs) = (Folders::new(), Syncs::default());
        let sync = |path: &Path| syncs.call(path);
        let path = root.path().join("segments/t-default/logs");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        folders.create(&path, &sync).unwrap();
        let seen = syncs.take();
        for parent in [root.path().to_owned(), root.path().join("segments")] {
            assert!(seen.contains(&parent), "{seen:?}");
        }
        assert_eq!(seen.last(), path.parent().map(Path::to_owned).as_ref(), "from above");
    }

    #[test]
    fn a_folder_that_was_removed_is_made_and_synced_again() {
        let root = tempfile::tempdir().unwrap();
        let (folders, syncs) = (Folders::new(), Syncs::default());
        let sync = |path: &Path| syncs.call(path);
        let path = root.path().join("wal");
        folders.create(&path, &sync).unwrap();
        std::fs::remove_dir(&path).unwrap();
        syncs.take();
        folders.create(&path, &sync).unwrap();
        assert_eq!(syncs.take(), [root.path()]);
    }

    #[test]
    fn what_lies_above_may_be_closed_to_us() {
        let root = tempfile::tempdir().unwrap();
        let (folders, syncs) = (Folders::new(), Syncs::default());
        syncs.fails.replace(Some(io::ErrorKind::PermissionDenied));
        let sync = |path: &Path| syncs.call(path);
        folders.create(root.path(), &sync).unwrap();
        let path = root.path().join("data");
        assert!(folders.create(&path, &sync).is_err(), "our own folder must last");
    }
}
