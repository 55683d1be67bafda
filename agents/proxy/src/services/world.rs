//! What the ruleset is decided from: one entry per Service port, with its usable endpoints.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Every Service port of the cluster, ordered by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// The ports.
    pub ports: Vec<ServicePort>,
}

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/service:port name`, as people know it; it also names the chains.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The port of the Service.
    pub port: u16,
    /// The Service's own address.
    pub cluster_ip: Ipv4Addr,
    /// External and load balancer addresses that also lead to it.
    pub external_ips: Vec<Ipv4Addr>,
    /// The port on every node, for NodePort and LoadBalancer Services.
    pub node_port: Option<u16>,
    /// How long a client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// Endpoints for traffic from inside (`internalTrafficPolicy` applied).
    pub internal: Vec<Endpoint>,
    /// Endpoints for traffic from outside (`externalTrafficPolicy` applied).
    pub external: Vec<Endpoint>,
    /// `externalTrafficPolicy: Local` keeps the client's address, so nothing is masqueraded.
    pub external_local: bool,
}

/// One pod's address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// The pod's port.
    pub port: u16,
}
