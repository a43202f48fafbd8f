//! The store as its users rely on it: what was acknowledged is there, once, whatever happens.

mod backup;
mod fake;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::memory::InMemory;

use crate::fakes::{FakeClock, FakeRandom, FaultyFiles, components};
use crate::retention::{Consent, Horizon, Keeps, Now};
use crate::store::tests::fake::FakeStore;
use crate::wal::Wal;
use crate::{Clock, Components, ErrorKind, Options, Store};

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number:05}")).collect()
}

fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_once() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(1);
    let store = FakeStore::open(folder.path(), &components).await;
    for line in numbered(20) {
        store.write(&line).await;
    }
    assert_eq!(store.lines(), numbered(20), "visible at once");
    store.crash().await;
    for _again in 0..3 {
        let store = FakeStore::open(folder.path(), &components).await;
        assert_eq!(store.lines(), numbered(20));
        store.crash().await;
    }
    let store = FakeStore::open(folder.path(), &components).await;
    store.shard.flush().await.unwrap();
    assert_eq!(store.lines(), numbered(20), "flushed");
    store.write("line 00020").await;
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    assert_eq!(store.lines(), numbered(21), "part in segments, part in the log");
    store.crash().await;
}

#[tokio::test]
async fn a_retry_is_stored_once_across_restarts_and_flushes_until_the_window_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::new();
    let components = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(2));
    let store = FakeStore::open(folder.path(), &components).await;
    assert!(!store.write("same").await.duplicate);
    assert!(store.write("same").await.duplicate);
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    assert!(store.write("same").await.duplicate, "its first copy is in the log");
    store.shard.flush().await.unwrap();
    store.crash().await;
    for log in files_in(&folder.path().join("wal"), "log") {
        std::fs::remove_file(log).unwrap();
    }
    let store = FakeStore::open(folder.path(), &components).await;
    assert!(store.write("same").await.duplicate, "its first copy is in a segment alone");
    assert_eq!(store.lines(), ["same"]);
    clock.advance_ns(store.core.options.dedup_window_ns + 1);
    assert!(!store.write("same").await.duplicate, "the window is over");
    assert_eq!(store.lines(), ["same", "same"]);
    store.crash().await;
}

#[tokio::test]
async fn a_retry_is_stored_once_wherever_the_clock_jumps() {
    const YEAR_NS: i64 = 365 * 86_400 * 1_000_000_000;
    for jump_ns in [YEAR_NS, -YEAR_NS, 10 * YEAR_NS, -3_600_000_000_000] {
        for restarts in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let clock = FakeClock::new();
            let components = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(18));
            let mut store = FakeStore::open(folder.path(), &components).await;
            store.write("first").await;
            clock.jump_ns(jump_ns);
            if restarts {
                store.crash().await;
                store = FakeStore::open(folder.path(), &components).await;
            }
            assert!(store.write("first").await.duplicate, "{jump_ns} {restarts}");
            assert!(!store.write("second").await.duplicate);
            clock.jump_ns(-jump_ns);
            assert!(store.write("second").await.duplicate, "{jump_ns} {restarts}");
            store.shard.flush().await.unwrap();
            store.crash().await;
            let store = FakeStore::open(folder.path(), &components).await;
            assert!(store.write("second").await.duplicate, "{jump_ns} {restarts}");
            assert_eq!(store.lines(), ["first", "second"], "{jump_ns} {restarts}");
            store.crash().await;
        }
    }
}

#[tokio::test]
async fn a_retry_that_meets_its_twin_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::open(folder.path(), &components(3)).await;
    let acks = futures::future::join_all((0..16).map(|_| store.write("same"))).await;
    assert_eq!(acks.iter().filter(|ack| !ack.duplicate).count(), 1);
    assert_eq!(store.lines(), ["same"]);
    store.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_hold_each_acknowledged_line_once_while_flushes_and_merges_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::open(folder.path(), &components(4)).await);
    let over = Arc::new(AtomicBool::new(false));
    let flusher = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                store.shard.flush().await.unwrap();
                store.shard.compact_fully().await.unwrap();
            }
        })
    };
    let lines = numbered(120);
    for (index, line) in lines.iter().enumerate() {
        store.write(line).await;
        assert_eq!(store.lines(), lines[..=index]);
    }
    over.store(true, Ordering::Relaxed);
    flusher.await.unwrap();
    assert_eq!(store.lines(), lines);
    let store = Arc::into_inner(store).unwrap();
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components(5)).await;
    assert_eq!(store.core.catalog.problems(), [] as [String; 0]);
    assert_eq!(store.seen().unread, [] as [String; 0]);
    assert_eq!(store.lines(), lines);
    store.crash().await;
}

#[tokio::test]
async fn merging_leaves_one_segment_and_garbage_collection_waits_for_readers() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::new();
    let components = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(6));
    let store = FakeStore::open(folder.path(), &components).await;
    for line in numbered(6) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    assert_eq!(store.seen().levels, [0; 6]);
    store.shard.compact_fully().await.unwrap();
    assert_eq!(store.seen().levels, [1]);
    assert_eq!(store.lines(), numbered(6));
    assert_eq!(files_in(folder.path(), "lines").len(), 7, "replaced files stay for a while");
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    assert_eq!(store.lines(), numbered(6));
    store.crash().await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::open(folder.path(), &components(7)).await;
    let options = Options::new(folder.path().to_owned());
    let second = FakeStore::try_open(options, components(8)).await.err().unwrap();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
    assert!(second.to_string().contains("another process"), "{second}");
    store.crash().await;
}

#[tokio::test]
async fn a_damaged_segment_is_reported_kept_and_left_out_of_merges() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(9);
    let store = FakeStore::open(folder.path(), &components).await;
    for line in numbered(5) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    store.crash().await;
    let segments = files_in(folder.path(), "lines");
    flip(&segments[2], 3);
    let verified = Store::verify(&Options::new(folder.path().to_owned())).await.unwrap();
    assert_eq!(verified.damage.len(), 1, "{:?}", verified.damage);
    let store = FakeStore::open(folder.path(), &components).await;
    let seen = store.seen();
    assert_eq!(seen.lines.len(), 4, "never wrong data");
    assert_eq!(seen.unread.len(), 1);
    assert_eq!(store.core.quarantine.count(), 1);
    assert_eq!(files_in(&folder.path().join("quarantine"), "txt").len(), 1);
    store.shard.compact_fully().await.unwrap();
    assert_eq!(store.seen().lines.len(), 4);
    assert_eq!(store.seen().levels.len(), 2, "the damaged one, and one of the others");
    assert!(segments[2].exists());
    store.crash().await;
}

#[tokio::test]
async fn a_bucket_works_like_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(InMemory::new());
    let mut components = components(10);
    components.object_store = Some(bucket);
    let store = FakeStore::open(folder.path(), &components).await;
    for line in numbered(6) {
        store.write(&line).await;
        store.shard.flush().await.unwrap();
    }
    store.shard.compact_fully().await.unwrap();
    store.write("line 00006").await;
    let shard = Arc::clone(&store.shard);
    let lines =
        tokio::task::spawn_blocking(move || shard.reader(&model::TenantId::default()).lines);
    assert_eq!(lines.await.unwrap(), numbered(7));
    assert!(files_in(folder.path(), "lines").is_empty(), "nothing but the log is local");
    store.crash().await;
}

#[tokio::test]
async fn the_catalog_survives_whatever_happens_to_its_objects() {
    for case in ["all removed", "last empty", "middle flipped", "middle removed", "checkpoint cut"]
    {
        let folder = tempfile::tempdir().unwrap();
        let components = components(11);
        let store = FakeStore::open(folder.path(), &components).await;
        for line in numbered(4) {
            store.write(&line).await;
            store.shard.flush().await.unwrap();
        }
        store.shard.compact_fully().await.unwrap();
        store.write("line 00004").await;
        store.shard.flush().await.unwrap();
        if case == "checkpoint cut" {
            store.core.catalog.checkpoint().await.unwrap();
        }
        store.crash().await;
        let catalog = files_in(&folder.path().join("store/catalog"), "json");
        match case {
            "all removed" => catalog.iter().for_each(|path| std::fs::remove_file(path).unwrap()),
            "last empty" => std::fs::write(&catalog[5], b"").unwrap(),
            "middle flipped" => flip(&catalog[4], 60),
            "middle removed" => std::fs::remove_file(&catalog[2]).unwrap(),
            _ => std::fs::write(&catalog[6], &std::fs::read(&catalog[6]).unwrap()[..40]).unwrap(),
        }
        for _again in 0..2 {
            let store = FakeStore::open(folder.path(), &components).await;
            assert_eq!(store.lines(), numbered(5), "{case}");
            store.crash().await;
        }
        let store = FakeStore::open(folder.path(), &components).await;
        store.write("line 00005").await;
        store.shard.flush().await.unwrap();
        store.crash().await;
        let store = FakeStore::open(folder.path(), &components).await;
        assert_eq!(store.lines(), numbered(6), "{case}");
        store.crash().await;
    }
}

#[tokio::test]
async fn replay_flushes_what_exceeds_its_memory() {
    const CEILING: u64 = 512 << 10;
    let folder = tempfile::tempdir().unwrap();
    let components = components(21);
    let lines: Vec<String> = numbered(40).iter().map(|line| line.repeat(10_000)).collect();
    let mut options = Options::new(folder.path().to_owned());
    options.wal_segment_bytes = 1 << 20;
    options.replay_memory_max = CEILING;
    let store = FakeStore::try_open(options.clone(), components.clone()).await.unwrap();
    for line in &lines {
        store.write(line).await;
    }
    assert_eq!(store.core.counters.flushes.load(Ordering::Relaxed), 0);
    store.crash().await;
    let store = FakeStore::try_open(options, components.clone()).await.unwrap();
    let flushes = store.core.counters.flushes.load(Ordering::Relaxed);
    assert!(flushes >= 2, "{flushes} flushes during replay");
    assert!(store.shard.memory() <= CEILING, "{} bytes in memory", store.shard.memory());
    assert_eq!(store.lines(), lines);
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    let replayed = store.core.counters.replayed.load(Ordering::Relaxed);
    assert!(replayed < 40, "what was flushed is not replayed again: {replayed}");
    assert_eq!(store.lines(), lines);
    store.crash().await;
}

/// The number of the first entry in a file of the log.
fn first_entry(log: &Path) -> u64 {
    let name = log.file_name().unwrap().to_str().unwrap();
    name.split_once('-').unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn a_body_damaged_at_rest_is_told_and_its_retry_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(22);
    let lines: Vec<String> = numbered(8).iter().map(|line| line.repeat(150)).collect();
    let mut options = Options::new(folder.path().to_owned());
    options.wal_segment_bytes = 4 << 10;
    let store = FakeStore::try_open(options.clone(), components.clone()).await.unwrap();
    for line in &lines {
        store.write(line).await;
    }
    store.crash().await;
    let logs = files_in(&folder.path().join("wal"), "log");
    assert!(logs.len() > 2, "the first file is one that others continue");
    flip(&logs[0], 500);
    let store = FakeStore::try_open(options, components.clone()).await.unwrap();
    assert_eq!(store.lines(), lines[1..]);
    let unread = store.shard.notices().unread;
    assert_eq!(unread.len(), 1, "{unread:?}");
    let first = first_entry(&logs[0]);
    assert!(unread[0].why.contains(&format!("entries {first} to {first}")), "{unread:?}");
    assert_eq!(store.shard.wal.corruptions(), 1);
    assert_eq!(std::fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 1);
    assert!(store.write(&lines[1]).await.duplicate, "this one is whole");
    assert!(!store.write(&lines[0]).await.duplicate, "and this one is not");
    assert_eq!(store.lines().len(), 8);
    store.crash().await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_decoded_is_kept_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(12);
    let store = FakeStore::open(folder.path(), &components).await;
    store.write("before").await;
    store.write("!strange").await;
    store.write("behind").await;
    store.crash().await;
    let logs = files_in(&folder.path().join("wal"), "log");
    let strange = first_entry(&logs[0]) + 1;
    let store = FakeStore::open(folder.path(), &components).await;
    assert_eq!(store.lines(), ["before", "behind"]);
    assert_eq!(store.shard.notices().unread.len(), 1);
    let aside = folder.path().join(format!("quarantine/entry-logs-{strange}"));
    let kept = std::fs::read(aside).unwrap();
    assert_eq!(kept, b"!strange");
    store.crash().await;
}

#[tokio::test]
async fn a_flush_that_fails_loses_nothing_and_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(FaultyFiles::default());
    let mut components = components(13);
    components.files = Arc::clone(&files) as _;
    let store = FakeStore::open(folder.path(), &components).await;
    store.write("one").await;
    files.fail_syncs.store(true, Ordering::Relaxed);
    store.shard.flush().await.unwrap_err();
    assert_eq!(store.try_write("two").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.lines(), ["one"]);
    files.fail_syncs.store(false, Ordering::Relaxed);
    store.write("two").await;
    store.shard.flush().await.unwrap();
    assert_eq!(store.lines(), ["one", "two"]);
    assert_eq!(store.seen().levels, [0, 0]);
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    assert_eq!(store.lines(), ["one", "two"]);
    store.crash().await;
}

#[tokio::test]
async fn a_flush_waits_for_what_tells_retries() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(21);
    let store = FakeStore::open(folder.path(), &components).await;
    store.write("one").await;
    // No file can be put in the place of a folder.
    let in_the_way = folder.path().join("wal/logs.recent");
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    store.shard.flush().await.unwrap_err();
    assert!(store.seen().levels.is_empty(), "no segment stands for the log yet");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    store.shard.flush().await.unwrap();
    assert_eq!(store.seen().levels, [0]);
    store.crash().await;
    let store = FakeStore::open(folder.path(), &components).await;
    assert!(store.write("one").await.duplicate);
    assert_eq!(store.lines(), ["one"]);
    store.crash().await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(FaultyFiles::default());
    let clock = FakeClock::new();
    let mut components = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(14));
    components.files = Arc::clone(&files) as _;
    let store = FakeStore::open(folder.path(), &components).await;
    files.free_bytes.store(1, Ordering::Relaxed);
    let error = store.try_write("one").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("storage.disk_min_free"), "{error}");
    files.free_bytes.store(1 << 40, Ordering::Relaxed);
    clock.advance_ns(1_000_000_000);
    store.write("one").await;
    store.crash().await;
}

#[tokio::test]
async fn retention_counts_from_the_later_of_record_and_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::new();
    let components = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(15));
    let store = FakeStore::open(folder.path(), &components).await;
    // The records are of 1970 and have just arrived.
    store.write("one").await;
    store.shard.flush().await.unwrap();
    let keeps = Keeps::new(&store.core.options.limits.load());
    let retention_ns = keeps.retention_ns;
    let horizon = Horizon { believed_ns: clock.now_ns(), keeps: keeps.clone() };
    let pass = async |passed_ns: i64, consent| {
        let now = Now { wall_ns: clock.now_ns(), passed_ns, keeps: keeps.clone() };
        store.shard.retire_expired(&horizon, &now, consent).await.unwrap().unwrap()
    };
    assert_eq!(pass(0, Consent::Unasked).await.waiting, None);
    assert_eq!(store.lines(), ["one"]);
    clock.advance_ns(retention_ns + 1);
    let waiting = pass(0, Consent::Unasked).await.waiting.unwrap();
    assert_eq!((waiting.segments, waiting.leap_ns), (1, retention_ns + 1));
    assert_eq!(store.lines(), ["one"], "the clock has jumped");
    assert_eq!(pass(retention_ns + 1, Consent::Unasked).await.waiting, None, "time has passed");
    assert!(store.lines().is_empty());
    store.crash().await;
}

#[tokio::test]
async fn a_damaged_log_keeps_the_rest_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let components = components(16);
    let store = FakeStore::open(folder.path(), &components).await;
    for line in numbered(9) {
        store.write(&line).await;
    }
    store.crash().await;
    let options = Options::new(folder.path().to_owned());
    let wal = files_in(&Wal::folder(&options, model::Signal::Logs), "log");
    let bytes = std::fs::read(&wal[0]).unwrap();
    let at = bytes.windows(10).position(|window| window == b"line 00004").unwrap();
    flip(&wal[0], at);
    let store = FakeStore::open(folder.path(), &components).await;
    let mut expected = numbered(9);
    expected.remove(4);
    assert_eq!(store.lines(), expected);
    assert_eq!(store.shard.notices().unread.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 1);
    store.crash().await;
}

#[tokio::test]
async fn objects_of_two_tenants_lie_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::open(folder.path(), &components(17)).await;
    store.write("one").await;
    store.shard.flush().await.unwrap();
    let paths: Vec<String> = store.objects().await.into_keys().collect();
    assert!(paths.iter().any(|path| path.starts_with("segments/t-default/logs/")), "{paths:?}");
    let other = model::TenantId::parse("other").unwrap();
    assert!(store.shard.reader(&other).lines.is_empty());
    store.crash().await;
}

#[tokio::test]
async fn a_merge_that_panics_is_tried_again_and_then_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::open(folder.path(), &components(21)).await;
    for line in ["a", "b", "panic", "c"] {
        store.write(line).await;
        store.shard.flush().await.unwrap();
    }
    let error = store.shard.compact_fully().await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    store.shard.compact_fully().await.unwrap();
    assert_eq!(store.lines(), ["a", "b", "c", "panic"]);
    assert_eq!(store.seen().levels, [0; 4], "they stay as they are");
    store.write("d").await;
    store.shard.flush().await.unwrap();
    store.shard.compact_fully().await.unwrap();
    assert_eq!(store.lines().len(), 5, "others are merged as ever");
    store.crash().await;
}
