//! Approves the serving certificates of nodes: for a node's own name and for addresses that are its own and nobody else's.
//!
//! Upstream leaves this to people. Certificates of API servers are of the same authority, so a node must never get one for
//! an address of another machine.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{Step, Target};
use mainstay_agents_kit::time::time;
use serde_json::json;

use super::profile::Profile;
use super::state::{condition, is_issued};
use super::subject::Subject;

const NODE_PREFIX: &str = "system:node:";
/// The slice of the API servers.
const SERVERS: (&str, &str) = ("default", "kubernetes");

/// Approves serving certificates.
pub(crate) struct ServingApprover {
    requests: Reader<CertificateSigningRequest>,
    nodes: Reader<Node>,
    slices: Reader<EndpointSlice>,
}

pub(crate) struct World {
    pub(super) request: Arc<CertificateSigningRequest>,
    pub(super) nodes: Vec<Arc<Node>>,
    /// Addresses of API servers.
    pub(super) servers: Vec<IpAddr>,
    pub(super) now: Timestamp,
}

impl ServingApprover {
    pub(crate) fn new(informers: &Informers) -> Self {
        let own = Filter::labels(format!("kubernetes.io/service-name={}", SERVERS.1));
        Self { requests: informers.reader(), nodes: informers.reader(), slices: informers.filtered(own) }
    }
}

impl Reconciler for ServingApprover {
    type World = World;

    fn name(&self) -> &'static str {
        "kubelet-serving-approving-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.requests)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        if !is_open(&request) {
            return Ok(None);
        }
        self.nodes.synced().await;
        self.slices.synced().await;
        let servers = self.slices.list_in(SERVERS.0);
        let servers = servers.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let servers =
            servers.flat_map(|endpoint| &endpoint.addresses).filter_map(|ip| ip.parse().ok()).collect();
        let world = World { request, nodes: self.nodes.list(), servers, now };
        // The Node may not have reached this cache yet: looked at again.
        match refusal(&world) {
            Some(why) => Err(ObserveError::new("whether a node may serve under these names", why)),
            None => Ok(Some(world)),
        }
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn is_open(request: &CertificateSigningRequest) -> bool {
    let decided = ["Approved", "Denied", "Failed"].iter().any(|kind| condition(request, kind).is_some());
    !decided && !is_issued(request) && Profile::of(&request.spec.signer_name) == Some(Profile::KubeletServing)
}

/// Why the request is not approved; none where it is. Pure.
pub(super) fn refusal(world: &World) -> Option<String> {
    let spec = &world.request.spec;
    let subject = match Subject::parse(&spec.request.0) {
        Ok(subject) => subject,
        Err(why) => return Some(why),
    };
    if let Err(why) = Profile::KubeletServing.check(&subject, spec.usages.as_deref().unwrap_or_default()) {
        return Some(why);
    }
    let user = spec.username.as_deref().unwrap_or_default();
    let name = subject.common_name.strip_prefix(NODE_PREFIX).unwrap_or_default();
    if user != subject.common_name || name.is_empty() {
        return Some(format!("{user:?} asks for {:?}", subject.common_name));
    }
    let Some(node) = world.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name)) else {
        return Some(format!("there is no node {name:?}"));
    };
    if let Some(other) = subject.dns_names.iter().find(|dns| *dns != name) {
        return Some(format!("the name {other:?} is not the node's"));
    }
    let own = addresses(node);
    let others: Vec<IpAddr> = world
        .nodes
        .iter()
        .filter(|other| other.metadata.name.as_deref() != Some(name))
        .flat_map(|other| addresses(other))
        .chain(world.servers.iter().copied())
        .collect();
    let wrong =
        subject.addresses.iter().find(|ip| !own.contains(ip) || others.contains(ip) || ip.is_loopback());
    wrong.map(|ip| format!("the address {ip} is not the node's, or not the node's alone"))
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let status = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let ips = status.iter().filter(|address| address.type_.ends_with("IP"));
    ips.filter_map(|address| address.address.parse().ok()).collect()
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    if refusal(world).is_some() {
        return (Vec::new(), Next::Done);
    }
    let mut request = world.request.as_ref().clone();
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(
        CertificateSigningRequestCondition {
            type_: "Approved".to_owned(),
            status: "True".to_owned(),
            reason: Some("AutoApproved".to_owned()),
            message: Some("Auto approving kubelet serving certificate for the node's own names.".to_owned()),
            last_update_time: Some(time(world.now)),
            last_transition_time: None,
        },
    );
    let step =
        Step::Replace { target: Target::of(&request), subresource: Some("approval"), body: json!(request) };
    (vec![step], Next::Done)
}
