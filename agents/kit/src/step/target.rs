//! Which object a step is about.

use std::borrow::Cow;
use std::fmt;

use crate::ObjectKey;

/// A resource of the API: group, version, kind and plural name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The version within the group.
    pub version: Cow<'static, str>,
    /// The kind, for example `Pod`.
    pub kind: Cow<'static, str>,
    /// The resource's name in paths, for example `pods`.
    pub plural: Cow<'static, str>,
}

impl Kind {
    /// The resource of a statically known type.
    pub fn of<K: kube::Resource<DynamicType = ()>>() -> Self {
        Self { group: K::group(&()), version: K::version(&()), kind: K::kind(&()), plural: K::plural(&()) }
    }

    /// The resource that discovery describes.
    pub fn dynamic(resource: &kube::api::ApiResource) -> Self {
        Self {
            group: resource.group.clone().into(),
            version: resource.version.clone().into(),
            kind: resource.kind.clone().into(),
            plural: resource.plural.clone().into(),
        }
    }

    /// `version` or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// One object, or with an empty name the collection it is created in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The resource.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl Target {
    /// The target that `object` is.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Self {
        Self { kind: Kind::of::<K>(), key: ObjectKey::of(object) }
    }

    /// The target of this type and key.
    pub fn named<K: kube::Resource<DynamicType = ()>>(key: ObjectKey) -> Self {
        Self { kind: Kind::of::<K>(), key }
    }

    /// The path of the collection.
    pub fn collection_path(&self) -> String {
        let Kind { group, version, plural, .. } = &self.kind;
        let prefix =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match self.key.namespace() {
            // A Namespace is cluster-scoped, but typed metadata never names one in `namespace`.
            Some(namespace) => format!("{prefix}/namespaces/{namespace}/{plural}"),
            None => format!("{prefix}/{plural}"),
        }
    }

    /// The path of the object, or of one of its subresources.
    pub fn path(&self, subresource: Option<&str>) -> String {
        let object = format!("{}/{}", self.collection_path(), self.key.name);
        match subresource {
            Some(subresource) => format!("{object}/{subresource}"),
            None => object,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind, self.key)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Node;

    use super::Target;
    use crate::ObjectKey;

    #[test]
    fn paths_follow_group_and_scope() {
        let node = Target::named::<Node>(ObjectKey::cluster("n1"));
        assert_eq!(node.path(None), "/api/v1/nodes/n1");
        let web = Target::named::<Deployment>(ObjectKey::new("default", "web"));
        assert_eq!(web.path(Some("status")), "/apis/apps/v1/namespaces/default/deployments/web/status");
    }
}
