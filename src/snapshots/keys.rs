//! The cluster's keys in a snapshot: sealed under a passphrase, or not there at all.
//!
//! AES-256-GCM under PBKDF2-HMAC-SHA-256 of the passphrase, with a salt and a nonce of their own in each snapshot. A passphrase
//! is worth what its length is: a short one is refused.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::refusal::refuse;

/// Recommended for this function by OWASP in 2023.
const ROUNDS: u32 = 600_000;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const PASSPHRASE_BYTES_MIN: usize = 16;
const CONTEXT: &[u8] = b"mainstay snapshot keys v1";

/// The passphrase in the file that `flag` names, without the newline at its end.
///
/// # Errors
/// A refusal: no such file, or a passphrase that is too short.
pub(super) fn passphrase(flag: &str, file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| refuse(format!("{flag} {}: {error}", file.display())))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.len() < PASSPHRASE_BYTES_MIN {
        return Err(refuse(format!(
            "{flag} {}: {} characters are too few: use {PASSPHRASE_BYTES_MIN} or more, such as those of `openssl rand -base64 24`",
            file.display(),
            text.len()
        )));
    }
    Ok(text.to_owned())
}

/// Seals files. Takes a good part of a second: guessing shall be slow.
pub(super) fn seal(files: &BTreeMap<String, String>, passphrase: &str) -> anyhow::Result<String> {
    let (salt, nonce): ([u8; SALT_BYTES], [u8; NONCE_BYTES]) = (rand::random(), rand::random());
    let plain = serde_json::to_vec(files).context("sealing the cluster's keys")?;
    let sealed = cipher(passphrase, &salt)?
        .encrypt(&nonce.into(), Payload { msg: &plain, aad: CONTEXT })
        .map_err(|_opaque| anyhow::anyhow!("sealing the cluster's keys"))?;
    Ok(STANDARD.encode([&salt[..], &nonce, &sealed].concat()))
}

/// Opens what [`seal`] made.
///
/// # Errors
/// A refusal: another passphrase, or changed bytes.
pub(super) fn open(sealed: &str, passphrase: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let failed = || refuse("the keys in the snapshot cannot be opened with this passphrase");
    let bytes = STANDARD.decode(sealed).map_err(|_not_base64| failed())?;
    let (salt, rest) = bytes.split_first_chunk::<SALT_BYTES>().ok_or_else(failed)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(failed)?;
    let payload = Payload { msg: sealed, aad: CONTEXT };
    let plain = cipher(passphrase, salt)?.decrypt(nonce.into(), payload).map_err(|_opaque| failed())?;
    serde_json::from_slice(&plain).map_err(|_not_json| failed())
}

fn cipher(passphrase: &str, salt: &[u8; SALT_BYTES]) -> anyhow::Result<Aes256Gcm> {
    let mut key = [0; 32];
    let rounds = NonZeroU32::new(ROUNDS).context("deriving the key")?;
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase.as_bytes(), &mut key);
    <Aes256Gcm as KeyInit>::new_from_slice(&key).context("deriving the key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_opened_by_their_passphrase_only() {
        let files = BTreeMap::from([("pki/ca.key".to_owned(), "precious".to_owned())]);
        let sealed = seal(&files, "correct horse battery").unwrap();
        assert_eq!(open(&sealed, "correct horse battery").unwrap(), files);
        assert!(open(&sealed, "correct horse batterx").unwrap_err().to_string().contains("passphrase"));
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(open(&STANDARD.encode(bytes), "correct horse battery").is_err());
        assert!(open("", "x").is_err() && open("?", "x").is_err());
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let read = || passphrase("--snapshot-passphrase-file", file.path());
        let refused = read().unwrap_err().to_string();
        assert!(refused.starts_with("--snapshot-passphrase-file /"), "{refused}");
        assert!(refused.contains("7 characters are too few"), "{refused}");
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        assert_eq!(read().unwrap(), "0123456789abcdef");
    }
}
