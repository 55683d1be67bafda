//! The Recreate strategy: all old pods go before the first new one comes.

use mainstay_agents_kit::step::Step;

use super::scaling::scale_to;
use super::world::{World, asked};
use crate::pods;

/// What is still in the way of the new pods.
pub(super) enum Old {
    /// Replica sets that still ask for pods: these steps scale them down.
    Asked(Vec<Step>),
    /// Pods that still run.
    Running,
    /// Nothing.
    Gone,
}

/// What the old replica sets still have.
pub(super) fn old(world: &World) -> Old {
    let steps: Vec<Step> = world
        .old_replica_sets()
        .into_iter()
        .filter(|replica_set| asked(replica_set) > 0)
        .flat_map(|replica_set| scale_to(world, replica_set, 0))
        .collect();
    if !steps.is_empty() {
        return Old::Asked(steps);
    }
    let new = world.new_replica_set().and_then(|new| new.metadata.uid.clone());
    let is_old_and_running = |pod: &&std::sync::Arc<k8s_openapi::api::core::v1::Pod>| {
        let owner = mainstay_agents_kit::owner::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        !pods::is_finished(pod) && (new.is_none() || owner != new)
    };
    if world.pods.iter().any(|pod| is_old_and_running(&pod)) { Old::Running } else { Old::Gone }
}
