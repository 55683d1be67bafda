//! `ServiceAccount` tokens of projected volumes: asked for through the API, bound to the pod, renewed before they end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use mainstay_agents_kit::time::{elapsed, plus};

use super::error::VolumeError;

/// Upstream's default lifetime of a projected token.
const EXPIRATION_SECONDS: i64 = 3600;
/// A token is renewed at the latest this long after it was made.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a request for a token may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What makes one token of a pod different from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    pub audience: String,
    pub expiration_seconds: i64,
}

impl TokenKey {
    /// The token that a projection asks for.
    pub(crate) fn of(source: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: source.audience.clone().unwrap_or_default(),
            expiration_seconds: source.expiration_seconds.unwrap_or(EXPIRATION_SECONDS),
        }
    }
}

/// Every token that the pod's volumes ask for.
pub(crate) fn wanted_tokens(pod: &Pod) -> BTreeSet<TokenKey> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let sources = volumes.filter_map(|v| v.projected.as_ref()).flat_map(|p| p.sources.iter().flatten());
    sources.filter_map(|s| s.service_account_token.as_ref()).map(TokenKey::of).collect()
}

#[derive(Debug, Clone)]
struct Held {
    token: String,
    renew_at: Timestamp,
}

/// One pod's tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    held: BTreeMap<TokenKey, Held>,
}

impl Tokens {
    /// When the next token must be renewed.
    pub(crate) fn renew_at(&self) -> Option<Timestamp> {
        self.held.values().map(|h| h.renew_at).min()
    }

    /// The tokens themselves.
    pub(crate) fn values(&self) -> BTreeMap<TokenKey, String> {
        self.held.iter().map(|(key, held)| (key.clone(), held.token.clone())).collect()
    }

    /// Fetches what is missing or due. A due token whose renewal fails stays in use.
    pub(crate) async fn ensure(
        &mut self,
        client: &kube::Client,
        pod: &Pod,
        now: Timestamp,
    ) -> Result<(), VolumeError> {
        for key in wanted_tokens(pod) {
            let due = self.held.get(&key).is_none_or(|held| held.renew_at <= now);
            if due {
                match request(client, pod, &key, now).await {
                    Ok(held) => drop(self.held.insert(key, held)),
                    Err(error) => match self.held.get_mut(&key) {
                        // Tried again in a minute; the old one is valid for a fifth of its life more.
                        Some(held) => {
                            tracing::warn!(%error, "renewing a token failed");
                            held.renew_at = plus(now, Duration::from_secs(60));
                        }
                        None => return Err(error),
                    },
                }
            }
        }
        Ok(())
    }
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    key: &TokenKey,
    now: Timestamp,
) -> Result<Held, VolumeError> {
    let meta = &pod.metadata;
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).filter(|n| !n.is_empty());
    let body = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            }),
            expiration_seconds: Some(key.expiration_seconds),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> =
        Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or("default"));
    let params = PostParams::default();
    let call = api.create_token_request(account.unwrap_or("default"), &params, &body);
    let answer = match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(|e| VolumeError::Token(e.to_string()))?,
        Err(_elapsed) => return Err(VolumeError::Token("the API did not answer in 30 s".to_owned())),
    };
    let status =
        answer.status.ok_or_else(|| VolumeError::Token("the API answered without a token".to_owned()))?;
    let (Some(token), Some(ends)) = (status.token, status.expiration_timestamp) else {
        return Err(VolumeError::Token("the API answered without a token".to_owned()));
    };
    let life = elapsed(now, ends.0);
    Ok(Held { token, renew_at: plus(now, (life * 4 / 5).min(AGE_MAX)) })
}
