//! A: crashes and corruption.

use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::Server;

pub(super) const ROWS: &[Row] = &[Row {
    id: "A5",
    fault: "SIGTERM",
    expected: "exit code 0 within 30 s",
    tier: Tier::Fast,
    run: sigterm,
}];

fn sigterm(case: Case) -> Running {
    Box::pin(async move {
        let server = Server::ready(&case.folder, &[]).await;
        let (code, took) = server.terminate().await;
        assert_eq!(code, Some(0), "exit code");
        Outcome::Held(format!("exit code 0 after {took:?}"))
    })
}
