//! Evicts pods from nodes with a NoExecute taint that they do not tolerate, or no longer.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{PatchKind, Step, Target};
use mainstay_agents_kit::time::{elapsed, time};
use serde_json::json;

use crate::pods;

/// Evicts pods by taints.
pub(crate) struct TaintEviction {
    nodes: Reader<Node>,
    pods: Reader<Pod>,
}

pub(crate) struct World {
    pod: Arc<Pod>,
    taints: Vec<Taint>,
    now: Timestamp,
}

impl TaintEviction {
    pub(crate) fn new(informers: &Informers) -> Self {
        let pods = informers.reader();
        pods::index(&pods);
        Self { nodes: informers.reader(), pods }
    }
}

fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

impl Reconciler for TaintEviction {
    type World = World;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let pods = self.pods.clone();
        let pods_of = move |node: &Node| {
            if evicting(node).is_empty() {
                return Vec::new();
            }
            let name = node.metadata.name.as_deref().unwrap_or_default();
            pods.by_index(pods::BY_NODE, name).iter().map(|pod| ObjectKey::of(pod.as_ref())).collect()
        };
        let nodes = self.nodes.clone();
        let on_tainted_node = move |pod: &Pod| {
            let node = pods::node_name(pod).and_then(|name| nodes.get(&ObjectKey::cluster(name)));
            let is_tainted = node.is_some_and(|node| !evicting(&node).is_empty());
            if is_tainted { vec![ObjectKey::of(pod)] } else { Vec::new() }
        };
        vec![Watch::map(&self.nodes, pods_of), Watch::map(&self.pods, on_tainted_node)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pods::is_terminating(pod)) else { return Ok(None) };
        let node = pods::node_name(&pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
        let taints = node.map(|node| evicting(&node)).unwrap_or_default();
        Ok(Some(World { pod, taints, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let tolerations =
        world.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut next = Next::Done;
    for taint in &world.taints {
        let since = taint.time_added.as_ref().map_or(world.now, |time| time.0);
        match tolerated_for(tolerations, taint) {
            Tolerated::Always => {}
            Tolerated::For(limit) if elapsed(since, world.now) < limit => {
                next = next.earlier(Next::After(limit.saturating_sub(elapsed(since, world.now))));
            }
            Tolerated::For(_) | Tolerated::Never => return (evict(world), Next::Done),
        }
    }
    (Vec::new(), next)
}

enum Tolerated {
    Never,
    For(Duration),
    Always,
}

/// How long the tolerations that cover the taint tolerate it: the shortest bound counts.
fn tolerated_for(tolerations: &[Toleration], taint: &Taint) -> Tolerated {
    let mut covering = tolerations.iter().filter(|toleration| covers(toleration, taint)).peekable();
    if covering.peek().is_none() {
        return Tolerated::Never;
    }
    match covering.filter_map(|toleration| toleration.toleration_seconds).min() {
        None => Tolerated::Always,
        Some(seconds) => Tolerated::For(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
    }
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let fits = (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key);
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => fits,
        "" | "Equal" => fits && !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

fn evict(world: &World) -> Vec<Step> {
    let pod = world.pod.as_ref();
    let condition = json!([{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": time(world.now),
    }]);
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": condition}});
    let message = format!("Marking for deletion Pod {}", ObjectKey::of(pod));
    vec![
        Step::event(pod, EventType::Normal, "TaintManagerEviction", message),
        Step::Patch {
            target: Target::of(pod),
            subresource: Some("status"),
            kind: PatchKind::Strategic,
            body,
        },
        Step::delete(pod),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mainstay_agents_kit::reconcile::Next;
    use serde_json::{Value, json};

    use super::{World, plan};

    fn world(tolerations: Value, now: &str) -> World {
        let pod = json!({"metadata": {"namespace": "default", "name": "p", "uid": "u"},
            "spec": {"containers": [], "nodeName": "n", "tolerations": tolerations}});
        let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
            "timeAdded": "2026-01-01T00:00:00Z"});
        World {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            taints: vec![serde_json::from_value(taint).unwrap()],
            now: now.parse().unwrap(),
        }
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let tolerations = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 300}]);
        let (steps, next) = plan(&world(tolerations.clone(), "2026-01-01T00:01:40Z"));
        assert_eq!((steps.len(), next), (0, Next::After(Duration::from_secs(200))));
        let (steps, _) = plan(&world(tolerations, "2026-01-01T00:05:00Z"));
        assert_eq!(steps.last().unwrap().to_string(), "delete Pod default/p uid=u");
        let (steps, _) = plan(&world(json!([]), "2026-01-01T00:00:00Z"));
        assert_eq!(
            steps[0].to_string(),
            "event Normal TaintManagerEviction: Marking for deletion Pod default/p"
        );
        let (steps, next) = plan(&world(json!([{"operator": "Exists"}]), "2026-02-01T00:00:00Z"));
        assert_eq!((steps.len(), next), (0, Next::Done));
    }
}
