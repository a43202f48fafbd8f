//! Tokens of an identity provider (JWT). Which signatures are taken is a setting, never the token's
//! choice; keys come from the provider's JWKS, found by equal text of `kid` and nothing else
//! (`jku`, `x5u` and `jwk` in a token are not looked at).
//!
//! Keys are asked for anew every five minutes and when a `kid` is unknown; while the provider does
//! not answer, those that were had serve for an hour. Source: RFC 7515, 7517, 8725.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use storage::Clock;
use tokio::sync::Mutex;

use super::access::{Grant, Roles, Scope};
use super::egress::Egress;
use super::signatures;
use crate::config::Oidc;

const S: i64 = 1_000_000_000;
/// Keys older than this are asked for again. Units: ns.
const FRESH_NS: i64 = 300 * S;
/// Keys older than this are not used. Units: ns.
const STALE_NS: i64 = 3600 * S;
/// Pause between two tries, while there are keys. Units: ns.
const RETRY_NS: i64 = 60 * S;
/// Pause between two tries for a `kid` that is not known. Units: ns.
const UNKNOWN_NS: i64 = 10 * S;
/// Clocks of two machines may differ by this. Units: s.
const LEEWAY_S: u64 = 30;
/// Keys that are tried for a token that names none.
const TRIES_MAX: usize = 16;
/// Characters of a subject that are kept.
const NAME_CHARS_MAX: usize = 128;

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It is wrong; why, for the audit log.
    Bad(String),
    /// The provider's keys cannot be had.
    NoKeys,
}

/// One identity provider.
#[derive(Debug)]
pub(super) struct Issuer {
    settings: Oidc,
    algorithms: Vec<Algorithm>,
    default_scope: Option<Scope>,
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<Keys>,
    /// When the provider was asked last, on the monotonic clock; held while it is being asked.
    asked_ns: Mutex<Option<i64>>,
}

#[derive(Debug)]
struct Keys {
    set: JwkSet,
    had_ns: i64,
}

impl Issuer {
    /// Errors: a setting that cannot be.
    pub(super) fn new(
        settings: Oidc,
        egress: Arc<Egress>,
        clock: Arc<dyn Clock>,
    ) -> Result<Issuer, String> {
        signatures::install();
        let algorithms: Result<Vec<Algorithm>, _> =
            settings.algorithms.iter().map(|name| name.parse()).collect();
        let algorithms = algorithms.map_err(|_| "auth.oidc.algorithms: unknown".to_owned())?;
        let names = settings.tenants.iter().map(String::as_str);
        let default_scope = match settings.tenants.is_empty() {
            true => None,
            false => Some(Scope::parse(names)?),
        };
        let (keys, asked_ns) = (ArcSwapOption::empty(), Mutex::new(None));
        Ok(Issuer { settings, algorithms, default_scope, egress, clock, keys, asked_ns })
    }

    /// Whether it was made of these settings.
    pub(super) fn is_of(&self, settings: &Oidc) -> bool {
        self.settings == *settings
    }

    /// Whose a token is and what it gives.
    ///
    /// Errors: why it is not taken.
    pub(super) async fn verify(&self, token: &str) -> Result<(String, Grant), NotTaken> {
        let bad = |why: String| NotTaken::Bad(why);
        let header = decode_header(token).map_err(|error| bad(error.to_string()))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(bad(format!("alg {:?} is not taken", header.alg)));
        }
        if header.crit.is_some() {
            return Err(bad("crit is not understood".to_owned()));
        }
        let kid = header.kid.as_deref();
        let mut keys = self.keys(RETRY_NS, |_| true).await?;
        if !usable(&keys.set, header.alg, kid).any(|_| true) {
            let knows = |keys: &Keys| usable(&keys.set, header.alg, kid).any(|_| true);
            keys = self.keys(UNKNOWN_NS, knows).await?;
        }
        let mut why = "its key is not the provider's".to_owned();
        for jwk in usable(&keys.set, header.alg, kid).take(TRIES_MAX) {
            let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
            match decode::<Value>(token, &key, &self.validation(header.alg)) {
                Ok(decoded) => return self.grant(&decoded.claims).map_err(NotTaken::Bad),
                Err(error) => why = error.to_string(),
            }
        }
        Err(bad(why))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }

    /// What the claims of a token that is the provider's give.
    fn grant(&self, claims: &Value) -> Result<(String, Grant), String> {
        let name = claims.get("sub").and_then(Value::as_str).unwrap_or("nobody");
        let name = name.chars().take(NAME_CHARS_MAX).collect();
        let mut roles = Roles::default();
        for word in texts(claims.get(&self.settings.role_claim)) {
            if self.settings.roles.is_empty() {
                roles = Roles::parse(word).map_or(roles, |role| roles.join(role));
                continue;
            }
            for pair in &self.settings.roles {
                if let Some((group, role)) = pair.rsplit_once('=')
                    && group.trim() == word
                    && let Ok(role) = Roles::parse(role.trim())
                {
                    roles = roles.join(role);
                }
            }
        }
        if roles.is_none() {
            return Err(format!("its claim {:?} gives no role", self.settings.role_claim));
        }
        let tenants = texts(claims.get(&self.settings.tenant_claim));
        let scope = match (tenants.is_empty(), &self.default_scope) {
            (false, _) => Scope::parse(tenants)?,
            (true, Some(scope)) => scope.clone(),
            (true, None) => {
                return Err(format!("its claim {:?} names no tenant", self.settings.tenant_claim));
            }
        };
        Ok((name, Grant { roles, scope }))
    }

    /// Keys that are young enough; asks for new ones where those that there are will not do, but
    /// not more often than every `pause_ns`.
    async fn keys(
        &self,
        pause_ns: i64,
        will_do: impl Fn(&Keys) -> bool,
    ) -> Result<Arc<Keys>, NotTaken> {
        let had = self.keys.load_full();
        let young = |keys: &Arc<Keys>, age_max: i64| self.now_ns() - keys.had_ns < age_max;
        if let Some(keys) = had.as_ref().filter(|keys| young(keys, FRESH_NS) && will_do(keys)) {
            return Ok(Arc::clone(keys));
        }
        let usable = had.filter(|keys| young(keys, STALE_NS));
        let mut asked_ns = match &usable {
            // Somebody is asking already: what there is serves meanwhile.
            Some(keys) if will_do(keys) => match self.asked_ns.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(Arc::clone(keys)),
            },
            _ => self.asked_ns.lock().await,
        };
        // Whoever waited here may find the work done.
        let now = self.keys.load_full().filter(|keys| young(keys, FRESH_NS) && will_do(keys));
        if let Some(keys) = now {
            return Ok(keys);
        }
        let pause_ns = if usable.is_some() { pause_ns } else { UNKNOWN_NS };
        let may_ask = asked_ns.is_none_or(|asked| self.now_ns() - asked >= pause_ns);
        if may_ask {
            *asked_ns = Some(self.now_ns());
            match self.fetch().await {
                Ok(set) => {
                    let keys = Arc::new(Keys { set, had_ns: self.now_ns() });
                    self.keys.store(Some(Arc::clone(&keys)));
                    return Ok(keys);
                }
                Err(why) => {
                    tracing::warn!(issuer = %self.settings.issuer, %why, "no keys of the issuer");
                }
            }
        }
        self.keys.load_full().filter(|keys| young(keys, STALE_NS)).ok_or(NotTaken::NoKeys)
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let address = match self.settings.jwks_url.as_str() {
            "" => self.discover().await?,
            address => address.to_owned(),
        };
        let body = self.egress.get(&address).await?;
        // The parser's message would quote what came.
        serde_json::from_slice(&body).map_err(|_| "what came is no JWKS".to_owned())
    }

    async fn discover(&self) -> Result<String, String> {
        let issuer = &self.settings.issuer;
        let base = issuer.trim_end_matches('/');
        let body = self.egress.get(&format!("{base}/.well-known/openid-configuration")).await?;
        let page: Value =
            serde_json::from_slice(&body).map_err(|_| "what came is no JSON".to_owned())?;
        if page.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("the page is of another issuer".to_owned());
        }
        let address = page.get("jwks_uri").and_then(Value::as_str);
        let address = address.ok_or_else(|| "the page has no jwks_uri".to_owned())?;
        if issuer.starts_with("https:") && !address.starts_with("https:") {
            return Err("jwks_uri is not https".to_owned());
        }
        Ok(address.to_owned())
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.monotonic_ns()).unwrap_or(i64::MAX)
    }
}

/// Keys that may have signed a token with this header.
fn usable<'k>(
    set: &'k JwkSet,
    algorithm: Algorithm,
    kid: Option<&str>,
) -> impl Iterator<Item = &'k Jwk> {
    set.keys.iter().filter(move |jwk| {
        let is_named = kid.is_none() || jwk.common.key_id.as_deref() == kid;
        let is_for_it = jwk.common.key_algorithm.is_none_or(|known| known == algorithm.into());
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let is_public = !matches!(
            jwk.algorithm,
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_)
        );
        is_named && is_for_it && signs && is_public
    })
}

/// A claim that is a text, texts with spaces between, or a list of texts.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => text.split_whitespace().collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
