//! Settings about who may come in: those that are lists of tables in the TOML file
//! (`[[auth.users]]`, `[[auth.tokens]]`, `[[auth.certificates]]`), and the types of all of them.
//!
//! A secret stands in the file, or in a file of its own that `<name>_file` names.

use std::path::{Path, PathBuf};

use argon2::password_hash::PasswordHash;
use model::Secret;

use crate::doors::{Grant, Roles, Scope};

/// Entries of one list.
const ENTRIES_MAX: usize = 1000;
/// Bytes of a file that holds a secret.
const SECRET_BYTES_MAX: usize = 4 << 10;
/// Memory that checking one password may take. Units: KiB.
const ARGON2_KIB_MAX: u32 = 256 << 10;
const ARGON2_PASSES_MAX: u32 = 20;

/// Everything below `auth.`.
#[derive(Debug, Clone)]
pub struct Auth {
    pub users: Vec<User>,
    pub tokens: Vec<Token>,
    pub certificates: Vec<Certificate>,
    pub oidc: Oidc,
    /// Of one address and user in a minute; 0 for any number.
    pub failed_login_rate: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            users: Vec::new(),
            tokens: Vec::new(),
            certificates: Vec::new(),
            oidc: Oidc::default(),
            failed_login_rate: 10,
        }
    }
}

impl Auth {
    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.users.is_empty()
            || !self.tokens.is_empty()
            || !self.certificates.is_empty()
            || self.oidc.is_on()
    }
}

/// Somebody with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// A PHC text of argon2id.
    pub password_hash: Secret,
    pub grant: Grant,
}

/// A bearer token, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    /// SHA-256 of the token in hex.
    pub hash: Secret,
    /// Units: ns since the Unix epoch.
    pub expires_ns: Option<i64>,
    pub grant: Grant,
}

/// A client's certificate, by a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// A DNS name or URI of its subject alternative names, or a DNS name behind `*.`.
    pub san: String,
    pub grant: Grant,
}

/// Tokens of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    pub issuer: String,
    pub audience: String,
    /// Asked of the issuer where empty.
    pub jwks_url: String,
    pub algorithms: Vec<String>,
    /// The claim that holds roles or groups.
    pub role_claim: String,
    /// `group=role` pairs; names of roles stand for themselves.
    pub roles: Vec<String>,
    /// The claim that holds tenants.
    pub tenant_claim: String,
    /// Of principals whose token names none.
    pub tenants: Vec<String>,
}

impl Default for Oidc {
    fn default() -> Self {
        let text = str::to_owned;
        Oidc {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            algorithms: ["RS256", "ES256", "EdDSA"].map(text).to_vec(),
            role_claim: text("tercet_role"),
            roles: Vec::new(),
            tenant_claim: text("tercet_tenants"),
            tenants: Vec::new(),
        }
    }
}

impl Oidc {
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.issuer.is_empty()
    }
}

/// Certificates of the listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Who vouches for clients' certificates.
    pub client_ca: Option<PathBuf>,
    pub client_required: bool,
}

/// What we may ask for from other servers.
#[derive(Debug, Clone)]
pub struct EgressOptions {
    pub block_private: bool,
    /// Units: ns.
    pub timeout_ns: i64,
    pub response_bytes_max: usize,
}

impl Default for EgressOptions {
    fn default() -> Self {
        EgressOptions {
            block_private: true,
            timeout_ns: 10_000_000_000,
            response_bytes_max: 1 << 20,
        }
    }
}

/// Takes the lists out of the `auth` table, so that only plain settings are left in it.
pub(super) fn take_lists(file: &mut toml::Table, auth: &mut Auth, problems: &mut Vec<String>) {
    let Some(toml::Value::Table(table)) = file.get_mut("auth") else { return };
    let mut entries = |name: &str| -> Vec<Entry> {
        let place = format!("auth.{name}");
        match table.remove(name) {
            None => Vec::new(),
            Some(toml::Value::Array(list)) if list.len() <= ENTRIES_MAX => {
                let tables = list.into_iter().enumerate().map(|(index, value)| {
                    let place = format!("{place}[{index}]");
                    match value {
                        toml::Value::Table(table) => Entry { place, table, problems: Vec::new() },
                        _ => Entry {
                            problems: vec![format!("{place}: is no table")],
                            table: toml::Table::new(),
                            place,
                        },
                    }
                });
                tables.collect()
            }
            Some(_) => {
                let what = format!("is a list of at most {ENTRIES_MAX} tables: write [[{place}]]");
                let problems = vec![format!("{place}: {what}")];
                vec![Entry { place, table: toml::Table::new(), problems }]
            }
        }
    };
    let (users, tokens, certificates) =
        (entries("users"), entries("tokens"), entries("certificates"));
    auth.users = users.into_iter().filter_map(|entry| entry.read(problems, read_user)).collect();
    auth.tokens = tokens.into_iter().filter_map(|entry| entry.read(problems, read_token)).collect();
    auth.certificates = certificates
        .into_iter()
        .filter_map(|entry| entry.read(problems, read_certificate))
        .collect();
    let mut names: Vec<&str> = auth.users.iter().map(|user| user.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        problems.push(format!("auth.users: {:?} is there twice", twice[0]));
    }
}

fn read_user(entry: &mut Entry) -> Option<User> {
    let name = entry.text("name")?;
    if name.is_empty() || name.contains(':') {
        return entry.wrong(&format!("name: {name:?} is empty or holds a colon"));
    }
    let password_hash = entry.secret("password_hash")?;
    if let Err(why) = check_hash(password_hash.expose()) {
        return entry.wrong(&format!("password_hash: {why}; tercet user hash makes one"));
    }
    Some(User { name, password_hash, grant: entry.grant()? })
}

/// Whether a text is a hash of a password that we are willing to compute.
fn check_hash(text: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| "is no PHC text such as $argon2id$v=19$...")?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
        return Err("is no argon2id hash with its salt");
    }
    let number = |name: &str| hash.params.get_decimal(name);
    let (memory, passes) = (number("m").unwrap_or(0), number("t").unwrap_or(0));
    if memory > ARGON2_KIB_MAX || passes > ARGON2_PASSES_MAX {
        return Err("asks for more than 256 MiB of memory or 20 passes");
    }
    Ok(())
}

fn read_token(entry: &mut Entry) -> Option<Token> {
    let name = entry.text("name")?;
    let hash = entry.secret("hash")?;
    let hex = hash.expose().strip_prefix("sha256:").unwrap_or_default();
    if hex.len() != 64 || hex::decode(hex).is_err() {
        return entry.wrong("hash: is not sha256: and 64 hex digits; tercet token create makes it");
    }
    let hash = Secret::new(hex.to_ascii_lowercase());
    let expires = entry.text("expires")?;
    let expires_ns = match expires.as_str() {
        "never" => None,
        text => match parse_moment_ns(text) {
            Some(ns) => Some(ns),
            None => {
                return entry.wrong(&format!(
                    "expires: {text:?} is neither a date, nor a time such as \
                     2027-01-31T00:00:00Z, nor never"
                ));
            }
        },
    };
    Some(Token { name, hash, expires_ns, grant: entry.grant()? })
}

fn read_certificate(entry: &mut Entry) -> Option<Certificate> {
    let san = entry.text("san")?;
    if san.is_empty() {
        return entry.wrong("san: is empty");
    }
    Some(Certificate { san, grant: entry.grant()? })
}

/// A date, which ends with its last second in UTC, or a time of RFC 3339. Units: ns.
fn parse_moment_ns(text: &str) -> Option<i64> {
    if let Ok(date) = text.parse::<chrono::NaiveDate>() {
        return date.and_hms_opt(23, 59, 59)?.and_utc().timestamp_nanos_opt();
    }
    chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

/// One table of a list while it is read: what is taken is gone, and nothing may be left.
struct Entry {
    place: String,
    table: toml::Table,
    problems: Vec<String>,
}

impl Entry {
    fn read<T>(
        mut self,
        problems: &mut Vec<String>,
        read: impl FnOnce(&mut Entry) -> Option<T>,
    ) -> Option<T> {
        if self.problems.is_empty() {
            let entry = read(&mut self);
            if let Some(left) = self.table.keys().next().filter(|_| self.problems.is_empty()) {
                self.problems.push(format!("{}.{left}: no such setting", self.place));
            }
            if self.problems.is_empty() {
                return entry;
            }
        }
        problems.append(&mut self.problems);
        None
    }

    fn wrong<T>(&mut self, what: &str) -> Option<T> {
        self.problems.push(format!("{}.{what}", self.place));
        None
    }

    fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.table.remove(name)? {
            toml::Value::String(text) => Some(text),
            toml::Value::Datetime(moment) => Some(moment.to_string()),
            _ => self.wrong(&format!("{name}: is no text")),
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        if !self.table.contains_key(name) {
            return self.wrong(&format!("{name}: is missing"));
        }
        self.optional_text(name)
    }

    /// `name`, or what the file holds that `<name>_file` names.
    fn secret(&mut self, name: &str) -> Option<Secret> {
        let of_file = format!("{name}_file");
        if !self.table.contains_key(&of_file) {
            return self.text(name).map(Secret::new);
        }
        let path = self.text(&of_file)?;
        match read_secret(Path::new(&path)) {
            Ok(secret) => Some(secret),
            Err(why) => self.wrong(&format!("{of_file}: cannot read {path}: {why}")),
        }
    }

    fn list(&mut self, name: &str) -> Option<Vec<String>> {
        match self.table.remove(name) {
            None => self.wrong(&format!("{name}: is missing")),
            Some(toml::Value::String(text)) => {
                Some(text.split(',').map(|part| part.trim().to_owned()).collect())
            }
            Some(toml::Value::Array(items)) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                if texts.is_none() {
                    return self.wrong(&format!("{name}: is no list of texts"));
                }
                texts
            }
            Some(_) => self.wrong(&format!("{name}: is no list of texts")),
        }
    }

    fn grant(&mut self) -> Option<Grant> {
        let (role, tenants) = (self.list("role")?, self.list("tenants")?);
        let roles = match Roles::parse(&role.join(",")) {
            Ok(roles) => roles,
            Err(why) => return self.wrong(&format!("role: {why}")),
        };
        let scope = match Scope::parse(tenants.iter().map(String::as_str)) {
            Ok(scope) => scope,
            Err(why) => return self.wrong(&format!("tenants: {why}")),
        };
        if roles.is_admin() && !scope.is_every() {
            return self.wrong(
                "role: admin is for the whole server and needs tenants = [\"*\"]; \
                 role = [\"read\", \"write\"] does everything within tenants",
            );
        }
        Some(Grant { roles, scope })
    }
}

/// The first line of a file.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || line.len() > SECRET_BYTES_MAX {
        return Err(format!("its first line is empty or longer than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(Secret::new(line))
}
