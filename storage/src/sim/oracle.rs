//! The ledger outside: what was sent, what was acknowledged, and what must therefore be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Signal;
use parking_lot::Mutex;

use crate::sim::load::{Request, Stored, tenant};
use crate::sim::world::Dice;
use crate::{Clock, Store};

/// So long a client goes on with a request; well within the window of duplicates. Units: ns.
const RETRY_NS: u64 = 120_000_000_000;

#[derive(Debug)]
struct Sent {
    request: Request,
    /// Units: ns, monotonic.
    sent_ns: u64,
    /// When the last acknowledgement came; nothing where none did.
    acknowledged_ns: Option<i64>,
    /// The same on the clock that never goes back.
    acknowledged_monotonic_ns: u64,
}

#[derive(Debug, Default)]
struct State {
    sent: BTreeMap<u64, Sent>,
    /// The latest time seen: retention may have acted by it.
    now_ns: i64,
    has_damage: bool,
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Ledger {
    retention_ns: i64,
    state: Mutex<State>,
}

impl Ledger {
    pub(super) fn new(retention_ns: i64) -> Ledger {
        Ledger { retention_ns, state: Mutex::default() }
    }

    /// Notes a request before it is sent.
    pub(super) fn send(&self, clock: &dyn Clock, make: impl FnOnce(u64) -> Request) -> Request {
        let sent = &mut self.state.lock().sent;
        let number = sent.len() as u64;
        let request = make(number);
        let open = Sent {
            request,
            sent_ns: clock.monotonic_ns(),
            acknowledged_ns: None,
            acknowledged_monotonic_ns: 0,
        };
        sent.insert(number, open);
        request
    }

    /// A request of the last minutes that nobody acknowledged.
    pub(super) fn unanswered(&self, dice: &mut Dice, clock: &dyn Clock) -> Option<Request> {
        let state = self.state.lock();
        let since_ns = clock.monotonic_ns().saturating_sub(RETRY_NS);
        // A clock that was set back has records refused that are ahead of it.
        let now_ns = clock.now_ns();
        let open = |sent: &&Sent| {
            let is_late = sent.sent_ns < since_ns || sent.request.time_ns > now_ns;
            sent.acknowledged_ns.is_none() && !is_late
        };
        let open: Vec<&Sent> = state.sent.values().filter(open).collect();
        open.get(dice.below(open.len().max(1) as u64) as usize).map(|sent| sent.request)
    }

    pub(super) fn acknowledge(&self, number: u64, clock: &dyn Clock) {
        if let Some(sent) = self.state.lock().sent.get_mut(&number) {
            sent.acknowledged_ns = Some(clock.now_ns());
            sent.acknowledged_monotonic_ns = clock.monotonic_ns();
        }
    }

    /// Takes acknowledgements back that were given without a sync shortly before a power cut.
    pub(super) fn doubt_since(&self, since_monotonic_ns: u64) {
        for sent in self.state.lock().sent.values_mut() {
            if sent.acknowledged_monotonic_ns >= since_monotonic_ns {
                sent.acknowledged_ns = None;
            }
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        let state = self.state.lock();
        state.sent.values().filter(|sent| sent.acknowledged_ns.is_some()).count() as u64
    }

    /// Whether an answer has named a damaged part.
    pub(super) fn has_damage(&self) -> bool {
        self.state.lock().has_damage
    }

    /// Holds one tenant's records against the ledger.
    pub(super) fn check(
        &self,
        store: &Arc<Store>,
        owner: u64,
        now_ns: i64,
        strict: bool,
    ) -> Result<(), String> {
        let mut state = self.state.lock();
        state.now_ns = state.now_ns.max(now_ns);
        let snapshot = store.snapshot(&tenant(owner));
        let stored = Stored::read(&snapshot, owner, &store.budget(&tenant(owner)))
            .map_err(|error| format!("tenant {owner} cannot be read: {error}"))?;
        state.has_damage |= stored.unread.iter().any(|parts| !parts.is_empty());
        if let Some(wrong) = stored.wrong.first() {
            return Err(format!("tenant {owner}: {wrong}"));
        }
        for (&(signal, number), records) in &stored.batches {
            let sent = state
                .sent
                .get(&number)
                .filter(|sent| sent.request.signal == signal && sent.request.tenant == owner);
            let Some(sent) = sent else {
                return Err(format!("{} {number} at tenant {owner} was not sent", signal.as_str()));
            };
            let unread = self.unread(&stored, signal);
            let is_whole = records.iter().copied().eq(0..sent.request.records);
            if !is_whole && (strict || unread.is_empty()) {
                return Err(format!("of {} {number} only {records:?} came", signal.as_str()));
            }
        }
        for sent in state.sent.values().filter(|sent| sent.request.tenant == owner) {
            let Request { number, signal, time_ns, .. } = sent.request;
            let Some(acknowledged_ns) = sent.acknowledged_ns else { continue };
            if stored.batches.contains_key(&(signal, number)) {
                continue;
            }
            let newest = time_ns.max(acknowledged_ns);
            let is_old =
                self.retention_ns > 0 && newest - 60_000_000_000 < state.now_ns - self.retention_ns;
            let unread = self.unread(&stored, signal);
            if !is_old && (strict || unread.is_empty()) {
                return Err(format!(
                    "{} {number} of tenant {owner} was acknowledged and is not there; unread: \
                     {unread:?}",
                    signal.as_str()
                ));
            }
        }
        Ok(())
    }

    /// Holds one tenant's records against what was sent: nothing else, nothing twice.
    pub(super) fn check_sane(&self, store: &Arc<Store>, owner: u64) -> Result<(), String> {
        let snapshot = store.snapshot(&tenant(owner));
        let stored = Stored::read(&snapshot, owner, &store.budget(&tenant(owner)))
            .map_err(|error| format!("tenant {owner} cannot be read: {error}"))?;
        match stored.wrong.first() {
            Some(wrong) => Err(format!("tenant {owner}: {wrong}")),
            None => Ok(()),
        }
    }

    /// As [`Ledger::check`]; whether something could not be read.
    pub(super) fn check_partial(
        &self,
        store: &Arc<Store>,
        owner: u64,
        now_ns: i64,
    ) -> Result<bool, String> {
        self.state.lock().has_damage = false;
        self.check(store, owner, now_ns, false)?;
        Ok(self.has_damage())
    }

    /// What each request takes in the log, in order.
    pub(super) fn frame_bytes(&self) -> Vec<usize> {
        self.state.lock().sent.values().map(|sent| sent.request.frame_bytes()).collect()
    }

    fn unread<'a>(&self, stored: &'a Stored, signal: Signal) -> &'a [String] {
        let index = Signal::ALL.into_iter().position(|it| it == signal).unwrap_or_default();
        stored.unread.get(index).map(Vec::as_slice).unwrap_or_default()
    }
}
