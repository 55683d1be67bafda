//! The Progressing and ReplicaFailure conditions of a rollout, and its deadline.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::time::{elapsed, time};

use super::status::{Conditions, PROGRESSING, REPLICA_FAILURE, condition, find, remove, set};
use super::world::World;

const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Notes in the conditions that the deployment was paused or resumed; a pause stops the deadline's clock.
pub(super) fn note_pause(world: &World, conditions: &mut Conditions) {
    if world.deadline_seconds().is_none() {
        return;
    }
    let reason = find(conditions, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if reason == Some(TIMED_OUT) {
        return;
    }
    let (reason, message) = match (world.is_paused(), reason == Some(PAUSED)) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set(conditions, condition(PROGRESSING, "Unknown", reason, message, world.now));
}

/// Notes a new replica set.
pub(super) fn note_created(world: &World, conditions: &mut Conditions, name: &str) {
    if world.deadline_seconds().is_some() {
        let message = format!("Created new replica set \"{name}\"");
        set(conditions, condition(PROGRESSING, "True", "NewReplicaSetCreated", &message, world.now));
    }
}

/// Notes that the new replica set was there already, if nothing is known of the rollout yet.
pub(super) fn note_found(world: &World, conditions: &mut Conditions, name: &str) {
    if world.deadline_seconds().is_some() && find(conditions, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{name}\"");
        set(conditions, condition(PROGRESSING, "True", "FoundNewReplicaSet", &message, world.now));
    }
}

/// Notes how the rollout goes, from the counts of `status`.
pub(super) fn note_progress(world: &World, status: &DeploymentStatus, conditions: &mut Conditions) {
    if world.deadline_seconds().is_none() {
        remove(conditions, PROGRESSING);
    } else if !is_over(status, conditions) {
        note_rollout(world, status, conditions);
    }
    let failure = world.new_replica_set().and_then(|new| new.status.as_ref()?.conditions.as_ref()).and_then(
        |conditions| conditions.iter().find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE)),
    );
    match failure {
        Some(failure) => {
            let reason = failure.reason.as_deref().unwrap_or_default();
            let message = failure.message.as_deref().unwrap_or_default();
            set(
                conditions,
                condition(
                    REPLICA_FAILURE,
                    failure.status.as_deref().unwrap_or("True"),
                    reason,
                    message,
                    world.now,
                ),
            );
        }
        None => remove(conditions, REPLICA_FAILURE),
    }
}

/// Whether all that the deployment asks for is updated and available, and nothing old is left.
pub(super) fn is_complete(world: &World, status: &DeploymentStatus) -> bool {
    let wanted = world.wanted();
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= world.meta().generation
}

/// When the deadline has to be looked at again.
pub(super) fn next_look(world: &World, status: &DeploymentStatus, conditions: &Conditions) -> Next {
    let (Some(deadline), Some(progressing)) = (world.deadline_seconds(), find(conditions, PROGRESSING))
    else {
        return Next::Done;
    };
    if is_complete(world, status) || progressing.reason.as_deref() == Some(TIMED_OUT) || world.is_paused() {
        return Next::Done;
    }
    let Some(since) = &progressing.last_update_time else { return Next::Done };
    let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
    Next::After(deadline.saturating_sub(elapsed(since.0, world.now)) + Duration::from_secs(1))
}

fn is_over(status: &DeploymentStatus, conditions: &Conditions) -> bool {
    status.replicas == status.updated_replicas
        && find(conditions, PROGRESSING)
            .is_some_and(|condition| condition.reason.as_deref() == Some(NEW_AVAILABLE))
}

fn note_rollout(world: &World, status: &DeploymentStatus, conditions: &mut Conditions) {
    let subject = match world.new_replica_set() {
        Some(new) => format!("ReplicaSet \"{}\"", new.metadata.name.as_deref().unwrap_or_default()),
        None => format!("Deployment \"{}\"", world.name()),
    };
    if is_complete(world, status) {
        let message = format!("{subject} has successfully progressed.");
        set(conditions, condition(PROGRESSING, "True", NEW_AVAILABLE, &message, world.now));
    } else if has_moved(world, status) {
        let message = format!("{subject} is progressing.");
        let mut moved = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, world.now);
        if let Some(present) =
            find(conditions, PROGRESSING).filter(|present| present.status.as_deref() == Some("True"))
        {
            moved.last_transition_time.clone_from(&present.last_transition_time);
        }
        // Replaced even when status and reason are the same: the deadline counts from the last move.
        moved.last_update_time = Some(time(world.now));
        remove(conditions, PROGRESSING);
        conditions.push(moved);
    } else if has_timed_out(world, conditions) {
        let message = format!("{subject} has timed out progressing.");
        set(conditions, condition(PROGRESSING, "False", TIMED_OUT, &message, world.now));
    }
}

fn has_moved(world: &World, status: &DeploymentStatus) -> bool {
    let before = world.deployment.status.clone().unwrap_or_default();
    let count = |field: Option<i32>| field.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(status.updated_replicas) > count(before.updated_replicas)
        || old(status) < old(&before)
        || count(status.ready_replicas) > count(before.ready_replicas)
        || count(status.available_replicas) > count(before.available_replicas)
}

fn has_timed_out(world: &World, conditions: &Conditions) -> bool {
    let Some(progressing) = find(conditions, PROGRESSING) else { return false };
    match progressing.reason.as_deref() {
        Some(TIMED_OUT) => return true,
        Some(NEW_AVAILABLE) => return false,
        _ => {}
    }
    let (Some(deadline), Some(since)) = (world.deadline_seconds(), &progressing.last_update_time) else {
        return false;
    };
    elapsed(since.0, world.now) > Duration::from_secs(u64::try_from(deadline).unwrap_or(0))
}
