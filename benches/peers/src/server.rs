//! A server under test: started in an empty folder, measured through `/proc`, ended by its ID.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http::{Connection, Kind, escape};
use crate::load::Load;

/// How a product is started, written to, made to write everything out, and asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) name: &'static str,
    pub(crate) binary: &'static str,
    /// `{port}` and `{folder}` stand for themselves.
    arguments: &'static [&'static str],
    ready: &'static str,
    pub(crate) writes: &'static str,
    /// Requests that write out and merge everything.
    settle: &'static [(&'static str, &'static str)],
    /// Folders below the data folder that are no data at rest.
    not_data: &'static [&'static str],
    /// The gauge on `/metrics` that weighs the files which count, where others wait to be deleted.
    live: Option<&'static str>,
}

pub(crate) const OURS: Product = Product {
    name: "Tercet",
    binary: "tercet",
    arguments: &[
        "serve",
        "--data={folder}",
        "--http=127.0.0.1:{port}",
        "--otlp-http=127.0.0.1:0",
        "--otlp-grpc=127.0.0.1:0",
    ],
    ready: "/-/ready",
    writes: "",
    settle: &[("POST", "/-/flush"), ("POST", "/-/compact")],
    not_data: &["wal", "segments"],
    live: Some("tercet_segment_bytes{"),
};
pub(crate) const VICTORIA_METRICS: Product = Product {
    name: "VictoriaMetrics",
    binary: "victoria-metrics",
    arguments: &["-storageDataPath={folder}", "-httpListenAddr=127.0.0.1:{port}"],
    ready: "/health",
    writes: "",
    settle: VICTORIA_SETTLE,
    not_data: &["cache", "tmp"],
    live: None,
};
pub(crate) const PROMETHEUS: Product = Product {
    name: "Prometheus",
    binary: "prometheus",
    arguments: &[
        "--config.file=/dev/null",
        "--storage.tsdb.path={folder}",
        "--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
    ],
    ready: "/-/ready",
    writes: "",
    // It has no flush: a snapshot writes the head out as blocks.
    settle: &[("POST", "/api/v1/admin/tsdb/snapshot")],
    not_data: &["wal", "chunks_head", "wbl"],
    live: None,
};
pub(crate) const VICTORIA_LOGS: Product = Product {
    name: "VictoriaLogs",
    binary: "victoria-logs",
    arguments: &["-storageDataPath={folder}", "-httpListenAddr=127.0.0.1:{port}"],
    ready: "/health",
    writes: "/insert/opentelemetry",
    settle: VICTORIA_SETTLE,
    not_data: &["cache"],
    live: None,
};
pub(crate) const VICTORIA_TRACES: Product = Product {
    name: "VictoriaTraces",
    binary: "victoria-traces",
    arguments: &["-storageDataPath={folder}", "-httpListenAddr=127.0.0.1:{port}"],
    ready: "/health",
    writes: "/insert/opentelemetry",
    settle: VICTORIA_SETTLE,
    not_data: &["cache"],
    live: None,
};
const VICTORIA_SETTLE: &[(&str, &str)] =
    &[("GET", "/internal/force_flush"), ("GET", "/internal/force_merge")];

/// Ticks of `/proc/PID/stat` in a second.
const TICKS_PER_SECOND: f64 = 100.0;
const START_SECONDS_MAX: u64 = 30;
const SETTLE_SECONDS_MAX: u64 = 180;
/// A server that takes less than this of a second of CPU in each of [`IDLE_SECONDS`] is idle.
const IDLE_TICKS: u64 = 4;
const IDLE_SECONDS: u64 = 3;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) product: Product,
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

/// What a load has cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// Of `cpu_seconds`, what had been used when the last request was answered.
    pub(crate) ingest_cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) bytes: u64,
    /// With the log and what waits to be deleted.
    pub(crate) bytes_all: u64,
}

impl Server {
    pub(crate) fn start(product: Product, binary: &Path, scratch: &Path) -> Result<Server, String> {
        let folder = scratch.join(product.binary);
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let port = free_port().map_err(|error| error.to_string())?;
        let log = scratch.join(format!("{}.log", product.binary));
        let log = File::create(log).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let arguments = product.arguments.iter().map(|argument| {
            argument
                .replace("{port}", &port.to_string())
                .replace("{folder}", &folder.display().to_string())
        });
        let child = Command::new(binary)
            .args(arguments)
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let server = Server { product, child, port, folder };
        for _ in 0..START_SECONDS_MAX * 20 {
            let answer = Connection::open(port)
                .and_then(|mut connection| connection.request("GET", product.ready));
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(server);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("{} is not ready after {START_SECONDS_MAX} s", product.name))
    }

    /// Sends all of a load, over as many connections as it has.
    pub(crate) fn send(&self, load: &Load, path: &str) -> Result<(), String> {
        let path = format!("{}{path}", self.product.writes);
        std::thread::scope(|scope| {
            let senders: Vec<_> = load
                .bodies
                .iter()
                .map(|bodies| scope.spawn(|| send_all(self.port, &path, load.kind, bodies)))
                .collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().map_err(|_| "a sender panicked".to_owned())?)
        })
    }

    /// Sends, settles and measures.
    pub(crate) fn measure(&self, load: &Load, path: &str) -> Result<Cost, String> {
        let start = Instant::now();
        self.send(load, path)?;
        let wall_seconds = start.elapsed().as_secs_f64();
        let ingest_cpu_seconds = self.cpu_ticks() as f64 / TICKS_PER_SECOND;
        self.settle()?;
        Ok(Cost {
            cpu_seconds: self.cpu_ticks() as f64 / TICKS_PER_SECOND,
            ingest_cpu_seconds,
            wall_seconds,
            rss_bytes: self.rss_bytes(),
            bytes: self.bytes(self.product.not_data) + self.live_bytes()?,
            bytes_all: self.bytes(&[]),
        })
    }

    /// Has everything written out and merged, and waits until nothing is done any more.
    pub(crate) fn settle(&self) -> Result<(), String> {
        for (method, path) in self.product.settle {
            let answer = self.ask(method, path)?;
            if answer.0 >= 300 {
                return Err(format!("{} {path}: {} {}", self.product.name, answer.0, answer.1));
            }
        }
        self.wait_idle();
        Ok(())
    }

    fn wait_idle(&self) {
        let (mut idle, mut last) = (0, self.cpu_ticks());
        for _ in 0..SETTLE_SECONDS_MAX {
            sleep(Duration::from_secs(1));
            let now = self.cpu_ticks();
            idle = if now - last <= IDLE_TICKS { idle + 1 } else { 0 };
            last = now;
            if idle == IDLE_SECONDS {
                return;
            }
        }
    }

    /// The status and text of an answer.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Result<(u16, String), String> {
        let answer = Connection::open(self.port)
            .and_then(|mut connection| connection.request(method, target))
            .map_err(|error| format!("{} {target}: {error}", self.product.name))?;
        Ok((answer.status, answer.text()))
    }

    /// The number that a PromQL or LogQL query answers with.
    pub(crate) fn instant(&self, path: &str, query: &str, time_s: i64) -> Result<f64, String> {
        let target = format!("{path}?time={time_s}&query={}", escape(query));
        let (status, text) = self.ask("GET", &target)?;
        serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|answer| answer["data"]["result"][0]["value"][1].as_str()?.parse().ok())
            .ok_or_else(|| {
                let text: String = text.chars().take(300).collect();
                format!("{} {query}: {status} {text}", self.product.name)
            })
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// utime and stime: fields 14 and 15, counted behind the name, which may hold spaces.
    fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }

    fn rss_bytes(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    fn live_bytes(&self) -> Result<u64, String> {
        let Some(gauge) = self.product.live else { return Ok(0) };
        let (_, page) = self.ask("GET", "/metrics")?;
        let values = page.lines().filter(|line| line.starts_with(gauge));
        let numbers = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(numbers.sum::<f64>() as u64)
    }

    /// What the files weigh, folders named in `without` left out.
    fn bytes(&self, without: &[&str]) -> u64 {
        folder_bytes(&self.folder, without)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if !std::thread::panicking() {
            let _absent = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn send_all(port: u16, path: &str, kind: Kind, bodies: &[Vec<u8>]) -> Result<(), String> {
    let mut connection = Connection::open(port).map_err(|error| error.to_string())?;
    for body in bodies {
        let answer =
            connection.send(path, kind, body).map_err(|error| format!("{path}: {error}"))?;
        if answer.status >= 300 {
            return Err(format!("{path}: {} {}", answer.status, answer.text()));
        }
    }
    Ok(())
}

fn folder_bytes(folder: &Path, without: &[&str]) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter(|entry| !without.iter().any(|name| entry.file_name() == *name))
        .filter_map(|entry| {
            let kind = entry.metadata().ok()?;
            Some(if kind.is_dir() { folder_bytes(&entry.path(), without) } else { kind.len() })
        })
        .sum()
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
