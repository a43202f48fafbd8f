//! The table of settings.

use std::path::PathBuf;

use ingest::{DeltaMode, Promote, Strategy};
use storage::Durability;

use super::{Config, LogFormat};
use crate::units::{
    format_bytes, format_duration_ns, parse_address, parse_bytes, parse_duration_ns,
};

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

fn unsigned<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{text:?} is not a whole number of 0 or more"))
}

fn size<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    T::try_from(parse_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
}

fn flag_value(text: &str) -> Result<bool, String> {
    match text {
        "" | "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
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

fn show<T: ToString>(value: &T) -> String {
    value.to_string()
}

fn show_size(bytes: &usize) -> String {
    format_bytes(*bytes as u64)
}

fn show_size64(bytes: &u64) -> String {
    format_bytes(*bytes)
}

fn show_ns(ns: &i64) -> String {
    format_duration_ns(*ns)
}

fn show_bucket(bucket: &Option<String>) -> String {
    bucket.clone().unwrap_or_default()
}

fn read_durability(text: &str) -> Result<Durability, String> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        _ => Err(format!("{text:?} is neither fsync nor os")),
    }
}

fn read_log(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

fn read_folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn read_names(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The names of Prometheus' configuration file.
const STRATEGIES: [(&str, Strategy); 4] = [
    ("UnderscoreEscapingWithSuffixes", Strategy::UnderscoreEscapingWithSuffixes),
    ("UnderscoreEscapingWithoutSuffixes", Strategy::UnderscoreEscapingWithoutSuffixes),
    ("NoUTF8EscapingWithSuffixes", Strategy::NoUtf8EscapingWithSuffixes),
    ("NoTranslation", Strategy::NoTranslation),
];

const DELTA_MODES: [(&str, DeltaMode); 3] = [
    ("accumulate", DeltaMode::Accumulate),
    ("keep", DeltaMode::Keep),
    ("reject", DeltaMode::Reject),
];

/// Reads one of a few words.
fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of {}", words.join(", "))
    })
}

fn show_word<T: PartialEq>(words: &[(&str, T)], value: &T) -> String {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map_or_else(String::new, |(word, _)| (*word).to_owned())
}

/// `a,b` lists what is promoted; `*` promotes all, `*,-a,-b` all but some.
fn read_promote(text: &str) -> Result<Promote, String> {
    let names = read_names(text)?;
    if names.first().is_some_and(|first| first == "*") {
        let excepted = names[1..].iter().map(|name| {
            name.strip_prefix('-')
                .map(str::to_owned)
                .ok_or_else(|| format!("{name:?} stands behind * without a dash: write *,-{name}"))
        });
        return Ok(Promote::AllExcept(excepted.collect::<Result<_, _>>()?));
    }
    Ok(Promote::Listed(names))
}

fn show_promote(promote: &Promote) -> String {
    match promote {
        Promote::Listed(names) => names.join(","),
        Promote::AllExcept(names) => {
            let mut text = "*".to_owned();
            for name in names {
                text.push_str(",-");
                text.push_str(name);
            }
            text
        }
    }
}

fn positive_ns_u64(text: &str) -> Result<u64, String> {
    u64::try_from(parse_duration_ns(text)?).map_err(|_| format!("{text:?} is negative"))
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
        "Bodies being decoded and stored at one time; above it senders wait, then get 503.",
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
        "A signal is flushed when this much of its log is not in segments yet.",
        storage.flush_wal_bytes = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.flush_memory_bytes",
        None,
        "SIZE",
        "A signal is flushed when its memtable keeps this much memory.",
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
        "Memory of all memtables; above it writes wait, then get 503.",
        storage.memtable_bytes_max = size::<u64>,
        show_size64
    ),
    setting!(
        "storage.cache_bytes",
        None,
        "SIZE",
        "Memory for blocks that queries have read.",
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
        "Writes get 503 when the disk has less than this.",
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
        "limits.ingest.max_active_series",
        None,
        "COUNT",
        "Series with samples that are not in segments yet.",
        storage.limits.active_series_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_active_streams",
        None,
        "COUNT",
        "Streams with records that are not in segments yet.",
        storage.limits.active_streams_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_labels",
        None,
        "COUNT",
        "Labels of one series or stream.",
        storage.limits.labels_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_label_name_bytes",
        None,
        "SIZE",
        "Length of a label's name.",
        storage.limits.label_name_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_label_value_bytes",
        None,
        "SIZE",
        "Length of a label's value.",
        storage.limits.label_value_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_attributes",
        None,
        "COUNT",
        "Attributes of one record.",
        storage.limits.attributes_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_attribute_bytes",
        None,
        "SIZE",
        "Length of one attribute's value.",
        storage.limits.attribute_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_line_bytes",
        None,
        "SIZE",
        "Length of a log record's body.",
        storage.limits.line_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.ingest.max_nesting_depth",
        None,
        "COUNT",
        "Levels of arrays and maps in a value.",
        storage.limits.nesting_depth_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.ingest.max_age",
        None,
        "DURATION",
        "Records older than this are refused. 0 takes any age.",
        storage.limits.age_max_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.ingest.max_future",
        None,
        "DURATION",
        "Records further ahead of the clock than this are refused. 0 takes any.",
        storage.limits.future_max_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.ingest.ooo_window",
        None,
        "DURATION",
        "How much older than the newest sample of its series a sample may be. 0 takes none that is older.",
        storage.limits.ooo_window_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.timeout",
        None,
        "DURATION",
        "A query that takes longer is ended.",
        storage.limits.query_timeout_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "limits.query.max_samples",
        None,
        "COUNT",
        "Samples or rows that one query may touch.",
        storage.limits.query_samples_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_series",
        None,
        "COUNT",
        "Series that one query may select.",
        storage.limits.query_series_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_points_per_series",
        None,
        "COUNT",
        "Steps of a range query.",
        storage.limits.query_points_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_entries",
        None,
        "COUNT",
        "Log lines in one answer.",
        storage.limits.query_entries_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_traces",
        None,
        "COUNT",
        "Traces in one answer.",
        storage.limits.query_traces_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_expr_bytes",
        None,
        "SIZE",
        "Length of a query.",
        storage.limits.expression_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.query.max_expr_depth",
        None,
        "COUNT",
        "Nesting of a query.",
        storage.limits.expression_depth_max = unsigned::<usize>,
        show
    ),
    setting!(
        "limits.query.max_regex_bytes",
        None,
        "SIZE",
        "Length of a regular expression.",
        storage.limits.regex_bytes_max = size::<usize>,
        show_size
    ),
    setting!(
        "limits.query.regex_program_bytes",
        None,
        "SIZE",
        "Memory of a compiled regular expression.",
        storage.limits.regex_program_bytes_max = size::<usize>,
        show_size
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
