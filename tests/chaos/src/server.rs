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

/// Runs the binary under test; its exit code and all that it said.
///
/// # Panics
/// It does not start, or does not end in time.
pub async fn tercet(args: &[&str]) -> (Option<i32>, String) {
    tercet_in(args, &[]).await
}

/// The same with variables of the environment.
///
/// # Panics
/// It does not start, or does not end in time.
pub async fn tercet_in(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    let command = command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    command.env_remove("TERCET_BIN").env_remove("TERCET_CONFORMANCE");
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(10 * PATIENCE, output).await;
    let output = output.expect("ends in time").expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
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
    /// The server's own process where `child` is a program around it.
    inner: Option<u32>,
}

impl Server {
    /// Starts on `data` with more flags and returns once its addresses are printed.
    pub async fn start(data: &Path, flags: &[&str]) -> Server {
        Server::start_in(data, flags, &[]).await
    }

    /// As [`Server::start`], with variables of the environment.
    pub async fn start_in(data: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        Server::launch(data, flags, variables, &Launch::default()).await
    }

    /// As [`Server::start`], with all of its own log in a file.
    pub async fn start_logging(data: &Path, log: &Path) -> Server {
        let launch = Launch { log_level: "trace", log: Some(log), ..Launch::default() };
        Server::launch(data, &[], &[], &launch).await
    }

    /// As [`Server::start`], as the child of a program that stays, such as `bwrap`. The process ID is
    /// that of the server.
    pub async fn start_under(wrapper: &[&str], data: &Path) -> Server {
        let launch = Launch { through: wrapper, ..Launch::default() };
        let mut server = Server::launch(data, &[], &[], &launch).await;
        let wrapper = server.pid();
        let children = std::fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children"));
        server.inner = children.ok().and_then(|list| list.split_whitespace().next()?.parse().ok());
        server
    }

    /// As [`Server::start_in`], through another program or on another address.
    pub async fn launch(
        data: &Path,
        flags: &[&str],
        variables: &[(&str, &str)],
        launch: &Launch<'_>,
    ) -> Server {
        let mut child = launch
            .command()
            .envs(variables.iter().copied())
            .env_remove("TERCET_BIN")
            .env_remove("TERCET_CONFORMANCE")
            .arg("serve")
            .args(launch.addresses())
            .args(["--log-level", launch.log_level, "--data"])
            .arg(data)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(launch.stderr())
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
            let address = line.split_whitespace().find(|word| word.starts_with("http"));
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
        Server { http, otlp_http, otlp_grpc, client, child, inner: None }
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
        self.inner.or_else(|| self.child.id()).expect("it runs")
    }

    /// Sends a signal by name, such as `KILL`.
    /// Asks for a flush or a merge (`/-/flush`, `/-/compact`), which must come about.
    pub async fn upkeep(&self, path: &str) {
        let (status, answer) = self.post(path, "text/plain", Vec::new()).await;
        assert_eq!(status, 204, "{path}: {answer}");
    }

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
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits for the end and gives the exit code and how long it took.
    pub async fn ended(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        (self.status().await.code(), start.elapsed())
    }

    /// Waits for the end, which may be a signal.
    pub async fn status(&mut self) -> std::process::ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status.expect("ends in time").expect("has a status")
    }

    /// One of its own figures, summed over its labels where these words stand in them; 0 where
    /// there is none.
    pub async fn figure(&self, name: &str, labels: &str) -> f64 {
        let (_, page) = self.get("/metrics").await;
        let is_it = |line: &&str| {
            let rest = line.strip_prefix("tercet_").and_then(|line| line.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(labels))
        };
        let values = page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// A program that runs the command that follows, in place of itself, such as `ip netns exec`.
    pub through: &'a [&'a str],
    /// The host that it listens on, on ports that it chooses.
    pub host: &'a str,
    /// What of its own log goes to standard error.
    pub log_level: &'a str,
    /// Where that goes instead.
    pub log: Option<&'a Path>,
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Launch { through: &[], host: "127.0.0.1", log_level: "warn", log: None }
    }
}

impl Launch<'_> {
    /// For faults that the server would speak about without end.
    pub const QUIET: Launch<'static> =
        Launch { through: &[], host: "127.0.0.1", log_level: "off", log: None };

    fn command(&self) -> Command {
        let Some((program, args)) = self.through.split_first() else {
            return Command::new(binary());
        };
        let mut command = Command::new(program);
        command.args(args).arg(binary());
        command
    }

    fn stderr(&self) -> Stdio {
        self.log.map_or_else(Stdio::inherit, |path| {
            std::fs::File::create(path).expect("a log file").into()
        })
    }

    fn addresses(&self) -> Vec<String> {
        let flags = ["--http", "--otlp-http", "--otlp-grpc"];
        flags.iter().flat_map(|flag| [(*flag).to_owned(), format!("{}:0", self.host)]).collect()
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
