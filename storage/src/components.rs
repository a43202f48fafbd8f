//! What the world does to us, as arguments: clock and randomness here, files in `files.rs`, the
//! object store through its own trait. A simulation hands in its own with a seed.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;

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
}

impl Components {
    /// The given clock and randomness, the real disk, and the bucket that the options name.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Components {
        Components { clock, random, files: Arc::new(DiskFiles), object_store: None }
    }
}
