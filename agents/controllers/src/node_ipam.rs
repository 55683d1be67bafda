//! Each node gets a range of pod addresses of its own (upstream's `nodeipam` with the range allocator).

use std::collections::HashSet;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use serde_json::json;

/// Upstream's `--node-cidr-mask-size`.
const PREFIX: u8 = 24;
/// All nodes are one key: two that are looked at beside each other could get the same range.
const KEY: &str = "nodes";

/// Gives out ranges.
pub(crate) struct NodeIpam {
    nodes: Reader<Node>,
    cluster_cidr: Ipv4Net,
}

pub(crate) struct World {
    nodes: Vec<Arc<Node>>,
    cluster_cidr: Ipv4Net,
}

impl NodeIpam {
    pub(crate) fn new(informers: &Informers, cluster_cidr: Ipv4Net) -> Self {
        Self { nodes: informers.reader(), cluster_cidr }
    }
}

impl Reconciler for NodeIpam {
    type World = World;

    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        // Status reports, which are most changes of a node, ask for nothing.
        let range_of = |node: Option<&Node>| node.and_then(|node| cidr_of(node).map(str::to_owned));
        vec![Watch::changes(&self.nodes, move |old, new| {
            let same =
                old.is_some() && new.is_some() && range_of(old) == range_of(new) && range_of(new).is_some();
            if same { Vec::new() } else { vec![ObjectKey::cluster(KEY)] }
        })]
    }

    async fn observe(&self, _key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        Ok(Some(World { nodes: self.nodes.list(), cluster_cidr: self.cluster_cidr }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn cidr_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let taken: Vec<Ipv4Net> = world.nodes.iter().filter_map(|node| cidr_of(node)?.parse().ok()).collect();
    let same_size: HashSet<Ipv4Net> = taken.iter().copied().collect();
    let is_free = |range: &Ipv4Net| {
        !same_size.contains(range)
            && !taken.iter().any(|other| other.contains(range) || range.contains(other))
    };
    let prefix = PREFIX.max(world.cluster_cidr.prefix_len());
    let mut free = world.cluster_cidr.subnets(prefix).into_iter().flatten().filter(is_free);
    let mut waiting: Vec<&Arc<Node>> = world
        .nodes
        .iter()
        .filter(|node| cidr_of(node).is_none() && node.metadata.deletion_timestamp.is_none())
        .collect();
    waiting.sort_by_key(|node| {
        (node.metadata.creation_timestamp.as_ref().map(|at| at.0), node.metadata.name.clone())
    });
    let mut steps = Vec::new();
    for node in waiting {
        let step = if let Some(range) = free.next() {
            let range = range.to_string();
            Step::merge_exact(node.as_ref(), json!({"spec": {"podCIDR": range, "podCIDRs": [range]}}))
        } else {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let text = format!("Node {name} status is now: CIDRNotAvailable");
            Step::event(node.as_ref(), EventType::Normal, "CIDRNotAvailable", text)
        };
        steps.push(step);
    }
    (steps, Next::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cidr: Option<&str>) -> Arc<Node> {
        let object = json!({"metadata": {"name": name, "uid": name}, "spec": {"podCIDR": cidr}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn given(nodes: Vec<Arc<Node>>, cluster_cidr: &str) -> Vec<String> {
        let (steps, _) = plan(&World { nodes, cluster_cidr: cluster_cidr.parse().unwrap() });
        let cidr = |step: &Step| match step {
            Step::Patch { target, body, .. } => {
                format!("{} {}", target.key.name, body["spec"]["podCIDR"].as_str().unwrap())
            }
            other => other.to_string(),
        };
        steps.iter().map(cidr).collect()
    }

    #[test]
    fn each_node_gets_the_lowest_free_range_and_keeps_what_it_has() {
        let nodes = vec![
            node("a", Some("10.42.0.0/24")),
            node("b", None),
            node("c", Some("10.42.2.0/24")),
            node("d", None),
            node("e", Some("10.42.4.0/23")),
            node("f", None),
            node("g", None),
        ];
        let wanted = ["b 10.42.1.0/24", "d 10.42.3.0/24", "f 10.42.6.0/24", "g 10.42.7.0/24"];
        assert_eq!(given(nodes, "10.42.0.0/16"), wanted);
    }

    #[test]
    fn a_node_without_a_free_range_is_told() {
        let nodes = vec![node("a", None), node("b", None)];
        let steps = given(nodes, "10.42.7.0/24");
        assert_eq!(steps[0], "a 10.42.7.0/24");
        assert!(
            steps[1].contains("CIDRNotAvailable: Node b status is now: CIDRNotAvailable"),
            "{}",
            steps[1]
        );
    }
}
