//! A real Prometheus that scrapes and writes on: Tercet answers every question as it does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use chaos::server::Server;
use chaos::tools;

/// Scrapes of each target before anything is compared.
const SCRAPES: u64 = 8;

/// Asked of both over the last seconds and at their end.
const QUERIES: [&str; 16] = [
    "up",
    "shop_orders_total",
    "shop_now_and_then",
    "absent(shop_now_and_then)",
    "shop_temperature",
    "count({job=~\".+\"})",
    "count by (job, __name__) ({__name__=~\"go_.*\"})",
    "rate(shop_orders_total[2s])",
    "increase(shop_orders_total[3s])",
    "histogram_quantile(0.9, shop_latency_seconds_bucket)",
    "sum by (handler, code) (rate(prometheus_http_requests_total[3s]))",
    "prometheus_http_request_duration_seconds",
    "histogram_count(rate(prometheus_http_request_duration_seconds[3s]))",
    "histogram_quantile(0.99, sum(prometheus_http_request_duration_seconds))",
    "topk(1, shop_temperature{room=~\"c|d\"})",
    "max_over_time(go_goroutines[2s]) - on (instance) min_over_time(go_goroutines[2s])",
];

/// A target whose answer differs from scrape to scrape; its port. Every second time a series is
/// missing, so that it becomes stale.
async fn shop() -> u16 {
    let scrapes = Arc::new(AtomicU64::new(0));
    let expose = move || {
        let scrape = scrapes.fetch_add(1, Ordering::Relaxed);
        async move {
            let text = exposition(scrape);
            ([("content-type", "application/openmetrics-text; version=1.0.0")], text)
                .into_response()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/metrics", get(expose));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

fn exposition(scrape: u64) -> String {
    let orders = scrape * 3;
    let now_and_then = if scrape.is_multiple_of(2) {
        "# TYPE shop_now_and_then gauge\nshop_now_and_then{shelf=\"Äpfel \\\"a\\\"\"} 1\n"
    } else {
        ""
    };
    format!(
        "# TYPE shop_orders counter\n\
         # HELP shop_orders Orders placed.\n\
         shop_orders_total{{kind=\"express\"}} {orders} # {{trace_id=\"{scrape:032x}\"}} 1\n\
         # TYPE shop_temperature gauge\n\
         shop_temperature{{room=\"a\"}} NaN\n\
         shop_temperature{{room=\"b\"}} -Inf\n\
         shop_temperature{{room=\"c\"}} 1e-7\n\
         shop_temperature{{room=\"d\"}} {scrape}.125\n\
         # TYPE shop_latency_seconds histogram\n\
         shop_latency_seconds_bucket{{le=\"0.1\"}} {orders}\n\
         shop_latency_seconds_bucket{{le=\"1.0\"}} {orders}\n\
         shop_latency_seconds_bucket{{le=\"+Inf\"}} {}\n\
         shop_latency_seconds_count {}\n\
         shop_latency_seconds_sum {orders}\n\
         {now_and_then}\
         # EOF\n",
        orders + 1,
        orders + 1
    )
}

/// Both sides of the comparison.
struct Both<'a> {
    tercet: &'a Server,
    prometheus: String,
}

impl Both<'_> {
    /// What each answers, Tercet first.
    async fn ask(&self, path: &str, query: &[(&str, String)]) -> (Json, Json) {
        let ask = async |base: &str| -> Json {
            let request = self.tercet.client.get(format!("{base}{path}")).query(query);
            let answer = request.send().await.expect(path);
            let status = answer.status();
            let mut body: Json = answer.json().await.expect("JSON");
            assert_eq!(status, 200, "{path} {query:?}: {body}");
            body["data"].take()
        };
        (ask(&self.tercet.http).await, ask(&self.prometheus).await)
    }

    async fn assert_same_result(&self, path: &str, query: &[(&str, String)]) {
        let (found, want) = self.ask(path, query).await;
        assert_eq!(found["resultType"], want["resultType"], "{query:?}");
        let (found, want) = (by_labels(&found["result"]), by_labels(&want["result"]));
        let (names, names_wanted): (Vec<_>, Vec<_>) =
            (found.keys().collect(), want.keys().collect());
        assert_eq!(names, names_wanted, "{query:?}");
        for (labels, series) in &want {
            let found = &found[labels];
            assert!(is_same(found, series), "{query:?}:\n{found}\nis not\n{series}");
        }
    }
}

/// The series of an answer by their labels.
fn by_labels(result: &Json) -> BTreeMap<String, Json> {
    let series = result.as_array().expect("series").iter();
    series.map(|one| (one["metric"].to_string(), one.clone())).collect()
}

/// Equal, but for the last digits of numbers: Prometheus takes the bounds of exponential buckets
/// from a table that is not rounded to the nearest, and what it computes from them follows.
fn is_same(found: &Json, want: &Json) -> bool {
    match (found, want) {
        (Json::Array(found), Json::Array(want)) => {
            found.len() == want.len() && found.iter().zip(want).all(|(a, b)| is_same(a, b))
        }
        (Json::Object(found), Json::Object(want)) => {
            found.len() == want.len()
                && found.iter().zip(want).all(|((a, x), (b, y))| a == b && is_same(x, y))
        }
        (Json::String(found), Json::String(want)) if found != want => {
            let numbers = found.parse::<f64>().ok().zip(want.parse::<f64>().ok());
            numbers.is_some_and(|(found, want)| (found - want).abs() <= 1e-13 * want.abs())
        }
        _ => found == want,
    }
}

/// Elements whose order means nothing.
fn as_set(list: &Json) -> BTreeSet<String> {
    list.as_array().expect("a list").iter().map(Json::to_string).collect()
}

/// The last moment, in seconds, that all of both targets has arrived of; none before enough has.
async fn settled(server: &Server) -> Option<f64> {
    let answer = server.json("/api/v1/query?query=up[1m]").await;
    let series = answer["data"]["result"].as_array().expect("series");
    let last = |series: &Json| {
        let values = series["values"].as_array().expect("values");
        let enough = values.len() as u64 >= SCRAPES;
        enough.then(|| values[values.len() - 1][0].as_f64().expect("seconds"))
    };
    let times: Vec<f64> = series.iter().filter_map(last).collect();
    (times.len() == 2).then(|| times[0].min(times[1]))
}

async fn start(folder: &Path, server: &Server) -> Option<(String, tokio::process::Child)> {
    let program = tools::find("bin/prometheus")?;
    let port = tools::free_port();
    let config = std::fs::read_to_string(tools::source("prometheus.yaml")).unwrap();
    let config = config
        .replace("OWN_PORT", &port.to_string())
        .replace("SHOP_PORT", &shop().await.to_string())
        .replace("TERCET_HTTP", &server.http);
    let path = folder.join("prometheus.yaml");
    std::fs::write(&path, config).unwrap();
    let args = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--enable-feature=exemplar-storage".to_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let process = tools::spawn(&program, &args, &folder.join("prometheus.log"));
    Some((format!("http://127.0.0.1:{port}"), process))
}

#[tokio::test]
async fn answers_as_the_prometheus_that_writes_to_it() {
    let folder = TempDir::new().unwrap();
    let server = Server::ready(&folder.path().join("data"), &[]).await;
    let Some((prometheus, _process)) = start(folder.path(), &server).await else { return };
    tools::eventually("scrapes have arrived", async || settled(&server).await.is_some()).await;
    let end = settled(&server).await.expect("it was settled before");
    let both = Both { tercet: &server, prometheus };

    let at_end = |query: &str| [("query", query.to_owned()), ("time", end.to_string())];
    both.assert_same_result("/api/v1/query", &at_end("{__name__=~\".+\"}[1m]")).await;
    for query in QUERIES {
        both.assert_same_result("/api/v1/query", &at_end(query)).await;
        let range = [
            ("query", query.to_owned()),
            ("start", (end - 4.0).to_string()),
            ("end", end.to_string()),
            ("step", "0.25".to_owned()),
        ];
        both.assert_same_result("/api/v1/query_range", &range).await;
    }

    let exemplars = [
        ("query", "{job=\"shop\"}".to_owned()),
        ("start", (end - 60.0).to_string()),
        ("end", end.to_string()),
    ];
    let (found, want) = both.ask("/api/v1/query_exemplars", &exemplars).await;
    assert_eq!(found, want);
    assert!(want[0]["exemplars"].as_array().expect("exemplars").len() as u64 >= SCRAPES - 1);

    // Metadata goes its own way, some time after the samples.
    for path in ["/api/v1/labels", "/api/v1/label/__name__/values", "/api/v1/label/le/values"] {
        tools::eventually(path, async || {
            let (found, want) = both.ask(path, &[]).await;
            found == want
        })
        .await;
    }
    let (found, want) = both.ask("/api/v1/series", &[("match[]", "{job=\"shop\"}".into())]).await;
    assert_eq!(as_set(&found), as_set(&want));
    for metric in ["shop_orders", "go_goroutines", "prometheus_http_request_duration_seconds"] {
        tools::eventually(metric, async || {
            let (found, want) = both.ask("/api/v1/metadata", &[("metric", metric.into())]).await;
            found == want && !want[metric].is_null()
        })
        .await;
    }
}
