//! Passes of retention: what `retention.rs` allows is dropped from the catalog, and how far it came
//! is kept in the data folder, so that a restart knows whether the clock has leapt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Signal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::catalog::{CATALOG_VERSION, seal, unseal};
use crate::files;
use crate::retention::{self, Consent, Horizon, Judged, Keeps, Now, Part, Waiting};
use crate::store::core::{Core, Counters};
use crate::store::engine::SignalEngine;
use crate::store::shard::{Shard, Stage, Tenant};
use crate::{StorageError, Store};

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// By signal.
    horizons: BTreeMap<String, Horizon>,
}

/// What waits, by signal. Looked at while a pass is under way.
pub(super) type AllWaiting = Arc<Mutex<BTreeMap<&'static str, Waiting>>>;

/// How far retention has come, by signal.
#[derive(Debug)]
pub(super) struct Book {
    horizons: BTreeMap<String, Horizon>,
    /// Monotonic time of the last pass. Units: ns.
    looked_ns: u64,
    pub(super) waiting: AllWaiting,
}

fn path(core: &Core) -> PathBuf {
    core.options.data_dir.join("retention.json")
}

impl Book {
    /// Reads the book, or begins one: from then on the clock is watched, whatever it says.
    pub(super) fn open(core: &Core) -> Book {
        let files = core.components.files.as_ref();
        let path = path(core);
        let kept = match files.read(&path) {
            Ok(content) => match unseal::<Kept>("retention.json", &content) {
                Ok(kept) => Some(kept.horizons),
                Err(error) => {
                    tracing::error!(%error, "how far retention has come is taken from the data");
                    None
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(%error, "how far retention has come is taken from the data");
                None
            }
        };
        let looked_ns = core.components.clock.monotonic_ns();
        let mut book = Book {
            horizons: kept.clone().unwrap_or_default(),
            looked_ns,
            waiting: AllWaiting::default(),
        };
        let now = book.now(core);
        let newest = core
            .catalog
            .with(|state| state.segments.values().map(|meta| meta.received_max_ns).max());
        for signal in Signal::ALL {
            let guess = || Horizon::guess(newest, &now);
            let horizon = &*book.horizons.entry(signal.as_str().to_owned()).or_insert_with(guess);
            let judged = core.catalog.with(|state| {
                let metas = state.segments.values();
                let metas = metas.filter(|meta| meta.signal() == Some(signal));
                let parts = metas.map(|meta| (meta.tenant.as_str(), Part::of(meta)));
                retention::judge(horizon, parts, &now, Consent::Unasked)
            });
            book.wait(signal, judged.waiting);
        }
        if kept.is_none() {
            save(core, book.horizons.clone());
        }
        book
    }

    fn now(&self, core: &Core) -> Now {
        let monotonic_ns = core.components.clock.monotonic_ns();
        let passed_ns = i64::try_from(monotonic_ns.saturating_sub(self.looked_ns));
        Now {
            wall_ns: core.now_ns(),
            passed_ns: passed_ns.unwrap_or(i64::MAX),
            keeps: Keeps::new(&core.options.limits.load()),
        }
    }

    fn wait(&mut self, signal: Signal, waiting: Option<Waiting>) {
        let Some(waiting) = waiting else {
            self.waiting.lock().remove(signal.as_str());
            return;
        };
        tracing::error!(
            signal = signal.as_str(),
            segments = waiting.segments,
            bytes = waiting.bytes,
            of_bytes = waiting.of_bytes,
            leap_hours = waiting.leap_ns / 3_600_000_000_000,
            "retention waits: the clock or the setting has leapt, and it would drop more than a \
             quarter of the data; look at the clock, then confirm with `tercet retention --confirm`"
        );
        self.waiting.lock().insert(signal.as_str(), waiting);
    }
}

/// Keeps the book; what cannot be kept now is kept by the next pass. Blocks.
fn save(core: &Core, horizons: BTreeMap<String, Horizon>) {
    let kept = Kept { version: CATALOG_VERSION, horizons };
    let saved = seal(&kept).and_then(|content| {
        files::replace(core.components.files.as_ref(), &path(core), &content)
            .map_err(|error| StorageError::io("retention.json", error))
    });
    if let Err(error) = saved {
        tracing::warn!(%error, "how far retention has come could not be kept");
    }
}

/// Whether the content of `retention.json` is whole.
pub(super) fn is_whole(content: &[u8]) -> bool {
    unseal::<Kept>("retention.json", content).is_ok()
}

impl Store {
    /// Drops what is past retention from the catalog, as far as it may. Returns what waited before
    /// and does not wait any more.
    pub(super) async fn retire_expired(
        &self,
        consent: Consent,
    ) -> Result<BTreeMap<&'static str, Waiting>, StorageError> {
        let mut book = self.retention.lock().await;
        let now = book.now(&self.core);
        book.looked_ns = self.core.components.clock.monotonic_ns();
        let before = book.waiting.lock().clone();
        let mut outcome = Ok(());
        for signal in Signal::ALL {
            let Some(horizon) = book.horizons.get(signal.as_str()).cloned() else { continue };
            let judged = match signal {
                Signal::Metrics => self.metrics.retire_expired(&horizon, &now, consent).await,
                Signal::Logs => self.logs.retire_expired(&horizon, &now, consent).await,
                Signal::Traces => self.traces.retire_expired(&horizon, &now, consent).await,
            };
            // What has passed counts at the next pass, whatever comes of this one.
            let believed_ns = horizon.believed_ns.saturating_add(now.passed_ns);
            let mut next = Horizon { believed_ns, ..horizon };
            match judged {
                Ok(Some(judged)) => {
                    next = judged.horizon;
                    book.wait(signal, judged.waiting);
                }
                Ok(None) => {}
                Err(error) => outcome = Err(error),
            }
            book.horizons.insert(signal.as_str().to_owned(), next);
        }
        let (core, horizons) = (Arc::clone(&self.core), book.horizons.clone());
        let threads = &self.core.components.threads;
        let saved = threads.blocking(move || {
            save(&core, horizons);
            Ok(())
        });
        saved.await?;
        let waiting = book.waiting.lock().clone();
        let gone = before.into_iter().filter(|(signal, _)| !waiting.contains_key(signal));
        outcome.map(|()| gone.collect())
    }

    /// What retention would drop and does not until it is confirmed, by signal.
    #[must_use]
    pub fn retention_waiting(&self) -> BTreeMap<&'static str, Waiting> {
        self.waiting.lock().clone()
    }

    /// Drops what retention asks about, and returns what that was. Its files stay for the grace of
    /// garbage collection.
    pub async fn confirm_retention(&self) -> Result<BTreeMap<&'static str, Waiting>, StorageError> {
        self.retire_expired(Consent::Confirmed).await
    }
}

impl<E: SignalEngine> Shard<E> {
    /// Drops what is past retention, as far as it may. Nothing while the log is replayed: what it
    /// brings back is not to be judged yet.
    pub(super) async fn retire_expired(
        &self,
        horizon: &Horizon,
        now: &Now,
        consent: Consent,
    ) -> Result<Option<Judged>, StorageError> {
        if matches!(&*self.stage.borrow(), Stage::Scanning | Stage::Replaying) {
            return Ok(None);
        }
        let _alone = self.compacting.lock().await;
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        let listed: Vec<_> =
            tenants.into_iter().map(|tenant| (self.metas(&tenant), tenant)).collect();
        let parts = listed.iter().flat_map(|(metas, tenant)| {
            let parts = metas.iter().map(Part::of).chain(self.parts_in_memory(tenant));
            parts.map(|part| (tenant.id.as_str(), part))
        });
        let judged = retention::judge(horizon, parts, now, consent);
        if judged.waiting.is_some() {
            Counters::add(&self.core.counters.retention_refusals, 1);
        }
        for (metas, tenant) in listed {
            let ids = retention::expired(&metas, judged.horizon.limit_ns(tenant.id.as_str()));
            if !ids.is_empty() {
                Counters::add(&self.core.counters.retired_segments, ids.len() as u64);
                self.replace(&tenant, &ids, Vec::new()).await?;
            }
        }
        Ok(Some(judged))
    }

    /// Memtables that hold something.
    fn parts_in_memory(&self, tenant: &Tenant<E>) -> Vec<Part> {
        let view = tenant.view.lock();
        let slots = view.flushing.iter().chain([&view.active]);
        let parts = slots.map(|slot| {
            let received_ns = slot.received_max_ns.load(Ordering::Relaxed);
            let bytes = E::heap_bytes(&slot.memtable) as u64;
            Part { end_ns: received_ns, received_ns, bytes }
        });
        parts.filter(|part| part.received_ns != i64::MIN).collect()
    }
}
