//! What every loop of the agent shares. Cheap to clone behind an `Arc`; holds no state of a single pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::informer::Reader;
use mainstay_proto_wire::cri::{ImageService, RuntimeService, Streams};

use crate::config::Config;
use crate::names::PodDirs;
use crate::observer::Observer;
use crate::pod_events::PodEvents;
use crate::sources::ObjectSources;
use crate::spec::dns::{ClusterDns, DnsConfig};

/// Facts of the machine that do not change while the agent runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFacts {
    pub capacity: BTreeMap<String, Quantity>,
    pub allocatable: BTreeMap<String, Quantity>,
    pub memory_bytes: i64,
    pub hostname: String,
    pub host_ips: Vec<String>,
    pub dns: DnsConfig,
}

/// The agent's shared parts.
pub(crate) struct Agent {
    pub config: Config,
    pub client: kube::Client,
    pub runtime: Arc<dyn RuntimeService>,
    pub images: Arc<dyn ImageService>,
    pub streams: Arc<dyn Streams>,
    pub observer: Arc<Observer>,
    pub sources: ObjectSources,
    pub services: Reader<Service>,
    pub events: PodEvents,
    pub dirs: PodDirs,
    pub facts: NodeFacts,
}

impl Agent {
    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        mainstay_agents_kit::time::now(self.config.clock.as_ref())
    }

    /// What the cluster's DNS offers to pods.
    pub(crate) fn cluster_dns(&self) -> ClusterDns {
        ClusterDns {
            servers: self.config.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: self.config.cluster_domain.clone(),
        }
    }
}
