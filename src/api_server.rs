//! The flags of the API server, named as kube-apiserver's, and what they say once their files are read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mainstay_apiserver_server::audit::{AuditConfig, BatchBounds, LogFile, Policy};
use mainstay_apiserver_server::authn::front_proxy::FrontProxyConfig;
use mainstay_apiserver_server::authn::jwt::AuthenticationConfig;
use mainstay_apiserver_server::authn::static_tokens::StaticTokens;
use mainstay_apiserver_server::authz::webhook::{
    AuthorizationConfig, Conditions, ConfigFile, Mode, ReviewVersion, WebhookConfig,
};
use mainstay_apiserver_server::config::AuthenticationSettings;
use mainstay_apiserver_server::encryption::EncryptionConfig;
use mainstay_apiserver_server::outbound::{Remote, parse_kubeconfig};

use crate::refusal::refuse;
use crate::traces::{self, TracesConfig};

/// Upstream's size of an audit log for `--audit-log-maxsize 0`, in MiB.
const AUDIT_LOG_MIB: u64 = 100;
/// Upstream's bounds of an event and of a batch of events that are cut, in bytes.
const AUDIT_EVENT_BYTES: usize = 100 * 1024;
const AUDIT_BATCH_BYTES: usize = 10 * 1024 * 1024;

/// What `--authorization-config` says in its file.
const AUTHORIZATION_FLAGS: [&str; 5] = [
    "authorization_mode",
    "authorization_webhook_config_file",
    "authorization_webhook_version",
    "authorization_webhook_cache_authorized_ttl",
    "authorization_webhook_cache_unauthorized_ttl",
];
/// The time that the authorization webhook of flags has, as upstream.
const AUTHORIZATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Flags of the API server.
#[derive(Debug, Args)]
#[command(next_help_heading = "API server")]
pub(crate) struct ApiServerFlags {
    /// File that says which resources are encrypted at rest and how (apiserver.config.k8s.io/v1 EncryptionConfiguration)
    /// [default: DIR/encryption.yaml, made at the first start: Secrets, with a key of their own].
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Seconds that the API server serves on after SIGTERM while /readyz says that it is not ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) shutdown_delay_duration: u64,
    /// Authorizers in the order in which they are asked: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny.
    #[arg(long, value_name = "MODES", value_delimiter = ',', default_value = "Node,RBAC")]
    #[arg(value_parser = ["Node", "RBAC", "Webhook", "AlwaysAllow", "AlwaysDeny"])]
    pub(crate) authorization_mode: Vec<String>,
    /// File that says which authorizers are asked (apiserver.config.k8s.io/v1 AuthorizationConfiguration), in place of
    /// --authorization-mode; read again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = AUTHORIZATION_FLAGS)]
    pub(crate) authorization_config: Option<PathBuf>,
    /// Kubeconfig file of the webhook that authorizes; for mode Webhook.
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_webhook_config_file: Option<PathBuf>,
    /// Version of the SubjectAccessReviews that the webhook is sent.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub(crate) authorization_webhook_version: String,
    /// How long the webhook's yes is remembered.
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = duration)]
    pub(crate) authorization_webhook_cache_authorized_ttl: Duration,
    /// How long anything else that the webhook says is remembered.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) authorization_webhook_cache_unauthorized_ttl: Duration,
    /// File with tokens: token,user,uid[,"group1,group2"] a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// File that says which issuers' tokens are accepted (apiserver.config.k8s.io/v1 AuthenticationConfiguration).
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_config: Option<PathBuf>,
    /// Kubeconfig file of the webhook that knows tokens.
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_token_webhook_config_file: Option<PathBuf>,
    /// Seconds that the webhook's answers are remembered.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) authentication_token_webhook_cache_ttl: u64,
    /// File with the authorities of front proxies, whose headers name users.
    #[arg(long, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies, comma-separated; none means any that the authority signed.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "requestheader_client_ca_file")]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', default_value = "X-Remote-User")]
    pub(crate) requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub(crate) requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', default_value = "X-Remote-Group")]
    pub(crate) requestheader_group_headers: Vec<String>,
    /// Beginnings of headers with more about the user.
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
    /// File with the audit policy (audit.k8s.io/v1); without it nothing is audited.
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// File for audit events, one JSON object a line; - is standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// Days to keep old audit logs; 0 keeps them for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(crate) audit_log_maxage: u32,
    /// Old audit logs to keep; 0 keeps all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) audit_log_maxbackup: usize,
    /// Megabytes after which a new audit log begins; 0 means 100.
    #[arg(long, value_name = "MB", default_value_t = 0)]
    pub(crate) audit_log_maxsize: u64,
    /// Format of audit events.
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = ["json"])]
    pub(crate) audit_log_format: String,
    /// Whether events in the audit log that are too large lose the objects of request and answer.
    #[arg(long)]
    pub(crate) audit_log_truncate_enabled: bool,
    /// Bytes that an event in the audit log may take.
    #[arg(long, value_name = "BYTES", default_value_t = AUDIT_EVENT_BYTES, value_parser = positive)]
    pub(crate) audit_log_truncate_max_event_size: usize,
    /// Whether events for the webhook that are too large lose the objects of request and answer.
    #[arg(long)]
    pub(crate) audit_webhook_truncate_enabled: bool,
    /// Bytes that an event for the webhook may take.
    #[arg(long, value_name = "BYTES", default_value_t = AUDIT_EVENT_BYTES, value_parser = positive)]
    pub(crate) audit_webhook_truncate_max_event_size: usize,
    /// Bytes that a batch of events for the webhook may take.
    #[arg(long, value_name = "BYTES", default_value_t = AUDIT_BATCH_BYTES, value_parser = positive)]
    pub(crate) audit_webhook_truncate_max_batch_size: usize,
    /// Kubeconfig file of the webhook that audit events are sent to, in batches.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_webhook_config_file: Option<PathBuf>,
    /// Audit events that wait for the webhook; more are dropped and counted.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive)]
    pub(crate) audit_webhook_batch_buffer_size: usize,
    /// Audit events in one call of the webhook.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = positive)]
    pub(crate) audit_webhook_batch_max_size: usize,
    /// Seconds that an audit event waits for others.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) audit_webhook_batch_max_wait: u64,
    /// File that says which requests are traced and where to (apiserver.config.k8s.io TracingConfiguration); without it
    /// none are.
    #[arg(long, value_name = "FILE")]
    pub(crate) tracing_config_file: Option<PathBuf>,
}

/// What the flags say.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiServerSettings {
    /// How callers are known.
    pub(crate) authentication: AuthenticationSettings,
    /// Who is asked what callers may do.
    pub(crate) authorization: AuthorizationConfig,
    /// What is encrypted at rest, where a flag says so.
    pub(crate) encryption: Option<EncryptionConfig>,
    /// What is audited.
    pub(crate) audit: Option<AuditConfig>,
    /// What is traced.
    pub(crate) traces: Option<TracesConfig>,
    /// How long it serves on, not ready, after it was told to end.
    pub(crate) shutdown_delay: Duration,
}

impl ApiServerFlags {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// A refusal that says which file is wrong, and why.
    pub(crate) fn settings(&self) -> anyhow::Result<ApiServerSettings> {
        let encryption = self.encryption_provider_config.as_ref();
        let encryption =
            encryption.map(|file| encryption_config("--encryption-provider-config", file)).transpose()?;
        let shutdown_delay = Duration::from_secs(self.shutdown_delay_duration);
        let (authentication, audit) = (self.authentication()?, self.audit()?);
        let authorization = self.authorization()?;
        let traces = self.tracing_config_file.as_deref().map(traces::read).transpose()?;
        Ok(ApiServerSettings { authentication, authorization, encryption, audit, traces, shutdown_delay })
    }

    fn authorization(&self) -> anyhow::Result<AuthorizationConfig> {
        if let Some(file) = &self.authorization_config {
            let text = read("--authorization-config", file)?;
            let config = AuthorizationConfig::parse(&text, &|path| fs::read(path))
                .map_err(|error| refuse(format!("--authorization-config: {}: {error}", file.display())))?;
            let file = Some(ConfigFile { path: file.clone(), text });
            return Ok(AuthorizationConfig { file, ..config });
        }
        let names = &self.authorization_mode;
        if let Some(twice) =
            names.iter().enumerate().find(|(at, one)| names.iter().take(*at).any(|other| other == *one))
        {
            return Err(refuse(format!("--authorization-mode: {:?} is given twice", twice.1)));
        }
        let asks_webhook = names.iter().any(|name| name == "Webhook");
        let webhook = match &self.authorization_webhook_config_file {
            Some(file) if asks_webhook => Some(remote("--authorization-webhook-config-file", file)?),
            None if !asks_webhook => None,
            None => {
                return Err(refuse("--authorization-mode Webhook needs --authorization-webhook-config-file"));
            }
            Some(_) => {
                return Err(refuse(
                    "--authorization-webhook-config-file needs Webhook in --authorization-mode",
                ));
            }
        };
        let is_v1 = self.authorization_webhook_version == "v1";
        let webhook = webhook.map(|remote| WebhookConfig {
            name: "default".to_owned(),
            remote,
            version: if is_v1 { ReviewVersion::V1 } else { ReviewVersion::V1Beta1 },
            authorized_ttl: Some(self.authorization_webhook_cache_authorized_ttl),
            unauthorized_ttl: Some(self.authorization_webhook_cache_unauthorized_ttl),
            timeout: AUTHORIZATION_TIMEOUT,
            failure_denies: false,
            conditions: Conditions::default(),
        });
        let mode = |name: &String| match (name.as_str(), &webhook) {
            ("Node", _) => Some(Mode::Node),
            ("RBAC", _) => Some(Mode::Rbac),
            ("AlwaysAllow", _) => Some(Mode::AlwaysAllow),
            ("AlwaysDeny", _) => Some(Mode::AlwaysDeny),
            (_, webhook) => webhook.clone().map(|webhook| Mode::Webhook(Box::new(webhook))),
        };
        Ok(AuthorizationConfig { modes: names.iter().filter_map(mode).collect(), file: None })
    }

    fn authentication(&self) -> anyhow::Result<AuthenticationSettings> {
        let mut settings =
            AuthenticationSettings { bootstrap_tokens: true, ..AuthenticationSettings::default() };
        if let Some(file) = &self.token_auth_file {
            settings.static_tokens = StaticTokens::parse(&read("--token-auth-file", file)?)
                .map_err(|error| refuse(format!("--token-auth-file: {}: {error}", file.display())))?;
        }
        if let Some(file) = &self.authentication_config {
            let own = [crate::assemble::ISSUER.to_owned()];
            settings.configuration =
                AuthenticationConfig::parse(&read("--authentication-config", file)?, &own).map_err(
                    |error| refuse(format!("--authentication-config: {}: {error}", file.display())),
                )?;
        }
        if let Some(file) = &self.authentication_token_webhook_config_file {
            let lifetime = Duration::from_secs(self.authentication_token_webhook_cache_ttl);
            settings.webhook = Some((remote("--authentication-token-webhook-config-file", file)?, lifetime));
        }
        if let Some(file) = &self.requestheader_client_ca_file {
            settings.front_proxy = Some(FrontProxyConfig {
                ca_pem: read("--requestheader-client-ca-file", file)?.into_bytes(),
                allowed_names: self.requestheader_allowed_names.clone(),
                username_headers: lowercase(&self.requestheader_username_headers),
                uid_headers: lowercase(&self.requestheader_uid_headers),
                group_headers: lowercase(&self.requestheader_group_headers),
                extra_prefixes: lowercase(&self.requestheader_extra_headers_prefix),
            });
        }
        Ok(settings)
    }

    fn audit(&self) -> anyhow::Result<Option<AuditConfig>> {
        let Some(file) = &self.audit_policy_file else { return Ok(None) };
        let policy = Policy::parse(&read("--audit-policy-file", file)?).map_err(|error| {
            refuse(format!("loading audit policy file: {error}: from file {}", file.display()))
        })?;
        let log = self.audit_log_path.as_ref().map(|path| LogFile {
            path: path.clone(),
            size_bytes_max: self
                .audit_log_maxsize
                .max(u64::from(self.audit_log_maxsize == 0) * AUDIT_LOG_MIB)
                << 20,
            backups_max: self.audit_log_maxbackup,
            age_days_max: self.audit_log_maxage,
        });
        if let Some(folder) = self.audit_log_path.as_ref().and_then(|path| path.parent())
            && !folder.as_os_str().is_empty()
            && !folder.is_dir()
        {
            return Err(refuse(format!("--audit-log-path: the folder {} does not exist", folder.display())));
        }
        let bounds = BatchBounds {
            buffer_size: self.audit_webhook_batch_buffer_size,
            size_max: self.audit_webhook_batch_max_size,
            wait_max: Duration::from_secs(self.audit_webhook_batch_max_wait),
            bytes_max: self
                .audit_webhook_truncate_enabled
                .then_some(self.audit_webhook_truncate_max_batch_size),
            ..BatchBounds::default()
        };
        let webhook = self.audit_webhook_config_file.as_ref();
        let webhook = webhook.map(|file| remote("--audit-webhook-config-file", file)).transpose()?;
        if log.is_none() && webhook.is_none() {
            return Err(refuse(
                "--audit-policy-file needs a place for events: give --audit-log-path or --audit-webhook-config-file",
            ));
        }
        let (log_max, webhook_max) =
            (self.audit_log_truncate_max_event_size, self.audit_webhook_truncate_max_event_size);
        Ok(Some(AuditConfig {
            policy,
            log,
            log_event_bytes_max: self.audit_log_truncate_enabled.then_some(log_max),
            webhook: webhook.map(|remote| (remote, bounds)),
            webhook_event_bytes_max: self.audit_webhook_truncate_enabled.then_some(webhook_max),
        }))
    }
}

/// What a file with an `EncryptionConfiguration` says.
pub(crate) fn encryption_config(what: &str, file: &Path) -> anyhow::Result<EncryptionConfig> {
    EncryptionConfig::parse(&read(what, file)?)
        .map_err(|error| refuse(format!("{what}: {}: {error}", file.display())))
}

/// Header names as requests hold them.
fn lowercase(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_lowercase()).collect()
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it must be a positive number".to_owned())
}

fn read(flag: &str, file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file)
        .map_err(|error| refuse(format!("{flag}: {} cannot be read: {error}", file.display())))
}

/// A duration as Go writes it: `5m0s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let nanos = mainstay_apiserver_machinery::scalar::parse_duration(text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_negative| "it must not be negative".to_owned())
}

/// The service that a kubeconfig names; files in it are found from its folder.
fn remote(flag: &str, file: &Path) -> anyhow::Result<Remote> {
    let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    parse_kubeconfig(&read(flag, file)?, &|path| fs::read(folder.join(path))).map_err(|error| {
        let error = anyhow::Error::new(error);
        refuse(format!("{flag}: {}: {error:#}", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Command};
    use clap::Parser;

    fn settings(extra: &[&str]) -> anyhow::Result<ApiServerSettings> {
        let words = ["mainstay", "up"].iter().chain(extra);
        match Arguments::try_parse_from(words)?.command {
            Command::Up(flags) => flags.api_server.settings(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_audit_policy_that_is_wrong_is_refused_with_its_field() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        let path = file.to_str().unwrap();
        let flags = ["--audit-policy-file", path, "--audit-log-path", "-"];
        fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: All\n").unwrap();
        let error = settings(&flags).unwrap_err().to_string();
        assert!(error.contains("rules[0].level: Unsupported value: \"All\""), "{error}");
        fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n").unwrap();
        assert_eq!(settings(&flags).unwrap().audit.unwrap().log.unwrap().size_bytes_max, 100 << 20);
        assert!(
            settings(&["--audit-policy-file", path]).unwrap_err().to_string().contains("--audit-log-path")
        );
        assert!(settings(&[]).unwrap().audit.is_none());
    }
}
