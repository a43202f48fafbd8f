//! The one way out of this crate.

use std::fmt;

use futures::future::BoxFuture;
use model::{Batch, Rejections, TenantId, Wire};

use crate::Failure;

/// A request that passed every check, ready to be kept.
#[derive(Debug)]
pub struct Accepted {
    pub tenant: TenantId,
    /// The body as it came.
    pub wire: Wire,
    pub batch: Batch,
    /// xxh3-128 of the decoded body together with the protocol: recognises a byte-identical retry.
    pub body_hash: u128,
}

/// What became of it: all is durable and visible, but for the rejections.
#[derive(Debug, Default)]
pub struct Taken {
    pub rejections: Rejections,
    pub duplicate: bool,
}

/// Keeps what was accepted. The root implements it with the store.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Nanoseconds since the Unix epoch, from the clock component.
    fn now_ns(&self) -> i64;

    /// Returns when the batch is as durable as the settings say.
    ///
    /// Errors: a failure of class Overloaded when it cannot be kept now.
    fn accept(&self, accepted: Accepted) -> BoxFuture<'_, Result<Taken, Failure>>;
}
