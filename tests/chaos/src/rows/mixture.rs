//! G5: everything at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tercet::canary::{Depth, Writers};

use super::crash::{SMALL, restart};
use crate::dice::Dice;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::witness::Witness;

pub(super) const ROWS: &[Row] = &[Row {
    id: "G5",
    fault: "ingest, merges, retention, garbage collection and queries at once, with kill -9 in \
            between",
    expected: "every answer equals the ledger at its moment; nothing is removed while it is read; \
               no acknowledged record lost",
    tier: Tier::Fast,
    run: everything,
}];

/// Queries under way at a time.
const READERS: usize = 4;

fn everything(case: Case) -> Running {
    Box::pin(async move {
        // Each check reads all that was ever written: twenty rounds take half an hour.
        let rounds = case.rounds(2, 8);
        let mut dice = Dice::new(case.seed);
        let witness = Witness::mixed(200);
        let flags = [&SMALL[..], &["--storage-gc-grace", "1s", "--retention", "1h"]].concat();
        let checks = AtomicU64::new(0);
        let merges = AtomicU64::new(0);
        for _round in 0..rounds {
            let (server, _) = restart(&case.folder, &flags).await;
            witness.check(&server).await;
            let sending = witness.send(&server.http);
            let until = Instant::now() + dice.ms(3000, 6000);
            let read = async {
                while Instant::now() < until {
                    let canary = &witness.canary;
                    let found =
                        canary.check(&server.http, Writers::Working).await.expect("a ledger");
                    assert!(found.holds(), "{found:#?}");
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            };
            let reread = || async {
                while Instant::now() < until {
                    let found = witness.canary.check_settled(&server.http, Depth::Records).await;
                    assert!(found.holds(), "{found:#?}");
                    checks.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let upkeep = async {
                while Instant::now() < until {
                    for path in ["/-/flush", "/-/compact"] {
                        server.upkeep(path).await;
                    }
                    merges.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let rereads = futures::future::join_all((0..READERS).map(|_| reread()));
            tokio::join!(read, upkeep, rereads);
            server.kill().await;
            sending.stop().await;
        }
        let (server, _) = restart(&case.folder, &flags).await;
        witness.check_all(&server).await;
        let merged = server.figure("segments", "").await;
        Outcome::Held(format!(
            "{rounds} kills: {} whole checks beside {} flushes and merges; {}; {merged} segments",
            checks.load(Ordering::Relaxed),
            merges.load(Ordering::Relaxed),
            witness.acked_text()
        ))
    })
}
