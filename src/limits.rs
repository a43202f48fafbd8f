//! What each tenant may, where that is set, and how much of it is used.

use std::collections::BTreeSet;

use model::{Limits, Signal, TenantId};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::config::{Config, Origin, SETTINGS};

/// Tenants that have figures of their own at `/metrics`.
const TENANTS_MAX: usize = 50;

/// Figures: tenant, limit, its value, what is used of it.
type Row = (String, &'static str, f64, f64);

/// A limit with a use: its setting, its value and its use. A value of 0 is no limit.
struct Used {
    name: &'static str,
    value: f64,
    used: f64,
}

/// The limits of a tenant that have a use, and how much that is.
fn used(admin: &Admin, tenant: &TenantId, limits: &Limits) -> Vec<Used> {
    let usage = admin.store.usage(tenant);
    let (running, waiting) = admin.query.usage(tenant);
    let streams = usage.active_log_streams.max(usage.active_trace_streams);
    let rate = |signal| admin.ingest.rate(tenant, signal, limits).unwrap_or(0.0);
    let of = |name, value, used| Used { name, value, used };
    vec![
        of("limits.ingest.rate_bytes_logs", limits.logs_rate_bytes as f64, rate(Signal::Logs)),
        of(
            "limits.ingest.rate_bytes_traces",
            limits.traces_rate_bytes as f64,
            rate(Signal::Traces),
        ),
        of("limits.ingest.rate_samples", limits.rate_samples as f64, rate(Signal::Metrics)),
        of(
            "limits.ingest.max_active_series",
            limits.active_series_max as f64,
            usage.active_series as f64,
        ),
        of("limits.ingest.max_active_streams", limits.active_streams_max as f64, streams as f64),
        of(
            "limits.ingest.max_live_traces",
            limits.live_traces_max as f64,
            usage.live_traces as f64,
        ),
        of("limits.query.max_concurrent", limits.query_concurrent_max as f64, running as f64),
        of("limits.query.queue_size", limits.query_queue_max as f64, waiting as f64),
        of("limits.max_disk_bytes", limits.disk_bytes_max as f64, usage.disk_bytes as f64),
    ]
}

/// Every limit of a tenant: name, value, where it is set, how much of it is used.
pub(crate) fn describe(admin: &Admin, tenant: &TenantId) -> Value {
    let common = admin.reloader.config();
    let own = common.tenants.get(tenant);
    let limits = own.map_or(&common.limits, |own| &own.limits);
    let used = used(admin, tenant, limits);
    let shown = Config { limits: limits.clone(), ..Config::default() };
    let settings = SETTINGS.iter().filter(|setting| setting.name.starts_with("limits."));
    let list: Vec<Value> = settings
        .map(|setting| {
            let is_own = own.is_some_and(|own| own.given.contains_key(setting.name));
            let origin = common.sources.origin(setting.name).map_or("default", Origin::as_str);
            let used = used.iter().find(|used| used.name == setting.name);
            let share = used.filter(|used| used.value > 0.0).map(|used| used.used / used.value);
            json!({
                "name": setting.name,
                "value": (setting.get)(&shown),
                "source": if is_own { "tenant" } else { origin },
                "usage": used.map(|used| used.used),
                "share": share,
                "doc": setting.doc,
            })
        })
        .collect();
    json!({ "tenant": tenant.as_str(), "limits": list })
}

/// Of every tenant that is known, up to a bound, the limits that have a use.
pub(crate) fn figures(admin: &Admin) -> Vec<Row> {
    let config = admin.reloader.config();
    let mut tenants: BTreeSet<TenantId> = config.tenants.keys().cloned().collect();
    tenants.extend(admin.store.tenants());
    let mut rows = Vec::new();
    for tenant in tenants.into_iter().take(TENANTS_MAX) {
        let limits = config.tenants.get(&tenant).map_or(&config.limits, |own| &own.limits);
        for Used { name, value, used } in used(admin, &tenant, limits) {
            rows.push((tenant.as_str().to_owned(), name, value, used));
        }
    }
    rows
}
