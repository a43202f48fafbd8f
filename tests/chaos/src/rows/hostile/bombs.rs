//! F1: bodies that become far more than they are.

use std::io::Write as _;
use std::time::Duration;

use super::{forget_peak, mib, peak_bytes, post, still_serves, worked};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::Server;

pub(super) const ROWS: &[Row] = &[Row {
    id: "F1",
    fault: "gzip of 10 MiB that is 10 GiB, deflate, a zstd bomb, zstd with a 128 MiB window, snappy \
            that claims 4 GiB; one at a time, then 100 at once",
    expected: "413 after less than 1 s of work (400 for the window), 413 or 503 for the hundred; \
               memory grows by less than the caps",
    tier: Tier::Fast,
    run,
}];

/// Name, path, encoding, body, and the answers that are right.
type Bomb = (&'static str, &'static str, &'static str, Vec<u8>, &'static [u16]);

const MIB: usize = 1 << 20;
/// `server.max_decompressed_bytes` and `server.max_inflight_ingest_bytes` of the test.
const DECOMPRESSED_MAX: u64 = 64 << 20;
const INFLIGHT_MAX: u64 = 256 << 20;
/// What the server may need besides: buffers of connections and what the allocator keeps.
const ROOM: u64 = 64 << 20;
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// `members` gzip members of 10 MiB of zeros each, 10 KiB on the wire.
fn gzip(members: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 10 * MIB]).expect("memory takes it");
    encoder.finish().expect("memory takes it").repeat(members)
}

fn deflate() -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..256 {
        encoder.write_all(&vec![0; MIB]).expect("memory takes it");
    }
    encoder.finish().expect("memory takes it")
}

/// A frame by hand: `blocks` blocks of one byte that is told 128 KiB times; window 2 to the
/// `window_log`. Source: RFC 8878, 3.1.1.
fn zstd(window_log: u8, blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (window_log - 10) << 3];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        let header = (128u32 << 10) << 3 | 1 << 1 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'a');
    }
    frame
}

fn snappy() -> Vec<u8> {
    vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'a', b'b', b'c', b'd', b'e', b'f']
}

fn run(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::start_in(
            &case.folder,
            &[],
            &[
                ("TERCET_SERVER_MAX_DECOMPRESSED_BYTES", "64MiB"),
                ("TERCET_SERVER_MAX_INFLIGHT_INGEST_BYTES", "256MiB"),
            ],
        )
        .await;
        server.wait_ready(Duration::from_secs(30)).await;
        let members = case.rounds(128, 1024) as usize;
        let (otlp, write) = ("/v1/logs", "/api/v1/write");
        let bombs: [Bomb; 6] = [
            ("gzip", otlp, "gzip", gzip(members), &[413]),
            ("deflate", otlp, "deflate", deflate(), &[413]),
            ("zstd", otlp, "zstd", zstd(23, 80_000), &[413]),
            ("zstd with a window of 128 MiB", otlp, "zstd", zstd(27, 8), &[400, 413]),
            ("snappy", write, "snappy", snappy(), &[413]),
            ("snappy in OTLP", otlp, "snappy", snappy(), &[413]),
        ];
        let (mut most_memory, mut most_work) = (0, Duration::ZERO);
        for (name, path, encoding, body, wanted) in &bombs {
            forget_peak(&server);
            let (memory, work) = (peak_bytes(&server), server.busy());
            let headers = [PROTOBUF, ("content-encoding", *encoding)];
            let (status, answer) = post(&server, path, &headers, body.clone()).await;
            assert!(wanted.contains(&status), "{name}: {status}: {answer:?}");
            let (grown, took) = (peak_bytes(&server).saturating_sub(memory), worked(&server, work));
            let allowed = DECOMPRESSED_MAX + body.len() as u64 + ROOM;
            assert!(grown <= allowed, "{name}: memory grew by {} MiB", mib(grown));
            assert!(took <= Duration::from_secs(1), "{name}: {took:?} of work");
            (most_memory, most_work) = (most_memory.max(grown), most_work.max(took));
        }

        forget_peak(&server);
        let memory = peak_bytes(&server);
        let count = case.rounds(24, 100) as usize;
        let mut waiting = tokio::task::JoinSet::new();
        for index in 0..count {
            let (_, path, encoding, body, _) = &bombs[index % bombs.len()];
            let request = server
                .client
                .post(format!("{}{path}", server.http))
                .header(PROTOBUF.0, PROTOBUF.1)
                .header("content-encoding", *encoding)
                .timeout(Duration::from_secs(120))
                .body(body.clone());
            waiting
                .spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) });
        }
        let mut refused = 0;
        // A refusal may close the connection while the rest of the body is on its way.
        for status in waiting.join_all().await.into_iter().flatten() {
            assert!([400, 413, 503].contains(&status), "one of {count} at once: {status}");
            refused += 1;
        }
        assert!(refused > 0, "none of {count} was answered");
        let grown = peak_bytes(&server).saturating_sub(memory);
        let allowed = INFLIGHT_MAX + DECOMPRESSED_MAX + 2 * ROOM;
        assert!(grown <= allowed, "{count} at once: memory grew by {} MiB", mib(grown));
        still_serves(&server).await;
        Outcome::Held(format!(
            "all refused; one: +{} MiB at most, {most_work:?} of work; {count} at once: +{} MiB, \
             {refused} refused in words",
            mib(most_memory),
            mib(grown)
        ))
    })
}
