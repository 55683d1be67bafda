//! The RollingUpdate strategy: new pods within the surge, old ones out as far as availability allows.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use mainstay_agents_kit::step::Step;

use super::scaling::scale_to;
use super::strategy::bounds;
use super::world::{World, asked, available};

/// The next move of a rolling update.
pub(super) fn roll(world: &World, new: &ReplicaSet) -> Vec<Step> {
    let target = new_size(world, new);
    let grown = scale_to(world, new, target);
    if target == asked(new) { grown.into_iter().chain(shrink_old(world, new)).collect() } else { grown }
}

/// How many pods the new replica set may ask for now.
pub(super) fn new_size(world: &World, new: &ReplicaSet) -> i32 {
    let (wanted, present) = (world.wanted(), asked(new));
    if present >= wanted {
        return wanted;
    }
    let all: i32 = world.replica_sets.owned.iter().map(|replica_set| asked(replica_set)).sum();
    let room = wanted.saturating_add(bounds(world).max_surge).saturating_sub(all);
    present + room.min(wanted - present).max(0)
}

/// The size of a new replica set that does not exist yet.
pub(super) fn first_size(world: &World) -> i32 {
    let all: i32 = world.replica_sets.owned.iter().map(|replica_set| asked(replica_set)).sum();
    let room = world.wanted().saturating_add(bounds(world).max_surge).saturating_sub(all);
    room.clamp(0, world.wanted())
}

fn shrink_old(world: &World, new: &ReplicaSet) -> Vec<Step> {
    let old = world.old_replica_sets();
    let all: i32 = world.replica_sets.owned.iter().map(|replica_set| asked(replica_set)).sum();
    let min_available = world.wanted() - bounds(world).max_unavailable;
    let new_unavailable = asked(new) - available(new);
    let removable = all - min_available - new_unavailable;
    if removable <= 0 || old.iter().all(|replica_set| asked(replica_set) == 0) {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = old.iter().map(|replica_set| asked(replica_set)).collect();
    take_unhealthy(&old, &mut sizes, removable);
    let all_available: i32 = world.replica_sets.owned.iter().map(|replica_set| available(replica_set)).sum();
    take(&mut sizes, all_available - min_available);
    old.iter().zip(sizes).flat_map(|(replica_set, size)| shrink(world, replica_set, size)).collect()
}

fn shrink(world: &World, replica_set: &Arc<ReplicaSet>, size: i32) -> Vec<Step> {
    if size == asked(replica_set) { Vec::new() } else { scale_to(world, replica_set, size) }
}

/// Pods that are not available cost nothing to take: they go first, the oldest replica set's before others.
fn take_unhealthy(old: &[&Arc<ReplicaSet>], sizes: &mut [i32], mut rest: i32) {
    for (replica_set, size) in old.iter().zip(sizes) {
        let unhealthy = (asked(replica_set) - available(replica_set)).max(0);
        let taken = unhealthy.min(rest).min(*size);
        *size -= taken;
        rest -= taken;
    }
}

fn take(sizes: &mut [i32], mut rest: i32) {
    for size in sizes {
        let taken = (*size).min(rest).max(0);
        *size -= taken;
        rest -= taken;
    }
}
