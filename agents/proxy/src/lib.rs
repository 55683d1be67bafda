//! `mainstay-agents-proxy`: Services on this node, by nftables, and the cluster's DNS server.
//!
//! All watch the Kubernetes API as `system:kube-proxy` and nothing else. `services/` turns Services and EndpointSlices
//! into an nft ruleset (pure), and applies what changed in one transaction. `dns/` answers for the cluster's domain from
//! the same objects and forwards the rest. `routes/` leads to the pods of other nodes.

pub mod dns;
pub mod routes;
pub mod services;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use mainstay_agents_kit::informer::Informers;
use mainstay_base::lifecycle::{Clock, Tasks};

/// What the proxy of one node needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the nft table; two clusters on one machine have different ones.
    pub table: String,
    /// This node's name, for `internalTrafficPolicy` and `externalTrafficPolicy` `Local`.
    pub node_name: String,
    /// Addresses of pods: traffic from elsewhere to a node port is masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// Where the DNS server listens, on UDP and TCP.
    pub dns_bind: SocketAddr,
    /// The cluster's domain, such as `cluster.local`.
    pub dns_domain: String,
    /// Resolvers for names outside the cluster, in order of preference.
    pub dns_upstreams: Vec<SocketAddr>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The DNS server's address cannot be used.
    #[error("DNS server cannot listen on {bind}")]
    Listen {
        /// The address.
        bind: SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// Starts all parts; they end with `tasks`. The rules stay when the proxy ends, so that traffic flows on.
///
/// # Errors
/// The DNS server's address cannot be used.
pub fn run(config: &Config, client: kube::Client, tasks: &Tasks) -> Result<(), StartError> {
    let informers = Informers::new(client, tasks.clone(), Arc::clone(&config.clock));
    let sockets = dns::Sockets::bind(config.dns_bind)
        .map_err(|source| StartError::Listen { bind: config.dns_bind, source })?;
    services::spawn(config, &informers, tasks);
    dns::spawn(config, sockets, &informers, tasks);
    routes::spawn(&config.node_name, config.cluster_cidr, &informers, tasks);
    Ok(())
}

/// Removes every rule that a proxy with this table name made; fine where there is none.
///
/// # Errors
/// `nft` cannot be run or refuses.
pub async fn teardown(table: &str) -> Result<(), services::NftError> {
    services::remove_table(table).await
}

/// The text form of an address and port in nft rules.
pub(crate) fn socket(ip: Ipv4Addr, port: u16) -> String {
    format!("{ip}:{port}")
}
