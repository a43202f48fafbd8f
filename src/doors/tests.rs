//! The doors of a whole server, asked in process; over sockets they are asked by the chaos rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use chaos::identity::{AUDIENCE, ISSUER, Provider, Signer, claims};
use http::{Method, Request};
use model::Secret;
use storage::{Clock, Components};
use tower::ServiceExt as _;

use super::access::Scope;
use super::egress::{Egress, is_refused};
use super::oidc::{Issuer, NotTaken};
use super::*;
use crate::config::{self, Auth, Config, Oidc, Token, User};
use crate::server::routes;
use crate::{Server, SystemClock, SystemRandom};

fn components() -> Components {
    Components::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

fn grant(roles: &str, tenants: &[&str]) -> Grant {
    Grant {
        roles: Roles::parse(roles).unwrap(),
        scope: Scope::parse(tenants.iter().copied()).unwrap(),
    }
}

fn token(name: &str, roles: &str, tenants: &[&str]) -> (String, Token) {
    let (token, hash) = create_token(&SystemRandom);
    let hash = Secret::new(hash.strip_prefix("sha256:").unwrap());
    let grant = grant(roles, tenants);
    (token, Token { name: name.to_owned(), hash, expires_ns: None, grant })
}

/// A server with `auth`, and its router with the doors around it.
async fn server(folder: &std::path::Path, auth: Auth) -> (Server, Router) {
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config {
        http: any_port,
        otlp_http: any_port,
        otlp_grpc: any_port,
        auth,
        ..Config::default()
    };
    config.storage.data_dir = folder.to_owned();
    let server = Server::start(config, components()).await.unwrap();
    let router = doors_of(&server);
    (server, router)
}

/// A server whose settings stand in `tercet.toml` of the folder, and its router.
async fn server_of_file(folder: &std::path::Path) -> (Server, Router) {
    let data = folder.join("data").display().to_string();
    let flags = [
        ("server.http", "127.0.0.1:0"),
        ("server.otlp_http", "127.0.0.1:0"),
        ("server.otlp_grpc", "127.0.0.1:0"),
        ("storage.data", data.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = folder.join("tercet.toml");
    let config = config::read(&flags.into(), &BTreeMap::new(), Some(&file)).unwrap();
    let server = Server::start(config, components()).await.unwrap();
    let router = doors_of(&server);
    (server, router)
}

/// What whoever brings the token is answered.
async fn status_for(router: &Router, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    ask(router, Method::GET, "/tercet/api/v1/status", &headers).await.status().as_u16()
}

async fn ask(router: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// The same of a server that is there.
fn doors_of(server: &Server) -> Router {
    let doors = Arc::clone(&server.admin.doors);
    routes(&server.admin).fallback(crate::assets::fallback).layer(from_fn_with_state(doors, guard))
}

/// The paths that a router serves, as its own account of itself says.
fn paths_of(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    // What stands behind that is how paths without a route are answered.
    let text = text.split("fallback_router").next().unwrap_or_default();
    let mut paths = BTreeSet::new();
    for list in text.split("paths: {").skip(1) {
        // `RouteId(3): "/a/{id}", ...`: paths are what stands in quotes until the brace that is
        // not in quotes.
        let mut rest = list;
        while let Some(open) = rest.find('"').filter(|&at| !rest[..at].contains('}')) {
            let close = rest[open + 1..].find('"').unwrap() + open + 1;
            paths.insert(rest[open + 1..close].to_owned());
            rest = &rest[close + 1..];
        }
    }
    paths
}

#[test]
fn the_router_can_be_walked() {
    let inner = Router::new().route("/b/{id}", get(|| async {}));
    let router: Router = Router::new().route("/a", get(|| async {})).nest("/ds/x", inner);
    let paths = paths_of(&router);
    assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), ["/a", "/ds/x/b/{id}"]);
}

#[tokio::test]
async fn every_route_has_a_permission_and_every_permission_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = server(folder.path(), Auth::default()).await;
    let served = paths_of(&routes(&server.admin));
    let declared: BTreeSet<String> =
        all_permissions().into_iter().map(|(route, _)| route.to_owned()).collect();
    let forgotten: Vec<_> = served.difference(&declared).collect();
    assert!(forgotten.is_empty(), "src/doors/permissions.rs does not say what {forgotten:?} need");
    let gone: Vec<_> = declared.difference(&served).collect();
    assert!(gone.is_empty(), "src/doors/permissions.rs names {gone:?}, which are not served");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_route_turns_strangers_lesser_roles_and_other_tenants_away() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, read) = token("r", "read", &["a"]);
    let (writer, write) = token("w", "write", &["a"]);
    let (ruler, admin) = token("x", "admin", &["*"]);
    let auth = Auth { tokens: vec![read, write, admin], failed_login_rate: 0, ..Auth::default() };
    let (server, router) = server(folder.path(), auth).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (reader, writer, ruler) = (bearer(&reader), bearer(&writer), bearer(&ruler));
    for (route, needs) in all_permissions() {
        let parts = route.split('/').skip(1);
        // What the path of a route with a tenant names is the tenant of reader and writer.
        let filled = if permissions::names_tenant(route) { "a" } else { "7" };
        let path: String = parts
            .map(|part| format!("/{}", if part.starts_with('{') { filled } else { part }))
            .collect();
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let what = format!("{method} {path}");
            let permission = if method == Method::GET { needs.look } else { needs.change };
            let nobody = ask(&router, method.clone(), &path, &[]).await;
            if permission == Permission::Open {
                assert!(![401, 403].contains(&nobody.status().as_u16()), "{what}");
                continue;
            }
            assert_eq!(nobody.status(), 401, "{what}");
            assert!(nobody.headers().contains_key(WWW_AUTHENTICATE), "{what}");
            let forged =
                ask(&router, method.clone(), &path, &[("authorization", "Bearer x")]).await;
            assert_eq!(forged.status(), 401, "{what}");
            let (lesser, able) = match permission {
                Permission::Read => (&writer, &reader),
                Permission::Write => (&reader, &writer),
                Permission::Admin | Permission::Open => (&writer, &ruler),
            };
            let lesser = ask(&router, method.clone(), &path, &[("authorization", lesser)]).await;
            assert_eq!(lesser.status(), 403, "{what}");
            if permission == Permission::Admin {
                continue;
            }
            let elsewhere = [("authorization", able.as_str()), ("x-scope-orgid", "b")];
            let elsewhere = ask(&router, method.clone(), &path, &elsewhere).await;
            assert_eq!(elsewhere.status(), 403, "{what}");
            let able = ask(&router, method, &path, &[("authorization", able)]).await;
            assert!(![401, 403].contains(&able.status().as_u16()), "{what}");
        }
    }
    // gRPC says it in its own words.
    let export = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let grpc = ("content-type", "application/grpc");
    let nobody = ask(&router, Method::POST, export, &[grpc]).await;
    assert_eq!(
        (nobody.status().as_u16(), &nobody.headers()["grpc-status"]),
        (200, &"16".parse().unwrap())
    );
    let lesser = ask(&router, Method::POST, export, &[grpc, ("authorization", &reader)]).await;
    assert_eq!(lesser.headers()["grpc-status"], "7");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_without_a_tenant_gets_its_principals_first() {
    let folder = tempfile::tempdir().unwrap();
    let (a, of_a) = token("a", "read,write", &["a", "c"]);
    let (b, of_b) = token("b", "read", &["b"]);
    let auth = Auth { tokens: vec![of_a, of_b], ..Auth::default() };
    let (server, router) = server(folder.path(), auth).await;
    let now_ns = server.admin.started_ns;
    let body = format!(r#"{{"streams":[{{"stream":{{"k":"v"}},"values":[["{now_ns}","x"]]}}]}}"#);
    let request = Request::post("/loki/api/v1/push")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {a}"))
        .body(Body::from(body))
        .unwrap();
    assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 204);
    let labels = async |token: &str, tenant: &[(&str, &str)]| {
        let authorization = format!("Bearer {token}");
        let headers = [&[("authorization", authorization.as_str())], tenant].concat();
        let answer = ask(&router, Method::GET, "/loki/api/v1/labels", &headers).await;
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert!(labels(&a, &[]).await.contains("\"k\""));
    assert!(labels(&a, &[("x-scope-orgid", "a")]).await.contains("\"k\""));
    assert!(!labels(&a, &[("x-scope-orgid", "c")]).await.contains("\"k\""));
    assert!(!labels(&b, &[]).await.contains("\"k\""));
    let two = [("x-scope-orgid", "b"), ("x-scope-orgid", "a")];
    assert!(labels(&b, &two).await.contains("two tenants"));
    // What has arrived is shown to its tenant only.
    for (token, shown) in [(&a, true), (&b, false)] {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let answer = ask(&router, Method::GET, "/tercet/api/v1/ingest", &headers).await;
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let records: u64 = body["signals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["records"].as_u64().unwrap())
            .sum();
        assert_eq!(records, u64::from(shown), "{body}");
        let answer = ask(&router, Method::GET, "/tercet/api/v1/status", &headers).await;
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["tenants"].as_array().unwrap().len(), usize::from(shown), "{body}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn limits_are_shown_to_those_who_have_the_tenant_and_to_admins() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, read) = token("r", "read", &["a", "c"]);
    let (writer, write) = token("w", "write", &["a"]);
    let (ruler, admin) = token("x", "admin", &["*"]);
    let auth = Auth { tokens: vec![read, write, admin], ..Auth::default() };
    let (server, router) = server(folder.path(), auth).await;
    let shown = async |token: &str, path: &str, tenant: &str| -> Result<String, u16> {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("x-scope-orgid", tenant)];
        let answer = ask(&router, Method::GET, path, &headers).await;
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Ok(body["tenant"].as_str().unwrap().to_owned())
    };
    let own = "/tercet/api/v1/limits";
    assert_eq!(shown(&reader, own, "").await, Ok("a".to_owned()));
    assert_eq!(shown(&reader, own, "c").await, Ok("c".to_owned()));
    assert_eq!(shown(&reader, own, "b").await, Err(403));
    assert_eq!(shown(&ruler, own, "b").await, Ok("b".to_owned()));
    let of = |tenant: &str| format!("/api/v1/tenants/{tenant}/limits");
    assert_eq!(shown(&reader, &of("c"), "").await, Ok("c".to_owned()));
    assert_eq!(shown(&reader, &of("c"), "a").await, Ok("c".to_owned()));
    assert_eq!(shown(&reader, &of("b"), "").await, Err(403));
    assert_eq!(shown(&reader, &of("b"), "a").await, Err(403));
    assert_eq!(shown(&writer, &of("a"), "").await, Err(403));
    assert_eq!(shown(&ruler, &of("b"), "a").await, Ok("b".to_owned()));
    for bad in ["%2e%2e", "a%2fb", "%252e%252e%252f", "a%00"] {
        assert_eq!(shown(&ruler, &of(bad), "").await, Err(400), "{bad}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_reload_lets_in_whom_the_file_names_and_never_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    let entry = |name: &str| {
        let (token, hash) = create_token(&SystemRandom);
        let text = format!(
            "[[auth.tokens]]\nname = \"{name}\"\nhash = \"{hash}\"\nrole = \"read\"\n\
             tenants = [\"a\"]\nexpires = \"never\"\n"
        );
        (token, text)
    };
    let ((old, of_old), (new, of_new)) = (entry("old"), entry("new"));
    std::fs::write(&path, &of_old).unwrap();
    let (server, router) = server_of_file(folder.path()).await;
    let statuses = async || [status_for(&router, &old).await, status_for(&router, &new).await];
    assert_eq!(statuses().await, [200, 401]);

    std::fs::write(&path, &of_new).unwrap();
    server.reload().await.unwrap();
    assert_eq!(statuses().await, [401, 200]);

    for wrong in ["", "[[auth.tokens]]\nname = \"x\"\n"] {
        std::fs::write(&path, wrong).unwrap();
        assert!(server.reload().await.unwrap_err().contains("auth"), "{wrong:?}");
        assert_eq!(statuses().await, [401, 200], "{wrong:?}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_reload_changes_whose_tokens_are_taken_and_for_what() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Provider::start().await, Provider::start().await);
    let (of_first, of_second) = (Signer::new("1"), Signer::new("2"));
    first.serve(&[of_first.jwk()]);
    second.serve(&[of_second.jwk()]);
    let write = |provider: &Provider, rest: &str| {
        let text = format!(
            "[egress]\nblock_private = false\n[auth]\nfailed_login_rate = 0\n[auth.oidc]\n\
             issuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_url = \"{}\"\n{rest}",
            provider.address
        );
        std::fs::write(folder.path().join("tercet.toml"), text).unwrap();
    };
    write(&first, "");
    let (server, router) = server_of_file(folder.path()).await;
    let claims = claims("read", &["a"]);
    let tokens = [of_first.sign(&claims), of_second.sign(&claims)];
    let statuses =
        async || [status_for(&router, &tokens[0]).await, status_for(&router, &tokens[1]).await];
    assert_eq!(statuses().await, [200, 401]);

    write(&second, "");
    let reloaded = server.reload().await.unwrap();
    assert_eq!(reloaded.changed, ["auth.oidc.jwks_url"]);
    assert_eq!(statuses().await, [401, 200]);

    // What changes elsewhere leaves the keys that were had: the provider may be down meanwhile.
    second.go_down();
    write(&second, "roles = [\"others=read\"]\n[[auth.users]]\nname = \"x\"\n");
    assert!(server.reload().await.is_err(), "a user without a password");
    assert_eq!(statuses().await, [401, 200]);
    write(&second, "[limits.ingest]\nmax_labels = 20\n");
    server.reload().await.unwrap();
    assert_eq!(statuses().await, [401, 200]);
    second.serve(&[of_second.jwk()]);
    write(&second, "roles = [\"others=read\"]\n");
    server.reload().await.unwrap();
    assert_eq!(statuses().await, [401, 401]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn without_authentication_limits_are_those_of_the_tenant_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (server, router) = server(folder.path(), Auth::default()).await;
    for (path, tenant, want) in [
        ("/tercet/api/v1/limits", "", Some("default")),
        ("/tercet/api/v1/limits", "b", Some("b")),
        ("/tercet/api/v1/limits", "..", None),
        ("/api/v1/tenants/c/limits", "b", Some("c")),
        ("/api/v1/tenants/%2e%2e/limits", "", None),
    ] {
        let answer = ask(&router, Method::GET, path, &[("x-scope-orgid", tenant)]).await;
        assert_eq!(answer.status() == 400, want.is_none(), "{path} {tenant}");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!(body["tenant"].as_str(), want, "{path} {tenant}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn without_authentication_everybody_is_let_in_and_pages_of_other_sites_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, router) = server(folder.path(), Auth::default()).await;
    assert_eq!(ask(&router, Method::POST, "/-/flush", &[]).await.status(), 204);
    let cross = [("sec-fetch-site", "cross-site")];
    assert_eq!(ask(&router, Method::POST, "/-/flush", &cross).await.status(), 403);
    let page = ask(&router, Method::GET, "/", &cross).await;
    assert_eq!(page.headers()["content-security-policy"], browser::CONTENT_SECURITY_POLICY);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_password_is_checked_remembered_and_limited() {
    let hash = hash_password("right", &SystemRandom).unwrap();
    let user = User {
        name: "ann".to_owned(),
        password_hash: Secret::new(hash),
        grant: grant("read", &["a"]),
    };
    let auth = Auth { users: vec![user], failed_login_rate: 2, ..Auth::default() };
    let doors = Doors::new(&auth, &EgressOptions::default(), &components()).unwrap();
    let peer = Peer::default();
    let log_in = async |text: &str| {
        let value = format!("Basic {}", STANDARD.encode(text));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        doors.authenticate(&headers, &peer).await.map(|principal| principal.name.to_string())
    };
    assert_eq!(log_in("ann:right").await, Ok("user:ann".to_owned()));
    for wrong in ["ann:wrong", "ann:right "] {
        assert!(matches!(log_in(wrong).await, Err(Refusal::Bad("password", _))), "{wrong}");
    }
    assert!(matches!(log_in("ann:wrong").await, Err(Refusal::Limited(_))));
    // What is remembered is let in even then, and a wrong one never is.
    assert_eq!(log_in("ann:right").await, Ok("user:ann".to_owned()));
    assert!(matches!(log_in("ann:other").await, Err(Refusal::Limited(_))));
    assert!(matches!(log_in("bob:right").await, Err(Refusal::Bad("password", _))));
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let (good, until) = token("t", "read", &["a"]);
    let until = Token { expires_ns: Some(1_000), ..until };
    let tokens = Tokens::new(&[until]);
    assert!(matches!(tokens.find(&good, 999), Found::Valid(_)));
    assert!(matches!(tokens.find(&good, 1_000), Found::Expired(_)));
    assert_eq!(tokens.find(&good[..good.len() - 1], 0), Found::Unknown);
}

#[test]
fn names_of_certificates_are_compared_whole() {
    for (san, name, want) in [
        ("a.example", "a.example", true),
        ("a.example", "A.Example", true),
        ("a.example", "b.a.example", false),
        ("*.example", "a.example", true),
        ("*.example", "b.a.example", false),
        ("*.example", ".example", false),
        ("*.example", "example", false),
        ("spiffe://x/y", "spiffe://x/y", true),
        ("spiffe://x/y", "spiffe://x/Y", false),
    ] {
        assert_eq!(san_matches(san, name), want, "{san} {name}");
    }
}

#[tokio::test]
async fn a_panic_costs_its_request_only_and_is_counted() {
    panics::count();
    let before = panics::counted();
    async fn stops() -> &'static str {
        panic!("on purpose")
    }
    let doors = Doors::new(&Auth::default(), &EgressOptions::default(), &components()).unwrap();
    // Routes with permissions, so that they are let in.
    let router = Router::new()
        .route("/metrics", get(stops))
        .route("/ready", get(|| async { "ready" }))
        .layer(from_fn_with_state(doors, guard));
    assert_eq!(ask(&router, Method::GET, "/metrics", &[]).await.status(), 500);
    assert_eq!(ask(&router, Method::GET, "/ready", &[]).await.status(), 200);
    assert!(panics::counted() > before);
}

#[tokio::test]
async fn a_route_without_a_permission_answers_nobody() {
    let doors = Doors::new(&Auth::default(), &EgressOptions::default(), &components()).unwrap();
    let router = Router::new()
        .route("/forgotten", get(|| async { "secret" }))
        .layer(from_fn_with_state(doors, guard));
    assert_eq!(ask(&router, Method::GET, "/forgotten", &[]).await.status(), 403);
}

/// A clock that is moved by hand.
#[derive(Debug, Default)]
struct HandClock(AtomicI64);

impl HandClock {
    fn pass_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.now_ns() as u64
    }
}

#[tokio::test]
async fn keys_of_an_issuer_serve_for_an_hour_when_it_is_down_and_rotate() {
    let (provider, clock) = (Provider::start().await, Arc::new(HandClock::default()));
    let (first, second) = (Signer::new("1"), Signer::new("2"));
    let options = EgressOptions { block_private: false, ..EgressOptions::default() };
    let settings = Oidc {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_url: provider.address.clone(),
        ..Oidc::default()
    };
    let egress = Arc::new(Egress::new(&options).unwrap());
    let issuer = Issuer::new(settings, egress, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let claims = claims("read", &["a"]);
    let verify = async |signer: &Signer| issuer.verify(&signer.sign(&claims)).await.map(|_| ());

    assert_eq!(verify(&first).await, Err(NotTaken::NoKeys), "never had any");
    provider.serve(&[first.jwk()]);
    clock.pass_s(11);
    assert_eq!(verify(&first).await, Ok(()));
    let asked = provider.asked();
    assert_eq!(verify(&first).await, Ok(()));
    assert!(verify(&second).await.is_err());
    assert_eq!(provider.asked(), asked, "asked again within ten seconds");
    // Another key: an unknown kid asks for it.
    clock.pass_s(11);
    provider.serve(&[second.jwk()]);
    assert_eq!(verify(&second).await, Ok(()));
    assert!(matches!(verify(&first).await, Err(NotTaken::Bad(_))));
    // Down for an hour.
    provider.go_down();
    for _ in 0..9 {
        clock.pass_s(390);
        assert_eq!(verify(&second).await, Ok(()));
    }
    clock.pass_s(100);
    assert_eq!(verify(&second).await, Err(NotTaken::NoKeys));
    provider.serve(&[second.jwk()]);
    clock.pass_s(11);
    assert_eq!(verify(&second).await, Ok(()));
}

#[test]
fn addresses_that_are_not_asked() {
    for (address, private, never) in [
        ("127.0.0.1", true, false),
        ("10.1.2.3", true, false),
        ("172.31.0.1", true, false),
        ("192.168.1.1", true, false),
        ("100.64.0.1", true, false),
        ("::1", true, false),
        ("fd00::1", true, false),
        ("::ffff:127.0.0.1", true, false),
        ("::127.0.0.1", true, false),
        ("64:ff9b::7f00:1", true, false),
        ("2002:7f00:1::", true, false),
        ("::ffff:169.254.169.254", true, true),
        ("169.254.169.254", true, true),
        ("0.0.0.0", true, true),
        ("224.0.0.1", true, true),
        ("255.255.255.255", true, true),
        ("::", true, true),
        ("fe80::1", true, true),
        ("ff02::1", true, true),
        ("1.1.1.1", false, false),
        ("172.32.0.1", false, false),
        ("2606:4700::1111", false, false),
    ] {
        let parsed = address.parse().unwrap();
        assert_eq!(is_refused(parsed, true), private, "{address}");
        assert_eq!(is_refused(parsed, false), never, "{address}");
    }
}
