//! `tercet canary` as people run it: against a server that keeps its word, and against one that does
//! not.

use std::process::Output;

use chaos::server::{Server, binary};
use serde_json::Value as Json;
use tokio::process::Command;

async fn canary(args: &[&str]) -> Output {
    let output = Command::new(binary()).arg("canary").args(args).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output).await;
    output.expect("ends in time").expect("it starts")
}

/// The lines, which are JSON.
fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_server_that_keeps_its_word_is_told_so_over_two_runs_of_one_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::ready(&folder.path().join("data"), &[]).await;
    let ledger = folder.path().join("ledger");
    let mut acked = 0;
    for _run in 0..2 {
        let args = ["--to", &server.http, "--for", "3s", "--rate", "50", "--json", "--ledger"];
        let output = canary(&[&args[..], &[&ledger.to_string_lossy()]].concat()).await;
        let lines = lines(&output);
        let [.., figures, verdict] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(verdict["verdict"], "held", "{lines:#?}");
        assert_eq!(output.status.code(), Some(0));
        for signal in ["acked_metrics", "acked_logs", "acked_traces"] {
            assert!(figures[signal].as_u64().unwrap() > 0, "{figures}");
        }
        let total = figures["acked"].as_u64().unwrap();
        assert!(total > acked, "the second run goes on from the first: {figures}");
        assert!(figures["checked"].as_u64().unwrap() >= total, "{figures}");
        acked = total;
    }
}

#[tokio::test]
async fn a_server_that_loses_what_it_took_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    // What one takes, another is asked for.
    let takes = Server::ready(&folder.path().join("takes"), &[]).await;
    let answers = Server::ready(&folder.path().join("answers"), &[]).await;
    let args = ["--to", &takes.http, "--read", &answers.http, "--for", "1s", "--json"];
    let output = canary(&args).await;
    let lines = lines(&output);
    let [.., figures, verdict] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(output.status.code(), Some(2), "{lines:#?}");
    assert_eq!(verdict["verdict"], "broken");
    assert_eq!(figures["missing"], figures["acked"], "{figures}");
    assert!(verdict["problems"][0].as_str().unwrap().contains("acknowledged"), "{verdict}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_once() {
    for (args, why) in [
        (&["--to", "127.0.0.1:4319"][..], "http://"),
        (&["--to", "http://x", "--tenant", "a/b"], "--tenant"),
        (&["--to", "http://x", "--user", "nobody"], "NAME:PASSWORD"),
        (&["--to", "http://x", "--token", "@/no/such/file"], "--token"),
    ] {
        let output = canary(args).await;
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(why), "{args:?}: {text}");
    }
}
