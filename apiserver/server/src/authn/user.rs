//! The well-known names of users and groups, and what they say about a user.

use std::collections::BTreeMap;

use smol_str::{SmolStr, format_smolstr};

use crate::types::UserInfo;

/// The user name of a caller without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of callers without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of every caller that presented valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group that every authorizer lets through.
pub const MASTERS: &str = "system:masters";
/// The group of node agents.
pub const NODES: &str = "system:nodes";
/// What the user name of a node agent starts with.
pub const NODE_PREFIX: &str = "system:node:";
/// What the user name of a service account starts with.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts; a colon and a namespace make the group of one namespace's.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Extra key: how the caller proved who it is.
pub const EXTRA_CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Extra key: name of the pod that the token is bound to.
pub const EXTRA_POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Extra key: uid of the pod that the token is bound to.
pub const EXTRA_POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Extra key: name of the node that the token is bound to, directly or through its pod.
pub const EXTRA_NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Extra key: uid of the node that the token is bound to, directly or through its pod.
pub const EXTRA_NODE_UID: &str = "authentication.kubernetes.io/node-uid";

impl UserInfo {
    /// A user of this name in these groups.
    pub fn new<G: Into<SmolStr>>(name: impl Into<SmolStr>, groups: impl IntoIterator<Item = G>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The caller without credentials.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, [UNAUTHENTICATED])
    }

    /// The user that a service account is.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: service_account_name(namespace, name).into(),
            uid: uid.into(),
            groups: service_account_groups(namespace),
            extra: BTreeMap::new(),
        }
    }

    /// Adds the group of all authenticated callers unless the user already is in it or is anonymous.
    pub fn mark_authenticated(&mut self) {
        if self.name != ANONYMOUS && !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
    }

    /// The node that the user is the agent of, as upstream's node identifier decides.
    pub fn node_name(&self) -> Option<&str> {
        let node = self.name.strip_prefix(NODE_PREFIX)?;
        (!node.is_empty() && self.in_group(NODES)).then_some(node)
    }

    /// The namespace and name of the service account that the user is.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        split_service_account(&self.name)
    }
}

/// The user name of a service account.
pub fn service_account_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
}

/// The two groups of a namespace's service accounts.
pub fn service_account_groups(namespace: &str) -> Vec<SmolStr> {
    vec![SERVICE_ACCOUNTS.into(), format_smolstr!("{SERVICE_ACCOUNTS}:{namespace}")]
}

/// Namespace and name of the service account whose user name this is.
pub fn split_service_account(user_name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user_name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    let plain = |part: &str| !part.is_empty() && !part.contains(':');
    (plain(namespace) && plain(name)).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_account_names_split_only_when_whole() {
        assert_eq!(split_service_account("system:serviceaccount:ns:sa"), Some(("ns", "sa")));
        for broken in
            ["system:serviceaccount:ns", "system:serviceaccount::sa", "system:serviceaccount:a:b:c", "ns:sa"]
        {
            assert_eq!(split_service_account(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_node_needs_name_and_group() {
        assert_eq!(UserInfo::new("system:node:a", [NODES]).node_name(), Some("a"));
        assert_eq!(UserInfo::new("system:node:a", ["other"]).node_name(), None);
        assert_eq!(UserInfo::new("system:node:", [NODES]).node_name(), None);
    }

    #[test]
    fn anonymous_is_never_marked_authenticated() {
        let mut user = UserInfo::anonymous();
        user.mark_authenticated();
        assert_eq!(user.groups, [UNAUTHENTICATED]);
    }
}
