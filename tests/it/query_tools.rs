//! Query tools that people use in terminals: promtool and logcli.

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use chaos::server::Server;
use chaos::tools;

/// A gauge of two series with three samples each, 15 s apart; the first one's time. Units: s.
async fn send_metrics(server: &Server) -> u64 {
    let start = tools::now_s() - 60;
    let point = |room: &str, at: u64, value: f64| {
        json!({
            "timeUnixNano": format!("{}", (start + 15 * at) * 1_000_000_000),
            "asDouble": value,
            "attributes": [{ "key": "room", "value": { "stringValue": room } }],
        })
    };
    let points: Vec<Json> = (0..3u32)
        .flat_map(|at| {
            let value = f64::from(at);
            [point("hall", at.into(), 20.5 + value), point("attic", at.into(), -4.0 - value)]
        })
        .collect();
    let metric = json!({ "name": "tools.heat", "gauge": { "dataPoints": points } });
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
    let (status, answer) =
        server.post("/v1/metrics", "application/json", body.to_string().into_bytes()).await;
    assert_eq!((status, answer.as_str()), (200, "{}"));
    start
}

#[tokio::test]
async fn promtool_query() {
    let Some(promtool) = tools::find("bin/promtool") else { return };
    let folder = TempDir::new().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let start = send_metrics(&server).await;
    let (first, last) = (start.to_string(), (start + 30).to_string());
    let ask = async |args: &[&str]| tools::run(&promtool, &[&["query"], args].concat()).await;

    let at = format!("--time={first}");
    let found = ask(&["instant", &at, &server.http, "tools_heat"]).await;
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    let want = [
        format!("tools_heat{{room=\"attic\"}} => -4 @[{first}]"),
        format!("tools_heat{{room=\"hall\"}} => 20.5 @[{first}]"),
    ];
    assert_eq!(lines, want);

    let found = ask(&["instant", "-o", "json", &at, &server.http, "sum(tools_heat)"]).await;
    let found: Json = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found, json!([{ "metric": {}, "value": [start, "16.5"] }]));

    let (from, to) = (format!("--start={first}"), format!("--end={last}"));
    let query = "tools_heat{room=\"hall\"}";
    let args = ["range", "-o", "json", &from, &to, "--step=15s", &server.http, query];
    let found: Json = serde_json::from_str(&ask(&args).await).expect("JSON");
    let values = json!([[start, "20.5"], [start + 15, "21.5"], [start + 30, "22.5"]]);
    let metric = json!({ "__name__": "tools_heat", "room": "hall" });
    assert_eq!(found, json!([{ "metric": metric, "values": values }]));

    let args = ["series", "--match=tools_heat", &from, &to, &server.http];
    let found = ask(&args).await;
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    let want =
        ["{__name__=\"tools_heat\", room=\"attic\"}", "{__name__=\"tools_heat\", room=\"hall\"}"];
    assert_eq!(lines, want);

    let found = ask(&["labels", &from, &to, &server.http, "room"]).await;
    assert_eq!(found, "attic\nhall\n");
}

/// Two streams; the time of the first of three entries, which are 1 s apart. Units: ns.
async fn send_logs(server: &Server) -> u64 {
    let start = (tools::now_s() - 60) * 1_000_000_000;
    let time = |at: u64| (start + at * 1_000_000_000).to_string();
    let body = json!({ "streams": [
        {
            "stream": { "app": "till", "env": "test" },
            "values": [
                [time(0), "level=info msg=\"sold 3\" took=12ms"],
                [time(1), "level=error msg=\"drawer stuck\" took=7s"],
            ],
        },
        { "stream": { "app": "scale", "env": "test" }, "values": [[time(2), "weighs 2 kg"]] },
    ]});
    let (status, answer) =
        server.post("/loki/api/v1/push", "application/json", body.to_string().into_bytes()).await;
    assert_eq!((status, answer.as_str()), (204, ""));
    start
}

#[tokio::test]
async fn logcli() {
    let Some(logcli) = tools::find("bin/logcli") else { return };
    let folder = TempDir::new().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let start = send_logs(&server).await;
    let ask = async |args: &[&str]| {
        let addr = format!("--addr={}", server.http);
        tools::run(&logcli, &[&["--quiet", "--timezone=UTC", &addr], args].concat()).await
    };
    let lines = async |args: &[&str]| -> Vec<String> {
        ask(args).await.lines().map(|line| line.trim().to_owned()).collect()
    };

    // Newest first.
    let raw = ["query", "--output=raw", "--since=1h", "{env=\"test\"}"];
    let want = [
        "weighs 2 kg",
        "level=error msg=\"drawer stuck\" took=7s",
        "level=info msg=\"sold 3\" took=12ms",
    ];
    assert_eq!(lines(&raw).await, want);
    // In pages, each of which begins with the last line of the one before.
    let paged = ["query", "--output=raw", "--since=1h", "--batch=2", "--limit=3", "{env=\"test\"}"];
    assert_eq!(lines(&paged).await, want);
    let query = "{app=\"till\"} | logfmt | took > 1s";
    let shape = ["--output=jsonl", "--include-common-labels"];
    let found = lines(&[&["query", "--since=1h", "--forward", query], &shape[..]].concat()).await;
    assert_eq!(found.len(), 1);
    let found: Json = serde_json::from_str(&found[0]).expect("JSON");
    assert_eq!(found["line"], json!("level=error msg=\"drawer stuck\" took=7s"));
    let labels = &found["labels"];
    let [app, level, took] = ["app", "level", "took"].map(|name| labels[name].clone());
    assert_eq!([app, level, took], [json!("till"), json!("error"), json!("7s")]);
    let time = rfc3339(start + 1_000_000_000);
    assert_eq!(found["timestamp"], json!(time));

    assert_eq!(lines(&["labels", "--since=1h"]).await, ["app", "env", "service_name"]);
    assert_eq!(lines(&["labels", "--since=1h", "app"]).await, ["scale", "till"]);
    let found = lines(&["series", "--since=1h", "{app=\"till\"}"]).await;
    assert_eq!(found, ["{app=\"till\", env=\"test\", service_name=\"till\"}"]);

    let query = "sum by (app) (count_over_time({env=\"test\"}[5m]))";
    let found: Json = serde_json::from_str(&ask(&["instant-query", query]).await).expect("JSON");
    let counts: Vec<(&Json, &Json)> = found
        .as_array()
        .expect("a vector")
        .iter()
        .map(|one| (&one["metric"]["app"], &one["value"][1]))
        .collect();
    assert_eq!(counts, [(&json!("scale"), &json!("1")), (&json!("till"), &json!("2"))]);

    let from = format!("--from={}", rfc3339(start));
    let to = format!("--to={}", rfc3339(start + 3_000_000_000));
    let query = "sum(count_over_time({app=\"till\"}[1m]))";
    let found = ask(&["query", &from, &to, "--step=1s", query]).await;
    let found: Json = serde_json::from_str(&found).expect("JSON");
    let values: Vec<&Json> = found[0]["values"].as_array().expect("values").iter().collect();
    let counts: Vec<&Json> = values.iter().map(|value| &value[1]).collect();
    assert_eq!(counts, [&json!("1"), &json!("2"), &json!("2"), &json!("2")]);
}

/// A moment of whole seconds as RFC 3339 in UTC.
fn rfc3339(time_ns: u64) -> String {
    let seconds = i64::try_from(time_ns / 1_000_000_000).expect("a moment of this century");
    let time = chrono::DateTime::from_timestamp(seconds, 0).expect("a moment");
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
