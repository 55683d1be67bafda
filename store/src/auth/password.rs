//! Hashing passwords, slowly on purpose: on threads that may block, a few at a time, so that logins cannot starve the store.
use tokio::sync::Semaphore;

use crate::api::AuthCallError;

/// bcrypt looks at so many bytes of a password; more are refused rather than ignored, as etcd does.
const PASSWORD_BYTES_MAX: usize = 72;
pub(super) const CONCURRENT_HASHES: usize = 2;

/// Hashes a password with a new salt.
pub(super) async fn hash(turns: &Semaphore, password: &str, cost: u32) -> Result<Vec<u8>, AuthCallError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AuthCallError::Hash(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    let password = password.to_owned();
    let hashed = blocking(turns, move || bcrypt::hash(password, cost)).await?;
    hashed.map(String::into_bytes).map_err(|error| AuthCallError::Hash(error.to_string()))
}

/// Whether a hash is that of a password. What is no hash matches nothing.
pub(super) async fn matches(turns: &Semaphore, password: &str, hash: &[u8]) -> Result<bool, AuthCallError> {
    let Ok(hash) = String::from_utf8(hash.to_vec()) else { return Ok(false) };
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    let password = password.to_owned();
    Ok(blocking(turns, move || bcrypt::verify(password, &hash)).await?.unwrap_or(false))
}

async fn blocking<T: Send + 'static>(
    turns: &Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AuthCallError> {
    let _turn = turns.acquire().await.map_err(|closed| AuthCallError::Hash(closed.to_string()))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| AuthCallError::Hash(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_hash_alone() {
        let turns = Semaphore::new(1);
        let hash = hash(&turns, "correct horse", 4).await.unwrap();
        assert!(matches(&turns, "correct horse", &hash).await.unwrap());
        assert!(!matches(&turns, "battery staple", &hash).await.unwrap());
        assert!(!matches(&turns, "", b"").await.unwrap());
        assert!(!matches(&turns, "x", b"no hash").await.unwrap());
    }

    #[tokio::test]
    async fn hashes_made_by_etcd_match() {
        // Go's bcrypt writes the prefix $2a$.
        let hash = bcrypt::hash_with_result("pw", 4).unwrap().format_for_version(bcrypt::Version::TwoA);
        assert!(matches(&Semaphore::new(1), "pw", hash.as_bytes()).await.unwrap());
    }
}
