//! Removes pods that nobody else will: those of nodes that are gone, those deleted before they had a node, and the oldest
//! of too many that have ended.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{PatchKind, Step, Target};
use mainstay_agents_kit::time::{elapsed, time};
use serde_json::json;

use crate::pods;

/// Removes pods that nobody else will.
pub(crate) struct PodGc {
    client: kube::Client,
    nodes: Reader<Node>,
    pods: Reader<Pod>,
    grace: Duration,
    ended_max: usize,
    /// Since when nodes have been missing.
    missing: parking_lot::Mutex<std::collections::HashMap<String, Timestamp>>,
}

pub(crate) struct World {
    pod: Arc<Pod>,
    node: NodeState,
    /// How many ended pods there are beyond the bound, this one among the oldest.
    is_surplus: bool,
    grace: Duration,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    /// The pod has no node.
    None,
    Present,
    MissingSince(Timestamp),
}

impl PodGc {
    pub(crate) fn new(informers: &Informers, grace: Duration, ended_max: usize) -> Self {
        let pods = informers.reader();
        pods::index(&pods);
        let missing = parking_lot::Mutex::default();
        Self { client: informers.client(), nodes: informers.reader(), pods, grace, ended_max, missing }
    }

    async fn node_state(&self, pod: &Pod, now: Timestamp) -> Result<NodeState, ObserveError> {
        let Some(name) = pods::node_name(pod) else { return Ok(NodeState::None) };
        if self.nodes.get(&ObjectKey::cluster(name)).is_some() {
            self.missing.lock().remove(name);
            return Ok(NodeState::Present);
        }
        let since = *self.missing.lock().entry(name.to_owned()).or_insert(now);
        if elapsed(since, now) < self.grace {
            return Ok(NodeState::MissingSince(since));
        }
        // Before pods are removed, the API server itself is asked.
        let node = Api::<Node>::all(self.client.clone())
            .get_opt(name)
            .await
            .map_err(|error| ObserveError::new(format!("node {name}"), error))?;
        Ok(if node.is_some() { NodeState::Present } else { NodeState::MissingSince(since) })
    }

    fn is_surplus(&self, pod: &Pod) -> bool {
        if !pods::is_finished(pod) || self.pods.snapshot().len() <= self.ended_max {
            return false;
        }
        let all = self.pods.snapshot();
        let mut ended: Vec<(Option<Timestamp>, ObjectKey)> = all
            .values()
            .filter(|pod| pods::is_finished(pod) && !pods::is_terminating(pod))
            .map(|pod| {
                (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), ObjectKey::of(pod.as_ref()))
            })
            .collect();
        let surplus = ended.len().saturating_sub(self.ended_max);
        ended.sort();
        let key = ObjectKey::of(pod);
        ended.iter().take(surplus).any(|(_, ended)| *ended == key)
    }
}

impl Reconciler for PodGc {
    type World = World;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn watches(&self) -> Vec<Watch> {
        let pods = self.pods.clone();
        let nodes = self.nodes.clone();
        let pods_of_gone = move |node: &Node| {
            if nodes.get(&ObjectKey::of(node)).is_some() {
                return Vec::new();
            }
            let name = node.metadata.name.as_deref().unwrap_or_default();
            pods.by_index(pods::BY_NODE, name).iter().map(|pod| ObjectKey::of(pod.as_ref())).collect()
        };
        let nodes = self.nodes.clone();
        let concerned = move |pod: &Pod| {
            let has_node =
                pods::node_name(pod).is_some_and(|name| nodes.get(&ObjectKey::cluster(name)).is_some());
            if has_node && !pods::is_finished(pod) { Vec::new() } else { vec![ObjectKey::of(pod)] }
        };
        vec![Watch::map(&self.nodes, pods_of_gone), Watch::map(&self.pods, concerned)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let node = self.node_state(&pod, now).await?;
        let is_surplus = self.is_surplus(&pod);
        Ok(Some(World { pod, node, is_surplus, grace: self.grace, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let pod = world.pod.as_ref();
    match world.node {
        NodeState::MissingSince(since) if elapsed(since, world.now) < world.grace => {
            (Vec::new(), Next::After(world.grace.saturating_sub(elapsed(since, world.now))))
        }
        NodeState::MissingSince(_) => {
            let mut steps: Vec<Step> = Vec::new();
            if !pods::is_finished(pod) {
                steps.push(fail(world, "PodGC: node no longer exists"));
            }
            steps.push(remove(pod));
            (steps, Next::Done)
        }
        NodeState::None if pods::is_terminating(pod) => (vec![remove(pod)], Next::Done),
        NodeState::Present | NodeState::None if world.is_surplus => (vec![remove(pod)], Next::Done),
        NodeState::Present | NodeState::None => (Vec::new(), Next::Done),
    }
}

/// A pod whose end nobody will report has failed.
fn fail(world: &World, message: &str) -> Step {
    let pod = world.pod.as_ref();
    let condition = json!([{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": message,
        "lastTransitionTime": time(world.now),
    }]);
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": condition}});
    Step::Patch { target: Target::of(pod), subresource: Some("status"), kind: PatchKind::Strategic, body }
}

fn remove(pod: &Pod) -> Step {
    match Step::delete(pod) {
        Step::Delete { target, uid, resource_version, propagation, .. } => {
            Step::Delete { target, uid, resource_version, propagation, grace_seconds: Some(0) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mainstay_agents_kit::reconcile::Next;
    use serde_json::json;

    use super::{NodeState, World, plan};

    fn world(node: NodeState) -> World {
        let pod = json!({"metadata": {"namespace": "default", "name": "p", "uid": "u"},
            "spec": {"containers": [], "nodeName": "n"}, "status": {"phase": "Running"}});
        World {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            node,
            is_surplus: false,
            grace: Duration::from_secs(40),
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn pods_of_a_gone_node_fail_and_go_after_the_grace() {
        let since = |text: &str| NodeState::MissingSince(text.parse().unwrap());
        let (steps, next) = plan(&world(since("2026-01-01T00:00:30Z")));
        assert_eq!((steps.len(), next), (0, Next::After(Duration::from_secs(10))));
        let (steps, _) = plan(&world(since("2026-01-01T00:00:00Z")));
        assert!(steps[0].to_string().starts_with("patch Pod default/p/status "));
        assert_eq!(steps[1].to_string(), "delete Pod default/p uid=u");
        assert!(plan(&world(NodeState::Present)).0.is_empty());
    }
}
