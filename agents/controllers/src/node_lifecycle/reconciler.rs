//! Observes a node, its lease and its pods.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_base::lifecycle::Clock;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::{self, World};
use crate::pods;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Nodes whose last sign of life is remembered; those that are gone are forgotten first.
const NODES_MAX: usize = 10_000;

/// Marks nodes by what they show of themselves.
pub(crate) struct NodeLifecycle {
    nodes: Reader<Node>,
    leases: Reader<Lease>,
    pods: Reader<Pod>,
    grace: Duration,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<String, Sign>>,
}

/// A node's last sign of life and when this process first saw it: clocks of other machines are not trusted, and this one's wall
/// clock may jump.
#[derive(Clone, PartialEq, Eq)]
struct Sign {
    uid: Option<String>,
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    at: Instant,
}

impl NodeLifecycle {
    pub(crate) fn new(informers: &Informers, grace: Duration, clock: Arc<dyn Clock>) -> Self {
        let pods = informers.reader();
        pods::index(&pods);
        let nodes = informers.reader();
        // Without those of leader election, which change twice a second.
        let leases = informers.filtered(Filter::fields(format!("metadata.namespace={LEASE_NAMESPACE}")));
        Self { nodes, leases, pods, grace, clock, seen: Mutex::new(HashMap::new()) }
    }

    /// How long ago this process first saw the node's present sign of life.
    fn silent_for(&self, node: &Node) -> Duration {
        let now = self.clock.now();
        let name = node.metadata.name.clone().unwrap_or_default();
        let lease = self.leases.get_named(LEASE_NAMESPACE, &name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let heartbeat = plan::ready_condition(node)
            .filter(|ready| ready.status != "Unknown")
            .and_then(|ready| ready.last_heartbeat_time.as_ref().map(|time| time.0));
        let mut sign = Sign { uid: node.metadata.uid.clone(), renewed, heartbeat, at: now };
        let mut seen = self.seen.lock();
        if let Some(present) = seen.get(&name) {
            sign.at = present.at;
            if *present == sign {
                return now.saturating_duration_since(sign.at);
            }
            sign.at = now;
        }
        if seen.len() >= NODES_MAX {
            seen.retain(|name, _| self.nodes.get(&ObjectKey::cluster(name.as_str())).is_some());
        }
        seen.insert(name, sign);
        Duration::ZERO
    }
}

impl Reconciler for NodeLifecycle {
    type World = World;

    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let node_of_lease = |lease: &Lease| {
            let is_node = lease.metadata.namespace.as_deref() == Some(LEASE_NAMESPACE);
            lease.metadata.name.clone().filter(|_| is_node).map(ObjectKey::cluster).into_iter().collect()
        };
        // A pod that becomes ready on a node that is not must be marked too.
        let nodes = self.nodes.clone();
        let node_of_pod = move |pod: &Pod| {
            let key = pods::node_name(pod).filter(|_| pods::is_ready(pod)).map(ObjectKey::cluster);
            key.filter(|key| nodes.get(key).is_some_and(|node| !plan::is_ready(&node))).into_iter().collect()
        };
        vec![
            Watch::of(&self.nodes),
            Watch::map(&self.leases, node_of_lease),
            Watch::map(&self.pods, node_of_pod),
        ]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(node) = self.nodes.get(key) else { return Ok(None) };
        let silent_for = self.silent_for(&node);
        let pods = self.pods.by_index(pods::BY_NODE, &key.name);
        Ok(Some(World { node, silent_for, pods, grace: self.grace, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}
