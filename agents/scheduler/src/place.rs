//! The decision: which node a pod goes to. Pure.

use crate::diagnosis::Diagnosis;
use crate::framework::{Check, Filter, PreFilter, Score};
use crate::state::{NodeInfo, PodInfo, Snapshot};

/// Clusters up to this size are searched whole.
const NODES_SEARCHED_MIN: usize = 100;

/// The plugins that decide.
pub(crate) struct Plugins {
    pub(crate) filters: Vec<Box<dyn Filter>>,
    pub(crate) scores: Vec<Box<dyn Score>>,
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// To this node.
    Node(String),
    /// Nowhere at present.
    Nowhere(Diagnosis),
}

/// Chooses a node for `pod`. The search begins at the node number `start` and goes round; among equals the first wins, so
/// that moving `start` on from pod to pod spreads them.
pub(crate) fn place(plugins: &Plugins, pod: &PodInfo, snapshot: &Snapshot, start: usize) -> Placement {
    let nodes: Vec<&NodeInfo> = snapshot.nodes().collect();
    let mut diagnosis = Diagnosis::new(nodes.len());
    if nodes.is_empty() {
        return Placement::Nowhere(diagnosis);
    }
    let mut checks: Vec<(&'static str, Check<'_>)> = Vec::new();
    for filter in &plugins.filters {
        match filter.pre_filter(pod, snapshot) {
            PreFilter::Skip => {}
            PreFilter::Reject(reason) => {
                diagnosis.reject_all(filter.name(), reason);
                return Placement::Nowhere(diagnosis);
            }
            PreFilter::Filter(check) => checks.push((filter.name(), check)),
        }
    }
    let wanted = nodes_wanted(nodes.len());
    let start = start % nodes.len();
    let mut feasible = Vec::new();
    for node in nodes.iter().cycle().skip(start).take(nodes.len()) {
        let rejected = checks.iter().find_map(|(name, check)| check(node).err().map(|why| (*name, why)));
        match rejected {
            Some((plugin, why)) => diagnosis.reject(plugin, why),
            None => feasible.push(*node),
        }
        if feasible.len() >= wanted {
            break;
        }
    }
    match best(plugins, pod, snapshot, &feasible) {
        Some(node) => Placement::Node(node.name().to_owned()),
        None => Placement::Nowhere(diagnosis),
    }
}

/// How many feasible nodes are enough, as upstream's adaptive percentage has it.
fn nodes_wanted(nodes: usize) -> usize {
    if nodes < NODES_SEARCHED_MIN {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(NODES_SEARCHED_MIN)
}

fn best<'a>(
    plugins: &Plugins,
    pod: &PodInfo,
    snapshot: &Snapshot,
    feasible: &[&'a NodeInfo],
) -> Option<&'a NodeInfo> {
    if feasible.len() < 2 {
        return feasible.first().copied();
    }
    let mut totals = vec![0_i64; feasible.len()];
    for plugin in &plugins.scores {
        let Some(rate) = plugin.pre_score(pod, snapshot) else { continue };
        let mut scores: Vec<i64> = feasible.iter().map(|node| rate(node)).collect();
        plugin.normalize().apply(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight();
        }
    }
    let highest = totals.iter().max().copied()?;
    feasible.iter().zip(&totals).find(|(_, total)| **total == highest).map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{Placement, Plugins, place};
    use crate::state::{PodInfo, Snapshot};

    fn plugins() -> Plugins {
        Plugins { filters: crate::filters::all(), scores: crate::scores::all() }
    }

    fn node(snapshot: &mut Snapshot, name: &str, spec: Value) {
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"}},
        });
        snapshot.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }

    fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
        let pod = json!({
            "metadata": {"namespace": "default", "name": name, "uid": name, "labels": {"app": "web"}},
            "spec": spec,
        });
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
    }

    fn why(placement: Placement) -> String {
        match placement {
            Placement::Node(node) => panic!("placed on {node}"),
            Placement::Nowhere(diagnosis) => diagnosis.message(),
        }
    }

    #[test]
    fn reasons_are_counted_by_node() {
        let mut snapshot = Snapshot::default();
        node(&mut snapshot, "a", json!({}));
        node(&mut snapshot, "b", json!({}));
        node(&mut snapshot, "c", json!({"unschedulable": true}));
        node(&mut snapshot, "d", json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}));
        let placement = place(&plugins(), &pod("p", asks("3")), &snapshot, 0);
        assert_eq!(
            why(placement),
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, \
             2 Insufficient cpu."
        );
        assert_eq!(
            why(place(&plugins(), &pod("p", asks("1")), &Snapshot::default(), 0)),
            "no nodes available to schedule pods"
        );
    }

    #[test]
    fn assumed_pods_take_room_and_the_emptier_node_wins() {
        let mut snapshot = Snapshot::default();
        node(&mut snapshot, "a", json!({}));
        node(&mut snapshot, "b", json!({}));
        let mut chosen = Vec::new();
        for number in 0..5 {
            let pod = pod(&number.to_string(), asks("1"));
            let placement = place(&plugins(), &pod, &snapshot, 0);
            if let Placement::Node(node) = &placement {
                snapshot.assume(Arc::clone(&pod), node);
                chosen.push(node.clone());
            } else {
                assert_eq!(why(placement), "0/2 nodes are available: 2 Insufficient cpu.");
            }
        }
        assert_eq!(chosen, ["a", "b", "a", "b"]);
        snapshot.forget(&pod("0", asks("1")).key, "0");
        assert_eq!(place(&plugins(), &pod("9", asks("1")), &snapshot, 0), Placement::Node("a".to_owned()));
    }

    #[test]
    fn host_ports_keep_pods_apart() {
        let mut snapshot = Snapshot::default();
        node(&mut snapshot, "a", json!({}));
        let spec = json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        snapshot.assume(pod("first", spec.clone()), "a");
        assert_eq!(
            why(place(&plugins(), &pod("second", spec), &snapshot, 0)),
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
        );
    }

    #[test]
    fn anti_affinity_and_spread_are_kept() {
        let mut snapshot = Snapshot::default();
        node(&mut snapshot, "a", json!({}));
        let selector = json!({"matchLabels": {"app": "web"}});
        let apart = json!({"containers": [], "affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution":
                [{"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}]}}});
        snapshot.assume(pod("first", asks("1")), "a");
        assert_eq!(
            why(place(&plugins(), &pod("second", apart), &snapshot, 0)),
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
        );
        node(&mut snapshot, "b", json!({"unschedulable": true}));
        let spread = json!({"containers": [], "topologySpreadConstraints": [{"maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]});
        assert_eq!(
            why(place(&plugins(), &pod("third", spread), &snapshot, 0)),
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
             1 node(s) were unschedulable."
        );
    }

    #[test]
    fn required_and_preferred_node_affinity_are_met() {
        let mut snapshot = Snapshot::default();
        node(&mut snapshot, "a", json!({}));
        node(&mut snapshot, "b", json!({}));
        let term = |name: &str| {
            json!({"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]})
        };
        let prefers = json!({"containers": [], "affinity": {"nodeAffinity":
            {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": term("b")}]}}});
        assert_eq!(place(&plugins(), &pod("p", prefers), &snapshot, 0), Placement::Node("b".to_owned()));
        let requires = json!({"containers": [], "affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("c")]}}}});
        assert_eq!(
            why(place(&plugins(), &pod("p", requires), &snapshot, 0)),
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
        );
    }
}
