//! What was sent and what was acknowledged, outside of the server's reach.
//!
//! A batch is *open* until it has been held against what is stored; then its millisecond range is
//! *settled*: of it are kept how many records there were, a sum of their hashes, and which batches
//! were not there. So a canary of any length needs bounded memory, and a settled range can still be
//! checked again as a whole. With a file, every step is written there before it is made, and
//! [`Ledger::open`] goes on where the last process stopped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use model::Signal;

use super::record::{BATCHES_MAX, Name, Run};

/// Settled ranges of one signal that are kept; then neighbours become one.
const SETTLED_MAX: usize = 2048;
/// Writers wait while more batches than this are open.
pub(super) const OPEN_MAX: usize = 200_000;
/// A file is written anew when this much has been appended. Units: bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The first word of a file.
const MAGIC: &str = "tercet-canary-1";

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way, or to be repeated.
    Sent,
    /// Acknowledged: it must be there, once.
    Acked,
    /// No answer, or one that promises nothing: it may be there once, whole, or not at all.
    Unsure,
}

/// A batch that is not settled.
#[derive(Debug, Clone, Copy)]
pub struct Open {
    /// Units: ms.
    pub time_ms: i64,
    pub state: State,
}

/// A range that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Half-open. Units: ms.
    pub from_ms: i64,
    pub to_ms: i64,
    pub records: u64,
    /// Sum of the records' hashes.
    pub hash: u64,
    /// Batches that were sent and not there; one that comes late is no fault.
    pub absent: Vec<(Name, i64)>,
}

/// What one writer does of one signal.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    next_seq: u64,
    last_ms: i64,
}

/// See the module's docs.
#[derive(Debug)]
pub struct Ledger {
    run: Run,
    lanes: BTreeMap<(Signal, u16), Lane>,
    open: BTreeMap<Name, Open>,
    settled: BTreeMap<Signal, Vec<Settled>>,
    /// Batches ever acknowledged, by signal.
    acked: BTreeMap<Signal, u64>,
    sent: u64,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Ledger {
    /// A ledger in memory.
    #[must_use]
    pub fn new(run: Run) -> Ledger {
        Ledger {
            run,
            lanes: BTreeMap::new(),
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            acked: BTreeMap::new(),
            sent: 0,
            journal: None,
        }
    }

    /// A ledger that is kept in a file as well. Where the file is there already, its run goes on;
    /// tenant and size of batches are then the file's.
    ///
    /// Errors: the file cannot be read or written, or is not a ledger of this tenant.
    pub fn open(path: &Path, fresh: Run) -> Result<Ledger, String> {
        let context = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut ledger = match std::fs::read_to_string(path) {
            Ok(text) => {
                let ledger = Ledger::parse(&text).map_err(|error| context(&error))?;
                if ledger.run.tenant != fresh.tenant {
                    let tenant = &ledger.run.tenant;
                    return Err(context(&format!("it is the ledger of tenant {tenant}")));
                }
                ledger
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ledger::new(fresh),
            Err(error) => return Err(context(&error)),
        };
        ledger.rewrite(path).map_err(|error| context(&error))?;
        Ok(ledger)
    }

    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    #[must_use]
    pub fn open_batches(&self) -> usize {
        self.open.len()
    }

    /// Batches sent, and acknowledged by signal.
    #[must_use]
    pub fn counts(&self) -> (u64, &BTreeMap<Signal, u64>) {
        (self.sent, &self.acked)
    }

    /// The batch of a writer and signal whose fate is still being sought, if there is one.
    #[must_use]
    pub fn undecided(&self, signal: Signal, writer: u16) -> Option<(Name, i64)> {
        let name = |seq| Name { signal, writer, seq };
        let mut of_lane = self.open.range(name(0)..=name(u64::MAX));
        let (name, open) = of_lane.find(|(_, open)| open.state == State::Sent)?;
        Some((*name, open.time_ms))
    }

    /// Notes a new batch, before it is sent. Its time is later than that of any settled range and of
    /// the lane's batch before it.
    ///
    /// Errors: the ledger's file cannot be written, or the run is over after 2^32 batches.
    pub fn send(
        &mut self,
        signal: Signal,
        writer: u16,
        now_ms: i64,
    ) -> Result<(Name, i64), String> {
        let settled_ms = self.settled_ms(signal).unwrap_or(0);
        let lane = self.lanes.entry((signal, writer)).or_default();
        if lane.next_seq >= BATCHES_MAX {
            return Err("the run is full: begin another ledger".to_owned());
        }
        let name = Name { signal, writer, seq: lane.next_seq };
        let time_ms = now_ms.max(lane.last_ms + 1).max(settled_ms);
        *lane = Lane { next_seq: name.seq + 1, last_ms: time_ms };
        self.sent += 1;
        self.open.insert(name, Open { time_ms, state: State::Sent });
        self.note(&format!("S {} {time_ms}", name_text(name)))?;
        Ok((name, time_ms))
    }

    /// Notes what came of a batch.
    ///
    /// Errors: the ledger's file cannot be written.
    pub fn decide(&mut self, name: Name, state: State) -> Result<(), String> {
        let Some(open) = self.open.get_mut(&name) else { return Ok(()) };
        open.state = state;
        if state == State::Acked {
            *self.acked.entry(name.signal).or_default() += 1;
        }
        let word = if state == State::Acked { 'A' } else { 'U' };
        self.note(&format!("{word} {}", name_text(name)))
    }

    /// Open batches of a signal, by time.
    #[must_use]
    pub fn open_of(&self, signal: Signal) -> Vec<(Name, Open)> {
        let first = Name { signal, writer: 0, seq: 0 };
        let last = Name { signal, writer: u16::MAX, seq: u64::MAX };
        let mut open: Vec<_> =
            self.open.range(first..=last).map(|(name, open)| (*name, *open)).collect();
        open.sort_by_key(|(name, open)| (open.time_ms, *name));
        open
    }

    /// Where the next range to be settled begins. Units: ms.
    #[must_use]
    pub fn settled_ms(&self, signal: Signal) -> Option<i64> {
        self.settled.get(&signal)?.last().map(|settled| settled.to_ms)
    }

    #[must_use]
    pub fn settled(&self, signal: Signal) -> &[Settled] {
        self.settled.get(&signal).map_or(&[], Vec::as_slice)
    }

    /// Forgets the open batches of a range for what was found of them.
    ///
    /// Errors: the ledger's file cannot be written.
    pub fn settle(&mut self, signal: Signal, range: Settled) -> Result<(), String> {
        self.note(&settled_text(signal, &range))?;
        self.put_settled(signal, range);
        if self.journal.as_ref().is_some_and(|journal| journal.bytes > FILE_BYTES_MAX) {
            let path = self.journal.as_ref().map(|journal| journal.path.clone());
            let path = path.unwrap_or_default();
            return self.rewrite(&path).map_err(|error| format!("{}: {error}", path.display()));
        }
        Ok(())
    }

    fn put_settled(&mut self, signal: Signal, range: Settled) {
        self.open.retain(|name, open| name.signal != signal || open.time_ms >= range.to_ms);
        let list = self.settled.entry(signal).or_default();
        list.push(range);
        if list.len() > SETTLED_MAX {
            let pairs = std::mem::take(list);
            let mut pairs = pairs.into_iter();
            while let Some(mut first) = pairs.next() {
                if let Some(second) = pairs.next() {
                    first.to_ms = second.to_ms;
                    first.records += second.records;
                    first.hash = first.hash.wrapping_add(second.hash);
                    first.absent.extend(second.absent);
                }
                list.push(first);
            }
        }
    }

    /// Forgets settled ranges that end before a time: their records may have been retired.
    pub fn forget_before(&mut self, time_ms: i64) {
        for list in self.settled.values_mut() {
            let keep = list.iter().position(|range| range.to_ms > time_ms);
            // The last one says where the next begins.
            list.drain(..keep.unwrap_or(list.len().saturating_sub(1)));
        }
    }

    fn note(&mut self, line: &str) -> Result<(), String> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.bytes += line.len() as u64 + 1;
        let written = journal.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| format!("{}: {error}", journal.path.display()))
    }

    /// Writes the whole ledger into a new file in the old one's place.
    fn rewrite(&mut self, path: &Path) -> std::io::Result<()> {
        let Run { id, tenant, records } = &self.run;
        let mut text = format!("{MAGIC} {id:012x} {records} {tenant}\n");
        for ((signal, writer), lane) in &self.lanes {
            let line = format!("L {signal:?} {writer} {} {}\n", lane.next_seq, lane.last_ms);
            text.push_str(&line);
        }
        for (signal, count) in &self.acked {
            text.push_str(&format!("C {signal:?} {count}\n"));
        }
        for (signal, list) in &self.settled {
            for range in list {
                text.push_str(&settled_text(*signal, range));
                text.push('\n');
            }
        }
        for (name, open) in &self.open {
            text.push_str(&format!("O {} {} {:?}\n", name_text(*name), open.time_ms, open.state));
        }
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, &text)?;
        std::fs::rename(&fresh, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        self.journal = Some(Journal { path: path.to_owned(), file, bytes: 0 });
        Ok(())
    }

    fn parse(text: &str) -> Result<Ledger, String> {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap_or("").splitn(4, ' ').collect();
        let &[MAGIC, id, records, tenant] = head.as_slice() else {
            return Err("it is no ledger of a canary".to_owned());
        };
        let run = || {
            let id = u64::from_str_radix(id, 16).ok()?;
            Some(Run { id, tenant: tenant.to_owned(), records: records.parse().ok()? })
        };
        let mut ledger = Ledger::new(run().ok_or("its first line is damaged")?);
        for (at, line) in lines.enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            if ledger.take(&words).is_none() {
                // A crash of the canary itself may have cut the last line.
                let is_last = text.lines().nth(at + 2).is_none() && !text.ends_with('\n');
                return if is_last { Ok(ledger) } else { Err(format!("line {}: {line}", at + 2)) };
            }
        }
        Ok(ledger)
    }

    fn take(&mut self, words: &[&str]) -> Option<()> {
        let (what, rest) = words.split_first()?;
        match *what {
            "L" => {
                let &[signal, writer, next_seq, last_ms] = rest else { return None };
                let lane =
                    Lane { next_seq: next_seq.parse().ok()?, last_ms: last_ms.parse().ok()? };
                self.sent += lane.next_seq;
                self.lanes.insert((signal_of(signal)?, writer.parse().ok()?), lane);
            }
            "C" => {
                let &[signal, count] = rest else { return None };
                self.acked.insert(signal_of(signal)?, count.parse().ok()?);
            }
            "S" => {
                let (name, rest) = name_of(rest)?;
                let &[time_ms] = rest else { return None };
                let time_ms = time_ms.parse().ok()?;
                let lane = self.lanes.entry((name.signal, name.writer)).or_default();
                *lane = Lane { next_seq: name.seq.checked_add(1)?, last_ms: time_ms };
                self.sent += 1;
                self.open.insert(name, Open { time_ms, state: State::Sent });
            }
            "A" | "U" => {
                let (name, _) = name_of(rest)?;
                let state = if *what == "A" { State::Acked } else { State::Unsure };
                self.decide(name, state).ok()?;
            }
            "O" => {
                let (name, rest) = name_of(rest)?;
                let &[time_ms, state] = rest else { return None };
                let states = [State::Sent, State::Acked, State::Unsure];
                let state = states.into_iter().find(|known| format!("{known:?}") == state)?;
                self.open.insert(name, Open { time_ms: time_ms.parse().ok()?, state });
            }
            "R" => {
                let (signal, rest) = rest.split_first()?;
                let (&[from, to, records, hash], rest) = rest.split_first_chunk::<4>()?;
                let mut absent = Vec::new();
                for one in rest.chunks(4) {
                    let (name, time) = name_of(one)?;
                    absent.push((name, time.first()?.parse().ok()?));
                }
                let range = Settled {
                    from_ms: from.parse().ok()?,
                    to_ms: to.parse().ok()?,
                    records: records.parse().ok()?,
                    hash: u64::from_str_radix(hash, 16).ok()?,
                    absent,
                };
                self.put_settled(signal_of(signal)?, range);
            }
            _ => return None,
        }
        Some(())
    }
}

fn signal_of(word: &str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| format!("{signal:?}") == word)
}

fn name_text(name: Name) -> String {
    format!("{:?} {} {}", name.signal, name.writer, name.seq)
}

fn name_of<'a, 'b>(words: &'a [&'b str]) -> Option<(Name, &'a [&'b str])> {
    let (&[signal, writer, seq], rest) = words.split_first_chunk::<3>()?;
    let (writer, seq) = (writer.parse().ok()?, seq.parse().ok()?);
    Some((Name { signal: signal_of(signal)?, writer, seq }, rest))
}

fn settled_text(signal: Signal, range: &Settled) -> String {
    let Settled { from_ms, to_ms, records, hash, absent } = range;
    let mut text = format!("R {signal:?} {from_ms} {to_ms} {records} {hash:016x}");
    for (name, time_ms) in absent {
        text.push_str(&format!(" {} {time_ms}", name_text(*name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { id: 7, tenant: "acme".to_owned(), records: 2 }
    }

    fn settled(from_ms: i64, to_ms: i64) -> Settled {
        Settled { from_ms, to_ms, records: 2, hash: 5, absent: Vec::new() }
    }

    #[test]
    fn a_ledger_goes_on_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let mut ledger = Ledger::open(&path, run()).unwrap();
        let (first, first_ms) = ledger.send(Signal::Logs, 0, 1000).unwrap();
        let (second, second_ms) = ledger.send(Signal::Logs, 0, 1000).unwrap();
        assert!(second_ms > first_ms, "times of a lane ascend");
        ledger.decide(first, State::Acked).unwrap();
        let mut range = settled(900, second_ms);
        range.absent.push((first, first_ms));
        ledger.settle(Signal::Logs, range.clone()).unwrap();
        drop(ledger);

        let other = Run { id: 9, records: 5, ..run() };
        for _again in 0..2 {
            let ledger = Ledger::open(&path, other.clone()).unwrap();
            assert_eq!(ledger.run(), &run(), "the file's run goes on");
            assert_eq!(ledger.undecided(Signal::Logs, 0), Some((second, second_ms)));
            assert_eq!(ledger.settled(Signal::Logs), [range.clone()]);
            assert_eq!(ledger.counts().0, 2);
            assert_eq!(ledger.counts().1.get(&Signal::Logs), Some(&1));
        }
        let mut ledger = Ledger::open(&path, other.clone()).unwrap();
        let (third, third_ms) = ledger.send(Signal::Logs, 0, 0).unwrap();
        assert_eq!((third.seq, third_ms), (2, second_ms + 1));
        drop(ledger);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert!(Ledger::open(&path, other.clone()).is_ok(), "a last line that a crash cut");
        std::fs::write(&path, text.replace("S Logs", "S Logz") + "more\n").unwrap();
        assert!(Ledger::open(&path, other.clone()).is_err());
        assert!(Ledger::open(&path, Run { tenant: "b".to_owned(), ..other }).is_err());
    }

    #[test]
    fn settled_ranges_stay_few_and_keep_their_sums() {
        let mut ledger = Ledger::new(run());
        let count = 3 * SETTLED_MAX as i64;
        for at in 0..count {
            ledger.settle(Signal::Traces, settled(at, at + 1)).unwrap();
        }
        let list = ledger.settled(Signal::Traces);
        assert!(list.len() <= SETTLED_MAX);
        assert_eq!(list.iter().map(|range| range.records).sum::<u64>(), 2 * count as u64);
        assert!(list.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms));
        ledger.forget_before(count / 2);
        assert!(ledger.settled(Signal::Traces)[0].to_ms > count / 2);
        ledger.forget_before(i64::MAX);
        assert_eq!(ledger.settled_ms(Signal::Traces), Some(count), "the end stays known");
    }
}
