//! D3, D4: clients that are slow, many, or speak HTTP as nobody should.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::row::{Case, Outcome, Running};
use crate::server::Server;

/// Longer than anything that a server that closes takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(address(&server.http)).await.expect("it listens")
}

/// What comes until the other side closes; a reset is an end too.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 16 << 10];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            all.extend_from_slice(&piece[..count]);
        }
    };
    assert!(timeout(PATIENCE, reading).await.is_ok(), "it never closes");
    all
}

/// Sends bytes as far as they are taken, then reads to the end.
async fn say(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    let _cut_off = stream.write_all(bytes).await;
    String::from_utf8_lossy(&rest(&mut stream).await).into_owned()
}

fn rss_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// One answer of a healthy client.
async fn healthy(server: &Server) -> Duration {
    let start = Instant::now();
    assert_eq!(server.get("/-/healthy").await.0, 200, "a healthy request");
    start.elapsed()
}

pub(super) fn slow(case: Case) -> Running {
    Box::pin(async move {
        let many = case.rounds(40, 1000) as usize;
        let idle = case.rounds(300, 5000) as usize;
        let flags = [
            "--server-header-timeout=2s",
            "--server-body-deadline=2s",
            "--server-write-timeout=2s",
            "--server-idle-timeout=120s",
        ];
        let server = Server::ready(&case.folder, &flags).await;
        healthy(&server).await;
        let before_kib = rss_kib(&server);
        let mut resting = Vec::new();
        for _ in 0..idle {
            let mut stream = connect(&server).await;
            stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("taken");
            let mut piece = [0; 1024];
            assert!(stream.read(&mut piece).await.expect("an answer") > 0);
            resting.push(stream);
        }
        let each_kib = rss_kib(&server).saturating_sub(before_kib) as f64 / idle as f64;
        // hyper keeps two buffers of 8 KiB.
        assert!(each_kib < 40.0, "{each_kib:.1} KiB for each idle connection");

        let head = "POST /v1/logs HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n";
        let slow_body = format!("{head}content-length: 100000\r\n\r\n{{");
        let calm = async {
            let mut worst = Duration::ZERO;
            for _ in 0..50 {
                worst = worst.max(healthy(&server).await);
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            worst
        };
        let heads = one_by_one(many, || drip(&server, "GET / HTTP/1.1\r\nhost: t\r\nx: "));
        let bodies = one_by_one(many, || drip(&server, &slow_body));
        let silents = one_by_one(many, || drip_nothing(&server));
        let readers = join_all((0..many.min(20)).map(|_| slow_reader(&server)));
        let (heads, bodies, silents, readers, worst) =
            tokio::join!(heads, bodies, silents, readers, calm);
        for (what, ended) in [("headers", &heads), ("body", &bodies)] {
            for (took, answer) in ended {
                assert!(answer.starts_with("HTTP/1.1 408"), "slow {what} got {answer:?}");
                assert!(*took < Duration::from_secs(20), "slow {what} took {took:?}");
            }
        }
        let longest = |ended: &[(Duration, String)]| {
            ended.iter().map(|(took, _)| *took).max().unwrap_or_default()
        };
        // Idle ones are still there.
        for stream in resting.iter_mut().step_by(17) {
            stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("taken");
            let mut piece = [0; 1024];
            assert!(stream.read(&mut piece).await.expect("an answer") > 0, "idle ones stay");
        }
        drop(resting);
        let (longest_head, longest_body) = (longest(&heads), longest(&bodies));
        let (longest_silent, longest_reader) = (longest(&silents), longest(&readers));
        drop(server);
        let limit = too_many(&case).await;
        Outcome::Held(format!(
            "{idle} idle connections of {each_kib:.1} KiB; {many} each ended after at most \
             {longest_head:.1?} (headers, 408), {longest_body:.1?} (body, 408), \
             {longest_silent:.1?} (nothing), {longest_reader:.1?} (reading); healthy ones in \
             {worst:.1?} at most; {limit}"
        ))
    })
}

/// How so many clients end that come one after the other: of a burst that is longer than the queue of
/// the listener the kernel drops some, and a client that says nothing never learns of it.
async fn one_by_one<C>(many: usize, client: impl Fn() -> C) -> Vec<(Duration, String)>
where
    C: Future<Output = (Duration, String)>,
{
    join_all((0..many).map(|nth| {
        let ends = client();
        async move {
            tokio::time::sleep(Duration::from_millis(nth as u64)).await;
            ends.await
        }
    }))
    .await
}

/// Sends a beginning and then a byte now and then, until the server has had enough.
async fn drip(server: &Server, beginning: &str) -> (Duration, String) {
    let mut stream = connect(server).await;
    let start = Instant::now();
    stream.write_all(beginning.as_bytes()).await.expect("taken");
    let mut all = Vec::new();
    let mut piece = [0; 1024];
    loop {
        assert!(start.elapsed() < PATIENCE, "a slow client is never ended");
        match timeout(Duration::from_millis(200), stream.read(&mut piece)).await {
            Ok(Ok(count @ 1..)) => all.extend_from_slice(&piece[..count]),
            Ok(_) => break,
            Err(_elapsed) => {
                let _cut_off = stream.write_all(b"x").await;
            }
        }
    }
    (start.elapsed(), String::from_utf8_lossy(&all).into_owned())
}

async fn drip_nothing(server: &Server) -> (Duration, String) {
    let mut stream = connect(server).await;
    let start = Instant::now();
    let all = rest(&mut stream).await;
    (start.elapsed(), String::from_utf8_lossy(&all).into_owned())
}

/// Asks for far more than the sockets hold and reads nothing of it.
async fn slow_reader(server: &Server) -> (Duration, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut stream = socket.connect(address(&server.http)).await.expect("it listens");
    let start = Instant::now();
    let many = "GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n".repeat(64);
    // The server stops reading when nobody takes what it says; it closes when that lasts.
    let asking = async { while stream.write_all(many.as_bytes()).await.is_ok() {} };
    assert!(timeout(PATIENCE, asking).await.is_ok(), "a client that reads nothing is kept");
    (start.elapsed(), String::new())
}

async fn too_many(case: &Case) -> String {
    let data = case.folder.join("few");
    let server = Server::start(&data, &["--server-max-connections=20"]).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&server).await;
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("taken");
        let mut piece = [0; 1024];
        assert!(stream.read(&mut piece).await.expect("an answer") > 0);
        open.push(stream);
    }
    for _ in 0..10 {
        assert_eq!(rest(&mut connect(&server).await).await, b"", "one above the limit");
    }
    open.truncate(10);
    let start = Instant::now();
    loop {
        let answer =
            say(&server, b"GET /-/healthy HTTP/1.1\r\nconnection: close\r\nhost: t\r\n\r\n");
        if answer.await.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "freed places stay taken");
    }
    "10 above the limit of 20 closed at once".to_owned()
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// `:method`, `:scheme http`, `:path /-/healthy`, `:authority t` in HPACK.
fn request_headers(method: u8) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x04, 10];
    block.extend(b"/-/healthy");
    block.extend([0x01, 1, b't']);
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// The error codes of the GOAWAY frames in what a server said.
fn goaways(mut bytes: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some((head, tail)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = tail.split_at_checked(length) else { break };
        if head[3] == 7 && payload.len() >= 8 {
            codes.push(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        }
        bytes = after;
    }
    codes
}

/// Floods a connection until the server ends it; bytes that it took, what it said, its CPU.
async fn flood(
    server: &Server,
    beginning: Vec<u8>,
    piece: impl Fn(u32) -> Vec<u8>,
) -> (usize, Vec<u32>, Duration) {
    const BYTES_MAX: usize = 64 << 20;
    let busy = server.busy();
    let stream = connect(server).await;
    let (mut reading, mut writing) = stream.into_split();
    let heard = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut piece = vec![0; 16 << 10];
        while let Ok(count @ 1..) = reading.read(&mut piece).await {
            // Enough to find the end; the middle is answers.
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    let mut sent = 0;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(beginning);
    let mut number = 0;
    let flooding = async {
        loop {
            if writing.write_all(&bytes).await.is_err() {
                break;
            }
            sent += bytes.len();
            assert!(sent < BYTES_MAX, "it took {sent} bytes of a flood");
            bytes.clear();
            for _ in 0..64 {
                bytes.extend(piece(number));
                number += 1;
            }
        }
    };
    assert!(timeout(PATIENCE, flooding).await.is_ok(), "a flood is never ended");
    let heard = timeout(PATIENCE, heard).await.expect("it closes").expect("it was heard");
    (sent, goaways(&heard), server.busy().saturating_sub(busy))
}

pub(super) fn floods(case: Case) -> Running {
    Box::pin(async move {
        const CALM: u32 = 0xb;
        let server = Server::ready(&case.folder, &[]).await;
        let mut came = Vec::new();
        let mut note = |what: &str, (sent, codes, busy): (usize, Vec<u32>, Duration)| {
            assert!(busy < Duration::from_secs(5), "{what} kept it busy for {busy:?}");
            came.push(format!("{what} ended after {} KiB {codes:?}", sent >> 10));
            codes
        };
        let codes = note(
            "rapid reset",
            flood(&server, Vec::new(), |number| {
                let stream = number * 2 + 1;
                let flags = END_HEADERS | END_STREAM;
                let mut both = frame(HEADERS, flags, stream, &request_headers(GET));
                both.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
                both
            })
            .await,
        );
        assert!(codes.is_empty() || codes.contains(&CALM), "rapid reset: {codes:?}");
        let opening = frame(HEADERS, 0, 1, &request_headers(GET));
        // A literal header of 1 KiB in each frame.
        let mut literal = vec![0x00, 1, b'x', 0x7f, 0x81, 0x07];
        literal.extend([b'v'; 1024]);
        note(
            "CONTINUATION",
            flood(&server, opening, |_| frame(CONTINUATION, 0, 1, &literal)).await,
        );
        let opening = frame(HEADERS, END_HEADERS, 1, &request_headers(POST));
        note("empty DATA", flood(&server, opening, |_| frame(DATA, 0, 1, &[])).await);
        healthy(&server).await;

        // 1 MB of headers, and more headers than are counted.
        let long = format!("GET / HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "v".repeat(1 << 20));
        assert!(say(&server, long.as_bytes()).await.starts_with("HTTP/1.1 431"), "1 MB in one");
        let some = format!(
            "GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\nx: {}\r\n\r\n",
            "v".repeat(20 << 10)
        );
        assert!(say(&server, some.as_bytes()).await.starts_with("HTTP/1.1 431"), "20 KiB");
        let lines: String = (0..101).map(|line| format!("x{line}: v\r\n")).collect();
        let many = format!("GET / HTTP/1.1\r\nhost: t\r\n{lines}\r\n");
        assert!(say(&server, many.as_bytes()).await.starts_with("HTTP/1.1 431"), "101 headers");

        // Two lengths, and their kin: 400 and close, and what is smuggled is never answered.
        let post = "POST /v1/logs HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n";
        let smuggled = "GET /-/healthy HTTP/1.1\r\nhost: t\r\n\r\n";
        let mut refused = 0;
        for lengths in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            "Transfer-Encoding: chunked\r\nCONTENT-LENGTH: 0\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: +5\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding : chunked\r\n",
        ] {
            let request = format!("{post}{lengths}\r\n0\r\n\r\n{smuggled}");
            let answer = say(&server, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{lengths:?}: {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{lengths:?}: {answer:?}");
            refused += 1;
        }
        // A chunked body alone is well, in pieces too.
        let mut stream = connect(&server).await;
        for piece in [
            post,
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            "2\r\n{}\r\n",
            "0\r\n\r\n",
        ] {
            stream.write_all(piece.as_bytes()).await.expect("taken");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let answer = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // TLS where none is spoken.
        let start = Instant::now();
        assert_eq!(say(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await, "");
        let closed = start.elapsed();
        assert!(closed < Duration::from_secs(8), "a TLS hello hung for {closed:?}");
        healthy(&server).await;
        Outcome::Held(format!(
            "{}; 431 three times; {refused} requests of two minds got 400 and an end; TLS on plain \
             closed in {closed:.1?}",
            came.join(", ")
        ))
    })
}
