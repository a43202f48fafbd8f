//! Settings: one table says for each its name, flag, default, meaning and how it is read.
//!
//! A setting comes from its flag, else from the environment (`TERCET_` and the name in capitals, dots
//! as underscores), else from the TOML file, else from its default. Everything is read and checked
//! before anything opens. `docs/settings.md` is compared with this table by a test.

mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ingest::{IngestOptions, TranslationOptions};
use storage::Options;

pub use table::{SETTINGS, Setting};

/// All settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Web page, query APIs, and every ingest path as well.
    pub http: SocketAddr,
    pub otlp_http: SocketAddr,
    pub otlp_grpc: SocketAddr,
    /// Allows addresses that are not of this machine without authentication.
    pub insecure: bool,
    pub storage: Options,
    pub ingest: IngestOptions,
    /// How OTLP metrics become series.
    pub translation: TranslationOptions,
    /// PromQL's lookback. Units: ms.
    pub lookback_ms: i64,
    pub connections_max: usize,
    /// Units: ns.
    pub shutdown_delay_ns: i64,
    /// Units: ns.
    pub shutdown_timeout_ns: i64,
    pub log: LogFormat,
    /// `error`, `warn`, `info`, `debug` or a filter of `tracing-subscriber`.
    pub log_filter: String,
}

/// How our own log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            http: SocketAddr::from(([127, 0, 0, 1], 4319)),
            otlp_http: SocketAddr::from(([127, 0, 0, 1], 4318)),
            otlp_grpc: SocketAddr::from(([127, 0, 0, 1], 4317)),
            insecure: false,
            storage: Options::new(PathBuf::from("tercet-data")),
            ingest: IngestOptions::default(),
            translation: TranslationOptions::default(),
            lookback_ms: 300_000,
            connections_max: 10_000,
            shutdown_delay_ns: 0,
            shutdown_timeout_ns: 30_000_000_000,
            log: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}

/// Where a value came from, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Flag,
    Environment,
    File,
}

/// Reads all settings. `flags` holds the values of flags by setting name, `environment` all
/// variables of the process, `file` the path given with `--config`.
///
/// Errors: every wrong setting, one a line, with where it stands and what would be right.
pub fn read(
    flags: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
    file: Option<&Path>,
) -> Result<Config, String> {
    let mut config = Config::default();
    let mut problems = Vec::new();
    let from_file = file.map_or_else(|| Ok(BTreeMap::new()), read_file).unwrap_or_else(|problem| {
        problems.push(problem);
        BTreeMap::new()
    });
    for name in from_file.keys() {
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            problems.push(format!("{name}: no such setting{}", nearest(name)));
        }
    }
    for name in environment.keys().filter(|name| name.starts_with("TERCET_")) {
        if name != "TERCET_CONFIG"
            && !is_of_kubernetes(name)
            && !SETTINGS.iter().any(|setting| setting.variable() == *name)
        {
            problems.push(format!("{name}: no such setting"));
        }
    }
    for setting in SETTINGS {
        let candidates = [
            (flags.get(setting.name), Origin::Flag),
            (environment.get(&setting.variable()), Origin::Environment),
            (from_file.get(setting.name), Origin::File),
        ];
        let Some((value, origin)) =
            candidates.into_iter().find_map(|(value, origin)| Some((value?, origin)))
        else {
            continue;
        };
        if let Err(problem) = (setting.set)(&mut config, value) {
            let place = match origin {
                Origin::Flag => format!("--{}", setting.flag()),
                Origin::Environment => setting.variable(),
                Origin::File => setting.name.to_owned(),
            };
            problems.push(format!("{place}: {problem}"));
        }
    }
    config.storage.bucket_options = bucket_options(environment);
    check(&config, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// What Kubernetes puts into every pod's environment where a service is called `tercet`.
fn is_of_kubernetes(name: &str) -> bool {
    name == "TERCET_PORT" || name.starts_with("TERCET_PORT_") || name.starts_with("TERCET_SERVICE_")
}

/// What the clouds' own tools are told in the environment, as the `object_store` crate names it.
fn bucket_options(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    const CLOUDS: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "OBJECT_STORE_"];
    environment
        .iter()
        .filter(|(name, _)| CLOUDS.iter().any(|cloud| name.starts_with(cloud)))
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect()
}

/// What one setting alone cannot know.
fn check(config: &Config, problems: &mut Vec<String>) {
    let addresses =
        [("http", config.http), ("otlp-http", config.otlp_http), ("otlp-grpc", config.otlp_grpc)];
    for (flag, address) in addresses {
        if !address.ip().is_loopback() && !config.insecure {
            problems.push(format!(
                "--{flag}: {address} can be reached from other machines and nothing here asks who \
                 they are; listen on 127.0.0.1 behind a proxy that does, or say --insecure"
            ));
        }
    }
    for (index, (flag, address)) in addresses.into_iter().enumerate() {
        let same = |other: &(&str, SocketAddr)| address.port() != 0 && other.1 == address;
        if let Some((other, _)) = addresses[..index].iter().find(|other| same(other)) {
            problems.push(format!("--{flag}: {address} is --{other}'s already"));
        }
    }
    if let Some(bucket) = &config.storage.bucket {
        let known = ["s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "file://"];
        if !known.iter().any(|scheme| bucket.starts_with(scheme)) {
            problems.push(format!(
                "--bucket: {bucket:?} is no bucket address: write for example s3://bucket/prefix, \
                 gs://bucket/prefix or az://container/prefix"
            ));
        }
    }
}

/// The TOML file as dotted names and texts.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--config: cannot read {}: {error}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| format!("--config: {} is not TOML: {error}", path.display()))?;
    let mut flat = BTreeMap::new();
    flatten("", &table, &mut flat);
    Ok(flat)
}

fn flatten(prefix: &str, table: &toml::Table, flat: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&name, inner, flat);
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(","),
            other => other.to_string(),
        };
        flat.insert(name, text);
    }
}

/// A setting whose name is like the one that does not exist.
fn nearest(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    SETTINGS
        .iter()
        .find(|setting| setting.name.ends_with(last) || setting.name.contains(last))
        .map_or_else(String::new, |setting| format!("; did you mean {}?", setting.name))
}

#[cfg(test)]
mod tests;
