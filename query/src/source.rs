//! Where answers come from.

use std::fmt;
use std::sync::Arc;

use model::{Limits, TenantId};
use storage::{Budget, Pool, Snapshot};

/// Hands out snapshots. The root implements it with the store.
pub trait Source: Send + Sync + fmt::Debug {
    fn snapshot(&self, tenant: &TenantId) -> Snapshot;
    /// A fresh budget for one query of a tenant.
    fn budget(&self, tenant: &TenantId) -> Budget;
    /// A tenant's limits at this moment.
    fn limits(&self, tenant: &TenantId) -> Arc<Limits>;
    /// The pool on which evaluation runs.
    fn pool(&self) -> &Pool;
    /// Nanoseconds since the Unix epoch, from the clock component.
    fn now_ns(&self) -> i64;
}
