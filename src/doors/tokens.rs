//! Bearer tokens: 256 random bits behind a prefix that scanners for leaked secrets can find. Only
//! their SHA-256 is kept, and all of them are compared, each in constant time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use storage::Random;
use subtle::ConstantTimeEq as _;

use super::access::Principal;
use super::passwords::random_bytes;
use crate::config::Token;

/// How a token begins.
pub(super) const PREFIX: &str = "tct_";

#[derive(Debug)]
struct Known {
    hash: [u8; 32],
    expires_ns: Option<i64>,
    principal: Arc<Principal>,
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Valid(Arc<Principal>),
    /// Whose it was.
    Expired(Arc<str>),
    Unknown,
}

/// Every token, by its hash.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Known>);

impl Tokens {
    pub(super) fn new(tokens: &[Token]) -> Tokens {
        let known = tokens.iter().map(|token| {
            // The settings were checked: 64 hex digits.
            let mut hash = [0; 32];
            let _checked = hex::decode_to_slice(token.hash.expose(), &mut hash);
            let name = format!("token:{}", token.name).into();
            let principal = Arc::new(Principal { name, grant: token.grant.clone() });
            Known { hash, expires_ns: token.expires_ns, principal }
        });
        Tokens(known.collect())
    }

    pub(super) fn find(&self, token: &str, now_ns: i64) -> Found {
        let hash = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.hash.as_slice().ct_eq(hash.as_ref())) {
                found = Some(known);
            }
        }
        match found {
            None => Found::Unknown,
            Some(known) if known.expires_ns.is_some_and(|expires_ns| expires_ns <= now_ns) => {
                Found::Expired(Arc::clone(&known.principal.name))
            }
            Some(known) => Found::Valid(Arc::clone(&known.principal)),
        }
    }
}

/// A new token, and its hash for the settings.
pub(crate) fn create_token(random: &dyn Random) -> (String, String) {
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>(random)));
    let hash = hex::encode(digest(&SHA256, token.as_bytes()));
    (token, format!("sha256:{hash}"))
}
