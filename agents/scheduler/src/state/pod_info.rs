//! A pod with what scheduling computes from it once.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use mainstay_agents_kit::ObjectKey;

use super::resources::{Resources, requests_of};

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) ip: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node: the wildcard address takes the port on all addresses.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A pod with what scheduling computes from it once.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) priority: i32,
    /// What the pod asks for.
    pub(crate) requests: Resources,
    /// The same with a little for containers that ask for nothing; only for scores.
    pub(crate) requests_scored: Resources,
    pub(crate) host_ports: Vec<HostPort>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        Self {
            key: ObjectKey::of(pod.as_ref()),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
            requests: requests_of(&pod, false),
            requests_scored: requests_of(&pod, true),
            host_ports: host_ports_of(&pod),
            pod,
        }
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// The node that the API says the pod is on.
    pub(crate) fn node_name(&self) -> Option<&str> {
        self.spec()?.node_name.as_deref().filter(|name| !name.is_empty())
    }
}

fn host_ports_of(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    sidecars
        .chain(&spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            Some(HostPort {
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: host_port,
            })
        })
        .collect()
}
