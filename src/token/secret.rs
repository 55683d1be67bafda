//! The Secret behind a token, as upstream's bootstrap tokens have it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::form::{JoinToken, pin_of};

pub(super) const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";
const GROUP_PREFIX: &str = "system:bootstrappers:mainstay:";
/// What tokens live when nothing else is said.
pub(super) const LIFETIME: Duration = Duration::from_secs(86_400);
/// A token that a server prints must be good for at least so long.
const PRINTED_MIN: Duration = Duration::from_secs(3600);
/// A token for a server that joins again, which takes seconds, ends after this.
const REJOINS_WITHIN: Duration = Duration::from_secs(600);
const PRINTED: &str = "printed when a server started";

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It makes a machine a node.
    Agent,
    /// It makes a machine a server, which holds every key of the cluster.
    Server,
}

impl Class {
    /// Its name, which ends the name of its group.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
        }
    }

    fn group(self) -> String {
        format!("{GROUP_PREFIX}{}", self.name())
    }
}

/// One token as the cluster knows it.
pub(super) struct Known {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) class: Option<Class>,
    pub(super) expires: Option<OffsetDateTime>,
    pub(super) description: String,
}

/// Makes a token. `lifetime` none means that it never ends.
pub(super) async fn create(
    client: &Client,
    ca_pem: &str,
    class: Class,
    lifetime: Option<Duration>,
    description: &str,
    now: OffsetDateTime,
) -> anyhow::Result<JoinToken> {
    let token = JoinToken::generate(ca_pem)?;
    let mut data = BTreeMap::from([
        ("token-id", token.id.clone()),
        ("token-secret", token.secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("auth-extra-groups", class.group()),
        ("description", description.to_owned()),
    ]);
    if let Some(lifetime) = lifetime {
        let ends = (now + lifetime).replace_nanosecond(0).context("writing the token's end")?;
        data.insert("expiration", ends.format(&Rfc3339).context("writing the token's end")?);
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(format!("{PREFIX}{}", token.id)),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(
            data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect(),
        ),
        ..Secret::default()
    };
    api(client).create(&PostParams::default(), &secret).await.context("storing the token")?;
    Ok(token)
}

/// Every bootstrap token of the cluster.
pub(super) async fn list(client: &Client) -> anyhow::Result<Vec<Known>> {
    let only = ListParams::default().fields(&format!("type={TYPE}"));
    let found = api(client).list(&only).await.context("listing the tokens")?;
    Ok(found.items.iter().filter_map(known).collect())
}

/// Deletes a token by its id; false where there is none.
pub(super) async fn revoke(client: &Client, id: &str) -> anyhow::Result<bool> {
    match api(client).delete(&format!("{PREFIX}{id}"), &kube::api::DeleteParams::default()).await {
        Ok(_gone) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).context("revoking the token"),
    }
}

/// A token for a server that joins again with the keys that it has.
pub(crate) async fn server_token(
    client: &Client,
    ca_pem: &str,
    name: &str,
    now: OffsetDateTime,
) -> anyhow::Result<JoinToken> {
    let description = format!("server {name} joins again");
    for held in list(client).await? {
        if held.description == description && held.expires.is_some_and(|ends| ends - now > REJOINS_WITHIN / 2)
        {
            return Ok(JoinToken { pin: pin_of(ca_pem)?, id: held.id, secret: held.secret });
        }
    }
    create(client, ca_pem, Class::Server, Some(REJOINS_WITHIN), &description, now).await
}

/// The token of a class that servers print when they start: one that is still good, or a new one.
pub(crate) async fn printed_at_start(
    client: &Client,
    ca_pem: &str,
    class: Class,
    now: OffsetDateTime,
) -> anyhow::Result<JoinToken> {
    for held in list(client).await? {
        let is_good = held.expires.is_some_and(|ends| ends - now > PRINTED_MIN);
        if held.description == PRINTED && held.class == Some(class) && is_good {
            return Ok(JoinToken { pin: pin_of(ca_pem)?, id: held.id, secret: held.secret });
        }
    }
    create(client, ca_pem, class, Some(LIFETIME), PRINTED, now).await
}

fn api(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn known(secret: &Secret) -> Option<Known> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
    let groups = text("auth-extra-groups").unwrap_or_default();
    let has = |class: &Class| groups.split(',').any(|group| group.trim() == class.group());
    Some(Known {
        id: text("token-id")?,
        secret: text("token-secret")?,
        class: [Class::Server, Class::Agent].into_iter().find(has),
        expires: text("expiration").and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()),
        description: text("description").unwrap_or_default(),
    })
}
