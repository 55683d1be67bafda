//! The text of a token: `<SHA-256 of the authority's public key>.<id>.<secret>`.

use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use mainstay_base::pki::public_key_sha256;
use rand::Rng as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::refusal::refuse;

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What a joining machine is given.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    /// The SHA-256 of the public key of the cluster's authority.
    pub(crate) pin: [u8; 32],
    /// The public part: names the Secret.
    pub(crate) id: String,
    /// The rest.
    pub(crate) secret: String,
}

impl JoinToken {
    /// A new token of the cluster whose authority this is.
    pub(crate) fn generate(ca_pem: &str) -> anyhow::Result<Self> {
        let mut random = rand::rng();
        let mut text = |length: usize| -> String {
            let letter = |_| char::from(*LETTERS.get(random.random_range(0..LETTERS.len())).unwrap_or(&b'0'));
            (0..length).map(letter).collect()
        };
        let (id, secret) = (text(ID_LENGTH), text(SECRET_LENGTH));
        Ok(Self { pin: pin_of(ca_pem)?, id, secret })
    }

    /// What Kubernetes takes as a bearer token.
    pub(crate) fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

/// The pin of an authority, PEM.
pub(crate) fn pin_of(ca_pem: &str) -> anyhow::Result<[u8; 32]> {
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("reading the cluster's authority")?;
    public_key_sha256(&der).context("reading the cluster's authority")
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.pin {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ".{}.{}", self.id, self.secret)
    }
}

/// Never the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || {
            refuse(
                "the token is not one of `mainstay token create`: it has 64, 6 and 16 characters between two dots",
            )
        };
        let mut parts = text.trim().split('.');
        let (Some(pin), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let plain = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| LETTERS.contains(&byte))
        };
        if pin.len() != 64 || !pin.is_ascii() || !plain(id, ID_LENGTH) || !plain(secret, SECRET_LENGTH) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = pin.get(2 * at..2 * at + 2).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(|_not_hex| wrong())?;
        }
        Ok(Self { pin: bytes, id: id.to_owned(), secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_and_nothing_else_is_one() {
        let token =
            JoinToken { pin: [7; 32], id: "abc123".to_owned(), secret: "0123456789abcdef".to_owned() };
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains("0123456789abcdef"));
        for wrong in
            ["", "abc123.0123456789abcdef", &text[1..], &text.replace('a', "A"), &format!("{text}.x")]
        {
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
        }
    }
}
