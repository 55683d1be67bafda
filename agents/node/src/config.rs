//! What the node agent is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_base::lifecycle::{Clock, SystemClock};
use mainstay_base::pki::Leaf;
use tokio::sync::watch;

/// Configuration of one node agent. Construct with [`Config::new`], then set what differs.
#[derive(Debug, Clone)]
pub struct Config {
    /// `metadata.name` of the Node; must be what the client's certificate says (`system:node:<name>`).
    pub node_name: String,
    /// The node's addresses, the preferred one first.
    pub node_ips: Vec<IpAddr>,
    /// Pod volumes and logs live below this directory.
    pub state_dir: PathBuf,
    /// Where the kubelet API listens; port 0 takes a free one. The port is published on the Node.
    pub bind: SocketAddr,
    /// The kubelet API's certificate chain and key; a new one is shown from the next connection on.
    pub serving: watch::Receiver<Leaf>,
    /// Clients of the kubelet API must show a certificate of this authority, PEM.
    pub client_ca_pem: watch::Receiver<String>,
    /// Common names that may use the kubelet API.
    pub allowed_clients: Vec<String>,
    /// Name servers of `dnsPolicy: ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Cgroup path below which pods live, for example `/mainstay-ab12/kubepods`.
    pub cgroup_root: String,
    /// How many pods the node takes.
    pub pods_max: u32,
    /// The node's pod addresses, where they are known before the Node is: said when the Node is made.
    pub pod_cidr: Option<String>,
    /// More labels for the Node object.
    pub labels: BTreeMap<String, String>,
    /// `status.nodeInfo.kubeletVersion`, for example `v1.37.0`.
    pub kubelet_version: String,
    /// Resources kept back from pods: CPU in thousandths, memory in bytes.
    pub reserved_cpu_milli: i64,
    /// See `reserved_cpu_milli`.
    pub reserved_memory_bytes: i64,
    /// The clock of every decision.
    pub clock: Arc<dyn Clock>,
    /// Where the agent's metrics are registered; `/metrics` shows all of this registry.
    pub registry: prometheus::Registry,
}

impl Config {
    /// A configuration with upstream's defaults. TLS material and addresses must be filled in by the caller.
    pub fn new(node_name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            state_dir: state_dir.into(),
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            serving: watch::channel(Leaf { certificate_pem: String::new(), key_pem: String::new() }).1,
            client_ca_pem: watch::channel(String::new()).1,
            allowed_clients: vec!["kube-apiserver-kubelet-client".to_owned()],
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            cgroup_root: "/kubepods".to_owned(),
            pods_max: 110,
            pod_cidr: None,
            labels: BTreeMap::new(),
            kubelet_version: "v1.37.0".to_owned(),
            reserved_cpu_milli: 0,
            reserved_memory_bytes: 0,
            clock: Arc::new(SystemClock),
            registry: prometheus::Registry::new(),
        }
    }
}
