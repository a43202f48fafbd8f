//! H6: texts that want to be more than texts, on the page and in a terminal.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{post, still_serves, tercet};
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::{Server, binary};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "H6",
        fault: "markup, scripts and addresses that are code, in lines, names, values, keys, titles and \
                errors, in a real browser",
        expected: "0 dialogs, 0 elements or handlers made of data, a silent policy",
        tier: Tier::Fast,
        run: page,
    },
    Row {
        id: "H6-terminal",
        fault: "ANSI, C0, C1 and bidi characters in data, file names and answers, shown by our log, \
                tercet verify and tercet demo",
        expected: "none of them reaches the terminal",
        tier: Tier::Fast,
        run: terminal,
    },
];

fn page(_: Case) -> Running {
    Box::pin(async move {
        let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui");
        if !ui.join("node_modules/playwright-core").is_dir() {
            return Outcome::Skipped("ui/node_modules is not installed: make ui".to_owned());
        }
        let test = Command::new("node")
            .args(["--test-reporter=spec", "tests/browser/hostile.mjs"])
            .current_dir(&ui)
            .env("TERCET_BIN", binary())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(Duration::from_secs(300), test).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Outcome::Skipped(format!("node: {error}")),
            Err(_) => panic!("the browser did not end in 300 s"),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(why) = said.lines().find_map(|line| line.strip_prefix("SKIPPED ")) {
            return Outcome::Skipped(why.to_owned());
        }
        assert!(output.status.success(), "{said}");
        let passed = said.lines().find_map(|line| line.split("pass ").nth(1)).unwrap_or("all");
        Outcome::Held(format!("{} groups of pages, 0 executions", passed.trim()))
    })
}

/// What must never reach a terminal out of data.
fn is_harmful(c: char) -> bool {
    let bidi =
        matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    (c.is_control() && !matches!(c, '\n' | '\t' | '\r')) || bidi
}

/// The first harmful character, with what stands around it.
fn check(what: &str, text: &str) {
    let Some((at, c)) = text.char_indices().find(|(_, c)| is_harmful(*c)) else { return };
    let start = text[..at].rfind('\n').unwrap_or(0);
    let line: String = text[start..].chars().take(300).collect();
    panic!("{what} shows {c:?}: {line:?}");
}

const EVIL: &str = "evil\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}31m\u{202e}txt\u{2066}\u{8}\u{0}";

fn terminal(case: Case) -> Running {
    Box::pin(async move {
        let data = case.folder.join("data");
        let log = case.folder.join("log");
        let server = Server::start_logging(&data, &log).await;
        server.wait_ready(Duration::from_secs(30)).await;
        let text = serde_json::Value::from(EVIL);
        let attribute = serde_json::json!([{"key": EVIL, "value": {"stringValue": EVIL}},
            {"key": "service.name", "value": {"stringValue": EVIL}}]);
        let records = serde_json::json!([
            {"body": {"stringValue": EVIL}, "timeUnixNano": "9000000000000000000", "attributes": attribute},
            {"body": {"stringValue": EVIL}, "attributes": attribute, "traceId": EVIL}]);
        let scope = serde_json::json!([{"scope": {"name": EVIL}, "logRecords": records}]);
        let otlp = serde_json::json!({"resourceLogs": [{"resource": {"attributes": attribute}, "scopeLogs": scope}]});
        let good = serde_json::json!({"resourceLogs": [{"resource": {"attributes": attribute}, "scopeLogs":
            [{"logRecords": [{"body": {"stringValue": EVIL}, "attributes": attribute, "eventName": text}]}]}]});
        let loki = serde_json::json!({"streams": [{"stream": {"app": EVIL, "x": EVIL}, "values": [["9000000000000000000", EVIL]]}]});
        let json = [("content-type", "application/json")];
        for (path, body) in [
            ("/v1/logs", otlp.to_string()),
            ("/v1/logs", good.to_string()),
            ("/loki/api/v1/push", loki.to_string()),
            ("/loki/api/v1/push", format!("{{\"streams\": {EVIL}")),
            ("/v1/traces", EVIL.to_owned()),
        ] {
            let (status, answer) = post(&server, path, &json, body.into_bytes()).await;
            assert!(status < 500, "{path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        let escaped = crate::server::escape(EVIL);
        for path in [
            format!("/api/v1/query?query={escaped}"),
            format!("/loki/api/v1/query_range?query={escaped}"),
            format!("/tercet/api/v1/lookup/{escaped}"),
            format!("/{escaped}"),
            format!("/api/v1/label/{escaped}/values?start={escaped}"),
        ] {
            server.get(&path).await;
        }
        let tenant = server.client.get(format!("{}/api/v1/labels", server.http));
        let _refused = tenant.header("x-scope-orgid", "a\u{1b}[31m".as_bytes()).send().await;
        still_serves(&server).await;
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0), "exit code");
        // File names as nobody writes them, where the program looks.
        for folder in ["wal/logs", "store/segments", "store/catalog", "quarantine"] {
            let folder = data.join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            let name = EVIL.replace('\0', "");
            std::fs::write(folder.join(format!("{name}.json")), EVIL).expect("a file");
            std::fs::write(folder.join(format!("{name}.meta")), EVIL).expect("a file");
        }
        let second = case.folder.join("second.log");
        let again = Server::start_logging(&data, &second).await;
        again.wait_ready(Duration::from_secs(30)).await;
        again.terminate().await;
        let logs = [&log, &second].map(|file| std::fs::read(file).expect("the log"));
        let logged = logs.concat();
        check("our log", &String::from_utf8_lossy(&logged));

        let verify = tercet().arg("verify").arg("--data").arg(&data).output().await;
        let verify = verify.expect("verify runs");
        let said = [verify.stdout, verify.stderr].concat();
        assert!(said.len() > 20 && !said.ends_with(b"no such setting\n"), "verify did not run");
        check("tercet verify", &String::from_utf8_lossy(&said));

        let demo = demo_of_liar().await;
        check("tercet demo", &demo);
        Outcome::Held(format!(
            "{} bytes of log, {} of verify, {} of demo",
            logged.len(),
            said.len(),
            demo.len()
        ))
    })
}

/// What `tercet demo` says of a server whose refusals want to draw.
async fn demo_of_liar() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let liar = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 << 10];
            let _request = stream.read(&mut buffer).await;
            let answer = format!(
                "HTTP/1.1 400 Bad\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{EVIL}",
                EVIL.len()
            );
            let _sent = stream.write_all(answer.as_bytes()).await;
        }
    });
    let mut demo = tercet();
    demo.args(["demo", "--to", &format!("http://{address}")])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let mut child = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let _ended = tokio::time::timeout(Duration::from_secs(3), child.wait()).await;
    let _ending = child.start_kill();
    let output = child.wait_with_output().await.expect("its output");
    liar.abort();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
