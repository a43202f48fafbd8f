//! H5: what settings make us fetch.

use std::time::Duration;

use super::serve;
use crate::identity::{AUDIENCE, ISSUER, Provider, Signer, claims};
use crate::row::{Case, Outcome, Running};

pub(super) fn inward(case: Case) -> Running {
    Box::pin(async move {
        let (provider, signer) = (Provider::start().await, Signer::new("k"));
        provider.serve(&[signer.jwk()]);
        let port = provider.address.split(':').nth(2).and_then(|rest| rest.split('/').next());
        let port = port.expect("a port");
        let token = signer.sign(&claims("read", &["a"]));
        let mut tried = 0;
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "0.0.0.0",
            "[::]",
            "169.254.169.254",
            "[fe80::1]",
            "10.0.0.1",
            "[fd00::1]",
            "[64:ff9b::7f00:1]",
        ] {
            // Over https, as settings ask for other machines: the address decides first.
            let scheme = if ["127.0.0.1", "localhost"].contains(&host) { "http" } else { "https" };
            let settings = format!(
                "[auth.oidc]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
                 jwks_url = \"{scheme}://{host}:{port}/keys\"\n"
            );
            let folder = case.folder.join(tried.to_string());
            std::fs::create_dir_all(&folder).expect("a folder");
            let server = serve(&folder, &settings, &[]).await;
            let request = server.client.get(format!("{}/api/v1/labels", server.http));
            let request = request.bearer_auth(&token).timeout(Duration::from_secs(20));
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 503, "{host}");
            let body = answer.text().await.expect("text");
            assert!(!body.contains(host) && !body.contains(port), "{host}: {body}");
            assert_eq!(provider.asked(), 0, "{host} was asked");
            server.kill().await;
            tried += 1;
        }
        for address in ["file:///etc/passwd", "http://192.0.2.1/keys", "gopher://x/", "keys"] {
            let settings = format!(
                "[auth.oidc]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
                 jwks_url = \"{address}\"\n"
            );
            let path = super::settings(&case.folder, &settings);
            let path = path.to_str().expect("a path of text");
            let (code, output) = super::tercet(&["serve", "--config", path], "");
            assert_eq!(code, Some(78), "{address}: {output}");
            tried += 1;
        }
        Outcome::Held(format!("{tried} addresses, no connection, 503 that names none of them"))
    })
}
