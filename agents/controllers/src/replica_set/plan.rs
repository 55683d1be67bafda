//! Decides how many pods to create or which to delete. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::owner::{controller_reference, uid};
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::{ActError, Step};

use super::rank::by_deletion;
use super::status::{active_count, status_of};
use super::world::World;
use crate::counts::says_the_same;
use crate::names;
use crate::ownership::{adopt, release};
use crate::pods;

/// The most pods that one run creates or deletes.
const BURST: usize = 500;

pub(crate) fn plan(world: &World) -> (Vec<Step>, Next) {
    let replica_set = &world.replica_set;
    let mut steps = Vec::new();
    if replica_set.metadata.deletion_timestamp.is_none() {
        let owner = controller_reference(replica_set.as_ref());
        steps.extend(
            world.pods.to_release.iter().map(|pod| release(pod.as_ref(), uid(&replica_set.metadata))),
        );
        steps.extend(world.pods.to_adopt.iter().map(|pod| adopt(pod.as_ref(), &owner)));
        // Adopted pods count only once they are seen as owned.
        if world.pods.to_adopt.is_empty() {
            steps.extend(scale(world));
        }
    }
    let (status, next) = status_of(world, None);
    let status = Some(status);
    if !says_the_same(&replica_set.status, &status) {
        let mut updated = ReplicaSet::clone(replica_set);
        updated.status = status;
        steps.push(Step::replace_status(&updated));
    }
    (steps, next)
}

/// What a failure to create or delete leaves behind: an event and the ReplicaFailure condition.
pub(super) fn failed(world: &World, error: &ActError) -> Vec<Step> {
    let (verb, target) = match error {
        ActError::Call { verb, target, .. } => (*verb, target),
        ActError::Deadline { .. } | ActError::Build { .. } => return Vec::new(),
    };
    let message = error.answer();
    let (reason, text) = match (verb, target.kind.kind.as_ref()) {
        ("create", "Pod") if !error.is_namespace_terminating() => {
            ("FailedCreate", format!("Error creating: {message}"))
        }
        ("delete", "Pod") => ("FailedDelete", format!("Error deleting: {message}")),
        _ => return Vec::new(),
    };
    let (status, _) = status_of(world, Some((reason, &message)));
    let mut steps = vec![Step::event(world.replica_set.as_ref(), EventType::Warning, reason, text)];
    let status = Some(status);
    if !says_the_same(&world.replica_set.status, &status) {
        let mut updated = ReplicaSet::clone(&world.replica_set);
        updated.status = status;
        steps.push(Step::replace_status(&updated));
    }
    steps
}

fn scale(world: &World) -> Option<Step> {
    let missing = world.wanted().saturating_sub(active_count(world));
    let number = usize::try_from(missing.unsigned_abs()).unwrap_or(BURST).min(BURST);
    if missing > 0 {
        let create = (0..number).map(|index| create(world, index));
        return Some(Step::Batch(create.collect()));
    }
    if missing < 0 {
        let mut active: Vec<Arc<Pod>> =
            world.pods.owned.iter().filter(|pod| pods::is_active(pod)).map(Arc::clone).collect();
        by_deletion(&mut active, world.now);
        let delete = active.iter().take(number).map(|pod| delete(world, pod));
        return Some(Step::Batch(delete.collect()));
    }
    None
}

fn create(world: &World, index: usize) -> Step {
    let replica_set = world.replica_set.as_ref();
    let base = replica_set.metadata.name.as_deref().unwrap_or_default();
    let template = replica_set.spec.template.clone().unwrap_or_default();
    let prefix = names::prefix(base);
    let name = format!("{prefix}{}", names::suffix(world.nonce, index));
    let meta = template.metadata.unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            generate_name: Some(prefix),
            namespace: replica_set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(replica_set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let event =
        Step::event(replica_set, EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
    Step::Sequence(vec![Step::create(&pod), event])
}

fn delete(world: &World, pod: &Pod) -> Step {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let event = Step::event(
        world.replica_set.as_ref(),
        EventType::Normal,
        "SuccessfulDelete",
        format!("Deleted pod: {name}"),
    );
    Step::Sequence(vec![Step::delete(pod), event])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainstay_agents_kit::owner::{is_controlled_by, uid};
    use mainstay_agents_kit::selector_of;

    use crate::golden;
    use crate::ownership::claim;
    use crate::replica_set::World;

    #[test]
    fn goldens() {
        golden::check("replica_set", |world| {
            let replica_set: k8s_openapi::api::apps::v1::ReplicaSet = golden::one(world, "replicaSet");
            let selector = selector_of(Some(&replica_set.spec.selector)).unwrap();
            let (controlled, others): (Vec<Arc<k8s_openapi::api::core::v1::Pod>>, Vec<_>) =
                golden::list(world, "pods").into_iter().partition(
                    |pod: &Arc<k8s_openapi::api::core::v1::Pod>| {
                        is_controlled_by(&pod.metadata, uid(&replica_set.metadata))
                    },
                );
            let pods = claim(&selector, controlled, others);
            super::plan(&World {
                replica_set: Arc::new(replica_set),
                pods,
                now: golden::one(world, "now"),
                nonce: 7,
            })
        });
    }
}
