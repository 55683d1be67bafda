//! Data keys of a KMS: AES-GCM, by the key itself or by one that HKDF-SHA256 derives for each value from a seed.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::aes::Gcm;
use super::transformer::{Seal, TransformError};
use crate::config::Randomness;

/// Bytes of a seed, of a derived key and of the information that tells derived keys apart.
pub(super) const SEED_BYTES: usize = 32;

/// What the plain text of a data key's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SourceType {
    /// The key.
    Key,
    /// The seed of keys.
    Seed,
}

impl SourceType {
    pub(super) fn of(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Key),
            1 => Some(Self::Seed),
            _ => None,
        }
    }
}

/// A data key that is ready for use.
pub(super) enum Dek {
    /// Seals by itself.
    Key(Gcm),
    /// Seals by derived keys.
    Seed(Vec<u8>),
}

impl Dek {
    /// None for a plain text of a wrong length.
    pub(super) fn new(kind: SourceType, plain: &[u8]) -> Option<Self> {
        match kind {
            SourceType::Key => Gcm::new(plain).map(Self::Key),
            SourceType::Seed => (plain.len() >= SEED_BYTES).then(|| Self::Seed(plain.to_vec())),
        }
    }
}

impl Seal for Dek {
    fn seal(&self, plain: &[u8], aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        match self {
            Self::Key(gcm) => gcm.seal(plain, aad, random),
            Self::Seed(seed) => {
                let mut info = vec![0; SEED_BYTES];
                random.fill(&mut info);
                let sealed = derived(seed, &info)?.seal(plain, aad, random)?;
                info.extend(sealed);
                Ok(info)
            }
        }
    }

    fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, TransformError> {
        match self {
            Self::Key(gcm) => gcm.open(sealed, aad),
            Self::Seed(seed) => {
                let (info, sealed) = sealed.split_at_checked(SEED_BYTES).ok_or(TransformError::Short)?;
                derived(seed, info)?.open(sealed, aad)
            }
        }
    }
}

/// RFC 5869's expand step for one block of output, which is all that a key needs.
fn derived(seed: &[u8], info: &[u8]) -> Result<Gcm, TransformError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed).map_err(|_length| TransformError::Short)?;
    mac.update(info);
    mac.update(&[1]);
    Gcm::new(&mac.finalize().into_bytes()).ok_or(TransformError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, appendix A.1: the first 32 bytes of OKM, from its PRK and info.
    #[test]
    fn keys_are_derived_as_the_rfc_says() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        let expected = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        let random = crate::config::SystemRandomness;
        let sealed = derived(&seed, &info).unwrap().seal(b"x", b"", &random).unwrap();
        assert_eq!(Gcm::new(&expected).unwrap().open(&sealed, b"").unwrap(), b"x");
    }
}
