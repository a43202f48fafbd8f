//! The bytes of a connection on their way: notes when they come and go, keeps the headers of the
//! request that is being read, and turns away what is no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::vitals::Vitals;

/// How a connection of HTTP/2 begins; no method of HTTP/1 does.
const HTTP2_PREFACE: &[u8; 3] = b"PRI";
/// How a TLS handshake begins.
const TLS_HANDSHAKE: u8 = 0x16;
/// Said to a client that has begun a request and does not go on.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A stream and what is known about its times.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    vitals: Arc<Vitals>,
    /// The first bytes of the connection.
    first: [u8; 3],
    first_count: usize,
    /// Runs while headers are awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, vitals: Arc<Vitals>) -> Socket<S> {
        Socket { stream, vitals, first: [0; 3], first_count: 0, timer: None }
    }

    /// Ready when headers have been awaited for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(left) = self.vitals.head_left() else {
                self.timer = None;
                return Poll::Pending;
            };
            if left.is_zero() {
                return Poll::Ready(());
            }
            // One that was set for earlier headers goes off too early, and is set again.
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }

    /// Looks at the first bytes of a connection.
    ///
    /// Errors: a TLS handshake where none is spoken.
    fn look_at_first(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (slot, &byte) in self.first.iter_mut().skip(self.first_count).zip(bytes) {
            *slot = byte;
            self.first_count += 1;
        }
        if self.first_count > 0 && self.first[0] == TLS_HANDSHAKE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "TLS where plain HTTP is spoken",
            ));
        }
        if self.first_count == self.first.len() && &self.first == HTTP2_PREFACE {
            self.vitals.set_http2();
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            ready!(this.wait(cx));
            // Whoever reads nothing either is closed without a word.
            let _unheard = Pin::new(&mut this.stream).poll_write(cx, TOO_SLOW);
            let _unheard = Pin::new(&mut this.stream).poll_flush(cx);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        outcome?;
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if this.first_count < this.first.len() {
            this.look_at_first(bytes)?;
        }
        if !this.vitals.is_http2() && this.vitals.is_quiet() {
            this.vitals.head_began();
            this.vitals.keep_head(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        note(&this.vitals, Pin::new(&mut this.stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        note(&this.vitals, Pin::new(&mut this.stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        note(&this.vitals, Pin::new(&mut this.stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = ready!(note(&this.vitals, Pin::new(&mut this.stream).poll_shutdown(cx)));
        Poll::Ready(outcome)
    }
}

fn note<T>(vitals: &Vitals, outcome: Poll<T>) -> Poll<T> {
    match outcome {
        Poll::Pending => vitals.write_waits(),
        Poll::Ready(_) => vitals.write_moves(),
    }
    outcome
}
