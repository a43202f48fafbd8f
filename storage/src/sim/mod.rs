//! A seeded simulation of the store: a machine with one thread, a disk and a bucket that break.
//!
//! A run has several lives. In each the store is opened on what the last one left, requests of all
//! signals and tenants are written, read back, flushed, merged and collected, until the machine goes
//! down at a step that the seed has chosen, or the store is closed. What comes back is held against
//! a ledger outside: whatever was acknowledged is there, whatever is there was sent, once, and to
//! the right tenant; an answer that lacks something says so. In the last life nothing fails, and
//! nothing may be missing. The same seed makes the same steps, down to their order.
//!
//! A [`Mutation`] makes the simulated disk do what a faulty product would: the simulation is worth
//! something only as long as it notices.

mod bucket;
mod damage;
mod disk;
mod flips;
mod load;
mod oracle;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Limits, Signal};
use tokio::runtime::Runtime;

use crate::sim::bucket::Bucket;
use crate::sim::disk::Disk;
use crate::sim::load::{Bodies, Request, TENANTS};
use crate::sim::oracle::Ledger;
use crate::sim::world::{Crash, Dice, Faults, World};
use crate::{Clock, Components, Durability, Options, Store, Threads};

pub use damage::{Damages, cut_log, damage_catalog, damage_log, damage_segments};
pub use flips::{Flips, flip_bits};
pub use world::Moment;

/// A life that takes longer is stuck.
const LIFE_MAX: Duration = Duration::from_secs(6 * 3600);
const SECOND_NS: i64 = 1_000_000_000;

/// A fault of a product that never was, to see whether the simulation would notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    #[default]
    None,
    /// Folders are never synced.
    DropFolderSyncs,
    /// Writes are acknowledged before the log is synced.
    AckBeforeSync,
    /// What memory holds of a log is taken for durable at a start.
    TrustMemory,
    /// Log files go before the commit that stands for them.
    TruncateBeforeCommit,
    /// What the catalog does not list is deleted at start.
    DeleteOrphans,
}

/// What is done in a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    pub seed: u64,
    pub mutation: Mutation,
    /// The first life ends at this step; where there is none the seed chooses.
    pub crash: Option<(&'static str, Moment)>,
    /// Clients send requests of earlier lives again that nobody acknowledged.
    pub resends: bool,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    /// Of every step in order.
    pub hash: u64,
    pub steps: u64,
    pub lives: u64,
    /// Times that the machine went down amid something.
    pub crashes: u64,
    pub acknowledged: u64,
    /// How often each kind of step was made.
    pub points: BTreeMap<&'static str, u64>,
    /// The promise that was broken.
    pub problem: Option<String>,
    /// All steps, up to a limit.
    pub trace: Vec<String>,
}

/// The steps at which a machine can go down.
#[must_use]
pub fn points() -> Vec<&'static str> {
    [disk::POINTS.as_slice(), bucket::POINTS.as_slice()].concat()
}

/// Runs the lives of one seed.
#[must_use]
pub fn run(seed: u64) -> Report {
    run_plan(Plan { seed, ..Plan::default() })
}

/// Runs what a plan says.
#[must_use]
pub fn run_plan(plan: Plan) -> Report {
    let mut run = Run::new(plan);
    let outcome = run.lives();
    let (hash, steps, points) = run.world.summary();
    let trace = run.world.take_trace();
    Report {
        seed: plan.seed,
        hash,
        steps,
        lives: run.lived,
        crashes: run.crashes,
        acknowledged: run.ledger.acknowledged(),
        points,
        problem: outcome.err(),
        trace,
    }
}

/// What the store is given of a machine.
fn components(world: &Arc<World>, disk: &Arc<Disk>, bucket: Option<&Arc<Bucket>>) -> Components {
    Components {
        clock: Arc::clone(world) as _,
        random: Arc::clone(world) as _,
        files: Arc::clone(disk) as _,
        object_store: bucket.map(|bucket| Arc::clone(bucket) as _),
        threads: Threads::Inline(Arc::clone(world) as _),
        faults: Arc::default(),
    }
}

/// For one life: time passes when everybody waits.
fn runtime() -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.map_err(|error| format!("no runtime: {error}"))
}

struct Run {
    plan: Plan,
    dice: Dice,
    world: Arc<World>,
    disk: Arc<Disk>,
    bucket: Option<Arc<Bucket>>,
    options: Options,
    ledger: Arc<Ledger>,
    lived: u64,
    crashes: u64,
    /// Something was taken away that the store cannot know of.
    is_wiped: bool,
}

impl Run {
    fn new(plan: Plan) -> Run {
        let mut dice = Dice::new(plan.seed);
        let world = World::new(plan.seed);
        let wants_bucket = plan.crash.map(|(point, _)| bucket::POINTS.contains(&point));
        let bucket = wants_bucket.unwrap_or_else(|| dice.one_in(3));
        let bucket = bucket.then(|| Bucket::new(Arc::clone(&world)));
        let mut options = Options::new(PathBuf::from("/sim"));
        options.wal_segment_bytes = 1 << (9 + dice.below(4));
        options.flush_wal_bytes = 1 << (10 + dice.below(5));
        options.flush_age_ns = 5_000_000_000 << dice.below(5);
        options.gc_grace_ns = SECOND_NS * (60 << dice.below(5)) as i64;
        let retention_ns = if dice.one_in(3) { 7200 * SECOND_NS } else { 0 };
        options.limits = Limits { retention_ns, ..Limits::default() }.into();
        // Nothing is evicted: what goes first depends on how many files the process has opened.
        options.cache_bytes_max = 256 << 20;
        options.disk_free_bytes_min = 0;
        if dice.one_in(6) {
            options.durability = Durability::Os;
        }
        if dice.one_in(3) {
            // Replay puts each entry into a memtable of its own.
            options.replay_memory_max = 0;
        }
        let ledger = Arc::new(Ledger::new(retention_ns));
        let disk = Disk::new(Arc::clone(&world), plan.mutation);
        let (lived, crashes, is_wiped) = (0, 0, false);
        Run { plan, dice, world, disk, bucket, options, ledger, lived, crashes, is_wiped }
    }

    fn lives(&mut self) -> Result<(), String> {
        let lives = 2 + self.dice.below(3);
        for number in 0..lives {
            let faults = self.faults();
            let crash = self.crash(number);
            self.live(faults, crash, Chapter::Busy)?;
            self.between(faults);
        }
        self.live(Faults::default(), None, Chapter::Last)
    }

    fn faults(&mut self) -> Faults {
        let rates = [0, 0, 3, 20];
        let mut rate = || rates[self.dice.below(4) as usize];
        let mut faults = Faults { writes: rate(), reads: rate(), bucket: 4 * rate() };
        if self.options.durability == Durability::Os {
            // A sync that fails and a power cut are more than this durability can take.
            faults.writes = 0;
        }
        if self.plan.resends {
            // A file of hashes that cannot be read is allowed to let a retry in.
            faults.reads = 0;
        }
        faults
    }

    fn crash(&mut self, life: u64) -> Option<Crash> {
        let moments = [Moment::Before, Moment::Amid, Moment::After];
        if let (Some((point, moment)), 0) = (self.plan.crash, life) {
            return Some(Crash { point: Some(point), passed: self.dice.below(3), moment });
        }
        let moment = moments[self.dice.below(3) as usize];
        match self.dice.below(4) {
            0 => None,
            1 => Some(Crash { point: None, passed: self.dice.below(400), moment }),
            _ => {
                let points = points();
                let point = Some(points[self.dice.below(points.len() as u64) as usize]);
                Some(Crash { point, passed: self.dice.below(12), moment })
            }
        }
    }

    /// What happens while nothing runs.
    fn between(&mut self, faults: Faults) {
        let mut dice = Dice::new(self.dice.next());
        // A write error leaves a disk that promises nothing of the process's last second.
        if dice.one_in(3) {
            self.world.note("the process was killed".to_owned());
            if self.options.durability == Durability::Os {
                // What nobody syncs the system writes back within half a minute.
                self.disk.write_back();
            }
            self.disk.restart();
        } else {
            self.world.note("the power went".to_owned());
            if self.options.durability == Durability::Os {
                let second = SECOND_NS.unsigned_abs();
                self.ledger.doubt_since(self.world.monotonic_ns().saturating_sub(2 * second));
            }
            self.disk.power_cut(&mut dice);
        }
        if let (Mutation::DeleteOrphans, Some(bucket)) = (self.plan.mutation, &self.bucket) {
            bucket.delete_orphans();
        }
        let no_faults = faults.writes + faults.reads + faults.bucket == 0;
        if no_faults && dice.one_in(4) {
            self.world.note("the catalog was removed".to_owned());
            self.is_wiped = true;
            match &self.bucket {
                Some(bucket) => bucket.wipe("catalog/"),
                None => self.disk.wipe("/store/catalog/"),
            };
            if self.plan.mutation == Mutation::DeleteOrphans {
                self.disk.restart();
                if let Some(bucket) = &self.bucket {
                    bucket.delete_orphans();
                }
            }
        }
    }

    fn live(
        &mut self,
        faults: Faults,
        crash: Option<Crash>,
        chapter: Chapter,
    ) -> Result<(), String> {
        self.lived += 1;
        let runtime = runtime()?;
        let life = Life {
            world: Arc::clone(&self.world),
            ledger: Arc::clone(&self.ledger),
            options: self.options.clone(),
            components: components(&self.world, &self.disk, self.bucket.as_ref()),
            dice: Dice::new(self.dice.next()),
            chapter,
            is_calm: faults.reads + faults.writes + faults.bucket == 0,
            is_wiped: self.is_wiped,
            resends: self.plan.resends,
        };
        let world = Arc::clone(&self.world);
        let outcome = runtime.block_on(async {
            world.begin(faults, crash);
            world.note(format!("a life begins, {faults:?}, {crash:?}"));
            let lived = tokio::time::timeout(LIFE_MAX, life.live());
            let outcome = tokio::select! {
                biased;
                () = world.until_down() => Ok(()),
                lived = lived => lived.unwrap_or_else(|_| Err("it is stuck".to_owned())),
            };
            self.crashes += u64::from(world.is_down());
            let passed = world.passed();
            let jump = if self.dice.one_in(4) { self.dice.below(7200) as i64 - 3600 } else { 0 };
            // What came an hour ago by the clock on the wall is no retry.
            let jump = if self.plan.resends { 0 } else { jump };
            world.end(passed, jump * SECOND_NS);
            outcome
        });
        drop(runtime);
        outcome
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chapter {
    Busy,
    /// Nothing fails, and all must be there.
    Last,
}

/// One life of the store.
struct Life {
    world: Arc<World>,
    ledger: Arc<Ledger>,
    options: Options,
    components: Components,
    dice: Dice,
    chapter: Chapter,
    is_calm: bool,
    is_wiped: bool,
    resends: bool,
}

impl Life {
    async fn open(&self) -> Result<Option<Arc<Store>>, String> {
        let opened =
            Store::open(self.options.clone(), self.components.clone(), Arc::new(Bodies)).await;
        match opened {
            Ok(store) => Ok(Some(store)),
            // A disk or bucket that fails may keep a store from opening; a calm one may not.
            Err(_) if !self.is_calm || self.world.is_down() => Ok(None),
            Err(error) => Err(format!("the store does not open: {error}")),
        }
    }

    async fn live(mut self) -> Result<(), String> {
        let Some(store) = self.open().await? else { return Ok(()) };
        let mut clients = tokio::task::JoinSet::new();
        if self.chapter == Chapter::Busy {
            for _ in 0..1 + self.dice.below(3) {
                let client = self.client(&store);
                clients.spawn(client.run());
            }
            let dice = Dice::new(self.dice.next());
            clients.spawn(upkeep(Arc::clone(&store), dice, Arc::clone(&self.world)));
        }
        // Also while the log is replayed.
        self.check(&store, false)?;
        store.wait_until_ready().await;
        self.check(&store, false)?;
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| format!("a client: {error}"))?;
            self.check(&store, false)?;
        }
        if self.chapter == Chapter::Last {
            return self.last(store).await;
        }
        if self.dice.one_in(3) {
            // What cannot be flushed is still in the log.
            let _closed = store.close().await;
        }
        Ok(())
    }

    async fn last(&self, store: Arc<Store>) -> Result<(), String> {
        let told = |error: crate::StorageError| error.to_string();
        self.check(&store, true)?;
        store.flush(None).await.map_err(told)?;
        self.check(&store, true)?;
        store.compact().await.map_err(told)?;
        self.check(&store, true)?;
        // Upkeep, retention and garbage collection come and go.
        tokio::time::sleep(Duration::from_secs(1500)).await;
        self.check(&store, true)?;
        store.close().await.map_err(told)?;
        drop(store);
        let verified = crate::store::verify_with(&self.options, &self.components).await;
        let verified = verified.map_err(told)?;
        // Segments that nothing lists are no damage.
        if !verified.damage.is_empty() && !self.is_wiped && !self.ledger.has_damage() {
            return Err(format!("verify finds {:?}", verified.damage));
        }
        let Some(store) = self.open().await? else { return Err("it does not reopen".to_owned()) };
        store.wait_until_ready().await;
        self.check(&store, true)?;
        store.close().await.map_err(told)
    }

    /// Reads all tenants. `strict`: not even a partial answer may lack anything.
    fn check(&self, store: &Arc<Store>, strict: bool) -> Result<(), String> {
        let now = self.world.now_ns();
        let checked =
            (0..TENANTS).try_for_each(|tenant| self.ledger.check(store, tenant, now, strict));
        // What is read while the machine falls is nothing that anybody gets.
        if self.world.is_down() { Ok(()) } else { checked }
    }

    fn client(&mut self, store: &Arc<Store>) -> Client {
        Client {
            store: Arc::clone(store),
            world: Arc::clone(&self.world),
            ledger: Arc::clone(&self.ledger),
            dice: Dice::new(self.dice.next()),
            resends: self.resends,
        }
    }
}

/// Somebody who sends requests, and sends them again when no answer comes.
struct Client {
    store: Arc<Store>,
    world: Arc<World>,
    ledger: Arc<Ledger>,
    dice: Dice,
    /// Sends requests of earlier lives again.
    resends: bool,
}

impl Client {
    async fn run(mut self) {
        for _ in 0..4 + self.dice.below(14) {
            let pause = if self.dice.one_in(3) { 4000 } else { 50 };
            tokio::time::sleep(self.dice.duration(pause)).await;
            let again = self.resends && self.dice.one_in(3);
            let again = again.then(|| self.ledger.unanswered(&mut self.dice, self.world.as_ref()));
            let request = again.flatten().unwrap_or_else(|| self.new_request());
            let tries = 1 + self.dice.below(3);
            for _ in 0..tries {
                let received_ns = self.world.now_ns();
                let written = self.store.write(request.write(received_ns)).await;
                // Nobody gets an answer from a machine that is down.
                if self.world.is_down() {
                    return;
                }
                self.world.note(format!("request {}: {written:?}", request.number));
                if written.is_ok() {
                    self.ledger.acknowledge(request.number, self.world.as_ref());
                    if !self.dice.one_in(8) {
                        break;
                    }
                }
                tokio::time::sleep(self.dice.duration(3000)).await;
            }
        }
    }
}

impl Client {
    fn new_request(&mut self) -> Request {
        self.ledger.send(self.world.as_ref(), |number| Request {
            number,
            signal: Signal::ALL[self.dice.below(3) as usize],
            tenant: self.dice.below(TENANTS),
            records: 1 + self.dice.below(6),
            time_ns: self.world.now_ns() - self.dice.below(3_000_000) as i64 * 1000,
        })
    }
}

/// Flushes, merges and collects more often than the store does by itself.
async fn upkeep(store: Arc<Store>, mut dice: Dice, world: Arc<World>) {
    for _ in 0..dice.below(6) {
        tokio::time::sleep(dice.duration(5000)).await;
        let done = match dice.below(8) {
            0..4 => store.flush(Some(Signal::ALL[dice.below(3) as usize])).await,
            4 => store.flush(None).await,
            5..7 => store.compact().await,
            _ => {
                tokio::time::sleep(Duration::from_secs(400)).await;
                Ok(())
            }
        };
        if world.is_down() {
            return;
        }
        world.note(format!("upkeep: {done:?}"));
    }
}
