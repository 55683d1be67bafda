//! [`EncryptionConfig`]: which resources are sealed and how, read from upstream's configuration file and checked.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};

use super::config_file::{File, Key, KeyList, KmsConfiguration, ProviderConfiguration};

/// The time a KMS has to answer where none is given.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
const AES_KEY_BYTES: &[usize] = &[16, 24, 32];
const SECRETBOX_KEY_BYTES: &[usize] = &[32];

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not YAML of the right shape.
    #[error("error decoding encryption provider configuration: {0}")]
    Decode(String),
    /// Another kind of object.
    #[error("got unexpected config type: {0}")]
    Kind(String),
    /// Fields that are wrong, in upstream's words.
    #[error("{0}")]
    Invalid(String),
    /// A rule that an earlier one covers.
    #[error("resource {resource:?} is masked by earlier rule {rule:?}")]
    Masked {
        /// The resource.
        resource: String,
        /// The earlier rule.
        rule: String,
    },
}

/// A configuration that has been checked.
#[derive(Clone)]
pub struct EncryptionConfig {
    pub(super) rules: Vec<Rule>,
}

impl std::fmt::Debug for EncryptionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resources: Vec<_> = self.rules.iter().map(|rule| &rule.resources).collect();
        f.debug_struct("EncryptionConfig").field("resources", &resources).finish_non_exhaustive()
    }
}

/// The providers of some resources.
#[derive(Clone)]
pub(super) struct Rule {
    /// Resource and group; `*` stands for any.
    pub(super) resources: Vec<(String, String)>,
    pub(super) providers: Vec<ProviderConfig>,
}

/// One provider.
#[derive(Clone)]
pub(super) enum ProviderConfig {
    Identity,
    AesGcm(Vec<(String, Vec<u8>)>),
    AesCbc(Vec<(String, Vec<u8>)>),
    Secretbox(Vec<(String, Vec<u8>)>),
    Kms(KmsConfig),
}

/// A KMS plugin behind a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KmsConfig {
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) timeout: Duration,
}

impl EncryptionConfig {
    /// Reads `apiserver.config.k8s.io/v1` `EncryptionConfiguration`, YAML or JSON.
    ///
    /// # Errors
    /// [`ConfigError`]; keys are never shown.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File =
            serde_yaml_ng::from_str(text).map_err(|error| ConfigError::Decode(error.to_string()))?;
        let known = ["apiserver.config.k8s.io/v1", "v1"]; // upstream's files of old say v1
        if !known.contains(&file.api_version.as_str())
            || !matches!(file.kind.as_str(), "EncryptionConfiguration" | "EncryptionConfig")
        {
            return Err(ConfigError::Kind(format!("{}, Kind={}", file.api_version, file.kind)));
        }
        let root = Path::new("resources");
        let mut errors = ErrorList::new();
        if file.resources.is_empty() {
            errors.required(&root, "at least one resources is required");
        }
        let mut names = Vec::new();
        let mut rules = Vec::new();
        for (at, rule) in file.resources.iter().enumerate() {
            let (resources, providers) =
                (root.index(at).child("resources"), root.index(at).child("providers"));
            if rule.resources.is_empty() {
                errors.required(&resources, &format!("at least one {resources} is required"));
            }
            check_overlap(&rule.resources, &resources, &mut errors);
            check_names(&rule.resources, &resources, &mut errors);
            if rule.providers.is_empty() {
                errors.required(&providers, &format!("at least one {providers} is required"));
            }
            let found = rule.providers.iter().enumerate();
            let found =
                found.filter_map(|(at, one)| provider(one, &providers.index(at), &mut names, &mut errors));
            rules.push(Rule {
                providers: found.collect(),
                resources: rule.resources.iter().map(|text| group_resource(text)).collect(),
            });
        }
        if !errors.is_empty() {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let all = if let [one] = all.as_slice() { one.clone() } else { format!("[{}]", all.join(", ")) };
            return Err(ConfigError::Invalid(all));
        }
        check_masks(&rules)?;
        Ok(Self { rules })
    }
}

/// `deployments.apps` as resource and group; `*.` is every resource of the core group.
fn group_resource(text: &str) -> (String, String) {
    let (resource, group) = text.split_once('.').unwrap_or((text, ""));
    (resource.to_owned(), group.to_owned())
}

fn shown((resource, group): &(String, String)) -> String {
    if group.is_empty() && resource != "*" { resource.clone() } else { format!("{resource}.{group}") }
}

/// A rule for everything comes last, or it hides those after it.
fn check_masks(rules: &[Rule]) -> Result<(), ConfigError> {
    let mut seen: Vec<&(String, String)> = Vec::new();
    for one in rules.iter().flat_map(|rule| &rule.resources) {
        let hides =
            |earlier: &&&(String, String)| earlier.0 == "*" && (earlier.1 == one.1 || earlier.1 == "*");
        if let Some(rule) = seen.iter().find(hides) {
            return Err(ConfigError::Masked { resource: shown(one), rule: shown(rule) });
        }
        seen.push(one);
    }
    Ok(())
}

fn check_overlap(resources: &[String], path: &Path, errors: &mut ErrorList) {
    let all: Vec<(String, String)> = resources.iter().map(|text| group_resource(text)).collect();
    let pairs = || {
        all.iter().enumerate().flat_map(|(at, one)| all.iter().skip(at + 1).map(move |other| (one, other)))
    };
    let is_any = |one: &(String, String)| one.0 == "*" && one.1 == "*";
    let list = format!("{resources:?}");
    if pairs().any(|(one, other)| one == other) {
        errors
            .invalid_unshown(path, &format!("{list}: the same resource cannot be specified multiple times"));
    }
    let overlaps = |one: &(String, String), other: &(String, String)| {
        is_any(one) || is_any(other) || (one.1 == other.1 && (one.0 == "*" || other.0 == "*"))
    };
    if pairs().any(|(one, other)| one != other && overlaps(one, other)) {
        errors.invalid_unshown(
            path,
            &format!(
                "{list}: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
            ),
        );
    }
}

fn check_names(resources: &[String], path: &Path, errors: &mut ErrorList) {
    for (at, text) in resources.iter().enumerate() {
        let (resource, group) = group_resource(text);
        let why = if text.chars().any(char::is_uppercase) {
            "resource name should not contain capital letters"
        } else if text == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if matches!(
            text.as_str(),
            "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations"
        ) {
            "resources which do not have REST API/s cannot be encrypted"
        } else if group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if group == "*" && resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            continue;
        };
        errors.invalid(&path.index(at), text.as_str(), why);
    }
}

fn provider(
    text: &ProviderConfiguration,
    path: &Path,
    names: &mut Vec<String>,
    errors: &mut ErrorList,
) -> Option<ProviderConfig> {
    let given = [
        text.kms.is_some(),
        text.aesgcm.is_some(),
        text.aescbc.is_some(),
        text.secretbox.is_some(),
        text.identity.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => {
            let why = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.invalid_unshown(path, why);
            return None;
        }
        _ => {
            let why = "more than one provider specified in a single element, should split into different list elements";
            errors.invalid_unshown(path, why);
            return None;
        }
    }
    let mut keys_of = |list: &KeyList, name: &str, lengths: &[usize]| {
        keys(&list.keys, &path.child(name).child("keys"), lengths, errors)
    };
    if let Some(list) = &text.aesgcm {
        return Some(ProviderConfig::AesGcm(keys_of(list, "aesgcm", AES_KEY_BYTES)));
    }
    if let Some(list) = &text.aescbc {
        return Some(ProviderConfig::AesCbc(keys_of(list, "aescbc", AES_KEY_BYTES)));
    }
    if let Some(list) = &text.secretbox {
        return Some(ProviderConfig::Secretbox(keys_of(list, "secretbox", SECRETBOX_KEY_BYTES)));
    }
    let Some(text) = &text.kms else { return Some(ProviderConfig::Identity) };
    let config = kms(text, &path.child("kms"), names, errors);
    names.push(text.name.clone());
    config.map(ProviderConfig::Kms)
}

fn keys(list: &[Key], path: &Path, lengths: &[usize], errors: &mut ErrorList) -> Vec<(String, Vec<u8>)> {
    if list.is_empty() {
        errors.required(path, "at least one keys is required");
    }
    let mut found = Vec::new();
    for (at, key) in list.iter().enumerate() {
        let path = path.index(at);
        if key.name.is_empty() {
            errors.required(&path.child("name"), "name is a mandatory field for a key");
        }
        let secret = path.child("secret");
        if key.secret.is_empty() {
            errors.required(&secret, "secret is a mandatory field for a key");
            continue;
        }
        match STANDARD.decode(&key.secret) {
            Ok(bytes) if lengths.contains(&bytes.len()) => found.push((key.name.clone(), bytes)),
            Ok(bytes) => {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                let why = format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    bytes.len(),
                    lengths.join(" ")
                );
                errors.invalid(&secret, "REDACTED", &why);
            }
            Err(_decode) => errors.invalid(&secret, "REDACTED", "secrets must be base64 encoded"),
        }
    }
    found
}

fn kms(text: &KmsConfiguration, path: &Path, names: &[String], errors: &mut ErrorList) -> Option<KmsConfig> {
    let before = errors.len();
    if text.name.is_empty() {
        errors.required(&path.child("name"), "name is a mandatory field for a provider");
    }
    if text.name.contains(':') {
        let why = format!("invalid KMS provider name {}, must not contain ':'", text.name);
        errors.invalid(&path.child("name"), text.name.as_str(), &why);
    }
    if names.contains(&text.name) {
        let why = format!("duplicate KMS provider name {}, names must be unique", text.name);
        errors.invalid(&path.child("name"), text.name.as_str(), &why);
    }
    let timeout = text.timeout.as_deref().map_or(Some(KMS_TIMEOUT), duration);
    if timeout.is_none_or(|timeout| timeout.is_zero()) {
        let shown = text.timeout.as_deref().unwrap_or_default();
        errors.invalid(&path.child("timeout"), shown, "timeout should be a positive value");
    }
    let endpoint = path.child("endpoint");
    if text.endpoint.is_empty() {
        errors.invalid(&endpoint, "", "endpoint is a mandatory field for a kms");
    } else if !text.endpoint.starts_with("unix://") {
        let scheme = text.endpoint.split_once("://").map_or("", |(scheme, _)| scheme);
        let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
        errors.invalid(&endpoint, text.endpoint.as_str(), &why);
    }
    match text.api_version.as_deref() {
        Some("v2") => {}
        // Upstream has it still, behind a gate that is off by default.
        Some("v1") | None => errors.invalid(
            &path.child("apiVersion"),
            "v1",
            "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead",
        ),
        Some(other) => {
            let why =
                format!("unsupported apiVersion {other} for KMS provider, only v1 and v2 are supported");
            errors.invalid(&path.child("apiVersion"), other, &why);
        }
    }
    if let Some(size) = text.cachesize.filter(|_| text.api_version.as_deref() == Some("v2")) {
        errors.invalid(&path.child("cachesize"), size, "cachesize is not supported in v2");
    }
    let socket = text.endpoint.strip_prefix("unix://")?;
    (errors.len() == before).then(|| KmsConfig {
        name: text.name.clone(),
        // As upstream: `@name` is a socket in the abstract namespace.
        socket: socket.into(),
        timeout: timeout.unwrap_or(KMS_TIMEOUT),
    })
}

/// Go's `3s`, `500ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}
