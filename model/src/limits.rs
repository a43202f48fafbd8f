//! What a tenant may send and ask: names, values, defaults, and who has which at this moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::TenantId;

/// Whose defaults count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// One tenant, who owns the machine.
    #[default]
    Single,
    /// Many, who do not know each other.
    Multi,
}

/// What becomes of a log record whose body is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversize {
    #[default]
    Reject,
    /// It is kept without its end.
    Truncate,
}

/// Limits of one tenant. 0 means no limit (except for `ooo_window_ns`). The setting's name is
/// `limits.` and the path in the field's comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// `ingest.rate_bytes_logs`. Units: decompressed bytes a second.
    pub logs_rate_bytes: u64,
    /// `ingest.burst_bytes_logs`; 0 is twice the rate. Units: bytes.
    pub logs_burst_bytes: u64,
    /// `ingest.rate_bytes_traces`. Units: decompressed bytes a second.
    pub traces_rate_bytes: u64,
    /// `ingest.burst_bytes_traces`; 0 is twice the rate. Units: bytes.
    pub traces_burst_bytes: u64,
    /// `ingest.rate_samples`. Units: samples a second.
    pub rate_samples: u64,
    /// `ingest.burst_samples`; 0 is four times the rate. Units: samples.
    pub burst_samples: u64,
    /// `ingest.stream_rate_bytes`. Units: bytes of lines a second, of one stream of logs.
    pub stream_rate_bytes: u64,
    /// `ingest.stream_burst_bytes`; 0 is five times the rate. Units: bytes.
    pub stream_burst_bytes: u64,
    /// `ingest.max_active_series`. Units: series in the head.
    pub active_series_max: usize,
    /// `ingest.max_active_streams`. Units: streams in the memtable.
    pub active_streams_max: usize,
    /// `ingest.max_live_traces`; off by default for one tenant, for a trace in memory costs no more
    /// than its spans. Units: traces in the memtable.
    pub live_traces_max: usize,
    /// `ingest.max_bytes_per_trace`. Units: bytes of a trace's spans in the memtable.
    pub trace_bytes_max: usize,
    /// `ingest.max_labels`. Units: labels of one series or stream.
    pub labels_max: usize,
    /// `ingest.max_label_name_bytes`.
    pub label_name_bytes_max: usize,
    /// `ingest.max_label_value_bytes`.
    pub label_value_bytes_max: usize,
    /// `ingest.max_attributes`. Units: attributes of one record.
    pub attributes_max: usize,
    /// `ingest.max_attribute_bytes`. Units: bytes of one attribute's value.
    pub attribute_bytes_max: usize,
    /// `ingest.max_line_bytes`. Units: bytes of one record's body.
    pub line_bytes_max: usize,
    /// `ingest.on_oversize`: whether a longer body is refused or cut.
    pub on_oversize: Oversize,
    /// `ingest.max_nesting_depth`. Units: levels of arrays and maps in a value.
    pub nesting_depth_max: usize,
    /// `ingest.max_columns_per_stream`: the most frequent attributes of a tenant's streams have a column
    /// of their own in a segment, the others lie together and lose nothing. Units: columns.
    pub columns_max: usize,
    /// `ingest.max_age`; off by default, because a late record is better kept than refused and
    /// retention counts from a record's arrival. Units: ns.
    pub age_max_ns: i64,
    /// `ingest.max_future`. Units: ns.
    pub future_max_ns: i64,
    /// `ingest.ooo_window`: how much older than the newest of its series a sample may be; 0 takes
    /// none that is older (Prometheus' default). Units: ns.
    pub ooo_window_ns: i64,
    /// `query.timeout`. Units: ns.
    pub query_timeout_ns: i64,
    /// `query.max_range`. Units: ns from the first to the last moment of a range query.
    pub query_range_max_ns: i64,
    /// `query.max_bytes_scanned`. Units: bytes read from segments by one query.
    pub query_bytes_scanned_max: u64,
    /// `query.max_memory`; 0 is a quarter of `memory.limit`. Units: bytes kept by one query.
    pub query_memory_max: u64,
    /// `query.max_concurrent`. Units: queries running at one time.
    pub query_concurrent_max: usize,
    /// `query.queue_size`. Units: queries waiting for their turn.
    pub query_queue_max: usize,
    /// `query.queue_timeout`. Units: ns.
    pub query_queue_timeout_ns: i64,
    /// `query.max_samples`. Units: samples touched by one query.
    pub query_samples_max: usize,
    /// `query.max_series`. Units: series selected by one query.
    pub query_series_max: usize,
    /// `query.max_points_per_series`.
    pub query_points_max: usize,
    /// `query.max_entries`. Units: log lines in one answer.
    pub query_entries_max: usize,
    /// `query.max_traces`. Units: traces in one answer.
    pub query_traces_max: usize,
    /// `query.max_expr_bytes`.
    pub expression_bytes_max: usize,
    /// `query.max_expr_depth`.
    pub expression_depth_max: usize,
    /// `query.max_regex_bytes`.
    pub regex_bytes_max: usize,
    /// `query.regex_program_bytes`.
    pub regex_program_bytes_max: usize,
    /// `retention`; 0 keeps for ever. Counts from the later of a record's time and its arrival.
    /// Units: ns.
    pub retention_ns: i64,
    /// `max_disk_bytes`. Units: bytes of the tenant's segments.
    pub disk_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            logs_rate_bytes: 0,
            logs_burst_bytes: 0,
            traces_rate_bytes: 0,
            traces_burst_bytes: 0,
            rate_samples: 0,
            burst_samples: 0,
            stream_rate_bytes: 0,
            stream_burst_bytes: 0,
            active_series_max: 2_000_000,
            active_streams_max: 100_000,
            live_traces_max: 0,
            trace_bytes_max: 20 << 20,
            labels_max: 40,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 4096,
            attributes_max: 256,
            attribute_bytes_max: 64 << 10,
            line_bytes_max: 256 << 10,
            on_oversize: Oversize::Reject,
            nesting_depth_max: 32,
            columns_max: 256,
            age_max_ns: 0,
            future_max_ns: 600 * crate::NS_PER_S,
            ooo_window_ns: 7_200 * crate::NS_PER_S,
            query_timeout_ns: 60 * crate::NS_PER_S,
            query_range_max_ns: 0,
            query_bytes_scanned_max: 0,
            query_memory_max: 0,
            query_concurrent_max: 4,
            query_queue_max: 256,
            query_queue_timeout_ns: 10 * crate::NS_PER_S,
            query_samples_max: 50_000_000,
            query_series_max: 500_000,
            query_points_max: 11_000,
            query_entries_max: 50_000,
            query_traces_max: 10_000,
            expression_bytes_max: 64 << 10,
            expression_depth_max: 100,
            regex_bytes_max: 4096,
            regex_program_bytes_max: 1 << 20,
            retention_ns: 30 * 86_400 * crate::NS_PER_S,
            disk_bytes_max: 0,
        }
    }
}

impl Limits {
    /// The defaults of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Limits {
        let single = Limits::default();
        match profile {
            Profile::Single => single,
            Profile::Multi => Limits {
                logs_rate_bytes: 8_000_000,
                traces_rate_bytes: 30_000_000,
                rate_samples: 50_000,
                burst_samples: 200_000,
                stream_rate_bytes: 3_000_000,
                stream_burst_bytes: 15_000_000,
                active_series_max: 150_000,
                active_streams_max: 5_000,
                live_traces_max: 10_000,
                trace_bytes_max: 5 << 20,
                labels_max: 30,
                label_value_bytes_max: 2048,
                attributes_max: 128,
                attribute_bytes_max: 16 << 10,
                query_range_max_ns: 31 * 86_400 * crate::NS_PER_S,
                query_series_max: 100_000,
                query_bytes_scanned_max: 150_000_000_000,
                query_memory_max: 512 << 20,
                query_queue_max: 64,
                query_entries_max: 5_000,
                query_traces_max: 1_000,
                ..single
            },
        }
    }
}

/// The limits of all tenants, as one file or one reload set them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantLimits {
    common: Arc<Limits>,
    tenants: BTreeMap<TenantId, Arc<Limits>>,
}

impl TenantLimits {
    /// `common` for everybody but `tenants`, who have limits of their own.
    #[must_use]
    pub fn new(common: Limits, tenants: BTreeMap<TenantId, Limits>) -> TenantLimits {
        let tenants = tenants.into_iter().map(|(id, limits)| (id, Arc::new(limits))).collect();
        TenantLimits { common: Arc::new(common), tenants }
    }

    /// One tenant's limits.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> &Arc<Limits> {
        if self.tenants.is_empty() {
            return &self.common;
        }
        self.tenants.get(tenant).unwrap_or(&self.common)
    }

    /// Of those who have none of their own.
    #[must_use]
    pub fn common(&self) -> &Arc<Limits> {
        &self.common
    }

    /// Tenants with limits of their own.
    pub fn named(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }
}

impl From<Limits> for TenantLimits {
    fn from(common: Limits) -> TenantLimits {
        TenantLimits::new(common, BTreeMap::new())
    }
}

/// The limits that count now. A reload replaces all of them at once.
#[derive(Debug, Default)]
pub struct LimitTable {
    current: ArcSwap<TenantLimits>,
}

impl LimitTable {
    #[must_use]
    pub fn new(limits: TenantLimits) -> Arc<LimitTable> {
        Arc::new(LimitTable { current: ArcSwap::from_pointee(limits) })
    }

    /// One tenant's limits at this moment.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Arc<Limits> {
        Arc::clone(self.current.load().of(tenant))
    }

    /// All of them at this moment.
    #[must_use]
    pub fn load(&self) -> Arc<TenantLimits> {
        self.current.load_full()
    }

    /// From now on `limits` count.
    pub fn replace(&self, limits: TenantLimits) {
        self.current.store(Arc::new(limits));
    }
}

impl From<Limits> for Arc<LimitTable> {
    fn from(common: Limits) -> Arc<LimitTable> {
        LimitTable::new(common.into())
    }
}

/// The limits of one tenant, whatever they are when asked for.
#[derive(Debug, Clone)]
pub struct LimitsOf {
    table: Arc<LimitTable>,
    tenant: TenantId,
}

impl LimitsOf {
    #[must_use]
    pub fn new(table: &Arc<LimitTable>, tenant: &TenantId) -> LimitsOf {
        LimitsOf { table: Arc::clone(table), tenant: tenant.clone() }
    }

    #[must_use]
    pub fn now(&self) -> Arc<Limits> {
        self.table.of(&self.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_own_or_what_all_have_and_a_reload_counts_at_once() {
        let [acme, other] = ["acme", "other"].map(|name| TenantId::parse(name).unwrap());
        let own = Limits { labels_max: 5, ..Limits::default() };
        let all = TenantLimits::new(Limits::default(), BTreeMap::from([(acme.clone(), own)]));
        let table = LimitTable::new(all);
        let held = LimitsOf::new(&table, &acme);
        assert_eq!((table.of(&acme).labels_max, table.of(&other).labels_max), (5, 40));
        table.replace(Limits { labels_max: 7, ..Limits::default() }.into());
        assert_eq!((held.now().labels_max, table.of(&other).labels_max), (7, 7));
    }
}
