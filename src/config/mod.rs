//! Settings: one table says for each its name, flag, default, meaning and how it is read.
//!
//! A setting comes from its flag, else from the environment (`TERCET_` and the name in capitals, dots
//! as underscores), else from the TOML file, else from its default. Everything is read and checked
//! before anything opens. `docs/settings.md` is compared with this table by a test.

mod table;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ingest::{IngestOptions, TranslationOptions};
use model::{Limits, Profile, TenantId, TenantLimits};
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
    /// Whose defaults the limits have.
    pub profile: Profile,
    /// Of every tenant that has none of its own.
    pub limits: Limits,
    pub tenants: BTreeMap<TenantId, TenantConfig>,
    /// Of the whole process; 0 is four fifths of what the machine or its cgroup has. Units: bytes.
    pub memory_bytes_max: u64,
    pub connections_max: usize,
    /// Units: ns.
    pub shutdown_delay_ns: i64,
    /// Units: ns.
    pub shutdown_timeout_ns: i64,
    pub log: LogFormat,
    /// `error`, `warn`, `info`, `debug` or a filter of `tracing-subscriber`.
    pub log_filter: String,
    /// What all of it was read from, to be read again.
    pub sources: Sources,
}

/// What a file says of one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantConfig {
    pub limits: Limits,
    /// Names and values as they were given.
    pub given: BTreeMap<String, String>,
}

/// Where settings come from. Holds what names Tercet alone, so that it can be shown.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub flags: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Sources {
    /// Where a setting's value came from; nothing where it is the default.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.origins.get(name).copied()
    }
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
            ingest: IngestOptions { inflight_bytes_max: 0, ..IngestOptions::default() },
            translation: TranslationOptions::default(),
            lookback_ms: 300_000,
            profile: Profile::Single,
            limits: Limits::default(),
            tenants: BTreeMap::new(),
            memory_bytes_max: 0,
            connections_max: 10_000,
            shutdown_delay_ns: 0,
            shutdown_timeout_ns: 30_000_000_000,
            log: LogFormat::Text,
            log_filter: "info".to_owned(),
            sources: Sources::default(),
        }
    }
}

impl Config {
    /// The limits of every tenant.
    #[must_use]
    pub fn tenant_limits(&self) -> TenantLimits {
        let own = self.tenants.iter().map(|(id, tenant)| (id.clone(), tenant.limits.clone()));
        TenantLimits::new(self.limits.clone(), own.collect())
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
}

impl Origin {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "file",
        }
    }
}

/// Names and values by where they stand, before they are looked at.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) flags: Cow<'a, BTreeMap<String, String>>,
    pub(crate) environment: Cow<'a, BTreeMap<String, String>>,
    pub(crate) file: BTreeMap<String, String>,
    pub(crate) tenants: BTreeMap<String, BTreeMap<String, String>>,
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
    let mut given = Given {
        flags: Cow::Borrowed(flags),
        environment: Cow::Borrowed(environment),
        ..Given::default()
    };
    let mut problems = Vec::new();
    if let Some(file) = file
        && let Err(problem) = read_file(file, &mut given)
    {
        problems.push(problem);
    }
    let mut config = build(&given, &mut problems);
    config.storage.bucket_options = bucket_options(environment);
    config.sources.flags = flags.clone();
    let ours = environment.iter().filter(|(name, _)| name.starts_with("TERCET_"));
    config.sources.environment = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
    config.sources.file = file.map(Path::to_owned);
    check(&config, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// Sets what was given, and says what is wrong with it.
pub(crate) fn build(given: &Given<'_>, problems: &mut Vec<String>) -> Config {
    let mut config = Config::default();
    for name in given.file.keys() {
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            problems.push(format!("{name}: no such setting{}", nearest(name)));
        }
    }
    for name in given.environment.keys().filter(|name| name.starts_with("TERCET_")) {
        if name != "TERCET_CONFIG"
            && !is_of_kubernetes(name)
            && !SETTINGS.iter().any(|setting| setting.variable() == *name)
        {
            problems.push(format!("{name}: no such setting"));
        }
    }
    let find = |setting: &Setting| {
        let candidates = [
            (given.flags.get(setting.name), Origin::Flag),
            (given.environment.get(&setting.variable()), Origin::Environment),
            (given.file.get(setting.name), Origin::File),
        ];
        candidates.into_iter().find_map(|(value, origin)| Some((value?.as_str(), origin)))
    };
    // The profile makes the defaults that the other settings change.
    let profile = SETTINGS.iter().filter(|setting| setting.name == "server.profile");
    for setting in profile.clone() {
        if let Some((value, _)) = find(setting) {
            // What is wrong with it is said below.
            let _said_below = (setting.set)(&mut config, value);
        }
    }
    config.limits = Limits::of(config.profile);
    for setting in SETTINGS {
        let Some((value, origin)) = find(setting) else { continue };
        if let Err(problem) = (setting.set)(&mut config, value) {
            let place = match origin {
                Origin::Flag => format!("--{}", setting.flag()),
                Origin::Environment => setting.variable(),
                Origin::File => setting.name.to_owned(),
            };
            problems.push(format!("{place}: {problem}"));
        }
        config.sources.origins.insert(setting.name, origin);
    }
    for (name, values) in &given.tenants {
        match TenantId::parse(name) {
            Ok(id) => {
                let tenant = tenant_config(name, values, &config, problems);
                config.tenants.insert(id, tenant);
            }
            Err(error) => problems.push(format!("tenants.{name}: {error}")),
        }
    }
    config
}

/// A tenant's limits: those of all, and what its own table changes.
fn tenant_config(
    name: &str,
    values: &BTreeMap<String, String>,
    common: &Config,
    problems: &mut Vec<String>,
) -> TenantConfig {
    let mut own = Config { limits: common.limits.clone(), ..Config::default() };
    for (key, value) in values {
        let setting = SETTINGS.iter().find(|setting| setting.name == key);
        match setting.filter(|setting| setting.name.starts_with("limits.")) {
            Some(setting) => {
                if let Err(problem) = (setting.set)(&mut own, value) {
                    problems.push(format!("tenants.{name}.{key}: {problem}"));
                }
            }
            None if setting.is_some() => {
                problems.push(format!(
                    "tenants.{name}.{key}: is for the whole server, not for one tenant"
                ));
            }
            None => problems.push(format!("tenants.{name}.{key}: no such limit{}", nearest(key))),
        }
    }
    TenantConfig { limits: own.limits, given: values.clone() }
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

/// The TOML file as dotted names and texts, what tenants have of their own apart.
fn read_file(path: &Path, given: &mut Given<'_>) -> Result<(), String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--config: cannot read {}: {error}", path.display()))?;
    let mut table: toml::Table = text
        .parse()
        .map_err(|error| format!("--config: {} is not TOML: {error}", path.display()))?;
    let wrong = "tenants: write a table for each tenant, as [tenants.acme.limits.ingest]";
    match table.remove("tenants") {
        Some(toml::Value::Table(tenants)) => {
            for (name, tenant) in tenants {
                let toml::Value::Table(tenant) = tenant else { return Err(wrong.to_owned()) };
                let values = given.tenants.entry(name).or_default();
                flatten("", &tenant, values);
            }
        }
        Some(_) => return Err(wrong.to_owned()),
        None => {}
    }
    flatten("", &table, &mut given.file);
    Ok(())
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
