//! Names of resources that have no domain: what pods take, and what quotas count.

/// Amounts of what pods take.
pub const COMPUTE: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// Numbers of objects.
pub(crate) const COUNTS: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether a name means something somewhere; huge pages have names of their own.
pub(crate) fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name) || COUNTS.contains(&name) || matches!(name, "storage" | "requests.storage")
}
