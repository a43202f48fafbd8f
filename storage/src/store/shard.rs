//! One signal of a store: its log, its memtables and views by tenant, and the way of a write.
//!
//! Invariants: a batch is applied to a memtable only after its log entry is as durable as asked; it
//! is applied under `gate` (shared), and memtables are frozen under `gate` (exclusive), so that the
//! watermark taken at the freeze names exactly the entries that the frozen memtables hold. A view
//! changes under its lock as a whole, so that a snapshot sees each row in a memtable or in a
//! segment and never in both or neither.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use model::{LimitsOf, Rejections, TenantId, Wire};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::segment::{Append, SegmentHandle, SegmentMeta};
use crate::store::core::Core;
use crate::store::dedup::{Claim, Dedup, RequestHash, Seen};
use crate::store::engine::SignalEngine;
use crate::store::flush::Frozen;
use crate::wal::{Entry, Wal};
use crate::{Ack, ErrorKind, Notices, StorageError, UnreadPart};

/// Batches with more records are appended on the ingest pool.
const INLINE_RECORDS_MAX: usize = 4096;
/// The memory of a memtable is asked for again after so many bytes of bodies.
const MEASURE_BYTES: usize = 64 << 10;

/// How far the start has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The log is being read; writes wait.
    Scanning,
    /// Writes are taken; what was acknowledged before is coming back.
    Replaying,
    Ready,
    Failed(StorageError),
}

/// One signal of a store.
pub(super) struct Shard<E: SignalEngine> {
    pub(super) core: Arc<Core>,
    pub(super) wal: Wal,
    pub(super) dedup: Arc<Dedup>,
    pub(super) gate: RwLock<()>,
    /// In an order that the same writes always give.
    pub(super) tenants: RwLock<BTreeMap<TenantId, Arc<Tenant<E>>>>,
    /// Frozen and not yet in the catalog, oldest first.
    pub(super) frozen: Mutex<VecDeque<Arc<Frozen<E>>>>,
    /// Held while a flush is under way.
    pub(super) flushing: tokio::sync::Mutex<()>,
    /// Held while segments are merged.
    pub(super) compacting: tokio::sync::Mutex<()>,
    /// Memtables that cannot become segments: they are kept in memory and in the log.
    pub(super) set_aside: AtomicU64,
    pub(super) wake: Notify,
    pub(super) stage: watch::Sender<Stage>,
    /// Since the last freeze. Units: bytes.
    pub(super) unflushed_bytes: AtomicU64,
    pub(super) active_memory: AtomicI64,
    /// Of all memtables, frozen ones included. Units: bytes.
    pub(super) memory: AtomicI64,
    /// Monotonic time of the first batch since the last freeze, 0 where there was none.
    pub(super) oldest_ns: AtomicU64,
    /// Some tenant is halfway to a limit that a flush keeps it from.
    pub(super) is_crowded: AtomicBool,
    /// Monotonic time of the last freeze.
    pub(super) frozen_ns: AtomicU64,
    /// Parts of the log that could not be read.
    pub(super) unread: Mutex<Vec<UnreadPart>>,
    /// Segments whose merge failed in this process.
    pub(super) unmergeable: Mutex<std::collections::BTreeSet<String>>,
    /// By the first input of a merge, how often it panicked.
    pub(super) merge_panics: Mutex<BTreeMap<String, u32>>,
}

/// One tenant's data of one signal.
pub(super) struct Tenant<E: SignalEngine> {
    pub(super) id: TenantId,
    pub(super) view: Mutex<View<E>>,
}

/// What a snapshot takes.
pub(super) struct View<E: SignalEngine> {
    pub(super) active: Arc<Slot<E>>,
    /// Frozen, oldest first.
    pub(super) flushing: Vec<Arc<Slot<E>>>,
    pub(super) segments: BTreeMap<String, Arc<SegmentHandle<E::Segment>>>,
}

/// A memtable and what is counted beside it.
pub(super) struct Slot<E: SignalEngine> {
    pub(super) memtable: Arc<E::Memtable>,
    pub(super) received_max_ns: AtomicI64,
    pub(super) appends: AtomicU64,
    pub(super) memory: AtomicUsize,
    unmeasured: AtomicUsize,
    /// The entries of the log that it holds, as closed ranges.
    pub(super) sequences: Mutex<Vec<(u64, u64)>>,
    /// How often it could not become a segment because of a panic.
    pub(super) panics: AtomicU32,
}

impl<E: SignalEngine> Slot<E> {
    pub(super) fn new(memtable: E::Memtable) -> Arc<Slot<E>> {
        Arc::new(Slot {
            memtable: Arc::new(memtable),
            received_max_ns: AtomicI64::new(i64::MIN),
            appends: AtomicU64::new(0),
            memory: AtomicUsize::new(0),
            unmeasured: AtomicUsize::new(MEASURE_BYTES),
            sequences: Mutex::default(),
            panics: AtomicU32::new(0),
        })
    }

    fn note(&self, sequence: u64) {
        let mut sequences = self.sequences.lock();
        match sequences.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(sequence) => *last = sequence,
            _ => sequences.push((sequence, sequence)),
        }
    }
}

impl<E: SignalEngine> Shard<E> {
    pub(super) fn new(core: Arc<Core>) -> Arc<Shard<E>> {
        let wal = Wal::new(E::SIGNAL, &core.options, &core.components);
        let path = core.options.data_dir.join("wal").join(format!("{}.recent", E::SIGNAL.as_str()));
        let dedup = Dedup::new(core.options.dedup_window_ns, path);
        let shard = Arc::new(Shard {
            wal,
            dedup,
            gate: RwLock::new(()),
            tenants: RwLock::default(),
            frozen: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            compacting: tokio::sync::Mutex::default(),
            set_aside: AtomicU64::new(0),
            wake: Notify::new(),
            stage: watch::Sender::new(Stage::Scanning),
            unflushed_bytes: AtomicU64::new(0),
            active_memory: AtomicI64::new(0),
            memory: AtomicI64::new(0),
            oldest_ns: AtomicU64::new(0),
            is_crowded: AtomicBool::new(false),
            frozen_ns: AtomicU64::new(core.components.clock.monotonic_ns()),
            unread: Mutex::default(),
            unmergeable: Mutex::default(),
            merge_panics: Mutex::default(),
            core,
        });
        shard.sync_views();
        shard
    }

    /// Makes the segments of all views those of the catalog.
    pub(super) fn sync_views(&self) {
        let mut listed: HashMap<String, BTreeMap<String, SegmentMeta>> = HashMap::new();
        self.core.catalog.with(|state| {
            for meta in state.segments.values().filter(|meta| meta.signal() == Some(E::SIGNAL)) {
                let tenant = listed.entry(meta.tenant.clone()).or_default();
                tenant.insert(meta.id.clone(), meta.clone());
            }
        });
        for name in listed.keys() {
            match TenantId::parse(name) {
                Ok(id) => drop(self.tenant(&id)),
                Err(error) => tracing::error!(%error, "the catalog names an impossible tenant"),
            }
        }
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        for tenant in tenants {
            let metas = listed.remove(tenant.id.as_str()).unwrap_or_default();
            let mut view = tenant.view.lock();
            let gone: Vec<String> =
                view.segments.keys().filter(|id| !metas.contains_key(*id)).cloned().collect();
            for id in gone {
                self.retire(&mut view, &id);
            }
            for (id, meta) in metas {
                view.segments.entry(id).or_insert_with(|| self.core.handle(meta));
            }
        }
    }

    /// Takes a segment out of a view; its files stay while somebody holds it.
    pub(super) fn retire(&self, view: &mut View<E>, id: &str) {
        if let Some(handle) = view.segments.remove(id) {
            let held = Arc::downgrade(&handle);
            self.core.retired.lock().push((id.to_owned(), held));
        }
    }

    pub(super) fn tenant(&self, id: &TenantId) -> Arc<Tenant<E>> {
        if let Some(tenant) = self.tenants.read().get(id) {
            return Arc::clone(tenant);
        }
        let mut tenants = self.tenants.write();
        let tenant = tenants.entry(id.clone()).or_insert_with(|| {
            let memtable = E::memtable(
                self.core.generation(),
                LimitsOf::new(&self.core.options.limits, id),
                &self.core.options,
            );
            let view = View {
                active: Slot::new(memtable),
                flushing: Vec::new(),
                segments: BTreeMap::new(),
            };
            Arc::new(Tenant { id: id.clone(), view: Mutex::new(view) })
        });
        Arc::clone(tenant)
    }

    /// A reader of one tenant's data at this moment.
    pub(super) fn reader(&self, id: &TenantId) -> E::Reader {
        let tenant = self.tenants.read().get(id).cloned();
        let Some(tenant) = tenant else { return E::reader(Vec::new(), Vec::new()) };
        let view = tenant.view.lock();
        let slots = view.flushing.iter().chain([&view.active]);
        let memtables = slots.map(|slot| Arc::clone(&slot.memtable)).collect();
        let segments = view.segments.values().cloned().collect();
        drop(view);
        E::reader(memtables, segments)
    }

    /// What answers of this signal cannot hold.
    pub(super) fn notices(&self) -> Notices {
        let mut notices = Notices { warnings: Vec::new(), unread: self.unread.lock().clone() };
        let signal = E::SIGNAL.as_str();
        match &*self.stage.borrow() {
            Stage::Ready => {}
            Stage::Scanning | Stage::Replaying => notices.unread.push(UnreadPart {
                name: format!("log of {signal}"),
                why: "it is being replayed after a restart".to_owned(),
            }),
            Stage::Failed(error) => notices
                .unread
                .push(UnreadPart { name: format!("log of {signal}"), why: error.to_string() }),
        }
        notices
    }

    /// Keeps a request: in the log, then in the memtable.
    pub(super) async fn write(
        self: &Arc<Self>,
        tenant: TenantId,
        wire: Wire,
        body_hash: u128,
        (batch, records): (E::Batch, usize),
    ) -> Result<Ack, StorageError> {
        self.wait_until_writable().await?;
        let hash = RequestHash::new(&tenant, body_hash);
        let claim = loop {
            match self.dedup.claim(hash, self.core.moment()) {
                Seen::New(claim) => break claim,
                Seen::Duplicate => return Ok(Ack { duplicate: true, ..Ack::default() }),
                // The channel never carries anything: it closes.
                Seen::Pending(mut over) => drop(over.changed().await),
            }
        };
        // A task of its own: a client that goes away must not leave an entry that is logged and
        // never applied. Its end is awaited here, or by `Admission::close`.
        let shard = Arc::clone(self);
        let entry = Entry { tenant, wire, body_hash };
        let kept = tokio::spawn(async move { shard.keep(entry, claim, (batch, records)).await });
        match kept.await {
            Ok(outcome) => outcome,
            Err(error) => Err(StorageError::io("bug: a write ended early", error)),
        }
    }

    async fn wait_until_writable(&self) -> Result<(), StorageError> {
        if matches!(&*self.stage.borrow(), Stage::Ready | Stage::Replaying) {
            return Ok(());
        }
        let mut stages = self.stage.subscribe();
        let writable = stages.wait_for(|stage| *stage != Stage::Scanning).await;
        match writable.as_deref() {
            Ok(Stage::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::new(ErrorKind::Unavailable, "the store has gone")),
        }
    }

    async fn keep(
        self: Arc<Self>,
        entry: Entry,
        claim: Claim,
        (batch, records): (E::Batch, usize),
    ) -> Result<Ack, StorageError> {
        let (tenant, received_ns) = (entry.tenant.clone(), entry.wire.received_ns);
        let bytes = entry.wire.bytes.len();
        let logged_bytes = entry.logged_bytes();
        let sequence = self.wal.append(entry).await?;
        self.core.admission.add_log_bytes(logged_bytes);
        let (append, twins) = (Append::Live, Vec::new());
        let logged = Logged { tenant, sequence, received_ns, bytes, append, twins };
        let rejections = if records > INLINE_RECORDS_MAX {
            let shard = Arc::clone(&self);
            self.core.ingest_pool.run(move || shard.apply(&logged, batch, Some(claim))).await?
        } else {
            self.apply(&logged, batch, Some(claim))
        };
        Ok(Ack { rejections, duplicate: false })
    }

    /// Puts a logged batch into its tenant's memtable. Its claim is kept before a flush can begin.
    pub(super) fn apply(
        &self,
        logged: &Logged,
        batch: E::Batch,
        claim: Option<Claim>,
    ) -> Rejections {
        let tenant = self.tenant(&logged.tenant);
        let open = self.gate.read();
        let slot = Arc::clone(&tenant.view.lock().active);
        let rejections = E::append(&slot.memtable, batch, logged.received_ns, logged.append);
        slot.received_max_ns.fetch_max(logged.received_ns, Ordering::Relaxed);
        slot.appends.fetch_add(1, Ordering::Relaxed);
        slot.note(logged.sequence);
        self.wal.applied(logged.sequence);
        for twin in &logged.twins {
            slot.note(*twin);
            self.wal.applied(*twin);
        }
        if let Some(claim) = claim {
            claim.keep(logged.received_ns, logged.sequence);
        }
        self.measure(&slot, logged.bytes);
        let unflushed = self.unflushed_bytes.fetch_add(logged.bytes as u64, Ordering::Relaxed);
        let now = self.core.components.clock.monotonic_ns().max(1);
        let _first_wins =
            self.oldest_ns.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if E::is_crowded(&slot.memtable) {
            self.is_crowded.store(true, Ordering::Relaxed);
        }
        drop(open);
        let options = &self.core.options;
        if unflushed + logged.bytes as u64 >= options.flush_wal_bytes
            || self.active_memory() >= options.flush_memory_bytes
        {
            self.wake.notify_one();
        }
        rejections
    }

    /// Asks a memtable for its size from time to time.
    fn measure(&self, slot: &Slot<E>, bytes: usize) {
        let unmeasured = slot.unmeasured.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unmeasured < MEASURE_BYTES {
            return;
        }
        slot.unmeasured.store(0, Ordering::Relaxed);
        let now = E::heap_bytes(&slot.memtable);
        let before = slot.memory.swap(now, Ordering::Relaxed);
        let grown = now as i64 - before as i64;
        self.core.admission.add_memory(grown);
        self.active_memory.fetch_add(grown, Ordering::Relaxed);
        self.memory.fetch_add(grown, Ordering::Relaxed);
    }

    pub(super) fn memory(&self) -> u64 {
        u64::try_from(self.memory.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(super) fn active_memory(&self) -> u64 {
        u64::try_from(self.active_memory.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Active series or streams of a tenant.
    pub(super) fn active(&self, id: &TenantId) -> usize {
        self.of_memtable(id, E::active)
    }

    /// Traces of a tenant that are counted in memory.
    pub(super) fn live(&self, id: &TenantId) -> usize {
        self.of_memtable(id, E::live)
    }

    /// A figure of the memtable that a tenant's requests go to; zero of a tenant without one.
    fn of_memtable(&self, id: &TenantId, figure: impl Fn(&E::Memtable) -> usize) -> usize {
        let tenant = self.tenants.read().get(id).cloned();
        tenant.map_or(0, |tenant| {
            let slot = Arc::clone(&tenant.view.lock().active);
            figure(&slot.memtable)
        })
    }

    pub(super) fn rows_in_memory(&self) -> u64 {
        let tenants = self.tenants.read();
        let slots = |tenant: &Arc<Tenant<E>>| -> Vec<Arc<Slot<E>>> {
            let view = tenant.view.lock();
            view.flushing.iter().chain([&view.active]).cloned().collect()
        };
        tenants.values().flat_map(slots).map(|slot| E::rows(&slot.memtable)).sum()
    }
}

/// An entry that is in the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) tenant: TenantId,
    pub(super) sequence: u64,
    pub(super) received_ns: i64,
    pub(super) bytes: usize,
    pub(super) append: Append,
    /// Numbers of other entries that hold the same request and are left out.
    pub(super) twins: Vec<u64>,
}
