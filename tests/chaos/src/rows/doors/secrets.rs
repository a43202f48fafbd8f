//! H4: secrets and where they must not turn up.

use std::time::Duration;

use super::{Someone, settings, tercet, user};
use crate::identity::{AUDIENCE, ISSUER, Provider, Signer, claims};
use crate::row::{Case, Outcome, Running};
use crate::server::{Launch, Server};

pub(super) fn planted(case: Case) -> Running {
    Box::pin(async move {
        let (provider, signer) = (Provider::start().await, Signer::new("k"));
        provider.serve(&[signer.jwk()]);
        let jwt = signer.sign(&claims("read", &["a"]));
        let admin = Someone::new("admin", "admin", &["*"]);
        let expired = Someone::until("old", "read", &["a"], "2020-01-01");
        let (right, wrong) = ("planted-right-password", "planted-wrong-password");
        let ann = user("ann", right, "read", "a");
        let bob = user("bob", "planted-other-password", "read", "a");
        let hash_of = |table: &str| table.split('"').nth(3).expect("a hash").to_owned();
        let hash_file = case.folder.join("hash");
        std::fs::write(&hash_file, hash_of(&bob)).expect("a file");
        let bob_file = bob.replace(
            &format!("password_hash = \"{}\"", hash_of(&bob)),
            &format!("password_hash_file = {:?}", hash_file.to_str().expect("text")),
        );
        let text = format!(
            "{}{}{ann}{bob_file}\n[auth.oidc]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
             jwks_url = \"{}\"\n",
            admin.table, expired.table, provider.address
        );
        let path = settings(&case.folder, &text);
        let path = path.to_str().expect("a path of text");
        let variables = [
            ("AWS_ACCESS_KEY_ID", "planted-aws-key-id"),
            ("AWS_SECRET_ACCESS_KEY", "planted-aws-secret"),
            ("AWS_SESSION_TOKEN", "planted-aws-session"),
            ("AWS_SSE_CUSTOMER_KEY_BASE64", "planted-sse-key"),
            ("GOOGLE_SERVICE_ACCOUNT_KEY", "planted-google-key"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "planted-azure-key"),
            ("AZURE_STORAGE_CLIENT_SECRET", "planted-azure-secret"),
        ];
        let basic = |name: &str, password: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"))
        };
        let mut secrets: Vec<String> =
            variables.iter().map(|(_, value)| (*value).to_owned()).collect();
        secrets.extend([
            right.to_owned(),
            wrong.to_owned(),
            "planted-other-password".to_owned(),
            basic("ann", right),
            basic("ann", wrong),
            hash_of(&ann),
            hash_of(&bob),
            admin.token.clone(),
            super::sha256(&admin.token),
            expired.token.clone(),
            super::sha256(&expired.token),
            "tct_planted-unknown-token".to_owned(),
            jwt.clone(),
            jwt.rsplit('.').next().expect("a signature").to_owned(),
            "planted-bucket-secret".to_owned(),
            "planted-on-a-broken-line".to_owned(),
        ]);
        assert!(secrets.len() >= 20, "{} secrets", secrets.len());

        let log = case.folder.join("log");
        let flags = ["--config", path, "--egress-block-private", "false"];
        let data = case.folder.join("data");
        let launch = Launch { log_level: "trace", log: Some(&log), ..Launch::default() };
        let server = Server::launch(&data, &flags, &variables, &launch).await;
        let mut seen = Vec::new();
        let get = |path: &str| server.client.get(format!("{}{path}", server.http));
        let mut requests = vec![
            get("/api/v1/labels").basic_auth("ann", Some(right)),
            get("/api/v1/labels").basic_auth("ann", Some(wrong)),
            get("/api/v1/labels").basic_auth("bob", Some("planted-other-password")),
            get("/api/v1/labels").bearer_auth("tct_planted-unknown-token"),
            get("/api/v1/labels").bearer_auth(&expired.token),
            get("/api/v1/labels").bearer_auth(&jwt),
            get("/api/v1/labels").bearer_auth(format!("{jwt}x")),
            get("/api/v1/labels").header("authorization", format!("Digest {right}")),
            server.client.post(format!("{}/-/flush", server.http)).bearer_auth(&admin.token),
        ];
        for path in [
            "/metrics",
            "/tercet/api/v1/settings",
            "/tercet/api/v1/status",
            "/tercet/api/v1/ingest",
        ] {
            requests.push(get(path).bearer_auth(&admin.token));
        }
        let asked = requests.len();
        for request in requests {
            let answer = request.send().await.expect("an answer");
            seen.push(format!("{:?}", answer.headers()));
            seen.push(answer.text().await.expect("text"));
        }
        let (code, _) = server.terminate().await;
        assert_eq!(code, Some(0));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let log = std::fs::read_to_string(&log).expect("a log");
        assert!(log.contains("login failed"), "the failed logins are in the log");
        seen.push(log);
        // Starts that fail say why, and only that.
        let broken = format!("{text}\n[auth\nplanted-on-a-broken-line = 1\n");
        let path = settings(&case.folder, &broken);
        let path = path.to_str().expect("a path of text");
        let wrong_hash = format!("{ann}\n{}", ann.replace("$argon2id$", "$argon2i$"));
        for (text, bucket) in [
            (broken.as_str(), "s3://bucket/prefix"),
            (wrong_hash.as_str(), "s3://bucket/prefix"),
            ("", "az://key:planted-bucket-secret@container/prefix"),
            ("", "ftp://key:planted-bucket-secret@bucket/prefix"),
        ] {
            std::fs::write(path, text).expect("a file");
            let flags = ["serve", "--config", path, "--bucket", bucket, "--log-level", "trace"];
            let data = case.folder.join("other");
            let flags = [&flags[..], &["--data", data.to_str().expect("text")]].concat();
            let ended = tokio::task::spawn_blocking({
                let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
                move || tercet(&flags.iter().map(String::as_str).collect::<Vec<_>>(), "")
            });
            if let Ok(ended) = tokio::time::timeout(Duration::from_secs(60), ended).await {
                let (code, output) = ended.expect("it ran");
                assert_ne!(code, Some(0), "{output}");
                seen.push(output);
            } else {
                panic!("it did not end: --bucket {bucket}");
            }
        }
        let bytes: usize = seen.iter().map(String::len).sum();
        for (place, text) in seen.iter().enumerate() {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "place {place} shows {secret}");
            }
        }
        Outcome::Held(format!(
            "{} secrets, {asked} requests and 4 failed starts: 0 hits in {bytes} bytes",
            secrets.len()
        ))
    })
}
