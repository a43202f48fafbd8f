//! The store: opens, replays, writes, flushes, compacts, verifies.
//!
//! Three shards (one a signal, `shard.rs`) over one core (`core.rs`: object store, catalog, pools).
//! Every task and thread has an owner here: [`Store::close`] joins them, and dropping a store
//! without closing it is what a crash looks like from outside.

mod admission;
mod backup;
mod compact;
mod core;
mod dedup;
pub(crate) mod engine;
pub(crate) mod engines;
mod flush;
mod gc;
mod identity;
mod open;
mod pins;
mod replay;
mod retention;
mod shard;
mod start;
mod stats;
#[cfg(test)]
mod tests;
mod verify;
mod versions;

pub use backup::{BackupSnapshot, Folder};
pub(crate) use verify::utc;
#[cfg(any(test, feature = "sim"))]
pub(crate) use verify::verify as verify_with;
pub use verify::{Damage, FileKind, Tally, Verified};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Batch, ErrorId, Exceeded, Rejections, Signal, TenantId, Wire};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::files::FileLock;
use crate::retention::Consent;
use crate::store::core::Core;
pub(crate) use crate::store::core::segment_base;
use crate::store::engines::{Logs, Metrics, Traces};
use crate::store::shard::{Shard, Stage};
use crate::{
    Budget, Components, ErrorKind, LogsReader, MetricsReader, Notices, Options, Pool, Snapshot,
    StorageError, TracesReader, UnreadPart,
};

/// Decodes log entries again at start. The root implements it with `ingest`, so that this crate
/// knows no protocol.
pub trait Replay: Send + Sync {
    /// The batch of a body that was accepted once, or why it cannot be decoded now.
    fn replay(&self, tenant: &TenantId, wire: &Wire) -> Result<Batch, String>;
}

/// One request to be kept.
#[derive(Debug)]
pub struct Write {
    pub tenant: TenantId,
    /// The body as it came, for the log.
    pub wire: Wire,
    /// The same, decoded.
    pub batch: Batch,
    /// xxh3-128 of the decoded body, to recognise a byte-identical retry.
    pub body_hash: u128,
}

/// A write that is on disk and visible to the next query.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Records that storage refused, such as samples out of order.
    pub rejections: Rejections,
    /// The same bytes were acknowledged before; nothing was stored again.
    pub duplicate: bool,
}

/// Name (without `tercet_`), labels, value.
pub type Figure = (&'static str, Vec<(&'static str, String)>, f64);

/// What one tenant uses of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub active_series: usize,
    pub active_log_streams: usize,
    pub active_trace_streams: usize,
    /// In the memtable, where a limit has them counted.
    pub live_traces: usize,
    /// Of its segments.
    pub disk_bytes: u64,
}

/// Figures for `/metrics` and the status page.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// In the order of the docs.
    pub gauges: Vec<Figure>,
    pub counters: Vec<Figure>,
    /// Sums and counts: a name ends in `_sum` or `_count`.
    pub summaries: Vec<Figure>,
}

/// Why a process should end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fatal {
    /// A sync of the log has failed: only a new start, which reads what is really there, can tell
    /// what it holds.
    Sync(String),
    /// Another process writes to the bucket under this data folder's name.
    Replaced,
}

/// See the crate's docs.
pub struct Store {
    core: Arc<Core>,
    metrics: Arc<Shard<Metrics>>,
    logs: Arc<Shard<Logs>>,
    traces: Arc<Shard<Traces>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn FileLock>>>,
    /// Held while a pass of retention is under way.
    retention: tokio::sync::Mutex<retention::Book>,
    waiting: retention::AllWaiting,
    /// Lies in the folder while a process works on it.
    marker: PathBuf,
    was_unclean: bool,
    closed: AtomicBool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("data_dir", &self.core.options.data_dir)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates. Returns when writes can be taken; replay of the log goes on behind it
    /// (see [`Store::is_ready`]).
    ///
    /// Errors: Unavailable when another process holds the folder, Io. Never because of corrupt data.
    pub async fn open(
        options: Options,
        components: Components,
        replay: Arc<dyn Replay>,
    ) -> Result<Arc<Store>, StorageError> {
        open::open(options, components, replay).await
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    #[must_use]
    pub fn components(&self) -> &Components {
        &self.core.components
    }

    /// The pool on which queries run. Flushes, merges and ingest have threads of their own.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.core.pool
    }

    fn stages(&self) -> [Stage; 3] {
        [
            self.metrics.stage.borrow().clone(),
            self.logs.stage.borrow().clone(),
            self.traces.stage.borrow().clone(),
        ]
    }

    /// Whether everything acknowledged before the start is visible.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.stages().iter().all(|stage| *stage == Stage::Ready)
    }

    /// Returns when [`Store::is_ready`] is true, or the log of a signal cannot be opened.
    pub async fn wait_until_ready(&self) {
        let over = |stage: &Stage| matches!(stage, Stage::Ready | Stage::Failed(_));
        // The senders live as long as the store does.
        drop(self.metrics.stage.subscribe().wait_for(over).await);
        drop(self.logs.stage.subscribe().wait_for(over).await);
        drop(self.traces.stage.subscribe().wait_for(over).await);
    }

    /// Keeps a request: returns when it is as durable as the options say and visible.
    ///
    /// Errors: Unavailable (disk full, log full, memory full, shutting down), Io. Nothing was kept
    /// then, or may have been if the error came from the disk.
    pub async fn write(&self, write: Write) -> Result<Ack, StorageError> {
        let _entered = self.core.admission.enter(&self.core).await?;
        if *self.core.catalog.fenced().borrow() {
            return Err(unavailable("another process has taken over this data folder's name"));
        }
        let Write { tenant, wire, batch, body_hash } = write;
        self.check_disk_share(&tenant)?;
        let records = batch.record_count();
        match batch {
            Batch::Metrics(batch) => {
                self.metrics.write(tenant, wire, body_hash, (batch, records)).await
            }
            Batch::Logs(_) | Batch::Traces(_) if records == 0 => Ok(Ack::default()),
            Batch::Logs(batch) => self.logs.write(tenant, wire, body_hash, (batch, records)).await,
            Batch::Traces(batch) => {
                self.traces.write(tenant, wire, body_hash, (batch, records)).await
            }
        }
    }

    /// Refuses a write of a tenant whose segments take all that they may.
    fn check_disk_share(&self, tenant: &TenantId) -> Result<(), StorageError> {
        let max = self.core.options.limits.of(tenant).disk_bytes_max;
        if max == 0 {
            return Ok(());
        }
        let bytes = self.disk_bytes(tenant);
        if bytes <= max {
            return Ok(());
        }
        Err(StorageError::too_many(Exceeded {
            id: ErrorId::DiskShare,
            what: "the tenant's segments take all the room that they may".to_owned(),
            key: "limits.max_disk_bytes",
            limit: max.to_string(),
            current: bytes.to_string(),
            tenant: Some(tenant.clone()),
        }))
    }

    /// Bytes of a tenant's segments.
    fn disk_bytes(&self, tenant: &TenantId) -> u64 {
        self.core.catalog.with(|state| {
            let own = state.segments.values().filter(|meta| meta.tenant == tenant.as_str());
            own.map(crate::compaction::bytes_of).sum()
        })
    }

    /// Memory of rows that are in no segment yet. Units: bytes.
    #[must_use]
    pub fn memtable_bytes(&self) -> u64 {
        self.core.admission.memory()
    }

    /// Memory of blocks that were read. Units: bytes.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.core.cache.bytes()
    }

    /// What a tenant uses of its limits.
    #[must_use]
    pub fn usage(&self, tenant: &TenantId) -> Usage {
        Usage {
            active_series: self.metrics.active(tenant),
            active_log_streams: self.logs.active(tenant),
            active_trace_streams: self.traces.active(tenant),
            live_traces: self.traces.live(tenant),
            disk_bytes: self.disk_bytes(tenant),
        }
    }

    /// A view of one tenant's data.
    #[must_use]
    pub fn snapshot(&self, tenant: &TenantId) -> Snapshot {
        let metrics: MetricsReader = self.metrics.reader(tenant);
        let logs: LogsReader = self.logs.reader(tenant);
        let traces: TracesReader = self.traces.reader(tenant);
        let snapshot = Snapshot::new(Arc::new(metrics), Arc::new(logs), Arc::new(traces));
        snapshot.with_notices(self.notices())
    }

    /// What every answer about a signal has to say, whatever was asked.
    fn notices(&self) -> [Notices; 3] {
        let signals = [self.metrics.notices(), self.logs.notices(), self.traces.notices()];
        signals.map(|mut notices| {
            for problem in self.core.catalog.problems() {
                let (name, why) = ("catalog".to_owned(), problem.clone());
                notices.unread.push(UnreadPart { name, why });
            }
            notices
        })
    }

    /// Tenants that have data.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut tenants: BTreeSet<TenantId> = BTreeSet::new();
        tenants.extend(self.metrics.tenants.read().keys().cloned());
        tenants.extend(self.logs.tenants.read().keys().cloned());
        tenants.extend(self.traces.tenants.read().keys().cloned());
        tenants.into_iter().collect()
    }

    /// A budget on this store's clock, from the tenant's limits.
    #[must_use]
    pub fn budget(&self, tenant: &TenantId) -> Budget {
        let options = &self.core.options;
        let limits = options.limits.of(tenant);
        let clock = Arc::clone(&self.core.components.clock);
        Budget::of_tenant(clock, tenant, &limits, &options.memory)
    }

    /// Writes all memtables (of one signal, or of all) into segments and returns when they are listed.
    pub async fn flush(&self, signal: Option<Signal>) -> Result<(), StorageError> {
        let wanted = |one: Signal| signal.is_none_or(|signal| signal == one);
        if wanted(Signal::Metrics) {
            self.metrics.flush().await?;
        }
        if wanted(Signal::Logs) {
            self.logs.flush().await?;
        }
        if wanted(Signal::Traces) {
            self.traces.flush().await?;
        }
        Ok(())
    }

    /// Merges until nothing is left to merge, and applies retention and garbage collection.
    pub async fn compact(&self) -> Result<(), StorageError> {
        self.metrics.compact_fully().await?;
        self.logs.compact_fully().await?;
        self.traces.compact_fully().await?;
        self.retire_expired(Consent::Unasked).await?;
        self.collect_garbage().await
    }

    /// Reads every file and checks every checksum. Works on a store that is not being served.
    pub async fn verify(options: &Options) -> Result<Verified, StorageError> {
        verify::verify(options, &verify::on_disk()).await
    }

    #[must_use]
    pub fn stats(&self) -> StoreStats {
        stats::stats(self)
    }

    /// Returns when the process should end, and says why. What was acknowledged is in the log.
    pub async fn until_fatal(&self) -> Fatal {
        let [mut metrics, mut logs, mut traces] = [
            self.metrics.wal.sync_failed(),
            self.logs.wal.sync_failed(),
            self.traces.wal.sync_failed(),
        ];
        let mut fenced = self.core.catalog.fenced();
        // The senders live as long as the store does.
        let why = tokio::select! {
            _ = fenced.wait_for(|fenced| *fenced) => return Fatal::Replaced,
            why = metrics.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
            why = logs.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
            why = traces.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
        };
        Fatal::Sync(why.unwrap_or_default())
    }

    /// Stops taking writes, flushes, and returns when all is on disk.
    ///
    /// Errors: those of the last flush; what it could not write is still in the log then.
    pub async fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.core.admission.close().await;
        self.wait_until_ready().await;
        let flushed = self.flush(None).await;
        self.core.stop.send_replace(true);
        let tasks: Vec<_> = self.tasks.lock().drain(..).collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task ended badly");
            }
        }
        self.metrics.close_log().await;
        self.logs.close_log().await;
        self.traces.close_log().await;
        if flushed.is_ok() {
            let files = &self.core.components.files;
            match files.remove(&self.marker) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io(self.marker.display(), error));
                }
                _ => {}
            }
        }
        drop(self.lock.lock().take());
        flushed
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.core.stop.send_replace(true);
        for task in self.tasks.get_mut().drain(..) {
            task.abort();
        }
    }
}

impl<E: engine::SignalEngine> Shard<E> {
    /// Ends the log; its files go where segments hold all of them.
    async fn close_log(self: &Arc<Self>) {
        let shard = Arc::clone(self);
        let stopped = self.core.components.threads.blocking(move || {
            shard.wal.stop();
            Ok(())
        });
        if let Err(error) = stopped.await {
            tracing::error!(%error, "the log did not end well");
        }
        self.wal.ended().await;
        let watermark = self.core.catalog.watermark(E::SIGNAL);
        self.truncate(&watermark, true).await;
    }
}

/// A failure that a later try may not meet.
fn unavailable(why: impl Into<String>) -> StorageError {
    StorageError::new(ErrorKind::Unavailable, why)
}
