//! Which pods are deleted first when there are too many.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts `active` so that the pods to delete first come first, by upstream's order: not yet assigned, not running, not
/// ready, cheaper by their deletion cost, doubled up on a node, ready for a shorter time, restarted more often, younger.
pub(super) fn by_deletion(active: &mut [Arc<Pod>], now: Timestamp) {
    let mut on_node: HashMap<String, usize> = HashMap::new();
    for pod in active.iter() {
        *on_node.entry(pods::node_name(pod).unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    let crowd = |pod: &Pod| on_node.get(pods::node_name(pod).unwrap_or_default()).copied().unwrap_or(0);
    active.sort_by(|a, b| {
        pods::node_name(a)
            .is_some()
            .cmp(&pods::node_name(b).is_some())
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| crowd(b).cmp(&crowd(a)))
            .then_with(|| younger(pods::ready_since(a), pods::ready_since(b), now))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| younger(created(a), created(b), now))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().map(|status| status.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The later moment first, compared by the order of magnitude of their age: among pods of about the same age the order
/// must not always hit the youngest.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |at: Option<Timestamp>| match at {
        None => 0,
        Some(at) => {
            let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
            64 - seconds.leading_zeros()
        }
    };
    magnitude(a).cmp(&magnitude(b))
}
