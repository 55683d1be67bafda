//! What the cluster's objects say about a name.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use mainstay_agents_kit::informer::{Informers, Reader};

use crate::services::{SERVICE_NAME_LABEL, service_of};

const BY_CLUSTER_IP: &str = "cluster-ip";
const BY_ADDRESS: &str = "address";

/// The caches that names are looked up in.
#[derive(Debug, Clone)]
pub struct Records {
    services: Reader<Service>,
    slices: Reader<EndpointSlice>,
}

/// One endpoint of a headless Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadlessEndpoint {
    /// Its label under the Service's name: the host name, or the address with dashes.
    pub(crate) label: String,
    /// Whether the label is a host name, which reverse names need.
    pub(crate) named: bool,
    /// Its address.
    pub(crate) ip: Ipv4Addr,
    /// Its ports: name, protocol in lower case, number.
    pub(crate) ports: Vec<(String, String, u16)>,
}

impl Records {
    /// Looks up in the shared caches of `informers`.
    pub fn new(informers: &Informers) -> Self {
        Self::over(informers.reader(), informers.reader())
    }

    /// Looks up in these caches.
    pub fn over(services: Reader<Service>, slices: Reader<EndpointSlice>) -> Self {
        services.add_index(BY_CLUSTER_IP, |service| {
            service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).into_iter().collect()
        });
        slices.add_index(SERVICE_NAME_LABEL, service_of);
        slices.add_index(BY_ADDRESS, |slice| {
            slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.clone()).collect()
        });
        Self { services, slices }
    }

    /// Waits until both caches hold their first list.
    pub async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
    }

    /// Whether both caches hold their first list.
    pub fn is_synced(&self) -> bool {
        self.services.progress().synced && self.slices.progress().synced
    }

    /// The Service of this name.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Service>> {
        self.services.get_named(namespace, name)
    }

    /// Whether any Service lives in this namespace, so that the name above them exists.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.services.snapshot().in_namespace(namespace).next().is_some()
    }

    /// Endpoints of a headless Service that may be published.
    pub(crate) fn headless(&self, service: &Service) -> Vec<HeadlessEndpoint> {
        let meta = &service.metadata;
        let key = format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        let slices = self.slices.by_index(SERVICE_NAME_LABEL, &key);
        let mut found: Vec<_> = slices.iter().flat_map(|slice| published(slice)).collect();
        found.sort_by(|a, b| a.ip.cmp(&b.ip).then_with(|| a.label.cmp(&b.label)));
        found.dedup();
        found
    }

    /// `service.namespace` whose cluster address this is.
    pub(crate) fn service_at(&self, ip: Ipv4Addr) -> Option<String> {
        let found = self.services.by_index(BY_CLUSTER_IP, &ip.to_string());
        let meta = &found.first()?.metadata;
        Some(format!("{}.{}", meta.name.as_deref()?, meta.namespace.as_deref()?))
    }

    /// `host.service.namespace` of every named endpoint at this address.
    pub(crate) fn endpoints_at(&self, ip: Ipv4Addr) -> Vec<String> {
        let slices = self.slices.by_index(BY_ADDRESS, &ip.to_string());
        let mut names = Vec::new();
        for slice in slices {
            let meta = &slice.metadata;
            let service = meta.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
            let (Some(service), Some(namespace)) = (service, meta.namespace.as_deref()) else { continue };
            let own = published(&slice).into_iter().filter(|endpoint| endpoint.named && endpoint.ip == ip);
            names.extend(own.map(|endpoint| format!("{}.{service}.{namespace}", endpoint.label)));
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn published(slice: &EndpointSlice) -> Vec<HeadlessEndpoint> {
    if slice.address_type != "IPv4" {
        return Vec::new();
    }
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port?).ok()?))
    });
    let ports: Vec<_> = ports.collect();
    let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
    let mut found = Vec::new();
    for endpoint in slice.endpoints.iter().flatten().filter(ready) {
        for ip in endpoint.addresses.iter().filter_map(|address| address.parse::<Ipv4Addr>().ok()) {
            let dashed = ip.to_string().replace('.', "-");
            found.push(HeadlessEndpoint {
                label: endpoint.hostname.clone().unwrap_or(dashed),
                named: endpoint.hostname.is_some(),
                ip,
                ports: ports.clone(),
            });
        }
    }
    found
}

/// A Service port's name and protocol as SRV labels without underscores.
pub(crate) fn srv_labels(port: &ServicePort) -> (String, String) {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
    (port.name.clone().unwrap_or_default().to_lowercase(), protocol)
}
