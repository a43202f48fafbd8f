//! A server from its settings: opens the store, binds, serves, and stops without losing anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use ingest::Ingest;
use model::{LimitTable, Profile};
use query::{BuildInfo, Query, QueryOptions};
use storage::{Components, ErrorKind, Pool, Store};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::doors::{self, Doors, Tls};
use crate::epochs::Epochs;
use crate::reload::{Reloaded, Reloader};
use crate::wiring::{DecoderReplay, StoreSink, StoreSource, decoder_of};
use crate::{assets, descriptors, listen, memory, upkeep};

/// A running server. Dropping it does not stop it: call [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    /// The addresses in use, chosen ports filled in.
    pub http: SocketAddr,
    pub otlp_http: SocketAddr,
    pub otlp_grpc: SocketAddr,
    pub(crate) admin: Arc<Admin>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    /// Ended with the server.
    tasks: Vec<JoinHandle<()>>,
}

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    /// Another process works on the data folder.
    FolderInUse(String),
    Failed(String),
}

impl From<String> for StartError {
    fn from(why: String) -> StartError {
        StartError::Failed(why)
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (StartError::FolderInUse(why) | StartError::Failed(why)) = self;
        f.write_str(why)
    }
}

impl Server {
    /// Opens the store, binds all three addresses and starts to serve. Returns when requests are
    /// answered; the log may still be replaying.
    ///
    /// Errors: what could not be opened or bound, and why.
    pub async fn start(mut config: Config, components: Components) -> Result<Server, StartError> {
        doors::panics::count();
        let as_read = config.clone();
        let doors = Doors::new(&config.auth, &config.egress, &components)?;
        let tls = Tls::open(&config.tls)?;
        memory::fit(&mut config, memory::available_bytes());
        let limits = LimitTable::new(config.tenant_limits());
        config.storage.limits = Arc::clone(&limits);
        config.ingest.body_deadline_ns = config.connections.body_ns;
        config.ingest.shows_process_values = config.profile == Profile::Single;
        if config.profile == Profile::Multi {
            config.ingest.tenant_inflight_bytes_max = config.ingest.inflight_bytes_max / 2;
        }
        let clock = Arc::clone(&components.clock);
        let http = listen::bind("http", config.http).await?;
        let otlp_http = listen::bind("otlp-http", config.otlp_http).await?;
        let otlp_grpc = listen::bind("otlp-grpc", config.otlp_grpc).await?;
        for (listener, address) in [
            (&http, &mut config.http),
            (&otlp_http, &mut config.otlp_http),
            (&otlp_grpc, &mut config.otlp_grpc),
        ] {
            *address = listener.local_addr().map_err(|error| error.to_string())?;
        }

        let decoder = Arc::new(decoder_of(&config));
        let files = Arc::clone(&components.files);
        let epochs = Arc::new(Epochs::load(files.as_ref(), &config));
        let replay = Arc::new(DecoderReplay::new(Arc::clone(&decoder), Arc::clone(&epochs)));
        let started_ns = components.clock.now_ns();
        let store = Store::open(config.storage.clone(), components.clone(), replay).await;
        let store = store.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => StartError::FolderInUse(error.to_string()),
            _ => StartError::Failed(error.to_string()),
        })?;
        // Nothing has been accepted yet, and the folder's lock is ours.
        epochs
            .begin(files.as_ref(), started_ns)
            .map_err(|error| format!("cannot note the settings in the data folder: {error}"))?;
        let sink = Arc::new(StoreSink {
            store: Arc::clone(&store),
            shows_process_values: config.ingest.shows_process_values,
        });
        let ingest = Ingest::new(config.ingest.clone(), decoder, sink);
        // A tenant has half of the places: as many as there are threads for one alone.
        let places = config.storage.pool_threads.max(2) * 2;
        let pool = Pool::new(places);
        let source = Arc::new(StoreSource { store: Arc::clone(&store), pool });
        let options = QueryOptions {
            build: build_info(),
            lookback_ms: config.lookback_ms,
            started_ns,
            places,
        };
        let query = Query::new(options, source);

        let reloader = Reloader::new(
            as_read,
            epochs,
            limits,
            Arc::clone(&ingest),
            Arc::clone(&doors),
            components,
        );
        let tasks = vec![
            tokio::spawn(memory::measure(Arc::clone(&config.storage.memory))),
            tokio::spawn(Arc::clone(&reloader).watch_file()),
        ];
        let admin = Arc::new(Admin {
            config,
            reloader,
            store,
            ingest: Arc::clone(&ingest),
            query: Arc::clone(&query),
            doors: Arc::clone(&doors),
            tls: tls.clone(),
            stopping: AtomicBool::new(false),
            started_ns,
        });
        let router = routes(&admin)
            .fallback(assets::fallback)
            .layer(from_fn_with_state(doors, doors::guard));

        let (stop, stopped) = watch::channel(false);
        let limits = Arc::new(admin.config.connections.clone());
        let wanted = match limits.connections_max {
            0 => Semaphore::MAX_PERMITS,
            count => count.min(Semaphore::MAX_PERMITS),
        };
        let connections_max = descriptors::connections_max(wanted);
        let connections = Arc::new(Semaphore::new(connections_max));
        let shared = listen::Shared { router, limits, connections, tls: tls.clone(), clock };
        let config = &admin.config;
        let (http_address, otlp_http_address, otlp_grpc_address) =
            (config.http, config.otlp_http, config.otlp_grpc);
        let listeners = [http, otlp_http, otlp_grpc]
            .into_iter()
            .map(|listener| listen::serve(listener, shared.clone(), stopped.clone()))
            .chain(tls.iter().map(|tls| tls.watch(stopped.clone())))
            .collect();
        Ok(Server {
            http: http_address,
            otlp_http: otlp_http_address,
            otlp_grpc: otlp_grpc_address,
            admin,
            stop,
            listeners,
            tasks,
        })
    }

    /// Whether the listeners speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.admin.tls.is_some()
    }

    /// The store behind it, for tests.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.admin.store
    }

    /// Reads the settings again and lets count what can change while it runs.
    ///
    /// Errors: every wrong setting, one a line; all stays as it was then.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        self.admin.reloader.reload().await
    }

    /// Says that it is not ready, for the shutdown delay of the settings; then takes no more
    /// requests, finishes those in flight, flushes, closes, within their shutdown timeout.
    ///
    /// Errors: what could not be flushed; it is in the log then.
    pub async fn stop(self) -> Result<(), String> {
        self.admin.stopping.store(true, Ordering::Relaxed);
        let delay_ns = u64::try_from(self.admin.config.shutdown_delay_ns).unwrap_or(0);
        tokio::time::sleep(Duration::from_nanos(delay_ns)).await;
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
        let timeout_ns = u64::try_from(self.admin.config.shutdown_timeout_ns).unwrap_or(0);
        let timeout = Duration::from_nanos(timeout_ns);
        let finish = async {
            // A third of the time for requests in flight, the rest for the last flush.
            let in_flight = futures::future::join_all(self.listeners);
            if tokio::time::timeout(timeout / 3, in_flight).await.is_err() {
                tracing::warn!("some requests did not finish in time");
            }
            self.admin.store.close().await.map_err(|error| error.to_string())
        };
        tokio::time::timeout(timeout, finish).await.unwrap_or_else(|_| {
            Err("the last flush did not finish in time; the log has what it would have written"
                .to_owned())
        })
    }
}

/// Every route of the server, its doors left out.
pub(crate) fn routes(admin: &Arc<Admin>) -> Router {
    Router::new()
        .merge(admin.ingest.router())
        .merge(admin.query.router())
        .merge(admin::router(Arc::clone(admin)))
        .merge(upkeep::router(Arc::clone(admin)))
}

fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("TERCET_REVISION").unwrap_or("unknown").to_owned(),
        branch: option_env!("TERCET_BRANCH").unwrap_or("unknown").to_owned(),
        build_date: option_env!("TERCET_BUILD_DATE").unwrap_or("19700101-00:00:00").to_owned(),
    }
}
