//! Real senders: what the OpenTelemetry SDK sent, directly or through a Collector, is read back
//! through every API, equal to what was sent.

mod jaeger;
mod loki;
mod lookup;
mod metrics;
mod sent;
mod tempo;
mod zipkin;

use std::path::Path;

use tempfile::TempDir;
use tokio::process::Child;

use self::metrics::Translator;
use self::sent::Sent;
use chaos::server::Server;
use chaos::tools;

/// An acknowledged record can be read at once: nothing here waits.
async fn check(server: &Server, sent: &Sent, translator: Translator) {
    tempo::check(server, sent).await;
    jaeger::check(server, sent).await;
    zipkin::check(server, sent).await;
    loki::check(server, sent).await;
    metrics::check(server, sent, translator).await;
    lookup::check(server, sent).await;
}

/// The same after a flush to files, and after they have been merged.
async fn check_also_on_disk(server: &Server, sent: &Sent) {
    check(server, sent, Translator::Tercet).await;
    for step in ["/-/flush", "/-/compact"] {
        let (status, body) = server.post(step, "text/plain", Vec::new()).await;
        assert!(status < 300, "{step}: {status} {body}");
        check(server, sent, Translator::Tercet).await;
    }
}

#[tokio::test]
async fn python_sdk_over_grpc() {
    let folder = TempDir::new().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let Some(sent) = Sent::run("grpc", &server.otlp_grpc).await else { return };
    check_also_on_disk(&server, &sent).await;
}

#[tokio::test]
async fn python_sdk_over_http() {
    let folder = TempDir::new().unwrap();
    let server = Server::ready(folder.path(), &[]).await;
    let Some(sent) = Sent::run("http", &server.otlp_http).await else { return };
    check_also_on_disk(&server, &sent).await;
}

/// Which exporter each signal leaves the Collector by.
struct Exporters {
    traces: &'static str,
    logs: &'static str,
    metrics: &'static str,
}

/// A running Collector and the address that it receives OTLP over gRPC on.
struct Collector {
    endpoint: String,
    _process: Child,
}

impl Collector {
    async fn start(folder: &Path, server: &Server, exporters: &Exporters) -> Option<Collector> {
        let program = tools::find("bin/otelcol")?;
        let port = tools::free_port();
        let config = std::fs::read_to_string(tools::source("collector/config.yaml")).unwrap();
        let config = config
            .replace("RECEIVE_PORT", &port.to_string())
            .replace("TERCET_OTLP_GRPC", server.otlp_grpc.trim_start_matches("http://"))
            .replace("TERCET_OTLP_HTTP", &server.otlp_http)
            .replace("TERCET_HTTP", &server.http)
            .replace("TRACES_EXPORTER", exporters.traces)
            .replace("LOGS_EXPORTER", exporters.logs)
            .replace("METRICS_EXPORTER", exporters.metrics);
        let path = folder.join("collector.yaml");
        std::fs::write(&path, config).unwrap();
        let path = format!("file:{}", path.display());
        let log = folder.join("collector.log");
        let process = tools::spawn(&program, &["--config", &path], &log);
        tools::eventually("the Collector listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Some(Collector { endpoint: format!("http://127.0.0.1:{port}"), _process: process })
    }
}

async fn through_collector(exporters: &Exporters, translator: Translator) {
    let folder = TempDir::new().unwrap();
    let server = Server::ready(&folder.path().join("data"), &[]).await;
    let Some(collector) = Collector::start(folder.path(), &server, exporters).await else { return };
    let Some(sent) = Sent::run("grpc", &collector.endpoint).await else { return };
    // The Collector acknowledges before it passes on.
    let series = metrics::count_expected(&sent);
    tools::eventually("everything has passed the Collector", async || {
        lookup::is_whole(&server, &sent).await
            && loki::count(&server).await == sent.logs.len()
            && metrics::count(&server).await >= series
    })
    .await;
    check(&server, &sent, translator).await;
}

#[tokio::test]
async fn collector_over_grpc() {
    let exporters = Exporters { traces: "otlp", logs: "otlp", metrics: "otlp" };
    through_collector(&exporters, Translator::Tercet).await;
}

#[tokio::test]
async fn collector_over_http() {
    let exporters = Exporters { traces: "otlphttp", logs: "otlphttp", metrics: "otlphttp" };
    through_collector(&exporters, Translator::Tercet).await;
}

/// The Collector's own translation of metrics comes to the same series as ours.
#[tokio::test]
async fn collector_over_remote_write() {
    let exporters = Exporters { traces: "otlp", logs: "otlp", metrics: "prometheusremotewrite" };
    through_collector(&exporters, Translator::Collector).await;
}
