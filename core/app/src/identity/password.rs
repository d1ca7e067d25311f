//! Password hashing with argon2id, off the async threads and a few at a time, so that a flood of logins
//! costs neither memory nor the requests that carry a token.

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use canopy_types::{Error, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Bytes of the longest password.
pub const MAX_PASSWORD: usize = 4_096;
/// Hashes computed at once: 9 MiB and one core each.
const AT_ONCE: usize = 2;
/// Logins waiting for their turn; past it the answer is 503.
const WAITING: usize = 64;

/// A password on its way through: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

pub struct Passwords {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Passwords that were looked at, right or wrong, of users that there are or not.
    checked: AtomicU64,
    /// Checked when there is no such user, so that this takes the same time.
    dummy: String,
}

struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    pub async fn new() -> Result<Self> {
        let dummy = tokio::task::spawn_blocking(|| hash_now("no such user"))
            .await
            .map_err(|e| Error::internal("identity.hash", e))??;
        Ok(Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            checked: AtomicU64::new(0),
            dummy,
        })
    }

    /// Whether `password` belongs to `hash`. Without a hash it takes as long and is false.
    pub async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        self.checked.fetch_add(1, Ordering::Relaxed);
        let matches = self.run(move || Ok(verify_now(&password.0, &hash))).await?;
        Ok(known && matches)
    }

    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Checks the length and hashes.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        check_length(&password)?;
        self.run(move || hash_now(&password.0)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            return Err(Error::new(
                Kind::Unavailable,
                "identity.busy",
                "Too many logins are waiting. Try again in a second.",
            ));
        }
        let permit =
            self.permits.clone().acquire_owned().await.map_err(|e| Error::internal("identity.hash", e))?;
        drop(place);
        // The permit goes along: a caller who gives up does not make room for one hash more.
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        task.await.map_err(|e| Error::internal("identity.hash", e))?
    }
}

pub fn check_length(password: &Secret) -> Result<()> {
    if (1..=MAX_PASSWORD).contains(&password.0.len()) {
        return Ok(());
    }
    Err(Error::bad_request(
        "identity.password_length",
        format!("A password must hold 1 to {MAX_PASSWORD} bytes."),
    ))
}

fn argon2() -> Result<Argon2<'static>> {
    // One of the equal strengths that OWASP's password storage cheat sheet lists for argon2id, and of these one with
    // little memory: it costs an attacker the same and the controller less. A stored hash names its own.
    let params =
        Params::new(9_216, 4, 1, None).map_err(|e| Error::internal("identity.hash", e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

pub(super) fn hash_now(password: &str) -> Result<String> {
    let fault = |e: argon2::password_hash::Error| Error::internal("identity.hash", e.to_string());
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| Error::internal("identity.random", e))?;
    let salt = SaltString::encode_b64(&salt).map_err(fault)?;
    Ok(argon2()?.hash_password(password.as_bytes(), &salt).map_err(fault)?.to_string())
}

fn verify_now(password: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        tracing::error!("a stored password hash is unreadable: set the password anew");
        return false;
    };
    argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new().await.unwrap();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=9216,t=4,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(secret("correct horse")).await.unwrap());
        assert!(passwords.verify(secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(secret("correct horsf"), Some(hash)).await.unwrap());
        assert!(
            !passwords.verify(secret("no such user"), None).await.unwrap(),
            "the dummy is nobody's password"
        );
        assert!(!passwords.verify(secret("x"), Some("rubbish".into())).await.unwrap());
    }

    #[tokio::test]
    async fn lengths_are_bounded_in_bytes() {
        let passwords = Passwords::new().await.unwrap();
        assert!(passwords.hash(secret("")).await.is_err());
        assert!(passwords.hash(secret(&"ü".repeat(2_049))).await.is_err());
        assert!(passwords.hash(secret(&"ü".repeat(2_048))).await.is_ok());
    }

    #[tokio::test]
    async fn a_flood_is_answered_early_and_passes() {
        let passwords = Passwords::new().await.unwrap();
        let held = passwords.permits.clone().acquire_many_owned(2).await.unwrap();
        let mut logins: Vec<_> =
            (0..WAITING + 5).map(|_| Box::pin(passwords.verify(secret("x"), None))).collect();
        let mut refused = 0;
        for login in &mut logins {
            if let std::task::Poll::Ready(Err(error)) = futures::poll!(login) {
                assert_eq!(error.kind, Kind::Unavailable);
                refused += 1;
            }
        }
        assert_eq!(refused, 5);
        drop(logins);
        drop(held);
        assert!(!passwords.verify(secret("x"), None).await.unwrap(), "the places of those who left are free");
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", secret("hunter2")), "***");
    }
}
