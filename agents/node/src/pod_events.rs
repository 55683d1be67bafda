//! Events about pods and the node, with upstream's reasons.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use mainstay_agents_kit::events::{EventType, Recorder, reference};

use crate::spec::containers::{self, Role};

/// Records events of this node's pods.
#[derive(Debug, Clone)]
pub(crate) struct PodEvents {
    recorder: Recorder,
    node_name: String,
}

impl PodEvents {
    /// Events go through `recorder`, which bounds their rate.
    pub(crate) fn new(recorder: Recorder, node_name: String) -> Self {
        Self { recorder, node_name }
    }

    /// A `Normal` event about a pod.
    pub(crate) fn normal(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.recorder.record(reference(pod), EventType::Normal, reason, message.into());
    }

    /// A `Warning` event about a pod.
    pub(crate) fn warning(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.recorder.record(reference(pod), EventType::Warning, reason, message.into());
    }

    /// A `Normal` event about one container of a pod.
    pub(crate) fn container_normal(
        &self,
        pod: &Pod,
        container: &str,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.record(container_reference(pod, container), EventType::Normal, reason, message.into());
    }

    /// A `Warning` event about one container of a pod.
    pub(crate) fn container_warning(
        &self,
        pod: &Pod,
        container: &str,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.record(container_reference(pod, container), EventType::Warning, reason, message.into());
    }

    /// An event about the node.
    pub(crate) fn node(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        let regarding = ObjectReference {
            kind: Some("Node".to_owned()),
            api_version: Some("v1".to_owned()),
            name: Some(self.node_name.clone()),
            // Upstream's kubelet writes the node's name here, and `kubectl describe node` looks for it.
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.record(regarding, kind, reason, message.into());
    }
}

fn container_reference(pod: &Pod, container: &str) -> ObjectReference {
    let list = match containers::find(pod, container).map(|c| c.role) {
        Some(Role::Init | Role::Sidecar) => "initContainers",
        Some(Role::Ephemeral) => "ephemeralContainers",
        _ => "containers",
    };
    ObjectReference { field_path: Some(format!("spec.{list}{{{container}}}")), ..reference(pod) }
}
