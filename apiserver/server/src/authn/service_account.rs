//! Whether a token's service account and the objects it is bound to still exist.

use mainstay_apiserver_kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use time::{Duration, OffsetDateTime};

use super::token::{Claims, ObjectRef};
use super::user::{EXTRA_CREDENTIAL_ID, EXTRA_NODE_NAME, EXTRA_NODE_UID, EXTRA_POD_NAME, EXTRA_POD_UID};
use crate::registry::Registry;
use crate::types::UserInfo;

/// How long a token outlives the deletion time of what it is bound to, as upstream's leeway.
const DELETED_LEEWAY: Duration = Duration::seconds(60);

/// What a token can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundKind {
    /// The service account itself.
    ServiceAccount,
    /// A pod that runs as the service account.
    Pod,
    /// A secret.
    Secret,
    /// A node.
    Node,
}

impl BoundKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::Node => "Node",
        }
    }
}

/// The part of a live object that decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveObject {
    /// Its uid.
    pub uid: String,
    /// When its deletion is due, if it is being deleted.
    pub deletion: Option<OffsetDateTime>,
}

/// Reads live objects from the server's cache.
pub trait LiveObjects: Send + Sync {
    /// The object, if it exists. The namespace is empty for nodes.
    fn live(&self, kind: BoundKind, namespace: &str, name: &str) -> Option<LiveObject>;
}

/// [`LiveObjects`] of the registry's cache.
#[derive(Debug)]
pub struct CachedObjects {
    registry: Registry,
}

impl CachedObjects {
    /// The objects of `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

impl LiveObjects for CachedObjects {
    fn live(&self, kind: BoundKind, namespace: &str, name: &str) -> Option<LiveObject> {
        let kind: &'static Kind = match kind {
            BoundKind::ServiceAccount => &SERVICE_ACCOUNT,
            BoundKind::Pod => &POD,
            BoundKind::Secret => &SECRET,
            BoundKind::Node => &NODE,
        };
        let cached = self.registry.get(kind, namespace, name)?;
        let deletion = if cached.header.deleting {
            let object = cached.decode().ok()?;
            Meta(&object).deletion_timestamp().and_then(parse_timestamp)
        } else {
            None
        };
        Some(LiveObject { uid: cached.header.uid.to_string(), deletion })
    }
}

/// A token whose objects are gone or were replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The object no longer exists or its deletion time is over.
    #[error("{kind} {name:?} of the token has been deleted")]
    Deleted {
        /// The object's kind.
        kind: &'static str,
        /// The object's name.
        name: String,
    },
    /// Another object has the name now.
    #[error("{kind} UID ({live}) does not match claim ({claimed})")]
    Replaced {
        /// The object's kind.
        kind: &'static str,
        /// The uid of the object that has the name.
        live: String,
        /// The uid in the token.
        claimed: String,
    },
}

/// Checks the claims against live objects and makes the user of them.
pub fn resolve(
    claims: &Claims,
    live: &dyn LiveObjects,
    now: OffsetDateTime,
) -> Result<UserInfo, BindingError> {
    let bound = &claims.kubernetes;
    let namespace = bound.namespace.as_str();
    check(live, BoundKind::ServiceAccount, namespace, &bound.serviceaccount, now)?;
    if let Some(secret) = &bound.secret {
        check(live, BoundKind::Secret, namespace, secret, now)?;
    }
    match (&bound.pod, &bound.node) {
        (Some(pod), _) => check(live, BoundKind::Pod, namespace, pod, now)?,
        (None, Some(node)) => check(live, BoundKind::Node, "", node, now)?,
        (None, None) => {}
    }
    Ok(user_of(claims))
}

fn check(
    live: &dyn LiveObjects,
    kind: BoundKind,
    namespace: &str,
    claimed: &ObjectRef,
    now: OffsetDateTime,
) -> Result<(), BindingError> {
    let deleted = || BindingError::Deleted { kind: kind.as_str(), name: claimed.name.clone() };
    let object = live.live(kind, namespace, &claimed.name).ok_or_else(deleted)?;
    if object.deletion.is_some_and(|due| due < now - DELETED_LEEWAY) {
        return Err(deleted());
    }
    if object.uid != claimed.uid {
        return Err(BindingError::Replaced {
            kind: kind.as_str(),
            live: object.uid,
            claimed: claimed.uid.clone(),
        });
    }
    Ok(())
}

fn user_of(claims: &Claims) -> UserInfo {
    let bound = &claims.kubernetes;
    let mut user =
        UserInfo::service_account(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(key.into(), vec![value.into()]);
        }
    };
    if let Some(pod) = &bound.pod {
        extra(EXTRA_POD_NAME, &pod.name);
        extra(EXTRA_POD_UID, &pod.uid);
    }
    if let Some(node) = &bound.node {
        extra(EXTRA_NODE_NAME, &node.name);
        extra(EXTRA_NODE_UID, &node.uid);
    }
    if !claims.jti.is_empty() {
        extra(EXTRA_CREDENTIAL_ID, &format!("JTI={}", claims.jti));
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::token::KubernetesClaims;
    use std::collections::HashMap;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);

    #[derive(Default)]
    struct Fake(HashMap<(&'static str, String, String), LiveObject>);

    impl Fake {
        fn with(mut self, kind: BoundKind, namespace: &str, name: &str, uid: &str) -> Self {
            self.set(kind, namespace, name, LiveObject { uid: uid.to_owned(), deletion: None });
            self
        }
        fn set(&mut self, kind: BoundKind, namespace: &str, name: &str, object: LiveObject) {
            self.0.insert((kind.as_str(), namespace.to_owned(), name.to_owned()), object);
        }
    }

    impl LiveObjects for Fake {
        fn live(&self, kind: BoundKind, namespace: &str, name: &str) -> Option<LiveObject> {
            self.0.get(&(kind.as_str(), namespace.to_owned(), name.to_owned())).cloned()
        }
    }

    fn reference(name: &str, uid: &str) -> ObjectRef {
        ObjectRef { name: name.to_owned(), uid: uid.to_owned() }
    }

    fn claims() -> Claims {
        Claims {
            jti: "id".to_owned(),
            kubernetes: KubernetesClaims {
                namespace: "ns".to_owned(),
                serviceaccount: reference("sa", "u1"),
                pod: Some(reference("p", "u2")),
                node: Some(reference("n", "u3")),
                secret: None,
            },
            ..Claims::default()
        }
    }

    #[test]
    fn a_bound_token_makes_a_user_with_extras() {
        let live = Fake::default().with(BoundKind::ServiceAccount, "ns", "sa", "u1").with(
            BoundKind::Pod,
            "ns",
            "p",
            "u2",
        );
        let user = resolve(&claims(), &live, NOW).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.uid, "u1");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert_eq!(user.extra[EXTRA_POD_UID], ["u2"]);
        assert_eq!(user.extra[EXTRA_NODE_NAME], ["n"]);
        assert_eq!(user.extra[EXTRA_CREDENTIAL_ID], ["JTI=id"]);
    }

    #[test]
    fn a_token_ends_with_its_account_or_pod() {
        let without_pod = Fake::default().with(BoundKind::ServiceAccount, "ns", "sa", "u1");
        assert!(matches!(
            resolve(&claims(), &without_pod, NOW),
            Err(BindingError::Deleted { kind: "Pod", .. })
        ));
        let replaced = Fake::default().with(BoundKind::ServiceAccount, "ns", "sa", "u9").with(
            BoundKind::Pod,
            "ns",
            "p",
            "u2",
        );
        assert!(matches!(resolve(&claims(), &replaced, NOW), Err(BindingError::Replaced { .. })));
    }

    #[test]
    fn a_terminating_pod_keeps_its_token_for_the_leeway() {
        let mut live = Fake::default().with(BoundKind::ServiceAccount, "ns", "sa", "u1");
        let due = |secs| LiveObject { uid: "u2".to_owned(), deletion: Some(NOW - Duration::seconds(secs)) };
        live.set(BoundKind::Pod, "ns", "p", due(59));
        assert!(resolve(&claims(), &live, NOW).is_ok());
        live.set(BoundKind::Pod, "ns", "p", due(61));
        assert!(resolve(&claims(), &live, NOW).is_err());
    }
}
