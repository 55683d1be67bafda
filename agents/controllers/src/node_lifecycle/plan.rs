//! Decides how a node is marked. Pure.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::{PatchKind, Step, Target};
use mainstay_agents_kit::time::time;
use serde_json::json;

use crate::pods;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions of the node agent that are unknown once it is silent.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Condition, status and the taint that goes with it.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

pub(crate) struct World {
    pub(super) node: Arc<Node>,
    /// How long ago the node's present sign of life was first seen, whatever became of the wall clock since.
    pub(super) silent_for: Duration,
    /// The pods on the node.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) grace: Duration,
    pub(super) now: Timestamp,
}

/// The node's Ready condition.
pub(super) fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

/// Whether the node's Ready condition is True.
pub(super) fn is_ready(node: &Node) -> bool {
    ready_condition(node).is_some_and(|ready| ready.status == "True")
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let silent_for = world.silent_for;
    let mut node = Node::clone(&world.node);
    let mut steps = Vec::new();
    let next = if silent_for >= world.grace {
        steps.extend(mark_unknown(world, &mut node));
        Next::Done
    } else {
        Next::After(world.grace.saturating_sub(silent_for) + Duration::from_millis(100))
    };
    // From here on the node counts as it is now marked.
    let was_ready = is_ready(&world.node);
    if was_ready && !is_ready(&node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Node {name} status is now: NodeNotReady");
        steps.push(Step::event(world.node.as_ref(), EventType::Normal, "NodeNotReady", message));
    }
    if !is_ready(&node) {
        steps.extend(world.pods.iter().filter_map(|pod| mark_not_ready(world, pod)));
    }
    steps.extend(set_taints(world, &node));
    (steps, next)
}

fn condition<'a>(node: &'a Node, condition_type: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == condition_type)
}

/// Sets the reported conditions to Unknown, in `node` and by a step, unless they are already.
fn mark_unknown(world: &World, node: &mut Node) -> Option<Step> {
    let mut changed = Vec::new();
    for condition_type in REPORTED {
        let present = condition(node, condition_type).cloned();
        if present.as_ref().is_some_and(|present| present.status == "Unknown") {
            continue;
        }
        let (reason, message) = if present.is_some() {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        } else {
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        };
        changed.push(NodeCondition {
            type_: condition_type.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: present
                .and_then(|present| present.last_heartbeat_time)
                .or_else(|| node.metadata.creation_timestamp.clone()),
            last_transition_time: Some(time(world.now)),
        });
    }
    if changed.is_empty() {
        return None;
    }
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|present| changed.iter().all(|new| new.type_ != present.type_));
    conditions.extend(changed.iter().cloned());
    let body = json!({"metadata": {"uid": world.node.metadata.uid}, "status": {"conditions": changed}});
    let target = Target::of(world.node.as_ref());
    Some(Step::Patch { target, subresource: Some("status"), kind: PatchKind::Strategic, body })
}

/// A pod on a node that is not ready is not ready either.
fn mark_not_ready(world: &World, pod: &Pod) -> Option<Step> {
    let ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    let mut not_ready = ready.clone();
    "False".clone_into(&mut not_ready.status);
    not_ready.last_transition_time = Some(time(world.now));
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [not_ready]}});
    let patch = Step::Patch {
        target: Target::of(pod),
        subresource: Some("status"),
        kind: PatchKind::Strategic,
        body,
    };
    let event = Step::event(pod, EventType::Warning, "NodeNotReady", "Node is not ready".to_owned());
    Some(Step::Sequence(vec![patch, event]))
}

fn set_taints(world: &World, node: &Node) -> Option<Step> {
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = wanted_taints(node);
    let is_ours = |taint: &Taint| {
        let by_condition = PRESSURES.iter().any(|(_, key)| *key == taint.key);
        let ours = [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str()) || by_condition;
        ours && matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
    };
    let same = |a: &Taint, (key, effect): &(&str, &str)| a.key == *key && a.effect == *effect;
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|wanted| same(taint, wanted)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| same(taint, &(key, effect))) {
            // The time is what tolerationSeconds count from.
            let time_added = (effect == "NoExecute").then(|| time(world.now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    if taints == present {
        return None;
    }
    let taints = if taints.is_empty() { serde_json::Value::Null } else { json!(taints) };
    // Not guarded by the resourceVersion, which heartbeats change all the time, but by the taints that were seen.
    Some(replace_taints(world, &present, &taints))
}

fn replace_taints(world: &World, present: &[Taint], taints: &serde_json::Value) -> Step {
    let mut body = vec![json!({"op": "test", "path": "/metadata/uid", "value": world.node.metadata.uid})];
    if present.is_empty() {
        body.push(json!({"op": "add", "path": "/spec/taints", "value": taints}));
    } else {
        body.push(json!({"op": "test", "path": "/spec/taints", "value": present}));
        body.push(if taints.is_null() {
            json!({"op": "remove", "path": "/spec/taints"})
        } else {
            json!({"op": "replace", "path": "/spec/taints", "value": taints})
        });
    }
    let target = Target::of(world.node.as_ref());
    Step::Patch { target, subresource: None, kind: PatchKind::Json, body: serde_json::Value::Array(body) }
}

fn wanted_taints(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    match ready_condition(node).map(|ready| ready.status.as_str()) {
        Some("True") => {}
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
    }
    for (condition_type, key) in PRESSURES {
        if condition(node, condition_type).is_some_and(|condition| condition.status == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{World, plan};
    use crate::golden;
    use mainstay_agents_kit::time::elapsed;

    #[test]
    fn goldens() {
        golden::check("node_lifecycle", |world| {
            let (seen_at, now) = (golden::one(world, "seenAt"), golden::one(world, "now"));
            plan(&World {
                node: Arc::new(golden::one(world, "node")),
                silent_for: elapsed(seen_at, now),
                pods: golden::list(world, "pods"),
                grace: Duration::from_secs(50),
                now,
            })
        });
    }
}
