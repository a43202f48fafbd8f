//! What ingest counts about itself, and what it tells people who look for their data.
//!
//! Every label comes from a closed list or is capped: a sender cannot make our own telemetry grow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Batch, Protocol, Reason, Rejections, Signal, TenantId, Wire};
use parking_lot::Mutex;

use crate::failure::{Class, Failure};
use crate::http::IngestStats;

/// Problems that are remembered.
const PROBLEMS_MAX: usize = 256;
/// Tenants that have counters of their own; later ones share `other`.
const TENANTS_MAX: usize = 100;
/// Tenants and reasons whose last line in the log is remembered.
const LOGGED_MAX: usize = 1000;
/// Units: ns.
const LOG_EVERY_NS: i64 = 10 * model::NS_PER_S;
/// Services that are remembered for [`Arrival`].
const ARRIVALS_MAX: usize = 1000;
/// Streams or series of one request that are looked at for their service.
const SERVICES_PER_REQUEST_MAX: usize = 32;
/// Bytes of a service's name or a problem's message that are kept.
const TEXT_BYTES_MAX: usize = 256;

/// A request or record that was refused lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Units: ns.
    pub time_ns: i64,
    pub signal: Signal,
    /// A failure's class or a rejection's reason.
    pub what: &'static str,
    pub tenant: String,
    /// Records refused; 0 when the whole request was.
    pub records: u64,
    /// At most 256 bytes.
    pub message: String,
}

/// What one service has sent since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub tenant: String,
    pub signal: Signal,
    /// Empty where the sender names none.
    pub service: String,
    /// Units: ns.
    pub first_ns: i64,
    /// Units: ns.
    pub last_ns: i64,
    pub requests: u64,
    /// Of requests in which this service came first, so that sums count each record once.
    pub records: u64,
    /// As `records`. Units: bytes as sent.
    pub bytes: u64,
}

/// Counters by protocol, in the order of [`Protocol::ALL`].
#[derive(Debug, Default)]
struct Received {
    requests: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    received: [Received; Protocol::ALL.len()],
    refused: [AtomicU64; Class::ALL.len()],
    duplicates: AtomicU64,
    discarded: Mutex<BTreeMap<(String, Signal, Reason), u64>>,
    /// Bytes of requests refused as a whole, by tenant, signal and error id.
    discarded_bytes: Mutex<BTreeMap<(String, Signal, String), u64>>,
    /// When a tenant and reason were last logged, and how often they came since.
    logged: Mutex<BTreeMap<(String, String), (i64, u64)>>,
    problems: Mutex<VecDeque<Problem>>,
    arrivals: Mutex<BTreeMap<(String, Signal, String), Arrival>>,
}

/// What is to be counted once a request has been kept.
#[derive(Debug)]
pub(crate) struct Taking {
    protocol: Protocol,
    tenant: TenantId,
    signal: Signal,
    services: Vec<String>,
    records: u64,
    bytes: u64,
    received_ns: i64,
}

impl Stats {
    /// Notes what a request holds before it is handed on.
    pub(crate) fn arrival_of(&self, tenant: &TenantId, wire: &Wire, batch: &Batch) -> Taking {
        let mut services: Vec<String> = Vec::new();
        let mut note = |service: &str| {
            if !services.iter().any(|known| known == service) {
                services.push(cut(service));
            }
        };
        match batch {
            Batch::Metrics(batch) => batch
                .series
                .iter()
                .take(SERVICES_PER_REQUEST_MAX)
                .for_each(|series| note(series.labels.get("job").unwrap_or(""))),
            Batch::Logs(model::LogsBatch { streams, .. })
            | Batch::Traces(model::SpansBatch { streams, .. }) => streams
                .iter()
                .take(SERVICES_PER_REQUEST_MAX)
                .for_each(|stream| note(stream.service())),
        }
        Taking {
            protocol: wire.protocol,
            tenant: tenant.clone(),
            signal: batch.signal(),
            services,
            records: batch.record_count() as u64,
            bytes: wire.bytes.len() as u64,
            received_ns: wire.received_ns,
        }
    }

    pub(crate) fn count_taken(&self, taken: &Taking) {
        let index = Protocol::ALL.iter().position(|&protocol| protocol == taken.protocol);
        if let Some(received) = index.and_then(|index| self.received.get(index)) {
            received.requests.fetch_add(1, Ordering::Relaxed);
            received.records.fetch_add(taken.records, Ordering::Relaxed);
            received.bytes.fetch_add(taken.bytes, Ordering::Relaxed);
        }
        let mut arrivals = self.arrivals.lock();
        for (index, service) in taken.services.iter().enumerate() {
            let (records, bytes) = if index == 0 { (taken.records, taken.bytes) } else { (0, 0) };
            let key = (taken.tenant.as_str().to_owned(), taken.signal, service.clone());
            if let Some(known) = arrivals.get_mut(&key) {
                known.last_ns = known.last_ns.max(taken.received_ns);
                known.requests += 1;
                known.records += records;
                known.bytes += bytes;
            } else if arrivals.len() < ARRIVALS_MAX {
                let arrival = Arrival {
                    tenant: key.0.clone(),
                    signal: taken.signal,
                    service: service.clone(),
                    first_ns: taken.received_ns,
                    last_ns: taken.received_ns,
                    requests: 1,
                    records,
                    bytes,
                };
                arrivals.insert(key, arrival);
            }
        }
    }

    pub(crate) fn count_duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts records that were left out of a request.
    pub(crate) fn count_discarded(
        &self,
        tenant: &TenantId,
        protocol: Protocol,
        time_ns: i64,
        rejections: &Rejections,
    ) {
        let signal = signal_of(protocol);
        for rejection in &rejections.list {
            self.add_discarded(tenant, signal, rejection.reason, rejection.count);
            self.log(tenant, rejection.reason.as_str(), time_ns, &rejection.example);
            self.add_problem(Problem {
                time_ns,
                signal,
                what: rejection.reason.as_str(),
                tenant: tenant.as_str().to_owned(),
                records: rejection.count,
                message: cut(&rejection.example),
            });
        }
    }

    fn add_discarded(&self, tenant: &TenantId, signal: Signal, reason: Reason, count: u64) {
        let mut discarded = self.discarded.lock();
        let mut tenants: Vec<&str> = discarded.keys().map(|(name, ..)| name.as_str()).collect();
        tenants.dedup();
        let has_place = tenants.len() < TENANTS_MAX || tenants.contains(&tenant.as_str());
        let name = if has_place { tenant.as_str() } else { "other" };
        *discarded.entry((name.to_owned(), signal, reason)).or_default() += count;
    }

    /// Counts a request that was refused as a whole.
    pub(crate) fn count_refused(
        &self,
        tenant: &TenantId,
        signal: Signal,
        time_ns: i64,
        failure: &Failure,
        bytes: u64,
    ) {
        self.add_discarded_bytes(tenant, signal, failure.id(), bytes);
        self.log(tenant, failure.id(), time_ns, &failure.message);
        let index = Class::ALL.iter().position(|&class| class == failure.class);
        if let Some(count) = index.and_then(|index| self.refused.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.add_problem(Problem {
            time_ns,
            signal,
            what: failure.class.as_str(),
            tenant: tenant.as_str().to_owned(),
            records: 0,
            message: cut(&failure.message),
        });
    }

    fn add_discarded_bytes(&self, tenant: &TenantId, signal: Signal, id: &str, bytes: u64) {
        let mut discarded = self.discarded_bytes.lock();
        let key = (tenant.as_str().to_owned(), signal, id.to_owned());
        let has_place = discarded.len() < TENANTS_MAX || discarded.contains_key(&key);
        let key = if has_place { key } else { ("other".to_owned(), signal, key.2) };
        *discarded.entry(key).or_default() += bytes;
    }

    /// Logs a refusal: one line for each tenant and reason in ten seconds.
    fn log(&self, tenant: &TenantId, reason: &str, time_ns: i64, example: &str) {
        let mut logged = self.logged.lock();
        let key = (tenant.as_str().to_owned(), reason.to_owned());
        if !logged.contains_key(&key) && logged.len() >= LOGGED_MAX {
            logged.retain(|_, (at_ns, _)| time_ns.saturating_sub(*at_ns) < LOG_EVERY_NS);
            if logged.len() >= LOGGED_MAX {
                return;
            }
        }
        let (at_ns, count) = logged.entry(key).or_insert((i64::MIN, 0));
        *count += 1;
        if time_ns.saturating_sub(*at_ns) < LOG_EVERY_NS {
            return;
        }
        let count = std::mem::take(count);
        *at_ns = time_ns;
        let example = cut(example);
        tracing::warn!(tenant = tenant.as_str(), reason, count, ?example, "refused");
    }

    fn add_problem(&self, problem: Problem) {
        let mut problems = self.problems.lock();
        if problems.len() >= PROBLEMS_MAX {
            problems.pop_back();
        }
        problems.push_front(problem);
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.problems.lock().iter().cloned().collect()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().values().cloned().collect()
    }

    pub(crate) fn snapshot(&self) -> IngestStats {
        let mut stats = IngestStats::default();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        for (protocol, received) in Protocol::ALL.into_iter().zip(&self.received) {
            let labels = vec![
                ("protocol", protocol_word(protocol).to_owned()),
                ("signal", signal_of(protocol).as_str().to_owned()),
            ];
            for (name, count) in [
                ("ingest_requests_total", &received.requests),
                ("ingest_received_records_total", &received.records),
                ("ingest_received_bytes_total", &received.bytes),
            ] {
                stats.counters.push((name, labels.clone(), read(count)));
            }
        }
        for ((tenant, signal, reason), count) in &*self.discarded.lock() {
            let labels = vec![
                ("tenant", tenant.clone()),
                ("signal", signal.as_str().to_owned()),
                ("reason", reason.as_str().to_owned()),
            ];
            stats.counters.push(("ingest_discarded_records_total", labels, *count as f64));
        }
        for (class, count) in Class::ALL.into_iter().zip(&self.refused) {
            let labels = vec![("class", class.as_str().to_owned())];
            stats.counters.push(("requests_rejected_total", labels, read(count)));
        }
        for ((tenant, signal, id), bytes) in &*self.discarded_bytes.lock() {
            let labels = vec![
                ("tenant", tenant.clone()),
                ("signal", signal.as_str().to_owned()),
                ("reason", id.clone()),
            ];
            stats.counters.push(("ingest_discarded_bytes_total", labels, *bytes as f64));
        }
        let duplicates = read(&self.duplicates);
        stats.counters.push(("ingest_deduplicated_requests_total", Vec::new(), duplicates));
        stats.counters.sort_by_key(|(name, ..)| *name);
        stats
    }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// The signal that a protocol carries.
pub(crate) fn signal_of(protocol: Protocol) -> Signal {
    match protocol {
        Protocol::OtlpMetricsProtobuf | Protocol::OtlpMetricsJson | Protocol::RemoteWrite1 => {
            Signal::Metrics
        }
        Protocol::OtlpLogsProtobuf
        | Protocol::OtlpLogsJson
        | Protocol::LokiPushProtobuf
        | Protocol::LokiPushJson => Signal::Logs,
        Protocol::OtlpTracesProtobuf | Protocol::OtlpTracesJson => Signal::Traces,
    }
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OtlpMetricsProtobuf
        | Protocol::OtlpLogsProtobuf
        | Protocol::OtlpTracesProtobuf => "otlp_protobuf",
        Protocol::OtlpMetricsJson | Protocol::OtlpLogsJson | Protocol::OtlpTracesJson => {
            "otlp_json"
        }
        Protocol::RemoteWrite1 => "remote_write",
        Protocol::LokiPushProtobuf => "loki_protobuf",
        Protocol::LokiPushJson => "loki_json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_tenants_and_problems_stays_bounded() {
        let stats = Stats::default();
        let mut rejections = Rejections::default();
        rejections.add(Reason::TooOld, 2, || "é".repeat(500));
        for n in 0..400 {
            let tenant = TenantId::parse(&format!("t{n}")).unwrap();
            stats.count_discarded(&tenant, Protocol::OtlpLogsJson, n, &rejections);
            stats.count_refused(&tenant, Signal::Logs, n, &Failure::new(Class::TooBig, "x"), 1);
        }
        let discarded: Vec<f64> = stats
            .snapshot()
            .counters
            .into_iter()
            .filter(|(name, ..)| *name == "ingest_discarded_records_total")
            .map(|(.., count)| count)
            .collect();
        assert_eq!((discarded.len(), discarded.iter().sum::<f64>()), (TENANTS_MAX + 1, 800.0));
        let problems = stats.problems();
        assert_eq!((problems.len(), problems[0].time_ns), (PROBLEMS_MAX, 399));
        assert!(problems.iter().all(|problem| problem.message.len() <= TEXT_BYTES_MAX));
    }
}
