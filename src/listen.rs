//! Sockets: one router on every listener, HTTP/1.1, HTTP/2 and gRPC told apart per connection.
//!
//! Limits of reliability.md section 5: open connections, header time, header bytes, streams of one
//! HTTP/2 connection. Accept errors (such as no free file descriptor) are waited out, never fatal.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// A client that has not sent its headers by then is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Units: bytes.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Buffer in which HTTP/1 headers must fit. Units: bytes.
const BUFFER_BYTES_MAX: usize = 64 << 10;
const STREAMS_MAX: u32 = 128;
/// Flow control windows: one export of some MiB should not wait for updates. Units: bytes.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Pause after an accept error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Serves `router` on `listener` until `stop` turns true, then lets the connections finish their
/// requests.
pub(crate) fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        accept_all(&listener, &router, &connections, &graceful, stop).await;
        drop(listener);
        graceful.shutdown().await;
    })
}

async fn accept_all(
    listener: &TcpListener,
    router: &Router,
    connections: &Arc<Semaphore>,
    graceful: &GracefulShutdown,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Above the limit a connection is closed at once: hanging would help nobody.
        let Ok(permit) = Arc::clone(connections).try_acquire_owned() else {
            continue;
        };
        // A socket that cannot be told so works too.
        let _best_effort = stream.set_nodelay(true);
        let connection = connection(stream, router.clone(), graceful);
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let watched = graceful.watch(served);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
