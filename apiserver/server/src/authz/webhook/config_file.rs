//! Upstream's `AuthorizationConfiguration` (`apiserver.config.k8s.io/v1`, `v1beta1`, `v1alpha1`) as it is written in a file.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) authorizers: Vec<AuthorizerText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthorizerText {
    #[serde(rename = "type")]
    pub(super) mode: String,
    pub(super) name: String,
    pub(super) webhook: Option<WebhookText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct WebhookText {
    #[serde(rename = "authorizedTTL")]
    pub(super) authorized_ttl: String,
    pub(super) cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    pub(super) unauthorized_ttl: String,
    pub(super) cache_unauthorized_requests: Option<bool>,
    pub(super) timeout: String,
    pub(super) subject_access_review_version: String,
    pub(super) match_condition_subject_access_review_version: String,
    pub(super) failure_policy: String,
    pub(super) connection_info: ConnectionText,
    pub(super) match_conditions: Vec<ConditionText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ConnectionText {
    #[serde(rename = "type")]
    pub(super) way: String,
    pub(super) kube_config_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ConditionText {
    pub(super) expression: String,
}
