//! How the controllers are started.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use mainstay_agents_kit::events::Recorder;
use mainstay_agents_kit::informer::Informers;
use mainstay_agents_kit::reconcile::{Drive, drive};
use mainstay_agents_kit::step::Actor;
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use tokio::sync::watch;

use crate::bootstrap_token::TokenCleaner;
use crate::certificates::{Approver, Authority, Cleaner, ServingApprover, Signer};
use crate::cluster_role_aggregation::ClusterRoleAggregation;
use crate::deployment::DeploymentController;
use crate::disruption::DisruptionController;
use crate::endpoint_slice::EndpointSliceController;
use crate::garbage_collector;
use crate::namespace::NamespaceController;
use crate::node_dns::NodeDns;
use crate::node_ipam::NodeIpam;
use crate::node_lifecycle::NodeLifecycle;
use crate::pod_gc::PodGc;
use crate::replica_set::ReplicaSetController;
use crate::root_ca::RootCaPublisher;
use crate::service_account::ServiceAccountController;
use crate::storage_protection::{ClaimProtection, VolumeProtection};
use crate::taint_eviction::TaintEviction;

/// Settings of the controllers; the default is upstream's, with an empty CA bundle.
#[derive(Clone, Debug)]
pub struct Config {
    /// The certificate authorities that pods verify the API server with, in PEM; they may change.
    pub root_ca_pem: watch::Receiver<String>,
    /// What signs requests for certificates, and may change; without it they are approved only.
    pub signing: Option<watch::Receiver<Authority>>,
    /// Addresses of all pods, of which each node gets a part; without it nodes get none. The nodes' DNS servers are found by it.
    pub cluster_cidr: Option<Ipv4Net>,
    /// Deployments, replica sets and services that are worked on at the same time, each.
    pub concurrency: usize,
    /// How long a node may be silent before its state counts as unknown.
    pub node_grace: Duration,
    /// How long a pod may stay on a node that is gone.
    pub gone_node_grace: Duration,
    /// How many ended pods are kept.
    pub terminated_pods_max: usize,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root_ca_pem: watch::channel(String::new()).1,
            signing: None,
            cluster_cidr: None,
            concurrency: 5,
            node_grace: Duration::from_secs(50),
            gone_node_grace: Duration::from_secs(40),
            terminated_pods_max: 12_500,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Config {
    /// Upstream's settings with this CA bundle for pods.
    pub fn new(root_ca_pem: watch::Receiver<String>) -> Self {
        Self { root_ca_pem, ..Self::default() }
    }
}

/// Starts all controllers; they end with `tasks`. `client` carries the identity `system:kube-controller-manager`.
#[allow(clippy::needless_pass_by_value, reason = "the controllers own their settings and identity")]
pub fn run(config: Config, client: kube::Client, tasks: &Tasks) {
    let clock = Arc::clone(&config.clock);
    let informers = Informers::new(client.clone(), tasks.clone(), Arc::clone(&clock));
    let plain = |component: &str| {
        let recorder = Recorder::start(tasks, client.clone(), Arc::clone(&clock), component, None);
        Drive::new(Actor::new(client.clone(), recorder), Arc::clone(&clock))
    };
    let busy = |component: &str| plain(component).concurrency(config.concurrency);
    drive(DeploymentController::new(&informers), busy("deployment-controller"), tasks);
    drive(ReplicaSetController::new(&informers), busy("replicaset-controller"), tasks);
    drive(EndpointSliceController::new(&informers), busy("endpoint-slice-controller"), tasks);
    let quiet = plain("controllermanager");
    drive(ServiceAccountController::new(&informers), quiet.clone(), tasks);
    drive(RootCaPublisher::new(&informers, config.root_ca_pem.clone()), quiet.clone(), tasks);
    drive(NamespaceController::new(&informers), quiet.clone(), tasks);
    drive(ClusterRoleAggregation::new(&informers), quiet.clone(), tasks);
    drive(PodGc::new(&informers, config.gone_node_grace, config.terminated_pods_max), quiet.clone(), tasks);
    drive(Approver::new(&informers), quiet.clone(), tasks);
    drive(ServingApprover::new(&informers), quiet.clone(), tasks);
    drive(Cleaner::new(&informers), quiet.clone(), tasks);
    drive(TokenCleaner::new(&informers), quiet.clone(), tasks);
    drive(ClaimProtection::new(&informers), quiet.clone(), tasks);
    drive(VolumeProtection::new(&informers), quiet.clone(), tasks);
    if let Some(authority) = config.signing {
        drive(Signer::new(&informers, authority), quiet.clone(), tasks);
    }
    if let Some(cluster_cidr) = config.cluster_cidr {
        drive(NodeIpam::new(&informers, cluster_cidr), plain("cidrAllocator"), tasks);
        drive(NodeDns::new(&informers), quiet.clone(), tasks);
    }
    drive(
        NodeLifecycle::new(&informers, config.node_grace, Arc::clone(&clock)),
        plain("node-controller"),
        tasks,
    );
    drive(DisruptionController::new(&informers), plain("controllermanager"), tasks);
    drive(TaintEviction::new(&informers), plain("taint-eviction-controller"), tasks);
    garbage_collector::start(&informers, quiet.concurrency(20), tasks);
}
