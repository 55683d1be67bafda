//! The endpoints of the DNS Service: every node answers for its own pods, at the first address of its pod range.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;

const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const PORT: i32 = 53;
/// Endpoints of one slice, at most; the kind's own limit.
const SLICE_MAX: usize = 1000;

/// Keeps the slices of the DNS Service.
pub(crate) struct NodeDns {
    nodes: Reader<Node>,
    slices: Reader<EndpointSlice>,
}

pub(crate) struct World {
    nodes: Vec<Arc<Node>>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl NodeDns {
    pub(crate) fn new(informers: &Informers) -> Self {
        let slices = Filter::labels(format!("{SERVICE_LABEL}={SERVICE}"));
        Self { nodes: informers.reader(), slices: informers.filtered(slices) }
    }
}

impl Reconciler for NodeDns {
    type World = World;

    fn name(&self) -> &'static str {
        "node-dns-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let key = || ObjectKey::new(NAMESPACE, SERVICE);
        let server = |node: Option<&Node>| node.and_then(server_of);
        let nodes =
            Watch::changes(
                &self.nodes,
                move |old, new| {
                    if server(old) == server(new) { Vec::new() } else { vec![key()] }
                },
            );
        vec![nodes, Watch::map(&self.slices, move |_| vec![key()])]
    }

    async fn observe(&self, _key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        Ok(Some(World { nodes: self.nodes.list(), slices: self.slices.list_in(NAMESPACE) }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

/// Where a node's DNS server listens.
fn server_of(node: &Node) -> Option<String> {
    let range: Ipv4Net = node.spec.as_ref()?.pod_cidr.as_deref()?.parse().ok()?;
    range.hosts().next().map(|first| first.to_string())
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let endpoints: Vec<Endpoint> = world.nodes.iter().filter_map(|node| endpoint(node)).collect();
    let mut wanted: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for (number, part) in endpoints.chunks(SLICE_MAX).enumerate() {
        let name = if number == 0 { SERVICE.to_owned() } else { format!("{SERVICE}-{number}") };
        wanted.insert(name, part.to_vec());
    }
    let mut steps = Vec::new();
    for slice in &world.slices {
        let name = slice.metadata.name.clone().unwrap_or_default();
        match wanted.remove(&name) {
            None => steps.push(Step::delete(slice.as_ref())),
            Some(endpoints) if slice.endpoints.as_ref() != Some(&endpoints) => {
                steps.push(Step::replace(&EndpointSlice {
                    endpoints: Some(endpoints),
                    ..slice.as_ref().clone()
                }));
            }
            Some(_) => {}
        }
    }
    steps.extend(wanted.into_iter().map(|(name, endpoints)| Step::create(&slice(name, endpoints))));
    (steps, Next::Done)
}

fn endpoint(node: &Node) -> Option<Endpoint> {
    Some(Endpoint {
        addresses: vec![server_of(node)?],
        conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
        node_name: node.metadata.name.clone(),
        ..Endpoint::default()
    })
}

fn slice(name: String, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let labels = [(SERVICE_LABEL, SERVICE), ("endpointslice.kubernetes.io/managed-by", "mainstay")];
    let port = |name: &str, protocol: &str| EndpointPort {
        name: Some(name.to_owned()),
        port: Some(PORT),
        protocol: Some(protocol.to_owned()),
        ..EndpointPort::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cidr: Option<&str>) -> Arc<Node> {
        let object = json!({"metadata": {"name": name}, "spec": {"podCIDR": cidr}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn every_node_with_a_range_is_an_endpoint_for_itself() {
        let nodes = vec![node("a", Some("10.42.0.0/24")), node("b", None), node("c", Some("10.42.9.0/24"))];
        let (steps, _) = plan(&World { nodes: nodes.clone(), slices: Vec::new() });
        let [Step::Create { body, .. }] = steps.as_slice() else { panic!("{steps:?}") };
        let made: EndpointSlice = serde_json::from_value(body.clone()).unwrap();
        let found: Vec<_> = made
            .endpoints
            .iter()
            .flatten()
            .map(|e| (e.addresses[0].as_str(), e.node_name.as_deref()))
            .collect();
        assert_eq!(found, [("10.42.0.1", Some("a")), ("10.42.9.1", Some("c"))]);
        let again = World { nodes, slices: vec![Arc::new(made.clone())] };
        assert!(plan(&again).0.is_empty(), "nothing is left to do");
        let fewer = World { nodes: vec![node("a", Some("10.42.0.0/24"))], slices: vec![Arc::new(made)] };
        assert!(matches!(plan(&fewer).0.as_slice(), [Step::Replace { .. }]));
    }
}
