//! What a decision about one deployment depends on.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use super::annotations::revision_of;
use super::template::{hash, same_template};
use crate::ownership::Claimed;

pub(crate) struct World {
    pub(super) deployment: Arc<Deployment>,
    pub(super) replica_sets: Claimed<ReplicaSet>,
    /// The pods of all owned replica sets.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The replica set of the name that a new one would get, whoever owns it.
    pub(super) same_name: Option<Arc<ReplicaSet>>,
    pub(super) now: Timestamp,
}

impl World {
    /// The world around `deployment`; `by_name` finds any replica set of its namespace.
    pub(crate) fn new(
        deployment: Arc<Deployment>,
        replica_sets: Claimed<ReplicaSet>,
        pods: Vec<Arc<Pod>>,
        by_name: impl Fn(&str) -> Option<Arc<ReplicaSet>>,
        now: Timestamp,
    ) -> Self {
        let mut world = Self { deployment, replica_sets, pods, same_name: None, now };
        world.same_name = by_name(&world.new_name());
        world
    }

    pub(super) fn meta(&self) -> &ObjectMeta {
        &self.deployment.metadata
    }

    pub(super) fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    pub(super) fn spec(&self) -> &DeploymentSpec {
        &self.deployment.spec
    }

    pub(super) fn wanted(&self) -> i32 {
        self.spec().replicas.unwrap_or(1)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec().paused == Some(true)
    }

    /// The seconds within which a rollout must move on; absent when there is no bound.
    pub(super) fn deadline_seconds(&self) -> Option<i32> {
        self.spec().progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
    }

    pub(super) fn collision_count(&self) -> Option<i32> {
        self.deployment.status.as_ref().and_then(|status| status.collision_count)
    }

    /// The owned replica set of the current template; of several, the oldest, so that every run takes the same.
    pub(super) fn new_replica_set(&self) -> Option<&Arc<ReplicaSet>> {
        let template = &self.spec().template;
        let mut matching: Vec<&Arc<ReplicaSet>> = self
            .replica_sets
            .owned
            .iter()
            .filter(|replica_set| {
                replica_set.spec.template.as_ref().is_some_and(|other| same_template(template, other))
            })
            .collect();
        matching.sort_by_key(|replica_set| age_key(replica_set));
        matching.first().copied()
    }

    /// All owned replica sets but the new one, oldest first.
    pub(super) fn old_replica_sets(&self) -> Vec<&Arc<ReplicaSet>> {
        let new = self.new_replica_set().and_then(|new| new.metadata.uid.clone());
        let mut old: Vec<&Arc<ReplicaSet>> = self
            .replica_sets
            .owned
            .iter()
            .filter(|replica_set| new.is_none() || replica_set.metadata.uid != new)
            .collect();
        old.sort_by_key(|replica_set| age_key(replica_set));
        old
    }

    /// The highest revision of the old replica sets.
    pub(super) fn highest_old_revision(&self) -> i64 {
        self.old_replica_sets()
            .iter()
            .map(|replica_set| revision_of(&replica_set.metadata))
            .max()
            .unwrap_or(0)
    }

    /// The name that a replica set of the current template gets.
    pub(super) fn new_name(&self) -> String {
        format!("{}-{}", self.name(), self.template_hash())
    }

    /// The `pod-template-hash` of the current template.
    pub(super) fn template_hash(&self) -> String {
        hash(&self.spec().template, self.collision_count())
    }
}

fn age_key(replica_set: &ReplicaSet) -> (Option<Timestamp>, Option<String>) {
    let meta = &replica_set.metadata;
    (meta.creation_timestamp.as_ref().map(|time| time.0), meta.name.clone())
}

/// The replicas that a replica set asks for.
pub(super) fn asked(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.replicas.unwrap_or(1)
}

/// The available pods of a replica set, as its status says.
pub(super) fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}
