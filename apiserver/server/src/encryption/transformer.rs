//! The providers of one resource in order: the first one writes, every one reads what bears its prefix.

use std::sync::Arc;

use super::aes::{Cbc, Gcm};
use super::kms::Envelope;
use super::secretbox::Secretbox;
use crate::config::Randomness;

/// What every sealed value begins with.
pub(super) const SEALED: &[u8] = b"k8s:enc:";

/// A value that cannot be opened or sealed; upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// No provider's prefix.
    #[error("no matching prefix found")]
    Prefix,
    /// No key of the provider's prefix.
    #[error("no matching key was found for the provided {0} transformer")]
    Key(&'static str),
    /// Plain data was expected.
    #[error("identity transformer tried to read encrypted data")]
    Encrypted,
    /// Fewer bytes than a nonce and a tag.
    #[error("the stored data was shorter than the required size")]
    Short,
    /// The key does not fit, or the data was changed.
    #[error("cipher: message authentication failed")]
    Authentication,
    /// As [`TransformError::Authentication`], of secretbox, in upstream's words.
    #[error("output array was not large enough for encryption")]
    Secretbox,
    /// Not whole blocks.
    #[error("the stored data is not a multiple of the block size")]
    BlockSize,
    /// No padding at the end.
    #[error("invalid PKCS7 data (empty or not padded)")]
    NotPadded,
    /// Another padding than it should be.
    #[error("invalid padding on input")]
    Padding,
    /// The KMS.
    #[error("{0}")]
    Kms(String),
    /// Several providers bear the prefix, and none opens it.
    #[error("[{0}]")]
    Several(String),
}

/// One provider's key, with the prefix its values bear.
#[derive(Clone)]
pub(super) struct Provider {
    /// `k8s:enc:aesgcm:v1:`; empty for plain values.
    pub(super) prefix: String,
    pub(super) cipher: Cipher,
}

#[derive(Clone)]
pub(super) enum Cipher {
    Identity,
    Gcm(Keys<Gcm>),
    Cbc(Keys<Cbc>),
    Secretbox(Keys<Secretbox>),
    Kms(Arc<Envelope>),
}

/// The named keys of a provider, each with the prefix `name:`.
#[derive(Clone)]
pub(super) struct Keys<C> {
    pub(super) shown: &'static str,
    pub(super) list: Arc<Vec<(String, C)>>,
}

/// One key of a kind of cipher.
pub(super) trait Seal {
    fn seal(&self, plain: &[u8], aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError>;
    fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, TransformError>;
}

/// A value as it was before it was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) plain: Vec<u8>,
    /// Whether it would be sealed otherwise today.
    pub(super) is_stale: bool,
}

/// The providers of one resource.
#[derive(Clone)]
pub(super) struct Transformer {
    pub(super) providers: Vec<Provider>,
}

impl Transformer {
    /// Seals by the first provider.
    pub(super) fn seal(
        &self,
        plain: &[u8],
        aad: &[u8],
        random: &dyn Randomness,
    ) -> Result<Vec<u8>, TransformError> {
        let first = self.providers.first().ok_or(TransformError::Prefix)?;
        let mut out = first.prefix.clone().into_bytes();
        out.extend(first.cipher.seal(plain, aad, random)?);
        Ok(out)
    }

    /// Opens by the first provider that can.
    pub(super) fn open(&self, stored: &[u8], aad: &[u8]) -> Result<Opened, TransformError> {
        let mut errors: Vec<TransformError> = Vec::new();
        for (at, provider) in self.providers.iter().enumerate() {
            let Some(sealed) = stored.strip_prefix(provider.prefix.as_bytes()) else { continue };
            match provider.cipher.open(sealed, aad) {
                Ok(opened) => return Ok(Opened { is_stale: opened.is_stale || at > 0, ..opened }),
                Err(_plain_expected) if provider.prefix.is_empty() => {}
                Err(error) => errors.push(error),
            }
        }
        Err(match errors.as_slice() {
            [] => TransformError::Prefix,
            [one] => one.clone(),
            more => {
                TransformError::Several(more.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        })
    }
}

impl Cipher {
    fn seal(&self, plain: &[u8], aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        match self {
            Self::Identity => Ok(plain.to_vec()),
            Self::Gcm(keys) => keys.seal(plain, aad, random),
            Self::Cbc(keys) => keys.seal(plain, aad, random),
            Self::Secretbox(keys) => keys.seal(plain, aad, random),
            Self::Kms(envelope) => envelope.seal(plain, aad, random),
        }
    }

    fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Opened, TransformError> {
        match self {
            Self::Identity if sealed.starts_with(SEALED) => Err(TransformError::Encrypted),
            Self::Identity => Ok(Opened { plain: sealed.to_vec(), is_stale: false }),
            Self::Gcm(keys) => keys.open(sealed, aad),
            Self::Cbc(keys) => keys.open(sealed, aad),
            Self::Secretbox(keys) => keys.open(sealed, aad),
            Self::Kms(envelope) => envelope.open(sealed, aad),
        }
    }
}

impl<C: Seal> Keys<C> {
    fn seal(&self, plain: &[u8], aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        let (name, key) = self.list.first().ok_or(TransformError::Key(self.shown))?;
        let mut out = format!("{name}:").into_bytes();
        out.extend(key.seal(plain, aad, random)?);
        Ok(out)
    }

    fn open(&self, stored: &[u8], aad: &[u8]) -> Result<Opened, TransformError> {
        let mut failed = TransformError::Key(self.shown);
        for (at, (name, key)) in self.list.iter().enumerate() {
            let sealed = stored.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            let Some(sealed) = sealed else { continue };
            match key.open(sealed, aad) {
                Ok(plain) => return Ok(Opened { plain, is_stale: at > 0 }),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
