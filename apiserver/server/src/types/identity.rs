//! Who sends a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// A user as the authenticators found it (upstream's `user.Info`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// The name: certificate common name, `system:serviceaccount:<ns>:<name>`, `system:anonymous`.
    #[serde(rename = "username", default, skip_serializing_if = "SmolStr::is_empty")]
    pub name: SmolStr,
    /// A stable id, where there is one.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub uid: SmolStr,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<SmolStr>,
    /// Further facts, such as the pod a token is bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<SmolStr, Vec<SmolStr>>,
}

impl UserInfo {
    /// True when the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What authentication found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user requests run as (after impersonation).
    pub user: Arc<UserInfo>,
    /// The real user behind an impersonated one.
    pub impersonator: Option<Arc<UserInfo>>,
    /// The audiences the token was valid for; empty for certificates.
    pub audiences: Vec<SmolStr>,
}
