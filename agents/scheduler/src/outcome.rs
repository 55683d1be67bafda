//! What is written after a decision. Pure.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::step::{PatchKind, Step, Target};
use mainstay_agents_kit::time::time;
use serde_json::json;

/// Assigns `pod` to `node` if it is still the pod of the same uid.
pub(crate) fn binding(pod: &Pod, node: &str) -> Step {
    let meta = &pod.metadata;
    Step::Post {
        target: Target::of(pod),
        subresource: "binding",
        body: json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }),
    }
}

/// Says in the pod's status why it has no node; `None` when the status says so already.
pub(crate) fn not_scheduled(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Option<Step> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let present = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    let same = |condition: &PodCondition| {
        condition.status == "False"
            && condition.reason.as_deref() == Some(reason)
            && condition.message.as_deref() == Some(message)
    };
    if present.is_some_and(same) {
        return None;
    }
    let since = present
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.clone())
        .unwrap_or_else(|| time(now));
    let body = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": since,
        }]},
    });
    Some(Step::Patch {
        target: Target::of(pod),
        subresource: Some("status"),
        kind: PatchKind::Strategic,
        body,
    })
}
