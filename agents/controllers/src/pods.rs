//! What several controllers ask about pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::informer::Reader;
use mainstay_agents_kit::owner::controller_of;
use mainstay_agents_kit::time::elapsed;

/// Index of pods by the uid of their controller.
pub(crate) const BY_CONTROLLER: &str = "controller";
/// Index of pods without a controller by namespace.
pub(crate) const ORPHANS: &str = "orphans";
/// Index of pods by node.
pub(crate) const BY_NODE: &str = "node";

/// Adds the indexes above to the cache of pods.
pub(crate) fn index(pods: &Reader<Pod>) {
    pods.add_index(BY_CONTROLLER, |pod| {
        controller_of(&pod.metadata).map(|owner| owner.uid.clone()).into_iter().collect()
    });
    pods.add_index(ORPHANS, |pod| match controller_of(&pod.metadata) {
        Some(_) => Vec::new(),
        None => pod.metadata.namespace.clone().into_iter().collect(),
    });
    pods.add_index(BY_NODE, |pod| node_name(pod).map(str::to_owned).into_iter().collect());
}

/// The pod's phase, empty while it has none.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod has ended.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is being deleted.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts as a replica: it has not ended and is not being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The node that the pod is assigned to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The pod's condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, condition_type: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == condition_type)
}

/// Whether the pod's Ready condition is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the pod has been ready; absent when it is not.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a pod has been ready long enough, and if not, how long it still has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is available.
    Available,
    /// It will be after this long.
    In(Duration),
    /// It is not ready.
    No,
}

/// Whether the pod has been ready for `min_ready_seconds` at `now`.
pub(crate) fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    let needed = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    if needed.is_zero() {
        return Availability::Available;
    }
    let Some(since) = ready_since(pod) else { return Availability::No };
    let ready_for = elapsed(since, now);
    if ready_for >= needed {
        Availability::Available
    } else {
        Availability::In(needed.saturating_sub(ready_for))
    }
}
