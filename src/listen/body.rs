//! Bodies on their way: requests whose client must keep going, answers whose client must take them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::duration;
use super::vitals::Vitals;

/// From then on `server.body_min_rate` is asked for. Units: ns.
const GRACE_NS: u64 = 10_000_000_000;

/// A request's body: the time that was spent waiting for its client is counted, not that in which
/// we were not ready for it.
pub(super) struct TimedBody {
    body: Incoming,
    vitals: Arc<Vitals>,
    /// Set when the client was too slow.
    late: Arc<AtomicBool>,
    bytes: u64,
    waited_ns: u64,
    /// When the wait that goes on began; 0 for none.
    waits_since: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) fn new(body: Incoming, vitals: Arc<Vitals>, late: Arc<AtomicBool>) -> TimedBody {
        TimedBody { body, vitals, late, bytes: 0, waited_ns: 0, waits_since: 0, timer: None }
    }

    /// Waiting that is allowed after what has come. Units: ns.
    fn allowed_ns(&self) -> u64 {
        let limits = &self.vitals.limits;
        let deadline = match u64::try_from(limits.body_ns).unwrap_or(0) {
            0 => u64::MAX,
            ns => ns,
        };
        match limits.body_rate_min {
            0 => deadline,
            rate => {
                let earned = u128::from(self.bytes) * 1_000_000_000 / u128::from(rate);
                u64::try_from(earned).unwrap_or(u64::MAX).max(GRACE_NS).min(deadline)
            }
        }
    }

    /// Waits for more, but not for ever.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.vitals.now();
            if self.waits_since == 0 {
                self.waits_since = now;
            }
            let waited = self.waited_ns + now.saturating_sub(self.waits_since);
            let left = self.allowed_ns().saturating_sub(waited);
            if left == 0 {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| {
                let left = duration(i64::try_from(left).unwrap_or(i64::MAX));
                Box::pin(tokio::time::sleep(left))
            });
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if this.waits_since != 0 {
                this.waited_ns += this.vitals.now().saturating_sub(this.waits_since);
                this.waits_since = 0;
            }
            if let Some(Ok(frame)) = &frame {
                this.bytes += frame.data_ref().map_or(0, |piece| piece.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        if this.wait(cx).is_pending() {
            return Poll::Pending;
        }
        this.late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the body came too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body. The request lasts until it is dropped.
pub(super) struct Answer {
    body: Body,
    request: RequestGuard,
    owes: bool,
}

/// One request of a connection.
pub(super) struct RequestGuard(Arc<Vitals>);

impl RequestGuard {
    pub(super) fn begin(vitals: &Arc<Vitals>) -> RequestGuard {
        vitals.request_began();
        RequestGuard(Arc::clone(vitals))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

impl Answer {
    pub(super) fn new(body: Body, request: RequestGuard) -> Answer {
        Answer { body, request, owes: false }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.owes) {
            self.request.0.piece_asked();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.settle();
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.settle();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            this.owes = true;
            this.request.0.piece_given();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
