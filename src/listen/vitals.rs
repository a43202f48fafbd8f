//! The times of one connection: since when it has done what, and when that has been too long.
//!
//! The socket and the exchange note moments in atomics; one timer for each connection looks at them
//! now and then. Nothing is armed or disarmed per request: only headers that do not come in one
//! piece have a timer of their own, in the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use storage::Clock;

use super::Limits;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request.
    Idle,
    /// An answer that nobody takes.
    Write,
}

/// Not since any moment.
const NEVER: u64 = 0;

#[derive(Debug)]
pub(super) struct Vitals {
    clock: Arc<dyn Clock>,
    pub(super) limits: Arc<Limits>,
    /// Requests whose answer has not been handed over wholly.
    in_flight: AtomicU32,
    /// Since when there is no request. Units: ns on the monotonic clock, as all moments here.
    quiet_since: AtomicU64,
    /// Since when headers are awaited; not in HTTP/2, where they come in frames.
    head_since: AtomicU64,
    /// Since when the socket takes no byte.
    stuck_since: AtomicU64,
    /// Answers of which a piece was handed over and the next not asked for yet.
    owed: AtomicU32,
    /// When the next piece of any answer was asked for last.
    asked: AtomicU64,
    is_http2: AtomicBool,
    head: Mutex<Head>,
}

/// The headers of a request of HTTP/1 as they came.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    is_whole: bool,
}

const HEAD_END: &[u8] = b"\r\n\r\n";

impl Vitals {
    pub(super) fn new(clock: Arc<dyn Clock>, limits: Arc<Limits>) -> Vitals {
        let now = clock.monotonic_ns().max(1);
        Vitals {
            clock,
            limits,
            in_flight: AtomicU32::new(0),
            quiet_since: AtomicU64::new(now),
            head_since: AtomicU64::new(now),
            stuck_since: AtomicU64::new(NEVER),
            owed: AtomicU32::new(0),
            asked: AtomicU64::new(now),
            is_http2: AtomicBool::new(false),
            head: Mutex::new(Head::default()),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.monotonic_ns().max(1)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    pub(super) fn set_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Bytes came while there was no request: they begin one.
    pub(super) fn head_began(&self) {
        if self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Keeps bytes of the headers that are being read, up to their limit.
    pub(super) fn keep_head(&self, bytes: &[u8]) {
        let mut head = self.head.lock();
        if head.is_whole {
            *head = Head::default();
        }
        let bytes_max = self.limits.header_bytes_max() as usize;
        let room = bytes_max.saturating_add(HEAD_END.len()).saturating_sub(head.bytes.len());
        let looked_at = head.bytes.len().saturating_sub(HEAD_END.len());
        // Most requests come whole: what follows the headers is not copied.
        let end = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END);
        let length = end.map_or(bytes.len(), |at| at + HEAD_END.len()).min(room);
        head.bytes.extend_from_slice(bytes.get(..length).unwrap_or_default());
        let unseen = head.bytes.get(looked_at..).unwrap_or_default();
        head.is_whole = unseen.windows(HEAD_END.len()).any(|window| window == HEAD_END);
    }

    /// The headers of the request that has just been read, unless they came while another one was
    /// being answered.
    pub(super) fn take_head(&self) -> Option<Vec<u8>> {
        let head = std::mem::take(&mut *self.head.lock());
        head.is_whole.then_some(head.bytes)
    }

    pub(super) fn request_began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
    }

    pub(super) fn request_ended(&self) {
        self.quiet_since.store(self.now(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn write_waits(&self) {
        if self.stuck_since.load(Ordering::Relaxed) == NEVER {
            self.stuck_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn write_moves(&self) {
        if self.stuck_since.load(Ordering::Relaxed) != NEVER {
            self.stuck_since.store(NEVER, Ordering::Relaxed);
        }
    }

    /// A piece of an answer was handed over.
    pub(super) fn piece_given(&self) {
        self.asked.store(self.now(), Ordering::Relaxed);
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    /// The piece after it is asked for, or never will be.
    pub(super) fn piece_asked(&self) {
        self.asked.store(self.now(), Ordering::Relaxed);
        self.owed.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long the headers that are awaited may still take; nothing while none are.
    pub(super) fn head_left(&self) -> Option<Duration> {
        let since = self.head_since.load(Ordering::Relaxed);
        let limit = u64::try_from(self.limits.header_ns).ok().filter(|limit| *limit != 0)?;
        let end = since.saturating_add(limit);
        let is_awaited = since != NEVER && self.is_quiet();
        is_awaited.then(|| Duration::from_nanos(end.saturating_sub(self.now())))
    }

    /// Whether something has taken too long, and what.
    pub(super) fn overdue(&self) -> Option<Overdue> {
        let limits = &self.limits;
        if self.has_passed(&self.stuck_since, limits.write_ns)
            || self.owed.load(Ordering::Relaxed) > 0
                && self.has_passed(&self.asked, limits.write_ns)
        {
            return Some(Overdue::Write);
        }
        if !self.is_quiet() {
            return None;
        }
        self.has_passed(&self.quiet_since, limits.idle_ns).then_some(Overdue::Idle)
    }

    /// When to look again: answers that are stuck may wait a quarter longer than they should.
    pub(super) fn next_look(&self) -> Duration {
        let limit = |ns: i64| match u64::try_from(ns) {
            Ok(0) | Err(_) => Duration::from_secs(3600),
            Ok(ns) => Duration::from_nanos(ns),
        };
        let (idle, write) = (limit(self.limits.idle_ns), limit(self.limits.write_ns) / 4);
        let quiet_ns = self.now().saturating_sub(self.quiet_since.load(Ordering::Relaxed));
        let idle_left = idle.saturating_sub(Duration::from_nanos(quiet_ns));
        let soonest = if self.is_quiet() { write.min(idle_left) } else { write };
        soonest + Duration::from_millis(10)
    }

    fn has_passed(&self, since: &AtomicU64, limit_ns: i64) -> bool {
        let since = since.load(Ordering::Relaxed);
        let limit = u64::try_from(limit_ns).unwrap_or(u64::MAX);
        limit != 0 && since != NEVER && self.now().saturating_sub(since) > limit
    }
}
