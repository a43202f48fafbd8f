//! "Save & test" of Grafana's data sources: the calls that the plugins make, and the bodies as they
//! parse them.
//!
//! Source: Grafana's Prometheus data source 13.1, Loki 13.1, Tempo 13.1, Jaeger 13.0, Zipkin as of
//! 2026, and what Grafana's own pages ask an Alertmanager data source.

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use chaos::server::Server;

/// Status, content type and body.
type Answer = (u16, String, String);

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
    (answer.status().as_u16(), kind, answer.text().await.expect("text"))
}

fn assert_json(answer: &Answer, want: &Json) {
    let (status, kind, body) = answer;
    assert_eq!(*status, 200, "{body}");
    assert!(kind.starts_with("application/json"), "{kind}");
    assert_eq!(&serde_json::from_str::<Json>(body).expect(body), want);
}

/// Grafana sends these with every call.
fn with_headers(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("X-Grafana-Org-Id", "1")
        .header("X-Dashboard-Uid", "none")
        .header("X-Datasource-Uid", "a1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("User-Agent", "Grafana/13.1.0")
}

/// An empty store: a data source is often saved before anything is sent.
async fn server(folder: &TempDir) -> Server {
    Server::ready(folder.path(), &[]).await
}

#[tokio::test]
async fn prometheus_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    // The plugin's parser streams: the type of the result must come before it.
    let want = r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#;
    for base in ["", "/ds/prometheus"] {
        let url = format!("{}{base}/api/v1/query", server.http);
        let form = [("query", "1+1"), ("time", "4")];
        let (status, kind, body) = answer(with_headers(server.client.get(&url).query(&form))).await;
        assert_eq!((status, kind.as_str(), body.as_str()), (200, "application/json", want));
        let post = server.client.post(&url).header("content-type", FORM).body("query=1%2B1&time=4");
        let (status, kind, body) = answer(with_headers(post)).await;
        assert_eq!((status, kind.as_str(), body.as_str()), (200, "application/json", want));
        // Custom parameters of the settings are in the address even of a POST.
        let post = server.client.post(format!("{url}?query=1%2B1"));
        let post = post.header("content-type", FORM).body("time=4");
        assert_eq!(answer(with_headers(post)).await.2, want);

        let url = format!("{}{base}/api/v1/status/buildinfo", server.http);
        let (status, _, body) = answer(with_headers(server.client.get(&url))).await;
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"]), (200, &json!("success")));
        for field in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
            assert!(body["data"][field].is_string(), "{field} in {body}");
        }
        // Features would make it a Mimir, whose rules Grafana then asks for elsewhere.
        assert_eq!(body["data"]["features"], Json::Null);

        // What the editor asks when it opens, of a store without anything.
        let exemplars = "query=test&start=1795273139869&end=1795273139869";
        for (path, want) in [
            (format!("/api/v1/query_exemplars?{exemplars}"), json!([])),
            ("/api/v1/labels?limit=40000".to_owned(), json!([])),
            ("/api/v1/label/__name__/values?limit=40000".to_owned(), json!([])),
            ("/api/v1/metadata?limit=40000".to_owned(), json!({})),
            ("/api/v1/series?match%5B%5D=up&limit=40000".to_owned(), json!([])),
            ("/api/v1/rules".to_owned(), json!({ "groups": [] })),
        ] {
            let request = with_headers(server.client.get(format!("{}{base}{path}", server.http)));
            assert_json(&answer(request).await, &json!({ "status": "success", "data": want }));
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn prometheus_shows_why_a_query_fails() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    let (status, body) = server.get("/api/v1/query?query=rate(").await;
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["status"]), (400, &json!("error")));
    assert_eq!(body["errorType"], json!("bad_data"));
    let text = body["error"].as_str().unwrap();
    assert!(text.starts_with("invalid parameter \"query\": "), "{text}");
}

#[tokio::test]
async fn loki_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    for base in ["", "/ds/loki"] {
        let url = format!("{}{base}/loki/api/v1/query", server.http);
        let query = [
            ("direction", "backward"),
            ("query", "vector(1)+vector(1)"),
            // Ten digits are seconds.
            ("time", "4000000000"),
        ];
        let request = server
            .client
            .get(&url)
            .query(&query)
            .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
            .header("X-Query-Tags", "Source=grafana-loki-datasource");
        let (status, kind, body) = answer(with_headers(request)).await;
        assert_eq!((status, kind.split(';').next()), (200, Some("application/json")), "{body}");
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], json!("success"));
        assert_eq!(body["data"]["resultType"], json!("vector"));
        let want = json!([{ "metric": {}, "value": [4_000_000_000u64, "2"] }]);
        assert_eq!(body["data"]["result"], want);

        let request = server.client.get(format!("{}{base}/loki/api/v1/labels", server.http));
        assert_json(
            &answer(with_headers(request)).await,
            &json!({ "status": "success", "data": [] }),
        );
        // Errors are shown as they are: plain text.
        let request = server.client.get(&url).query(&[("query", "{")]);
        let (status, kind, body) = answer(with_headers(request)).await;
        assert_eq!((status, kind.starts_with("text/plain")), (400, true), "{kind}: {body}");
        assert!(body.contains("parse error"), "{body}");
    }
}

#[tokio::test]
async fn tempo_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    for base in ["", "/ds/tempo"] {
        let echo = server.client.get(format!("{}{base}/api/echo", server.http));
        let (status, kind, body) = answer(with_headers(echo)).await;
        assert_eq!((status, body.as_str()), (200, "echo"));
        assert!(kind.starts_with("text/plain"), "{kind}");
        // A trace that does not exist is an empty one, or the plugin asks version 1 of the API.
        let url = format!("{}{base}/api/v2/traces/1234abcd", server.http);
        let request = with_headers(server.client.get(url)).header("Accept", "application/protobuf");
        let found = request.send().await.unwrap();
        assert_eq!(found.status(), 200);
        assert_eq!(found.headers()["content-type"], "application/protobuf");
        assert_eq!(found.bytes().await.unwrap().as_ref(), [0x0a, 0]);
    }
}

#[tokio::test]
async fn jaeger_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    let nothing = json!({ "data": [], "total": 0, "limit": 0, "offset": 0, "errors": null });
    let not_found = json!([{ "code": 404, "msg": "trace not found" }]);
    for base in ["", "/ds/jaeger"] {
        for path in ["/api/services", "/api/services/a/operations"] {
            let request = server.client.get(format!("{}{base}{path}", server.http));
            assert_json(&answer(with_headers(request)).await, &nothing);
        }
        let request = server.client.get(format!("{}{base}/api/traces/1234abcd", server.http));
        let (status, _, body) = answer(with_headers(request)).await;
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["errors"]), (404, &not_found));
    }
}

/// A trace of two services, one ID of 64 bits, with everything that has a place in Zipkin's span.
fn trace_for_zipkin() -> Json {
    let text = |key: &str, text: &str| json!({ "key": key, "value": { "stringValue": text } });
    let client = json!({
        "traceId": "00000000000000000af7651916cd43dd", "spanId": "b7ad6b7169203331",
        "name": "GET /pay", "kind": 3, "traceState": "vendor=x",
        "startTimeUnixNano": "1700000000000001600", "endTimeUnixNano": "1700000000002500000",
        "attributes": [
            text("peer.service", "bank"), text("net.peer.ip", "10.0.0.7"),
            { "key": "net.peer.port", "value": { "intValue": "8080" } },
            text("http.method", "GET"), text("layer", "span"), text("error", "no"),
            { "key": "codes", "value": { "arrayValue": { "values": [{ "intValue": "1" }] } } },
        ],
        "events": [
            { "timeUnixNano": "1700000000001000000", "name": "sent" },
            {
                "timeUnixNano": "1700000000002000000", "name": "read", "droppedAttributesCount": 1,
                "attributes": [
                    { "key": "n", "value": { "intValue": "3" } }, text("by", "me"),
                ],
            },
        ],
        "links": [{
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7",
            "traceState": "a=b", "attributes": [text("why", "retry")],
        }],
        "status": {},
    });
    let server = json!({
        "traceId": "00000000000000000af7651916cd43dd", "spanId": "00000000000000aa",
        "parentSpanId": "b7ad6b7169203331", "name": "pay", "kind": 2,
        "startTimeUnixNano": "1700000000000500000", "endTimeUnixNano": "1700000000000500300",
        "attributes": [
            text("network.peer.address", "2001:db8::1"), text("net.host.ip", "/tmp/socket"),
        ],
        "status": { "code": 2, "message": "no money" },
    });
    let of = |service: &str, scope: Json, span: Json| {
        json!({
            "resource": { "attributes": [
                text("service.name", service), text("host.name", "node-7"), text("layer", "host"),
            ] },
            "scopeSpans": [{ "scope": scope, "spans": [span] }],
        })
    };
    json!({ "resourceSpans": [
        of("shop", json!({ "name": "front", "version": "1.2" }), client),
        of("bank", json!({}), server),
    ] })
}

/// The same as the Collector's Zipkin exporter sends it.
fn zipkin_spans() -> Json {
    json!([
        {
            "traceId": "0af7651916cd43dd", "id": "b7ad6b7169203331", "kind": "CLIENT",
            "name": "GET /pay", "timestamp": 1_700_000_000_000_002u64, "duration": 2498,
            "localEndpoint": { "serviceName": "shop" },
            "remoteEndpoint": { "serviceName": "bank", "ipv4": "10.0.0.7", "port": 8080 },
            "annotations": [
                { "timestamp": 1_700_000_000_001_000u64, "value": "sent" },
                {
                    "timestamp": 1_700_000_000_002_000u64,
                    "value": "read|{\"by\":\"me\",\"n\":3}|1",
                },
            ],
            "tags": {
                "codes": "[1]", "host.name": "node-7", "http.method": "GET", "layer": "span",
                "otel.library.name": "front", "otel.library.version": "1.2",
                "otlp.link.0":
                    "0af7651916cd43dd8448eb211c80319c|00f067aa0ba902b7|a=b|{\"why\":\"retry\"}|0",
                "w3c.tracestate": "vendor=x",
            },
        },
        {
            "traceId": "0af7651916cd43dd", "id": "00000000000000aa",
            "parentId": "b7ad6b7169203331", "kind": "SERVER", "name": "pay",
            "timestamp": 1_700_000_000_000_500u64, "duration": 1,
            "localEndpoint": { "serviceName": "bank" },
            "remoteEndpoint": { "ipv6": "2001:db8::1" },
            "tags": {
                "error": "true", "host.name": "node-7", "layer": "host",
                "net.host.ip": "/tmp/socket", "otel.status_code": "ERROR",
                "otel.status_description": "no money",
            },
        },
    ])
}

#[tokio::test]
async fn zipkin_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    let get = async |path: String| {
        answer(with_headers(server.client.get(format!("{}{path}", server.http)))).await
    };
    for base in ["", "/ds/zipkin"] {
        for path in [
            "services",
            "spans?serviceName=a",
            "traces?serviceName=a&spanName=b",
            "traceMany?traceIds=1,2",
            "dependencies?endTs=1700000001000&lookback=60000",
            "autocompleteKeys",
            "autocompleteValues?key=a",
        ] {
            assert_json(&get(format!("{base}/api/v2/{path}")).await, &json!([]));
        }
        for (path, want_status, want) in [
            ("trace/1234abcd", 404, "1234abcd not found"),
            ("trace/xyz", 400, "a trace ID has 1 to 32 hex digits, not all zero: \"xyz\""),
            ("traces?limit=0", 400, "limit <= 0"),
            ("spans", 400, "parameter 'serviceName' is required"),
        ] {
            let (status, kind, body) = get(format!("{base}/api/v2/{path}")).await;
            assert_eq!((status, body.as_str()), (want_status, want), "{path}");
            assert!(kind.starts_with("text/plain"), "{kind}");
        }
    }
}

/// The plugin's picker and its view of a trace, in memory and on disk.
#[tokio::test]
async fn zipkin_shows_a_trace() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    let sent = serde_json::to_vec(&trace_for_zipkin()).unwrap();
    assert_eq!(server.post("/v1/traces", "application/json", sent).await.0, 200);
    for state in ["in memory", "on disk"] {
        if state == "on disk" {
            assert_eq!(server.post("/-/flush", "", Vec::new()).await.0, 204);
        }
        let ask = async |path: &str| server.json(&format!("/ds/zipkin/api/v2/{path}")).await;
        assert_eq!(ask("services").await, json!(["bank", "shop"]));
        assert_eq!(ask("spans?serviceName=shop").await, json!(["GET /pay"]));
        for path in ["trace/0af7651916cd43dd", "trace/00000000000000000AF7651916CD43DD"] {
            assert_eq!(ask(path).await, zipkin_spans(), "{state}: {path}");
        }
        let both = ask("traceMany?traceIds=0af7651916cd43dd,1").await;
        assert_eq!(both, json!([zipkin_spans()]), "{state}");
        let window = "endTs=1700000000002&lookback=60000";
        let calls = json!([{ "parent": "shop", "child": "bank", "callCount": 1, "errorCount": 1 }]);
        assert_eq!(ask(&format!("dependencies?{window}")).await, calls);

        let finds = async |query: &str| {
            let found = ask(&format!("traces?{window}&{query}")).await;
            assert!(found == json!([]) || found == json!([zipkin_spans()]), "{query}: {found}");
            found != json!([])
        };
        for (query, want) in [
            ("", true),
            ("serviceName=shop&spanName=GET+%2Fpay", true),
            ("serviceName=shop&spanName=pay", false),
            ("serviceName=nobody", false),
            ("serviceName=shop&remoteServiceName=bank", true),
            ("minDuration=2498&maxDuration=2498", true),
            ("minDuration=2499", false),
            ("serviceName=bank&minDuration=1&maxDuration=1", true),
            ("annotationQuery=sent", true),
            ("annotationQuery=http.method%3DGET+and+read+and+codes", true),
            ("annotationQuery=http.method%3DPOST", false),
            // The failed span is the bank's; what Zipkin does not show as an error is none.
            ("annotationQuery=error", true),
            ("serviceName=shop&annotationQuery=error", false),
            // Each condition by another span of the trace, unless a service is named.
            ("annotationQuery=error+and+http.method%3DGET&spanName=pay", true),
            ("serviceName=bank&annotationQuery=error+and+http.method%3DGET", false),
        ] {
            assert_eq!(finds(query).await, want, "{state}: {query}");
        }
        let before = ask("traces?endTs=1699999999999&lookback=60000").await;
        assert_eq!(before, json!([]));
    }
}

#[tokio::test]
async fn alertmanager_saves() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    for base in ["", "/ds/alertmanager"] {
        let url = |path: &str| format!("{}{base}{path}", server.http);
        // With the implementation "Prometheus" Grafana asks both in this order: the first one must
        // not be there, or it is taken for a Mimir.
        let mimir = server.client.get(url("/alertmanager/api/v2/status"));
        let mimir = mimir.header("Accept", "application/json, text/plain, */*");
        assert_eq!(with_headers(mimir).send().await.unwrap().status(), 404);
        let status = with_headers(server.client.get(url("/api/v2/status")));
        let (code, kind, body) = answer(status).await;
        assert_eq!((code, kind.as_str()), (200, "application/json"), "{body}");
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["cluster"], json!({ "status": "disabled", "peers": [] }));
        for field in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
            assert!(body["versionInfo"][field].is_string(), "{field} in {body}");
        }
        let config = "route:\n  receiver: default\nreceivers:\n- name: default\n";
        assert_eq!(body["config"], json!({ "original": config }));
        let uptime = body["uptime"].as_str().unwrap();
        let started = chrono::DateTime::parse_from_rfc3339(uptime).unwrap();
        let age = chrono::Utc::now().signed_duration_since(started);
        assert!((0..600).contains(&age.num_seconds()), "{uptime}");

        for path in [
            "/api/v2/alerts?silenced=false&inhibited=false&active=true",
            "/api/v2/alerts/groups",
            "/api/v2/silences",
            "/api/v2/receivers",
        ] {
            let answer_to = with_headers(server.client.get(url(path)));
            assert_json(&answer(answer_to).await, &json!([]));
        }
        for request in [
            server.client.post(url("/api/v2/alerts")).body("[]"),
            server.client.post(url("/api/v2/silences")).body("{}"),
            server.client.delete(url("/api/v2/silence/1")),
        ] {
            let (status, kind, body) = answer(with_headers(request)).await;
            assert_eq!((status, kind.as_str()), (501, "application/json"));
            let text: String = serde_json::from_str(&body).unwrap();
            assert!(text.starts_with("alerting is not there yet"), "{text}");
        }
        let silence = with_headers(server.client.get(url("/api/v2/silence/1")));
        assert_eq!(answer(silence).await.0, 404);
    }
}

/// Three dialects share `/api/v2/` at the root: each path reaches its own, and under a data
/// source's prefix there is nothing of the others.
#[tokio::test]
async fn paths_of_version_2_do_not_mix() {
    let folder = TempDir::new().unwrap();
    let server = server(&folder).await;
    let paths = [
        ("tempo", "/api/v2/traces/1", "{\"metrics\":{},\"trace\":{}}"),
        ("zipkin", "/api/v2/traces", "[]"),
        ("zipkin", "/api/v2/traceMany?traceIds=1,2", "[]"),
        ("zipkin", "/api/v2/trace/1", "1 not found"),
        ("zipkin", "/api/v2/services", "[]"),
        ("alertmanager", "/api/v2/alerts/groups", "[]"),
        ("alertmanager", "/api/v2/silence/1", "\"silence not found\""),
    ];
    for (owner, path, want) in paths {
        let (_, at_root) = server.get(path).await;
        assert_eq!(at_root, want, "{path}");
        for name in ["tempo", "zipkin", "alertmanager", "prometheus", "loki", "jaeger"] {
            let (status, body) = server.get(&format!("/ds/{name}{path}")).await;
            if name == owner {
                assert_eq!(body, want, "{name}: {path}");
            } else {
                assert_eq!(status, 404, "{name}: {path}: {body}");
                assert!(body.starts_with("404 page not found"), "{name}: {path}: {body}");
            }
        }
    }
}
