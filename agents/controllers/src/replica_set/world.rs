//! What a decision about one replica set depends on.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::ownership::Claimed;

pub(crate) struct World {
    pub(crate) replica_set: Arc<ReplicaSet>,
    pub(crate) pods: Claimed<Pod>,
    pub(crate) now: Timestamp,
    /// Randomness for the names of new pods.
    pub(crate) nonce: u64,
}

impl World {
    pub(crate) fn wanted(&self) -> i32 {
        self.replica_set.spec.replicas.unwrap_or(1)
    }

    pub(crate) fn min_ready_seconds(&self) -> i32 {
        self.replica_set.spec.min_ready_seconds.unwrap_or(0)
    }
}
