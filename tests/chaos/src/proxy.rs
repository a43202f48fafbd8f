//! Stands between a server and its bucket and spoils what goes through: errors before and after a
//! request was carried out, answers cut short or with a flipped bit, listings of some time ago.
//!
//! It speaks as much HTTP/1.1 as an S3 client and gateway do between themselves: one request, one
//! answer, then the connection ends.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::dice::Dice;

/// Longer heads are nothing that we or the gateway send. Units: bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How often what goes wrong. Units: percent of the requests that it can happen to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spoil {
    /// 503 and 429 by turns, before anything is done.
    pub refuse: u64,
    /// A PUT is carried out, and its answer is lost.
    pub lose_answers: u64,
    /// The body of a GET ends in its middle.
    pub truncate: u64,
    /// A bit of a GET's body is another one.
    pub flip: u64,
    /// A GET finds nothing.
    pub hide: u64,
    /// A listing is the one that was asked for before.
    pub stale: u64,
}

/// What has happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub requests: u64,
    pub spoiled: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    spoil: Mutex<Spoil>,
    seen: Mutex<Seen>,
    dice: Mutex<Dice>,
    /// The last listing of each prefix.
    listings: Mutex<HashMap<String, Vec<u8>>>,
}

/// See the module's docs. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Passes on to `upstream`, a host and port.
    pub async fn start(upstream: &str, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            spoil: Mutex::default(),
            seen: Mutex::default(),
            dice: Mutex::new(Dice::new(seed)),
            listings: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                // A connection that breaks is the client's business.
                connections.spawn(async move { shared.serve(client).await.unwrap_or_default() });
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { address, shared, task }
    }

    /// From now on.
    pub fn spoil(&self, spoil: Spoil) {
        *self.shared.spoil.lock() = spoil;
    }

    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.shared.seen.lock()
    }
}

/// A request or answer: its head up to the empty line, and its body.
#[derive(Debug, Default)]
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n\r\n", &self.body].concat()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some(request) = read_request(&mut client).await? else { return Ok(()) };
        let spoil = *self.spoil.lock();
        let (method, target) = request.head.split_once(' ').unwrap_or_default();
        let is_listing = method == "GET" && target.contains("list-type=2");
        let is_get = method == "GET" && !is_listing;
        self.seen.lock().requests += 1;
        if self.happens(spoil.refuse) {
            let status = if self.happens(50) { "503 Slow Down" } else { "429 Too Many Requests" };
            return client.write_all(&empty(status)).await;
        }
        if is_get && self.happens(spoil.hide) {
            return client.write_all(&empty("404 Not Found")).await;
        }
        let mut answer = self.pass_on(&request).await?;
        if method == "PUT" && self.happens(spoil.lose_answers) {
            return Ok(());
        }
        if is_listing {
            let key = target.split(' ').next().unwrap_or_default().to_owned();
            let fresh = answer.clone();
            if let Some(old) = self.listings.lock().insert(key, fresh)
                && self.happens(spoil.stale)
            {
                answer = old;
            }
        }
        if is_get && answer.starts_with(b"HTTP/1.1 20") {
            let body = answer.windows(4).position(|it| it == b"\r\n\r\n").map_or(0, |at| at + 4);
            let length = answer.len() - body;
            if length > 0 && self.happens(spoil.truncate) {
                answer.truncate(body + length / 2);
            } else if length > 0 && self.happens(spoil.flip) {
                let at = body + self.dice.lock().between(0, length as u64) as usize;
                answer[at] ^= 0x10;
            }
        }
        client.write_all(&answer).await?;
        client.shutdown().await
    }

    /// Whether it happens this time.
    fn happens(&self, percent: u64) -> bool {
        let happens = percent > 0 && self.dice.lock().between(0, 100) < percent;
        self.seen.lock().spoiled += u64::from(happens);
        happens
    }

    /// The gateway's whole answer.
    async fn pass_on(&self, request: &Message) -> std::io::Result<Vec<u8>> {
        let mut gateway = TcpStream::connect(&self.upstream).await?;
        let lines = request
            .head
            .lines()
            .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head = lines.chain(["Connection: close"]).collect::<Vec<_>>().join("\r\n");
        let request = Message { head, body: request.body.clone() };
        gateway.write_all(&request.bytes()).await?;
        let mut answer = Vec::new();
        gateway.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

fn empty(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_BYTES_MAX || client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let body = bytes.split_off(end + 4);
    bytes.truncate(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut message = Message { head, body };
    let length = message.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while message.body.len() < length {
        if client.read_buf(&mut message.body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(message))
}
