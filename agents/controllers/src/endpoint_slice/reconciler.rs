//! Observes a service, its pods and its slices.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_proto_api::label::Selector;

use super::plan::{self, MANAGED_BY, MANAGER, SERVICE_NAME};
use super::world::World;
use crate::pods;

const BY_SERVICE: &str = "service";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Keeps the slices of services with a selector.
pub(crate) struct EndpointSliceController {
    services: Reader<Service>,
    pods: Reader<Pod>,
    slices: Reader<EndpointSlice>,
    nodes: Reader<Node>,
}

impl EndpointSliceController {
    pub(crate) fn new(informers: &Informers) -> Self {
        let slices: Reader<EndpointSlice> = informers.reader();
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice).into_iter().map(|key| key.to_string()).collect()
        });
        Self { services: informers.reader(), pods: informers.reader(), slices, nodes: informers.reader() }
    }
}

/// The service whose slice this is, if this controller manages it.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let name = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone()?, name.clone()))
}

/// The service's selector; absent for a service whose endpoints somebody else provides.
fn selector_of(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    Some(Selector::from_map(labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
}

/// Whether two states of a pod show the same in a slice.
fn same_face(a: &Pod, b: &Pod) -> bool {
    let states = |pod: &Pod| (pods::is_ready(pod), pods::is_terminating(pod), pods::is_finished(pod));
    let addresses =
        |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
    a.metadata.uid == b.metadata.uid
        && a.metadata.labels == b.metadata.labels
        && states(a) == states(b)
        && pods::node_name(a) == pods::node_name(b)
        && addresses(a) == addresses(b)
}

impl Reconciler for EndpointSliceController {
    type World = World;

    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let services = self.services.clone();
        let selecting = move |pod: &Pod| -> Vec<ObjectKey> {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let selects = |service: &Service| {
                selector_of(service).is_some_and(|selector| selector.matches(&pod.metadata.labels))
            };
            let all = services.list_in(namespace);
            all.iter()
                .filter(|service| selects(service))
                .map(|service| ObjectKey::of(service.as_ref()))
                .collect()
        };
        let of_pods = Watch::changes(&self.pods, move |old: Option<&Pod>, new: Option<&Pod>| {
            if let (Some(old), Some(new)) = (old, new)
                && same_face(old, new)
            {
                return Vec::new();
            }
            [old, new].into_iter().flatten().flat_map(&selecting).collect()
        });
        vec![
            Watch::of(&self.services),
            of_pods,
            Watch::map(&self.slices, |slice| service_of(slice).into_iter().collect()),
            Watch::map(&self.nodes, |_node: &Node| Vec::new()),
        ]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        // The slices of a deleted service go with it: they are owned by it.
        let Some(service) =
            self.services.get(key).filter(|service| service.metadata.deletion_timestamp.is_none())
        else {
            return Ok(None);
        };
        let Some(selector) = selector_of(&service) else { return Ok(None) };
        let all = self.pods.snapshot();
        let pods: Vec<Arc<Pod>> = all
            .in_namespace(&key.namespace)
            .filter(|pod| selector.matches(&pod.metadata.labels))
            .cloned()
            .collect();
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let zone = |node: &Arc<Node>| {
            let zone = node.metadata.labels.as_ref()?.get(ZONE)?.clone();
            Some((node.metadata.name.clone()?, zone))
        };
        let zones = self.nodes.list().iter().filter_map(zone).collect();
        Ok(Some(World { service, pods, slices, zones }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}
