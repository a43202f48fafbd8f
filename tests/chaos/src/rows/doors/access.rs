//! H1, H2, H7: routes, tenants, roles, pages of other sites.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::{Someone, serve, tercet};
use crate::load;
use crate::row::{Case, Outcome, Running};
use crate::server::Server;
use crate::tools::now_s;

/// A route, and what GET and other methods need.
struct Route {
    route: String,
    get: String,
    other: String,
}

impl Route {
    /// A path with something for each parameter.
    fn path(&self, parameter: &str) -> String {
        let mut path = String::new();
        for part in self.route.split('/').skip(1) {
            path.push('/');
            path.push_str(if part.starts_with('{') { parameter } else { part });
        }
        path
    }

    /// The paths that ask for tenant `a` and, beside the header, for tenant `b`: one route names the
    /// tenant in its path.
    fn paths(&self, parameter: &str) -> [String; 2] {
        let names_tenant = self.route.starts_with("/api/v1/tenants/");
        ["a", "b"].map(|tenant| self.path(if names_tenant { tenant } else { parameter }))
    }

    /// What is to be asked, with what it needs.
    fn questions(&self) -> [(Method, &str); 4] {
        let other = self.other.as_str();
        [
            (Method::GET, &self.get),
            (Method::POST, other),
            (Method::PUT, other),
            (Method::DELETE, other),
        ]
    }
}

async fn routes(server: &Server, admin: &Someone) -> Vec<Route> {
    let url = format!("{}/tercet/api/v1/permissions", server.http);
    let answer = server.client.get(url).bearer_auth(&admin.token).send().await.expect("an answer");
    let list: Vec<Value> = answer.json().await.expect("a list");
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let routes: Vec<Route> = list
        .iter()
        .map(|row| Route {
            route: text(row, "route"),
            get: text(row, "get"),
            other: text(row, "other"),
        })
        .collect();
    assert!(routes.len() > 100, "{} routes", routes.len());
    routes
}

fn ask(server: &Server, method: &Method, path: &str, who: Option<&Someone>) -> RequestBuilder {
    let request = server.client.request(method.clone(), format!("{}{path}", server.http));
    match who {
        Some(who) => request.bearer_auth(&who.token),
        None => request,
    }
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

struct Cast {
    server: Server,
    admin: Someone,
    read_a: Someone,
    write_a: Someone,
    write_b: Someone,
}

async fn cast(case: &Case) -> Cast {
    let admin = Someone::new("admin", "admin", &["*"]);
    let read_a = Someone::new("read-a", "read", &["a"]);
    let write_a = Someone::new("write-a", "write", &["a"]);
    let write_b = Someone::new("write-b", "write", &["b"]);
    let tables = [&admin, &read_a, &write_a, &write_b].map(|who| who.table.as_str()).concat();
    let server = serve(&case.folder, &tables, &["--auth-failed-login-rate", "0"]).await;
    Cast { server, admin, read_a, write_a, write_b }
}

pub(super) fn every_route(case: Case) -> Running {
    Box::pin(async move {
        let Cast { server, admin, read_a, write_a, write_b } = cast(&case).await;
        // A secret of tenant b, in all three signals.
        let now_ns = now_s() * 1_000_000_000;
        for (path, body) in
            [("/v1/logs", load::logs(7, 3, now_ns)), ("/v1/traces", load::traces(7, 3, now_ns))]
        {
            let request = ask(&server, &Method::POST, path, Some(&write_b)).body(body);
            let answer = send(request.header("content-type", "application/x-protobuf")).await;
            assert_eq!(answer.status(), 200, "{path}");
        }
        let trace = load::trace_id(7).map(|byte| format!("{byte:02x}")).concat();
        let (mut asked, mut denied) = (0, [0; 3]);
        for route in routes(&server, &admin).await {
            let [path, path_of_b] = route.paths(&trace);
            for (method, needs) in route.questions() {
                if needs == "open" {
                    let answer = send(ask(&server, &method, &path, None)).await;
                    assert!(![401, 403].contains(&answer.status().as_u16()), "{method} {path}");
                    continue;
                }
                let what = format!("{method} {path}");
                let nobody = send(ask(&server, &method, &path, None)).await;
                assert_eq!(nobody.status(), 401, "{what} without credentials");
                assert!(nobody.headers().contains_key("www-authenticate"), "{what}");
                denied[0] += 1;
                let (lesser, able) = match needs {
                    "read" => (&write_a, &read_a),
                    "write" => (&read_a, &write_a),
                    "admin" => (&read_a, &admin),
                    other => panic!("{what} needs {other}"),
                };
                let answer = send(ask(&server, &method, &path, Some(lesser))).await;
                assert_eq!(answer.status(), 403, "{what} with a lesser role");
                denied[1] += 1;
                if needs != "admin" {
                    let elsewhere = ask(&server, &method, &path_of_b, Some(able));
                    let answer = send(elsewhere.header("x-scope-orgid", "b")).await;
                    assert_eq!(answer.status(), 403, "{what} for another tenant");
                    denied[2] += 1;
                }
                // Changes by an admin would flush and compact in a loop.
                if needs == "read" {
                    let answer = send(ask(&server, &method, &path, Some(able))).await;
                    assert!(![401, 403, 500].contains(&answer.status().as_u16()), "{what}");
                    let body = answer.text().await.expect("text");
                    assert!(!body.contains(load::SERVICE), "{what} shows another tenant's: {body}");
                }
                asked += 1;
            }
        }
        let seen =
            ask(&server, &Method::GET, &format!("/ds/tempo/api/traces/{trace}"), Some(&admin));
        let seen = send(seen.header("x-scope-orgid", "b")).await.text().await.expect("text");
        assert!(seen.contains(load::SERVICE), "its own tenant sees it: {seen}");
        Outcome::Held(format!(
            "{asked} questions to every route: 401 {} times, 403 {} times for the role and {} times \
             for the tenant",
            denied[0], denied[1], denied[2]
        ))
    })
}

const HOSTILE: [&str; 12] = [
    "..",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "..%2f..%2f..%2fetc%2fpasswd",
    "a%2fb",
    "a%5cb",
    "%00",
    "__x",
    "a|b",
    "%c3%28",
    "%F0%9F%92%A5",
    "%3Cscript%3E",
];

pub(super) fn hostile_names(case: Case) -> Running {
    Box::pin(async move {
        let Cast { server, admin, .. } = cast(&case).await;
        let listing = |folder: &std::path::Path| {
            let entries = std::fs::read_dir(folder).expect("it is there");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        let before = listing(&case.folder);
        let long = "x".repeat(151);
        let tenants = ["..", ".", "a/b", "../a", "a\\b", "a|b", "a b", "a\u{e9}", "%2e%2e", &long];
        let (mut refused, mut asked) = (0, 0);
        for route in routes(&server, &admin).await {
            for (method, needs) in route.questions() {
                if !["read", "write"].contains(&needs) {
                    continue;
                }
                for tenant in &tenants {
                    let request = ask(&server, &method, &route.path("x"), Some(&admin));
                    let value = reqwest::header::HeaderValue::from_bytes(tenant.as_bytes());
                    let answer = send(request.header("x-scope-orgid", value.expect("bytes"))).await;
                    assert_eq!(answer.status(), 400, "{method} {} of {tenant:?}", route.route);
                    refused += 1;
                }
            }
            if !route.route.contains('{') || route.get == "admin" {
                continue;
            }
            for name in HOSTILE.iter().chain([&long.as_str()]) {
                let who = Some(&admin);
                let answer = send(ask(&server, &Method::GET, &route.path(name), who)).await;
                let status = answer.status().as_u16();
                assert!(status < 500, "GET {}: {status}", route.path(name));
                asked += 1;
            }
        }
        assert_eq!(listing(&case.folder), before, "files appeared beside the data folder");
        let metrics = send(ask(&server, &Method::GET, "/metrics", Some(&admin))).await;
        let metrics = metrics.text().await.expect("text");
        assert!(metrics.contains("tercet_panics_total 0"), "it panicked");
        Outcome::Held(format!(
            "{refused} tenants refused with 400, {asked} parameters without a 5xx, no panic"
        ))
    })
}

pub(super) fn browsers(case: Case) -> Running {
    Box::pin(async move {
        let admin = Someone::new("admin", "admin", &["*"]);
        let server = serve(&case.folder, &admin.table, &[]).await;
        let who = Some(&admin);
        // Changes for pages of other sites.
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
        ] {
            for path in ["/-/flush", "/-/compact", "/v1/logs", "/loki/api/v1/push"] {
                let request = ask(&server, &Method::POST, path, who).header(name, value);
                assert_eq!(send(request).await.status(), 403, "POST {path} with {name}: {value}");
            }
        }
        let own =
            ask(&server, &Method::POST, "/-/flush", who).header("sec-fetch-site", "same-origin");
        assert_eq!(send(own).await.status(), 204);
        // GET changes nothing.
        for path in ["/-/flush", "/-/compact", "/v1/logs", "/api/v1/write", "/loki/api/v1/push"] {
            let answer = send(ask(&server, &Method::GET, path, who)).await;
            assert_eq!(answer.status(), 405, "GET {path}");
        }
        // Nobody else may read, frame or mislead.
        let evil = "evil.example";
        for path in ["/", "/-/healthy", "/metrics", "/api/v1/labels", "/no/such/page"] {
            let request = ask(&server, &Method::GET, path, who)
                .header("origin", "http://evil.example")
                .header("host", evil)
                .header("x-forwarded-host", evil)
                .header("accept", "text/html");
            let answer = send(request).await;
            let headers = answer.headers().clone();
            let has = |name: &str, want: &str| {
                let value = headers.get(name).map(|value| value.to_str().unwrap_or_default());
                assert_eq!(value, Some(want), "GET {path}: {name}");
            };
            has("x-frame-options", "DENY");
            has("x-content-type-options", "nosniff");
            has("referrer-policy", "same-origin");
            has(
                "content-security-policy",
                "default-src 'self'; script-src 'self'; object-src 'none'; \
                 frame-ancestors 'none'; base-uri 'none'",
            );
            assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
            assert!(!headers.contains_key("location"), "{path}");
            let body = answer.text().await.expect("text");
            assert!(!body.contains(evil), "GET {path} repeats the host");
        }
        for path in ["/metrics", "/tercet/api/v1/settings", "/-/flush"] {
            assert_eq!(send(ask(&server, &Method::POST, path, None)).await.status(), 401, "{path}");
        }
        drop(server);
        // Public without authentication.
        let data = case.folder.join("public");
        let data = data.to_str().expect("a path of text");
        for flag in ["--http", "--otlp-http", "--otlp-grpc"] {
            let (code, output) = tercet(&["serve", "--data", data, flag, "0.0.0.0:0"], "");
            assert_eq!(code, Some(78), "{flag}: {output}");
            assert!(output.contains("nothing here asks who"), "{output}");
        }
        Outcome::Held("20 changes and 15 reads for other sites refused, 3 public starts".to_owned())
    })
}
