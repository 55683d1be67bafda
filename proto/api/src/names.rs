//! Names of kinds and of resources.

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use std::fmt;

/// Group, version and kind; the core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Gvk {
    /// The API group; empty for core.
    pub group: SmolStr,
    /// The version in the group.
    pub version: SmolStr,
    /// The kind, as `Pod`.
    pub kind: SmolStr,
}

/// Group, version and resource (the plural in paths).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Gvr {
    /// The API group; empty for core.
    pub group: SmolStr,
    /// The version in the group.
    pub version: SmolStr,
    /// The resource, as `pods`.
    pub resource: SmolStr,
}

fn api_version(group: &str, version: &SmolStr) -> SmolStr {
    if group.is_empty() { version.clone() } else { format_smolstr!("{group}/{version}") }
}

fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl Gvk {
    /// A name from its parts.
    pub fn new(group: impl Into<SmolStr>, version: impl Into<SmolStr>, kind: impl Into<SmolStr>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// From an object's `apiVersion` and `kind`.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        Self::new(group, version, kind)
    }

    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> SmolStr {
        api_version(&self.group, &self.version)
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl Gvr {
    /// A name from its parts.
    pub fn new(group: impl Into<SmolStr>, version: impl Into<SmolStr>, resource: impl Into<SmolStr>) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> SmolStr {
        api_version(&self.group, &self.version)
    }

    /// `resource.group`, or the resource alone in the core group: how messages name a resource.
    pub fn group_resource(&self) -> SmolStr {
        group_resource(&self.group, &self.resource)
    }
}

impl fmt::Display for Gvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.resource)
    }
}

/// `resource.group`, or the resource alone in the core group.
pub(crate) fn group_resource(group: &str, resource: &str) -> SmolStr {
    if group.is_empty() { resource.into() } else { format_smolstr!("{resource}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_version_splits_at_the_slash_only() {
        assert_eq!(Gvk::from_api_version("v1", "Pod"), Gvk::new("", "v1", "Pod"));
        assert_eq!(Gvk::from_api_version("apps/v1", "Deployment").api_version(), "apps/v1");
        assert_eq!(Gvr::new("apps", "v1", "deployments").group_resource(), "deployments.apps");
        assert_eq!(Gvr::new("", "v1", "pods").group_resource(), "pods");
    }
}
