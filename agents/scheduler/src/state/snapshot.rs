//! All nodes and assigned pods, updated in place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use mainstay_agents_kit::ObjectKey;

use super::node_info::NodeInfo;
use super::pod_info::PodInfo;

#[derive(Debug)]
struct Assigned {
    node: String,
    uid: String,
    /// Chosen by this scheduler and not yet seen in the API.
    assumed: bool,
}

/// All nodes with the pods assigned to them, those only assumed included.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    nodes: BTreeMap<String, NodeInfo>,
    assigned: HashMap<ObjectKey, Assigned>,
}

impl Snapshot {
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.nodes.entry(name).or_default().set_node(node);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Takes over a pod that the API shows on `node`.
    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.put(pod, node, false);
    }

    /// Counts a pod as on `node` before the API shows it.
    pub(crate) fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.put(pod, node, true);
    }

    /// Takes back an assumption that did not come true.
    pub(crate) fn forget(&mut self, key: &ObjectKey, uid: &str) {
        if self.is_assumed(key, uid) {
            self.remove_pod(key);
        }
    }

    pub(crate) fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.assigned.get(key).is_some_and(|assigned| assigned.assumed && assigned.uid == uid)
    }

    /// Removes a pod; says whether it was on a node.
    pub(crate) fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        let Some(Assigned { node, .. }) = self.assigned.remove(key) else { return false };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove_pod(key);
            if info.node.is_none() && info.pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
        true
    }

    /// The nodes that exist, in name order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|info| info.node.is_some())
    }

    /// The names of all known nodes and of all pods on them, for comparing with a whole cache.
    pub(crate) fn known(&self) -> (Vec<String>, Vec<ObjectKey>) {
        let nodes = self.nodes().map(|info| info.name().to_owned()).collect();
        (nodes, self.assigned.keys().cloned().collect())
    }

    fn put(&mut self, pod: Arc<PodInfo>, node: &str, assumed: bool) {
        self.remove_pod(&pod.key);
        let assigned = Assigned { node: node.to_owned(), uid: pod.uid.clone(), assumed };
        self.assigned.insert(pod.key.clone(), assigned);
        self.nodes.entry(node.to_owned()).or_default().add_pod(pod);
    }
}
