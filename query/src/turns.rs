//! Whose query runs next: each tenant has a queue, and the tenants take turns.
//!
//! A tenant runs as many queries at one time as its limits say, and never more than half of all
//! places, so that another one finds a free place at once. Who waits too long, or finds its own
//! queue full, is refused with what to raise. A waiting query whose client goes leaves its queue.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorId, Exceeded, Limits, TenantId};
use parking_lot::Mutex;
use storage::StorageError;
use tokio::sync::oneshot;

/// The places and the queues.
#[derive(Debug)]
pub(crate) struct Turns {
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    next_ticket: u64,
    lanes: HashMap<TenantId, Lane>,
    /// Tenants with a queue, the next one first.
    ring: VecDeque<TenantId>,
}

/// One tenant's queries.
#[derive(Debug, Default)]
struct Lane {
    running: usize,
    running_max: usize,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    tenant: TenantId,
}

/// A query in its queue; it leaves when dropped.
struct Waiting {
    turns: Arc<Turns>,
    tenant: TenantId,
    ticket: u64,
    granted: bool,
}

impl Turns {
    pub(crate) fn new(places: usize) -> Arc<Turns> {
        Arc::new(Turns { places: places.max(1), state: Mutex::default() })
    }

    /// Running and waiting queries of a tenant.
    pub(crate) fn usage(&self, tenant: &TenantId) -> (usize, usize) {
        let state = self.state.lock();
        state.lanes.get(tenant).map_or((0, 0), |lane| (lane.running, lane.waiting.len()))
    }

    /// Waits for the tenant's turn.
    ///
    /// Errors: TooMany when its queue is full, or the wait too long.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: &TenantId,
        limits: &Limits,
    ) -> Result<Turn, StorageError> {
        let half = (self.places / 2).max(1);
        let running_max = match limits.query_concurrent_max {
            0 => half,
            given => given.min(half),
        };
        let (mut waiting, started) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let lane = state.lanes.entry(tenant.clone()).or_default();
            lane.running_max = running_max;
            if lane.waiting.is_empty() && lane.running < running_max && state.running < self.places
            {
                lane.running += 1;
                state.running += 1;
                return Ok(Turn { turns: Arc::clone(self), tenant: tenant.clone() });
            }
            let (queue_max, waiting) = (limits.query_queue_max, lane.waiting.len());
            if queue_max != 0 && waiting >= queue_max {
                return Err(StorageError::too_many(Exceeded {
                    id: ErrorId::QueryQueueFull,
                    what: "too many queries wait already".to_owned(),
                    key: "limits.query.queue_size",
                    limit: queue_max.to_string(),
                    current: waiting.to_string(),
                    tenant: Some(tenant.clone()),
                }));
            }
            let (start, started) = oneshot::channel();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            lane.waiting.push_back((ticket, start));
            if lane.waiting.len() == 1 {
                state.ring.push_back(tenant.clone());
            }
            let turns = Arc::clone(self);
            (Waiting { turns, tenant: tenant.clone(), ticket, granted: false }, started)
        };
        let timeout_ns = u64::try_from(limits.query_queue_timeout_ns).unwrap_or(0);
        let timeout =
            if timeout_ns == 0 { Duration::MAX } else { Duration::from_nanos(timeout_ns) };
        if let Ok(Ok(())) = tokio::time::timeout(timeout, started).await {
            waiting.granted = true;
            return Ok(Turn { turns: Arc::clone(self), tenant: tenant.clone() });
        }
        let seconds = timeout.as_secs_f64();
        Err(StorageError::too_many(Exceeded {
            id: ErrorId::QueryQueueFull,
            what: "the query did not get its turn in time".to_owned(),
            key: "limits.query.queue_timeout",
            limit: format!("{seconds}s"),
            current: format!("{seconds}s"),
            tenant: Some(tenant.clone()),
        }))
    }

    fn release(&self, tenant: &TenantId) {
        let mut state = self.state.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(tenant) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.dispatch(&mut state);
        state.forget_if_idle(tenant);
    }

    /// Gives free places to those who wait, one tenant after the other.
    fn dispatch(&self, state: &mut State) {
        let mut passed = 0;
        while state.running < self.places && passed < state.ring.len() {
            let Some(tenant) = state.ring.pop_front() else { return };
            let Some(lane) = state.lanes.get_mut(&tenant) else { continue };
            if lane.running < lane.running_max
                && let Some((_, start)) = lane.waiting.pop_front()
            {
                lane.running += 1;
                state.running += 1;
                passed = 0;
                // Whoever leaves after this gives the place back: see `Waiting`.
                let _left_meanwhile = start.send(());
            } else {
                passed += 1;
            }
            if !lane.waiting.is_empty() {
                state.ring.push_back(tenant);
            }
        }
    }
}

impl State {
    fn forget_if_idle(&mut self, tenant: &TenantId) {
        let idle = |lane: &Lane| lane.running == 0 && lane.waiting.is_empty();
        if self.lanes.get(tenant).is_some_and(idle) {
            self.lanes.remove(tenant);
            self.ring.retain(|waiting| waiting != tenant);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.release(&self.tenant);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.granted {
            return;
        }
        let mut state = self.turns.state.lock();
        let lane = state.lanes.get_mut(&self.tenant);
        let waiting = lane.and_then(|lane| {
            let at = lane.waiting.iter().position(|(ticket, _)| *ticket == self.ticket)?;
            lane.waiting.remove(at)
        });
        if waiting.is_some() {
            state.forget_if_idle(&self.tenant);
            return;
        }
        drop(state);
        // Its place was given in the moment in which it left.
        self.turns.release(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::FutureExt as _;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    type Entering = Pin<Box<dyn Future<Output = Result<Turn, StorageError>>>>;

    fn enter(turns: &Arc<Turns>, name: &str, queue_max: usize) -> Entering {
        let (turns, tenant) = (Arc::clone(turns), tenant(name));
        let limits = Limits { query_queue_max: queue_max, ..Limits::default() };
        Box::pin(async move { turns.enter(&tenant, &limits).await })
    }

    #[tokio::test]
    async fn a_tenant_takes_half_of_the_places_and_the_others_take_turns() {
        let turns = Turns::new(4);
        let mut noisy: Vec<Turn> = Vec::new();
        for _ in 0..2 {
            noisy.push(enter(&turns, "noisy", 9).await.unwrap());
        }
        let mut waits: Vec<Entering> = (0..3).map(|_| enter(&turns, "noisy", 9)).collect();
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        let first = enter(&turns, "quiet", 9).now_or_never().unwrap().unwrap();
        let second = enter(&turns, "other", 9).now_or_never().unwrap().unwrap();
        // All places are taken: the next free one goes to whoever is next, not to the noisy one.
        let mut late = enter(&turns, "late", 9);
        assert!((&mut late).now_or_never().is_none());
        drop(first);
        assert!((&mut late).now_or_never().is_some_and(|turn| turn.is_ok()));
        drop(noisy.pop());
        assert!(waits.remove(0).now_or_never().is_some_and(|turn| turn.is_ok()));
        drop((second, noisy, late, waits));
        assert!(turns.state.lock().lanes.is_empty() && turns.state.lock().ring.is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_who_leaves_makes_room() {
        let turns = Turns::new(2);
        let running = enter(&turns, "a", 1).await.unwrap();
        let mut waiting = enter(&turns, "a", 1);
        assert!((&mut waiting).now_or_never().is_none());
        let refused = enter(&turns, "a", 1).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "tercet-err-query_queue_full: too many queries wait already; limit \
             limits.query.queue_size=1, current 1 (tenant a); raise it in \
             tenants.a.limits.query.queue_size"
        );
        assert_eq!(turns.usage(&tenant("a")), (1, 1));
        drop(waiting);
        let mut next = enter(&turns, "a", 1);
        assert!((&mut next).now_or_never().is_none());
        drop(running);
        // Granted and left before it looked: the place is not lost.
        drop(next);
        assert!(enter(&turns, "a", 1).now_or_never().is_some_and(|turn| turn.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused() {
        let turns = Turns::new(1);
        let _running = enter(&turns, "a", 9).await.unwrap();
        let refused = enter(&turns, "b", 9).await.unwrap_err();
        assert_eq!(refused.exceeded().map(|of| of.key), Some("limits.query.queue_timeout"));
        assert_eq!(turns.usage(&tenant("b")), (0, 0));
    }
}
