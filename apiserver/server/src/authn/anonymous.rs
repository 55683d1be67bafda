//! Which requests may come without credentials.

use crate::types::UserInfo;

/// Whether callers without credentials are let in, as upstream's `anonymous` authentication setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anonymous {
    /// Every path; RBAC decides what they see.
    Enabled,
    /// No path: no credentials is 401.
    Disabled,
    /// Only these exact paths.
    Paths(Vec<String>),
}

impl Anonymous {
    /// The user for a request to `path` without credentials, or none where it must have some.
    pub fn admit(&self, path: &str) -> Option<UserInfo> {
        let allowed = match self {
            Self::Enabled => true,
            Self::Disabled => false,
            Self::Paths(paths) => paths.iter().any(|allowed| allowed == path),
        };
        allowed.then(UserInfo::anonymous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        let rule = Anonymous::Paths(vec!["/livez".to_owned()]);
        assert!(rule.admit("/livez").is_some());
        assert!(rule.admit("/livez/ping").is_none());
        assert!(Anonymous::Disabled.admit("/livez").is_none());
    }
}
