//! What a simulated machine shares: chance, time, the trace, and the moment at which it goes down.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Clock, Random};

/// Lines of the trace that are kept for a failure's report; the hash covers all of them.
const TRACE_LINES_MAX: usize = 20_000;
/// When the simulated world begins. Units: ns since the Unix epoch.
const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

/// Splitmix64.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn duration(&mut self, ms_max: u64) -> Duration {
        Duration::from_micros(self.below(ms_max * 1000 + 1))
    }
}

/// When in a step the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    /// Half of what was to be written is.
    Amid,
    After,
}

/// The step at which the machine goes down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    /// Of this kind; of any kind where there is none.
    pub(super) point: Option<&'static str>,
    /// Steps of the kind that come before.
    pub(super) passed: u64,
    pub(super) moment: Moment,
}

/// How often things go wrong without the machine going down. Units: thousandths of all calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) bucket: u64,
}

#[derive(Debug)]
struct Inner {
    dice: Dice,
    hash: u64,
    trace: Vec<String>,
    steps: u64,
    points: BTreeMap<&'static str, u64>,
    faults: Faults,
    crash: Option<Crash>,
    is_down: bool,
    /// Wall and monotonic time at the start of the present life.
    wall_ns: i64,
    monotonic_ns: u64,
    started: Option<tokio::time::Instant>,
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct World {
    inner: Mutex<Inner>,
    down: Notify,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<World> {
        let inner = Inner {
            dice: Dice::new(seed ^ 0x5eed_0f0f_1234_8765),
            hash: 0,
            trace: Vec::new(),
            steps: 0,
            points: BTreeMap::new(),
            faults: Faults::default(),
            crash: None,
            is_down: false,
            wall_ns: BEGIN_NS,
            monotonic_ns: 1_000_000_000,
            started: None,
        };
        Arc::new(World { inner: Mutex::new(inner), down: Notify::new() })
    }

    /// Begins a life. Must be called inside its runtime.
    pub(super) fn begin(&self, faults: Faults, crash: Option<Crash>) {
        let mut inner = self.inner.lock();
        inner.faults = faults;
        inner.crash = crash;
        inner.is_down = false;
        inner.started = Some(tokio::time::Instant::now());
    }

    /// Ends a life: time stands still, and jumps by `jump_ns`.
    pub(super) fn end(&self, passed: Duration, jump_ns: i64) {
        let mut inner = self.inner.lock();
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        inner.wall_ns += passed.cast_signed() + jump_ns;
        inner.monotonic_ns += passed;
        inner.started = None;
        inner.is_down = true;
    }

    pub(super) fn passed(&self) -> Duration {
        self.inner.lock().started.map(|started| started.elapsed()).unwrap_or_default()
    }

    /// Returns when the machine goes down.
    pub(super) async fn until_down(&self) {
        loop {
            let down = self.down.notified();
            if self.is_down() {
                return;
            }
            down.await;
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.inner.lock().is_down
    }

    pub(super) fn dice<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.inner.lock().dice)
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, line: String) {
        self.inner.lock().note(line);
    }

    /// A step of `point` begins. Half of it is done where the answer is true.
    ///
    /// Errors: the machine is down, or goes down now.
    pub(super) fn enter(&self, point: &'static str, what: &str) -> io::Result<bool> {
        let mut inner = self.inner.lock();
        if inner.is_down {
            return Err(down());
        }
        inner.note(format!("{point} {what}"));
        *inner.points.entry(point).or_default() += 1;
        match inner.falls(point) {
            Some(Moment::Before) => {
                self.fall(&mut inner);
                Err(down())
            }
            Some(Moment::Amid) => {
                self.fall(&mut inner);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A step of `point` is done.
    ///
    /// Errors: the machine goes down now.
    pub(super) fn leave(&self, point: &'static str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.is_down {
            return Err(down());
        }
        let Some(crash) = inner.crash else { return Ok(()) };
        if crash.point.is_some_and(|wanted| wanted != point) {
            return Ok(());
        }
        if crash.passed > 0 {
            inner.crash = Some(Crash { passed: crash.passed - 1, ..crash });
            return Ok(());
        }
        self.fall(&mut inner);
        Err(down())
    }

    fn fall(&self, inner: &mut Inner) {
        inner.note("the machine goes down".to_owned());
        inner.is_down = true;
        inner.crash = None;
        self.down.notify_waiters();
    }

    /// Whether a write fails now.
    pub(super) fn write_fails(&self) -> bool {
        self.inner.lock().fails(|faults| faults.writes)
    }

    pub(super) fn read_fails(&self) -> bool {
        self.inner.lock().fails(|faults| faults.reads)
    }

    pub(super) fn bucket_fails(&self) -> bool {
        self.inner.lock().fails(|faults| faults.bucket)
    }

    /// Hash of everything that happened, number of steps, how often each point was passed.
    pub(super) fn summary(&self) -> (u64, u64, BTreeMap<&'static str, u64>) {
        let inner = self.inner.lock();
        (inner.hash, inner.steps, inner.points.clone())
    }

    pub(super) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().trace)
    }
}

impl Inner {
    fn note(&mut self, line: String) {
        self.steps += 1;
        self.hash = xxh3_64_with_seed(line.as_bytes(), self.hash);
        if self.trace.len() < TRACE_LINES_MAX {
            let at = self.elapsed_ns() / 1_000;
            self.trace.push(format!("{at:>12} us  {line}"));
        }
    }

    fn fails(&mut self, rate: impl FnOnce(&Faults) -> u64) -> bool {
        let rate = rate(&self.faults);
        rate > 0 && self.dice.below(1000) < rate
    }

    /// Whether the machine goes down before or amid this step.
    fn falls(&mut self, point: &'static str) -> Option<Moment> {
        let crash = self.crash.as_ref()?;
        if crash.point.is_some_and(|wanted| wanted != point) || crash.passed > 0 {
            return None;
        }
        Some(crash.moment)
    }

    fn elapsed_ns(&self) -> u64 {
        let passed = self.started.map(|started| started.elapsed().as_nanos());
        passed.and_then(|passed| u64::try_from(passed).ok()).unwrap_or(0)
    }
}

fn down() -> io::Error {
    io::Error::other("the machine is down")
}

impl Clock for World {
    fn now_ns(&self) -> i64 {
        let inner = self.inner.lock();
        inner.wall_ns + inner.elapsed_ns().cast_signed()
    }

    fn monotonic_ns(&self) -> u64 {
        let inner = self.inner.lock();
        inner.monotonic_ns + inner.elapsed_ns()
    }
}

impl Random for World {
    fn next_u64(&self) -> u64 {
        self.inner.lock().dice.next()
    }
}
