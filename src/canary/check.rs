//! The oracle: what is stored, held against what was sent and acknowledged.
//!
//! What was acknowledged is there, once; what is there was sent, is unchanged and this tenant's; a
//! request is there whole or not at all; aggregates equal the raw list. An answer that misses
//! something is forgiven only where it says so itself.

use std::collections::{BTreeMap, HashMap};

use model::Signal;
use parking_lot::Mutex;

use super::ledger::{Ledger, Open, Settled, State};
use super::read::{Answer, ENTRIES_MAX, Range, Reader};
use super::record::{Found, Name};

/// Records of one window.
const WINDOW_RECORDS: u64 = ENTRIES_MAX / 2;
/// Traces of one window: each is asked for by itself.
const WINDOW_TRACES: usize = 200;
/// While writers work, what is younger is left for the next time. Units: ms.
const QUIET_MS: i64 = 2000;
/// Problems that are put in words.
const PROBLEMS_MAX: usize = 100;
/// Sums of floats may differ by their order of addition.
const SUM_TOLERANCE: f64 = 1e-9;

/// What did not hold, in records unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged and not there.
    pub missing: u64,
    /// There and never sent.
    pub unexpected: u64,
    /// There more than once.
    pub duplicate: u64,
    /// There and not as it was sent.
    pub corrupt: u64,
    /// Requests of which only a part is there.
    pub torn: u64,
    /// Records of another tenant.
    pub foreign: u64,
    /// Ranges whose aggregates differ from their raw list.
    pub miscounted: u64,
    /// Ranges that an answer said it could not read whole: no fault, and not checked.
    pub partial: u64,
    /// Ranges that no answer came for: not checked.
    pub unread: u64,
    /// Records that were looked at.
    pub checked: u64,
    /// The first faults in words.
    pub problems: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.missing == 0
            && self.unexpected == 0
            && self.duplicate == 0
            && self.corrupt == 0
            && self.torn == 0
            && self.foreign == 0
            && self.miscounted == 0
    }

    /// Whether nothing is wrong and nothing was left unchecked.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holds() && self.partial == 0 && self.unread == 0
    }

    pub(super) fn say(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem());
        }
    }

    /// Adds another's figures.
    pub fn add(&mut self, other: Findings) {
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.duplicate += other.duplicate;
        self.corrupt += other.corrupt;
        self.torn += other.torn;
        self.foreign += other.foreign;
        self.miscounted += other.miscounted;
        self.partial += other.partial;
        self.unread += other.unread;
        self.checked += other.checked;
        for problem in other.problems {
            self.say(|| problem);
        }
    }
}

/// Batches of one signal that lie in one range.
struct Window {
    range: Range,
    batches: BTreeMap<(u16, u64), Open>,
    /// All of it is decided, so that it can be settled.
    is_over: bool,
}

/// Whether writers are at work meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    Working,
    Resting,
}

/// Checks what is open, and settles what is decided.
///
/// Errors: the ledger's file cannot be written.
pub(super) async fn check_open(
    ledger: &Mutex<Ledger>,
    reader: &Reader,
    now_ms: i64,
    writers: Writers,
) -> Result<Findings, String> {
    let mut findings = Findings::default();
    for signal in Signal::ALL {
        let windows = windows(&ledger.lock(), signal, now_ms, writers);
        // A range is settled only behind the one before it.
        let mut settles = true;
        for window in windows {
            let checked = match check_window(reader, signal, &window, &mut findings).await {
                Ok(checked) => checked,
                Err(why) => {
                    findings.unread += 1;
                    tracing::debug!(why, "a range could not be checked");
                    None
                }
            };
            match checked {
                Some(settled) if settles && window.is_over => {
                    ledger.lock().settle(signal, settled)?;
                }
                _ => settles = false,
            }
        }
    }
    let range = Range { from_ms: now_ms - 60_000, to_ms: now_ms };
    match reader.foreign(range).await {
        Ok(0) => {}
        Ok(count) => {
            findings.foreign += count;
            findings.say(|| format!("{count} records of other tenants"));
        }
        Err(_) => findings.unread += 1,
    }
    Ok(findings)
}

fn windows(ledger: &Ledger, signal: Signal, now_ms: i64, writers: Writers) -> Vec<Window> {
    let open = ledger.open_of(signal);
    let undecided = open.iter().find(|(_, open)| open.state == State::Sent);
    let undecided = undecided.map_or(i64::MAX, |(_, open)| open.time_ms);
    let quiet = if writers == Writers::Working { now_ms - QUIET_MS } else { i64::MAX };
    let over = undecided.min(quiet);
    let until = if writers == Writers::Working { over } else { i64::MAX };
    let records = u64::from(ledger.run().records);
    let most = (WINDOW_RECORDS / records.max(1)).max(1) as usize;
    let most = if signal == Signal::Traces { most.min(WINDOW_TRACES) } else { most };

    let mut windows: Vec<Window> = Vec::new();
    let mut from_ms = ledger.settled_ms(signal);
    for (name, open) in open.into_iter().filter(|(_, open)| open.time_ms < until) {
        let time_ms = open.time_ms;
        let is_over = time_ms < over;
        let joins = windows.last().is_some_and(|window| {
            let same_ms = time_ms < window.range.to_ms;
            same_ms || window.batches.len() < most && window.is_over == is_over
        });
        if !joins {
            let range = Range { from_ms: from_ms.unwrap_or(time_ms).min(time_ms), to_ms: time_ms };
            windows.push(Window { range, batches: BTreeMap::new(), is_over });
        }
        if let Some(window) = windows.last_mut() {
            window.range.to_ms = time_ms + 1;
            from_ms = Some(time_ms + 1);
            window.batches.insert((name.writer, name.seq), open);
        }
    }
    windows
}

/// Holds one range against the ledger. Gives what it can be settled with; nothing where the answer
/// was partial.
async fn check_window(
    reader: &Reader,
    signal: Signal,
    window: &Window,
    findings: &mut Findings,
) -> Result<Option<Settled>, String> {
    let ledgered = window.batches.keys().map(|(writer, seq)| reader.run.trace_id(*writer, *seq));
    let ids: Vec<u128> = ledgered.collect();
    let (answer, count) = match read(reader, signal, window.range, &ids).await? {
        (answer, count) if count == (answer.found.len() + answer.corrupt.len()) as u64 => {
            (answer, count)
        }
        // What was unsure may have come in between.
        _ => read(reader, signal, window.range, &ids).await?,
    };
    let mut faults = Findings { checked: answer.found.len() as u64, ..Findings::default() };
    let is_partial = !answer.partial.is_empty();
    for problem in &answer.corrupt {
        faults.corrupt += 1;
        faults.say(|| format!("{signal:?}: {problem}"));
    }
    let listed = (answer.found.len() + answer.corrupt.len()) as u64;
    if count != listed && !is_partial {
        faults.miscounted += 1;
        faults
            .say(|| format!("{signal:?}: {count} counted and {listed} listed: {:?}", window.range));
    }
    let stored = by_batch(&answer.found);
    unexpected(signal, reader.run.records, window, &stored, &mut faults);
    let mut absent = Vec::new();
    for (key, open) in &window.batches {
        let name = Name { signal, writer: key.0, seq: key.1 };
        let held = stored.get(key);
        judge(name, open, held, (reader.run.records, is_partial), &mut faults);
        if held.is_none() {
            absent.push((name, open.time_ms));
        }
    }
    if signal == Signal::Metrics && !is_partial {
        check_sum(reader, window.range, &answer.found, &mut faults).await?;
    }
    if is_partial {
        faults.partial += 1;
    }
    findings.add(faults);
    let hash = answer.found.iter().fold(0u64, |sum, found| sum.wrapping_add(found.hash));
    let Range { from_ms, to_ms } = window.range;
    let records = answer.found.len() as u64;
    Ok((!is_partial).then_some(Settled { from_ms, to_ms, records, hash, absent }))
}

/// The raw list and the count of a range. Traces that the ledger knows are asked for by ID whether
/// or not the search finds them.
async fn read(
    reader: &Reader,
    signal: Signal,
    range: Range,
    ids: &[u128],
) -> Result<(Answer, u64), String> {
    if signal != Signal::Traces {
        let answer = reader.records(signal, range).await?;
        let (count, partial) = reader.count(signal, range).await?;
        return Ok((Answer { partial: [answer.partial, partial].concat(), ..answer }, count));
    }
    let (found, partial) = reader.all_trace_ids(range).await?;
    let mut all = [ids, &found].concat();
    all.sort_unstable();
    all.dedup();
    let answer = reader.traces(&all).await?;
    let count = found.len() as u64 * u64::from(reader.run.records);
    Ok((Answer { partial: [answer.partial, partial].concat(), ..answer }, count))
}

type ByBatch = HashMap<(u16, u64), HashMap<u32, u64>>;

fn by_batch(found: &[Found]) -> ByBatch {
    let mut stored = ByBatch::new();
    for found in found {
        let batch = stored.entry((found.writer, found.seq)).or_default();
        *batch.entry(found.index).or_default() += 1;
    }
    stored
}

fn unexpected(
    signal: Signal,
    records: u32,
    window: &Window,
    stored: &ByBatch,
    faults: &mut Findings,
) {
    for (key, held) in stored {
        let is_known = window.batches.contains_key(key);
        let extra = held.keys().filter(|index| !is_known || **index >= records).count() as u64;
        if extra > 0 {
            faults.unexpected += extra;
            let (writer, seq) = key;
            faults.say(|| {
                format!("{signal:?}: {extra} records of writer {writer}, batch {seq}: never sent")
            });
        }
    }
}

/// Holds one batch against what is stored of it.
fn judge(
    name: Name,
    open: &Open,
    held: Option<&HashMap<u32, u64>>,
    (records, is_partial): (u32, bool),
    faults: &mut Findings,
) {
    let place = || {
        let Name { signal, writer, seq } = name;
        format!("{signal:?}: writer {writer}, batch {seq} at {} ms", open.time_ms)
    };
    let doubled: u64 = held.into_iter().flat_map(HashMap::values).map(|count| count - 1).sum();
    if doubled > 0 {
        faults.duplicate += doubled;
        faults.say(|| format!("{}: {doubled} records are there again", place()));
    }
    let there = held.map_or(0, HashMap::len) as u64;
    let lacking = u64::from(records).saturating_sub(there);
    if lacking == 0 || is_partial {
        return;
    }
    if open.state == State::Acked {
        faults.missing += lacking;
        faults.say(|| format!("{}: acknowledged, {lacking} of {records} are not there", place()));
    } else if there > 0 {
        faults.torn += 1;
        faults.say(|| format!("{}: {there} of {records} are there", place()));
    }
}

async fn check_sum(
    reader: &Reader,
    range: Range,
    found: &[Found],
    faults: &mut Findings,
) -> Result<(), String> {
    let value = |one: &Found| reader.run.value(one.writer, one.seq, one.index, one.time_ms);
    let want: f64 = found.iter().map(value).sum();
    let got = reader.sum(range).await?;
    if (got - want).abs() > want.abs() * SUM_TOLERANCE {
        // The list may have grown between the two questions.
        let again = reader.records(Signal::Metrics, range).await?;
        if again.found.len() == found.len() {
            faults.miscounted += 1;
            faults.say(|| format!("Metrics: sum {got}, of the raw list {want}: {range:?}"));
        }
    }
    Ok(())
}

/// How settled ranges are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Their counts.
    Counts,
    /// Every record.
    Records,
}

/// Looks at a settled range again.
pub(super) async fn check_settled(
    reader: &Reader,
    signal: Signal,
    settled: &Settled,
    depth: Depth,
) -> Findings {
    let mut findings = Findings::default();
    let outcome = match depth {
        Depth::Counts => recount(reader, signal, settled, &mut findings).await,
        Depth::Records => reread(reader, signal, settled, &mut findings).await,
    };
    if outcome.is_err() {
        findings.unread += 1;
    }
    findings
}

async fn recount(
    reader: &Reader,
    signal: Signal,
    settled: &Settled,
    findings: &mut Findings,
) -> Result<(), String> {
    let range = Range { from_ms: settled.from_ms, to_ms: settled.to_ms };
    let (count, partial) = reader.count(signal, range).await?;
    compare(reader, signal, settled, count, findings, !partial.is_empty());
    Ok(())
}

/// Holds a count against that of the first time. What was absent may have come late.
fn compare(
    reader: &Reader,
    signal: Signal,
    settled: &Settled,
    count: u64,
    findings: &mut Findings,
    is_partial: bool,
) {
    findings.checked += count;
    let late = settled.absent.len() as u64 * u64::from(reader.run.records);
    let most = settled.records + late;
    let place = || format!("{signal:?} from {} to {} ms", settled.from_ms, settled.to_ms);
    if is_partial {
        findings.partial += 1;
    } else if count < settled.records {
        let gone = settled.records - count;
        findings.missing += gone;
        findings.say(|| format!("{}: {gone} records have gone since", place()));
    }
    if count > most {
        let more = count - most;
        findings.unexpected += more;
        findings.say(|| format!("{}: {more} records have come since", place()));
    }
}

async fn reread(
    reader: &Reader,
    signal: Signal,
    settled: &Settled,
    findings: &mut Findings,
) -> Result<(), String> {
    let (mut records, mut hash, mut is_partial) = (0u64, 0u64, false);
    let mut late = 0u64;
    let absent: std::collections::HashSet<(u16, u64)> =
        settled.absent.iter().map(|(name, _)| (name.writer, name.seq)).collect();
    let mut ranges = vec![Range { from_ms: settled.from_ms, to_ms: settled.to_ms }];
    while let Some(range) = ranges.pop() {
        // Traces are searched once and then come one by one, however many they are.
        if signal != Signal::Traces && range.to_ms - range.from_ms > 1 {
            let (count, _) = reader.count(signal, range).await?;
            if count > ENTRIES_MAX {
                ranges.extend(range.halves());
                continue;
            }
        }
        let (answer, count) = read(reader, signal, range, &[]).await?;
        is_partial |= !answer.partial.is_empty();
        if count != answer.found.len() as u64 && !is_partial {
            findings.miscounted += 1;
            let listed = answer.found.len();
            findings.say(|| format!("{signal:?}: {count} counted, {listed} listed: {range:?}"));
        }
        for problem in answer.corrupt {
            findings.corrupt += 1;
            findings.say(|| format!("{signal:?}: {problem}"));
        }
        for found in answer.found {
            if absent.contains(&(found.writer, found.seq)) {
                late += 1;
                continue;
            }
            records += 1;
            hash = hash.wrapping_add(found.hash);
        }
    }
    let known = Settled { absent: Vec::new(), ..settled.clone() };
    compare(reader, signal, &known, records, findings, is_partial);
    let may_be_late = settled.absent.len() as u64 * u64::from(reader.run.records);
    findings.unexpected += late.saturating_sub(may_be_late);
    if records == settled.records && hash != settled.hash && !is_partial {
        findings.corrupt += 1;
        let Settled { from_ms, to_ms, .. } = settled;
        findings.say(|| format!("{signal:?}: not what it was from {from_ms} to {to_ms} ms"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::record::Run;

    fn ledger() -> Ledger {
        Ledger::new(Run { id: 7, tenant: "acme".to_owned(), records: 100 })
    }

    #[test]
    fn windows_hold_whole_milliseconds_and_only_what_is_decided_is_over() {
        let mut ledger = ledger();
        let mut names = Vec::new();
        for at in 0..100 {
            for writer in 0..2 {
                let (name, _) = ledger.send(Signal::Logs, writer, 1000 + at).unwrap();
                names.push(name);
            }
        }
        for (at, name) in names.iter().enumerate() {
            if at != 150 {
                ledger.decide(*name, State::Acked).unwrap();
            }
        }
        let windows = windows(&ledger, Signal::Logs, 5000, Writers::Resting);
        assert_eq!(windows.iter().map(|window| window.batches.len()).sum::<usize>(), 200);
        for pair in windows.windows(2) {
            assert_eq!(pair[0].range.to_ms, pair[1].range.from_ms);
        }
        for window in &windows {
            assert!(window.batches.len() <= 21, "{}", window.batches.len());
            for open in window.batches.values() {
                assert!((window.range.from_ms..window.range.to_ms).contains(&open.time_ms));
                assert_eq!(window.is_over, open.time_ms < 1075, "batch 150 is at 1075 ms");
            }
        }
        let working = super::windows(&ledger, Signal::Logs, 3010, Writers::Working);
        assert!(working.iter().all(|window| window.range.to_ms <= 1010));
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let name = Name { signal: Signal::Logs, writer: 1, seq: 2 };
        let held = |counts: &[(u32, u64)]| counts.iter().copied().collect::<HashMap<u32, u64>>();
        let judged = |state, held: Option<HashMap<u32, u64>>, is_partial| {
            let mut faults = Findings::default();
            let open = Open { time_ms: 5, state };
            judge(name, &open, held.as_ref(), (2, is_partial), &mut faults);
            assert_eq!(faults.problems.is_empty(), faults.holds());
            (faults.missing, faults.duplicate, faults.torn)
        };
        let (whole, half) = (held(&[(0, 1), (1, 1)]), held(&[(1, 1)]));
        let twice = held(&[(0, 1), (1, 3)]);
        assert_eq!(judged(State::Acked, Some(whole.clone()), false), (0, 0, 0));
        assert_eq!(judged(State::Acked, None, false), (2, 0, 0));
        assert_eq!(judged(State::Acked, None, true), (0, 0, 0), "the answer says so");
        assert_eq!(judged(State::Acked, Some(half.clone()), false), (1, 0, 0));
        assert_eq!(judged(State::Acked, Some(twice.clone()), true), (0, 2, 0));
        for state in [State::Unsure, State::Sent] {
            assert_eq!(judged(state, None, false), (0, 0, 0));
            assert_eq!(judged(state, Some(whole.clone()), false), (0, 0, 0));
            assert_eq!(judged(state, Some(half.clone()), false), (0, 0, 1));
            assert_eq!(judged(state, Some(twice.clone()), false), (0, 2, 0));
        }

        let open = Open { time_ms: 5, state: State::Acked };
        let batches = BTreeMap::from([((1, 2), open)]);
        let range = Range { from_ms: 0, to_ms: 9 };
        let window = Window { range, batches, is_over: true };
        let mut faults = Findings::default();
        let stored = HashMap::from([((1, 2), held(&[(0, 1), (2, 1)])), ((1, 3), whole)]);
        unexpected(Signal::Logs, 2, &window, &stored, &mut faults);
        assert_eq!(faults.unexpected, 3, "one index too high, one batch of two never sent");
    }
}
