//! Backups: what was acknowledged before one begins comes back, once; what is not whole does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::memory::InMemory;

use super::{files_in, flip, numbered};
use crate::backup::{Backup, BackupReport, BackupSource, Place, Restore, RestoreReport, Which};
use crate::fakes::components;
use crate::store::core::Core;
use crate::store::tests::fake::FakeStore;
use crate::store::{BackupSnapshot, Folder};
use crate::{Components, ErrorKind, Options, StorageError, Store};

/// A snapshot of a store that is being served.
struct Served(Arc<Core>, BackupSnapshot);

impl BackupSource for Served {
    fn extras(&self) -> &[String] {
        &[]
    }

    fn unread(&self) -> &[String] {
        &self.1.unread
    }

    fn piece<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StorageError>> {
        Box::pin(self.0.backup_piece(&self.1.id, path, offset))
    }
}

async fn back_up(store: &FakeStore, to: &Path, components: &Components) -> BackupReport {
    store.shard.flush().await.unwrap();
    let source = Served(Arc::clone(&store.core), store.core.pin_snapshot().unwrap());
    let place = Place::Folder(to.to_owned());
    let backup = Backup { to: &place, keep: 0, components };
    let report = backup.run(&source, &|_| {}).await.unwrap();
    assert!(store.core.pins.unpin(&source.1.id));
    report
}

async fn restore(
    from: &Path,
    to: &Path,
    components: &Components,
) -> Result<RestoreReport, StorageError> {
    let place = Place::Folder(from.to_owned());
    let restore = Restore { from: &place, which: Which::Newest, components };
    restore.run(&Options::new(to.to_owned()), &|_| {}).await
}

/// The lines of a folder, as a start finds them.
async fn lines_of(folder: &Path, components: &Components) -> Vec<String> {
    let verified = Store::verify(&Options::new(folder.to_owned())).await.unwrap();
    assert_eq!(verified.damage, []);
    let store = FakeStore::open(folder, components).await;
    assert_eq!(store.core.catalog.problems(), [] as [String; 0]);
    let lines = store.lines();
    store.crash().await;
    lines
}

#[tokio::test]
async fn a_served_store_is_backed_up_again_and_again_and_each_copies_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(30);
    let store = FakeStore::open(&data, &components).await;
    let lines = numbered(8);
    for line in &lines[..5] {
        store.write(line).await;
        store.shard.flush().await.unwrap();
    }
    let first = back_up(&store, &target, &components).await;
    assert_eq!((first.files, first.files_kept), (11, 0), "five segments of two files");
    for line in &lines[5..] {
        store.write(line).await;
    }
    let second = back_up(&store, &target, &components).await;
    assert_eq!((second.files, second.files_kept), (13, 10));
    store.shard.compact_fully().await.unwrap();
    store.write("after").await;
    let id = first.id.clone();
    assert_ne!(first.id, second.id);
    store.crash().await;

    let newest = folder.path().join("newest");
    let report = restore(&target, &newest, &components).await.unwrap();
    assert_eq!((report.id.as_str(), report.missing.len()), (second.id.as_str(), 0));
    assert_eq!(lines_of(&newest, &components).await, lines);
    let place = Place::Folder(target.clone());
    let older = Restore { from: &place, which: Which::Named(id.clone()), components: &components };
    assert_eq!(older.list().await.unwrap(), [id, second.id]);
    let old = folder.path().join("old");
    older.run(&Options::new(old.clone()), &|_| {}).await.unwrap();
    assert_eq!(lines_of(&old, &components).await, lines[..5]);
}

#[tokio::test]
async fn a_folder_at_rest_is_backed_up_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(31);
    let store = FakeStore::open(&data, &components).await;
    for line in &numbered(6)[..3] {
        store.write(line).await;
    }
    store.shard.flush().await.unwrap();
    for line in &numbered(6)[3..] {
        store.write(line).await;
    }
    let options = Options::new(data.clone());
    let in_use = Folder::open(&options, &components).await.unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::Unavailable);
    assert!(in_use.to_string().contains("--from"), "{in_use}");
    store.crash().await;
    let source = Folder::open(&options, &components).await.unwrap();
    let place = Place::Folder(target.clone());
    let backup = Backup { to: &place, keep: 0, components: &components };
    let report = backup.run(&source, &|_| {}).await.unwrap();
    assert_eq!(report.missing, [] as [String; 0]);
    drop(source);
    let restored = folder.path().join("restored");
    restore(&target, &restored, &components).await.unwrap();
    assert_eq!(lines_of(&restored, &components).await, numbered(6));
    let other = Options::new(folder.path().join("nothing"));
    let nothing = Folder::open(&other, &components).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Invalid, "{nothing}");
}

#[tokio::test]
async fn what_is_not_whole_is_refused_by_name_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(32);
    let store = FakeStore::open(&data, &components).await;
    for line in numbered(3) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    back_up(&store, &target, &components).await;
    store.crash().await;
    let mut files: Vec<PathBuf> = files_in(&target, "lines");
    files.extend(files_in(&target, "meta"));
    files.extend(files_in(&target, "json"));
    assert_eq!(files.len(), 8);
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        for case in ["cut", "flipped", "longer", "removed"] {
            match case {
                "cut" => std::fs::write(&file, &whole[..whole.len() - 1]).unwrap(),
                "flipped" => flip(&file, whole.len() / 2),
                "longer" => std::fs::write(&file, [whole.as_slice(), b" "].concat()).unwrap(),
                _ => std::fs::remove_file(&file).unwrap(),
            }
            let restored = folder.path().join("restored");
            let error = restore(&target, &restored, &components).await.unwrap_err();
            let is_manifest = file.parent() == Some(&target.join("backups"));
            let is_gone = is_manifest && case == "removed";
            let kind = if is_gone { ErrorKind::Invalid } else { ErrorKind::Corrupt };
            assert_eq!(error.kind(), kind, "{case}: {error}");
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(is_gone || error.to_string().contains(&name), "{case} {name}: {error}");
            assert!(!restored.exists(), "{case} {name}");
            std::fs::write(&file, &whole).unwrap();
        }
    }
    restore(&target, &folder.path().join("restored"), &components).await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_reaches_out_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(33);
    let store = FakeStore::open(&data, &components).await;
    store.write("one").await;
    let report = back_up(&store, &target, &components).await;
    store.crash().await;
    let path = target.join(format!("backups/{}.json", report.id));
    let whole = std::fs::read(&path).unwrap();
    let text = String::from_utf8(crate::unseal_text(&whole).unwrap().to_vec()).unwrap();
    let hostile = text.replacen("segments/t-default/", "segments/../../../", 1);
    assert_ne!(hostile, text);
    std::fs::write(&path, crate::seal_text(&hostile)).unwrap();
    let restored = folder.path().join("restored");
    let error = restore(&target, &restored, &components).await.unwrap_err();
    assert!(error.to_string().contains("no file of a backup"), "{error}");
    assert!(!restored.exists());
}

#[tokio::test]
async fn a_target_in_which_anything_lies_is_refused_and_a_half_restored_one_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(34);
    let store = FakeStore::open(&data, &components).await;
    store.write("one").await;
    back_up(&store, &target, &components).await;
    store.crash().await;
    let error = restore(&target, &data, &components).await.unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    let half = folder.path().join("half");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("restoring"), b"x").unwrap();
    let error = FakeStore::try_open(Options::new(half), components).await.err().unwrap();
    assert!(error.to_string().contains("has not finished"), "{error}");
}

#[tokio::test]
async fn a_damaged_segment_is_copied_as_it_is_and_named_and_a_good_copy_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(35);
    let store = FakeStore::open(&data, &components).await;
    for line in numbered(3) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    let segments = files_in(&data, "lines");
    let whole = std::fs::read(&segments[0]).unwrap();
    flip(&segments[0], 3);
    std::fs::remove_file(&segments[1]).unwrap();
    let report = back_up(&store, &target, &components).await;
    assert_eq!(report.missing.len(), 2, "{:?}", report.missing);
    let restored = folder.path().join("restored");
    let told = restore(&target, &restored, &components).await.unwrap();
    assert_eq!(told.missing, report.missing);
    let half = FakeStore::open(&restored, &components).await;
    assert_eq!((half.seen().lines.len(), half.seen().unread.len()), (1, 2));
    half.crash().await;

    // Once it is well again at the source, the backup is as well, and stays so.
    std::fs::write(&segments[0], &whole).unwrap();
    assert_eq!(back_up(&store, &target, &components).await.missing.len(), 1);
    flip(&segments[0], 3);
    let report = back_up(&store, &target, &components).await;
    assert_eq!(report.missing.len(), 1, "{:?}", report.missing);
    store.crash().await;
}

#[tokio::test]
async fn older_backups_go_with_what_they_alone_need() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let components = components(36);
    let store = FakeStore::open(&data, &components).await;
    let place = Place::Folder(target.clone());
    for line in numbered(6) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    back_up(&store, &target, &components).await;
    store.shard.compact_fully().await.unwrap();
    // What a backup that was cut short had for itself.
    let left = target.join("backups/000001-left/wal/logs/1.log");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, b"left").unwrap();
    let source = Served(Arc::clone(&store.core), store.core.pin_snapshot().unwrap());
    let backup = Backup { to: &place, keep: 1, components: &components };
    let report = backup.run(&source, &|_| {}).await.unwrap();
    assert_eq!(report.removed.len(), 1);
    assert_eq!(files_in(&target, "lines").len(), 1, "the merged one is left");
    assert!(!left.exists());
    store.crash().await;
    let restored = folder.path().join("restored");
    restore(&target, &restored, &components).await.unwrap();
    assert_eq!(lines_of(&restored, &components).await, numbered(6));
}

#[tokio::test]
async fn a_bucket_is_backed_up_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (folder.path().join("data"), folder.path().join("backup"));
    let bucket = Arc::new(InMemory::new());
    let plain = components(37);
    let components = Components { object_store: Some(bucket), ..plain.clone() };
    let store = FakeStore::open(&data, &components).await;
    for line in numbered(4) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    back_up(&store, &target, &components).await;
    store.crash().await;
    let restored = folder.path().join("restored");
    restore(&target, &restored, &plain).await.unwrap();
    assert_eq!(lines_of(&restored, &plain).await, numbered(4));
}
