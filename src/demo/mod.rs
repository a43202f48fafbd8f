//! `tercet demo`: the three signals of a small shop, sent over OTLP/HTTP like any program would.
//!
//! One checkout in eight meets a card gateway that does not answer: its trace has an error, its
//! logs say why, and the payment metrics show it. What a checkout is made of stands in `shop`.

mod shop;
mod telemetry;

use std::time::Duration;

use storage::{Clock, Random};

use shop::Shop;

/// How the demo runs.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Base address of an OTLP/HTTP receiver.
    pub(crate) to: String,
    /// Checkouts a second.
    pub(crate) rate: u32,
    /// Units: ns.
    pub(crate) for_ns: i64,
}

/// Between two sends.
const TICK: Duration = Duration::from_millis(500);
/// Answers later than this count as failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So many failed sends in a row end the demo.
const FAILURES_MAX: u32 = 10;

/// Sends until the time is over or the receiver has gone; `say` gets a line now and then.
///
/// Errors: the address is wrong, or the receiver stopped answering.
pub(crate) async fn run(
    options: &Options,
    clock: &dyn Clock,
    random: &dyn Random,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), String> {
    let to = options.to.trim_end_matches('/');
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| format!("cannot send anything: {error}"))?;
    let started_ns = clock.now_ns();
    let mut shop = Shop::new(random.next_u64(), started_ns);
    let mut ticker = tokio::time::interval(TICK);
    let mut failures = 0;
    let mut owed = 0.0;
    let mut sent = 0u64;
    say(&format!("sending the telemetry of a small shop to {to}; stop with Ctrl-C"));
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        let now_ns = clock.now_ns();
        if now_ns.saturating_sub(started_ns) >= options.for_ns {
            break;
        }
        owed += f64::from(options.rate) * TICK.as_secs_f64();
        let checkouts = owed as u32;
        owed -= f64::from(checkouts);
        let tick = shop.tick(now_ns, checkouts);
        let mut outcome = Ok(());
        for (path, body) in tick.requests() {
            outcome = outcome.and(post(&client, &format!("{to}{path}"), body).await);
        }
        match outcome {
            Ok(()) => failures = 0,
            Err(problem) => {
                failures += 1;
                if failures >= FAILURES_MAX {
                    return Err(format!("{to} does not take the demo's telemetry: {problem}"));
                }
                say(&format!("not sent, trying again: {problem}"));
                continue;
            }
        }
        sent += u64::from(checkouts);
        if let Some(failed) = tick.failed_trace() {
            say(&format!("{sent} checkouts sent; one that failed: {failed}"));
        }
    }
    say(&format!("{sent} checkouts sent"));
    Ok(())
}

async fn post(client: &reqwest::Client, url: &str, body: String) -> Result<(), String> {
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .map_err(|error| format!("{url}: {error}"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{url} answered {status}: {}", text.chars().take(200).collect::<String>()))
}
