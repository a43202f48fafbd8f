//! The doors: who comes in, what they may do, and what they are told when they may not.
//!
//! [`guard`] is one layer around the whole router. It finds the permission of the route that was
//! matched (`permissions`; a route without one answers nobody), asks who comes (`passwords`,
//! `tokens`, `oidc`, names in a client's certificate), asks `access::authorize`, and puts the
//! tenant that was decided on into the request: nothing behind it decides about access again.
//! Without authentication in the settings everybody is let in, and only pages of other sites are
//! kept from changing things.

mod access;
mod browser;
mod egress;
mod failures;
mod oidc;
pub(crate) mod panics;
mod passwords;
mod permissions;
mod signatures;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::RequestExt as _;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use ingest::{Class, Failure, Ingest};
use model::{ErrorId, TenantId};
use storage::Components;

pub(crate) use access::{Grant, Permission, Principal, Roles, Scope};
pub(crate) use passwords::hash_password;
pub(crate) use permissions::all as all_permissions;
pub(crate) use signatures::ALGORITHMS;
pub(crate) use tls::Tls;
pub(crate) use tokens::create_token;

use crate::config::{Auth, Certificate, EgressOptions};
use crate::listen::Peer;
use access::{Denied, authorize};
use egress::Egress;
use failures::Failures;
use oidc::{Issuer, NotTaken};
use passwords::{Checked, Passwords};
use tokens::{Found, Tokens};

/// Characters of a name from outside that are logged.
const NAME_CHARS_MAX: usize = 64;

/// Why somebody was turned away; the labels of `tercet_auth_failures_total`.
const KINDS: [&str; 9] = [
    "missing",
    "password",
    "token",
    "expired",
    "role",
    "tenant",
    "rate_limited",
    "cross_site",
    "unavailable",
];

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// No credentials.
    Missing,
    /// Wrong ones: kind and what the audit log says.
    Bad(&'static str, String),
    /// Too many wrong ones; seconds until the next try.
    Limited(u64),
    /// The role or the tenant is not the principal's.
    Role(&'static str),
    Tenant(String),
    /// No tenant's name.
    BadTenant(String),
    /// A page of another site.
    CrossSite,
    /// Nobody can tell now.
    Unavailable(&'static str),
    /// The route has no permission: a bug.
    Undeclared,
}

/// Who is known by the settings.
#[derive(Debug)]
pub(crate) struct Known {
    /// Whether anybody is asked.
    is_on: bool,
    passwords: Passwords,
    tokens: Tokens,
    certificates: Vec<(String, Arc<Principal>)>,
    issuer: Option<Arc<Issuer>>,
    /// Wrong credentials of one address and name that are looked at in a minute; 0 for any number.
    failure_rate: u32,
}

impl Known {
    /// An issuer's keys are kept from `before` where its settings are the same.
    ///
    /// Errors: a setting that cannot be.
    fn new(
        auth: &Auth,
        egress: &EgressOptions,
        components: &Components,
        before: Option<&Known>,
    ) -> Result<Known, String> {
        let kept = before.and_then(|known| known.issuer.as_ref());
        let issuer = match (auth.oidc.is_on(), kept) {
            (false, _) => None,
            (true, Some(issuer)) if issuer.is_of(&auth.oidc) => Some(Arc::clone(issuer)),
            (true, _) => {
                let egress = Arc::new(Egress::new(egress)?);
                let clock = Arc::clone(&components.clock);
                Some(Arc::new(Issuer::new(auth.oidc.clone(), egress, clock)?))
            }
        };
        let certificates = auth.certificates.iter().map(|Certificate { san, grant }| {
            let name = format!("certificate:{san}").into();
            (san.clone(), Arc::new(Principal { name, grant: grant.clone() }))
        });
        Ok(Known {
            is_on: auth.is_on(),
            passwords: Passwords::new(&auth.users, &*components.random),
            tokens: Tokens::new(&auth.tokens),
            certificates: certificates.collect(),
            issuer,
            failure_rate: auth.failed_login_rate,
        })
    }
}

/// All doors of a server.
#[derive(Debug)]
pub(crate) struct Doors {
    anyone: Arc<Principal>,
    known: ArcSwap<Known>,
    failures: Failures,
    egress: EgressOptions,
    components: Components,
    turned_away: [AtomicU64; KINDS.len()],
}

impl Doors {
    /// Errors: a setting that cannot be.
    pub(crate) fn new(
        auth: &Auth,
        egress: &EgressOptions,
        components: &Components,
    ) -> Result<Arc<Doors>, String> {
        Ok(Arc::new(Doors {
            anyone: Arc::new(Principal::anyone()),
            known: ArcSwap::from_pointee(Known::new(auth, egress, components, None)?),
            failures: Failures::default(),
            egress: egress.clone(),
            components: components.clone(),
            turned_away: Default::default(),
        }))
    }

    /// Who would be known by `auth`, for [`Doors::replace`].
    ///
    /// Errors: a setting that cannot be.
    pub(crate) fn know(&self, auth: &Auth) -> Result<Known, String> {
        Known::new(auth, &self.egress, &self.components, Some(&*self.known.load()))
    }

    /// Lets in who is in `known` from now on, and nobody else.
    pub(crate) fn replace(&self, known: Known) {
        self.known.store(Arc::new(known));
    }

    /// Who was turned away, by kind.
    pub(crate) fn turned_away(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS
            .into_iter()
            .zip(&self.turned_away)
            .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
    }

    /// Decides about a request and readies it for its handler.
    ///
    /// Errors: why it is turned away.
    async fn admit(&self, request: &mut Request) -> Result<Arc<Principal>, Refusal> {
        let permission = match request.extensions().get::<MatchedPath>() {
            Some(route) => permissions::needed(route.as_str(), request.method()),
            // The page's files, and what is not there at all.
            None => Some(Permission::Open),
        };
        let permission = permission.ok_or(Refusal::Undeclared)?;
        let is_change = browser::may_change(request.method())
            && matches!(permission, Permission::Write | Permission::Admin);
        if is_change && browser::is_cross_site(request.headers(), request.uri()) {
            return Err(Refusal::CrossSite);
        }
        if !self.known.load().is_on || permission == Permission::Open {
            // What cannot be one is refused by the handler in the words of its protocol.
            if let Ok(tenants) = Tenants::of(request).await {
                let tenant = tenants.decided().cloned().unwrap_or_default();
                request.extensions_mut().insert(tenant);
            }
            request.extensions_mut().insert(Arc::clone(&self.anyone));
            return Ok(Arc::clone(&self.anyone));
        }
        let tenants = Tenants::of(request).await?;
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let principal = self.authenticate(request.headers(), &peer).await?;
        for tenant in tenants.asked() {
            authorize(&principal, permission, tenant.map(TenantId::as_str)).map_err(|denied| {
                match denied {
                    Denied::Role => Refusal::Role(permission.as_str()),
                    Denied::Tenant => Refusal::Tenant(tenant.map_or("*", TenantId::as_str).into()),
                }
            })?;
        }
        let tenant = tenants.decided().unwrap_or(principal.grant.scope.first()).clone();
        if let Ok(tenant) = HeaderValue::from_str(tenant.as_str()) {
            request.headers_mut().insert(TenantId::HEADER, tenant);
        }
        request.extensions_mut().insert(tenant);
        request.extensions_mut().insert(Arc::clone(&principal));
        Ok(principal)
    }

    /// Who comes. Credentials in the request count before the connection's certificate.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return self.by_certificate(peer).ok_or(Refusal::Missing);
        };
        let no_scheme = || Refusal::Bad("token", "the header is neither Basic nor Bearer".into());
        let text = value.to_str().map_err(|_| no_scheme())?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(no_scheme)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.by_token(rest, peer.address).await;
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(no_scheme());
        }
        let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        else {
            return Err(Refusal::Bad("password", "the header is no name and password".into()));
        };
        // Tools that know nothing but passwords, browsers among them, bring tokens this way.
        if password.starts_with(tokens::PREFIX) {
            return self.by_token(password, peer.address).await;
        }
        self.by_password(name, password, peer.address).await
    }

    async fn by_password(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Arc<Principal>, Refusal> {
        let now = self.components.clock.monotonic_ns();
        let known = self.known.load_full();
        if let Some(principal) = known.passwords.recall(name, password, now) {
            return Ok(principal);
        }
        let entered = self.failures.enter(address, name, now, known.failure_rate);
        entered.map_err(Refusal::Limited)?;
        match known.passwords.check(name, password, now).await {
            Checked::Right(principal) => {
                self.failures.forgive(address, name);
                Ok(principal)
            }
            Checked::Wrong => Err(Refusal::Bad("password", format!("user {:?}", shown(name)))),
            Checked::Busy => {
                self.failures.forgive(address, name);
                Err(Refusal::Unavailable("too many passwords are being checked"))
            }
        }
    }

    async fn by_token(&self, token: &str, address: IpAddr) -> Result<Arc<Principal>, Refusal> {
        let known = self.known.load_full();
        let wrong = match &known.issuer {
            Some(issuer) if token.split('.').count() == 3 => match issuer.verify(token).await {
                Ok((name, grant)) => {
                    let name = format!("oidc:{name}").into();
                    return Ok(Arc::new(Principal { name, grant }));
                }
                Err(NotTaken::NoKeys) => {
                    let what = "the keys of the identity provider cannot be had";
                    return Err(Refusal::Unavailable(what));
                }
                Err(NotTaken::Bad(why)) => Refusal::Bad("token", format!("JWT: {why}")),
            },
            _ => match known.tokens.find(token, self.components.clock.now_ns()) {
                Found::Valid(principal) => return Ok(principal),
                Found::Expired(name) => Refusal::Bad("expired", name.to_string()),
                Found::Unknown => Refusal::Bad("token", "unknown token".to_owned()),
            },
        };
        let now = self.components.clock.monotonic_ns();
        let entered = self.failures.enter(address, "", now, known.failure_rate);
        entered.map_err(Refusal::Limited)?;
        Err(wrong)
    }

    fn by_certificate(&self, peer: &Peer) -> Option<Arc<Principal>> {
        let known = self.known.load();
        let (_, principal) = known
            .certificates
            .iter()
            .find(|(san, _)| peer.names.iter().any(|name| san_matches(san, name)))?;
        Some(Arc::clone(principal))
    }

    /// Counts, notes and words a refusal.
    fn turn_away(&self, request: &Request, refusal: &Refusal) -> Response {
        let address = request.extensions().get::<Peer>().map(|peer| peer.address.to_string());
        let address = address.unwrap_or_default();
        let (method, path) = (request.method(), request.uri().path());
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let (kind, class, what) = match refusal {
            Refusal::Missing => ("missing", Class::Unauthenticated, "who are you?".to_owned()),
            Refusal::Bad(kind, who) => {
                tracing::warn!(
                    target: "audit", action = "login", outcome = "failed", kind, who, address,
                    "login failed"
                );
                (*kind, Class::Unauthenticated, "these credentials are not known here".to_owned())
            }
            Refusal::Limited(_) => {
                let what = "too many failed logins (auth.failed_login_rate); try again later";
                ("rate_limited", Class::RateLimited, what.to_owned())
            }
            Refusal::Role(permission) => {
                let what = format!("{method} {route} needs the role {permission}");
                ("role", Class::Forbidden, what)
            }
            Refusal::Tenant(tenant) => {
                let what = format!("tenant {:?} is not yours", shown(tenant));
                ("tenant", Class::Forbidden, what)
            }
            Refusal::BadTenant(why) => ("tenant", Class::BadTenant, why.clone()),
            Refusal::CrossSite => {
                let what = "a page of another site may not change anything here";
                ("cross_site", Class::Forbidden, what.to_owned())
            }
            Refusal::Unavailable(what) => ("unavailable", Class::Overloaded, (*what).to_owned()),
            Refusal::Undeclared => {
                tracing::error!(route, "bug: a route without a permission");
                ("role", Class::Forbidden, "bug: this route has no permission".to_owned())
            }
        };
        if let Some(index) = KINDS.iter().position(|known| *known == kind) {
            self.turned_away[index].fetch_add(1, Ordering::Relaxed);
        }
        let mut failure = match refusal {
            Refusal::Unavailable(_) => Failure::with_id(class, ErrorId::Unavailable.as_str(), what),
            _ => Failure::new(class, what),
        };
        failure.retry_after = match refusal {
            Refusal::Limited(seconds) => Some(Duration::from_secs(*seconds)),
            Refusal::Unavailable(_) => Some(Duration::from_secs(1)),
            _ => None,
        };
        let mut response = Ingest::refuse(path, request.headers(), &failure)
            .unwrap_or_else(|| plain_refusal(&failure));
        let headers = response.headers_mut();
        if let Some(wait) = failure.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if class == Class::Unauthenticated {
            // Browsers ask on the first; both are true.
            let basic = HeaderValue::from_static("Basic realm=\"tercet\", charset=\"UTF-8\"");
            headers.append(WWW_AUTHENTICATE, basic);
            let bearer = HeaderValue::from_static("Bearer realm=\"tercet\"");
            headers.append(WWW_AUTHENTICATE, bearer);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

/// The layer around the whole router.
pub(crate) async fn guard(
    State(doors): State<Arc<Doors>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match doors.admit(&mut request).await {
        Err(refusal) => doors.turn_away(&request, &refusal),
        Ok(principal) => {
            let note = audit_note(&request, &principal);
            let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            let response = handled.unwrap_or_else(|_panic| {
                let what = "tercet-err-internal: bug: this request stopped its handler; \
                            please report it\n";
                (StatusCode::INTERNAL_SERVER_ERROR, what).into_response()
            });
            if let Some(note) = note {
                note.write(response.status());
            }
            response
        }
    };
    browser::secure(response.headers_mut());
    response
}

/// An admin's action, for the audit log.
struct AuditNote {
    who: Arc<str>,
    action: String,
    address: String,
}

impl AuditNote {
    fn write(self, status: StatusCode) {
        let AuditNote { who, action, address } = self;
        let outcome = if status.is_success() { "done" } else { "failed" };
        tracing::info!(
            target: "audit", %who, action, outcome, status = status.as_u16(), address,
            "admin action"
        );
    }
}

/// What is to be noted about a request: changes that need the role admin.
fn audit_note(request: &Request, principal: &Principal) -> Option<AuditNote> {
    if !browser::may_change(request.method()) {
        return None;
    }
    let route = request.extensions().get::<MatchedPath>()?.as_str();
    if permissions::needed(route, request.method()) != Some(Permission::Admin) {
        return None;
    }
    let address = request.extensions().get::<Peer>().map(|peer| peer.address.to_string());
    Some(AuditNote {
        who: Arc::clone(&principal.name),
        action: format!("{} {route}", request.method()),
        address: address.unwrap_or_default(),
    })
}

/// The scope of whoever sent a request; everything where nobody is asked.
pub(crate) fn scope_of(principal: Option<&Arc<Principal>>) -> Scope {
    principal.map_or_else(Scope::every, |principal| principal.grant.scope.clone())
}

/// The tenants that a request names.
#[derive(Debug)]
struct Tenants {
    in_header: Option<TenantId>,
    in_path: Option<TenantId>,
}

impl Tenants {
    /// Errors: the request names two in its headers, or what cannot be one.
    async fn of(request: &mut Request) -> Result<Tenants, Refusal> {
        let route = request.extensions().get::<MatchedPath>();
        let in_path = if route.is_some_and(|route| permissions::names_tenant(route.as_str())) {
            let params = request.extract_parts::<RawPathParams>().await;
            let params = params.map_err(|error| Refusal::BadTenant(error.to_string()))?;
            let (_, name) = params.iter().next().unwrap_or_default();
            Some(parse_tenant(name)?)
        } else {
            None
        };
        Ok(Tenants { in_header: tenant_in(request.headers())?, in_path })
    }

    /// All that the principal needs to be allowed; none stands for its own.
    fn asked(&self) -> impl Iterator<Item = Option<&TenantId>> {
        let named = [&self.in_header, &self.in_path].into_iter().flatten().map(Some);
        let nobody = self.decided().is_none().then_some(None);
        named.chain(nobody)
    }

    /// The one that the request is about; none stands for the principal's first.
    fn decided(&self) -> Option<&TenantId> {
        self.in_path.as_ref().or(self.in_header.as_ref())
    }
}

/// The tenant that headers name.
///
/// Errors: they name two, or what cannot be one.
fn tenant_in(headers: &HeaderMap) -> Result<Option<TenantId>, Refusal> {
    let mut named = headers.get_all(TenantId::HEADER).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(Refusal::BadTenant("two tenants are named".to_owned()));
    }
    let Some(value) = first.filter(|value| !value.is_empty()) else { return Ok(None) };
    let name =
        value.to_str().map_err(|_| Refusal::BadTenant("tenant id is not text".to_owned()))?;
    parse_tenant(name).map(Some)
}

fn parse_tenant(name: &str) -> Result<TenantId, Refusal> {
    TenantId::parse(name).map_err(|error| Refusal::BadTenant(error.to_string()))
}

/// Whether a name in a certificate is the one of the settings; `*.` stands for one label.
fn san_matches(san: &str, name: &str) -> bool {
    match san.strip_prefix("*.") {
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None if san.contains("://") => san == name,
        None => san.eq_ignore_ascii_case(name),
    }
}

/// A name from outside, cut for a log or an answer.
fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// A refusal in the words that Prometheus' clients, Loki's and the page understand.
fn plain_refusal(failure: &Failure) -> Response {
    let body = serde_json::json!({
        "status": "error",
        "errorType": failure.class.as_str(),
        "error": failure.message,
        "message": failure.message,
    });
    (failure.http_status(), axum::Json(body)).into_response()
}
