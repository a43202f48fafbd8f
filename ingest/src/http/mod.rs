//! Every ingest endpoint on one router, gRPC included.
//!
//! One handler serves all of them: tenant, body, decoding, [`Sink`], answer. What differs between
//! protocols stands in `dialect`, what differs between HTTP and gRPC in `grpc`.

pub(crate) mod grpc;
mod routes;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use model::{ErrorId, Exceeded, Limits, Memory, Pressure, Rejections, Signal, TenantId, Wire};
use tokio::sync::Semaphore;

use crate::body::{Gate, Permit, ReadError, collect, decoded_bytes_hint, drain};
use crate::dialect::{Dialect, Spoken};
use crate::failure::Class;
use crate::rates::Rates;
use crate::stats::{Arrival, Problem, Stats, signal_of};
use crate::{Accepted, DecodeError, Decoded, Decoder, Failure, Sink};

/// Process-wide limits of ingest (reliability.md section 5). Units: bytes.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// `server.max_request_bytes`
    pub request_bytes_max: usize,
    /// `server.max_decompressed_bytes`
    pub decompressed_bytes_max: usize,
    /// `server.max_inflight_ingest_bytes`; the root gives 0 there a value from `memory.limit`
    pub inflight_bytes_max: usize,
    /// `server.body_deadline`; 0 waits for ever. Units: ns.
    pub body_deadline_ns: i64,
    /// The part of it that one tenant may take. Units: bytes.
    pub tenant_inflight_bytes_max: usize,
    /// Of the whole process: writes are refused while it is nearly full.
    pub memory: Arc<Memory>,
    /// Whether senders may learn the values of process-wide limits.
    pub shows_process_values: bool,
}

impl Default for IngestOptions {
    fn default() -> Self {
        IngestOptions {
            request_bytes_max: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            inflight_bytes_max: 256 << 20,
            body_deadline_ns: 60_000_000_000,
            tenant_inflight_bytes_max: usize::MAX,
            memory: Arc::default(),
            shows_process_values: true,
        }
    }
}

/// Figures for `/metrics`, the drop page and the empty page.
#[derive(Debug, Clone, Default)]
pub struct IngestStats {
    pub counters: Vec<Figure>,
    pub gauges: Vec<Figure>,
}

/// Name (without `tercet_`), labels, value.
type Figure = (&'static str, Vec<(&'static str, String)>, f64);

/// Bodies of at least this size are decoded away from the threads that serve sockets (about 100 us
/// of work). Units: bytes on the wire.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// How long a request waits for its turn to be decoded.
const DECODE_WAIT: Duration = Duration::from_secs(10);
/// How long storage may take to keep a batch before the client is told to come back.
const ACCEPT_WAIT: Duration = Duration::from_secs(30);

/// Who decodes, by time of arrival: replay will choose in the same way.
#[derive(Debug)]
struct Decoders {
    now: Arc<Decoder>,
    /// Units: ns.
    from_ns: i64,
    before: Option<Arc<Decoder>>,
}

impl Decoders {
    fn at(&self, received_ns: i64) -> &Arc<Decoder> {
        match &self.before {
            Some(before) if received_ns < self.from_ns => before,
            _ => &self.now,
        }
    }
}

/// The ingest side of the server.
#[derive(Debug)]
pub struct Ingest {
    options: IngestOptions,
    decoders: ArcSwap<Decoders>,
    rates: Rates,
    sink: Arc<dyn Sink>,
    gate: Gate,
    /// Requests being decoded away from the socket threads.
    decoding: Semaphore,
    stats: Stats,
    /// Makes one answer's jitter differ from the next one's.
    refusals: AtomicU64,
}

impl Ingest {
    #[must_use]
    pub fn new(options: IngestOptions, decoder: Arc<Decoder>, sink: Arc<dyn Sink>) -> Arc<Ingest> {
        let decoders = Decoders { now: decoder, from_ns: i64::MIN, before: None };
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Arc::new(Ingest {
            gate: Gate::new(options.inflight_bytes_max)
                .with_share(options.tenant_inflight_bytes_max),
            decoding: Semaphore::new(threads),
            stats: Stats::default(),
            refusals: AtomicU64::new(0),
            options,
            decoders: ArcSwap::from_pointee(decoders),
            rates: Rates::default(),
            sink,
        })
    }

    /// From `from_ns` on requests are decoded by `decoder`. To be called before that time comes.
    pub fn decode_by(&self, decoder: Arc<Decoder>, from_ns: i64) {
        let before = Some(Arc::clone(&self.decoders.load().now));
        self.decoders.store(Arc::new(Decoders { now: decoder, from_ns, before }));
    }

    /// What a tenant sent of a signal in the last second, where that is limited. Units: bytes of
    /// logs and traces, samples of metrics.
    #[must_use]
    pub fn rate(&self, tenant: &TenantId, signal: Signal, limits: &Limits) -> Option<f64> {
        self.rates.usage(tenant, signal, limits, self.sink.now_ns())
    }

    /// OTLP over HTTP and gRPC, remote write, Loki push; to be merged into the server's router.
    pub fn router(self: &Arc<Self>) -> Router {
        routes::router(self)
    }

    /// The answer to a call of a gRPC service that no route serves (UNIMPLEMENTED), for the server's
    /// fallback; nothing when the request is no gRPC.
    #[must_use]
    pub fn unknown_grpc(headers: &HeaderMap) -> Option<Response> {
        grpc::unimplemented(headers)
    }

    /// How the protocol of a request words that it was turned away at the door; nothing where the
    /// request is of none of these protocols.
    #[must_use]
    pub fn refuse(path: &str, headers: &HeaderMap, failure: &Failure) -> Option<Response> {
        if let Some(response) = grpc::refuse(headers, failure) {
            return Some(response);
        }
        Some(routes::dialect_of(path)?.refused(headers, failure))
    }

    #[must_use]
    pub fn stats(&self) -> IngestStats {
        let mut stats = self.stats.snapshot();
        stats.gauges.push(("ingest_inflight_bytes", Vec::new(), self.gate.used_bytes() as f64));
        stats
    }

    /// Of the requests that are being taken in. Units: bytes.
    #[must_use]
    pub fn inflight_bytes(&self) -> u64 {
        self.gate.used_bytes() as u64
    }

    /// What was refused lately, latest first: at most 256 entries.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.stats.problems()
    }

    /// Who sent what since the start, for "your first bytes have arrived".
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.stats.arrivals()
    }

    /// Serves one request of a protocol over plain HTTP.
    async fn serve(&self, dialect: Dialect, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let headers = &parts.headers;
        match self.take(dialect, headers, body).await {
            Ok(rejections) => dialect.accepted(headers, &rejections),
            Err(failure) => {
                let failure = self.note_refusal(dialect, headers, failure);
                dialect.refused(headers, &failure)
            }
        }
    }

    async fn take(
        &self,
        dialect: Dialect,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Rejections, Failure> {
        let tenant = tenant_of(headers)?;
        let Spoken { protocol, encoding } = dialect.negotiate(headers)?;
        let (bytes, permit) = self.collect(&tenant, body).await?;
        let wire = Wire { protocol, encoding, bytes, received_ns: self.sink.now_ns() };
        self.keep(tenant, wire, permit).await
    }

    async fn collect(
        &self,
        tenant: &TenantId,
        body: Body,
    ) -> Result<(bytes::Bytes, Permit), Failure> {
        let bytes_max = self.options.request_bytes_max;
        if self.options.memory.pressure() == Pressure::Writes {
            drain(body, bytes_max).await;
            return Err(overloaded(
                ErrorId::MemoryFull,
                "the server is short of memory and takes no writes for now (memory.limit)",
            ));
        }
        let deadline = match u64::try_from(self.options.body_deadline_ns) {
            Ok(0) | Err(_) => Duration::MAX,
            Ok(ns) => Duration::from_nanos(ns),
        };
        let collected = collect(body, &self.gate, tenant, bytes_max, deadline).await;
        collected.map_err(|error| match error {
            ReadError::TooBig => Failure::too_big(
                &format!("request body is larger than {bytes_max} bytes"),
                "server.max_request_bytes",
            ),
            ReadError::Full => self.gate_full(),
            ReadError::Late => overloaded(
                ErrorId::BodyLate,
                "the body did not arrive in time (server.body_deadline)",
            ),
            ReadError::Broken(why) => Failure::new(Class::Undecodable, why),
        })
    }

    fn gate_full(&self) -> Failure {
        let exceeded = Exceeded {
            id: ErrorId::InflightBytes,
            what: "too many bytes are being taken in".to_owned(),
            key: "server.max_inflight_ingest_bytes",
            limit: self.options.inflight_bytes_max.to_string(),
            current: self.gate.used_bytes().to_string(),
            tenant: None,
        };
        if self.options.shows_process_values {
            return Failure::exceeded(Class::Overloaded, exceeded);
        }
        overloaded(exceeded.id, &format!("{} ({})", exceeded.what, exceeded.key))
    }

    /// Decodes a body that has been received and hands it on: the way of every protocol.
    async fn keep(
        &self,
        tenant: TenantId,
        wire: Wire,
        mut permit: Permit,
    ) -> Result<Rejections, Failure> {
        let decoder = Arc::clone(self.decoders.load().at(wire.received_ns));
        let limits = decoder.limits(&tenant);
        self.rates.admit(&tenant, signal_of(wire.protocol), limits, wire.received_ns)?;
        let decoded = self.decode(&decoder, &tenant, &wire, &mut permit).await?;
        let Decoded { batch, mut rejections, body_hash, plain_bytes } = decoded;
        self.rates.charge(&tenant, &batch, plain_bytes, limits, wire.received_ns)?;
        let (protocol, received_ns) = (wire.protocol, wire.received_ns);
        let arrival = self.stats.arrival_of(&tenant, &wire, &batch);
        if batch.record_count() > 0 || !is_empty(&batch) {
            let accepted = Accepted { tenant: tenant.clone(), wire, batch, body_hash };
            let kept = tokio::time::timeout(ACCEPT_WAIT, self.sink.accept(accepted)).await;
            let taken = kept.unwrap_or_else(|_elapsed| {
                Err(overloaded(ErrorId::AcceptLate, "the batch was not on disk within 30 s"))
            })?;
            rejections.merge(taken.rejections);
            if taken.duplicate {
                self.stats.count_duplicate();
            }
        }
        drop(permit);
        rejections.say_whose(&tenant);
        self.stats.count_taken(&arrival);
        self.stats.count_discarded(&tenant, protocol, received_ns, &rejections);
        Ok(rejections)
    }

    /// Decodes with the room for the decompressed body reserved first. A body that is larger than it
    /// says is decoded again with the room that it may take at most.
    async fn decode(
        &self,
        decoder: &Arc<Decoder>,
        tenant: &TenantId,
        wire: &Wire,
        permit: &mut Permit,
    ) -> Result<Decoded, Failure> {
        let bytes_max = self.options.decompressed_bytes_max;
        let hint = decoded_bytes_hint(wire.encoding, &wire.bytes, bytes_max);
        for room in [hint, bytes_max] {
            let bytes = wire.bytes.len().saturating_add(room);
            permit.grow_to(bytes).await.map_err(|_full| self.gate_full())?;
            match self.decode_once(decoder, tenant, wire, room).await? {
                Ok(decoded) => return Ok(decoded),
                Err(DecodeError::TooBig(_)) if room < bytes_max => {}
                Err(DecodeError::TooBig(what)) => {
                    return Err(Failure::too_big(&what, "server.max_decompressed_bytes"));
                }
                Err(DecodeError::Undecodable(why)) => {
                    return Err(Failure::new(Class::Undecodable, why));
                }
            }
        }
        Err(Failure::too_big("body is too large", "server.max_decompressed_bytes"))
    }

    async fn decode_once(
        &self,
        decoder: &Arc<Decoder>,
        tenant: &TenantId,
        wire: &Wire,
        bytes_max: usize,
    ) -> Result<Result<Decoded, DecodeError>, Failure> {
        if wire.bytes.len().max(bytes_max) < INLINE_BYTES_MAX {
            return decode_guarded(decoder, tenant, wire, bytes_max);
        }
        let turn = tokio::time::timeout(DECODE_WAIT, self.decoding.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(overloaded(ErrorId::DecodeLate, "decoding did not start within 10 s"));
        };
        let (decoder, tenant, wire) = (Arc::clone(decoder), tenant.clone(), wire.clone());
        let work = move || decode_guarded(&decoder, &tenant, &wire, bytes_max);
        let outcome = tokio::task::spawn_blocking(work).await;
        drop(turn);
        outcome.unwrap_or_else(|_gone| {
            Err(overloaded(ErrorId::ShuttingDown, "the server is stopping"))
        })
    }

    /// Completes a failure and counts it.
    fn note_refusal(&self, dialect: Dialect, headers: &HeaderMap, failure: Failure) -> Failure {
        let now_ns = self.sink.now_ns();
        let attempt = headers
            .get("retry-attempt")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .unwrap_or(0);
        let seed = now_ns as u64 ^ self.refusals.fetch_add(1, Ordering::Relaxed);
        let failure = failure.with_retry_after(attempt, seed);
        let tenant = tenant_of(headers).unwrap_or_default();
        let bytes = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        self.stats.count_refused(&tenant, dialect.signal(), now_ns, &failure, bytes);
        failure
    }
}

/// A panic while decoding is a bug of ours that costs one request, not the server.
fn decode_guarded(
    decoder: &Decoder,
    tenant: &TenantId,
    wire: &Wire,
    bytes_max: usize,
) -> Result<Result<Decoded, DecodeError>, Failure> {
    catch_unwind(AssertUnwindSafe(|| decoder.decode_within(tenant, wire, bytes_max))).map_err(
        |_panic| {
            tracing::error!(protocol = ?wire.protocol, bytes = wire.bytes.len(), "bug: a decoder panicked");
            Failure::new(Class::Internal, "bug: decoding stopped; please report this request")
        },
    )
}

/// Metadata and exemplars may come without samples.
fn is_empty(batch: &model::Batch) -> bool {
    match batch {
        model::Batch::Metrics(batch) => batch.metadata.is_empty() && batch.exemplars.is_empty(),
        model::Batch::Logs(_) | model::Batch::Traces(_) => batch.record_count() == 0,
    }
}

fn overloaded(id: ErrorId, what: &str) -> Failure {
    Failure::with_id(Class::Overloaded, id.as_str(), what)
}

/// The tenant that a request names, or the default one.
fn tenant_of(headers: &HeaderMap) -> Result<TenantId, Failure> {
    let Some(value) = headers.get("x-scope-orgid") else { return Ok(TenantId::default()) };
    let name =
        value.to_str().map_err(|_| Failure::new(Class::BadTenant, "tenant id is not text"))?;
    TenantId::parse(name).map_err(|error| Failure::new(Class::BadTenant, error))
}
