//! Settings: one table says for each its name, flag, default, meaning and how it is read.
//!
//! A setting comes from its flag, else from the environment (`TERCET_` and the name in capitals, dots
//! as underscores), else from the TOML file, else from its default. Everything is read and checked
//! before anything opens. `docs/settings.md` is compared with this table by a test.

mod doors;
mod limits;
mod table;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ingest::{IngestOptions, TranslationOptions};
use model::{Limits, Profile, Secret, TenantId, TenantLimits, without_credentials};
use storage::Options;

use crate::doors::Scope;
use crate::listen;

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
    /// Whose defaults the limits have.
    pub profile: Profile,
    /// Of every tenant that has none of its own.
    pub limits: Limits,
    pub tenants: BTreeMap<TenantId, TenantConfig>,
    /// Of the whole process; 0 is four fifths of what the machine or its cgroup has. Units: bytes.
    pub memory_bytes_max: u64,
    /// What a client may take of the sockets.
    pub connections: listen::Limits,
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

/// Where settings come from. Of the environment it holds what names Tercet alone.
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
            connections: listen::Limits::default(),
            tls: TlsFiles::default(),
            auth: Auth::default(),
            egress: EgressOptions::default(),
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
    /// Its lists; what else is below `auth.` stands in the others.
    pub(crate) auth: Auth,
}

impl Given<'_> {
    /// Takes over what a file holds.
    fn take(&mut self, mut table: toml::Table, problems: &mut Vec<String>) {
        let wrong = "tenants: write a table for each tenant, as [tenants.acme.limits.ingest]";
        match table.remove("tenants") {
            None => {}
            Some(toml::Value::Table(tenants)) => {
                for (name, tenant) in tenants {
                    match tenant {
                        toml::Value::Table(tenant) => {
                            flatten("", &tenant, self.tenants.entry(name).or_default());
                        }
                        _ => problems.push(wrong.to_owned()),
                    }
                }
            }
            Some(_) => problems.push(wrong.to_owned()),
        }
        doors::take_lists(&mut table, &mut self.auth, problems);
        flatten("", &table, &mut self.file);
    }
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
    if let Some(file) = file {
        match read_file(file) {
            Ok(table) => given.take(table, &mut problems),
            Err(problem) => problems.push(problem),
        }
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
    let mut config = Config { auth: given.auth.clone(), ..Config::default() };
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
fn bucket_options(environment: &BTreeMap<String, String>) -> Vec<(String, Secret)> {
    const CLOUDS: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "OBJECT_STORE_"];
    environment
        .iter()
        .filter(|(name, _)| CLOUDS.iter().any(|cloud| name.starts_with(cloud)))
        .map(|(name, value)| (name.to_lowercase(), Secret::new(value.as_str())))
        .collect()
}

/// What one setting alone cannot know.
pub(crate) fn check(config: &Config, problems: &mut Vec<String>) {
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
