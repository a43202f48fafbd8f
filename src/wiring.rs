//! Joins the rooms: ingest's [`Sink`] and storage's [`Replay`] and query's [`Source`], all three
//! made of the same store and decoder.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ingest::{Accepted, Class, Decoder, Failure, Sink, Taken};
use model::{Batch, Limits, TenantId, Wire};
use query::Source;
use storage::{Budget, ErrorKind, Pool, Replay, Snapshot, StorageError, Store, Write};

use crate::config::Config;
use crate::epochs::Epochs;

/// Keeps accepted requests in the store.
#[derive(Debug)]
pub(crate) struct StoreSink {
    pub(crate) store: Arc<Store>,
    /// Whether senders may learn the values of process-wide limits.
    pub(crate) shows_process_values: bool,
}

impl Sink for StoreSink {
    fn now_ns(&self) -> i64 {
        self.store.components().clock.now_ns()
    }

    fn accept(&self, accepted: Accepted) -> BoxFuture<'_, Result<Taken, Failure>> {
        async move {
            let Accepted { tenant, wire, batch, body_hash } = accepted;
            let write = Write { tenant, wire, batch, body_hash };
            let ack = self
                .store
                .write(write)
                .await
                .map_err(|error| refusal(&error, self.shows_process_values))?;
            Ok(Taken { rejections: ack.rejections, duplicate: ack.duplicate })
        }
        .boxed()
    }
}

/// How long a sender should wait when the store cannot take anything.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A storage error in the words of the failure-class table: what goes wrong on our side is
/// Overloaded, because a sender must try again and nothing of the request is at fault.
fn refusal(error: &StorageError, shows_process_values: bool) -> Failure {
    let class = match error.kind() {
        ErrorKind::Invalid | ErrorKind::LimitExceeded => Class::InvalidRecords,
        ErrorKind::TooMany => Class::RateLimited,
        ErrorKind::Unavailable
        | ErrorKind::Io
        | ErrorKind::Corrupt
        | ErrorKind::Cancelled
        | ErrorKind::Timeout => Class::Overloaded,
    };
    let message = match error.exceeded() {
        // What the process has is no tenant's business where there are many.
        Some(exceeded) if exceeded.tenant.is_none() && !shows_process_values => {
            format!("tercet-err-{}: {} ({})", exceeded.id.as_str(), exceeded.what, exceeded.key)
        }
        _ => error.to_string(),
    };
    let message = if message.starts_with("tercet-err-") {
        message
    } else {
        format!("tercet-err-unavailable: {message}")
    };
    let retry_after =
        matches!(class, Class::Overloaded | Class::RateLimited).then_some(RETRY_AFTER);
    let exceeded = error.exceeded().filter(|of| of.tenant.is_some() || shows_process_values);
    Failure { class, message, retry_after, exceeded: exceeded.cloned().map(Box::new) }
}

/// Decodes log entries again, each by the settings of its arrival.
pub(crate) struct DecoderReplay {
    today: Arc<Decoder>,
    epochs: Arc<Epochs>,
    /// Decoders of other settings, made when an entry needs one.
    then: Vec<OnceLock<Result<Decoder, String>>>,
}

impl DecoderReplay {
    pub(crate) fn new(today: Arc<Decoder>, epochs: Arc<Epochs>) -> DecoderReplay {
        let then = (0..epochs.len()).map(|_| OnceLock::new()).collect();
        DecoderReplay { today, epochs, then }
    }

    fn decoder(&self, received_ns: i64) -> Result<&Decoder, String> {
        let other =
            self.epochs.of(received_ns).and_then(|number| Some((number, self.then.get(number)?)));
        let Some((number, decoder)) = other else { return Ok(&self.today) };
        decoder
            .get_or_init(|| self.epochs.config(number).map(|config| decoder_of(&config)))
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// A decoder that judges and translates by `config`.
pub(crate) fn decoder_of(config: &Config) -> Decoder {
    Decoder::new(config.tenant_limits()).with_translation(config.translation.clone())
}

impl fmt::Debug for DecoderReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoderReplay")
    }
}

impl Replay for DecoderReplay {
    fn replay(&self, tenant: &TenantId, wire: &Wire) -> Result<Batch, String> {
        match self.decoder(wire.received_ns)?.decode(tenant, wire) {
            Ok(decoded) => Ok(decoded.batch),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Gives queries their snapshots.
#[derive(Debug)]
pub(crate) struct StoreSource {
    pub(crate) store: Arc<Store>,
    pub(crate) pool: Pool,
}

impl Source for StoreSource {
    fn snapshot(&self, tenant: &TenantId) -> Snapshot {
        self.store.snapshot(tenant)
    }

    fn budget(&self, tenant: &TenantId) -> Budget {
        self.store.budget(tenant)
    }

    fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        self.store.options().limits.of(tenant)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn now_ns(&self) -> i64 {
        self.store.components().clock.now_ns()
    }
}
