//! Writers: each sends batch after batch of the three signals in turn, one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Signal, TenantId};
use parking_lot::Mutex;
use storage::Clock;
use tokio::sync::watch;

use super::latency::Latencies;
use super::ledger::{Ledger, OPEN_MAX, State};
use super::read::Access;
use super::record::{Name, Run};

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A batch is repeated for this long, well inside the window in which servers know it again.
const REPEATED_MS: i64 = 240_000;
/// The pause before a repetition grows from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Counts of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Requests that were answered with a refusal, repetitions counted.
    pub refused: u64,
    /// Refusals by the server's own fault (5xx) among them.
    pub unavailable: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Batches acknowledged at the second try or later.
    pub repeated: u64,
}

/// What all writers share.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) run: Run,
    pub(super) client: reqwest::Client,
    pub(super) access: Access,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) answers: Mutex<Answers>,
    pub(super) latencies: Mutex<Latencies>,
    /// The newest batch acknowledged of each signal, and when. Units: ns, monotonic.
    pub(super) newest: Mutex<Vec<(Name, i64, u64)>>,
    /// Set while acknowledgements count for nothing: see [`super::Canary::doubt`].
    pub(super) is_doubtful: AtomicBool,
    /// The last refusal, in words.
    pub(super) last_refusal: Mutex<String>,
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Acked,
    /// Repeating it may help.
    Nothing,
    /// Repeating it will not help.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Again,
}

/// How one writer works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    pub(super) writer: u16,
    /// Between two requests of this writer; zero is none.
    pub(super) pace: Duration,
    /// Repeats a batch until it is taken.
    pub(super) is_patient: bool,
}

impl Sender {
    /// Sends until told to stop. What a stop interrupts stays undecided, and is the first to be
    /// repeated the next time.
    ///
    /// Errors: the ledger's file cannot be written.
    pub(super) async fn write(
        &self,
        to: &str,
        habit: Habit,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        for signal in Signal::ALL {
            let undecided = self.ledger.lock().undecided(signal, habit.writer);
            if let Some((name, time_ms)) = undecided {
                self.deliver(to, habit, (name, time_ms), Try::Again, &mut stop).await?;
            }
        }
        let mut ticks = (!habit.pace.is_zero()).then(|| {
            let mut ticks = tokio::time::interval(habit.pace);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        let mut turn = usize::from(habit.writer);
        while !*stop.borrow() {
            if let Some(ticks) = &mut ticks {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                }
            }
            if self.ledger.lock().open_batches() >= OPEN_MAX {
                rest(PAUSE_MAX, &mut stop).await;
                continue;
            }
            let signal = Signal::ALL[turn % Signal::ALL.len()];
            turn += 1;
            let now_ms = self.clock.now_ns() / 1_000_000;
            let batch = self.ledger.lock().send(signal, habit.writer, now_ms)?;
            self.deliver(to, habit, batch, Try::First, &mut stop).await?;
        }
        Ok(())
    }

    async fn deliver(
        &self,
        to: &str,
        habit: Habit,
        (name, time_ms): (Name, i64),
        mut attempt: Try,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut pause = PAUSE_MIN;
        loop {
            let start = self.clock.monotonic_ns();
            let mut came = self.post(to, name, time_ms).await;
            if came == Came::Acked && self.is_doubtful.load(Ordering::SeqCst) {
                came = Came::Nothing;
            }
            let now = self.clock.monotonic_ns();
            if came == Came::Acked {
                self.latencies.lock().add(Duration::from_nanos(now.saturating_sub(start)));
                let mut newest = self.newest.lock();
                newest.retain(|(other, ..)| other.signal != name.signal);
                newest.push((name, time_ms, now));
                drop(newest);
                self.answers.lock().repeated += u64::from(attempt == Try::Again);
                return self.ledger.lock().decide(name, State::Acked);
            }
            let age_ms = self.clock.now_ns() / 1_000_000 - time_ms;
            if came == Came::Refused || !habit.is_patient || age_ms > REPEATED_MS {
                return self.ledger.lock().decide(name, State::Unsure);
            }
            rest(pause, stop).await;
            if *stop.borrow() {
                return Ok(());
            }
            attempt = Try::Again;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn post(&self, to: &str, name: Name, time_ms: i64) -> Came {
        let encoded = self.run.encode(name, time_ms);
        let mut request = self
            .client
            .post(format!("{to}{}", encoded.path))
            .timeout(TIMEOUT)
            .header("content-type", "application/x-protobuf")
            .header(TenantId::HEADER, &self.run.tenant)
            .body(encoded.body);
        if encoded.is_snappy {
            request = request.header("content-encoding", "snappy");
        }
        let answer = match self.access.apply(request).send().await {
            Ok(answer) => answer,
            Err(error) => {
                self.answers.lock().unanswered += 1;
                *self.last_refusal.lock() = format!("no answer: {error}");
                return Came::Nothing;
            }
        };
        let status = answer.status();
        let body = match answer.bytes().await {
            Ok(body) => body,
            // The head of a success is one: its body is empty but for a partial success.
            Err(_) if status == 204 => Default::default(),
            Err(_) => {
                self.answers.lock().unanswered += 1;
                return Came::Nothing;
            }
        };
        if status.is_success() && is_whole_success(&body) {
            return Came::Acked;
        }
        let mut answers = self.answers.lock();
        answers.refused += 1;
        answers.unavailable += u64::from(status.is_server_error());
        drop(answers);
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        *self.last_refusal.lock() = format!("{} answered {status}: {text}", encoded.path);
        if status.is_server_error() || status == 429 || status == 408 {
            Came::Nothing
        } else {
            Came::Refused
        }
    }
}

/// OTLP says with the field `partial_success` that records were refused. A server may write it empty.
fn is_whole_success(body: &[u8]) -> bool {
    matches!(body, [] | [0x0a, 0x00])
}

/// Waits, or until told to stop.
async fn rest(pause: Duration, stop: &mut watch::Receiver<bool>) {
    let stopped = stop.wait_for(|stop| *stop);
    // Either way the time is over.
    drop(tokio::time::timeout(pause, stopped).await);
}
