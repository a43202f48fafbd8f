//! "Save & test" of Grafana's data sources: the calls that the plugins make, and the bodies as they
//! parse them.
//!
//! Source: Grafana's Prometheus data source 13.1, Loki 13.1, Tempo 13.1, Jaeger 13.0.

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::server::Server;

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
