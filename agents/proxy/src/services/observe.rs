//! From cached Services and EndpointSlices to the world that rules are decided from.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};
use mainstay_agents_kit::informer::Reader;

use super::world::{Endpoint, ServicePort, World};

/// The label that ties a slice to its Service.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// An alternative proxy serves Services with this label.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Upstream's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: i32 = 10_800;

/// Reads both caches.
pub(crate) fn observe(services: &Reader<Service>, slices: &Reader<EndpointSlice>, node_name: &str) -> World {
    slices.add_index(SERVICE_NAME_LABEL, service_of);
    let mut ports = Vec::new();
    for service in services.list() {
        let Some(cluster_ip) = proxied_ip(&service) else { continue };
        let meta = &service.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let own = slices.by_index(SERVICE_NAME_LABEL, &format!("{namespace}/{name}"));
        let spec = service.spec.as_ref();
        for port in spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default() {
            let candidates = Candidates::of(own.iter().map(|slice| &**slice), port, node_name);
            ports.extend(service_port(&service, port, cluster_ip, &candidates));
        }
    }
    World { ports }
}

/// `namespace/service`, for the slice index.
pub(crate) fn service_of(slice: &EndpointSlice) -> Vec<String> {
    let meta = &slice.metadata;
    let name = meta.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
    name.map(|name| format!("{}/{name}", meta.namespace.as_deref().unwrap_or_default())).into_iter().collect()
}

fn proxied_ip(service: &Service) -> Option<Ipv4Addr> {
    let elsewhere =
        service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY_LABEL));
    let spec = service.spec.as_ref().filter(|_| !elsewhere)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.cluster_ip.as_deref()?.parse().ok() // "None" and IPv6 have no rules here
}

fn service_port(
    service: &Service,
    port: &ApiPort,
    cluster_ip: Ipv4Addr,
    candidates: &Candidates,
) -> Option<ServicePort> {
    let spec = service.spec.as_ref()?;
    let meta = &service.metadata;
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let external_local = local(&spec.external_traffic_policy);
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress_ips = ingress.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let addresses =
        spec.external_ips.iter().flatten().chain(ingress_ips.iter().filter_map(|i| i.ip.as_ref()));
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1))
    });
    Some(ServicePort {
        name: format!(
            "{}/{}:{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
            port.name.as_deref().unwrap_or_default()
        ),
        protocol: protocol(port.protocol.as_deref())?,
        port: u16::try_from(port.port).ok()?,
        cluster_ip,
        external_ips: addresses.filter_map(|ip| ip.parse().ok()).collect(),
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
        affinity,
        internal: candidates.choose(local(&spec.internal_traffic_policy)),
        external: candidates.choose(external_local),
        external_local,
    })
}

fn protocol(name: Option<&str>) -> Option<&'static str> {
    match name.unwrap_or("TCP") {
        "TCP" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

/// The endpoints of one port, by what they are fit for.
#[derive(Default)]
struct Candidates {
    ready: BTreeSet<(bool, Endpoint)>,
    terminating: BTreeSet<(bool, Endpoint)>,
}

impl Candidates {
    fn of<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, port: &ApiPort, node_name: &str) -> Self {
        let mut found = Self::default();
        for slice in slices.filter(|slice| slice.address_type == "IPv4") {
            let matching = slice.ports.iter().flatten().find(|candidate| {
                candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                    && candidate.protocol.as_deref().unwrap_or("TCP")
                        == port.protocol.as_deref().unwrap_or("TCP")
            });
            let Some(number) = matching.and_then(|found| u16::try_from(found.port?).ok()) else { continue };
            for endpoint in slice.endpoints.iter().flatten() {
                found.add(endpoint, number, node_name);
            }
        }
        found
    }

    fn add(&mut self, endpoint: &ApiEndpoint, port: u16, node_name: &str) {
        let local = endpoint.node_name.as_deref() == Some(node_name);
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
        let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
        for ip in addresses {
            let entry = (local, Endpoint { ip, port });
            if ready {
                self.ready.insert(entry);
            } else if serving && terminating {
                self.terminating.insert(entry);
            }
        }
    }

    /// Ready endpoints; where there is none, those that still serve while they terminate (KEP-1669).
    fn choose(&self, local_only: bool) -> Vec<Endpoint> {
        let fit = |set: &BTreeSet<(bool, Endpoint)>| -> Vec<Endpoint> {
            let chosen: BTreeSet<_> = set
                .iter()
                .filter(|(local, _)| *local || !local_only)
                .map(|(_, endpoint)| *endpoint)
                .collect();
            chosen.into_iter().collect()
        };
        let ready = fit(&self.ready);
        if ready.is_empty() { fit(&self.terminating) } else { ready }
    }
}
