//! The log under damage: whatever is done to its bytes, it opens and keeps every whole entry.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{Encoding, Protocol, Signal, TenantId, Wire};
use proptest::prelude::*;

use crate::fakes::{FakeClock, FakeRandom, FaultyFiles, components};
use crate::wal::frame::{self, FILE_HEADER_BYTES, FileHeader, put_frame_header};
use crate::wal::replay::LogScan;
use crate::wal::{Depth, Entry, Replayed, Wal, Watermark};
use crate::{Components, ErrorKind, Options};

fn entry(number: u64, bytes: usize) -> Entry {
    let body = Bytes::from(vec![number as u8 ^ 0x5a; bytes]);
    Entry {
        tenant: TenantId::parse("team-a").unwrap(),
        wire: Wire {
            protocol: Protocol::LokiPushJson,
            encoding: Encoding::Gzip,
            bytes: body,
            received_ns: 1000 + number as i64,
        },
        body_hash: u128::from(number) << 70 | 7,
    }
}

/// A log file of about `bytes`, and the end of each of its frames.
fn file_bytes(salt: u64, bytes: usize, body_bytes: usize) -> (Vec<u8>, Vec<usize>) {
    let header = FileHeader { salt, first_sequence: 1, continues: false };
    let mut out = header.encode().to_vec();
    let mut ends = Vec::new();
    while out.len() < bytes {
        let sequence = ends.len() as u64 + 1;
        let entry = entry(sequence, body_bytes + ends.len() % 7);
        put_frame_header(&mut out, salt, sequence, &entry);
        out.extend_from_slice(&entry.wire.bytes);
        ends.push(out.len());
    }
    (out, ends)
}

fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder.to_owned());
    options.wal_segment_bytes = 64 << 10;
    options
}

fn sequences(wal: &Wal, scan: LogScan) -> Vec<u64> {
    replayed(wal, scan).iter().map(|entry| entry.sequence).collect()
}

fn replayed(wal: &Wal, scan: LogScan) -> Vec<Replayed> {
    scan.into_pieces().into_iter().flat_map(|piece| wal.read(piece).unwrap()).collect()
}

#[test]
fn a_log_cut_at_every_byte_keeps_every_whole_entry() {
    let (bytes, ends) = file_bytes(9, 64 << 10, 600);
    for cut in 0..=bytes.len() {
        let scan = frame::scan(&bytes[..cut], 9);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(scan.frames.len(), whole, "cut at {cut}");
        assert!(scan.damaged.is_empty(), "cut at {cut}");
        let on_boundary = cut == 0 || cut == FILE_HEADER_BYTES || ends.contains(&cut);
        assert_eq!(scan.tail.is_none(), on_boundary, "cut at {cut}");
    }
}

#[test]
fn a_cut_log_followed_by_reserved_zeros_counts_one_torn_tail_and_goes_on() {
    let (bytes, ends) = file_bytes(9, 8 << 10, 300);
    for cut in (1..bytes.len()).step_by(61) {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::new(Signal::Logs, &options(folder.path()), &components(1));
        std::fs::create_dir_all(wal.path()).unwrap();
        let mut torn = bytes[..cut].to_vec();
        torn.resize(16 << 10, 0);
        std::fs::write(wal.path().join("00000000000000000001-0000000000000009.log"), torn).unwrap();
        let scan = wal.scan(
            &Watermark::default(),
            Some(&folder.path().join("quarantine")),
            Depth::Headers,
        );
        let scan = scan.unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(scan.next_sequence, whole + 1);
        assert!(scan.unread.is_empty(), "a torn tail is no damage");
        let is_torn = cut != FILE_HEADER_BYTES && !ends.contains(&cut);
        assert_eq!(scan.torn.len(), usize::from(is_torn), "cut at {cut}");
        assert_eq!(sequences(&wal, scan), (1..=whole).collect::<Vec<_>>());
    }
}

#[test]
fn a_flipped_byte_loses_the_entry_it_is_in_and_no_other() {
    let (bytes, ends) = file_bytes(77, 6 << 10, 120);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let scan = frame::scan(&damaged, 77);
        let lost = ends.iter().position(|end| at < *end).filter(|_| at >= FILE_HEADER_BYTES);
        let expected: Vec<u64> =
            (0..ends.len()).filter(|i| Some(*i) != lost).map(|i| i as u64 + 1).collect();
        let found: Vec<u64> = scan.frames.iter().map(|frame| frame.sequence).collect();
        assert_eq!(found, expected, "flipped at {at}");
        assert_eq!(scan.damaged.len() + usize::from(scan.tail.is_some()), 1, "flipped at {at}");
    }
}

#[test]
fn a_hole_of_zeros_keeps_what_is_before_and_behind() {
    let (mut bytes, ends) = file_bytes(5, 32 << 10, 500);
    bytes[8192..12288].fill(0);
    let scan = frame::scan(&bytes, 5);
    let starts = std::iter::once(FILE_HEADER_BYTES).chain(ends.iter().copied());
    let touched = starts.zip(&ends).filter(|(start, end)| *start < 12288 && **end > 8192).count();
    assert_eq!(scan.frames.len(), ends.len() - touched);
    assert_eq!(scan.damaged.len(), 1);
    assert_eq!(scan.tail, None);
}

#[test]
fn a_body_that_holds_a_frame_is_never_taken_for_one() {
    // The sender knows the format, but not the salt of our file.
    let mut inner = Vec::new();
    let foreign = entry(99, 40);
    put_frame_header(&mut inner, 1234, 99, &foreign);
    inner.extend_from_slice(&foreign.wire.bytes);
    let salt = 4321;
    let mut outer = entry(1, 0);
    outer.wire.bytes = inner.into();
    let mut bytes = FileHeader { salt, first_sequence: 1, continues: false }.encode().to_vec();
    put_frame_header(&mut bytes, salt, 1, &outer);
    bytes.extend_from_slice(&outer.wire.bytes);
    bytes[FILE_HEADER_BYTES + 9] ^= 1;
    assert_eq!(frame::scan(&bytes, salt).frames, Vec::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_come_back_as_they_were_logged_over_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let wal = open(&options, Arc::new(FaultyFiles::default()));
    for wave in 0..10 {
        let numbers = 20 * wave + 1..=20 * wave + 20;
        let appended = numbers.map(|number| wal.append(entry(number, 2000)));
        futures::future::try_join_all(appended).await.unwrap();
    }
    let syncs = wal.stats().syncs.load(Ordering::Relaxed);
    assert!(syncs < 200, "{syncs} syncs for 200 entries");
    wal.stop();
    let again = Wal::new(Signal::Logs, &options, &components(2));
    let scan = again.scan(&Watermark::default(), None, Depth::Headers).unwrap();
    assert!(scan.files().len() > 3, "several files");
    assert_eq!((scan.torn.len(), again.corruptions(), scan.next_sequence), (0, 0, 201));
    let found = replayed(&again, scan);
    assert!(found.iter().map(|replayed| replayed.sequence).eq(1..=200));
    let original = entry(0, 0);
    assert!(found.iter().all(|replayed| replayed.tenant == original.tenant
        && replayed.wire.protocol == original.wire.protocol
        && replayed.wire.encoding == original.wire.encoding
        && replayed.wire.bytes.len() == 2000));
}

#[test]
fn what_is_excluded_from_a_watermark_is_not_covered() {
    let mut watermark = Watermark { sequence: 20, holes: vec![(3, 4), (9, 9)] };
    watermark.exclude(&[(5, 6), (8, 8), (15, 15), (19, 25), (30, 31)]);
    assert_eq!(watermark.holes, [(3, 6), (8, 9), (15, 15), (19, 20)]);
    watermark.exclude(&[(1, 18)]);
    assert_eq!(watermark, Watermark { sequence: 20, holes: vec![(1, 20)] });
    assert!(!watermark.covers_all(10, 12));
}

#[test]
fn two_watermarks_cover_together_what_either_covers() {
    let check = |one: (u64, &[(u64, u64)]), other: (u64, &[(u64, u64)])| {
        let mark =
            |(sequence, holes): (u64, &[(u64, u64)])| Watermark { sequence, holes: holes.to_vec() };
        let (one, other) = (mark(one), mark(other));
        let mut both = one.clone();
        both.join(&other);
        for sequence in 1..40 {
            let wanted = one.covers(sequence) || other.covers(sequence);
            assert_eq!(both.covers(sequence), wanted, "{sequence} of {one:?} and {other:?}");
        }
        let mut again = other;
        again.join(&one);
        assert_eq!(again, both);
    };
    check((10, &[(2, 10)]), (10, &[(3, 10)]));
    check((10, &[(2, 4), (6, 9)]), (12, &[(1, 2), (4, 7), (11, 11)]));
    check((0, &[]), (5, &[(2, 2)]));
    check((30, &[(1, 30)]), (20, &[(5, 6), (8, 20)]));
    check((7, &[]), (7, &[]));
}

#[test]
fn a_scan_of_headers_finds_what_a_scan_of_everything_finds() {
    let folder = tempfile::tempdir().unwrap();
    let wal = Wal::new(Signal::Logs, &options(folder.path()), &components(1));
    std::fs::create_dir_all(wal.path()).unwrap();
    let (mut next, mut damaged_at) = (1, 0);
    for (salt, body_bytes) in [(1, 40), (2, 30_000), (3, 500), (4, 0), (5, 2000)] {
        let header = FileHeader { salt, first_sequence: next, continues: salt > 1 };
        let mut bytes = header.encode().to_vec();
        let first = next;
        while bytes.len() < 300 << 10 && next < first + 400 {
            let entry = entry(next, body_bytes);
            put_frame_header(&mut bytes, salt, next, &entry);
            bytes.extend_from_slice(&entry.wire.bytes);
            next += 1;
        }
        if salt == 2 {
            damaged_at = bytes.len() - 1;
        }
        // What was reserved and not used.
        bytes.resize(bytes.len() + 5000, 0);
        let name = super::writer::file_name(first, salt);
        std::fs::write(wal.path().join(name), bytes).unwrap();
    }
    let scan = |depth| wal.scan(&Watermark::default(), None, depth).unwrap();
    let (headers, bodies) = (scan(Depth::Headers), scan(Depth::Bodies));
    assert_eq!(headers.unread, []);
    assert_eq!(headers.outstanding, bodies.outstanding);
    assert_eq!(headers.next_sequence, next);
    assert_eq!((headers.bytes, headers.entries), (bodies.bytes, bodies.entries));
    let files = |scan: &LogScan| format!("{:?}", scan.files());
    assert_eq!(files(&headers), files(&bodies));
    assert_eq!(sequences(&wal, headers), (1..next).collect::<Vec<_>>());

    // A body that is damaged since is met when it is read, and no other entry is lost with it.
    let name = std::fs::read_dir(wal.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = name.into_iter().find(|path| path.to_string_lossy().ends_with("2.log")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[damaged_at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = replayed(&wal, scan(Depth::Headers));
    assert_eq!(found.len() as u64, next - 1);
    let damaged: Vec<_> = found.iter().filter(|entry| entry.damaged.is_some()).collect();
    assert_eq!(damaged.len(), 1);
    let aside = folder.path().join("quarantine");
    let told = wal.set_aside_damaged(damaged[0], &aside).unwrap();
    assert!(told.why.contains(&format!("entries {0} to {0}", damaged[0].sequence)), "{told:?}");
    assert_eq!(std::fs::read_dir(aside).unwrap().count(), 1);
}

fn open(options: &Options, files: Arc<FaultyFiles>) -> Wal {
    let mut components = components(3);
    components.files = files;
    let wal = Wal::new(Signal::Logs, options, &components);
    std::fs::create_dir_all(wal.path()).unwrap();
    wal.start(1, Vec::new(), []).unwrap();
    wal
}

#[tokio::test]
async fn a_failed_sync_is_not_acknowledged_and_the_log_goes_on_in_a_new_file() {
    for kind in ["sync", "append"] {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let files = Arc::new(FaultyFiles::default());
        let wal = open(&options, Arc::clone(&files));
        assert_eq!(wal.append(entry(1, 500)).await.unwrap(), 1);
        let switch = if kind == "sync" { &files.fail_syncs } else { &files.fail_appends };
        switch.store(true, Ordering::Relaxed);
        let error = wal.append(entry(2, 500)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(wal.stats().failed.load(Ordering::Relaxed));
        switch.store(false, Ordering::Relaxed);
        assert_eq!(wal.append(entry(3, 500)).await.unwrap(), 3);
        assert!(!wal.stats().failed.load(Ordering::Relaxed));
        assert_eq!(wal.watermark().holes, [(1, 1), (3, 3)], "2 failed and is not outstanding");
        wal.stop();
        let again = Wal::new(Signal::Logs, &options, &components(4));
        let scan = again.scan(&Watermark::default(), None, Depth::Headers).unwrap();
        assert_eq!(scan.unread, [], "nothing that was acknowledged is missing");
        let found = sequences(&again, scan);
        assert!(found.contains(&1) && found.contains(&3), "{kind}: {found:?}");
    }
}

#[tokio::test]
async fn with_the_systems_durability_a_sync_comes_each_second_under_load_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.durability = crate::Durability::Os;
    let clock = FakeClock::new();
    let parts = Components::new(Arc::clone(&clock) as _, FakeRandom::seeded(3));
    let wal = Wal::new(Signal::Logs, &options, &parts);
    std::fs::create_dir_all(wal.path()).unwrap();
    wal.start(1, Vec::new(), []).unwrap();
    for number in 1..=20 {
        wal.append(entry(number, 100)).await.unwrap();
        clock.advance_ns(300_000_000);
    }
    // How late the thread comes to its syncs is up to the machine.
    let syncs = wal.stats().syncs.load(Ordering::Relaxed);
    assert!((2..=12).contains(&syncs), "{syncs} syncs in 6 seconds");
    wal.stop();
}

#[tokio::test]
async fn files_go_only_when_segments_hold_all_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.wal_segment_bytes = 1 << 10;
    let wal = open(&options, Arc::new(FaultyFiles::default()));
    for number in 1..=6 {
        wal.append(entry(number, 700)).await.unwrap();
    }
    let left = |watermark: &Watermark, idle| {
        wal.truncate(watermark, idle).unwrap();
        std::fs::read_dir(wal.path()).unwrap().count()
    };
    assert_eq!(left(&Watermark { sequence: 4, holes: vec![(3, 3)] }, false), 3, "3, 5 and 6");
    assert_eq!(left(&Watermark { sequence: 4, holes: vec![] }, false), 2);
    assert_eq!(left(&Watermark { sequence: 6, holes: vec![] }, false), 1, "the last is in use");
    wal.stop();
    assert_eq!(left(&Watermark { sequence: 6, holes: vec![] }, true), 0);
}

#[tokio::test]
async fn a_missing_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.wal_segment_bytes = 1 << 10;
    let wal = open(&options, Arc::new(FaultyFiles::default()));
    for number in 1..=4 {
        wal.append(entry(number, 700)).await.unwrap();
    }
    wal.stop();
    let files = wal.shared.files.lock().clone();
    std::fs::remove_file(&files[1].path).unwrap();
    let again = Wal::new(Signal::Logs, &options, &components(4));
    let scan = again.scan(&Watermark::default(), None, Depth::Headers).unwrap();
    assert_eq!(scan.unread.len(), 1, "{:?}", scan.unread);
    assert!(scan.unread[0].why.contains("up to number 2"), "{:?}", scan.unread);
    assert_eq!(sequences(&again, scan), [1, 3, 4]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_at_start_keeps_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.wal_segment_bytes = 1 << 10;
    let wal = open(&options, Arc::new(FaultyFiles::default()));
    for number in 1..=3 {
        wal.append(entry(number, 700)).await.unwrap();
    }
    wal.stop();
    let last = wal.shared.files.lock().last().unwrap().path.clone();
    let files = Arc::new(FaultyFiles::default());
    *files.unreadable.lock() = Some(last);
    let mut parts = components(4);
    parts.files = files;
    let again = Wal::new(Signal::Logs, &options, &parts);
    let scan = again.scan(&Watermark::default(), None, Depth::Headers).unwrap();
    assert_eq!(scan.unread.len(), 1, "{:?}", scan.unread);
    assert!(scan.next_sequence > 3, "number 3 may be in it: {}", scan.next_sequence);
    let outstanding = scan.outstanding.clone();
    again.start(scan.next_sequence, scan.files(), outstanding).unwrap();
    again.applied(1);
    again.applied(2);
    again.append(entry(4, 700)).await.unwrap();
    let watermark = again.watermark();
    assert!(!watermark.covers(3), "{watermark:?}");
    again.truncate(&watermark, false).unwrap();
    again.stop();
    let whole = Wal::new(Signal::Logs, &options, &components(5));
    let scan = whole.scan(&watermark, None, Depth::Headers).unwrap();
    assert_eq!(scan.unread, [], "what segments hold is not missed");
    assert_eq!(sequences(&whole, scan)[0], 3);
}

/// A power cut leaves the name of a file whose bytes never came to the disk; the next life begins with
/// the same number.
#[tokio::test]
async fn an_unreadable_file_beside_an_empty_one_of_the_same_number_keeps_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let wal = open(&options, Arc::new(FaultyFiles::default()));
    for number in 1..=3 {
        wal.append(entry(number, 700)).await.unwrap();
    }
    wal.stop();
    let written = wal.shared.files.lock().last().unwrap().path.clone();
    let empty = written.with_file_name(format!("{:020}-ffffffffffffffff.log", 1));
    assert!(written < empty);
    std::fs::write(empty, b"").unwrap();
    let files = Arc::new(FaultyFiles::default());
    *files.unreadable.lock() = Some(written);
    let mut parts = components(4);
    parts.files = files;
    let again = Wal::new(Signal::Logs, &options, &parts);
    let scan = again.scan(&Watermark::default(), None, Depth::Headers).unwrap();
    assert!(scan.next_sequence > 3, "1 to 3 are in it: {}", scan.next_sequence);
    assert!(scan.outstanding.starts_with(&[1, 2, 3]), "{:?}", scan.outstanding);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_can_be_scanned(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        cut in 0usize..4000,
    ) {
        let (mut whole, _) = file_bytes(3, 2 << 10, 100);
        let cut = cut.min(whole.len());
        whole.splice(cut..cut, bytes);
        let scan = frame::scan(&whole, 3);
        prop_assert!(scan.used_bytes <= whole.len());
        for frame in &scan.frames {
            prop_assert!(frame.payload.end <= whole.len());
        }
    }
}
