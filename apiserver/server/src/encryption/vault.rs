//! [`Vault`]: the transformer of each stored resource.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_base::lifecycle::{Clock, Tasks};
use tracing::warn;

use super::aes::{Cbc, Gcm};
use super::config::{EncryptionConfig, ProviderConfig};
use super::kms::Envelope;
use super::kms_service::KmsService;
use super::secretbox::Secretbox;
use super::transformer::{Cipher, Keys, Provider, SEALED, TransformError, Transformer};
use crate::config::Randomness;

/// A value that cannot be opened or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to transform key {key:?}: {source}")]
pub struct VaultError {
    /// The store key.
    pub key: String,
    /// Why.
    pub source: TransformError,
}

/// Seals and opens values of the store. Clones share it.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    /// Resource and group, `*` for any, in order of precedence.
    rules: Vec<((String, String), Transformer)>,
    envelopes: Vec<(String, Arc<Envelope>)>,
    random: Arc<dyn Randomness>,
}

/// A value as it is in the cache.
pub(crate) struct Plain {
    /// The value.
    pub(crate) value: Bytes,
    /// Whether it is stored otherwise than it would be now.
    pub(crate) is_stale: bool,
}

impl Vault {
    /// A vault that seals by `config`, or nothing without one. Plugins of a KMS are looked at in `tasks`; when this
    /// returns each has been asked once.
    pub async fn open(
        config: Option<&EncryptionConfig>,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Randomness>,
        tasks: &Tasks,
    ) -> Self {
        let mut maker = Maker { clock, random, envelopes: Vec::new() };
        let mut rules: Vec<((String, String), Transformer)> = Vec::new();
        for rule in config.iter().flat_map(|config| &config.rules) {
            let providers: Vec<Provider> =
                rule.providers.iter().filter_map(|one| maker.provider(one)).collect();
            for resource in &rule.resources {
                // As upstream: a resource that is named twice has the providers of both.
                match rules.iter_mut().find(|(known, _)| known == resource) {
                    Some((_, transformer)) => transformer.providers.extend(providers.clone()),
                    None => rules.push((resource.clone(), Transformer { providers: providers.clone() })),
                }
            }
        }
        let envelopes = maker.envelopes;
        for (prefix, envelope) in &envelopes {
            if let Err(why) = envelope.refresh().await {
                warn!(%why, "a KMS plugin is not healthy");
            }
            tasks.spawn(format!("kms {prefix}"), Arc::clone(envelope).keep(tasks.token()));
        }
        Self { inner: Arc::new(Inner { rules, envelopes, random: Arc::clone(random) }) }
    }

    fn transformer(&self, kind: &'static Kind) -> Option<&Transformer> {
        let stored = kind.stored_kind();
        let ways = [(stored.plural, stored.group), ("*", stored.group), ("*", "*")];
        ways.iter().find_map(|(resource, group)| {
            let found = self.inner.rules.iter().find(|((r, g), _)| r == resource && g == group);
            found.map(|(_, transformer)| transformer)
        })
    }

    /// The value as it is stored under `key`.
    ///
    /// # Errors
    /// [`VaultError`] where the KMS has no key for it.
    pub(crate) fn seal(&self, kind: &'static Kind, key: &Bytes, value: Bytes) -> Result<Bytes, VaultError> {
        let Some(transformer) = self.transformer(kind) else { return Ok(value) };
        let sealed = transformer.seal(&value, key, self.inner.random.as_ref());
        sealed.map(Bytes::from).map_err(|source| VaultError { key: shown(key), source })
    }

    /// The value that is stored under `key`, as it was before it was sealed.
    ///
    /// # Errors
    /// [`VaultError`] for a value that no provider opens.
    pub(crate) fn unseal(
        &self,
        kind: &'static Kind,
        key: &[u8],
        stored: &Bytes,
    ) -> Result<Plain, VaultError> {
        let failed = |source| VaultError { key: shown(key), source };
        match self.transformer(kind) {
            None if stored.starts_with(SEALED) => Err(failed(TransformError::Encrypted)),
            None => Ok(Plain { value: stored.clone(), is_stale: false }),
            Some(transformer) => {
                let opened = transformer.open(stored, key).map_err(failed)?;
                Ok(Plain { value: opened.plain.into(), is_stale: opened.is_stale })
            }
        }
    }

    /// Asks the KMS for what [`Vault::unseal`] will need. Costs nothing without a KMS.
    pub(crate) async fn unlock(&self, stored: impl Iterator<Item = &Bytes>) {
        if self.inner.envelopes.is_empty() {
            return;
        }
        for value in stored {
            let found = self.inner.envelopes.iter().find_map(|(prefix, envelope)| {
                value.strip_prefix(prefix.as_bytes()).map(|sealed| (sealed, envelope))
            });
            if let Some((sealed, envelope)) = found {
                envelope.unlock(sealed).await;
            }
        }
    }
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Makes providers; rules share the envelopes of a KMS.
struct Maker<'a> {
    clock: &'a Arc<dyn Clock>,
    random: &'a Arc<dyn Randomness>,
    envelopes: Vec<(String, Arc<Envelope>)>,
}

impl Maker<'_> {
    /// None for keys of a wrong length, which the configuration has none of.
    fn provider(&mut self, config: &ProviderConfig) -> Option<Provider> {
        let (prefix, cipher) = match config {
            ProviderConfig::Identity => (String::new(), Cipher::Identity),
            ProviderConfig::AesGcm(keys) => {
                ("k8s:enc:aesgcm:v1:".to_owned(), Cipher::Gcm(keys_of("AES", keys, Gcm::new)?))
            }
            ProviderConfig::AesCbc(keys) => {
                ("k8s:enc:aescbc:v1:".to_owned(), Cipher::Cbc(keys_of("AES", keys, Cbc::new)?))
            }
            ProviderConfig::Secretbox(keys) => (
                "k8s:enc:secretbox:v1:".to_owned(),
                Cipher::Secretbox(keys_of("Secretbox", keys, Secretbox::new)?),
            ),
            ProviderConfig::Kms(kms) => {
                let prefix = format!("k8s:enc:kms:v2:{}:", kms.name);
                let envelope = Envelope::new(
                    kms.name.clone(),
                    KmsService::new(kms),
                    Arc::clone(self.clock),
                    Arc::clone(self.random),
                );
                let envelope = Arc::new(envelope);
                self.envelopes.push((prefix.clone(), Arc::clone(&envelope)));
                (prefix, Cipher::Kms(envelope))
            }
        };
        Some(Provider { prefix, cipher })
    }
}

fn keys_of<C>(
    shown: &'static str,
    keys: &[(String, Vec<u8>)],
    make: impl Fn(&[u8]) -> Option<C>,
) -> Option<Keys<C>> {
    let list: Option<Vec<_>> = keys.iter().map(|(name, key)| Some((name.clone(), make(key)?))).collect();
    Some(Keys { shown, list: Arc::new(list?) })
}
