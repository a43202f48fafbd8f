//! The settings under `limits.`: what one tenant may. A table of the file, `[tenants.acme.limits]`,
//! changes each for one tenant.

use model::Oversize;

use super::table::{Setting, setting};
use super::values::{
    OVERSIZES, show, show_ns, show_size, show_size64, show_word, size, unsigned, word,
};
use crate::units::parse_duration_ns;

/// In the order of the docs.
pub(super) const LIMITS: &[Setting] = &[
    setting!(
        "limits.ingest.rate_bytes_logs",
        None,
        "SIZE",
        "Decompressed bytes of logs that a tenant may send a second.",
        limits.logs_rate_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.burst_bytes_logs",
        None,
        "SIZE",
        "What may come at once above that rate. 0 is twice the rate.",
        limits.logs_burst_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.rate_bytes_traces",
        None,
        "SIZE",
        "Decompressed bytes of traces that a tenant may send a second.",
        limits.traces_rate_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.burst_bytes_traces",
        None,
        "SIZE",
        "What may come at once above that rate. 0 is twice the rate.",
        limits.traces_burst_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.rate_samples",
        None,
        "COUNT",
        "Samples that a tenant may send a second.",
        limits.rate_samples = unsigned::<u64>,
        show
    ),
    setting!(
        "limits.ingest.burst_samples",
        None,
        "COUNT",
        "What may come at once above that rate. 0 is four times the rate.",
        limits.burst_samples = unsigned::<u64>,
        show
    ),
    setting!(
        "limits.ingest.stream_rate_bytes",
        None,
        "SIZE",
        "Bytes of lines that one stream of logs may have a second.",
        limits.stream_rate_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.stream_burst_bytes",
        None,
        "SIZE",
        "What may come at once above that rate. 0 is five times the rate.",
        limits.stream_burst_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.ingest.max_active_series",
        None,
        "COUNT",
        "Series with samples that are not in segments yet.",
        limits.active_series_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_active_streams",
        None,
        "COUNT",
        "Streams with records that are not in segments yet.",
        limits.active_streams_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_live_traces",
        None,
        "COUNT",
        "Traces in memory; spans of new ones are refused above it. Where there are half as many, they are written to a segment, every ten seconds at most.",
        limits.live_traces_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_bytes_per_trace",
        None,
        "SIZE",
        "Spans of one trace in memory; more are refused until these have been written to a segment.",
        limits.trace_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_labels",
        None,
        "COUNT",
        "Labels of one series or stream.",
        limits.labels_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_label_name_bytes",
        None,
        "SIZE",
        "Length of a label's name.",
        limits.label_name_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_label_value_bytes",
        None,
        "SIZE",
        "Length of a label's value.",
        limits.label_value_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_attributes",
        None,
        "COUNT",
        "Attributes of one record.",
        limits.attributes_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_attribute_bytes",
        None,
        "SIZE",
        "Length of one attribute's value.",
        limits.attribute_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_line_bytes",
        None,
        "SIZE",
        "Length of a log record's body.",
        limits.line_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.on_oversize",
        None,
        "reject|truncate",
        "What becomes of a log record whose body is too long: it is refused, or kept without its end.",
        limits.on_oversize = (|text: &str| word(&OVERSIZES, text)),
        |oversize: &Oversize| show_word(&OVERSIZES, oversize)
    ),
    setting!(
        "limits.ingest.max_nesting_depth",
        None,
        "COUNT",
        "Levels of arrays and maps in a value.",
        limits.nesting_depth_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_columns_per_stream",
        None,
        "COUNT",
        "Attributes of a tenant's streams that have a column of their own in a segment, the most frequent ones; the others lie together. Counts from the next flush; 1000 at most.",
        limits.columns_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_age",
        None,
        "DURATION",
        "Records older than this are refused. 0 takes any age.",
        limits.age_max_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.ingest.max_future",
        None,
        "DURATION",
        "Records further ahead of the clock than this are refused. 0 takes any.",
        limits.future_max_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.ingest.ooo_window",
        None,
        "DURATION",
        "How much older than the newest sample of its series a sample may be. 0 takes none that is older.",
        limits.ooo_window_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.timeout",
        None,
        "DURATION",
        "A query that takes longer is ended.",
        limits.query_timeout_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.max_range",
        None,
        "DURATION",
        "Time from the first to the last moment of a range query.",
        limits.query_range_max_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.max_bytes_scanned",
        None,
        "SIZE",
        "Bytes that one query may read from segments.",
        limits.query_bytes_scanned_max = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.query.max_memory",
        None,
        "SIZE",
        "Memory that one query may keep. 0 is a quarter of memory.limit.",
        limits.query_memory_max = size::<u64>,
        show_size64
    ),
    setting!(
        "limits.query.max_concurrent",
        None,
        "COUNT",
        "Queries of a tenant that run at one time, half of all places at most.",
        limits.query_concurrent_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.queue_size",
        None,
        "COUNT",
        "Queries of a tenant that wait for their turn; one more gets 429.",
        limits.query_queue_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.queue_timeout",
        None,
        "DURATION",
        "How long a query waits for its turn before it gets 429.",
        limits.query_queue_timeout_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.max_samples",
        None,
        "COUNT",
        "Samples or rows that one query may touch.",
        limits.query_samples_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_series",
        None,
        "COUNT",
        "Series that one query may select.",
        limits.query_series_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_points_per_series",
        None,
        "COUNT",
        "Steps of a range query.",
        limits.query_points_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_entries",
        None,
        "COUNT",
        "Log lines in one answer.",
        limits.query_entries_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_traces",
        None,
        "COUNT",
        "Traces in one answer.",
        limits.query_traces_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_expr_bytes",
        None,
        "SIZE",
        "Length of a query.",
        limits.expression_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.query.max_expr_depth",
        None,
        "COUNT",
        "Nesting of a query.",
        limits.expression_depth_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_regex_bytes",
        None,
        "SIZE",
        "Length of a regular expression.",
        limits.regex_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.query.regex_program_bytes",
        None,
        "SIZE",
        "Memory of a compiled regular expression.",
        limits.regex_program_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.retention",
        Some("retention"),
        "DURATION",
        "How long a tenant's data is kept, counted from a record's time or its arrival, whichever is later. 0 keeps it for ever.",
        limits.retention_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.max_disk_bytes",
        None,
        "SIZE",
        "Bytes of the segments of a tenant; above it its writes get 429.",
        limits.disk_bytes_max = size::<u64>,
        show_size64
    ),
];
