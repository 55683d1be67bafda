//! Acting as somebody else: the Impersonate-* headers and the rights they ask for.
//!
//! Pure: [`parse`] reads the headers, [`Impersonation::checks`] names every right that the caller needs, and
//! [`Impersonation::into_user`] makes the user. The caller of this module asks the authorizer in between.

use std::collections::BTreeMap;

use http::HeaderMap;
use mainstay_proto_api::Status;

use smol_str::SmolStr;
use tracing::debug;

use super::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account_groups, split_service_account};
use crate::authz::forbidden;
use crate::types::{Attributes, Authorize, Identity, UserInfo};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const AUTHENTICATION: &str = "authentication.k8s.io";
const EXTRA_PREFIX: &str = "impersonate-extra-";
/// How many values of all kinds one request may impersonate.
const VALUES_MAX: usize = 1024;

/// Headers that do not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationError {
    /// Groups, uid or extras, but nobody to be.
    #[error("requested {0} without impersonating a user")]
    NoUser(String),
    /// More values than one request may have.
    #[error("requested to impersonate more than {VALUES_MAX} values")]
    TooMany,
    /// A value that is not text.
    #[error("the value of header {0} is not valid text")]
    NotText(String),
}

/// Whom a request wants to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonation {
    user: SmolStr,
    uid: SmolStr,
    groups: Vec<SmolStr>,
    extra: BTreeMap<SmolStr, Vec<SmolStr>>,
}

/// Reads the Impersonate-* headers; none when the request has none.
pub fn parse(headers: &HeaderMap) -> Result<Option<Impersonation>, ImpersonationError> {
    let mut wanted = Impersonation::default();
    let mut count = 0;
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("impersonate-") {
            continue;
        }
        let text = value.to_str().map_err(|_text| ImpersonationError::NotText(name.to_owned()))?;
        let text = SmolStr::from(text);
        count += 1;
        if count > VALUES_MAX {
            return Err(ImpersonationError::TooMany);
        }
        match name {
            USER => wanted.user = text,
            UID => wanted.uid = text,
            GROUP => wanted.groups.push(text),
            _ => {
                if let Some(key) = name.strip_prefix(EXTRA_PREFIX) {
                    wanted.extra.entry(unescape(key).into()).or_default().push(text);
                }
            }
        }
    }
    wanted.complete()
}

/// Removes the headers, so that no later step and no backend sees them.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

impl Impersonation {
    fn complete(self) -> Result<Option<Self>, ImpersonationError> {
        if !self.user.is_empty() {
            return Ok(Some(self));
        }
        if self.groups.is_empty() && self.extra.is_empty() && self.uid.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        parts.extend(self.groups.iter().map(|group| format!("group {group:?}")));
        parts.extend(self.extra.keys().map(|key| format!("extra {key:?}")));
        if !self.uid.is_empty() {
            parts.push(format!("uid {:?}", self.uid));
        }
        Err(ImpersonationError::NoUser(parts.join(", ")))
    }

    /// The rights that the caller must hold, each with verb `impersonate`.
    pub fn checks(&self) -> Vec<Attributes> {
        let ask = |group: &str, resource: &str, name: &str| Attributes {
            verb: "impersonate".into(),
            api_group: group.into(),
            api_version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        };
        let mut checks = Vec::with_capacity(1 + self.groups.len() + self.extra.len());
        match split_service_account(&self.user) {
            Some((namespace, name)) => {
                checks.push(Attributes { namespace: namespace.into(), ..ask("", "serviceaccounts", name) });
            }
            None => checks.push(ask("", "users", &self.user)),
        }
        checks.extend(self.groups.iter().map(|group| ask("", "groups", group)));
        if !self.uid.is_empty() {
            checks.push(ask(AUTHENTICATION, "uids", &self.uid));
        }
        for (key, values) in &self.extra {
            checks.extend(values.iter().map(|value| Attributes {
                subresource: key.clone(),
                ..ask(AUTHENTICATION, "userextras", value)
            }));
        }
        checks
    }

    /// The user to act as, once every check holds.
    pub fn into_user(self) -> UserInfo {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = split_service_account(&self.user)
        {
            groups = service_account_groups(namespace);
        }
        let marker = if self.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            groups.push(marker.into());
        }
        UserInfo { name: self.user, uid: self.uid, groups, extra: self.extra }
    }
}

/// The identity that a request acts with: the caller's own, or another that the headers name and the caller may
/// take on. The headers stay; [`strip`] removes them.
///
/// # Errors
/// 400 for headers that do not add up, 403 for a value that the caller may not take on.
pub async fn act_as(
    headers: &HeaderMap,
    caller: &Identity,
    authorizer: &dyn Authorize,
) -> Result<Identity, Status> {
    let Some(wanted) = parse(headers).map_err(|error| Status::bad_request(error.to_string()))? else {
        return Ok(caller.clone());
    };
    for check in wanted.checks() {
        let decision = authorizer.authorize(&caller.user, &check).await;
        if !decision.is_allowed() {
            let why = forbidden::message(&caller.user, &check, decision.reason());
            return Err(Status::forbidden(&check.api_group, &check.resource, &check.name, why));
        }
    }
    let user = wanted.into_user();
    debug!(user = %user.name, impersonator = %caller.user.name, "impersonated");
    Ok(Identity { user, impersonator: Some(caller.user.clone()), audiences: caller.audiences.clone() })
}

/// Undoes percent-encoding in an extra's key, which header names cannot hold as it is, and lowers its case.
/// A key with a broken escape is kept as it came.
pub(super) fn unescape(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(at + 1), digit(at + 2)) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return key.to_owned(),
        }
        at += 3;
    }
    String::from_utf8(out).map_or_else(|_| key.to_owned(), |text| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Decision, Verdict};
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_uid_group_or_extra_alone_is_refused() {
        for alone in [
            ("Impersonate-Uid", "1"),
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Extra-Scopes", "a"),
        ] {
            assert!(parse(&headers(&[alone])).is_err(), "{}", alone.0);
        }
        assert_eq!(parse(&headers(&[("accept", "*/*")])), Ok(None));
    }

    #[test]
    fn every_value_asks_for_its_own_right() {
        let wanted = parse(&headers(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Acme.com%2fProject", "p"),
        ]))
        .unwrap()
        .unwrap();
        let asked: Vec<_> = wanted
            .checks()
            .iter()
            .map(|check| {
                format!("{}/{}/{}:{}", check.api_group, check.resource, check.subresource, check.name)
            })
            .collect();
        assert_eq!(
            asked,
            [
                "/users/:jane",
                "/groups/:system:masters",
                "authentication.k8s.io/uids/:7",
                "authentication.k8s.io/userextras/acme.com/project:p"
            ]
        );
    }

    #[tokio::test]
    async fn acting_as_somebody_needs_the_right() {
        struct Only(&'static str);
        impl Authorize for Only {
            fn ask<'a>(&'a self, _user: &'a UserInfo, attributes: &'a Attributes) -> Verdict<'a> {
                Verdict::Now(if attributes.resource == self.0 {
                    Decision::Allow(String::new())
                } else {
                    Decision::NoOpinion(String::new())
                })
            }
        }
        let caller = Identity { user: UserInfo::new("joe", ["staff"]), ..Identity::default() };
        let both = headers(&[("Impersonate-User", "jane"), ("Impersonate-Group", "system:masters")]);
        let refused = act_as(&both, &caller, &Only("users")).await.unwrap_err();
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message,
            r#"groups "system:masters" is forbidden: User "joe" cannot impersonate resource "groups" in API group "" at the cluster scope"#
        );
        let alone = headers(&[("Impersonate-Uid", "1")]);
        assert_eq!(act_as(&alone, &caller, &Only("users")).await.unwrap_err().code, 400);
        let one = headers(&[("Impersonate-User", "jane")]);
        let identity = act_as(&one, &caller, &Only("users")).await.unwrap();
        assert_eq!(identity.user.name, "jane");
        assert_eq!(identity.impersonator.unwrap().name, "joe");
    }

    #[test]
    fn an_impersonated_service_account_gets_its_groups() {
        let user = parse(&headers(&[("Impersonate-User", "system:serviceaccount:ns:sa")])).unwrap().unwrap();
        assert_eq!(user.checks()[0].resource, "serviceaccounts");
        assert_eq!(
            user.into_user().groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
    }

    #[test]
    fn impersonated_anonymous_stays_unauthenticated() {
        let user = parse(&headers(&[("Impersonate-User", "system:anonymous")])).unwrap().unwrap();
        assert_eq!(user.into_user().groups, ["system:unauthenticated"]);
    }
}
