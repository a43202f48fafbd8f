//! What a tenant may send and ask: names, values, defaults (reliability.md section 5).

/// Limits of one tenant. 0 means no limit (except for `ooo_window_ns`). The setting's name is
/// `limits.` and the path in the field's comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// `ingest.max_active_series`. Units: series in the head.
    pub active_series_max: usize,
    /// `ingest.max_active_streams`. Units: streams in the memtable.
    pub active_streams_max: usize,
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
    /// `ingest.max_nesting_depth`. Units: levels of arrays and maps in a value.
    pub nesting_depth_max: usize,
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
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            active_series_max: 2_000_000,
            active_streams_max: 100_000,
            labels_max: 40,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 4096,
            attributes_max: 256,
            attribute_bytes_max: 64 << 10,
            line_bytes_max: 256 << 10,
            nesting_depth_max: 32,
            age_max_ns: 0,
            future_max_ns: 600 * crate::NS_PER_S,
            ooo_window_ns: 7_200 * crate::NS_PER_S,
            query_timeout_ns: 60 * crate::NS_PER_S,
            query_samples_max: 50_000_000,
            query_series_max: 500_000,
            query_points_max: 11_000,
            query_entries_max: 50_000,
            query_traces_max: 10_000,
            expression_bytes_max: 64 << 10,
            expression_depth_max: 100,
            regex_bytes_max: 4096,
            regex_program_bytes_max: 1 << 20,
        }
    }
}
