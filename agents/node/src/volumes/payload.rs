//! The files of `configMap`, secret, downwardAPI and projected volumes. Pure: everything they need is an argument.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use super::error::VolumeError;
use super::tokens::TokenKey;
use crate::spec::downward::{self, PodFacts};

/// Files of one volume may not hold more than this: an API object is smaller.
const BYTES_MAX: usize = 8 << 20;
/// Mode of files for which nothing is stated.
const MODE_DEFAULT: u32 = 0o644;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub user: Option<u32>,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// What the files are made from.
#[derive(Debug, Default)]
pub(crate) struct ContentSources {
    pub config_maps: BTreeMap<String, std::sync::Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, std::sync::Arc<Secret>>,
    pub tokens: BTreeMap<TokenKey, String>,
    pub facts: PodFacts,
}

impl crate::spec::env::Sources for ContentSources {
    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps.get(name).map(AsRef::as_ref)
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name).map(AsRef::as_ref)
    }
}

/// The files of a volume that the agent writes.
pub(crate) fn payload(pod: &Pod, volume: &Volume, sources: &ContentSources) -> Result<Payload, VolumeError> {
    let mut files = Payload::new();
    if let Some(source) = &volume.config_map {
        let from = From {
            items: source.items.as_deref(),
            optional: source.optional,
            mode: mode(source.default_mode),
        };
        add_config_map(&mut files, &source.name, &from, sources)?;
    } else if let Some(source) = &volume.secret {
        let from = From {
            items: source.items.as_deref(),
            optional: source.optional,
            mode: mode(source.default_mode),
        };
        add_secret(&mut files, source.secret_name.as_deref().unwrap_or_default(), &from, sources)?;
    } else if let Some(source) = &volume.downward_api {
        add_downward(&mut files, pod, source.items.as_deref(), mode(source.default_mode), sources)?;
    } else if let Some(source) = &volume.projected {
        for part in source.sources.iter().flatten() {
            add_projection(&mut files, pod, part, mode(source.default_mode), sources)?;
        }
    }
    let bytes = files.values().map(|f| f.bytes.len()).sum();
    if bytes > BYTES_MAX { Err(VolumeError::TooLarge(bytes)) } else { Ok(files) }
}

struct From<'a> {
    items: Option<&'a [KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
}

fn mode(stated: Option<i32>) -> u32 {
    stated.and_then(|m| u32::try_from(m).ok()).unwrap_or(MODE_DEFAULT)
}

fn add_projection(
    files: &mut Payload,
    pod: &Pod,
    part: &VolumeProjection,
    default_mode: u32,
    sources: &ContentSources,
) -> Result<(), VolumeError> {
    if let Some(source) = &part.config_map {
        let from = From { items: source.items.as_deref(), optional: source.optional, mode: default_mode };
        return add_config_map(files, &source.name, &from, sources);
    }
    if let Some(source) = &part.secret {
        let from = From { items: source.items.as_deref(), optional: source.optional, mode: default_mode };
        return add_secret(files, &source.name, &from, sources);
    }
    if let Some(source) = &part.downward_api {
        return add_downward(files, pod, source.items.as_deref(), default_mode, sources);
    }
    if let Some(source) = &part.service_account_token {
        let key = TokenKey::of(source);
        let token = sources.tokens.get(&key).ok_or_else(|| VolumeError::Token("no token yet".to_owned()))?;
        let user = shared_user(pod);
        // A token is nobody else's business once it is known whose it is.
        let mode = if user.is_some() || fs_group(pod).is_some() { 0o600 } else { default_mode };
        return put(files, &source.path, File { bytes: token.clone().into_bytes(), mode, user });
    }
    if part.cluster_trust_bundle.is_some() {
        return Err(VolumeError::Unsupported("projected.sources.clusterTrustBundle".to_owned()));
    }
    if part.pod_certificate.is_some() {
        return Err(VolumeError::Unsupported("projected.sources.podCertificate".to_owned()));
    }
    Ok(())
}

/// `fsGroup` of the pod.
pub(super) fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// The user all containers run as, when they agree.
fn shared_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let default = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let mut users = crate::spec::containers::all(pod)
        .into_iter()
        .map(|c| c.container.security_context.as_ref().and_then(|s| s.run_as_user).or(default))
        .collect::<Vec<_>>();
    users.dedup();
    match users.as_slice() {
        [Some(user)] => u32::try_from(*user).ok(),
        _ => None,
    }
}

fn add_config_map(
    files: &mut Payload,
    name: &str,
    from: &From<'_>,
    sources: &ContentSources,
) -> Result<(), VolumeError> {
    let Some(map) = sources.config_maps.get(name) else {
        let optional = from.optional == Some(true);
        return if optional { Ok(()) } else { Err(VolumeError::ConfigMapMissing(name.to_owned())) };
    };
    let text = map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice()));
    let data: BTreeMap<&str, &[u8]> = text.chain(binary).collect();
    add_keys(files, &data, from, |key| VolumeError::ConfigKey(key.to_owned()))
}

fn add_secret(
    files: &mut Payload,
    name: &str,
    from: &From<'_>,
    sources: &ContentSources,
) -> Result<(), VolumeError> {
    let Some(secret) = sources.secrets.get(name) else {
        let optional = from.optional == Some(true);
        return if optional { Ok(()) } else { Err(VolumeError::SecretMissing(name.to_owned())) };
    };
    let data = secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())).collect();
    add_keys(files, &data, from, |key| VolumeError::SecretKey(key.to_owned()))
}

fn add_keys(
    files: &mut Payload,
    data: &BTreeMap<&str, &[u8]>,
    from: &From<'_>,
    missing: impl Fn(&str) -> VolumeError,
) -> Result<(), VolumeError> {
    let Some(items) = from.items.filter(|i| !i.is_empty()) else {
        for (key, bytes) in data {
            put(files, key, File { bytes: bytes.to_vec(), mode: from.mode, user: None })?;
        }
        return Ok(());
    };
    for item in items {
        match data.get(item.key.as_str()) {
            Some(bytes) => {
                let mode = item.mode.map_or(from.mode, |m| mode(Some(m)));
                put(files, &item.path, File { bytes: bytes.to_vec(), mode, user: None })?;
            }
            None if from.optional == Some(true) => {}
            None => return Err(missing(&item.key)),
        }
    }
    Ok(())
}

fn add_downward(
    files: &mut Payload,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    default_mode: u32,
    sources: &ContentSources,
) -> Result<(), VolumeError> {
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, &sources.facts, &field.field_path)?
        } else if let Some(resource) = &item.resource_field_ref {
            downward::resource(pod, &sources.facts, "", resource)?
        } else {
            String::new()
        };
        let mode = item.mode.map_or(default_mode, |m| mode(Some(m)));
        put(files, &item.path, File { bytes: text.into_bytes(), mode, user: None })?;
    }
    Ok(())
}

fn put(files: &mut Payload, path: &str, file: File) -> Result<(), VolumeError> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, ".." | "." | ""));
    if bad {
        return Err(VolumeError::Path(path.to_owned()));
    }
    files.insert(path.to_owned(), file);
    Ok(())
}
