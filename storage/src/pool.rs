//! The bounded CPU pool: everything that touches rows runs here, never on an async thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::components::give_way;
use crate::{ErrorKind, StorageError, Threads};

/// Runs plain functions on a bounded number of threads.
#[derive(Debug, Clone)]
pub struct Pool {
    permits: Arc<Semaphore>,
    on: Threads,
}

impl Pool {
    #[must_use]
    pub fn new(threads: usize) -> Pool {
        Pool::on(&Threads::Real, threads)
    }

    pub(crate) fn on(on: &Threads, threads: usize) -> Pool {
        Pool { permits: Arc::new(Semaphore::new(threads.max(1))), on: on.clone() }
    }

    /// Runs `work` when a thread is free.
    ///
    /// Errors: Io with the panic's text when `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(StorageError::new(ErrorKind::Unavailable, "the pool has shut down"));
        };
        let panicked = || StorageError::new(ErrorKind::Io, "bug: work on the pool panicked");
        if let Threads::Inline(random) = &self.on {
            give_way(random.as_ref()).await;
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked());
        }
        let (answer, answered) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            drop(permit);
            // The caller may have gone; then nobody wants the answer.
            let _unwanted = answer.send(outcome);
        });
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(panicked()),
            Err(_) => Err(StorageError::new(ErrorKind::Unavailable, "the pool has shut down")),
        }
    }
}
