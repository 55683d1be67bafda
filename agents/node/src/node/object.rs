//! The Node object as this agent registers it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::ObjectMeta;

use super::machine::Machine;

/// Upstream shows at most this many images on a Node.
const IMAGES_MAX: usize = 50;

/// What identifies the node and does not change while the agent runs.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub name: String,
    pub ips: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub machine: Machine,
    pub kubelet_version: String,
    pub runtime_version: String,
    pub kubelet_port: u16,
    pub capacity: BTreeMap<String, Quantity>,
    pub allocatable: BTreeMap<String, Quantity>,
    pub pod_cidr: Option<String>,
}

impl Identity {
    /// The labels every node has, and the configured ones.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let arch = go_arch();
        let mut labels: BTreeMap<String, String> = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        labels.extend(self.labels.clone());
        labels
    }

    /// The object to create when there is none.
    pub(super) fn node(&self, status: NodeStatus) -> Node {
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.labels()),
                annotations: Some(
                    [(
                        "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                        "true".to_owned(),
                    )]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                pod_cidr: self.pod_cidr.clone(),
                pod_cidrs: self.pod_cidr.clone().map(|range| vec![range]),
                ..NodeSpec::default()
            }),
            status: Some(status),
        }
    }

    /// The status with these conditions and images.
    pub(super) fn status(
        &self,
        conditions: Vec<NodeCondition>,
        mut images: Vec<ContainerImage>,
    ) -> NodeStatus {
        images.sort_by_key(|i| std::cmp::Reverse(i.size_bytes));
        images.truncate(IMAGES_MAX);
        let internal = self.ips.iter().map(|ip| ("InternalIP", ip.clone()));
        let addresses = internal.chain([("Hostname", self.name.clone())]);
        NodeStatus {
            addresses: Some(
                addresses.map(|(kind, address)| NodeAddress { type_: kind.to_owned(), address }).collect(),
            ),
            capacity: Some(self.capacity.clone()),
            allocatable: Some(self.allocatable.clone()),
            conditions: Some(conditions),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.kubelet_port) }),
            }),
            images: Some(images),
            node_info: Some(NodeSystemInfo {
                architecture: go_arch().to_owned(),
                boot_id: self.machine.boot_id.clone(),
                container_runtime_version: self.runtime_version.clone(),
                kernel_version: self.machine.kernel.clone(),
                kube_proxy_version: String::new(),
                kubelet_version: self.kubelet_version.clone(),
                machine_id: self.machine.id.clone(),
                operating_system: "linux".to_owned(),
                os_image: self.machine.os_image.clone(),
                system_uuid: self.machine.system_uuid.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }
}

/// Go's name of this architecture.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
