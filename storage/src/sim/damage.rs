//! Damage at rest that is made on purpose: cut and flipped logs, cut segments, a lost catalog.
//!
//! Each case begins with the same healthy store, of which every file is known, and ends with what a
//! query gets: what is whole is there, what is not is said, nothing is deleted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Signal;

use crate::sim::Mutation;
use crate::sim::disk::Disk;
use crate::sim::flips::{Bench, components, on_runtime};
use crate::sim::load::{Bodies, Stored, TENANTS, tenant};
use crate::sim::world::World;
use crate::{Clock, Store};

/// Units: bytes.
const SECTOR: usize = 512;
const HOLE: usize = 4096;
/// Of a log file.
const HEADER_BYTES: usize = 32;

/// What came of the cases.
#[derive(Debug, Clone, Default)]
pub struct Damages {
    pub cases: u64,
    /// Cases in which an answer named what it could not read.
    pub partial: u64,
    pub problem: Option<String>,
}

/// A healthy store whose log is not flushed: requests of one signal, one after the other.
struct LogBench {
    bench: Bench,
    disk: Arc<Disk>,
    /// The log's files in order.
    files: Vec<PathBuf>,
    /// By request, the number of its file and where in it its frame begins and ends.
    places: Vec<(usize, usize, usize)>,
}

/// Counters and content of a store on a damaged log.
struct Opened {
    batches: BTreeSet<u64>,
    is_partial: bool,
    torn: f64,
    corruptions: f64,
    is_suspected: bool,
}

impl LogBench {
    fn new(seed: u64, file_bytes: u64, requests: u64) -> Result<LogBench, String> {
        let world = World::new(seed);
        let disk = Disk::new(Arc::clone(&world), Mutation::None);
        let mut bench = Bench::new();
        bench.options.wal_segment_bytes = file_bytes;
        bench.options.flush_wal_bytes = u64::MAX;
        on_runtime(&world, bench.fill_log(&world, &disk, requests))?;
        disk.restart();
        let is_log = |path: &PathBuf| path.extension().is_some_and(|it| it == "log");
        let listed = disk.files().into_iter().filter(|(path, _)| is_log(path));
        let (mut files, mut places) = (Vec::new(), Vec::new());
        let mut sizes = bench.ledger.frame_bytes().into_iter();
        for (path, bytes) in listed {
            let mut at = HEADER_BYTES;
            while at < bytes {
                let Some(size) = sizes.next() else { break };
                places.push((files.len(), at, at + size));
                at += size;
            }
            if at != bytes {
                return Err(format!("{} has {bytes} bytes, not {at}", path.display()));
            }
            files.push(path);
        }
        Ok(LogBench { bench, disk, files, places })
    }

    /// Opens a damaged copy and reads everything.
    fn open(&self, case: u64, hurt: impl FnOnce(&Disk)) -> Result<Opened, String> {
        let world = World::new(case);
        let disk = self.disk.fork(Arc::clone(&world));
        hurt(&disk);
        let before = names(&disk);
        let opened = on_runtime(&world, async {
            let parts = components(&world, &disk);
            let store = Store::open(self.bench.options.clone(), parts, Arc::new(Bodies)).await;
            let store = store.map_err(|error| format!("the store does not open: {error}"))?;
            store.wait_until_ready().await;
            let mut opened = Opened {
                batches: BTreeSet::new(),
                is_partial: false,
                torn: counter(&store, "wal_torn_tail_total"),
                corruptions: counter(&store, "wal_corruptions_total"),
                is_suspected: gauge(&store, "data_loss_suspected") > 0.0,
            };
            for owner in 0..TENANTS {
                self.bench.ledger.check_sane(&store, owner)?;
                let snapshot = store.snapshot(&tenant(owner));
                let stored = Stored::read(&snapshot, owner, &store.budget(&tenant(owner)));
                let stored = stored.map_err(|error| error.to_string())?;
                opened.is_partial |= stored.unread.iter().any(|parts| !parts.is_empty());
                opened.batches.extend(stored.batches.keys().map(|(_, number)| *number));
            }
            // It goes on from there.
            self.bench.write_one(&store, &world).await?;
            Ok(opened)
        })?;
        let left = names(&disk);
        match before.iter().find(|path| !left.contains(*path)) {
            Some(gone) => Err(format!("{} was deleted", gone.display())),
            None => Ok(opened),
        }
    }
}

fn names(disk: &Disk) -> BTreeSet<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

fn counter(store: &Store, name: &str) -> f64 {
    let stats = store.stats();
    stats.counters.iter().filter(|figure| figure.0 == name).map(|figure| figure.2).sum()
}

fn gauge(store: &Store, name: &str) -> f64 {
    let stats = store.stats();
    stats.gauges.iter().filter(|figure| figure.0 == name).map(|figure| figure.2).sum()
}

/// Cuts the last file of a log of 64 KiB at every `step`th byte: each whole request is there, one
/// torn tail is counted, and nobody is alarmed.
#[must_use]
pub fn cut_log(seed: u64, step: usize) -> Damages {
    let mut damages = Damages::default();
    damages.problem = cuts(seed, step.max(1), &mut damages).err();
    damages
}

fn cuts(seed: u64, step: usize, damages: &mut Damages) -> Result<(), String> {
    let log = LogBench::new(seed, 64 << 10, 690)?;
    let last = log.files.len() - 1;
    let path = &log.files[last];
    let bytes = log.disk.bytes(path);
    for cut in (0..=bytes.len()).step_by(step) {
        let why = |what: &str| format!("cut at {cut}: {what}");
        let opened = log.open(cut as u64, |disk| disk.replace(path, bytes[..cut].to_vec()));
        let opened = opened.map_err(|error| why(&error))?;
        let whole = |&(file, _, end): &(usize, usize, usize)| file < last || end <= cut;
        let expected = log.places.iter().filter(|place| whole(place)).count();
        if !opened.batches.iter().copied().eq(0..expected as u64) {
            return Err(why(&format!("{} requests instead of {expected}", opened.batches.len())));
        }
        let is_boundary = cut == 0
            || cut == HEADER_BYTES
            || log.places.iter().any(|&(file, _, end)| file == last && end == cut);
        let torn = if is_boundary { 0.0 } else { 1.0 };
        if (opened.torn - torn).abs() > 0.1 {
            return Err(why(&format!("{} torn tails are counted", opened.torn)));
        }
        if opened.corruptions > 0.0 || opened.is_suspected || opened.is_partial {
            return Err(why("a torn tail is no damage"));
        }
        damages.cases += 1;
    }
    Ok(())
}

/// Flips every `step`th byte in the middle of a log, takes a file away, swaps two, and zeroes a hole:
/// everything before and after is there, and what is not is told and kept aside.
#[must_use]
pub fn damage_log(seed: u64, step: usize) -> Damages {
    let mut damages = Damages::default();
    damages.problem = log_damages(seed, step.max(1), &mut damages).err();
    damages
}

fn log_damages(seed: u64, step: usize, damages: &mut Damages) -> Result<(), String> {
    let log = LogBench::new(seed, 8 << 10, 500)?;
    let middle = log.files.len() / 2;
    let path = &log.files[middle];
    let bytes = log.disk.bytes(path);
    let all = log.places.len() as u64;
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let hit = |&(file, start, end): &(usize, usize, usize)| {
            file == middle && (start..end).contains(&at)
        };
        let lost: BTreeSet<u64> = (0..all).filter(|n| hit(&log.places[*n as usize])).collect();
        let case = Case { what: format!("flip at {at}"), lost, is_kept_aside: true };
        log.judge(&case, at as u64, damages, |disk| disk.replace(path, flipped))?;
    }
    let of_file = |wanted: usize| -> BTreeSet<u64> {
        (0..all).filter(|n| log.places[*n as usize].0 == wanted).collect()
    };
    let case =
        Case { what: "a file is gone".to_owned(), lost: of_file(middle), is_kept_aside: false };
    log.judge(&case, 1, damages, |disk| disk.take_away(path))?;

    // Under the other's name a file's salt does not fit: nothing of it can be trusted.
    let other = &log.files[middle + 1];
    let other_bytes = log.disk.bytes(other);
    let lost = &of_file(middle) | &of_file(middle + 1);
    let case = Case { what: "two files are swapped".to_owned(), lost, is_kept_aside: true };
    log.judge(&case, 2, damages, |disk| {
        disk.replace(path, other_bytes);
        disk.replace(other, bytes.clone());
    })?;

    let hole = 1000..1000 + HOLE;
    let mut holed = bytes.clone();
    holed[hole.clone()].fill(0);
    let meets = |&(file, start, end): &(usize, usize, usize)| {
        file == middle && start < hole.end && hole.start < end
    };
    let lost = (0..all).filter(|n| meets(&log.places[*n as usize])).collect();
    let case = Case { what: "a hole of zeros".to_owned(), lost, is_kept_aside: true };
    log.judge(&case, 3, damages, |disk| disk.replace(path, holed))
}

/// What may be missing after a damage.
struct Case {
    what: String,
    lost: BTreeSet<u64>,
    is_kept_aside: bool,
}

impl LogBench {
    fn judge(
        &self,
        case: &Case,
        number: u64,
        damages: &mut Damages,
        hurt: impl FnOnce(&Disk),
    ) -> Result<(), String> {
        let Case { what, lost, is_kept_aside } = case;
        let mut aside = false;
        let opened = self.open(number, |disk| {
            hurt(disk);
            aside = true;
        });
        let opened = opened.map_err(|error| format!("{what}: {error}"))?;
        let expected = (0..self.places.len() as u64).filter(|number| !lost.contains(number));
        let missing: Vec<u64> = expected.filter(|it| !opened.batches.contains(it)).collect();
        if !missing.is_empty() {
            return Err(format!("{what}: requests {missing:?} are missing as well"));
        }
        // Damage to a header's unused bytes costs nothing; it is told all the same.
        if opened.corruptions < 1.0 || !opened.is_suspected || !opened.is_partial {
            return Err(format!("{what}: nobody is told"));
        }
        if opened.torn > 0.0 {
            return Err(format!("{what}: it passes for a torn tail"));
        }
        assert!(aside || !is_kept_aside, "bug: nothing was hurt");
        damages.cases += 1;
        damages.partial += u64::from(opened.is_partial);
        Ok(())
    }
}

/// Cuts every segment file at every `step`th sector and flips each byte of its end: verification finds
/// each, answers are right or partial, and merges leave the segment alone.
#[must_use]
pub fn damage_segments(seed: u64, step: usize) -> Damages {
    let mut damages = Damages::default();
    damages.problem = segment_damages(seed, step.max(1), &mut damages).err();
    damages
}

fn segment_damages(seed: u64, step: usize, damages: &mut Damages) -> Result<(), String> {
    let (bench, disk) = Bench::filled(seed)?;
    let is_segment = |path: &Path| {
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        ["metrics", "parquet", "index"].contains(&extension)
    };
    let files: Vec<PathBuf> = names(&disk).into_iter().filter(|path| is_segment(path)).collect();
    let mut case = 0;
    for path in &files {
        let bytes = disk.bytes(path);
        let cuts = (0..bytes.len()).step_by(SECTOR).map(|cut| bytes[..cut].to_vec());
        let flips = (bytes.len().saturating_sub(64)..bytes.len()).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            flipped
        });
        for damaged in cuts.chain(flips) {
            case += 1;
            if case % step != 0 {
                continue;
            }
            let hurt = |disk: &Disk| disk.replace(path, damaged);
            let judged = bench.judge_segment(&disk, case as u64, path, hurt);
            let is_partial = judged.map_err(|why| format!("{}: {why}", path.display()))?;
            damages.cases += 1;
            damages.partial += u64::from(is_partial);
        }
    }
    Ok(())
}

impl Bench {
    fn judge_segment(
        &self,
        disk: &Arc<Disk>,
        case: u64,
        path: &Path,
        hurt: impl FnOnce(&Disk),
    ) -> Result<bool, String> {
        let world = World::new(case);
        let disk = disk.fork(Arc::clone(&world));
        hurt(&disk);
        let told = |error: crate::StorageError| error.to_string();
        on_runtime(&world, async {
            let parts = components(&world, &disk);
            let verified = crate::store::verify_with(&self.options, &parts).await.map_err(told)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !verified.damage.iter().any(|damage| damage.file.ends_with(name.as_ref())) {
                return Err("verify finds nothing".to_owned());
            }
            let store = Store::open(self.options.clone(), parts, Arc::new(Bodies)).await;
            let store = store.map_err(told)?;
            store.wait_until_ready().await;
            let mut is_partial = false;
            for round in 0..2 {
                for owner in 0..TENANTS {
                    is_partial |= self.ledger.check_partial(&store, owner, world.now_ns())?;
                }
                if round == 0 {
                    store.compact().await.map_err(told)?;
                }
            }
            if !names(&disk).contains(path) {
                return Err("a merge has consumed it".to_owned());
            }
            Ok(is_partial)
        })
    }
}

/// Loses the catalog in every way: all of it, single objects, their bytes, the newest commits; an old
/// object under a new name. Everything is there afterwards, and nothing is deleted.
#[must_use]
pub fn damage_catalog(seed: u64) -> Damages {
    let mut damages = Damages::default();
    damages.problem = catalog_damages(seed, &mut damages).err();
    damages
}

fn catalog_damages(seed: u64, damages: &mut Damages) -> Result<(), String> {
    let (bench, disk) = Bench::filled(seed)?;
    let objects: Vec<PathBuf> = names(&disk)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/store/catalog/"))
        .collect();
    let all = objects.clone();
    let is_commit = |path: &&PathBuf| !path.to_string_lossy().contains("checkpoint-");
    let commits: Vec<&PathBuf> = objects.iter().filter(is_commit).collect();
    type Hurt<'a> = Box<dyn FnOnce(&Disk) + 'a>;
    let mut cases: Vec<(String, Hurt<'_>)> = Vec::new();
    let wipe = |disk: &Disk| all.iter().for_each(|path| disk.take_away(path));
    cases.push(("all is gone".to_owned(), Box::new(wipe)));
    let empty = |disk: &Disk| all.iter().for_each(|path| disk.replace(path, Vec::new()));
    cases.push(("all is empty".to_owned(), Box::new(empty)));
    for path in &objects {
        let bytes = disk.bytes(path);
        let half = bytes[..bytes.len() / 2].to_vec();
        let name = path.display();
        let gone = Box::new(|disk: &Disk| disk.take_away(path));
        cases.push((format!("{name} is gone"), gone));
        let empty = Box::new(|disk: &Disk| disk.replace(path, Vec::new()));
        cases.push((format!("{name} is empty"), empty));
        let cut = Box::new(move |disk: &Disk| disk.replace(path, half));
        cases.push((format!("{name} is cut"), cut));
    }
    if let [.., before, last] = commits.as_slice() {
        let old = disk.bytes(before);
        let copy = Box::new(move |disk: &Disk| disk.replace(last, old));
        cases.push(("an old commit stands in the newest one's place".to_owned(), copy));
        let old = disk.bytes(before);
        let next = last.with_file_name("99999999999999999999.json.old");
        let double = Box::new(move |disk: &Disk| disk.add(&next, old));
        cases.push(("a copy lies beside it".to_owned(), double));
    }
    for (number, (what, hurt)) in cases.into_iter().enumerate() {
        let world = World::new(number as u64);
        let disk = disk.fork(Arc::clone(&world));
        hurt(&disk);
        let before = names(&disk);
        let judged = on_runtime(&world, async {
            let parts = components(&world, &disk);
            let store = Store::open(bench.options.clone(), parts, Arc::new(Bodies)).await;
            let store = store.map_err(|error| format!("the store does not open: {error}"))?;
            store.wait_until_ready().await;
            // Longer than the grace of what no catalog lists.
            tokio::time::sleep(std::time::Duration::from_secs(700)).await;
            for owner in 0..TENANTS {
                bench.ledger.check(&store, owner, world.now_ns(), true)?;
            }
            Ok(Signal::ALL
                .iter()
                .any(|signal| store.snapshot(&tenant(0)).notices(*signal).is_partial()))
        });
        let is_partial = judged.map_err(|why| format!("{what}: {why}"))?;
        let left = names(&disk);
        let is_data = |path: &&PathBuf| path.to_string_lossy().contains("/segments/");
        if let Some(gone) = before.iter().filter(is_data).find(|path| !left.contains(*path)) {
            return Err(format!("{what}: {} was deleted", gone.display()));
        }
        damages.cases += 1;
        damages.partial += u64::from(is_partial);
    }
    Ok(())
}
