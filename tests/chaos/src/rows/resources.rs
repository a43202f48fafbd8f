//! B1 to B3: the disk is full, the file system refuses writes, descriptors and file sizes run out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tercet::canary::Options;

use super::crash::{SMALL, restart};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Launch, Server};
use crate::system::{self, Mount};
use crate::witness::{Witness, until};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "B1-reserve",
        fault: "another program fills the disk (tmpfs of 256 MiB) up to the reserve",
        expected: "writes 503 and nothing acknowledged, queries 200, writes again within 10 s of \
                   space by itself; no acknowledged record lost",
        tier: Tier::Fast,
        run: |case| full_disk(case, Filler::Bytes { left: 8 << 20 }),
    },
    Row {
        id: "B1-burst",
        fault: "another program takes the last byte of the disk (tmpfs of 256 MiB) at once",
        expected: "writes 503 and nothing acknowledged unlogged, queries 200, writes again within \
                   10 s of space by itself; no acknowledged record lost",
        tier: Tier::Fast,
        run: |case| full_disk(case, Filler::Bytes { left: 0 }),
    },
    Row {
        id: "B1-inodes",
        fault: "another program takes the last inode (ext4)",
        expected: "writes 503 and nothing acknowledged unlogged, queries 200, writes again within \
                   10 s by itself; no acknowledged record lost",
        tier: Tier::Fast,
        run: |case| full_disk(case, Filler::Inodes),
    },
    Row {
        id: "B2",
        fault: "the kernel makes the file system read-only under load (ext4, abort)",
        expected: "writes 503, queries 200, or exit code 70; no acknowledged record lost after it is \
                   mounted again",
        tier: Tier::Fast,
        run: read_only,
    },
    Row {
        id: "B3-files",
        fault: "128 descriptors and 300 idle connections",
        expected: "open connections are served and the log is written on, others are closed at \
                   once, under 20 % of a core; no acknowledged record lost",
        tier: Tier::Fast,
        run: descriptors,
    },
    Row {
        id: "B3-size",
        fault: "files may have 6 MiB (SIGXFSZ)",
        expected: "the process lives, writes go on in other files; no acknowledged record lost",
        tier: Tier::Fast,
        run: file_size,
    },
];

/// `reliability.md`: writes are taken again within this.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// The load of these rows. Units: requests a second.
const RATE: u32 = 200;

/// What fills a disk.
#[derive(Debug, Clone, Copy)]
enum Filler {
    Bytes { left: u64 },
    Inodes,
}

impl Filler {
    fn mount(self, folder: &Path) -> Result<Mount, String> {
        match self {
            Filler::Bytes { .. } => Mount::memory(folder, "256M"),
            Filler::Inodes => Mount::image(folder, &["mkfs.ext4", "-qF", "-N", "1000"], "256M"),
        }
    }

    fn fill(self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder while there is room");
        match self {
            Filler::Bytes { left } => {
                let file = folder.join("large");
                let free = system::run("df", &["--output=avail", "-B1", &folder.to_string_lossy()]);
                let free = free.expect("df runs");
                let free: u64 = free
                    .lines()
                    .last()
                    .and_then(|line| line.trim().parse().ok())
                    .expect("a number");
                // What the server takes meanwhile is taken from the rest.
                let mut size = free.saturating_sub(left);
                while size > 0 {
                    let (text, path) = (size.to_string(), file.to_string_lossy());
                    if system::run("fallocate", &["-l", &text, &path]).is_ok() {
                        break;
                    }
                    size = size.saturating_sub(1 << 20);
                }
            }
            Filler::Inodes => {
                let mut number = 0;
                while std::fs::write(folder.join(format!("{number}")), b"").is_ok() {
                    number += 1;
                }
            }
        }
    }
}

/// Waits until writes are refused, and none is acknowledged any more.
async fn refused(witness: &Witness, server: &Server) -> String {
    let before = witness.canary.answers();
    until("writes are refused with 503", || async {
        let now = witness.canary.answers();
        now.unavailable > before.unavailable + 8
    })
    .await;
    let now = witness.canary.answers();
    assert_eq!(now.refused, now.unavailable, "only 503: {}", witness.canary.last_refusal());
    let acked = witness.acked();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = witness.acked();
    let path = "/loki/api/v1/labels";
    let (status, answer) = server.get(path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    assert_eq!(server.get("/-/healthy").await.0, 200, "it runs");
    let more = after.iter().sum::<u64>() - acked.iter().sum::<u64>();
    // What fits the files that are there already may still be taken, and is safe then.
    format!("{more} records taken in the second after")
}

/// Waits until every signal is acknowledged again.
async fn resumed(witness: &Witness) -> Duration {
    let (start, before) = (Instant::now(), witness.acked());
    until("writes are taken again", || async {
        witness.acked().iter().zip(before).all(|(now, before)| *now > before)
    })
    .await;
    let took = start.elapsed();
    assert!(took < AGAIN_WITHIN, "writes are taken again only after {took:?}");
    took
}

fn full_disk(case: Case, filler: Filler) -> Running {
    Box::pin(async move {
        let mount = match filler.mount(&case.folder) {
            Ok(mount) => mount,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = mount.path.join("data");
        let waste: PathBuf = mount.path.join("waste");
        let flags = [&SMALL[..], &["--storage-gc-grace", "1s"]].concat();
        let server = Server::launch(&data, &flags, &[], &Launch::QUIET).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let witness = Witness::new(Options { rate: RATE, ..Options::default() });
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut came = String::new();
        for _round in 0..case.rounds(1, 5) {
            let (filler, folder) = (filler, waste.clone());
            let filled = tokio::task::spawn_blocking(move || filler.fill(&folder)).await;
            filled.expect("it does not panic");
            came = refused(&witness, &server).await;
            std::fs::remove_dir_all(&waste).expect("the waste can be removed");
            let took = resumed(&witness).await;
            came = format!("{came}, all taken again after {took:.1?}");
        }
        sending.stop().await;
        witness.check(&server).await;
        server.kill().await;
        let (server, _) = restart(&data, &flags).await;
        witness.check_all(&server).await;
        server.kill().await;
        drop(mount);
        Outcome::Held(format!("{came}; {}", witness.acked_text()))
    })
}

fn read_only(case: Case) -> Running {
    Box::pin(async move {
        let mut mount = match Mount::image(&case.folder, &["mkfs.ext4", "-qF"], "512M") {
            Ok(mount) => mount,
            Err(why) => return Outcome::Skipped(why),
        };
        let data = mount.path.join("data");
        let (mut server, _) = restart(&data, &SMALL).await;
        let witness = Witness::new(Options { rate: RATE, ..Options::default() });
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Err(why) = mount.abort() {
            sending.stop().await;
            return Outcome::Skipped(why);
        }
        // A sync that was under way may have failed: then it ends, as row A11 wants.
        let came = match tokio::time::timeout(Duration::from_secs(2), server.ended()).await {
            Ok((code, _)) => {
                assert_eq!(code, Some(70), "only a failed sync of the log ends it");
                sending.stop().await;
                "a sync of the log failed, exit code 70".to_owned()
            }
            Err(_runs) => {
                let came = refused(&witness, &server).await;
                sending.stop().await;
                witness.check(&server).await;
                server.kill().await;
                came
            }
        };
        mount.unmount().expect("nobody holds it");
        mount.mount().expect("it can be mounted again");
        let (server, _) = restart(&data, &SMALL).await;
        let sending = witness.send(&server.http);
        let took = resumed(&witness).await;
        sending.stop().await;
        witness.check_all(&server).await;
        server.kill().await;
        Outcome::Held(format!("{came}; {took:.1?} after the next start; {}", witness.acked_text()))
    })
}

fn descriptors(case: Case) -> Running {
    Box::pin(async move {
        let launch = Launch { through: &["prlimit", "--nofile=128:128"], ..Launch::QUIET };
        let server = Server::launch(&case.folder, &SMALL, &[], &launch).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let witness = Witness::new(Options { rate: RATE, ..Options::default() });
        let sending = witness.send(&server.http);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let address = server.http.trim_start_matches("http://").to_owned();
        let mut idle = Vec::new();
        for _connection in 0..300 {
            // One that is not taken may be refused at once.
            idle.extend(tokio::net::TcpStream::connect(&address).await.ok());
        }
        let before = witness.acked();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = witness.acked();
        assert!(after.iter().zip(before).all(|(now, then)| *now > then), "{before:?} {after:?}");
        sending.stop().await;
        let (start, cores) = (server.busy(), cores());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let busy = (server.busy() - start) * cores;
        assert!(busy < Duration::from_millis(600), "{busy:?} of CPU in 3 s of rest");
        drop(idle);
        until("connections are taken again", || async {
            server.client.get(format!("{}/-/ready", server.http)).send().await.is_ok()
        })
        .await;
        witness.check(&server).await;
        server.kill().await;
        let (server, _) = restart(&case.folder, &SMALL).await;
        witness.check_all(&server).await;
        Outcome::Held(format!("{busy:.1?} of CPU in 3 s of rest; {}", witness.acked_text()))
    })
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

fn file_size(case: Case) -> Running {
    Box::pin(async move {
        let limit = "--fsize=6291456:6291456";
        let launch = Launch { through: &["prlimit", limit], ..Launch::QUIET };
        // Files of the log would be larger.
        let flags = ["--storage-flush-wal-bytes", "16MiB", "--storage-group-commit", "500us"];
        let server = Server::launch(&case.folder, &flags, &[], &launch).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let witness = Witness::new(Options { records: 400, rate: 60, ..Options::default() });
        let sending = witness.send(&server.http);
        until("a log reaches the size", || async {
            server.figure("wal_write_errors_total", "").await > 1.0
        })
        .await;
        let took = resumed(&witness).await;
        sending.stop().await;
        witness.check(&server).await;
        let refused = server.figure("wal_write_errors_total", "").await;
        server.kill().await;
        let (server, _) = restart(&case.folder, &flags).await;
        witness.check_all(&server).await;
        Outcome::Held(format!(
            "{refused} writes of the log refused, taken again after {took:.1?}; {}",
            witness.acked_text()
        ))
    })
}
