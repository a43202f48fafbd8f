//! The store: opens, replays, writes, flushes, compacts, verifies.

use std::sync::Arc;

use model::{Batch, Rejections, Signal, TenantId, Wire};

use crate::{Budget, Components, Options, Snapshot, StorageError};

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

/// Figures for `/metrics` and the status page.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// Name (without `tercet_`), labels, value; in the order of the docs.
    pub gauges: Vec<(&'static str, Vec<(&'static str, String)>, f64)>,
    pub counters: Vec<(&'static str, Vec<(&'static str, String)>, f64)>,
}

/// What `verify` found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    pub log_entries: u64,
    /// One line for each thing that is wrong: file, offset, why.
    pub problems: Vec<String>,
}

/// See the crate's docs.
#[derive(Debug)]
pub struct Store {
    options: Options,
    components: Components,
}

impl Store {
    /// Opens or creates. Returns when writes can be taken; replay of the log goes on behind it
    /// (see [`Store::is_ready`]).
    ///
    /// Errors: Unavailable when another process holds the folder, Io. Never because of corrupt data.
    pub async fn open(
        options: Options,
        components: Components,
        _replay: Arc<dyn Replay>,
    ) -> Result<Arc<Store>, StorageError> {
        Ok(Arc::new(Store { options, components }))
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    #[must_use]
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// Whether everything acknowledged before the start is visible.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        true
    }

    /// Keeps a request: returns when it is as durable as the options say and visible.
    ///
    /// Errors: Unavailable (disk full, log full, shutting down, replaying), Io. Nothing was kept then,
    /// or may have been if the error came from the disk.
    pub async fn write(&self, _write: Write) -> Result<Ack, StorageError> {
        unimplemented!("bug: the store is built by the storage slice")
    }

    /// A view of one tenant's data.
    #[must_use]
    pub fn snapshot(&self, _tenant: &TenantId) -> Snapshot {
        unimplemented!("bug: the store is built by the storage slice")
    }

    /// Tenants that have data.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        Vec::new()
    }

    /// A budget on this store's clock, from the tenant's limits.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let limits = &self.options.limits;
        Budget::new(
            Arc::clone(&self.components.clock),
            u64::try_from(limits.query_timeout_ns).unwrap_or(0),
            limits.query_samples_max as u64,
        )
    }

    /// Writes all memtables (of one signal, or of all) into segments and returns when they are listed.
    pub async fn flush(&self, _signal: Option<Signal>) -> Result<(), StorageError> {
        Ok(())
    }

    /// Merges until nothing is left to merge, and applies retention and garbage collection.
    pub async fn compact(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Reads every file and checks every checksum. Works on a store that is not being served.
    pub async fn verify(_options: &Options) -> Result<Verified, StorageError> {
        Ok(Verified::default())
    }

    #[must_use]
    pub fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    /// Stops taking writes, flushes, and returns when all is on disk.
    pub async fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
