//! A pod as an endpoint of a service.

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions};

use super::world::World;
use crate::pods;

/// The address families that the service has slices for.
pub(super) fn address_types(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let mut types: Vec<&str> =
        families.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if types.is_empty() {
        let cluster_ip =
            service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
        types.push(if cluster_ip.contains(':') { "IPv6" } else { "IPv4" });
    }
    types
}

/// The pod as an endpoint of this address family; absent while it has no such address, or when it has ended.
pub(super) fn endpoint_of(world: &World, pod: &Pod, address_type: &str) -> Option<Endpoint> {
    if pods::is_finished(pod) {
        return None;
    }
    let address = address_of(pod, address_type)?;
    let terminating = pods::is_terminating(pod);
    let serving = pods::is_ready(pod);
    let publish = world.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let node_name = pods::node_name(pod).map(str::to_owned);
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname_of(world, pod),
        zone: node_name.as_ref().and_then(|name| world.zones.get(name).cloned()),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

fn address_of(pod: &Pod, address_type: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|entry| &entry.ip).chain(&status.pod_ip);
    all.filter(|ip| !ip.is_empty()).find(|ip| ip.contains(':') == (address_type == "IPv6")).cloned()
}

/// The pod's own name in DNS below the service, if it asks for one.
fn hostname_of(world: &World, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|name| !name.is_empty())?;
    (spec.subdomain == world.service.metadata.name
        && pod.metadata.namespace == world.service.metadata.namespace)
        .then_some(hostname)
}
