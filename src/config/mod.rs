//! Settings: one table says for each its name, flag, default, meaning and how it is read.
//!
//! A setting comes from its flag, else from the environment (`TERCET_` and the name in capitals, dots
//! as underscores), else from the TOML file, else from its default. Everything is read and checked
//! before anything opens. `docs/settings.md` is compared with this table by a test.

mod doors;
mod table;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ingest::{IngestOptions, TranslationOptions};
use model::{Secret, without_credentials};
use storage::Options;

use crate::doors::Scope;
use crate::listen::Limits;

pub use doors::{Auth, Certificate, EgressOptions, Oidc, TlsFiles, Token, User};
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
    /// What a client may take of the sockets.
    pub connections: Limits,
    pub tls: TlsFiles,
    pub auth: Auth,
    pub egress: EgressOptions,
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
            connections: Limits::default(),
            tls: TlsFiles::default(),
            auth: Auth::default(),
            egress: EgressOptions::default(),
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
    let mut table =
        file.map_or_else(|| Ok(toml::Table::new()), read_file).unwrap_or_else(|problem| {
            problems.push(problem);
            toml::Table::new()
        });
    doors::take_lists(&mut table, &mut config.auth, &mut problems);
    let mut from_file = BTreeMap::new();
    flatten("", &table, &mut from_file);
    for name in from_file.keys() {
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            problems.push(format!("{name}: no such setting{}", nearest(name)));
        }
    }
    for name in environment.keys().filter(|name| name.starts_with("TERCET_")) {
        if !["TERCET_CONFIG", "TERCET_FAULTS"].contains(&name.as_str())
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
fn bucket_options(environment: &BTreeMap<String, String>) -> Vec<(String, Secret)> {
    const CLOUDS: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "OBJECT_STORE_"];
    environment
        .iter()
        .filter(|(name, _)| CLOUDS.iter().any(|cloud| name.starts_with(cloud)))
        .map(|(name, value)| (name.to_lowercase(), Secret::new(value.as_str())))
        .collect()
}

/// What one setting alone cannot know.
fn check(config: &Config, problems: &mut Vec<String>) {
    let addresses =
        [("http", config.http), ("otlp-http", config.otlp_http), ("otlp-grpc", config.otlp_grpc)];
    for (flag, address) in addresses {
        if !address.ip().is_loopback() && !config.insecure && !config.auth.is_on() {
            problems.push(format!(
                "--{flag}: {address} can be reached from other machines and nothing here asks who \
                 they are; name users or tokens (docs/doors.md), listen on 127.0.0.1 behind a \
                 proxy that asks, or say --insecure"
            ));
        }
    }
    for (index, (flag, address)) in addresses.into_iter().enumerate() {
        let same = |other: &(&str, SocketAddr)| address.port() != 0 && other.1 == address;
        if let Some((other, _)) = addresses[..index].iter().find(|other| same(other)) {
            problems.push(format!("--{flag}: {address} is --{other}'s already"));
        }
    }
    check_doors(config, problems);
    if let Some(bucket) = &config.storage.bucket {
        let known = ["s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "file://"];
        if !known.iter().any(|scheme| bucket.starts_with(scheme)) {
            problems.push(format!(
                "--bucket: {:?} is no bucket address: write for example s3://bucket/prefix, \
                 gs://bucket/prefix or az://container/prefix",
                without_credentials(bucket, bucket)
            ));
        }
    }
}

/// What settings about the doors must agree on.
fn check_doors(config: &Config, problems: &mut Vec<String>) {
    let tls = &config.tls;
    if tls.cert.is_some() != tls.key.is_some() {
        problems.push("tls.cert, tls.key: one does not work without the other".to_owned());
    }
    if tls.client_ca.is_some() && tls.cert.is_none() {
        problems.push("tls.client_ca: clients' certificates need tls.cert and tls.key".to_owned());
    }
    if tls.client_required && tls.client_ca.is_none() {
        problems.push("tls.client_required: needs tls.client_ca".to_owned());
    }
    if !config.auth.certificates.is_empty() && tls.client_ca.is_none() {
        problems.push("auth.certificates: needs tls.client_ca, who vouches for them".to_owned());
    }
    let oidc = &config.auth.oidc;
    if !oidc.is_on() {
        return;
    }
    if oidc.audience.is_empty() {
        problems
            .push("auth.oidc.audience: is missing; a token for others is not for us".to_owned());
    }
    for (name, address) in [("issuer", &oidc.issuer), ("jwks_url", &oidc.jwks_url)] {
        if (name == "issuer" || !address.is_empty()) && !is_trusted_url(address) {
            problems.push(format!(
                "auth.oidc.{name}: {address:?} is no https:// address (http:// is taken for this \
                 machine only)"
            ));
        }
    }
    if !oidc.tenants.is_empty()
        && let Err(why) = Scope::parse(oidc.tenants.iter().map(String::as_str))
    {
        problems.push(format!("auth.oidc.tenants: {why}"));
    }
}

/// Whether what is read there comes from whom it says.
fn is_trusted_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(url::Host::Domain(name))) => name == "localhost",
        ("http", Some(url::Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(url::Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    })
}

/// The TOML file.
fn read_file(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--config: cannot read {}: {error}", path.display()))?;
    // The crate's message quotes the line, which may hold a secret.
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count());
        format!("--config: {} is not TOML: line {line}: {}", path.display(), error.message())
    })
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
