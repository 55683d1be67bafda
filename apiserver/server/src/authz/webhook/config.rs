//! Which authorizers are asked, in their order: from upstream's `AuthorizationConfiguration` file. Pure but for `read`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_apiserver_machinery::scalar::parse_duration;

use super::conditions::Conditions;
use super::config_file::{AuthorizerText, File, WebhookText};
use crate::outbound::{Remote, parse_kubeconfig};

/// The most conditions of one webhook.
const CONDITIONS_MAX: usize = 64;
/// The most time that a webhook may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How long an answer is remembered where nothing says so.
const AUTHORIZED_TTL: &str = "5m";
const UNAUTHORIZED_TTL: &str = "30s";
/// The types that upstream knows; ABAC is not built.
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

/// The versions of a SubjectAccessReview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `authorization.k8s.io/v1`.
    V1,
    /// `authorization.k8s.io/v1beta1`.
    V1Beta1,
}

impl ReviewVersion {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}

/// A webhook that is asked.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Its name in metrics.
    pub name: String,
    /// Where it is.
    pub remote: Remote,
    /// The version of the reviews that it is sent.
    pub version: ReviewVersion,
    /// How long a yes is remembered; not at all where it is none.
    pub authorized_ttl: Option<Duration>,
    /// How long anything else is remembered; not at all where it is none.
    pub unauthorized_ttl: Option<Duration>,
    /// The time that one call may take.
    pub timeout: Duration,
    /// Whether a failure is a refusal; it is no opinion otherwise.
    pub failure_denies: bool,
    /// What it is asked about.
    pub conditions: Conditions,
}

/// One authorizer.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Allows everything.
    AlwaysAllow,
    /// Refuses everything.
    AlwaysDeny,
    /// What node agents may.
    Node,
    /// Roles and their bindings.
    Rbac,
    /// Another server.
    Webhook(Box<WebhookConfig>),
}

/// The authorizers, in their order.
#[derive(Debug, Clone)]
pub struct AuthorizationConfig {
    /// The order; not empty.
    pub modes: Vec<Mode>,
    /// The file that says so, which is read again when it changes.
    pub file: Option<ConfigFile>,
}

/// A configuration's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it said when it was read.
    pub text: String,
}

impl Default for AuthorizationConfig {
    fn default() -> Self {
        Self { modes: vec![Mode::Node, Mode::Rbac], file: None }
    }
}

/// A file that is no configuration; the texts are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not YAML of the right shape.
    #[error("it is not an AuthorizationConfiguration: {0}")]
    Decode(#[from] serde_yaml_ng::Error),
    /// Another kind or version.
    #[error("{0}")]
    Version(String),
    /// What is wrong with it.
    #[error("{0}")]
    Invalid(String),
}

impl AuthorizationConfig {
    /// Reads a file's text. `read` reads the files that it names.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Self, ConfigError> {
        let file: File = serde_yaml_ng::from_str(text)?;
        let versions = ["v1", "v1beta1", "v1alpha1"].map(|one| format!("apiserver.config.k8s.io/{one}"));
        if file.kind != "AuthorizationConfiguration" || !versions.contains(&file.api_version) {
            return Err(ConfigError::Version(format!(
                "no kind {:?} is registered for version {:?}: use AuthorizationConfiguration of {}",
                file.kind, file.api_version, versions[0]
            )));
        }
        let mut faults = Faults::default();
        if file.authorizers.is_empty() {
            faults.add("authorizers", "Required value: at least one authorization mode must be defined");
        }
        let mut seen = Seen::default();
        let mut modes = Vec::new();
        for (at, one) in file.authorizers.iter().enumerate() {
            let path = format!("authorizers[{at}]");
            if seen.takes(&path, one, &mut faults) {
                modes.extend(mode(&path, one, read, &mut faults));
            }
        }
        faults.into_result().map(|()| Self { modes, file: None })
    }

    /// The types other than webhooks, by upstream's names: a file that is read again has to have them too.
    pub(in crate::authz) fn fixed_types(&self) -> Vec<&'static str> {
        let types = self.modes.iter().filter_map(|mode| match mode {
            Mode::AlwaysAllow => Some("AlwaysAllow"),
            Mode::AlwaysDeny => Some("AlwaysDeny"),
            Mode::Node => Some("Node"),
            Mode::Rbac => Some("RBAC"),
            Mode::Webhook(_) => None,
        });
        types.collect()
    }
}

/// Faults with their paths, told together as upstream does.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, path: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("{path}: {what}"));
    }

    fn into_result(self) -> Result<(), ConfigError> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(ConfigError::Invalid(one.clone())),
            many => Err(ConfigError::Invalid(format!("[{}]", many.join(", ")))),
        }
    }
}

/// The types and names so far.
#[derive(Default)]
struct Seen {
    types: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Seen {
    /// Whether the type can be looked at further.
    fn takes(&mut self, path: &str, one: &AuthorizerText, faults: &mut Faults) -> bool {
        let kind = one.mode.as_str();
        if kind.is_empty() {
            faults.add(format_args!("{path}.type"), "Required value");
            return false;
        }
        if !TYPES.contains(&kind) {
            let known = TYPES.map(|one| format!("{one:?}")).join(", ");
            faults.add(
                format_args!("{path}.type"),
                format_args!("Unsupported value: {kind:?}: supported values: {known}"),
            );
            return false;
        }
        if !self.types.insert(kind.to_owned()) && kind != "Webhook" {
            faults.add(format_args!("{path}.type"), format_args!("Duplicate value: {kind:?}"));
            return false;
        }
        let name = one.name.as_str();
        if name.is_empty() {
            faults.add(format_args!("{path}.name"), "Required value");
        } else if !self.names.insert(name.to_owned()) {
            faults.add(format_args!("{path}.name"), format_args!("Duplicate value: {name:?}"));
        } else if !is_subdomain(name) {
            faults.add(
                format_args!("{path}.name"),
                format_args!("Invalid value: {name:?}: authorizer name is invalid: it must be a lowercase RFC 1123 subdomain"),
            );
        }
        true
    }
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn mode(
    path: &str,
    one: &AuthorizerText,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    faults: &mut Faults,
) -> Option<Mode> {
    let plain = match one.mode.as_str() {
        "AlwaysAllow" => Mode::AlwaysAllow,
        "AlwaysDeny" => Mode::AlwaysDeny,
        "Node" => Mode::Node,
        "RBAC" => Mode::Rbac,
        _ => {
            let Some(text) = &one.webhook else {
                faults.add(format_args!("{path}.webhook"), "Required value: required when type=Webhook");
                return None;
            };
            return webhook(path, &one.name, text, read, faults).map(|found| Mode::Webhook(Box::new(found)));
        }
    };
    if one.webhook.is_some() {
        faults.add(
            format_args!("{path}.webhook"),
            "Invalid value: \"non-null\": may only be specified when type=Webhook",
        );
    }
    Some(plain)
}

fn webhook(
    path: &str,
    name: &str,
    text: &WebhookText,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    faults: &mut Faults,
) -> Option<WebhookConfig> {
    let timeout = timeout(path, &text.timeout, faults);
    let mut ttl = |field: &str, stated: &str, usual: &str, caches: Option<bool>| {
        let stated = if stated.is_empty() { usual } else { stated };
        match parse_duration(stated) {
            Ok(nanos) if nanos > 0 => {
                caches.unwrap_or(true).then(|| Duration::from_nanos(nanos.unsigned_abs()))
            }
            _ => {
                faults.add(
                    format_args!("{path}.{field}"),
                    format_args!("Invalid value: {stated:?}: must be > 0s"),
                );
                None
            }
        }
    };
    let authorized_ttl =
        ttl("authorizedTTL", &text.authorized_ttl, AUTHORIZED_TTL, text.cache_authorized_requests);
    let unauthorized_ttl =
        ttl("unauthorizedTTL", &text.unauthorized_ttl, UNAUTHORIZED_TTL, text.cache_unauthorized_requests);
    let version = chosen(
        faults,
        &format!("{path}.subjectAccessReviewVersion"),
        &text.subject_access_review_version,
        &[("v1", ReviewVersion::V1), ("v1beta1", ReviewVersion::V1Beta1)],
    );
    let failure_denies = chosen(
        faults,
        &format!("{path}.failurePolicy"),
        &text.failure_policy,
        &[("NoOpinion", false), ("Deny", true)],
    );
    let conditions = conditions(path, text, faults);
    let remote = remote(path, text, read, faults);
    Some(WebhookConfig {
        name: name.to_owned(),
        remote: remote?,
        version: version?,
        authorized_ttl,
        unauthorized_ttl,
        timeout: timeout?,
        failure_denies: failure_denies?,
        conditions: conditions?,
    })
}

fn timeout(path: &str, text: &str, faults: &mut Faults) -> Option<Duration> {
    if text.is_empty() {
        faults.add(format_args!("{path}.timeout"), "Required value");
        return None;
    }
    let parsed = parse_duration(text).ok().and_then(|nanos| u64::try_from(nanos).ok());
    let found = parsed.map(Duration::from_nanos).filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
    if found.is_none() {
        faults.add(
            format_args!("{path}.timeout"),
            format_args!("Invalid value: {text:?}: must be > 0s and <= 30s"),
        );
    }
    found
}

/// What a text stands for.
fn chosen<T: Copy>(faults: &mut Faults, path: &str, text: &str, known: &[(&str, T)]) -> Option<T> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning);
    if text.is_empty() {
        faults.add(path, "Required value");
    } else if found.is_none() {
        let names = known.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        faults.add(path, format_args!("Unsupported value: {text:?}: supported values: {names}"));
    }
    found
}

fn conditions(path: &str, text: &WebhookText, faults: &mut Faults) -> Option<Conditions> {
    let stated = &text.match_conditions;
    let version = text.match_condition_subject_access_review_version.as_str();
    let at = format!("{path}.matchConditionSubjectAccessReviewVersion");
    if version.is_empty() && !stated.is_empty() {
        faults.add(at, "Required value: required if match conditions are specified");
    } else if !matches!(version, "" | "v1") {
        faults.add(at, format_args!("Unsupported value: {version:?}: supported values: \"v1\""));
    }
    if stated.len() > CONDITIONS_MAX {
        faults.add(
            format_args!("{path}.matchConditions"),
            format_args!("Too many: {}: must have at most {CONDITIONS_MAX} items", stated.len()),
        );
        return None;
    }
    let texts: Vec<String> = stated.iter().map(|one| one.expression.clone()).collect();
    let mut seen = BTreeSet::new();
    for (at, text) in texts.iter().enumerate() {
        let path = format!("{path}.matchConditions[{at}].expression");
        if text.trim().is_empty() {
            faults.add(path, "Required value");
            return None;
        }
        if !seen.insert(text) {
            faults.add(path, format_args!("Duplicate value: {text:?}"));
            return None;
        }
    }
    Conditions::compile(&texts)
        .map_err(|(at, why)| {
            let text = texts.get(at).map(String::as_str).unwrap_or_default();
            let path = format!("{path}.matchConditions[{at}].expression");
            faults.add(path, format_args!("Invalid value: {text:?}: {why}"));
        })
        .ok()
}

fn remote(
    path: &str,
    text: &WebhookText,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    faults: &mut Faults,
) -> Option<Remote> {
    let path = format!("{path}.connectionInfo");
    let way = text.connection_info.way.as_str();
    // Upstream refuses InClusterConfig for kube-apiserver: the server would ask itself.
    chosen(faults, &format!("{path}.type"), way, &[("KubeConfigFile", ())])?;
    let file = text.connection_info.kube_config_file.as_deref().unwrap_or_default();
    let path = format!("{path}.kubeConfigFile");
    if file.is_empty() {
        faults.add(path, "Required value");
        return None;
    }
    if !Path::new(file).is_absolute() {
        faults.add(path, format_args!("Invalid value: {file:?}: must be an absolute path"));
        return None;
    }
    let found = read(Path::new(file)).map_err(|error| format!("error loading file: {error}"));
    let found = found.and_then(|bytes| {
        // Files that it names are found from its folder.
        let folder = Path::new(file).parent().unwrap_or_else(|| Path::new("/"));
        let read = |inner: &Path| read(&folder.join(inner));
        parse_kubeconfig(&String::from_utf8_lossy(&bytes), &read).map_err(|error| error.to_string())
    });
    found.map_err(|why| faults.add(path, format_args!("Invalid value: {file:?}: {why}"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "clusters: [{name: a, cluster: {server: 'https://authz.example.com/ask'}}]\n\
         contexts: [{name: c, context: {cluster: a}}]\ncurrent-context: c\n";

    fn parse(text: &str) -> Result<AuthorizationConfig, String> {
        let read = |path: &Path| match path.to_str() {
            Some("/etc/authz.kubeconfig") => Ok(KUBECONFIG.as_bytes().to_vec()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        AuthorizationConfig::parse(text, &read).map_err(|error| error.to_string())
    }

    fn file(authorizers: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{authorizers}"
        )
    }

    const WEBHOOK: &str = r#"
- type: Webhook
  name: other
  webhook:
    authorizedTTL: 1m
    cacheUnauthorizedRequests: false
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/authz.kubeconfig}
    matchConditions:
    - expression: "!('system:nodes' in request.groups)"
"#;

    #[test]
    fn a_file_says_who_is_asked_in_which_order() {
        let config =
            parse(&file(&format!("- {{type: Node, name: node}}{WEBHOOK}- {{type: RBAC, name: rbac}}\n")))
                .unwrap();
        let [Mode::Node, Mode::Webhook(webhook), Mode::Rbac] = config.modes.as_slice() else {
            panic!("{config:?}")
        };
        assert_eq!(webhook.remote.url, "https://authz.example.com/ask");
        assert_eq!((webhook.authorized_ttl, webhook.unauthorized_ttl), (Some(Duration::from_secs(60)), None));
        assert!(webhook.failure_denies);
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let wrong = [
            ("- {name: x}", "authorizers[0].type: Required value"),
            (
                "- {type: ABAC, name: x}",
                "authorizers[0].type: Unsupported value: \"ABAC\": supported values: \"AlwaysAllow\", \
                 \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
            ),
            (
                "- {type: RBAC, name: x}\n- {type: RBAC, name: y}",
                "authorizers[1].type: Duplicate value: \"RBAC\"",
            ),
            (
                "- {type: Webhook, name: x}",
                "authorizers[0].webhook: Required value: required when type=Webhook",
            ),
        ];
        for (text, expected) in wrong {
            assert_eq!(parse(&file(text)).unwrap_err(), expected, "{text}");
        }
        let cases = [
            ("timeout: 3s", "timeout: 31s", "timeout: Invalid value: \"31s\": must be > 0s and <= 30s"),
            (
                "failurePolicy: Deny",
                "failurePolicy: Open",
                "Unsupported value: \"Open\": supported values: \"NoOpinion\", \"Deny\"",
            ),
            ("request.groups", "request.group", "undefined field 'group'"),
            ("/etc/authz", "etc/authz", "must be an absolute path"),
            ("/etc/authz", "/etc/other", "error loading file: entity not found"),
        ];
        for (from, to, expected) in cases {
            let why = parse(&file(&WEBHOOK.replace(from, to))).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(
            parse("apiVersion: v1\nkind: Pod\n").unwrap_err().starts_with("no kind \"Pod\" is registered")
        );
    }
}
