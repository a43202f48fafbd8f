//! Tries cases and makes new ones until the time is over.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use peak_alloc::PeakAlloc;

use crate::mutate::mutate;
use crate::random::Random;
use crate::{CASE_TIME_MAX, HEAP_PER_BYTE, Target, corpus};

/// The stack of the threads that decode and parse in the server: tokio's.
const STACK_BYTES: usize = 2 << 20;
/// Cases kept because something else came of them than of all before.
const POOL_MAX: usize = 4096;
/// A campaign ends after so many bad cases.
const BAD_MAX: usize = 5;
/// A case that takes this long will not end.
const HANG: Duration = Duration::from_secs(30);
/// Tries to make a bad case shorter.
const SHORTER_MAX: usize = 400;

/// The same for one that is slow.
const SLOW_SHORTER_MAX: usize = 10;

static PANICS: AtomicU64 = AtomicU64::new(0);
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// What is bad about a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bad {
    Panic(String),
    Slow(Duration),
    /// Units: bytes.
    Heap(usize),
}

impl Bad {
    fn kind(&self) -> String {
        match self {
            Bad::Panic(text) => text.chars().filter(|c| !c.is_ascii_digit()).take(120).collect(),
            Bad::Slow(_) => "slow".to_owned(),
            Bad::Heap(_) => "heap".to_owned(),
        }
    }
}

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    pub cases: u64,
    pub kept: usize,
    pub bad: Vec<(Bad, Vec<u8>)>,
}

/// Counts panics, also of other threads, instead of printing them.
pub fn listen_to_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        *LAST_PANIC.lock() = info.to_string();
    }));
}

/// Tries one case; what came of it, or what is bad about it.
///
/// # Errors
/// What is bad.
#[expect(clippy::disallowed_methods, reason = "how long a case takes is a promise")]
pub fn check(target: &Target, case: &[u8]) -> Result<u64, Bad> {
    let panics = PANICS.load(Ordering::SeqCst);
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let start = Instant::now();
    let came = catch_unwind(AssertUnwindSafe(|| (target.run)(case)));
    let mut took = start.elapsed();
    let heap = PeakAlloc.peak_usage().saturating_sub(before);
    if came.is_err() || PANICS.load(Ordering::SeqCst) != panics {
        return Err(Bad::Panic(LAST_PANIC.lock().clone()));
    }
    if heap > case.len() * HEAP_PER_BYTE + target.heap_bytes {
        return Err(Bad::Heap(heap));
    }
    // A busy machine may have taken the time: the work of another try counts.
    if took > CASE_TIME_MAX {
        let before = worked();
        let _same = (target.run)(case);
        took = took.min(worked().saturating_sub(before));
    }
    if took > CASE_TIME_MAX {
        return Err(Bad::Slow(took));
    }
    Ok(came.unwrap_or(0))
}

/// The time that this process has worked, on all its threads.
fn worked() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Runs `work` on a thread with the stack of the server's; a hang ends the program after `current`
/// was written to `folder`.
fn on_small_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    current: &Arc<Mutex<Vec<u8>>>,
    tries: &Arc<AtomicU64>,
    folder: &Path,
) -> Option<T> {
    let (done, wait) = sync_channel(1);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let _gone = done.send(work());
    });
    thread.ok()?;
    let mut last = u64::MAX;
    loop {
        match wait.recv_timeout(HANG) {
            Ok(came) => return Some(came),
            Err(RecvTimeoutError::Timeout) => {
                let now = tries.load(Ordering::Relaxed);
                if now == last {
                    let _written = std::fs::write(folder.join("hang.bin"), &*current.lock());
                    return None;
                }
                last = now;
            }
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// How a campaign is run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub time: Duration,
    /// At most so many cases.
    pub cases_max: u64,
    /// Where a case is written before it is tried, to know the one that ends the process.
    pub careful: Option<PathBuf>,
    /// Where a case that hangs is written.
    pub folder: PathBuf,
}

/// Tries the corpus and then new cases. Nothing where a case hangs.
#[must_use]
pub fn run(target: Target, plan: Plan) -> Option<Report> {
    let (current, tries) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let folder = plan.folder.clone();
    let (mine, counted) = (Arc::clone(&current), Arc::clone(&tries));
    on_small_stack(move || work(target, &plan, &mine, &counted), &current, &tries, &folder)
}

#[expect(clippy::disallowed_methods, reason = "a campaign lasts as long as it was told")]
fn work(target: Target, plan: &Plan, current: &Mutex<Vec<u8>>, tries: &AtomicU64) -> Report {
    let mut random = Random::new(plan.seed);
    let mut pool = (target.seeds)();
    pool.extend(corpus(&target).into_iter().map(|(_, case)| case));
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let (mut report, mut known, mut kinds) = (Report::default(), HashSet::new(), HashSet::new());
    let mut waiting: Vec<Vec<u8>> = pool.clone();
    // The first run fills what is made once: its heap does not count.
    let _warm = catch_unwind(AssertUnwindSafe(|| (target.run)(&pool[0])));
    let start = Instant::now();
    while start.elapsed() < plan.time && report.cases < plan.cases_max {
        let case = waiting.pop().unwrap_or_else(|| {
            let mut case = random.pick(&pool).clone();
            mutate(&mut random, target.shape, &mut case, &pool);
            case
        });
        tries.fetch_add(1, Ordering::Relaxed);
        current.lock().clone_from(&case);
        if let Some(file) = &plan.careful {
            let _written = std::fs::write(file, &case);
        }
        report.cases += 1;
        match check(&target, &case) {
            Ok(came) => {
                if known.insert(came) && pool.len() < POOL_MAX {
                    pool.push(case);
                }
            }
            Err(bad) => {
                if kinds.insert(bad.kind()) {
                    let case = shorter(&target, case, &bad);
                    report.bad.push((bad, case));
                }
                if report.bad.len() >= BAD_MAX {
                    break;
                }
            }
        }
    }
    report.kept = pool.len();
    report
}

/// A shorter case with the same ill.
fn shorter(target: &Target, mut case: Vec<u8>, bad: &Bad) -> Vec<u8> {
    let mut part = case.len() / 2;
    let mut tries = 0;
    while part > 0 && tries < SHORTER_MAX {
        let mut at = 0;
        while at < case.len() && tries < SHORTER_MAX {
            if matches!(bad, Bad::Slow(_)) && tries > SLOW_SHORTER_MAX {
                return case;
            }
            let mut less = case.clone();
            drop(less.drain(at..(at + part).min(case.len())));
            tries += 1;
            match check(target, &less) {
                Err(same) if same.kind() == bad.kind() => case = less,
                _ => at += part,
            }
        }
        part /= 2;
    }
    case
}
