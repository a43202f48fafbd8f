//! Where answers come from.

use std::fmt;

use model::{Limits, TenantId};
use storage::{Budget, Pool, Snapshot};

/// Hands out snapshots. The root implements it with the store.
pub trait Source: Send + Sync + fmt::Debug {
    fn snapshot(&self, tenant: &TenantId) -> Snapshot;
    /// A fresh budget for one query.
    fn budget(&self) -> Budget;
    fn limits(&self) -> &Limits;
    /// The pool on which evaluation runs.
    fn pool(&self) -> &Pool;
    /// Nanoseconds since the Unix epoch, from the clock component.
    fn now_ns(&self) -> i64;
}
