//! The command: writers, checks, a line every few seconds, and the verdict.

use std::time::Duration;

use model::Signal;
use serde_json::json;
use storage::{Clock, Random};
use tokio::sync::watch;

use super::check::{Depth, Findings, Writers};
use super::{Canary, Options};

/// Between two rounds of checks and two lines.
const ROUND: Duration = Duration::from_secs(5);
/// After the last request: what is under way may still be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(35);
/// Rounds without an acknowledgement and without an answer after which a canary that never had one
/// gives up.
const DEAF_ROUNDS: u32 = 6;
/// The last check is tried again while parts of the data cannot be read.
const LAST_CHECKS: u32 = 12;

/// How the command runs.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// Where data is sent.
    pub(crate) to: String,
    /// Where it is read.
    pub(crate) read: String,
    /// Units: ns.
    pub(crate) for_ns: i64,
    /// Records older than this are not looked at again. Units: ns.
    pub(crate) recheck_ns: i64,
    /// Lines are JSON.
    pub(crate) json: bool,
}

/// How a canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Held,
    Broken,
    /// Something could not be read to the end.
    Unknown,
}

/// Runs until the time is over or Ctrl-C; `say` gets the lines.
///
/// Errors: the server was never there, or the ledger's file cannot be written.
pub(crate) async fn watch_over(
    options: Options,
    watch: &Watch,
    clock: std::sync::Arc<dyn Clock>,
    random: &dyn Random,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome, String> {
    let canary = Canary::new(options, clock, random)?;
    let (stop, stopped) = watch::channel(false);
    let mut all = Findings::default();
    if !watch.json {
        say(&format!(
            "canary {} of tenant {} writes to {} and reads from {}; Ctrl-C ends it with the verdict",
            canary.run().label(),
            canary.run().tenant,
            watch.to,
            watch.read
        ));
    }
    let sending = canary.send(&watch.to, &stopped);
    tokio::pin!(sending);
    let started_ns = canary.sender.clock.monotonic_ns();
    {
        let rounds = rounds(&canary, watch, &mut all, say);
        tokio::pin!(rounds);
        tokio::select! {
            outcome = &mut rounds => outcome?,
            outcome = &mut sending => outcome?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    stop.send_replace(true);
    // A writer whose request hangs leaves its batch undecided.
    if let Ok(outcome) = tokio::time::timeout(LAST_ANSWERS, &mut sending).await {
        outcome?;
    }
    let mut last = Findings::default();
    for _again in 0..LAST_CHECKS {
        last = canary.check(&watch.read, Writers::Resting).await?;
        last.add(canary.check_settled(&watch.read, Depth::Records).await);
        if !last.holds() || last.is_whole() {
            break;
        }
        tokio::time::sleep(ROUND).await;
    }
    let is_whole = last.partial == 0 && last.unread == 0;
    all.add(last);
    let now_ns = canary.sender.clock.monotonic_ns();
    let outcome = match (all.holds(), is_whole) {
        (false, _) => Outcome::Broken,
        (true, true) => Outcome::Held,
        (true, false) => Outcome::Unknown,
    };
    say(&line(&canary, &all, now_ns.saturating_sub(started_ns), watch.json));
    say(&verdict(&canary, &all, outcome, watch.json));
    Ok(outcome)
}

/// Checks and lines, until the time is over.
async fn rounds(
    canary: &Canary,
    watch: &Watch,
    all: &mut Findings,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), String> {
    let clock = &canary.sender.clock;
    let started_ns = clock.monotonic_ns();
    let for_ns = u64::try_from(watch.for_ns).unwrap_or(u64::MAX);
    let mut deaf = 0;
    let mut said = 0;
    loop {
        let elapsed_ns = clock.monotonic_ns().saturating_sub(started_ns);
        let left = Duration::from_nanos(for_ns.saturating_sub(elapsed_ns));
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(ROUND.min(left)).await;
        canary.look_for_newest(&watch.read).await;
        let mut found = canary.check(&watch.read, Writers::Working).await?;
        found.add(canary.recount_some(&watch.read).await);
        // What could not be read is looked at again: only the last round's counts.
        (all.partial, all.unread) = (0, 0);
        all.add(found);
        let before_ms = (clock.now_ns() - watch.recheck_ns) / 1_000_000;
        canary.ledger.lock().forget_before(before_ms);
        let elapsed_ns = clock.monotonic_ns().saturating_sub(started_ns);
        say(&line(canary, all, elapsed_ns, watch.json));
        for problem in all.problems.iter().skip(said) {
            say(&problem_line(problem, watch.json));
        }
        said = all.problems.len();
        let acked: u64 = Signal::ALL.into_iter().map(|signal| canary.acked(signal)).sum();
        deaf = if acked == 0 { deaf + 1 } else { 0 };
        if deaf >= DEAF_ROUNDS {
            let why = canary.last_refusal();
            return Err(format!("{} acknowledges nothing: {why}", watch.to));
        }
    }
}

/// The figures of the run so far.
fn line(canary: &Canary, all: &Findings, elapsed_ns: u64, is_json: bool) -> String {
    let records = u64::from(canary.run().records);
    let sent = canary.sent() * records;
    let acked: u64 = Signal::ALL.into_iter().map(|signal| canary.acked(signal)).sum();
    let answers = canary.answers();
    let ack = canary.sender.latencies.lock().clone();
    let visible = canary.visible.lock().clone();
    let elapsed_s = elapsed_ns / 1_000_000_000;
    if is_json {
        return json!({
            "elapsed_s": elapsed_s,
            "sent": sent,
            "acked": acked,
            "acked_metrics": canary.acked(Signal::Metrics),
            "acked_logs": canary.acked(Signal::Logs),
            "acked_traces": canary.acked(Signal::Traces),
            "refused": answers.refused,
            "unanswered": answers.unanswered,
            "repeated": answers.repeated,
            "checked": all.checked,
            "missing": all.missing,
            "unexpected": all.unexpected,
            "duplicate": all.duplicate,
            "corrupt": all.corrupt,
            "torn": all.torn,
            "foreign": all.foreign,
            "miscounted": all.miscounted,
            "partial": all.partial,
            "unread": all.unread,
            "ack_p50_ms": ack.quantile_ms(0.5),
            "ack_p99_ms": ack.quantile_ms(0.99),
            "visible_p99_ms": visible.quantile_ms(0.99),
        })
        .to_string();
    }
    let mut line = format!(
        "{elapsed_s:>6} s  sent {sent} acked {acked} refused {} unanswered {} | missing {} \
         unexpected {} duplicate {} corrupt {} | ack p50 {:.1} ms p99 {:.1} ms, visible p99 {:.1} ms",
        answers.refused,
        answers.unanswered,
        all.missing,
        all.unexpected,
        all.duplicate,
        all.corrupt,
        ack.quantile_ms(0.5),
        ack.quantile_ms(0.99),
        visible.quantile_ms(0.99),
    );
    let rare = [
        ("torn", all.torn),
        ("foreign", all.foreign),
        ("miscounted", all.miscounted),
        ("partial answers", all.partial),
        ("unread", all.unread),
    ];
    for (name, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
        line.push_str(&format!(" | {name} {count}"));
    }
    line
}

fn problem_line(problem: &str, is_json: bool) -> String {
    if is_json { json!({ "problem": problem }).to_string() } else { format!("BROKEN {problem}") }
}

fn verdict(canary: &Canary, all: &Findings, outcome: Outcome, is_json: bool) -> String {
    let records = |signal| canary.acked(signal);
    let acked = format!(
        "{} samples, {} log records and {} spans were acknowledged",
        records(Signal::Metrics),
        records(Signal::Logs),
        records(Signal::Traces)
    );
    let text = match outcome {
        Outcome::Held => format!("held: {acked}; each is there, once, as it was sent"),
        Outcome::Broken => format!(
            "BROKEN: {acked}; missing {}, unexpected {}, duplicate {}, corrupt {}, torn {}, foreign \
             {}, miscounted {}",
            all.missing,
            all.unexpected,
            all.duplicate,
            all.corrupt,
            all.torn,
            all.foreign,
            all.miscounted
        ),
        Outcome::Unknown => format!(
            "unknown: {acked}; nothing is known to be wrong, but {} ranges could not be read and {} \
             answers said that they were partial",
            all.unread, all.partial
        ),
    };
    if is_json {
        let word = match outcome {
            Outcome::Held => "held",
            Outcome::Broken => "broken",
            Outcome::Unknown => "unknown",
        };
        return json!({ "verdict": word, "text": text, "problems": all.problems }).to_string();
    }
    text
}
