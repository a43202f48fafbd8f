//! Flips single bits of a store at rest: each is found by verification, none brings wrong data,
//! none keeps the store from opening, and nothing is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Limits, Signal};

use crate::sim::disk::Disk;
use crate::sim::load::{Bodies, Request, TENANTS};
use crate::sim::oracle::Ledger;
use crate::sim::world::{Dice, Faults, World};
use crate::sim::{Mutation, components, runtime};
use crate::{Clock, Options, Store};

/// Enough commits for a checkpoint.
const ROUNDS: u64 = 14;

/// What came of the flips.
#[derive(Debug, Clone, Default)]
pub struct Flips {
    /// Flips by kind of file.
    pub flips: BTreeMap<&'static str, u64>,
    /// Of them, flips in the last request of a log, which look like a write that was cut short.
    pub torn: u64,
    /// Answers that named a part that could not be read.
    pub partial: u64,
    pub problem: Option<String>,
}

/// Makes a store with all kinds of files and flips `count` bits of it, one at a time.
#[must_use]
pub fn flip_bits(seed: u64, count: u64) -> Flips {
    let mut flips = Flips::default();
    flips.problem = run(seed, count, &mut flips).err();
    flips
}

/// A store to be damaged, and what was written to it.
pub(super) struct Bench {
    pub(super) options: Options,
    pub(super) ledger: Arc<Ledger>,
}

/// Runs one life of a calm machine.
pub(super) fn on_runtime<T>(
    world: &Arc<World>,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    runtime()?.block_on(async {
        world.begin(Faults::default(), None);
        let outcome = work.await;
        world.end(world.passed(), 0);
        outcome
    })
}

fn run(seed: u64, count: u64, flips: &mut Flips) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let (bench, disk) = Bench::filled(seed)?;
    let groups = groups(&disk);
    for number in 0..count {
        let kinds: Vec<&&str> = groups.keys().collect();
        let kind = kinds[dice.below(kinds.len() as u64) as usize];
        let files = &groups[*kind];
        let (path, bytes) = &files[dice.below(files.len() as u64) as usize];
        let bit = dice.below(*bytes as u64 * 8);
        let world = World::new(seed ^ number);
        let damaged = disk.fork(Arc::clone(&world));
        damaged.flip(path, bit);
        *flips.flips.entry(*kind).or_default() += 1;
        let outcome = on_runtime(&world, bench.check(&world, &damaged, flips));
        outcome.map_err(|why| format!("flip {number}, bit {bit} of {}: {why}", path.display()))?;
        let left: BTreeSet<PathBuf> = damaged.files().into_iter().map(|(path, _)| path).collect();
        let mut before = disk.files().into_iter().map(|(path, _)| path);
        if let Some(gone) = before.find(|path| !left.contains(path)) {
            return Err(format!("bit {bit} of {}: {} is gone", path.display(), gone.display()));
        }
    }
    Ok(())
}

/// The files whose every byte counts, by kind.
fn groups(disk: &Disk) -> BTreeMap<&'static str, Vec<(PathBuf, usize)>> {
    let mut groups: BTreeMap<&'static str, Vec<(PathBuf, usize)>> = BTreeMap::new();
    for (path, bytes) in disk.files() {
        if bytes > 0
            && let Some(kind) = kind(&path)
        {
            groups.entry(kind).or_default().push((path, bytes));
        }
    }
    groups
}

fn kind(path: &Path) -> Option<&'static str> {
    let text = path.to_string_lossy();
    let is = |part: &str| text.contains(part);
    let segment = |names: [&'static str; 3]| {
        let signals = ["/metrics/", "/logs/", "/traces/"];
        signals.iter().zip(names).find(|(signal, _)| is(signal)).map(|(_, name)| name)
    };
    if text.ends_with("/writer") {
        return Some("folder name");
    }
    if text.ends_with("/life") {
        return Some("life");
    }
    if text.ends_with("/retention.json") {
        return Some("retention");
    }
    match path.extension()?.to_str()? {
        "log" => Some("log"),
        "recent" => Some("request hashes"),
        "meta" => segment(["metrics sidecar", "logs sidecar", "traces sidecar"]),
        "metrics" => Some("metrics segment"),
        "index" => segment(["metrics index", "logs index", "traces index"]),
        "parquet" if is(".traces.parquet") => Some("traces by trace"),
        "parquet" => segment(["", "logs segment", "traces segment"]),
        "json" if is("checkpoint-") => Some("checkpoint"),
        "json" => Some("commit"),
        _ => None,
    }
}

impl Bench {
    pub(super) fn new() -> Bench {
        let mut options = Options::new(PathBuf::from("/sim"));
        options.wal_segment_bytes = 2 << 10;
        options.flush_age_ns = i64::MAX.unsigned_abs();
        options.gc_grace_ns = 60_000_000_000;
        options.limits = Limits { retention_ns: 0, ..Limits::default() }.into();
        options.disk_free_bytes_min = 0;
        Bench { options, ledger: Arc::new(Ledger::new(0)) }
    }

    /// A store with every kind of file, not running.
    pub(super) fn filled(seed: u64) -> Result<(Bench, Arc<Disk>), String> {
        let world = World::new(seed);
        let disk = Disk::new(Arc::clone(&world), Mutation::None);
        let bench = Bench::new();
        on_runtime(&world, bench.fill(&world, &disk))?;
        disk.restart();
        Ok((bench, disk))
    }

    /// The store, with nothing of its log left to replay.
    pub(super) async fn open(
        &self,
        world: &Arc<World>,
        disk: &Arc<Disk>,
    ) -> Result<Arc<Store>, String> {
        let parts = components(world, disk, None);
        let store = Store::open(self.options.clone(), parts, Arc::new(Bodies)).await;
        let store = store.map_err(|error| format!("the store does not open: {error}"))?;
        store.wait_until_ready().await;
        Ok(store)
    }

    /// A log of one signal alone.
    pub(super) async fn fill_log(
        &self,
        world: &Arc<World>,
        disk: &Arc<Disk>,
        requests: u64,
    ) -> Result<(), String> {
        let store = self.open(world, disk).await?;
        for _ in 0..requests {
            self.write_one(&store, world).await?;
        }
        Ok(())
    }

    /// Writes a request of logs.
    pub(super) async fn write_one(&self, store: &Store, world: &World) -> Result<(), String> {
        let time_ns = world.now_ns();
        let make = |number| {
            let (signal, tenant) = (Signal::Logs, number % TENANTS);
            Request { number, signal, tenant, records: 2, time_ns }
        };
        let request = self.ledger.send(world, make);
        store.write(request.write(time_ns)).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Segments of levels 0 and 1 of all signals, a checkpoint, and a log that is not flushed.
    async fn fill(&self, world: &Arc<World>, disk: &Arc<Disk>) -> Result<(), String> {
        let told = |error: crate::StorageError| error.to_string();
        let store = self.open(world, disk).await?;
        for round in 0..ROUNDS {
            self.write(&store, world, 2).await?;
            store.flush(None).await.map_err(told)?;
            if round == ROUNDS - 3 {
                store.compact().await.map_err(told)?;
                tokio::time::sleep(Duration::from_secs(700)).await;
                store.compact().await.map_err(told)?;
            }
        }
        self.write(&store, world, 6).await?;
        for tenant in 0..TENANTS {
            self.ledger.check(&store, tenant, world.now_ns(), true)?;
        }
        Ok(())
    }

    async fn write(&self, store: &Store, world: &World, requests: u64) -> Result<(), String> {
        for signal in Signal::ALL {
            for nth in 0..requests {
                let time_ns = world.now_ns();
                let tenant = nth % TENANTS;
                let make = |number| Request { number, signal, tenant, records: 12, time_ns };
                let request = self.ledger.send(world, make);
                store.write(request.write(time_ns)).await.map_err(|error| error.to_string())?;
                self.ledger.acknowledge(request.number, world);
            }
        }
        Ok(())
    }

    async fn check(
        &self,
        world: &Arc<World>,
        disk: &Arc<Disk>,
        flips: &mut Flips,
    ) -> Result<(), String> {
        let parts = components(world, disk, None);
        let verified = crate::store::verify_with(&self.options, &parts).await;
        let verified = verified.map_err(|error| format!("verify gives up: {error}"))?;
        let is_torn = verified.notes.iter().any(|note| note.contains("cut short"));
        if verified.damage.is_empty() && !is_torn {
            return Err("verify finds nothing".to_owned());
        }
        let store = self.open(world, disk).await?;
        if verified.damage.is_empty() {
            // The last request of a log cannot be told from one that was never acknowledged.
            flips.torn += 1;
            return Ok(());
        }
        let mut partial = false;
        for tenant in 0..TENANTS {
            self.ledger.check(&store, tenant, world.now_ns(), false)?;
            let snapshot = store.snapshot(&crate::sim::load::tenant(tenant));
            partial |= Signal::ALL.iter().any(|signal| snapshot.notices(*signal).is_partial());
        }
        flips.partial += u64::from(partial);
        Ok(())
    }
}
