//! An identity provider for tests: signs tokens (JWT), serves its keys, and can be told to rotate
//! them, to answer nothing, or to send elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// `iss` of every token here.
pub const ISSUER: &str = "http://127.0.0.1/issuer";
pub const AUDIENCE: &str = "tercet";

/// Modulus of an RSA key whose private half nobody has any more.
pub const RSA_MODULUS: &str = "utMrt1AUhxWhCSsZ92b7EUAS0hsKvUAzSAiaAqW1a9MyassiTyTycuWoKW3Sf-6WCi-2sV713O7q4J73rHwNh_CDEMHzoHxujU703LieZ-g6yNrmW1D545Qri5n-dNpPuQlEc5iqnaRII8Oncjxx_2z3lk5bbO3mTmpjvp7G2akpo4OKGX76xntM6AIi_niydbXsuYG32GZmnfmhi-DZ61MmzaLrxsqhHqeW7w_n0vYgNtapIKsuPra6pCr2Dcl73DNa07UcYHkkUUHLXPMXHLzw06fPVLBqhRmXLNDdff2ry8VX1W23z17fjGRT_-_6BwXWhGuBmkgL0oMPdtfvjQ";
/// A token that it signed (RS256) before, good until 2100: `ann`, role `read`, tenant `a`.
pub const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xL2lzc3VlciIsImF1ZCI6InRlcmNldCIsInN1YiI6ImFubiIsImV4cCI6NDEwMjQ0NDgwMCwidGVyY2V0X3JvbGUiOiJyZWFkIiwidGVyY2V0X3RlbmFudHMiOlsiYSJdfQ.nT8zhg8QkheaZPhpIBAsa5-xbSZ7Ml0hVDC3A5BywFd10HNEt1vFFjKK32Kl-3JdujfuPGlIEYqCi16F2t2cgLle-l-e575XEUKA4yIAh8gFU2adp57Xws3sfHgwB3Ie7lLZpiqsS3zZHf3dF5BtVzhHxyhLIhVbUFEOJ9ZCMYakmLzsBpBcLwUILBF05q30TuxDds-fSvnugAX-UYafxufn-sQPNKV9A51OmIOvuoy_WTvyDGzc0_hssfwkOuo6x-BaRR0Y4rcpDgaqf4adWXXU_jM8iQK4Stnk1yxTCuu4xhnU1sekbw-0Gfle3gCt_wSzesk8t7rHbTgHfx994Q";

/// Claims of a token that is good for an hour.
pub fn claims(role: &str, tenants: &[&str]) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "exp": crate::tools::now_s() + 3600,
        "tercet_role": role,
        "tercet_tenants": tenants,
    })
}

/// Header and claims as the first two parts of a token.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A key that signs, ES256.
#[derive(Debug)]
pub struct Signer {
    pub kid: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    /// A new key.
    pub fn new(kid: &str) -> Signer {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).expect("its own key");
        Signer { kid: kid.to_owned(), pair }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"}), claims)
    }

    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("it signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        // 0x04, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": self.kid, "x": text(x), "y": text(y),
        })
    }
}

/// The JWK of [`RSA_MODULUS`].
pub fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rsa", "n": RSA_MODULUS, "e": "AQAB"})
}

/// A server on 127.0.0.1 that answers every request alike.
#[derive(Debug)]
pub struct Provider {
    /// Where it listens.
    pub address: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let (answer, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answers.lock().clone();
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    let _gone = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        Provider { address, answer, asked, task }
    }

    /// Serves these keys.
    pub fn serve(&self, keys: &[Value]) {
        let body = json!({ "keys": keys }).to_string();
        self.say(&format!("200 OK\r\ncontent-length: {}", body.len()), &body);
    }

    /// Answers with a status line and headers, and a body.
    pub fn say(&self, head: &str, body: &str) {
        *self.answer.lock() = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
    }

    /// Closes every connection without a word.
    pub fn go_down(&self) {
        self.answer.lock().clear();
    }

    /// Connections so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
