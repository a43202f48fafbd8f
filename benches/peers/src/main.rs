//! The same bytes into this program and its peers: what a record costs in processor time, memory
//! and bytes on disk, and how long a trace takes to come back. `README.md` says how to run it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures needs a clock, waits for servers, and prints its figures"
)]

mod http;
mod latency;
mod load;
mod logs;
mod metrics;
mod random;
mod report;
mod scrapes;
mod server;
mod spans;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use load::Load;
use report::Row;
use server::{OURS, PROMETHEUS, Product, Server, VICTORIA_LOGS, VICTORIA_METRICS, VICTORIA_TRACES};

/// What the arguments say: `--tercet FILE --peers FOLDER --scratch FOLDER --scrapes FOLDER
/// --only metrics,logs,spans,scrapes,latency --ours`.
#[derive(Debug)]
struct Options {
    tercet: PathBuf,
    peers: PathBuf,
    scratch: PathBuf,
    scrapes: Option<PathBuf>,
    only: Vec<String>,
    ours: bool,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            tercet: PathBuf::from("target/release/tercet"),
            peers: PathBuf::from("target/peers/bin"),
            scratch: std::env::temp_dir().join(format!("tercet-peers-{}", std::process::id())),
            scrapes: None,
            only: Vec::new(),
            ours: false,
        };
        while let Some(argument) = arguments.next() {
            if argument == "--ours" {
                options.ours = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} wants a value"))?;
            match argument.as_str() {
                "--tercet" => options.tercet = PathBuf::from(value),
                "--peers" => options.peers = PathBuf::from(value),
                "--scratch" => options.scratch = PathBuf::from(value),
                "--scrapes" => options.scrapes = Some(PathBuf::from(value)),
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("{argument} is no argument of this bench")),
            }
        }
        Ok(options)
    }

    fn wants(&self, work: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == work)
    }

    /// Where a product's program is, if it is installed and wanted.
    fn binary(&self, product: Product) -> Option<PathBuf> {
        if product.binary == OURS.binary {
            return Some(self.tercet.clone());
        }
        let path = self.peers.join(product.binary);
        if self.ours {
            return None;
        }
        if path.is_file() {
            return Some(path);
        }
        println!("{} is not installed: skipped (`benches/peers/run.sh install`)\n", product.name);
        None
    }
}

fn main() -> ExitCode {
    let outcome = Options::read(std::env::args().skip(1)).and_then(|options| {
        std::fs::create_dir_all(&options.scratch).map_err(|error| error.to_string())?;
        let outcome = run(&options);
        let _absent = std::fs::remove_dir(&options.scratch);
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("peers: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The work of one signal.
struct Work<'a> {
    title: &'a str,
    unit: &'a str,
    path: &'a str,
    load: &'a Load,
    products: &'a [Product],
    count: &'a dyn Fn(&Server) -> Result<f64, String>,
}

fn run(options: &Options) -> Result<(), String> {
    if options.wants("metrics") {
        run_metrics(options)?;
    }
    if options.wants("scrapes") {
        run_scrapes(options)?;
    }
    if options.wants("logs") {
        run_logs(options)?;
    }
    if options.wants("spans") {
        run_spans(options)?;
    }
    if options.wants("latency") {
        latency::run(options)?;
    }
    Ok(())
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

const SAMPLE_SERVERS: [Product; 3] = [OURS, VICTORIA_METRICS, PROMETHEUS];

/// Counts the samples of the two hours before now, name by name: no limit is met, and series that
/// differ in nothing but their names stay apart.
fn count_samples(server: &Server) -> Result<f64, String> {
    let now = now_s() + 60;
    let (status, text) = server.ask("GET", "/api/v1/label/__name__/values")?;
    let names: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("names: {status} {error}"))?;
    let mut total = 0.0;
    for name in names["data"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
        let query = format!("sum(count_over_time({{__name__={name:?}}}[2h]))");
        total += server.instant("/api/v1/query", &query, now)?;
    }
    Ok(total)
}

fn run_metrics(options: &Options) -> Result<(), String> {
    let wanted = metrics::Wanted {
        series: 100_000,
        scrapes: 60,
        end_ms: now_s() * 1_000 - 10_000,
        traces: 0,
    };
    let load = metrics::generate(wanted);
    let title = "Remote write 1.0, snappy: 100,000 series x 60 samples, 15 s apart";
    measure(
        options,
        &Work {
            title,
            unit: "sample",
            path: "/api/v1/write",
            load: &load,
            products: &SAMPLE_SERVERS,
            count: &count_samples,
        },
    )
}

fn run_scrapes(options: &Options) -> Result<(), String> {
    let Some(folder) = &options.scrapes else {
        println!("No recorded scrapes here (`--scrapes FOLDER`): skipped\n");
        return Ok(());
    };
    for file in ["node-and-server-1s-20min.jsonl.zst", "node-and-server-15s-55min.jsonl.zst"] {
        let load = scrapes::generate(&folder.join(file), (now_s() - 10) * 1_000)?;
        let title = format!("Recorded scrapes as remote write 1.0: {file}");
        measure(
            options,
            &Work {
                title: &title,
                unit: "sample",
                path: "/api/v1/write",
                load: &load,
                products: &SAMPLE_SERVERS,
                count: &count_samples,
            },
        )?;
    }
    Ok(())
}

fn run_logs(options: &Options) -> Result<(), String> {
    let wanted = logs::Wanted {
        records: 2_000_000,
        end_ns: (now_s() as u64 - 10) * 1_000_000_000,
        traces: 200_000,
    };
    let load = logs::generate(wanted);
    measure(
        options,
        &Work {
            title: "OTLP/HTTP logs, protobuf, gzip",
            unit: "record",
            path: "/v1/logs",
            load: &load,
            products: &[OURS, VICTORIA_LOGS],
            count: &count_logs,
        },
    )
}

fn count_logs(server: &Server) -> Result<f64, String> {
    if server.product.name == OURS.name {
        let query = "sum(count_over_time({service_name=~\".+\"}[2h]))";
        return server.instant("/loki/api/v1/query", query, now_s() + 60);
    }
    count_rows(server, "*")
}

/// What VictoriaLogs and VictoriaTraces count with.
fn count_rows(server: &Server, filter: &str) -> Result<f64, String> {
    let query = http::escape(&format!("{filter} | count() rows"));
    let (status, text) = server.ask("GET", &format!("/select/logsql/query?query={query}"))?;
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|answer| answer["rows"].as_str()?.parse().ok())
        .ok_or_else(|| format!("{}: {status} {text}", server.product.name))
}

fn run_spans(options: &Options) -> Result<(), String> {
    let (load, traces) = spans::generate(1_000_000, (now_s() as u64 - 10) * 1_000_000_000);
    measure(
        options,
        &Work {
            title: "OTLP/HTTP traces, protobuf, gzip",
            unit: "span",
            path: "/v1/traces",
            load: &load,
            products: &[OURS, VICTORIA_TRACES],
            count: &|server| count_spans(server, traces),
        },
    )
}

/// Ours: a thousandth of the traces fetched, each with all of its spans, stand for all.
fn count_spans(server: &Server, traces: u64) -> Result<f64, String> {
    if server.product.name != OURS.name {
        return count_rows(server, "trace_id:*");
    }
    let total: u64 = (0..traces).map(spans::spans_of).sum();
    for trace in (0..traces).step_by(1_000) {
        let found = latency::spans_found(server, trace)?;
        if found != spans::spans_of(trace) {
            let wanted = spans::spans_of(trace);
            return Err(format!("trace {trace}: {found} spans of {wanted}"));
        }
    }
    Ok(total as f64)
}

fn measure(options: &Options, work: &Work<'_>) -> Result<(), String> {
    let load = work.load;
    println!(
        "## {}\n\n{} {}s of {:.0} B, {} requests, {:.0} MB sent\n",
        work.title,
        load.records,
        work.unit,
        load.plain_bytes as f64 / load.records as f64,
        load.requests(),
        load.sent_bytes() as f64 / 1e6,
    );
    let mut rows = Vec::new();
    for product in work.products {
        let Some(binary) = options.binary(*product) else { continue };
        rows.push(measure_one(*product, &binary, &options.scratch, work)?);
    }
    println!("{}", report::table(work.unit, &rows));
    Ok(())
}

fn measure_one(
    product: Product,
    binary: &Path,
    scratch: &Path,
    work: &Work<'_>,
) -> Result<Row, String> {
    let server = Server::start(product, binary, scratch)?;
    let cost = server.measure(work.load, work.path)?;
    let counted = (work.count)(&server)?;
    if counted as u64 != work.load.records {
        println!("{} has {counted} {}s of {}!\n", product.name, work.unit, work.load.records);
    }
    Ok(Row { product: product.name, records: work.load.records, cost })
}
