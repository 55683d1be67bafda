//! KMS v2: values are sealed with a data key of ours, whose source only the KMS can open.
//!
//! One source seals everything until the KMS names another key. Sealing and opening never wait: the source for writes is
//! made ahead by [`Envelope::keep`], and sources met in stored values are opened by [`Envelope::unlock`] before they are
//! needed. Plain sources are held in memory only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mainstay_base::lifecycle::Clock;
use parking_lot::Mutex;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::dek::{Dek, SEED_BYTES, SourceType};
use super::kms_service::{DecryptRequest, EncryptRequest, KmsService, StatusResponse};
use super::transformer::{Opened, Seal as _, TransformError};
use crate::config::Randomness;

/// Time between two looks at a healthy plugin, and at one that is not.
const HEALTHY_INTERVAL: Duration = Duration::from_secs(60);
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(10);
/// How long a source seals after the last good look.
const SOURCE_LIFETIME: time::Duration = time::Duration::minutes(3);
/// Upstream's bounds of what a plugin says, in bytes.
const KEY_ID_BYTES_MAX: usize = 1024;
const SOURCE_BYTES_MAX: usize = 1024;
const ANNOTATIONS_BYTES_MAX: usize = 32 * 1024;
/// Opened sources that are held.
const OPENED_MAX: usize = 1024;

/// A sealed value, as upstream stores it.
#[derive(Clone, PartialEq, prost::Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    encrypted_dek_source: Vec<u8>,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    encrypted_dek_source_type: i32,
}

impl EncryptedObject {
    fn check(&self) -> Result<SourceType, TransformError> {
        let wrong = |why: String| Err(TransformError::Kms(why));
        let Some(kind) = SourceType::of(self.encrypted_dek_source_type) else {
            return wrong(format!("unknown encryptedDEKSourceType: {}", self.encrypted_dek_source_type));
        };
        if self.encrypted_data.is_empty() {
            return wrong("encrypted data is empty".to_owned());
        }
        match self.encrypted_dek_source.len() {
            0 => {
                return wrong(
                    "failed to validate encrypted DEK source: encrypted DEK source is empty".to_owned(),
                );
            }
            1..=SOURCE_BYTES_MAX => {}
            bytes => {
                return wrong(format!(
                    "failed to validate encrypted DEK source: encrypted DEK source is {bytes} bytes, which exceeds the max size of {SOURCE_BYTES_MAX}"
                ));
            }
        }
        if let Err(why) = check_key_id(&self.key_id) {
            return wrong(format!("failed to validate key id: {why}"));
        }
        let bytes: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATIONS_BYTES_MAX {
            return wrong(format!(
                "failed to validate annotations: total size of annotations is {bytes}, which exceeds the max size of {ANNOTATIONS_BYTES_MAX}"
            ));
        }
        Ok(kind)
    }

    /// Tells sources apart.
    fn source(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&self.encrypted_dek_source_type.to_be_bytes());
        part(&self.encrypted_dek_source);
        part(self.key_id.as_bytes());
        let mut annotations: Vec<_> = self.annotations.iter().collect();
        annotations.sort();
        for (key, value) in annotations {
            part(key.as_bytes());
            part(value);
        }
        hash.finalize().into()
    }
}

fn check_key_id(key_id: &str) -> Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".to_owned()),
        1..=KEY_ID_BYTES_MAX => Ok(()),
        bytes => Err(format!("keyID is {bytes} bytes, which exceeds the max size of {KEY_ID_BYTES_MAX}")),
    }
}

/// The source that seals now.
struct Writing {
    /// Everything but the data.
    object: EncryptedObject,
    dek: Arc<Dek>,
    expires: OffsetDateTime,
}

/// One KMS provider.
pub(super) struct Envelope {
    name: String,
    service: KmsService,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    writing: ArcSwapOption<Writing>,
    opened: Mutex<HashMap<[u8; 32], Arc<Dek>>>,
    refused: Mutex<HashMap<[u8; 32], String>>,
}

impl Envelope {
    pub(super) fn new(
        name: String,
        service: KmsService,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            name,
            service,
            clock,
            random,
            writing: ArcSwapOption::empty(),
            opened: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Looks at the plugin, and makes a source for writes where its key is a new one.
    ///
    /// # Errors
    /// Upstream's words for a plugin that is not healthy.
    pub(super) async fn refresh(&self) -> Result<(), String> {
        let failed = |why: String| format!("kmsv2 Provider {} is not healthy, error: {why}", self.name);
        let status = self.service.status().await.map_err(|why| {
            format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {why}",
                self.name
            )
        })?;
        check_status(&status).map_err(failed)?;
        let expires = self.clock.wall() + SOURCE_LIFETIME;
        if let Some(held) = self.writing.load_full().filter(|held| held.object.key_id == status.key_id) {
            let renewed = Writing { object: held.object.clone(), dek: Arc::clone(&held.dek), expires };
            self.writing.store(Some(Arc::new(renewed)));
            return Ok(());
        }
        let (object, dek) = self.generate().await.map_err(failed)?;
        if object.key_id != status.key_id {
            return Err(failed(
                "failed to rotate DEK: the plugin sealed it with another key than its status names"
                    .to_owned(),
            ));
        }
        info!(kms = %self.name, "values are sealed with a new data key");
        self.remember(object.source(), &dek);
        self.writing.store(Some(Arc::new(Writing { object, dek, expires })));
        Ok(())
    }

    async fn generate(&self) -> Result<(EncryptedObject, Arc<Dek>), String> {
        let mut seed = vec![0; SEED_BYTES];
        self.random.fill(&mut seed);
        let dek = Dek::new(SourceType::Seed, &seed).ok_or("invalid seed length")?;
        let request = EncryptRequest { plaintext: seed, uid: self.uid() };
        let sealed = self.service.encrypt(request).await;
        let sealed = sealed.map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        let mut object = EncryptedObject {
            encrypted_data: vec![0], // anything: it is checked and taken away
            key_id: sealed.key_id,
            encrypted_dek_source: sealed.ciphertext,
            annotations: sealed.annotations,
            encrypted_dek_source_type: 1,
        };
        object.check().map_err(|error| error.to_string())?;
        object.encrypted_data.clear();
        Ok((object, Arc::new(dek)))
    }

    fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Looks at the plugin again and again until `stop`.
    pub(super) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut healthy = self.writing.load().is_some();
        loop {
            let interval = if healthy { HEALTHY_INTERVAL } else { UNHEALTHY_INTERVAL };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let looked = self.refresh().await;
            healthy = looked.is_ok();
            if let Err(why) = looked {
                warn!(%why, "a KMS plugin is not healthy");
            }
        }
    }

    /// Opens the source of a stored value, unless that was done; a failure is told when the value is opened.
    pub(super) async fn unlock(&self, sealed: &[u8]) {
        let Ok(object) = EncryptedObject::decode(sealed) else { return };
        let Ok(kind) = object.check() else { return };
        let source = object.source();
        if self.opened.lock().contains_key(&source) {
            return;
        }
        let request = DecryptRequest {
            ciphertext: object.encrypted_dek_source,
            uid: self.uid(),
            key_id: object.key_id,
            annotations: object.annotations,
        };
        let why = match self.service.decrypt(request).await {
            Ok(plain) => match Dek::new(kind, &plain.plaintext) {
                Some(dek) => {
                    self.refused.lock().remove(&source);
                    self.remember(source, &Arc::new(dek));
                    return;
                }
                None => "the plugin gave a data key of a wrong length".to_owned(),
            },
            Err(why) => format!("failed to decrypt DEK, error: {why}"),
        };
        let mut refused = self.refused.lock();
        if refused.len() >= OPENED_MAX {
            refused.clear();
        }
        refused.insert(source, why);
    }

    fn remember(&self, source: [u8; 32], dek: &Arc<Dek>) {
        let mut opened = self.opened.lock();
        if opened.len() >= OPENED_MAX {
            opened.clear();
        }
        opened.insert(source, Arc::clone(dek));
    }

    pub(super) fn seal(
        &self,
        plain: &[u8],
        aad: &[u8],
        random: &dyn Randomness,
    ) -> Result<Vec<u8>, TransformError> {
        let none = || TransformError::Kms("got unexpected nil transformer".to_owned());
        let writing = self.writing.load_full().ok_or_else(none)?;
        let now = self.clock.wall();
        if now > writing.expires {
            let shown = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
            return Err(TransformError::Kms(format!(
                "encryptedDEKSource with keyID hash {:?} expired at {} (current time is {})",
                hash_of(&writing.object.key_id),
                shown(writing.expires),
                shown(now)
            )));
        }
        let encrypted_data = writing.dek.seal(plain, aad, random)?;
        Ok(EncryptedObject { encrypted_data, ..writing.object.clone() }.encode_to_vec())
    }

    pub(super) fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Opened, TransformError> {
        let object =
            EncryptedObject::decode(sealed).map_err(|error| TransformError::Kms(error.to_string()))?;
        object.check()?;
        let source = object.source();
        let Some(dek) = self.opened.lock().get(&source).cloned() else {
            let why = self.refused.lock().get(&source).cloned();
            return Err(TransformError::Kms(
                why.unwrap_or_else(|| "the data key was not asked for".to_owned()),
            ));
        };
        let plain = dek.open(&object.encrypted_data, aad)?;
        let current = self.writing.load();
        let is_current = |writing: &Arc<Writing>| {
            writing.object.key_id == object.key_id
                && writing.object.encrypted_dek_source_type == object.encrypted_dek_source_type
        };
        Ok(Opened { plain, is_stale: !current.as_ref().is_some_and(is_current) })
    }
}

fn check_status(status: &StatusResponse) -> Result<(), String> {
    if status.healthz != "ok" {
        return Err(format!("got unexpected healthz status: {}", status.healthz));
    }
    if !matches!(status.version.as_str(), "v2" | "v2beta1") {
        return Err(format!("expected KMSv2 API version v2, got {}", status.version));
    }
    check_key_id(&status.key_id)
        .map_err(|why| format!("got invalid KMSv2 KeyID hash {:?}: {why}", hash_of(&status.key_id)))
}

fn hash_of(key_id: &str) -> String {
    use std::fmt::Write as _;
    if key_id.is_empty() {
        return String::new();
    }
    Sha256::digest(key_id.as_bytes()).iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
