//! AES: authenticated (GCM, 96-bit nonces) and, for data of old, CBC without authentication.

use ::aes::cipher::consts::{U12, U16};
use ::aes::cipher::{BlockDecrypt, BlockEncrypt};
use ::aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{AesGcm, KeyInit as _, Nonce};

use super::transformer::{Seal, TransformError};
use crate::config::Randomness;

const NONCE_BYTES: usize = 12;
const BLOCK_BYTES: usize = 16;

type Block = [u8; BLOCK_BYTES];

/// AES-GCM with a key of 16, 24 or 32 bytes. The nonce is random: a key seals a bounded number of values (2^32).
#[derive(Clone)]
pub(super) enum Gcm {
    /// 128 bits.
    Small(Box<AesGcm<Aes128, U12>>),
    /// 192 bits.
    Middle(Box<AesGcm<Aes192, U12>>),
    /// 256 bits.
    Large(Box<AesGcm<Aes256, U12>>),
}

impl Gcm {
    /// None for a key of another length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Small(Box::new(AesGcm::new_from_slice(key).ok()?)),
            24 => Self::Middle(Box::new(AesGcm::new_from_slice(key).ok()?)),
            32 => Self::Large(Box::new(AesGcm::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }
}

impl Seal for Gcm {
    fn seal(&self, plain: &[u8], aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let at = &Nonce::<U12>::from(nonce);
        let payload = Payload { msg: plain, aad };
        let sealed = match self {
            Self::Small(cipher) => cipher.encrypt(at, payload),
            Self::Middle(cipher) => cipher.encrypt(at, payload),
            Self::Large(cipher) => cipher.encrypt(at, payload),
        };
        let sealed = sealed.map_err(|_too_long| TransformError::Authentication)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, TransformError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(TransformError::Short)?;
        let at = &Nonce::<U12>::from(*nonce);
        let payload = Payload { msg: sealed, aad };
        let plain = match self {
            Self::Small(cipher) => cipher.decrypt(at, payload),
            Self::Middle(cipher) => cipher.decrypt(at, payload),
            Self::Large(cipher) => cipher.decrypt(at, payload),
        };
        plain.map_err(|_changed| TransformError::Authentication)
    }
}

/// AES-CBC with PKCS #7 padding.
#[derive(Clone)]
pub(super) enum Cbc {
    /// 128 bits.
    Small(Box<Aes128>),
    /// 192 bits.
    Middle(Box<Aes192>),
    /// 256 bits.
    Large(Box<Aes256>),
}

impl Cbc {
    /// None for a key of another length than 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Small(Box::new(Aes128::new_from_slice(key).ok()?)),
            24 => Self::Middle(Box::new(Aes192::new_from_slice(key).ok()?)),
            32 => Self::Large(Box::new(Aes256::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }
}

/// Each block is mixed with the sealed one before it.
fn encrypt<C: BlockEncrypt<BlockSize = U16>>(cipher: &C, iv: Block, blocks: &mut [Block]) {
    let mut before = iv;
    for block in blocks {
        mix(block, &before);
        cipher.encrypt_block(block.into());
        before = *block;
    }
}

fn decrypt<C: BlockDecrypt<BlockSize = U16>>(cipher: &C, iv: Block, blocks: &mut [Block]) {
    let mut before = iv;
    for block in blocks {
        let sealed = *block;
        cipher.decrypt_block(block.into());
        mix(block, &before);
        before = sealed;
    }
}

fn mix(block: &mut Block, with: &Block) {
    block.iter_mut().zip(with).for_each(|(byte, with)| *byte ^= with);
}

impl Seal for Cbc {
    fn seal(&self, plain: &[u8], _aad: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, TransformError> {
        let mut iv = Block::default();
        random.fill(&mut iv);
        let padding = BLOCK_BYTES - plain.len() % BLOCK_BYTES;
        let mut padded = plain.to_vec();
        padded.resize(plain.len() + padding, padding as u8);
        let (blocks, _none) = padded.as_chunks_mut::<BLOCK_BYTES>();
        match self {
            Self::Small(cipher) => encrypt(cipher.as_ref(), iv, blocks),
            Self::Middle(cipher) => encrypt(cipher.as_ref(), iv, blocks),
            Self::Large(cipher) => encrypt(cipher.as_ref(), iv, blocks),
        }
        Ok([iv.as_slice(), &padded].concat())
    }

    fn open(&self, sealed: &[u8], _aad: &[u8]) -> Result<Vec<u8>, TransformError> {
        let (iv, sealed) = sealed.split_first_chunk::<BLOCK_BYTES>().ok_or(TransformError::Short)?;
        let mut plain = sealed.to_vec();
        let (blocks, rest) = plain.as_chunks_mut::<BLOCK_BYTES>();
        if !rest.is_empty() {
            return Err(TransformError::BlockSize);
        }
        match self {
            Self::Small(cipher) => decrypt(cipher.as_ref(), *iv, blocks),
            Self::Middle(cipher) => decrypt(cipher.as_ref(), *iv, blocks),
            Self::Large(cipher) => decrypt(cipher.as_ref(), *iv, blocks),
        }
        let last = *plain.last().ok_or(TransformError::NotPadded)?;
        let size = plain.len().checked_sub(usize::from(last)).filter(|_| last > 0);
        let size = size.ok_or(TransformError::NotPadded)?;
        if plain.iter().skip(size).any(|byte| *byte != last) {
            return Err(TransformError::Padding);
        }
        plain.truncate(size);
        Ok(plain)
    }
}
