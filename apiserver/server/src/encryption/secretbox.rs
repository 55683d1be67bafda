//! XSalsa20-Poly1305 (NaCl's secretbox). Its 192-bit random nonces make a key good for any number of values; it has no
//! additional authenticated data, as upstream's.

use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};

use super::transformer::{Seal, TransformError};
use crate::config::Randomness;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// One key of 32 bytes.
#[derive(Clone)]
pub(super) struct Secretbox(Box<XSalsa20Poly1305>);

impl Secretbox {
    /// None for a key of another length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        XSalsa20Poly1305::new_from_slice(key).ok().map(|cipher| Self(Box::new(cipher)))
    }
}

impl Seal for Secretbox {
    fn seal(&self, plain: &[u8], _aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let sealed =
            self.0.encrypt(&Nonce::from(nonce), plain).map_err(|_too_long| TransformError::Secretbox)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8], _aad: &[u8]) -> Result<Vec<u8>, TransformError> {
        if sealed.len() < NONCE_BYTES + TAG_BYTES {
            return Err(TransformError::Short);
        }
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(TransformError::Short)?;
        self.0.decrypt(&Nonce::from(*nonce), sealed).map_err(|_changed| TransformError::Secretbox)
    }
}
