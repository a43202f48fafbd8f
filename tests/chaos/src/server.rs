//! A `tercet serve` of the binary under test, in a folder of the test's own, on ports of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longer than any step of a healthy server on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test: that of `TERCET_BIN`, or the one that was built beside this program.
///
/// # Panics
/// There is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("TERCET_BIN") {
        return named.into();
    }
    let this = std::env::current_exe().expect("this program lies somewhere");
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join("tercet"));
    let mut beside = beside.filter(|path| path.is_file());
    beside.next().expect("tercet is built beside this program: cargo build, or set TERCET_BIN")
}

/// A running server; ended with SIGKILL when dropped.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT` of the page and the query APIs.
    pub http: String,
    pub otlp_http: String,
    pub otlp_grpc: String,
    pub client: reqwest::Client,
    child: Child,
}

impl Server {
    /// Starts on `data` with more flags and returns once its addresses are printed.
    pub async fn start(data: &Path, flags: &[&str]) -> Server {
        Server::start_in(data, flags, &[]).await
    }

    /// As [`Server::start`], with variables of the environment.
    pub async fn start_in(data: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        Server::start_by(&binary(), data, flags, variables).await
    }

    /// As [`Server::start_in`], by a program that becomes the binary.
    pub async fn start_by(
        program: &Path,
        data: &Path,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Server {
        let mut child = Command::new(program)
            .envs(variables.iter().copied())
            .env_remove("TERCET_BIN")
            .env_remove("TERCET_CONFORMANCE")
            .args(["serve", "--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"])
            .args(["--otlp-grpc", "127.0.0.1:0", "--log-level", "warn", "--data"])
            .arg(data)
            .args(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut http, mut otlp_http, mut otlp_grpc) =
            (String::new(), String::new(), String::new());
        while otlp_grpc.is_empty() {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            let line = line.expect("prints its addresses in time").expect("its output is text");
            let line = line.expect("prints its addresses before it ends");
            let address = line.split_whitespace().find(|word| word.starts_with("http://"));
            match (line.split_whitespace().next(), address) {
                (Some("page"), Some(address)) => http = address.to_owned(),
                (Some("otlp/http"), Some(address)) => otlp_http = address.to_owned(),
                (Some("otlp/grpc"), Some(address)) => otlp_grpc = address.to_owned(),
                _ => {}
            }
        }
        // The rest of its output is read so that it never blocks.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Server { http, otlp_http, otlp_grpc, client, child }
    }

    /// As [`Server::start`], and waits until nothing of the log is left to replay.
    pub async fn ready(data: &Path, flags: &[&str]) -> Server {
        let server = Server::start(data, flags).await;
        server.wait_ready(PATIENCE).await;
        server
    }

    /// Waits for `/-/ready`; returns how long that took.
    pub async fn wait_ready(&self, patience: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let answer = self.client.get(format!("{}/-/ready", self.http)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return start.elapsed();
            }
            assert!(start.elapsed() < patience, "not ready after {patience:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// GET of a path below `http`; the status and the body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.http)).send().await.expect(path);
        (answer.status().as_u16(), answer.text().await.expect(path))
    }

    /// GET of a path that must answer 200 with JSON.
    pub async fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// POST of a body to `http`; the status and the answer's body.
    pub async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.http));
        let answer = request.header("content-type", content_type).body(body).send().await;
        let answer = answer.expect(path);
        (answer.status().as_u16(), answer.text().await.expect(path))
    }

    /// How long the server would have needed by itself: its CPU time so far, spread over the cores.
    /// Other tests and other programs share the machine, and wall time counts them as well.
    pub fn busy(&self) -> Duration {
        const TICKS_PER_S: u32 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u32 =
            fields[11..13].iter().map(|field| field.parse::<u32>().expect("ticks")).sum();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Duration::from_secs(1) * ticks / TICKS_PER_S / cores
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal by name, such as `KILL`.
    pub async fn signal(&self, name: &str) {
        let name = format!("-{name}");
        let sent = Command::new("kill").args([&name, &self.pid().to_string()]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// SIGTERM; waits for the end and gives the exit code and how long it took.
    pub async fn terminate(mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        self.signal("TERM").await;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        (status.expect("ends in time").expect("has a status").code(), start.elapsed())
    }
}

/// Text as it stands in a query string.
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
