//! Users and their passwords. Checking one takes tens of milliseconds and 19 MiB on purpose, so a
//! password that was right is remembered, by a keyed hash, for a while; a wrong one never is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use ring::hmac;
use storage::Random;
use tokio::sync::Semaphore;

use super::access::Principal;
use crate::config::User;

/// Longer passwords are wrong. Units: bytes.
const PASSWORD_BYTES_MAX: usize = 1 << 10;
/// Passwords being checked at one time.
const TURNS: usize = 2;
/// Passwords that wait for their turn.
const WAITING_MAX: usize = 64;
/// Logins that are remembered.
const REMEMBERED_MAX: usize = 1024;
/// How long. Units: ns.
const REMEMBERED_NS: u64 = 300_000_000_000;

#[derive(Debug)]
struct Known {
    name: String,
    hash: Arc<str>,
    principal: Arc<Principal>,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checked {
    Right(Arc<Principal>),
    Wrong,
    /// Too many passwords are being checked.
    Busy,
}

/// By keyed hash: who it was, and until when that counts.
type Remembered = HashMap<[u8; 32], (Arc<Principal>, u64)>;

/// Everybody who has a password.
pub(super) struct Passwords {
    users: Vec<Known>,
    key: hmac::Key,
    remembered: Mutex<Remembered>,
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl Passwords {
    pub(super) fn new(users: &[User], random: &dyn Random) -> Passwords {
        let known = users.iter().map(|user| Known {
            name: user.name.clone(),
            hash: user.password_hash.expose().into(),
            principal: Arc::new(Principal {
                name: format!("user:{}", user.name).into(),
                grant: user.grant.clone(),
            }),
        });
        Passwords {
            users: known.collect(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>(random)),
            remembered: Mutex::new(HashMap::new()),
            turns: Semaphore::new(TURNS),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The keyed hash of name, password and what the password is compared with: a changed password
    /// is another key, and nobody can aim at a key.
    fn remembered_key(&self, known: &Known, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [known.name.as_bytes(), password.as_bytes(), known.hash.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    /// The user, if that password was right a while ago.
    pub(super) fn recall(&self, name: &str, password: &str, now: u64) -> Option<Arc<Principal>> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        let known = self.users.iter().find(|user| user.name == name)?;
        let key = self.remembered_key(known, password);
        let remembered = self.remembered.lock();
        let (principal, until) = remembered.get(&key)?;
        (now < *until).then(|| Arc::clone(principal))
    }

    /// Checks a password. A name that there is not costs as much as a wrong password.
    pub(super) async fn check(&self, name: &str, password: &str, now: u64) -> Checked {
        let known = self.users.iter().find(|user| user.name == name);
        let Some(compared) = known.or(self.users.first()) else { return Checked::Wrong };
        if password.len() > PASSWORD_BYTES_MAX {
            return Checked::Wrong;
        }
        let Some(_waiting) = Waiting::enter(&self.waiting) else { return Checked::Busy };
        let Ok(turn) = self.turns.acquire().await else { return Checked::Busy };
        let (hash, given) = (Arc::clone(&compared.hash), password.to_owned());
        let matches = tokio::task::spawn_blocking(move || verify(&hash, &given)).await;
        drop(turn);
        match (matches, known) {
            (Ok(true), Some(known)) => {
                self.remember(known, password, now);
                Checked::Right(Arc::clone(&known.principal))
            }
            (Ok(_), _) => Checked::Wrong,
            (Err(_gone), _) => Checked::Busy,
        }
    }

    fn remember(&self, known: &Known, password: &str, now: u64) {
        let key = self.remembered_key(known, password);
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, until)| now < *until);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(key, (Arc::clone(&known.principal), now + REMEMBERED_NS));
        }
    }
}

/// A place in the queue.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn enter(count: &'w AtomicUsize) -> Option<Waiting<'w>> {
        let waiting = Waiting(count);
        (count.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A PHC text for the settings: argon2id, 19 MiB, 2 passes (OWASP's first choice).
///
/// Errors: the crate's.
pub(crate) fn hash_password(password: &str, random: &dyn Random) -> Result<String, String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes"));
    }
    let salt =
        SaltString::encode_b64(&random_bytes::<16>(random)).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
    let hash = argon2.hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| error.to_string())?.to_string())
}

/// Bytes that nobody can guess.
pub(super) fn random_bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    for piece in bytes.chunks_mut(8) {
        let word = random.next_u64().to_le_bytes();
        piece.copy_from_slice(word.get(..piece.len()).unwrap_or_default());
    }
    bytes
}
