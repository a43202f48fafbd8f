//! H8: as nobody, with nothing.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::{post, still_serves};
use crate::load;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, binary, escape};
use crate::tools::now_s;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "H8",
        fault: "run as uid 65532 with a read-only root, no capabilities, no new privileges",
        expected: "data of three kinds goes in and comes out, it stops in order",
        tier: Tier::Fast,
        run: confined,
    },
    Row {
        id: "H8-build",
        fault: "the binary built twice, in two folders",
        expected: "the same bytes",
        tier: Tier::Full,
        run: built_twice,
    },
];

fn confined(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        std::fs::create_dir(&data).expect("a folder");
        let folder = data.to_str().expect("a path that is text");
        let program = binary();
        let program = program.to_str().expect("a path that is text");
        // What lies below /tmp is hidden by the empty one, so both are shown again.
        let cage = [
            "bwrap",
            "--unshare-user",
            "--uid",
            "65532",
            "--gid",
            "65532",
            "--ro-bind",
            "/",
            "/",
            "--tmpfs",
            "/tmp",
            "--dev",
            "/dev",
            "--ro-bind",
            program,
            program,
            "--bind",
            folder,
            folder,
            "--cap-drop",
            "ALL",
            "--die-with-parent",
            "--new-session",
        ];
        let tried = Command::new(cage[0]).args(&cage[1..]).arg("/bin/true").output().await;
        match tried {
            Err(error) => return Outcome::Skipped(format!("bwrap: {error}")),
            Ok(output) if !output.status.success() => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Outcome::Skipped(format!("bwrap does not run here: {why}"));
            }
            Ok(_) => {}
        }
        let server = Server::start_under(&cage, &data).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
        let status = status.expect("it runs");
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().trim_start_matches('0').to_owned()
        };
        assert_eq!(line("NoNewPrivs:"), "1", "no new privileges");
        assert_eq!(line("CapEff:"), "", "capabilities");

        let now_ns = now_s() * 1_000_000_000;
        let kind = [("content-type", "application/x-protobuf")];
        let snappy = [kind[0], ("content-encoding", "snappy")];
        let sent = [
            post(&server, "/v1/logs", &kind, load::logs(1, 5, now_ns)).await,
            post(&server, "/v1/traces", &kind, load::traces(1, 5, now_ns)).await,
            post(&server, "/api/v1/write", &snappy, load::metrics(1, 5, now_s() as i64 * 1000))
                .await,
        ];
        for (status, answer) in sent {
            assert!(status < 300, "{status}: {}", String::from_utf8_lossy(&answer));
        }
        let logs = escape(&format!("{{service_name=\"{}\"}}", load::SERVICE));
        let trace = load::trace_id(1).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (path, wanted) in [
            (format!("/loki/api/v1/query_range?since=1h&query={logs}"), "batch 1 record 4"),
            (format!("/api/traces/{trace}"), "spans"),
            (format!("/api/v1/query?query={}", load::METRIC), "\"4\""),
            ("/".to_owned(), "<html"),
            ("/metrics".to_owned(), "tercet_build_info"),
        ] {
            let (status, body) = server.get(&path).await;
            assert_eq!(status, 200, "{path}: {body}");
            assert!(body.contains(wanted), "{path} lacks {wanted}: {body}");
        }
        still_serves(&server).await;
        let (code, took) = server.terminate().await;
        assert_eq!(code, Some(0), "exit code");
        Outcome::Held(format!(
            "stored, read, stopped in {took:?}; no capabilities, nothing to write"
        ))
    })
}

fn built_twice(case: Case) -> Running {
    Box::pin(async move {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut hashes = Vec::new();
        for folder in ["one", "two"] {
            let target = case.folder.join(folder);
            let build = Command::new("cargo")
                .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
                .arg(&target)
                .current_dir(&root)
                .env("CARGO_INCREMENTAL", "0")
                .kill_on_drop(true)
                .output()
                .await;
            let output = match build {
                Ok(output) => output,
                Err(error) => return Outcome::Skipped(format!("cargo: {error}")),
            };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let sum = Command::new("sha256sum").arg(target.join("release/tercet")).output().await;
            let sum = sum.expect("sha256sum runs");
            let text = String::from_utf8_lossy(&sum.stdout).into_owned();
            hashes.push(text.split_whitespace().next().unwrap_or_default().to_owned());
            let _space = std::fs::remove_dir_all(&target);
        }
        assert_eq!(hashes[0].len(), 64, "{hashes:?}");
        assert_eq!(hashes[0], hashes[1], "two builds differ");
        Outcome::Held(format!("sha256 {} twice", hashes[0]))
    })
}
