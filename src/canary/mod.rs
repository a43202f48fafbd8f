//! `tercet canary`: writes records of all three signals into a running server, keeps a ledger of
//! what was acknowledged, reads everything back, and says when a promise is broken.
//!
//! The tests of crashes and faults use the same ledger and the same oracle through [`Canary`]: the
//! server under test comes and goes, the canary stays. It writes and reads through public endpoints
//! only and knows nothing of the server's inside.

mod check;
mod encode;
mod latency;
mod ledger;
mod read;
mod record;
mod report;
mod send;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::Signal;
use parking_lot::Mutex;
use storage::{Clock, Random};
use tokio::sync::watch;

pub use check::{Depth, Findings, Writers};
pub use ledger::{Ledger, Open, Settled, State};
pub use read::{Access, Answer, Range, Reader};
pub use record::{Found, METRIC, Name, Run, SERVICE};
pub(crate) use report::{Outcome, Watch, watch_over};
pub use send::Answers;

use latency::Latencies;
use read::ENTRIES_MAX;
use send::{Habit, Sender};

/// Records of one request; two of them fit one question.
pub const RECORDS_MAX: u32 = (ENTRIES_MAX / 2) as u32;
/// Settled ranges of each signal that one round counts again.
const RECOUNTED: usize = 2;

/// What a canary does.
#[derive(Debug, Clone)]
pub struct Options {
    pub tenant: String,
    pub writers: u16,
    /// Writers from this one on do not repeat what was not acknowledged.
    pub patient_writers: u16,
    /// Records of one request.
    pub records: u32,
    /// Requests a second of all writers together; 0 is as many as are answered.
    pub rate: u32,
    pub access: Access,
    /// Where the ledger is kept as well.
    pub ledger: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            tenant: "default".to_owned(),
            writers: 8,
            patient_writers: u16::MAX,
            records: 10,
            rate: 0,
            access: Access::Open,
            ledger: None,
        }
    }
}

/// Writers, ledger and oracle of one run.
#[derive(Debug)]
pub struct Canary {
    options: Options,
    sender: Sender,
    ledger: Arc<Mutex<Ledger>>,
    visible: Mutex<Latencies>,
    next_recount: AtomicUsize,
}

impl Canary {
    /// Errors: the ledger's file cannot be used, or there is no client.
    pub fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Canary, String> {
        let id = (random.next_u64() & 0xffff_ffff_ffff).max(1);
        let records = options.records.clamp(1, RECORDS_MAX);
        let fresh = Run { id, tenant: options.tenant.clone(), records };
        let ledger = match &options.ledger {
            Some(path) => Ledger::open(path, fresh)?,
            None => Ledger::new(fresh),
        };
        let client = reqwest::Client::builder().build();
        let client = client.map_err(|error| format!("cannot send anything: {error}"))?;
        let run = ledger.run().clone();
        let ledger = Arc::new(Mutex::new(ledger));
        let sender = Sender {
            run,
            client,
            access: options.access.clone(),
            clock,
            ledger: Arc::clone(&ledger),
            answers: Mutex::default(),
            latencies: Mutex::default(),
            newest: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
            last_refusal: Mutex::default(),
        };
        let (visible, next_recount) = (Mutex::default(), AtomicUsize::new(0));
        Ok(Canary { options, sender, ledger, visible, next_recount })
    }

    #[must_use]
    pub fn run(&self) -> &Run {
        &self.sender.run
    }

    /// Records acknowledged of a signal.
    #[must_use]
    pub fn acked(&self, signal: Signal) -> u64 {
        let batches = self.ledger.lock().counts().1.get(&signal).copied().unwrap_or(0);
        batches * u64::from(self.run().records)
    }

    /// Batches sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.ledger.lock().counts().0
    }

    #[must_use]
    pub fn answers(&self) -> Answers {
        *self.sender.answers.lock()
    }

    /// The last answer that was no acknowledgement.
    #[must_use]
    pub fn last_refusal(&self) -> String {
        self.sender.last_refusal.lock().clone()
    }

    /// Sends to `to` until told to stop. What was not acknowledged by then is repeated the next time.
    ///
    /// Errors: the ledger's file cannot be written.
    pub async fn send(&self, to: &str, stop: &watch::Receiver<bool>) -> Result<(), String> {
        let to = to.trim_end_matches('/');
        self.sender.is_doubtful.store(false, Ordering::SeqCst);
        let pace = match self.options.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) * u32::from(self.options.writers) / rate,
        };
        let writers = (0..self.options.writers).map(|writer| {
            let is_patient = writer < self.options.patient_writers;
            self.sender.write(to, Habit { writer, pace, is_patient }, stop.clone())
        });
        futures::future::try_join_all(writers).await.map(|_| ())
    }

    /// From now on an acknowledgement is none, until [`Canary::send`] is called again: what a server
    /// says after its power is cut would never have been heard.
    pub fn doubt(&self) {
        self.sender.is_doubtful.store(true, Ordering::SeqCst);
    }

    /// A reader of this run's records at `read`.
    #[must_use]
    pub fn reader(&self, read: &str) -> Reader {
        Reader {
            client: self.sender.client.clone(),
            base: read.trim_end_matches('/').to_owned(),
            access: self.options.access.clone(),
            run: self.run().clone(),
        }
    }

    /// Holds what was not checked yet against what is stored, and settles what is decided.
    ///
    /// Errors: the ledger's file cannot be written.
    pub async fn check(&self, read: &str, writers: Writers) -> Result<Findings, String> {
        let now_ms = self.sender.clock.now_ns() / 1_000_000;
        check::check_open(&self.ledger, &self.reader(read), now_ms, writers).await
    }

    /// Looks at all settled ranges again.
    pub async fn check_settled(&self, read: &str, depth: Depth) -> Findings {
        let mut findings = Findings::default();
        let reader = self.reader(read);
        for signal in Signal::ALL {
            let settled = self.ledger.lock().settled(signal).to_vec();
            for range in settled {
                findings.add(check::check_settled(&reader, signal, &range, depth).await);
            }
        }
        findings
    }

    /// Counts a few settled ranges again, each time the next.
    async fn recount_some(&self, read: &str) -> Findings {
        let mut findings = Findings::default();
        let reader = self.reader(read);
        for _one in 0..RECOUNTED {
            let turn = self.next_recount.fetch_add(1, Ordering::Relaxed);
            for signal in Signal::ALL {
                let settled = {
                    let ledger = self.ledger.lock();
                    let list = ledger.settled(signal);
                    list.get(turn % list.len().max(1)).cloned()
                };
                if let Some(settled) = settled {
                    let depth = Depth::Counts;
                    findings.add(check::check_settled(&reader, signal, &settled, depth).await);
                }
            }
        }
        findings
    }

    /// How long after its acknowledgement the newest batch of each signal can be read.
    async fn look_for_newest(&self, read: &str) {
        let newest = std::mem::take(&mut *self.sender.newest.lock());
        let reader = self.reader(read);
        for (name, time_ms, acked_ns) in newest {
            let range = Range { from_ms: time_ms, to_ms: time_ms + 1 };
            loop {
                let answer = match name.signal {
                    Signal::Traces => {
                        let id = self.run().trace_id(name.writer, name.seq);
                        reader.traces(&[id]).await
                    }
                    signal => reader.records(signal, range).await,
                };
                let now_ns = self.sender.clock.monotonic_ns();
                let took = Duration::from_nanos(now_ns.saturating_sub(acked_ns));
                let seen = answer.is_ok_and(|answer| {
                    let mut found = answer.found.iter();
                    found.any(|found| (found.writer, found.seq) == (name.writer, name.seq))
                });
                if seen || took > VISIBLE_MAX {
                    self.visible.lock().add(took);
                    break;
                }
                tokio::time::sleep(VISIBLE_PAUSE).await;
            }
        }
    }
}

/// What is not visible by then is left to the check.
const VISIBLE_MAX: Duration = Duration::from_secs(30);
const VISIBLE_PAUSE: Duration = Duration::from_millis(20);
