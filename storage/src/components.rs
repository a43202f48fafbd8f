//! What the world does to us, as arguments: clock and randomness here, files in `files.rs`, the
//! object store through its own trait. A simulation hands in its own with a seed.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;

use crate::StorageError;
use crate::faults::Faults;
use crate::files::{DiskFiles, Files};

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since the Unix epoch.
    fn now_ns(&self) -> i64;
    /// Nanoseconds on a clock that never goes back, from an arbitrary start.
    fn monotonic_ns(&self) -> u64;
}

/// Gives random numbers, for identifiers and jitter.
pub trait Random: Send + Sync + fmt::Debug {
    fn next_u64(&self) -> u64;
}

/// All components of a store.
#[derive(Debug, Clone)]
pub struct Components {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub files: Arc<dyn Files>,
    /// Stands in for what [`crate::Options::bucket`] names.
    pub object_store: Option<Arc<dyn ObjectStore>>,
    pub threads: Threads,
    pub faults: Arc<Faults>,
}

/// Where work runs that blocks or takes long.
#[derive(Debug, Clone, Default)]
pub enum Threads {
    /// On threads of their own.
    #[default]
    Real,
    /// In the task that asks for it, after it has given way to others a random number of times: a
    /// simulation has one thread, and its seed decides who comes first.
    Inline(Arc<dyn Random>),
}

impl Threads {
    /// Runs file work where it may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        if let Threads::Inline(random) = self {
            give_way(random.as_ref()).await;
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StorageError::io("file work", error)),
        }
    }
}

/// Lets other tasks run, none to three times.
pub(crate) async fn give_way(random: &dyn Random) {
    for _ in 0..random.next_u64() % 4 {
        tokio::task::yield_now().await;
    }
}

impl Components {
    /// The given clock and randomness, the real disk, and the bucket that the options name.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Components {
        Components {
            clock,
            random,
            files: Arc::new(DiskFiles),
            object_store: None,
            threads: Threads::Real,
            faults: Arc::default(),
        }
    }
}
