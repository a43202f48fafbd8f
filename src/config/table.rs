//! The table of settings.

use std::path::PathBuf;

use ingest::{DeltaMode, Strategy};
use model::{Oversize, Profile};
use storage::Durability;

use super::values::{
    DELTA_MODES, OVERSIZES, PROFILES, STRATEGIES, flag_value, positive_ns_u64, read_durability,
    read_folder, read_log, read_names, read_promote, show, show_bucket, show_ns, show_promote,
    show_size, show_size64, show_word, size, unsigned, word,
};
use super::{Config, LogFormat};
use crate::units::{format_duration_ns, parse_address, parse_duration_ns};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in TOML, such as `storage.retention`.
    pub name: &'static str,
    /// A flag of its own; otherwise the flag is the name with dashes.
    flag: Option<&'static str>,
    /// What stands for the value in help texts.
    pub value: &'static str,
    /// One or two sentences.
    pub doc: &'static str,
    /// Reads a value into the configuration, or says what is wrong with it.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// Writes the value that a configuration holds.
    pub get: fn(&Config) -> String,
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("TERCET_{}", self.flag().to_uppercase().replace('-', "_"))
    }

    /// The flag without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.flag.map_or_else(|| self.name.replace(['.', '_'], "-"), str::to_owned)
    }
}

macro_rules! setting {
    ($name:literal, $flag:expr, $value:literal, $doc:literal,
     $($field:ident).+ = $parse:expr, $format:expr) => {
        Setting {
            name: $name,
            flag: $flag,
            value: $value,
            doc: $doc,
            set: |config, text| {
                config.$($field).+ = $parse(text)?;
                Ok(())
            },
            get: |config| $format(&config.$($field).+),
        }
    };
}

/// Every setting, in the order of the docs.
pub static SETTINGS: &[Setting] = &[
    setting!(
        "server.http",
        Some("http"),
        "ADDRESS:PORT",
        "Where people and Grafana come in: the page, every query API, and every ingest path as well. Port 0 picks a free one.",
        http = parse_address,
        show
    ),
    setting!(
        "server.otlp_http",
        Some("otlp-http"),
        "ADDRESS:PORT",
        "OTLP over HTTP. The other protocols are answered here too.",
        otlp_http = parse_address,
        show
    ),
    setting!(
        "server.otlp_grpc",
        Some("otlp-grpc"),
        "ADDRESS:PORT",
        "OTLP over gRPC. The other protocols are answered here too.",
        otlp_grpc = parse_address,
        show
    ),
    setting!(
        "server.insecure",
        Some("insecure"),
        "BOOL",
        "Allows listening on addresses that other machines reach although nobody is asked who they are.",
        insecure = flag_value,
        show
    ),
    setting!(
        "server.profile",
        None,
        "single|multi",
        "Whose defaults the limits have: those of one tenant who owns the machine, or of many who do not know each other.",
        profile = (|text: &str| word(&PROFILES, text)),
        |profile: &Profile| show_word(&PROFILES, profile)
    ),
    setting!(
        "server.max_request_bytes",
        None,
        "SIZE",
        "A larger body is refused with 413.",
        ingest.request_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "server.max_decompressed_bytes",
        None,
        "SIZE",
        "A body that is larger than this once decompressed is refused with 413.",
        ingest.decompressed_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "server.max_inflight_ingest_bytes",
        None,
        "SIZE",
        "Bodies being decoded and stored at one time; above it senders wait, then get 503. 0 is 20 % of memory.limit.",
        ingest.inflight_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "server.max_connections",
        None,
        "COUNT",
        "Open connections on all listeners together.",
        connections_max = unsigned::<usize>,
        show
    ),
    setting!(
        "server.shutdown_delay",
        None,
        "DURATION",
        "How long after a SIGTERM requests are still taken while /-/ready says 503, so that a load balancer can turn away first.",
        shutdown_delay_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "server.shutdown_timeout",
        None,
        "DURATION",
        "How long a SIGTERM waits for requests in flight and the last flush.",
        shutdown_timeout_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "memory.limit",
        None,
        "SIZE",
        "Memory of the whole process: near it queries are refused first, then writes. 0 is 80 % of what the machine or the cgroup has.",
        memory_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.data",
        Some("data"),
        "DIR",
        "Folder for the log and, without a bucket, everything else.",
        storage.data_dir = read_folder,
        |path: &PathBuf| path.display().to_string()
    ),
    setting!(
        "storage.bucket",
        Some("bucket"),
        "URL",
        "Keeps segments and catalog in a bucket: s3://bucket/prefix, gs://, az://. Credentials come from the environment of the cloud's own tools (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, ...).",
        storage.bucket =
            (|text: &str| Ok::<_, String>((!text.is_empty()).then(|| text.to_owned()))),
        show_bucket
    ),
    setting!(
        "storage.retention",
        Some("retention"),
        "DURATION",
        "How long data is kept, counted from a record's time or its arrival, whichever is later. 0 keeps it for ever.",
        storage.retention_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "storage.durability",
        None,
        "fsync|os",
        "When a 2xx is sent: fsync, when the log is on disk; os, when the operating system has it.",
        storage.durability = read_durability,
        |durability: &Durability| match durability {
            Durability::Fsync => "fsync".to_owned(),
            Durability::Os => "os".to_owned(),
        }
    ),
    setting!(
        "storage.group_commit",
        None,
        "DURATION",
        "How long an acknowledgement may wait so that others share its fsync.",
        storage.group_commit_us = (|text: &str| Ok::<_, String>(positive_ns_u64(text)? / 1_000)),
        |us: &u64| format_duration_ns(i64::try_from(us * 1_000).unwrap_or(i64::MAX))
    ),
    setting!(
        "storage.wal_segment_bytes",
        None,
        "SIZE",
        "Size of one file of the write-ahead log.",
        storage.wal_segment_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.wal_max_bytes",
        None,
        "SIZE",
        "All of the write-ahead log; above it writes get 503.",
        storage.wal_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.flush_wal_bytes",
        None,
        "SIZE",
        "A signal is flushed when this much of its log is not in segments yet. Less where memory.limit is small.",
        storage.flush_wal_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.flush_memory_bytes",
        None,
        "SIZE",
        "A signal is flushed when its memtable keeps this much memory. Less where memory.limit is small.",
        storage.flush_memory_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.flush_age",
        None,
        "DURATION",
        "A signal is flushed when its oldest unflushed record is this old.",
        storage.flush_age_ns = positive_ns_u64,
        |ns: &u64| format_duration_ns(i64::try_from(*ns).unwrap_or(i64::MAX))
    ),
    setting!(
        "storage.memtable_max_bytes",
        None,
        "SIZE",
        "Memory of all memtables; above it writes wait, then get 503. Less where memory.limit is small.",
        storage.memtable_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.cache_bytes",
        None,
        "SIZE",
        "Memory for blocks that queries have read. Less where memory.limit is small.",
        storage.cache_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.gc_grace",
        None,
        "DURATION",
        "Replaced files are kept this long.",
        storage.gc_grace_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "storage.dedup_window",
        None,
        "DURATION",
        "A byte-identical request inside this window is stored once.",
        storage.dedup_window_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "storage.disk_min_free",
        None,
        "SIZE",
        "Writes get 503 when the disk has less than this. 0 is the larger of 1 GiB and 5 % of the disk, and never more than a fifth of it.",
        storage.disk_free_bytes_min = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.threads",
        None,
        "COUNT",
        "Threads for work on rows, queries and merges together.",
        storage.pool_threads = unsigned::<usize>,
        show
    ),
    setting!(
        "storage.id_fields",
        None,
        "NAMES",
        "Attributes whose values can be looked up as IDs, compared without case, dashes, dots and underscores.",
        storage.id_fields = read_names,
        |names: &Vec<String>| names.join(",")
    ),
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
        "limits.max_disk_bytes",
        None,
        "SIZE",
        "Bytes of the segments of a tenant; above it its writes get 429.",
        limits.disk_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "otlp.translation_strategy",
        None,
        "STRATEGY",
        "How names of OTLP metrics become names of series: UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes or NoTranslation.",
        translation.strategy = (|text: &str| word(&STRATEGIES, text)),
        |strategy: &Strategy| show_word(&STRATEGIES, strategy)
    ),
    setting!(
        "otlp.delta",
        None,
        "accumulate|keep|reject",
        "What becomes of points with delta temporality: counters that only grow, points as they are, or a refusal.",
        translation.delta = (|text: &str| word(&DELTA_MODES, text)),
        |mode: &DeltaMode| show_word(&DELTA_MODES, mode)
    ),
    setting!(
        "otlp.promote_resource_attributes",
        None,
        "NAMES",
        "Resource attributes that become labels of every series; * takes all, *,-a,-b all but some. The others are on target_info.",
        translation.promote = read_promote,
        show_promote
    ),
    setting!(
        "otlp.keep_identifying_resource_attributes",
        None,
        "BOOL",
        "Keeps service.name, service.namespace and service.instance.id on target_info beside job and instance.",
        translation.keep_identifying_attributes = flag_value,
        show
    ),
    setting!(
        "otlp.promote_scope_metadata",
        None,
        "BOOL",
        "Adds name, version and attributes of the instrumentation scope as otel_scope_ labels.",
        translation.scope_labels = flag_value,
        show
    ),
    setting!(
        "otlp.convert_histograms_to_nhcb",
        None,
        "BOOL",
        "Stores histograms with explicit bounds as native histograms with custom buckets.",
        translation.histograms_to_nhcb = flag_value,
        show
    ),
    setting!(
        "promql.lookback",
        None,
        "DURATION",
        "How far back an instant looks for a sample.",
        lookback_ms = (|text: &str| Ok::<_, String>(parse_duration_ns(text)? / 1_000_000)),
        |ms: &i64| format_duration_ns(ms * 1_000_000)
    ),
    setting!(
        "log.format",
        None,
        "text|json",
        "How Tercet's own log looks.",
        log = read_log,
        |log: &LogFormat| match log {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    ),
    setting!(
        "log.level",
        None,
        "FILTER",
        "What goes to Tercet's own log: error, warn, info, debug, or a filter by module.",
        log_filter = (|text: &str| Ok::<_, String>(text.to_owned())),
        show
    ),
];
