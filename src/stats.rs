//! `/metrics`: what the rooms count, in Prometheus' text format, every name prefixed `tercet_`.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/> (0.0.4), and the names that
//! `promtool check metrics` asks for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::MemoryPool;

use crate::admin::Admin;
use crate::doors::panics;
use crate::limits;

type Row = (&'static str, Vec<(&'static str, String)>, f64);

/// Every family and what it says, in order of name.
const HELP: &[(&str, &str)] = &[
    ("auth_failures_total", "Requests turned away at the door, by kind."),
    (
        "backpressure_state",
        "0 if nothing is refused for memory, 1 if queries are, 2 if writes are too.",
    ),
    ("backups_active", "Backups under way: their files stay until they end."),
    ("build_info", "1, with the version as a label."),
    ("cache_hits_total", "Reads of objects that the cache answered."),
    ("cache_misses_total", "Reads of objects that the cache did not hold."),
    ("catalog_commits_total", "Changes of the catalog that were written."),
    ("catalog_conflicts_total", "Changes of the catalog that had to be tried again."),
    ("catalog_problems", "Contradictions found in the catalog when it was opened."),
    ("compacted_bytes_total", "Bytes of the segments that compactions wrote."),
    ("compaction_failures_total", "Compactions that failed."),
    ("compactions_total", "Compactions that were done."),
    (
        "config_last_reload_success_timestamp_seconds",
        "When settings were last read without a problem.",
    ),
    (
        "config_last_reload_successful",
        "1 if the settings were read without a problem the last time.",
    ),
    ("data_loss_suspected", "1 if anything on disk was found damaged."),
    ("disk_free_bytes", "Free bytes of the disk that holds the data."),
    ("flush_failures_total", "Flushes of memtables that failed."),
    ("flushes_total", "Flushes of memtables that were done."),
    ("ingest_deduplicated_requests_total", "Requests that had been taken before."),
    (
        "ingest_discarded_bytes_total",
        "Bytes of requests refused as a whole, by tenant, signal and reason.",
    ),
    ("ingest_discarded_records_total", "Records refused, by tenant, signal and reason."),
    ("ingest_inflight_bytes", "Bytes of the requests that are being taken in."),
    ("ingest_received_bytes_total", "Bytes of requests that were taken, as sent."),
    ("ingest_received_records_total", "Records of requests that were taken."),
    ("ingest_requests_total", "Requests that were taken."),
    ("limit", "Limits that have a use, by tenant; 0 is none."),
    ("limit_usage", "How much of a limit is used, by tenant."),
    ("memory_limit_bytes", "Memory that the process may use."),
    ("memory_resident_bytes", "Anonymous memory of the process, as the system counts it."),
    ("memory_used_bytes", "Memory that parts of the process keep, by pool."),
    ("memtable_bytes", "Memory of rows that are not in a segment yet."),
    ("memtable_rows", "Rows that are not in a segment yet."),
    ("memtables_set_aside", "Memtables that a bug keeps from becoming segments."),
    ("orphan_files_removed_total", "Files removed that the catalog does not know."),
    ("panics_total", "Bugs that stopped a request or a task."),
    ("prev_shutdown_unclean", "1 if the server did not stop in order the last time."),
    ("queries_ended_total", "Queries that ended before their answer, by reason."),
    ("queries_in_flight", "Requests to the query endpoints that are being answered."),
    ("query_rejected_total", "Queries refused before they began, by tenant and reason."),
    ("query_requests_total", "Requests to the query endpoints that were answered."),
    ("query_samples_total", "Samples and rows that queries touched."),
    ("query_scanned_bytes_total", "Bytes that queries read."),
    ("query_seconds_total", "Time from request to answer of the query endpoints."),
    ("read_only", "1 while writes are refused, by reason."),
    ("requests_rejected_total", "Ingest requests refused as a whole, by class."),
    ("retention_dropped_segments_total", "Segments removed because of their age."),
    ("retention_refusals_total", "Rounds of retention that were refused as unlikely."),
    ("retention_waiting_bytes", "Bytes that retention asks about before it drops them."),
    ("retention_waiting_segments", "Segments that retention asks about before it drops them."),
    ("segment_bytes", "Bytes of segments, by signal and level."),
    ("segment_corruptions_total", "Segments found damaged."),
    ("segment_rows", "Rows in segments, by signal and level."),
    ("segments", "Segments, by signal and level."),
    ("segments_quarantined", "Segments set aside because they are damaged."),
    ("segments_unmergeable", "Segments left as they are, because merging them does not work."),
    ("start_time_seconds", "When the server started, since the Unix epoch."),
    ("tls_reload_failures_total", "Times that new TLS files could not be used."),
    ("tls_reloads_total", "Times that new TLS files were taken up."),
    ("wal_appended_bytes_total", "Bytes written to the log."),
    ("wal_bytes", "Bytes of the log's files."),
    ("wal_corruptions_total", "Damaged places found in the log."),
    ("wal_entries_total", "Entries written to the log."),
    ("wal_failed", "1 if the log can not be written any more."),
    ("wal_fsync_seconds", "Time that writing the log through to the disk took."),
    ("wal_replay_active", "1 while the log is being replayed."),
    ("wal_replay_failures_total", "Entries of the log that could not be replayed."),
    ("wal_replayed_entries_total", "Entries of the log that were replayed."),
    ("wal_torn_tail_total", "Ends of the log that a crash had cut."),
    ("wal_unflushed_bytes", "Bytes of the log whose rows are in no segment yet."),
    ("wal_write_errors_total", "Writes to the log that failed."),
    ("writes_refused_total", "Writes refused for want of memory or disk."),
];

/// The whole page.
pub(crate) fn render(admin: &Admin) -> String {
    let (store, ingest, query) = (admin.store.stats(), admin.ingest.stats(), admin.query.stats());
    let (reload_ok, reloaded_ns) = admin.reloader.last();
    let memory = &admin.config.storage.memory;
    let (reloads, failures) = admin.tls.as_ref().map_or((0, 0), |tls| tls.counts());
    let mut of_doors = vec![
        ("panics_total", Vec::new(), panics::counted() as f64),
        ("tls_reloads_total", Vec::new(), reloads as f64),
        ("tls_reload_failures_total", Vec::new(), failures as f64),
    ];
    of_doors.extend(admin.doors.turned_away().map(|(kind, count)| {
        ("auth_failures_total", vec![("kind", kind.to_owned())], count as f64)
    }));
    let own = [
        ("build_info", vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0),
        ("config_last_reload_successful", Vec::new(), if reload_ok { 1.0 } else { 0.0 }),
        ("config_last_reload_success_timestamp_seconds", Vec::new(), reloaded_ns as f64 / 1e9),
        ("memory_limit_bytes", Vec::new(), memory.limit_bytes() as f64),
        ("memory_resident_bytes", Vec::new(), memory.resident_bytes() as f64),
        ("backpressure_state", Vec::new(), memory.pressure() as u8 as f64),
        ("start_time_seconds", Vec::new(), admin.started_ns as f64 / 1e9),
    ];
    let mut own = own.to_vec();
    for (tenant, limit, value, used) in limits::figures(admin) {
        let labels = vec![("tenant", tenant), ("limit", limit.to_owned())];
        own.push(("limit", labels.clone(), value));
        own.push(("limit_usage", labels, used));
    }
    for (pool, bytes) in [
        (MemoryPool::Ingest, admin.ingest.inflight_bytes()),
        (MemoryPool::Memtables, admin.store.memtable_bytes()),
        (MemoryPool::Cache, admin.store.cache_bytes()),
        (MemoryPool::Queries, memory.query_bytes()),
    ] {
        own.push(("memory_used_bytes", vec![("pool", pool.as_str().to_owned())], bytes as f64));
    }
    let counters = [store.counters, ingest.counters, query.counters, of_doors].concat();
    let gauges = [store.gauges, ingest.gauges, query.gauges, own].concat();
    let mut page = String::new();
    write_families(&mut page, "counter", counters);
    write_families(&mut page, "gauge", gauges);
    write_families(&mut page, "summary", store.summaries);
    page
}

/// The family of a row: a summary's sum and count belong together.
fn family(kind: &str, name: &'static str) -> &'static str {
    let parts = ["_sum", "_count"].into_iter().filter(|_| kind == "summary");
    parts.into_iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

fn write_families(page: &mut String, kind: &str, rows: Vec<Row>) {
    let mut families: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for row in rows {
        families.entry(family(kind, row.0)).or_default().push(row);
    }
    for (name, rows) in families {
        let help = HELP.binary_search_by_key(&name, |(name, _)| name);
        let help = help.ok().and_then(|at| HELP.get(at)).map_or("", |(_, help)| help);
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "# HELP tercet_{name} {help}");
        let _infallible = writeln!(page, "# TYPE tercet_{name} {kind}");
        for (name, labels, value) in rows {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            let braces =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _infallible = writeln!(page, "tercet_{name}{braces} {value}");
        }
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use axum::body::Body;
    use http::Request;
    use storage::Components;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Config;
    use crate::{Server, SystemClock, SystemRandom};

    #[test]
    fn families_are_described_once_and_values_escaped() {
        let mut page = String::new();
        let row =
            |tenant: &str, value| ("flushes_total", vec![("tenant", tenant.to_owned())], value);
        write_families(&mut page, "counter", vec![row("a\"b", 1.0), row("c", 3.0)]);
        let sum = ("wal_fsync_seconds_sum", Vec::new(), 2.5);
        let count = ("wal_fsync_seconds_count", Vec::new(), 4.0);
        write_families(&mut page, "summary", vec![sum, count]);
        assert_eq!(
            page,
            "# HELP tercet_flushes_total Flushes of memtables that were done.\n\
             # TYPE tercet_flushes_total counter\n\
             tercet_flushes_total{tenant=\"a\\\"b\"} 1\n\
             tercet_flushes_total{tenant=\"c\"} 3\n\
             # HELP tercet_wal_fsync_seconds Time that writing the log through to the disk took.\n\
             # TYPE tercet_wal_fsync_seconds summary\n\
             tercet_wal_fsync_seconds_sum 2.5\n\
             tercet_wal_fsync_seconds_count 4\n"
        );
    }

    /// What a scraper finds wrong with a page; the families in it.
    fn check_page(page: &str) -> Result<BTreeSet<&str>, String> {
        let mut seen = BTreeSet::new();
        let mut series = BTreeSet::new();
        let (mut name, mut kind) = ("", "");
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let wrong = |why: &str| Err(format!("{why}: {line}"));
            if let Some(help) = line.strip_prefix("# HELP ") {
                let Some((family, text)) = help.split_once(' ') else { return wrong("no help") };
                if !text.ends_with('.') || !family.starts_with("tercet_") {
                    return wrong("no help");
                }
                let next = lines.next().unwrap_or_default();
                let Some(typed) = next.strip_prefix(&format!("# TYPE {family} ")) else {
                    return wrong("no type");
                };
                (name, kind) = (family, typed);
                if !seen.insert(family) {
                    return wrong("family twice");
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return wrong("a counter, and nothing else, ends in _total");
                }
                continue;
            }
            let Some((key, value)) = line.rsplit_once(' ') else { return wrong("no sample") };
            let found = key.split('{').next().unwrap_or_default();
            let belongs = match kind {
                "summary" => ["_sum", "_count"].iter().any(|end| found == format!("{name}{end}")),
                "counter" | "gauge" => {
                    found == name && !found.ends_with("_sum") && !found.ends_with("_count")
                }
                _ => false,
            };
            if !belongs || value.parse::<f64>().is_err() {
                return wrong("no sample of its family");
            }
            if !series.insert(key) {
                return wrong("series twice");
            }
        }
        Ok(seen)
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let family = "# HELP tercet_a_total A.\n# TYPE tercet_a_total counter\ntercet_a_total 1\n";
        assert!(check_page(family).is_ok());
        assert!(check_page(&family.repeat(2)).is_err());
        assert!(check_page(&format!("{family}tercet_a_total 2\n")).is_err());
        assert!(check_page(&family.replace("_total", "")).is_err());
        assert!(check_page(&family.replace("counter", "gauge")).is_err());
        assert!(check_page(&family.replace("counter", "summary")).is_err());
        assert!(check_page(&family.replace(" A.", " ")).is_err());
        assert!(check_page("tercet_a_total 1\n").is_err());
    }

    /// Every family that there is: a server that took, refused, flushed and was asked.
    #[tokio::test]
    async fn the_whole_page_is_valid_and_all_of_it_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config {
            http: any_port,
            otlp_http: any_port,
            otlp_grpc: any_port,
            ..Config::default()
        };
        config.storage.data_dir = folder.path().to_owned();
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let server = Server::start(config, Components::new(clock, random)).await.unwrap();
        let admin = &server.admin;
        let router = admin.ingest.router().merge(admin.query.router());
        let entry = |ns: i64| {
            format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{ns}","line"]]}}]}}"#)
        };
        let hour_ns = 3_600_000_000_000;
        for (path, body) in [
            ("/loki/api/v1/push", entry(admin.started_ns)),
            ("/loki/api/v1/push", entry(admin.started_ns + hour_ns)),
            ("/loki/api/v1/push", "no JSON".to_owned()),
            ("/loki/api/v1/labels", String::new()),
            ("/loki/api/v1/labels", "short of memory".to_owned()),
        ] {
            if body == "short of memory" {
                admin.config.storage.memory.measured(u64::MAX);
            }
            let request = Request::post(path).header("content-type", "application/json");
            router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        }
        admin.store.flush(None).await.unwrap();

        let page = render(admin);
        let families = check_page(&page).unwrap();
        let described: Vec<String> =
            HELP.iter().map(|(name, _)| format!("tercet_{name}")).collect();
        assert!(described.is_sorted(), "the table is searched");
        let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
        assert_eq!(families, described);
        server.stop().await.unwrap();
    }
}
