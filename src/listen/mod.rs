//! Sockets: one router on every listener, HTTP/1.1, HTTP/2 and gRPC told apart per connection, in
//! plain or through TLS.
//!
//! What a client may take is bounded by [`Limits`]: connections, time for the handshake, the
//! headers, the body, between requests and for taking an answer; bytes and count of headers;
//! streams. Accept errors (such as no free file descriptor) are waited out, never fatal.

mod body;
mod head;
mod socket;
mod vitals;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use storage::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::doors::Tls;
use head::Exchange;
use socket::Socket;
use vitals::{Overdue, Vitals};

/// Buffer of a connection for headers and pieces of bodies; headers have a limit of their own.
/// Units: bytes.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// What even a setting of 0 does not lift. Units: bytes; headers.
const HEADER_BYTES_CEILING: u32 = 1 << 20;
const HEADERS_CEILING: usize = 4096;
/// Flow control windows: one export of some MiB should not wait for updates. Units: bytes.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Streams that a client opened and reset before they were taken up; more end the connection.
const RESET_STREAMS_MAX: usize = 20;
/// Pause after an accept error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection that is asked to end gets to finish its requests.
const PARTING: Duration = Duration::from_secs(5);

/// What a client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `server.max_connections`, on all listeners together.
    pub connections_max: usize,
    /// `server.tls_handshake_timeout`. Units: ns, as all times here.
    pub handshake_ns: i64,
    /// `server.header_timeout`: from the first byte of a request, or the connection's begin.
    pub header_ns: i64,
    /// `server.body_deadline`: waiting for a body, all pauses together.
    pub body_ns: i64,
    /// `server.body_min_rate`, after ten seconds of waiting. Units: bytes per second.
    pub body_rate_min: u64,
    /// `server.idle_timeout`: without a request.
    pub idle_ns: i64,
    /// `server.write_timeout`: without the client taking a byte of an answer.
    pub write_ns: i64,
    /// `server.max_header_bytes`: all headers of a request.
    pub header_bytes_max: u32,
    /// `server.max_headers`
    pub headers_max: usize,
    /// `server.h2_max_streams`: requests at one time on an HTTP/2 connection.
    pub streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const S: i64 = 1_000_000_000;
        Limits {
            connections_max: 10_000,
            handshake_ns: 10 * S,
            header_ns: 10 * S,
            body_ns: 60 * S,
            body_rate_min: 1 << 10,
            idle_ns: 120 * S,
            write_ns: 30 * S,
            header_bytes_max: 16 << 10,
            headers_max: 100,
            streams_max: 128,
        }
    }
}

impl Limits {
    /// Bytes of headers; there is an end even where the settings name none.
    fn header_bytes_max(&self) -> u32 {
        match self.header_bytes_max {
            0 => HEADER_BYTES_CEILING,
            bytes => bytes.min(HEADER_BYTES_CEILING),
        }
    }

    /// As `header_bytes_max`.
    fn headers_max(&self) -> usize {
        match self.headers_max {
            0 => HEADERS_CEILING,
            count => count.min(HEADERS_CEILING),
        }
    }
}

/// Who is at the other end of a connection; every request carries it as an extension.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Names in the client's certificate, which its authority has vouched for.
    pub(crate) names: Arc<[String]>,
}

impl Default for Peer {
    fn default() -> Self {
        Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), names: Arc::new([]) }
    }
}

/// What all listeners share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) limits: Arc<Limits>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Binds an address, or says who stands in the way.
///
/// Errors: the address and the system's reason.
pub(crate) async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AddrInUse {
            format!("; another program listens there: end it, or choose another with --{flag}")
        } else {
            String::new()
        };
        format!("--{flag}: cannot listen on {address}: {error}{hint}")
    })
}

/// Serves on `listener` until `stop` turns true, then lets the connections finish their requests.
pub(crate) fn serve(
    listener: TcpListener,
    shared: Shared,
    stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = accept_all(&listener, &shared, stop).await;
        drop(listener);
        while open.join_next().await.is_some() {}
    })
}

/// The connections that are open when `stop` turns true.
async fn accept_all(
    listener: &TcpListener,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => return open,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Above the limit a connection is closed at once: hanging would help nobody.
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            continue;
        };
        // A socket that cannot be told so works too.
        let _best_effort = stream.set_nodelay(true);
        let (shared, stop) = (shared.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, address.ip(), &shared, stop).await;
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    shared: &Shared,
    stop: watch::Receiver<bool>,
) {
    let Some(tls) = &shared.tls else {
        let peer = Peer { address, ..Peer::default() };
        return Box::pin(converse(stream, peer, shared, stop)).await;
    };
    let limit = match shared.limits.handshake_ns {
        0 => Duration::MAX,
        ns => duration(ns),
    };
    match tokio::time::timeout(limit, tls.accept(stream)).await {
        Ok(Ok((stream, names))) => {
            let peer = Peer { address, names: names.into() };
            Box::pin(converse(stream, peer, shared, stop)).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake was refused"),
        Err(_elapsed) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
}

/// Answers the requests of one connection until either side has had enough.
async fn converse<S>(stream: S, peer: Peer, shared: &Shared, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let vitals = Arc::new(Vitals::new(Arc::clone(&shared.clock), Arc::clone(limits)));
    let exchange = Exchange::new(shared.router.clone(), peer, Arc::clone(&vitals));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        exchange.answer(request)
    });
    let builder = builder(limits);
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&vitals)));
    let mut served = std::pin::pin!(builder.serve_connection_with_upgrades(socket, service));
    let mut parting = false;
    let mut look_again = vitals.next_look();
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !parting => {
                parting = true;
                served.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(look_again) => match vitals.overdue() {
                None => look_again = vitals.next_look(),
                // Between requests: HTTP/2 clients are told, and may finish what crossed that word.
                Some(Overdue::Idle) if !parting => {
                    parting = true;
                    served.as_mut().graceful_shutdown();
                    look_again = PARTING;
                }
                Some(why) => {
                    tracing::debug!(?why, "a connection is closed");
                    return;
                }
            },
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let header_bytes_max = limits.header_bytes_max();
    let mut builder = Builder::new(TokioExecutor::new());
    // The times are kept in `vitals`: hyper's own would end idle connections with the headers'.
    builder
        .http1()
        .max_headers(limits.headers_max())
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES_MAX.max(header_bytes_max as usize))
        // Without half-closed connections: a client that closes has gone, and its query ends.
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(header_bytes_max)
        .max_concurrent_streams((limits.streams_max > 0).then_some(limits.streams_max))
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn duration(ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
