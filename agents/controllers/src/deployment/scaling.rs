//! Changing the size of replica sets, and following a change of the deployment's size in the middle of a rollout.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::step::Step;
use serde_json::json;

use super::annotations::{DESIRED, MAX, number};
use super::strategy::{bounds, is_recreate};
use super::world::{World, asked, available};

/// The annotations that tell a later run what the deployment asked for when the replica set was last scaled.
pub(super) fn size_annotations(world: &World) -> BTreeMap<String, String> {
    let wanted = world.wanted();
    let max = wanted.saturating_add(bounds(world).max_surge);
    BTreeMap::from([(DESIRED.to_owned(), wanted.to_string()), (MAX.to_owned(), max.to_string())])
}

/// Makes the replica set ask for `size` pods, with an event when that is a change.
pub(super) fn scale_to(world: &World, replica_set: &ReplicaSet, size: i32) -> Vec<Step> {
    let mut annotations = size_annotations(world);
    let has = |key: &String, value: &String| {
        replica_set.metadata.annotations.as_ref().and_then(|present| present.get(key)) == Some(value)
    };
    annotations.retain(|key, value| !has(key, value));
    let from = asked(replica_set);
    if from == size && annotations.is_empty() {
        return Vec::new();
    }
    let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": size}});
    let mut steps = vec![Step::merge_exact(replica_set, patch)];
    if from != size {
        let name = replica_set.metadata.name.as_deref().unwrap_or_default();
        let direction = if size > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {size}");
        steps.push(Step::event(world.deployment.as_ref(), EventType::Normal, "ScalingReplicaSet", message));
    }
    steps
}

/// Whether the deployment asks for another number of pods than when its replica sets were last scaled. In the middle of a
/// Recreate rollout there is nothing to share: the strategy itself brings the right size.
pub(super) fn is_scaling_event(world: &World) -> bool {
    let active = active(world);
    if is_recreate(world) && active.len() > 1 {
        return false;
    }
    active.iter().any(|replica_set| {
        number(&replica_set.metadata, DESIRED).is_some_and(|desired| desired != world.wanted())
    })
}

/// Brings the replica sets to the deployment's size without rolling out: the only active one takes all, several
/// share the change in proportion to their sizes.
pub(super) fn follow(world: &World) -> Vec<Step> {
    let active = active(world);
    if active.len() <= 1 {
        let latest =
            active.first().copied().or_else(|| world.new_replica_set()).or_else(|| newest_old(world));
        return latest.map(|latest| scale_to(world, latest, world.wanted())).unwrap_or_default();
    }
    if let Some(new) = world.new_replica_set()
        && is_saturated(world, new)
    {
        let old = world.old_replica_sets().into_iter().filter(|replica_set| asked(replica_set) > 0);
        return old.flat_map(|replica_set| scale_to(world, replica_set, 0)).collect();
    }
    share(world, active)
}

/// The replica sets that ask for pods, oldest first with the new one last.
fn active(world: &World) -> Vec<&Arc<ReplicaSet>> {
    let all = world.old_replica_sets().into_iter().chain(world.new_replica_set());
    all.filter(|replica_set| asked(replica_set) > 0).collect()
}

fn newest_old(world: &World) -> Option<&Arc<ReplicaSet>> {
    world.old_replica_sets().into_iter().next_back()
}

/// Whether the new replica set has all the pods the deployment wants, available.
fn is_saturated(world: &World, new: &ReplicaSet) -> bool {
    let wanted = world.wanted();
    asked(new) == wanted && number(&new.metadata, DESIRED) == Some(wanted) && available(new) == wanted
}

fn share(world: &World, mut active: Vec<&Arc<ReplicaSet>>) -> Vec<Step> {
    let wanted = world.wanted();
    let allowed = if wanted > 0 { wanted.saturating_add(bounds(world).max_surge) } else { 0 };
    let present: i32 = active.iter().map(|replica_set| asked(replica_set)).sum();
    let to_add = allowed.saturating_sub(present);
    // The largest first; of equals, a growing deployment feeds the newest first, a shrinking one takes from the oldest.
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|replica_set| std::cmp::Reverse(asked(replica_set)));
    let mut sizes: Vec<i32> = Vec::new();
    let mut added = 0;
    for replica_set in &active {
        let mut share = 0;
        if to_add != 0 {
            share = fraction(world, replica_set, allowed);
            let rest = to_add - added;
            share = if to_add > 0 { share.clamp(0, rest) } else { share.clamp(rest, 0) };
        }
        added += share;
        sizes.push(asked(replica_set) + share);
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    active.iter().zip(sizes).flat_map(|(replica_set, size)| scale_to(world, replica_set, size)).collect()
}

/// The change of one replica set in proportion to the most that the deployment was allowed when it was last scaled.
fn fraction(world: &World, replica_set: &ReplicaSet, allowed: i32) -> i32 {
    let size = i64::from(asked(replica_set));
    if world.wanted() == 0 {
        return -asked(replica_set);
    }
    let status = world.deployment.status.as_ref();
    let before = number(&replica_set.metadata, MAX)
        .filter(|max| *max > 0)
        .or_else(|| status.and_then(|status| status.replicas))
        .filter(|replicas| *replicas > 0);
    let Some(before) = before.map(i64::from) else { return 0 };
    // Rounded to the nearest.
    let scaled = (size * i64::from(allowed) * 2 + before) / (before * 2);
    i32::try_from(scaled - size).unwrap_or(0)
}
