//! Figures of the query side for `/metrics`.
//!
//! Requests are counted by a layer around each dialect, work by the guard that `respond::run` holds:
//! no handler counts anything itself. Endpoints are the routes' templates, a closed list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use http::{HeaderValue, StatusCode, header};
use model::{ErrorId, TenantId};
use parking_lot::Mutex;
use storage::{Budget, Ended, StorageError};

use super::Query;

/// Name (without `tercet_`), labels, value.
pub type Figure = (&'static str, Vec<(&'static str, String)>, f64);

/// Figures for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct QueryStats {
    pub counters: Vec<Figure>,
    pub gauges: Vec<Figure>,
}

/// Tenants and reasons that are counted apart; later ones share the tenant `other`.
const REJECTED_MAX: usize = 100;

const STATUS_CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// What `Retry-After` says of queries that may come later. Units: s.
const RETRY_AFTER_S: &str = "2";

/// Answers of one endpoint.
#[derive(Debug, Default, Clone, Copy)]
struct Answers {
    by_class: [u64; STATUS_CLASSES.len()],
    ns: u64,
}

/// What the query side has done since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    in_flight: AtomicU64,
    samples: AtomicU64,
    scanned_bytes: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
    /// By tenant and error id.
    rejected: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// By dialect and endpoint.
    answers: Mutex<BTreeMap<(&'static str, String), Answers>>,
}

impl Stats {
    /// Counts what one query used and why it ended, if it did.
    pub(super) fn count_work(&self, budget: &Budget) {
        self.samples.fetch_add(budget.samples(), Ordering::Relaxed);
        self.scanned_bytes.fetch_add(budget.bytes_scanned(), Ordering::Relaxed);
        let ended = budget.ended();
        for (reason, count) in Ended::ALL.into_iter().zip(&self.ended) {
            if ended == Some(reason) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a query that was refused before it began, for a limit of its tenant or of the process.
    pub(super) fn count_rejected(&self, tenant: &TenantId, error: &StorageError) {
        let reason = error.exceeded().map_or(ErrorId::MemoryFull, |exceeded| exceeded.id).as_str();
        let mut rejected = self.rejected.lock();
        let has_place = rejected.len() < REJECTED_MAX
            || rejected.contains_key(&(tenant.as_str().to_owned(), reason));
        let tenant = if has_place { tenant.as_str() } else { "other" };
        *rejected.entry((tenant.to_owned(), reason)).or_default() += 1;
    }

    fn count_answer(&self, dialect: &'static str, endpoint: &str, status: StatusCode, ns: u64) {
        let class = match status.as_u16() {
            500.. => 2,
            400.. => 1,
            _ => 0,
        };
        let mut answers = self.answers.lock();
        let answers = answers.entry((dialect, endpoint.to_owned())).or_default();
        for (index, count) in answers.by_class.iter_mut().enumerate() {
            *count += u64::from(index == class);
        }
        answers.ns = answers.ns.saturating_add(ns);
    }

    pub(super) fn snapshot(&self) -> QueryStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let mut stats = QueryStats::default();
        for ((dialect, endpoint), answers) in &*self.answers.lock() {
            let labels = vec![("dialect", (*dialect).to_owned()), ("endpoint", endpoint.clone())];
            let seconds = answers.ns as f64 / 1e9;
            stats.counters.push(("query_seconds_total", labels.clone(), seconds));
            for (class, &count) in STATUS_CLASSES.into_iter().zip(&answers.by_class) {
                let mut labels = labels.clone();
                labels.push(("status_class", class.to_owned()));
                stats.counters.push(("query_requests_total", labels, count as f64));
            }
        }
        stats.counters.push(("query_samples_total", Vec::new(), read(&self.samples)));
        stats.counters.push(("query_scanned_bytes_total", Vec::new(), read(&self.scanned_bytes)));
        for (reason, count) in Ended::ALL.into_iter().zip(&self.ended) {
            let labels = vec![("reason", reason.as_str().to_owned())];
            stats.counters.push(("queries_ended_total", labels, read(count)));
        }
        for ((tenant, reason), count) in &*self.rejected.lock() {
            let labels = vec![("tenant", tenant.clone()), ("reason", (*reason).to_owned())];
            stats.counters.push(("query_rejected_total", labels, *count as f64));
        }
        stats.gauges.push(("queries_in_flight", Vec::new(), read(&self.in_flight)));
        stats
    }
}

/// One request that is being answered; its client may go at any moment.
struct InFlight<'s>(&'s AtomicU64);

impl<'s> InFlight<'s> {
    fn enter(count: &'s AtomicU64) -> InFlight<'s> {
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the requests to a dialect's routes.
pub(super) fn counted(router: Router, query: &Arc<Query>, dialect: &'static str) -> Router {
    let query = Arc::clone(query);
    router.route_layer(from_fn(move |request: Request, next: Next| {
        let query = Arc::clone(&query);
        async move {
            let in_flight = InFlight::enter(&query.stats.in_flight);
            let path = request.extensions().get::<MatchedPath>().cloned();
            let begun_ns = query.source.now_ns();
            let mut response = next.run(request).await;
            let ns = query.source.now_ns().saturating_sub(begun_ns).try_into().unwrap_or(0);
            let path = path.as_ref().map_or("", MatchedPath::as_str);
            query.stats.count_answer(dialect, endpoint(path), response.status(), ns);
            drop(in_flight);
            let busy = matches!(
                response.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            if busy {
                let wait = HeaderValue::from_static(RETRY_AFTER_S);
                response.headers_mut().entry(header::RETRY_AFTER).or_insert(wait);
            }
            response
        }
    }))
}

/// A route without the place that the dialect is served at.
fn endpoint(path: &str) -> &str {
    let nested = path.strip_prefix("/ds/").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    nested.unwrap_or(path)
}
