//! Encryption at rest: what the store holds of chosen resources is sealed, in upstream's format.
//!
//! [`EncryptionConfig`] is upstream's `EncryptionConfiguration`; a [`Vault`] made of it seals values on their way to the
//! store and opens them on their way to the cache. The authenticated data is the store key, so that a value cannot be
//! moved to another name. Nothing here logs a key or a plain value.

mod aes;
mod config;
mod config_file;
mod dek;
mod kms;
mod kms_service;
mod secretbox;
#[cfg(test)]
mod tests;
mod transformer;
mod vault;

pub use config::{ConfigError, EncryptionConfig};
pub use transformer::TransformError;
pub use vault::{Vault, VaultError};
