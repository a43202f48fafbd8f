//! Verified reads: the right bytes or an error, through cache and coalescing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use proptest::prelude::*;

use crate::fakes::{FaultyFiles, components};
use crate::objects::{ChunkCache, Created, Health, Objects, Quarantine, StoredFile, checksums};
use crate::segment::{CHECKSUM_CHUNK_BYTES, FileMeta, SegmentSource};
use crate::{Components, ErrorKind, Options};

fn content(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>().into()
}

struct Stored {
    file: StoredFile,
    content: Bytes,
    quarantine: Arc<Quarantine>,
    folder: tempfile::TempDir,
}

fn stored(bytes: usize, cache_bytes: u64) -> Stored {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let parts = components(1);
    let files = Arc::clone(&parts.files);
    let content = content(bytes);
    let objects = runtime.block_on(async {
        let objects = Objects::open(&Options::new(folder.path().to_owned()), &parts).unwrap();
        objects.put("segments/x.metrics", content.clone()).await.unwrap();
        objects
    });
    let meta = FileMeta {
        extension: "metrics".to_owned(),
        bytes: bytes as u64,
        checksums: checksums(&content),
    };
    let quarantine = Arc::new(Quarantine::new(folder.path().join("quarantine"), files));
    let health = Health::new("x".to_owned(), Arc::clone(&quarantine));
    let cache = Arc::new(ChunkCache::new(cache_bytes));
    let path = "segments/x.metrics".to_owned();
    let file = StoredFile::new(path, &meta, objects, cache, health);
    Stored { file, content, quarantine, folder }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_range_reads_what_was_written(
        reads in proptest::collection::vec((0usize..400_000, 0usize..300_000), 1..12),
        cache_chunks in 1u64..64,
    ) {
        let stored = stored(400_001, cache_chunks * CHECKSUM_CHUNK_BYTES as u64);
        for (start, length) in reads {
            let end = (start + length).min(stored.content.len());
            let read = stored.file.read(start as u64..end as u64).unwrap();
            prop_assert!(read == stored.content[start..end]);
        }
        prop_assert!(stored.file.read(1..400_002).is_err());
    }
}

#[test]
fn a_flipped_or_missing_byte_is_found_and_nothing_wrong_is_handed_out() {
    let stored = stored(200_000, 1 << 20);
    let path = stored.folder.path().join("store/segments/x.metrics");
    let mut damaged = stored.content.to_vec();
    damaged[70_000] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(stored.file.read(0..100).unwrap(), stored.content[..100]);
    let error = stored.file.read(65_536..65_600).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(stored.quarantine.count(), 1);
    std::fs::write(&path, &stored.content[..150_000]).unwrap();
    assert_eq!(stored.file.read(140_000..150_001).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(&path, &stored.content).unwrap();
    assert_eq!(stored.file.read(65_536..65_600).unwrap(), stored.content[65_536..65_600]);
}

#[tokio::test]
async fn what_an_earlier_try_has_created_is_durable_before_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(FaultyFiles::default());
    let parts = Components { files: Arc::clone(&files) as _, ..components(1) };
    let objects = Objects::open(&Options::new(folder.path().to_owned()), &parts).unwrap();
    files.fail_folder_syncs.store(true, Ordering::Relaxed);
    assert!(objects.create("catalog/1", "a".into()).await.is_err());
    files.fail_folder_syncs.store(false, Ordering::Relaxed);
    for (content, created) in [("a", Created::Ours), ("b", Created::Taken)] {
        let before = files.folder_syncs.load(Ordering::Relaxed);
        assert_eq!(objects.create("catalog/1", content.into()).await.unwrap(), created);
        assert!(files.folder_syncs.load(Ordering::Relaxed) > before, "{content}");
    }
}

#[tokio::test]
async fn create_never_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open(&Options::new(folder.path().to_owned()), &components(1)).unwrap();
    assert_eq!(objects.create("catalog/1", "a".into()).await.unwrap(), Created::Ours);
    assert_eq!(objects.create("catalog/1", "a".into()).await.unwrap(), Created::Ours);
    assert_eq!(objects.create("catalog/1", "b".into()).await.unwrap(), Created::Taken);
    assert_eq!(objects.get("catalog/1").await.unwrap().unwrap(), "a");
    assert_eq!(objects.get("catalog/2").await.unwrap(), None);
    assert_eq!(objects.list("catalog").await.unwrap().len(), 1, "staged files are not objects");
}
