//! The table of settings.

use std::path::PathBuf;

use ingest::{DeltaMode, Strategy};
use model::Profile;
use storage::Durability;

use super::limits::LIMITS;
use super::values::{
    DELTA_MODES, PROFILES, STRATEGIES, flag_value, positive_ns_u64, read_algorithms,
    read_durability, read_folder, read_log, read_names, read_path, read_promote, read_roles,
    read_text, show, show_bucket, show_names, show_ns, show_path, show_promote, show_size,
    show_size64, show_word, size, unsigned, word,
};
use super::{Config, LogFormat};
use crate::units::{format_bytes, format_duration_ns, parse_address, parse_duration_ns};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in TOML, such as `storage.durability`.
    pub name: &'static str,
    /// A flag of its own; otherwise the flag is the name with dashes.
    pub(super) flag: Option<&'static str>,
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
pub(super) use setting;

/// Every setting, in the order of the docs.
pub static SETTINGS: &[Setting] = &joined::<COUNT>([BEFORE_LIMITS, LIMITS, BEHIND_LIMITS]);

const COUNT: usize = BEFORE_LIMITS.len() + LIMITS.len() + BEHIND_LIMITS.len();

/// The parts in one table. Panics: bug, `N` is not the sum of their lengths.
const fn joined<const N: usize>(parts: [&[Setting]; 3]) -> [Setting; N] {
    let mut all = [parts[0][0]; N];
    let (mut part, mut row, mut count) = (0, 0, 0);
    while part < parts.len() {
        if row == parts[part].len() {
            (part, row) = (part + 1, 0);
        } else {
            all[count] = parts[part][row];
            (row, count) = (row + 1, count + 1);
        }
    }
    assert!(count == N, "bug: the count of settings is wrong");
    all
}

const BEFORE_LIMITS: &[Setting] = &[
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
        connections.connections_max = unsigned::<usize>,
        show
    ),
    setting!(
        "server.h2_max_streams",
        None,
        "COUNT",
        "Requests at one time on one HTTP/2 connection.",
        connections.streams_max = unsigned::<u32>,
        show
    ),
    setting!(
        "server.max_header_bytes",
        None,
        "SIZE",
        "All headers of one request; above it 431.",
        connections.header_bytes_max = size::<u32>,
        |bytes: &u32| format_bytes(u64::from(*bytes))
    ),
    setting!(
        "server.max_headers",
        None,
        "COUNT",
        "Headers of one request; above it 431.",
        connections.headers_max = unsigned::<usize>,
        show
    ),
    setting!(
        "server.tls_handshake_timeout",
        None,
        "DURATION",
        "A TLS handshake that takes longer is ended.",
        connections.handshake_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "server.header_timeout",
        None,
        "DURATION",
        "A client that has begun a request, or a connection, and not sent its headers by then gets 408.",
        connections.header_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "server.body_deadline",
        None,
        "DURATION",
        "A body may keep us waiting this long in all; then 408. 0 waits for ever.",
        connections.body_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "server.body_min_rate",
        None,
        "SIZE",
        "Bytes per second that a body must bring once it has kept us waiting for 10 s. 0 takes any.",
        connections.body_rate_min = size::<u64>,
        show_size64
    ),
    setting!(
        "server.idle_timeout",
        None,
        "DURATION",
        "A connection without a request is closed after this. 0 keeps it.",
        connections.idle_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "server.write_timeout",
        None,
        "DURATION",
        "A client that takes no byte of its answer for this long is closed. 0 waits for ever.",
        connections.write_ns = parse_duration_ns,
        show_ns
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
        "tls.cert",
        None,
        "FILE",
        "Certificate chain (PEM) of all three listeners. They speak TLS then, and take up new files within 10 s.",
        tls.cert = read_path,
        show_path
    ),
    setting!(
        "tls.key",
        None,
        "FILE",
        "Private key (PEM) of the certificate.",
        tls.key = read_path,
        show_path
    ),
    setting!(
        "tls.client_ca",
        None,
        "FILE",
        "Authorities (PEM) whose client certificates are taken; [[auth.certificates]] says who may do what.",
        tls.client_ca = read_path,
        show_path
    ),
    setting!(
        "tls.client_required",
        None,
        "BOOL",
        "Ends handshakes without a client's certificate, health checks included.",
        tls.client_required = flag_value,
        show
    ),
    setting!(
        "auth.failed_login_rate",
        None,
        "COUNT",
        "Wrong passwords or tokens of one address and user in a minute; more get 429. 0 takes any number.",
        auth.failed_login_rate = unsigned::<u32>,
        show
    ),
    setting!(
        "auth.oidc.issuer",
        None,
        "URL",
        "Identity provider whose tokens (JWT) are taken; their iss must be this text.",
        auth.oidc.issuer = read_text,
        show
    ),
    setting!(
        "auth.oidc.audience",
        None,
        "NAME",
        "What aud of a token must hold.",
        auth.oidc.audience = read_text,
        show
    ),
    setting!(
        "auth.oidc.jwks_url",
        None,
        "URL",
        "Where the provider's keys are. Empty asks /.well-known/openid-configuration of the issuer.",
        auth.oidc.jwks_url = read_text,
        show
    ),
    setting!(
        "auth.oidc.algorithms",
        None,
        "NAMES",
        "Signatures that are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.",
        auth.oidc.algorithms = read_algorithms,
        show_names
    ),
    setting!(
        "auth.oidc.role_claim",
        None,
        "NAME",
        "Claim that holds the role, or groups that auth.oidc.roles makes roles of.",
        auth.oidc.role_claim = read_text,
        show
    ),
    setting!(
        "auth.oidc.roles",
        None,
        "GROUP=ROLE,...",
        "Roles of groups, such as sre=admin,devs=read. Empty takes names of roles from the claim as they are.",
        auth.oidc.roles = read_roles,
        show_names
    ),
    setting!(
        "auth.oidc.tenant_claim",
        None,
        "NAME",
        "Claim that holds the tenants.",
        auth.oidc.tenant_claim = read_text,
        show
    ),
    setting!(
        "auth.oidc.tenants",
        None,
        "NAMES",
        "Tenants of principals whose token names none; * for all. Empty refuses them.",
        auth.oidc.tenants = read_names,
        show_names
    ),
    setting!(
        "egress.block_private",
        None,
        "BOOL",
        "Refuses to fetch what a setting names from private, loopback and link-local addresses.",
        egress.block_private = flag_value,
        show
    ),
    setting!(
        "egress.timeout",
        None,
        "DURATION",
        "A fetch that takes longer is ended.",
        egress.timeout_ns = parse_duration_ns,
        show_ns
    ),
    setting!(
        "egress.max_response_bytes",
        None,
        "SIZE",
        "A fetched answer that is larger is not read.",
        egress.response_bytes_max = size::<usize>,
        show_size
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
        "storage.wal_replay_memory_ceiling",
        None,
        "SIZE",
        "Memory for what the log brings back after a crash; above it the oldest is flushed first. 0 is a quarter of memory.limit.",
        storage.replay_memory_max = size::<u64>,
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
];

const BEHIND_LIMITS: &[Setting] = &[
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
