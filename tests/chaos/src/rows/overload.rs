//! B5: three times the load that it can take, in a cage of memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server, escape};

pub(super) const ROWS: &[Row] = &[Row {
    id: "B5",
    fault: "three times the load that it can take, in a control group with 512 MiB",
    expected: "no OOM kill; 70 % of capacity accepted; 503/429 with Retry-After; queries answer",
    tier: Tier::Full,
    run: overload,
}];

const CAGE_BYTES: u64 = 512 << 20;
const RECORDS: u64 = 500;
/// Senders that wait for their answers while capacity is measured.
const SENDERS: usize = 8;
/// Requests under way at one time, at most.
const UNDER_WAY_MAX: usize = 256;

/// A control group of version 1 with little memory; removed when dropped.
struct Cage(PathBuf);

impl Cage {
    fn new() -> Result<Cage, String> {
        let folder = PathBuf::from(format!("/sys/fs/cgroup/memory/chaos-{}", std::process::id()));
        let set = || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("memory.limit_in_bytes"), CAGE_BYTES.to_string())
        };
        set().map_err(|error| format!("{}: {error}", folder.display()))?;
        // Where the kernel counts swap, there is none of it either.
        let _uncounted =
            std::fs::write(folder.join("memory.memsw.limit_in_bytes"), CAGE_BYTES.to_string());
        Ok(Cage(folder))
    }

    /// A shell's script that goes into the cage and becomes the program behind it.
    fn entrance(&self) -> String {
        format!("echo $$ > {} && exec \"$@\"", self.0.join("cgroup.procs").display())
    }

    fn oom_kills(&self) -> u64 {
        let control = std::fs::read_to_string(self.0.join("memory.oom_control")).expect("v1");
        let line = control.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.map_or(0, |count| count.parse().expect("a number"))
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Its process has to be gone first; what is left over harms nobody.
        let _left_over = std::fs::remove_dir(&self.0);
    }
}

/// A request whose batch number stands in it as text, to be written over.
struct Template {
    body: Vec<u8>,
    places: Vec<usize>,
}

const FIRST: u64 = 10_000_000;

impl Template {
    fn new() -> Template {
        let body = load::logs(FIRST, RECORDS, now_ns());
        let text = FIRST.to_string();
        let found = body.windows(text.len()).enumerate();
        let places = found.filter(|(_, part)| *part == text.as_bytes()).map(|(at, _)| at).collect();
        Template { body, places }
    }

    fn number(&self, number: u64) -> Vec<u8> {
        let mut body = self.body.clone();
        let text = (FIRST + number).to_string();
        for &at in &self.places {
            body[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        body
    }
}

#[derive(Default)]
struct Counts {
    next: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

/// A template of about now: times of real records go on.
#[derive(Default)]
struct Fresh(parking_lot::Mutex<Option<(Instant, Arc<Template>)>>);

impl Fresh {
    fn template(&self) -> Arc<Template> {
        let mut made = self.0.lock();
        match &*made {
            Some((at, template)) if at.elapsed() < Duration::from_millis(200) => {
                Arc::clone(template)
            }
            _ => {
                let template = Arc::new(Template::new());
                *made = Some((Instant::now(), Arc::clone(&template)));
                template
            }
        }
    }
}

/// Sends one batch and counts its answer.
async fn send(client: reqwest::Client, url: Arc<str>, fresh: Arc<Fresh>, counts: Arc<Counts>) {
    let body = fresh.template().number(counts.next.fetch_add(1, Ordering::Relaxed));
    let request =
        client.post(&*url).header("content-type", "application/x-protobuf").body(body).send();
    match request.await {
        Ok(answer) if answer.status() == 200 => counts.accepted.fetch_add(1, Ordering::Relaxed),
        Ok(answer) => {
            let status = answer.status().as_u16();
            assert!(status == 503 || status == 429, "a write got {status}");
            assert!(answer.headers().contains_key("retry-after"), "{status} without Retry-After");
            counts.refused.fetch_add(1, Ordering::Relaxed)
        }
        Err(_) => counts.unanswered.fetch_add(1, Ordering::Relaxed),
    };
}

fn overload(case: Case) -> Running {
    Box::pin(async move {
        let cage = match Cage::new() {
            Ok(cage) => cage,
            Err(why) => return Outcome::Skipped(format!("no memory cgroup of version 1: {why}")),
        };
        let data = case.folder.join("data");
        let entrance = cage.entrance();
        let through = ["sh", "-c", &entrance, "sh"];
        let launch = Launch { through: &through, ..Launch::default() };
        let server = Server::launch(&data, &[], &[], &launch).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let fresh = Arc::new(Fresh::default());
        let url: Arc<str> = format!("{}/v1/logs", server.http).into();
        let client = server.client.clone();
        let one = |counts: &Arc<Counts>| {
            let (client, url) = (client.clone(), Arc::clone(&url));
            send(client, url, Arc::clone(&fresh), Arc::clone(counts))
        };

        let stop = Arc::new(AtomicBool::new(false));
        let asking =
            tokio::spawn(ask(server.http.clone(), server.client.clone(), Arc::clone(&stop)));
        let measured = Duration::from_secs(case.rounds(15, 60));
        let counts = Arc::new(Counts::default());
        let (start, busy) = (Instant::now(), server.busy());
        let senders = (0..SENDERS).map(|_| async {
            while start.elapsed() < measured {
                one(&counts).await;
            }
        });
        let mut joined = Vec::from_iter(senders.map(Box::pin));
        // Polled together: they share this task.
        std::future::poll_fn(|ctx| {
            joined.retain_mut(|sender| sender.as_mut().poll(ctx).is_pending());
            if joined.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        let can = Rate::of(&counts, start.elapsed(), server.busy() - busy);
        assert!(can.per_s > 0.0, "nothing was accepted");

        let counts = Arc::new(Counts {
            next: AtomicU64::new(counts.next.load(Ordering::Relaxed)),
            ..Counts::default()
        });
        let lasts = Duration::from_secs(case.rounds(25, 600));
        let (start, busy) = (Instant::now(), server.busy());
        let mut under_way = tokio::task::JoinSet::new();
        let (mut offered, mut peak_bytes) = (0u64, 0u64);
        while start.elapsed() < lasts {
            let due = (start.elapsed().as_secs_f64() * can.per_s * 3.0) as u64;
            while offered < due {
                offered += 1;
                if under_way.len() < UNDER_WAY_MAX {
                    under_way.spawn(one(&counts));
                } else {
                    // Who finds no connection free is not served either.
                    counts.unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
            while let Some(ended) = under_way.try_join_next() {
                ended.expect("a write is answered as promised");
            }
            peak_bytes = peak_bytes.max(resident_bytes(server.pid()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = start.elapsed();
        let does = Rate::of(&counts, took, server.busy() - busy);
        while let Some(ended) = under_way.join_next().await {
            ended.expect("a write is answered as promised");
        }
        stop.store(true, Ordering::Relaxed);
        let (answered, shed) = asking.await.expect("queries are answered as promised");
        assert_eq!(cage.oom_kills(), 0, "the kernel ended it");
        let (status, _) = server.get("/-/healthy").await;
        assert_eq!(status, 200, "health");
        assert!(answered > 0, "no query was answered, {shed} were shed");
        let refused = counts.refused.load(Ordering::Relaxed);
        let share = |does: f64, can: f64| does / can * 100.0;
        let came = format!(
            "capacity {can}; offered {:.0}/s for {:.0} s, accepted {does}: {:.0} % by the clock, \
             {:.0} % by CPU time; {refused} refused; {answered} queries answered, {shed} shed; peak \
             {} MiB, no OOM kill",
            offered as f64 / took.as_secs_f64(),
            took.as_secs_f64(),
            share(does.per_s, can.per_s),
            share(does.per_cpu_s, can.per_cpu_s),
            peak_bytes >> 20
        );
        // The senders of three times the load want the same two cores: what the server makes of the
        // CPU time that it gets tells whether it breaks down.
        let share = share(does.per_s, can.per_s).max(share(does.per_cpu_s, can.per_cpu_s));
        assert!(share >= 70.0, "{came}; {}", reasons(&server).await);
        server.kill().await;
        Outcome::Held(came)
    })
}

/// What was accepted. Units: requests.
struct Rate {
    per_s: f64,
    per_cpu_s: f64,
}

impl Rate {
    fn of(counts: &Counts, took: Duration, busy: Duration) -> Rate {
        let accepted = counts.accepted.load(Ordering::Relaxed) as f64;
        Rate {
            per_s: accepted / took.as_secs_f64(),
            per_cpu_s: accepted / busy.as_secs_f64().max(0.01),
        }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rate { per_s, per_cpu_s } = self;
        write!(
            f,
            "{per_s:.0} requests/s of {RECORDS} records ({per_cpu_s:.0} per second of all cores)"
        )
    }
}

/// What was refused and why, as `/metrics` counts it.
async fn reasons(server: &Server) -> String {
    let page = server.get("/metrics").await.1;
    let lines = page.lines().filter(|line| line.contains("reason=") && !line.ends_with(" 0"));
    lines.collect::<Vec<_>>().join(" ")
}

/// Asks a query every half second; how many were answered and how many shed.
async fn ask(http: String, client: reqwest::Client, stop: Arc<AtomicBool>) -> (u64, u64) {
    let text = format!("sum(count_over_time({{service_name=\"{}\"}}[1m]))", load::SERVICE);
    let url = format!("{http}/loki/api/v1/query?query={}", escape(&text));
    let (mut answered, mut shed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Ok(answer) = client.get(&url).send().await {
            match answer.status().as_u16() {
                200 => answered += 1,
                429 | 503 => {
                    let says = answer.headers().contains_key("retry-after");
                    assert!(says, "a query was shed without Retry-After");
                    shed += 1;
                }
                // A query that takes too long or keeps too much says so.
                400 | 504 => shed += 1,
                status => panic!("a query got {status}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    (answered, shed)
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
