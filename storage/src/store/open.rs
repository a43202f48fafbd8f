//! Opening a store: lock, identity, catalog, then the logs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use model::{Batch, LogsBatch, MetricsBatch, SpansBatch};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::backup::RESTORING;
use crate::catalog::Catalog;
use crate::files::{self, FileLock};
use crate::objects::{ChunkCache, Objects, Quarantine};
use crate::store::admission::Admission;
use crate::store::core::{Core, Counters};
use crate::store::engine::SignalEngine;
use crate::store::engines::{Logs, Metrics, Traces};
use crate::store::identity::{self, Life};
use crate::store::pins::Pins;
use crate::store::replay::{CatchingUp, Decoding, Unwrap};
use crate::store::retention::Book;
use crate::store::shard::Shard;
use crate::store::{Replay, unavailable, versions};
use crate::{Components, ErrorKind, Options, Pool, StorageError, Store, Threads};

pub(super) async fn open(
    options: Options,
    components: Components,
    replay: Arc<dyn Replay>,
) -> Result<Arc<Store>, StorageError> {
    let marker = options.data_dir.join("running");
    let (core, folder) = open_core(options, components).await?;
    let book = {
        let core = Arc::clone(&core);
        let threads = core.components.threads.clone();
        threads.blocking(move || Ok(Book::open(&core))).await?
    };
    let metrics = Shard::<Metrics>::new(Arc::clone(&core));
    let logs = Shard::<Logs>::new(Arc::clone(&core));
    let traces = Shard::<Traces>::new(Arc::clone(&core));
    let mut tasks = Vec::new();
    spawn(&metrics, &replay, metrics_of, &mut tasks);
    spawn(&logs, &replay, logs_of, &mut tasks);
    spawn(&traces, &replay, traces_of, &mut tasks);
    let store = Arc::new(Store {
        core,
        metrics,
        logs,
        traces,
        tasks: Mutex::new(tasks),
        lock: Mutex::new(Some(folder.lock)),
        waiting: Arc::clone(&book.waiting),
        retention: tokio::sync::Mutex::new(book),
        marker,
        was_unclean: folder.was_unclean,
        closed: AtomicBool::new(false),
    });
    let upkeep = tokio::spawn(super::gc::upkeep(Arc::downgrade(&store)));
    store.tasks.lock().push(upkeep);
    Ok(store)
}

/// Takes the folder, and opens what the signals share.
pub(super) async fn open_core(
    options: Options,
    components: Components,
) -> Result<(Arc<Core>, DataFolder), StorageError> {
    let folder = prepare(&options, &components).await?;
    let objects = Objects::open(&options, &components)?;
    versions::check_catalog(&objects).await?;
    let Home { writer, has_lived, life } = move_in(&options, &components).await?;
    objects.remove_unfinished().await?;
    let catalog = Catalog::open(objects.clone(), components.clone(), writer, has_lived).await?;
    if objects.is_shared() {
        catalog.announce().await?;
    }
    Ok((Arc::new(core(options, components, objects, catalog, life)), folder))
}

/// The data folder, ours until the lock is dropped.
#[derive(Debug)]
pub(super) struct DataFolder {
    lock: Box<dyn FileLock>,
    was_unclean: bool,
}

/// Takes the folder and looks whether it is for us; nothing in it changes but its lock.
async fn prepare(options: &Options, components: &Components) -> Result<DataFolder, StorageError> {
    let prepared = in_folder(options, components, |components, folder| {
        let files = components.files.as_ref();
        let context = |error| StorageError::io(folder.display(), error);
        files.create_folder(folder).map_err(context)?;
        let lock = files.lock(&folder.join("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                unavailable(format!("{} is used by another process", folder.display()))
            }
            _ => context(error),
        })?;
        if files.read(&folder.join(RESTORING)).is_ok() {
            let folder = folder.display();
            let why =
                format!("a restore into {folder} has not finished: remove it and restore again");
            return Err(StorageError::new(ErrorKind::Invalid, why));
        }
        versions::check_log(files, folder)?;
        let marker = folder.join("running");
        let was_unclean = files.read(&marker).is_ok();
        Ok(DataFolder { lock, was_unclean })
    });
    prepared.await
}

/// What a data folder says of itself.
#[derive(Debug)]
struct Home {
    /// Random, made once; it tells the folder's logs apart in a shared catalog.
    writer: String,
    /// Some process has worked here.
    has_lived: bool,
    life: Life,
}

/// Leaves the mark by which the next start knows that this one did not end in order, and begins the
/// folder's next life.
async fn move_in(options: &Options, components: &Components) -> Result<Home, StorageError> {
    let moved_in = in_folder(options, components, |components, folder| {
        let files = components.files.as_ref();
        let context = |error| StorageError::io(folder.display(), error);
        let fresh = format!("{:016x}", components.random.next_u64());
        let named = identity::read_or_create(files, &folder.join("writer"), &fresh);
        let (writer, has_lived) = named.map_err(context)?;
        let life = Life::begin(files, &folder.join("life"), components.clock.now_ns());
        let life = life.map_err(context)?;
        files::replace(files, &folder.join("running"), b"").map_err(context)?;
        Ok(Home { writer, has_lived, life })
    });
    moved_in.await
}

/// Works on the data folder, off the threads that serve.
async fn in_folder<T: Send + 'static>(
    options: &Options,
    components: &Components,
    work: impl FnOnce(&Components, &Path) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let (folder, components) = (options.data_dir.clone(), components.clone());
    let threads = components.threads.clone();
    threads.blocking(move || work(&components, &folder)).await
}

fn core(
    options: Options,
    components: Components,
    objects: Objects,
    catalog: Catalog,
    life: Life,
) -> Core {
    let quarantine = options.data_dir.join("quarantine");
    let plain = |key: &String| -> String {
        let kept = key.chars().filter(|c| !"-_.".contains(*c));
        kept.flat_map(char::to_lowercase).collect()
    };
    Core {
        quarantine: Arc::new(Quarantine::new(quarantine, Arc::clone(&components.files))),
        cache: Arc::new(ChunkCache::new(options.cache_bytes_max)),
        admission: Admission::default(),
        counters: Counters::default(),
        pool: Pool::on(&components.threads, options.pool_threads),
        ingest_pool: Pool::on(&components.threads, options.pool_threads),
        flush_pool: Pool::on(&components.threads, options.pool_threads),
        compaction_pool: Pool::on(&components.threads, 1),
        id_fields: options.id_fields.iter().map(plain).collect(),
        catching_up: CatchingUp::default(),
        stop: watch::Sender::new(false),
        freed: Notify::new(),
        views_stale: AtomicBool::new(false),
        uploading: Mutex::default(),
        retired: Mutex::default(),
        pins: Pins::default(),
        steps: AtomicU64::new(life.first_step()),
        first_entry: life.first_entry(),
        options,
        components,
        objects,
        catalog,
    }
}

/// Starts a signal: its replay, its flushes, its merges.
pub(super) fn spawn<E: SignalEngine>(
    shard: &Arc<Shard<E>>,
    replay: &Arc<dyn Replay>,
    unwrap: Unwrap<E>,
    tasks: &mut Vec<JoinHandle<()>>,
) {
    let (starting, replay) = (Arc::clone(shard), Arc::clone(replay));
    shard.core.catching_up.begin();
    tasks.push(match &shard.core.components.threads {
        Threads::Real => {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                starting.start(&Decoding { replay: replay.as_ref(), unwrap }, &runtime);
            })
        }
        Threads::Inline(_) => tokio::spawn(async move {
            starting.start_inline(Decoding { replay: replay.as_ref(), unwrap }).await;
        }),
    });
    tasks.push(tokio::spawn(Arc::clone(shard).flush_when_due()));
    tasks.push(tokio::spawn(Arc::clone(shard).compact_when_due()));
}

fn metrics_of(batch: Batch) -> Option<MetricsBatch> {
    if let Batch::Metrics(batch) = batch { Some(batch) } else { None }
}

fn logs_of(batch: Batch) -> Option<LogsBatch> {
    if let Batch::Logs(batch) = batch { Some(batch) } else { None }
}

fn traces_of(batch: Batch) -> Option<SpansBatch> {
    if let Batch::Traces(batch) = batch { Some(batch) } else { None }
}
