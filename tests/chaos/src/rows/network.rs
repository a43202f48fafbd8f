//! D1 and D2: the network between sender and server breaks, and clients vanish.

use std::time::{Duration, Instant};

use tercet::canary::Options;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::crash::SMALL;
use crate::dice::Dice;
use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server, escape};
use crate::system;
use crate::tools::now_s;
use crate::witness::{Witness, until};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "D1-partition",
        fault: "nothing passes between sender and server for a while",
        expected: "a sender that repeats loses nothing and doubles nothing",
        tier: Tier::Fast,
        run: |case| broken_network(case, Fault::Partition),
    },
    Row {
        id: "D1-loss",
        fault: "30 % of the packets are lost, both ways",
        expected: "a sender that repeats loses nothing and doubles nothing",
        tier: Tier::Fast,
        run: |case| broken_network(case, Fault::Loss),
    },
    Row {
        id: "D1-resets",
        fault: "connections are reset at random",
        expected: "a sender that repeats loses nothing and doubles nothing",
        tier: Tier::Fast,
        run: |case| broken_network(case, Fault::Resets),
    },
    Row {
        id: "D2-body",
        fault: "clients vanish in the middle of a body, and before the answer",
        expected: "of a request all is stored or nothing, of half a body nothing; no bytes stay \
                   accounted for",
        tier: Tier::Fast,
        run: half_bodies,
    },
    Row {
        id: "D2-query",
        fault: "clients vanish in the middle of a query",
        expected: "the query ends within 1 s",
        tier: Tier::Fast,
        run: half_queries,
    },
];

#[derive(Debug, Clone, Copy)]
enum Fault {
    Partition,
    Loss,
    Resets,
}

impl Fault {
    /// Rules of nftables, for the chains `in` and `out` of the server's side.
    fn rules(self) -> &'static [&'static str] {
        match self {
            Fault::Partition => &["in drop", "out drop"],
            Fault::Loss => {
                &["in numgen random mod 100 < 30 drop", "out numgen random mod 100 < 30 drop"]
            }
            Fault::Resets => {
                &["in meta l4proto tcp numgen random mod 100 < 5 reject with tcp reset"]
            }
        }
    }
}

/// A network of two hosts: this one and a namespace.
#[derive(Debug)]
struct Network {
    name: String,
    link: String,
    /// The namespace's address.
    host: String,
}

impl Network {
    fn new(number: u64) -> Result<Network, String> {
        // A /30 of the block for benchmarks of networks (RFC 2544).
        let (third, fourth) = (number / 64 % 256, number % 64 * 4);
        let network = Network {
            name: format!("chaos{number:x}"),
            link: format!("ch{number:x}"),
            host: format!("198.18.{third}.{}", fourth + 2),
        };
        let (name, link, peer) = (&network.name, &network.link, format!("{}p", network.link));
        let near = format!("198.18.{third}.{}/30", fourth + 1);
        let far = format!("{}/30", network.host);
        system::run("ip", &["netns", "add", name])?;
        system::run("ip", &["link", "add", link, "type", "veth", "peer", "name", &peer])?;
        system::run("ip", &["link", "set", &peer, "netns", name])?;
        system::run("ip", &["addr", "add", &near, "dev", link])?;
        system::run("ip", &["link", "set", link, "up"])?;
        for command in [
            vec!["ip", "addr", "add", &far, "dev", &peer],
            vec!["ip", "link", "set", &peer, "up"],
            vec!["ip", "link", "set", "lo", "up"],
            vec!["nft", "add", "table", "inet", "faults"],
            vec!["nft", "add chain inet faults in { type filter hook input priority 0 ; }"],
            vec!["nft", "add chain inet faults out { type filter hook output priority 0 ; }"],
        ] {
            network.inside(&command)?;
        }
        Ok(network)
    }

    fn inside(&self, command: &[&str]) -> Result<String, String> {
        system::run("ip", &[&["netns", "exec", &self.name], command].concat())
    }

    fn break_it(&self, fault: Fault) {
        for rule in fault.rules() {
            let rule = format!("add rule inet faults {rule}");
            self.inside(&["nft", &rule]).expect("the rule is taken");
        }
    }

    fn heal(&self) {
        for chain in ["in", "out"] {
            let flush = format!("flush chain inet faults {chain}");
            self.inside(&["nft", &flush]).expect("the rules go");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _best_effort = system::run("ip", &["link", "del", &self.link]);
        let _best_effort = system::run("ip", &["netns", "del", &self.name]);
    }
}

fn broken_network(case: Case, fault: Fault) -> Running {
    Box::pin(async move {
        let mut dice = Dice::new(case.seed ^ u64::from(std::process::id()) ^ fault as u64);
        let network = match Network::new(dice.between(0, 16_384)) {
            Ok(network) => network,
            Err(why) => return Outcome::Skipped(why),
        };
        let through = ["ip", "netns", "exec", &network.name];
        let launch = Launch { through: &through, host: &network.host, ..Launch::QUIET };
        let flags = [&SMALL[..], &["--insecure"]].concat();
        let server = Server::launch(&case.folder, &flags, &[], &launch).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let witness = Witness::new(Options { rate: 200, ..Options::default() });
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seconds = case.rounds(4, 30);
        network.break_it(fault);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        network.heal();
        let before = witness.acked();
        until("requests pass again", || async {
            witness.acked().iter().zip(before).all(|(now, before)| *now > before)
        })
        .await;
        sending.stop().await;
        witness.check_all(&server).await;
        let known = server.figure("ingest_deduplicated_requests_total", "").await;
        let unanswered = witness.canary.answers().unanswered;
        server.kill().await;
        drop(network);
        Outcome::Held(format!(
            "{seconds} s: {unanswered} requests without an answer, {known} repetitions recognised; {}",
            witness.acked_text()
        ))
    })
}

/// A connection that is reset when dropped, and not closed in order.
async fn abrupt(server: &Server) -> TcpStream {
    let address = server.http.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_zero_linger().expect("a socket option");
    stream
}

const RECORDS: u64 = 50;

fn half_bodies(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let mut dice = Dice::new(case.seed);
        let clients = case.rounds(100, 1000);
        let whole = case.rounds(50, 500);
        for client in 0..clients + whole {
            let body = load::logs(client, RECORDS, now_s() * 1_000_000_000);
            let head = format!(
                "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            let sent = if client < clients {
                dice.between(0, body.len() as u64) as usize
            } else {
                body.len()
            };
            let mut stream = abrupt(&server).await;
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream.write_all(&body[..sent]).await.expect("sent");
            if client % 3 == 0 {
                tokio::time::sleep(dice.ms(0, 5)).await;
            }
            if client % 2 == 0 {
                // Closed in order, as a client that ends.
                drop(stream.shutdown().await);
            }
        }
        until("no bytes are accounted for", || async {
            server.figure("ingest_inflight_bytes", "").await == 0.0
        })
        .await;
        let query =
            format!("sum by (batch) (count_over_time({{service_name=\"{}\"}}[1h]))", load::SERVICE);
        let answer = server.json(&format!("/loki/api/v1/query?query={}", escape(&query))).await;
        let result = answer["data"]["result"].as_array().expect("a vector");
        for batch in result {
            let number =
                batch["metric"]["batch"].as_str().and_then(|text| text.parse::<u64>().ok());
            let number = number.expect("a batch");
            assert!(number >= clients, "batch {number} was never sent whole");
            let count = batch["value"][1].as_str().expect("a count");
            assert_eq!(count, RECORDS.to_string(), "records of batch {number}");
        }
        assert_eq!(server.get("/-/ready").await.0, 200);
        Outcome::Held(format!(
            "{clients} half bodies left nothing; of {whole} whole ones without a reader of the \
             answer {} are stored, each whole",
            result.len()
        ))
    })
}

fn half_queries(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let now = now_s();
        for batch in 0..20 {
            let body = load::metrics(batch, 2000, (now - 300 + batch * 15) as i64 * 1000);
            let request = server.client.post(format!("{}/api/v1/write", server.http));
            let request = request.header("content-encoding", "snappy").body(body);
            let answer = request.header("content-type", "application/x-protobuf").send().await;
            assert_eq!(answer.expect("an answer").status(), 204);
        }
        let query = escape(&format!("sum by (n) (rate({}[5m]))", load::METRIC));
        let (start, end) = (now - 600, now);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=0.1");
        let alone = Instant::now();
        let got = tokio::time::timeout(Duration::from_secs(2), server.get(&path)).await;
        let alone = alone.elapsed();
        let is_heavy = got.is_err();
        let clients = case.rounds(20, 1000);
        for client in 0..clients {
            let mut stream = abrupt(&server).await;
            let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(2 + client % 7)).await;
        }
        let gone = Instant::now();
        until("no query is left", || async { server.figure("queries_in_flight", "").await <= 0.0 })
            .await;
        let busy = server.busy();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = server.busy() - busy;
        assert!(idle < Duration::from_millis(200), "{idle:?} of CPU in the second after");
        let ended = server.figure("queries_ended_total", "reason=\"client_gone\"").await;
        assert!(ended > 0.0, "no query was ended for want of a client");
        let weight = if is_heavy { "more than 2 s".to_owned() } else { format!("{alone:.1?}") };
        Outcome::Held(format!(
            "{clients} clients left queries of {weight}; {ended} of them ended for that, none is \
             left after {:.1?}, {idle:?} of CPU in the second after",
            gone.elapsed()
        ))
    })
}
