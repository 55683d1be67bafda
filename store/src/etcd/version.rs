//! Which etcd this is to its clients.

/// The version of etcd whose API this is. Clients switch features by it: kube-apiserver wants 3.6 for consistent reads from its cache.
pub const ETCD_VERSION: &str = "3.6.7";
/// The version that a cluster of such members agrees on.
pub const ETCD_CLUSTER_VERSION: &str = "3.6.0";
