//! A canary beside a server that comes and goes: it sends, and says afterwards whether every promise
//! held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Signal;
use tercet::canary::{Canary, Depth, Findings, Options, Writers};
use tercet::{SystemClock, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::Server;

/// How long answers may be partial, or not come, before that is a fault.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// See the module's docs.
#[derive(Debug, Clone)]
pub struct Witness {
    pub canary: Arc<Canary>,
}

/// Writers at work.
#[derive(Debug)]
pub struct Sending {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), String>>,
}

impl Sending {
    /// Stops the writers and returns when they have. What has no answer yet is repeated by the next
    /// ones.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("writers do not panic").expect("a ledger in memory");
    }
}

impl Witness {
    #[must_use]
    pub fn new(options: Options) -> Witness {
        let canary = Canary::new(options, Arc::new(SystemClock::new()), &SystemRandom);
        Witness { canary: Arc::new(canary.expect("a client")) }
    }

    /// Eight writers, half of which repeat what was not acknowledged.
    #[must_use]
    pub fn mixed(rate: u32) -> Witness {
        Witness::new(Options { rate, patient_writers: 4, ..Options::default() })
    }

    /// Sends to an address until stopped.
    #[must_use]
    pub fn send(&self, to: &str) -> Sending {
        let (stop, stopped) = watch::channel(false);
        let (canary, to) = (Arc::clone(&self.canary), to.to_owned());
        let task = tokio::spawn(async move { canary.send(&to, &stopped).await });
        Sending { stop, task }
    }

    /// Sends for a while.
    pub async fn send_for(&self, to: &str, time: Duration) {
        let sending = self.send(to);
        tokio::time::sleep(time).await;
        sending.stop().await;
    }

    /// Everything that was not checked before must hold, in whole answers.
    pub async fn check(&self, server: &Server) {
        self.check_at(&server.http).await;
    }

    pub async fn check_at(&self, read: &str) {
        let start = Instant::now();
        loop {
            let found = self.canary.check(read, Writers::Resting).await.expect("a ledger");
            if decided(&found, start) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Everything ever sent must hold, every record of it.
    pub async fn check_all(&self, server: &Server) {
        self.check(server).await;
        let start = Instant::now();
        while !decided(&self.canary.check_settled(&server.http, Depth::Records).await, start) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Records acknowledged: samples, log records, spans.
    #[must_use]
    pub fn acked(&self) -> [u64; 3] {
        [Signal::Metrics, Signal::Logs, Signal::Traces].map(|signal| self.canary.acked(signal))
    }

    /// The figures of a report. Every signal must have been acknowledged.
    #[must_use]
    pub fn acked_text(&self) -> String {
        let [samples, logs, spans] = self.acked();
        assert!(samples > 0 && logs > 0 && spans > 0, "nothing of a signal was acknowledged");
        let repeated = self.canary.answers().repeated;
        format!(
            "{samples} samples, {logs} log records, {spans} spans acknowledged, none lost, none \
             doubled; {repeated} requests taken at a repetition"
        )
    }
}

/// Whether the check is over; a broken promise panics.
fn decided(found: &Findings, start: Instant) -> bool {
    assert!(found.holds(), "{found:#?}");
    assert!(
        found.is_whole() || start.elapsed() < PATIENCE,
        "not everything could be read: {found:#?}"
    );
    found.is_whole()
}

/// Asks again until the answer is yes.
pub async fn until<Asked>(what: &str, ask: impl Fn() -> Asked)
where
    Asked: Future<Output = bool>,
{
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
