//! The status that the replica sets give.

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::time;

use super::strategy::bounds;
use super::world::World;
use crate::counts::nonzero;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The conditions of a status under change.
pub(super) type Conditions = Vec<DeploymentCondition>;

/// Counts and the Available condition; the other conditions are taken over from the present status.
pub(super) fn counted(world: &World) -> (DeploymentStatus, Conditions) {
    let present = world.deployment.status.clone().unwrap_or_default();
    let sum = |field: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| -> i32 {
        world.replica_sets.owned.iter().filter_map(|owned| owned.status.as_ref()).map(field).sum()
    };
    let replicas = sum(|status| status.replicas);
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let updated =
        world.new_replica_set().and_then(|new| new.status.as_ref()).map_or(0, |status| status.replicas);
    let status = DeploymentStatus {
        observed_generation: world.meta().generation,
        replicas: nonzero(replicas),
        updated_replicas: nonzero(updated),
        ready_replicas: nonzero(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((replicas - available).max(0)),
        terminating_replicas: Some(sum(|status| status.terminating_replicas.unwrap_or(0))),
        collision_count: present.collision_count,
        conditions: None,
    };
    let mut conditions = present.conditions.unwrap_or_default();
    let is_enough = available >= world.wanted() - bounds(world).max_unavailable;
    let condition = if is_enough {
        condition(
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            world.now,
        )
    } else {
        condition(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            world.now,
        )
    };
    set(&mut conditions, condition);
    (status, conditions)
}

/// A condition that changed at `now`.
pub(super) fn condition(
    condition_type: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(condition_type.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    }
}

/// The condition of this type.
pub(super) fn find<'a>(
    conditions: &'a [DeploymentCondition],
    condition_type: &str,
) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_.as_deref() == Some(condition_type))
}

/// Removes the condition of this type.
pub(super) fn remove(conditions: &mut Conditions, condition_type: &str) {
    conditions.retain(|condition| condition.type_.as_deref() != Some(condition_type));
}

/// Takes over a condition. One of the same status and reason stays as it is; one of the same status keeps the time of
/// its last transition.
pub(super) fn set(conditions: &mut Conditions, mut new: DeploymentCondition) {
    let condition_type = new.type_.clone().unwrap_or_default();
    if let Some(present) = find(conditions, &condition_type) {
        if present.status == new.status && present.reason == new.reason {
            return;
        }
        if present.status == new.status {
            new.last_transition_time.clone_from(&present.last_transition_time);
        }
    }
    remove(conditions, &condition_type);
    conditions.push(new);
}
