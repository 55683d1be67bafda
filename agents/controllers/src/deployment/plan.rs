//! Decides the next move of a deployment. Pure.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::owner::{controller_reference, uid};
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::Step;
use serde_json::json;

use super::annotations::{REVISION, changes, handed_on, revision_of};
use super::progress::{is_complete, next_look, note_created, note_found, note_pause, note_progress};
use super::recreate::{self, Old};
use super::rolling;
use super::scaling::{follow, is_scaling_event, scale_to, size_annotations};
use super::status::{Conditions, counted};
use super::strategy::is_recreate;
use super::template::HASH_LABEL;
use super::world::{World, asked};
use crate::counts::says_the_same;

pub(crate) fn plan(world: &World) -> (Vec<Step>, Next) {
    let (mut status, mut conditions) = counted(world);
    let mut steps = Vec::new();
    if world.meta().deletion_timestamp.is_none() {
        if world.spec().selector == LabelSelector::default() {
            let message =
                "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            return (
                vec![Step::event(world.deployment.as_ref(), EventType::Warning, "SelectingAll", message)],
                Next::Done,
            );
        }
        let claims = claims(world);
        if !claims.is_empty() {
            // What is adopted counts from the next run on.
            return (claims, Next::Done);
        }
        note_pause(world, &mut conditions);
        if world.is_paused() || is_scaling_event(world) {
            let kept = world.new_replica_set().map(|new| keep_new(world, new)).unwrap_or_default();
            // Scaling writes the same object: it follows when this write is seen.
            steps.extend(if kept.is_empty() { follow(world) } else { kept });
        } else {
            match roll_out(world, &mut conditions) {
                Rollout::Steps(moves) => steps.extend(moves),
                // The hash hit a name that is taken: count the collision, which changes the hash.
                Rollout::Collision => status.collision_count = Some(status.collision_count.unwrap_or(0) + 1),
            }
            note_progress(world, &status, &mut conditions);
        }
        if is_complete(world, &world.deployment.status.clone().unwrap_or_default()) || world.is_paused() {
            steps.extend(forget_history(world));
        }
    }
    let next = next_look(world, &status, &conditions);
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    let status = Some(status);
    if !says_the_same(&world.deployment.status, &status) {
        let mut updated = Deployment::clone(&world.deployment);
        updated.status = status;
        steps.push(Step::replace_status(&updated));
    }
    // Last, because it makes the status write's resourceVersion stale.
    if let Some(new) = world.new_replica_set()
        && world.meta().deletion_timestamp.is_none()
    {
        steps.extend(publish_revision(world, new));
    }
    (steps, next)
}

enum Rollout {
    Steps(Vec<Step>),
    Collision,
}

fn roll_out(world: &World, conditions: &mut Conditions) -> Rollout {
    if is_recreate(world) {
        match recreate::old(world) {
            Old::Asked(steps) => return Rollout::Steps(steps),
            Old::Running => return Rollout::Steps(Vec::new()),
            Old::Gone => {}
        }
    }
    let Some(new) = world.new_replica_set() else {
        if world.same_name.is_some() {
            return Rollout::Collision;
        }
        let name = world.new_name();
        note_created(world, conditions, &name);
        return Rollout::Steps(create_new(world, &name));
    };
    note_found(world, conditions, new.metadata.name.as_deref().unwrap_or_default());
    let kept = keep_new(world, new);
    if !kept.is_empty() {
        // Scaling writes the same object: it follows when this write is seen.
        return Rollout::Steps(kept);
    }
    let moves =
        if is_recreate(world) { scale_to(world, new, world.wanted()) } else { rolling::roll(world, new) };
    Rollout::Steps(moves)
}

fn claims(world: &World) -> Vec<Step> {
    let owner = controller_reference(world.deployment.as_ref());
    let released = world
        .replica_sets
        .to_release
        .iter()
        .map(|one| crate::ownership::release(one.as_ref(), uid(world.meta())));
    let adopted = world.replica_sets.to_adopt.iter().map(|one| crate::ownership::adopt(one.as_ref(), &owner));
    released.chain(adopted).collect()
}

fn create_new(world: &World, name: &str) -> Vec<Step> {
    let spec = world.spec();
    let hash = world.template_hash();
    let mut template = spec.template.clone();
    let mut meta = template.metadata.take().unwrap_or_default();
    meta.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    template.metadata = Some(meta);
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash);
    let mut annotations = handed_on(world.meta());
    annotations.insert(REVISION.to_owned(), (world.highest_old_revision() + 1).to_string());
    annotations.extend(size_annotations(world));
    let size = if is_recreate(world) { world.wanted() } else { rolling::first_size(world) };
    let replica_set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: world.meta().namespace.clone(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(world.deployment.as_ref())]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    };
    let mut steps = vec![Step::create(&replica_set)];
    if size > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {size}");
        steps.push(Step::event(world.deployment.as_ref(), EventType::Normal, "ScalingReplicaSet", message));
    }
    steps
}

/// Keeps the new replica set's annotations, revision and minReadySeconds in step with the deployment.
fn keep_new(world: &World, new: &ReplicaSet) -> Vec<Step> {
    let annotations = changes(&new.metadata, world.meta(), world.highest_old_revision() + 1);
    let wanted = world.spec().min_ready_seconds.unwrap_or(0);
    let present = new.spec.min_ready_seconds.unwrap_or(0);
    if annotations.is_empty() && wanted == present {
        return Vec::new();
    }
    let mut patch = json!({"metadata": {"annotations": annotations}});
    if wanted != present {
        patch["spec"] = json!({"minReadySeconds": wanted});
    }
    vec![Step::merge_exact(new, patch)]
}

/// Shows the new replica set's revision on the deployment.
fn publish_revision(world: &World, new: &ReplicaSet) -> Option<Step> {
    let revision = revision_of(&new.metadata);
    (revision > 0 && revision != revision_of(world.meta())).then(|| {
        let patch = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
        Step::merge(world.deployment.as_ref(), patch)
    })
}

/// Deletes the oldest replica sets beyond the revision history limit.
fn forget_history(world: &World) -> Vec<Step> {
    let Some(limit) = world.spec().revision_history_limit else { return Vec::new() };
    let mut old: Vec<_> = world
        .old_replica_sets()
        .into_iter()
        .filter(|replica_set| replica_set.metadata.deletion_timestamp.is_none())
        .collect();
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by_key(|replica_set| revision_of(&replica_set.metadata));
    let is_empty = |replica_set: &ReplicaSet| {
        let status = replica_set.status.clone().unwrap_or_default();
        asked(replica_set) == 0
            && status.replicas == 0
            && replica_set.metadata.generation <= status.observed_generation
    };
    old.into_iter()
        .take(surplus)
        .filter(|replica_set| is_empty(replica_set))
        .map(|replica_set| Step::delete(replica_set.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use mainstay_agents_kit::owner::{controller_of, is_controlled_by, uid};
    use mainstay_agents_kit::selector_of;

    use crate::deployment::World;
    use crate::golden;
    use crate::ownership::claim;

    #[test]
    fn goldens() {
        golden::check("deployment", |world| {
            let deployment: Deployment = golden::one(world, "deployment");
            let selector = selector_of(Some(&deployment.spec.selector)).unwrap();
            let all: Vec<Arc<ReplicaSet>> = golden::list(world, "replicaSets");
            let (controlled, others): (Vec<_>, Vec<_>) = all
                .iter()
                .cloned()
                .partition(|one| is_controlled_by(&one.metadata, uid(&deployment.metadata)));
            let orphans = others.into_iter().filter(|one| controller_of(&one.metadata).is_none()).collect();
            let claimed = claim(&selector, controlled, orphans);
            let by_name =
                |name: &str| all.iter().find(|one| one.metadata.name.as_deref() == Some(name)).cloned();
            let pods = golden::list(world, "pods");
            let now = golden::one(world, "now");
            super::plan(&World::new(Arc::new(deployment), claimed, pods, by_name, now))
        });
    }
}
