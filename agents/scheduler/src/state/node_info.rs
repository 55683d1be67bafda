//! A node with the sums over the pods on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use mainstay_agents_kit::ObjectKey;

use super::pod_info::PodInfo;
use super::resources::Resources;

/// A node with the sums over the pods on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    /// Absent while pods of the node are known but the node is not.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Resources,
    pub(crate) requested: Resources,
    pub(crate) requested_scored: Resources,
    pub(crate) pods: BTreeMap<ObjectKey, Arc<PodInfo>>,
    /// Image name to size in bytes.
    pub(crate) image_bytes: HashMap<String, i64>,
}

impl NodeInfo {
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.allocatable = Resources::of(status.and_then(|status| {
            status.allocatable.as_ref().filter(|list| !list.is_empty()).or(status.capacity.as_ref())
        }));
        self.image_bytes = status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let bytes = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (name.clone(), bytes))
            })
            .collect();
        self.node = Some(node);
    }

    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.key);
        self.requested.add(&pod.requests);
        self.requested_scored.add(&pod.requests_scored);
        self.pods.insert(pod.key.clone(), pod);
    }

    pub(crate) fn remove_pod(&mut self, key: &ObjectKey) {
        if let Some(pod) = self.pods.remove(key) {
            self.requested.subtract(&pod.requests);
            self.requested_scored.subtract(&pod.requests_scored);
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.as_ref()?.metadata.labels.as_ref()
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        self.node
            .as_ref()
            .and_then(|node| node.spec.as_ref())
            .and_then(|spec| spec.taints.as_deref())
            .unwrap_or_default()
    }

    pub(crate) fn is_unschedulable(&self) -> bool {
        self.node.as_ref().and_then(|node| node.spec.as_ref()).and_then(|spec| spec.unschedulable)
            == Some(true)
    }
}
