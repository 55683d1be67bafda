//! The status of a replica set.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::time::time;

use super::world::World;
use crate::counts::{count, nonzero};
use crate::pods::{self, Availability};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status that the pods give, and when it changes by time alone. `failure` is the reason and message of a failure
/// to create or delete pods; without one an earlier failure counts as over.
pub(super) fn status_of(world: &World, failure: Option<(&str, &str)>) -> (ReplicaSetStatus, Next) {
    let labels = world
        .replica_set
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref()?.labels.clone())
        .unwrap_or_default();
    let (mut replicas, mut labeled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    let mut next = Next::Done;
    for pod in &world.pods.owned {
        if !pods::is_active(pod) {
            terminating += i32::from(pods::is_terminating(pod) && !pods::is_finished(pod));
            continue;
        }
        replicas += 1;
        let has =
            |(key, value)| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value);
        labeled += i32::from(labels.iter().all(has));
        ready += i32::from(pods::is_ready(pod));
        match pods::availability(pod, world.min_ready_seconds(), world.now) {
            Availability::Available => available += 1,
            Availability::In(wait) => next = next.earlier(Next::After(wait + Duration::from_millis(10))),
            Availability::No => {}
        }
    }
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: nonzero(labeled),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(available),
        terminating_replicas: Some(terminating),
        observed_generation: world.replica_set.metadata.generation,
        conditions: conditions(world, failure),
    };
    (status, next)
}

fn conditions(world: &World, failure: Option<(&str, &str)>) -> Option<Vec<ReplicaSetCondition>> {
    let present = world.replica_set.status.as_ref().and_then(|status| status.conditions.clone());
    let mut conditions = present.unwrap_or_default();
    let already = conditions.iter().any(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE));
    match failure {
        Some((reason, message)) if !already => conditions.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.to_owned()),
            status: Some("True".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(time(world.now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_.as_deref() != Some(REPLICA_FAILURE)),
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// How many of the owned pods count as replicas.
pub(super) fn active_count(world: &World) -> i32 {
    count(world.pods.owned.iter().filter(|pod| pods::is_active(pod)).count())
}
