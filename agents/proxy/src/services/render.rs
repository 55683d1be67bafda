//! Decides the ruleset of a world. Pure.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::ruleset::{MASQUERADE_MARK, Map, Ruleset};
use super::world::{Endpoint, ServicePort, World};
use ipnet::Ipv4Net;

/// The ruleset that sends every Service port of `world` to its endpoints.
///
/// The chains follow upstream's nftables proxy: a verdict map leads to the Service port's chain, which picks an
/// endpoint's chain at random, which rewrites the destination. Traffic that a pod sends to itself, and outside traffic
/// to a node port, is masqueraded.
pub fn render(world: &World, cluster_cidr: Ipv4Net) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for port in &world.ports {
        internal(port, &mut ruleset);
        external(port, cluster_cidr, &mut ruleset);
    }
    ruleset
}

fn internal(port: &ServicePort, ruleset: &mut Ruleset) {
    let key = format!("{} . {} . {}", port.cluster_ip, port.protocol, port.port);
    if port.internal.is_empty() {
        ruleset.elements.insert((Map::NoEndpoints, key), "goto reject-no-endpoints".to_owned());
        return;
    }
    let chain = chain_name("svc", port);
    let rules = balance(port, &port.internal, ruleset);
    ruleset.elements.insert((Map::ServiceIps, key), format!("goto {chain}"));
    ruleset.chains.insert(chain, rules);
}

fn external(port: &ServicePort, cluster_cidr: Ipv4Net, ruleset: &mut Ruleset) {
    let keys: Vec<_> =
        port.external_ips.iter().map(|ip| format!("{ip} . {} . {}", port.protocol, port.port)).collect();
    let node_key = port.node_port.map(|node_port| format!("{} . {node_port}", port.protocol));
    if keys.is_empty() && node_key.is_none() {
        return;
    }
    let (ips, nodes, verdict) = if port.external.is_empty() {
        (Map::NoEndpoints, Map::NoEndpointNodePorts, "goto reject-no-endpoints".to_owned())
    } else {
        let chain = chain_name("ext", port);
        let mut rules = Vec::new();
        if !port.external_local {
            rules.push(format!("ip saddr != {cluster_cidr} jump mark-for-masquerade"));
        }
        rules.extend(balance(port, &port.external, ruleset));
        ruleset.chains.insert(chain.clone(), rules);
        (Map::ServiceIps, Map::NodePorts, format!("goto {chain}"))
    };
    for key in keys {
        ruleset.elements.insert((ips, key), verdict.clone());
    }
    if let Some(key) = node_key {
        ruleset.elements.insert((nodes, key), verdict);
    }
}

/// The rules that pick one of `endpoints`, whose chains are added.
fn balance(port: &ServicePort, endpoints: &[Endpoint], ruleset: &mut Ruleset) -> Vec<String> {
    let mut rules = Vec::new();
    let mut choices = Vec::with_capacity(endpoints.len());
    for (index, endpoint) in endpoints.iter().enumerate() {
        let chain = endpoint_chain(port, *endpoint, ruleset);
        if port.affinity.is_some() {
            rules.push(format!("ip saddr @{} goto {chain}", affinity_set(&chain)));
        }
        choices.push(format!("{index} : goto {chain}"));
    }
    rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", ")));
    rules
}

fn endpoint_chain(port: &ServicePort, endpoint: Endpoint, ruleset: &mut Ruleset) -> String {
    let Endpoint { ip, port: target } = endpoint;
    let chain = format!("ep-{:08x}-{ip}-{target}", hash(port)).replace('.', "_");
    let mut rules = vec![format!("ip saddr {ip} meta mark set meta mark or {MASQUERADE_MARK}")];
    if let Some(timeout) = port.affinity {
        let set = affinity_set(&chain);
        let seconds = timeout.as_secs();
        rules.push(format!("update @{set} {{ ip saddr }}"));
        ruleset
            .sets
            .insert(set, format!("type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size 65535;"));
    }
    rules.push(format!("meta l4proto {} dnat to {}", port.protocol, crate::socket(ip, target)));
    ruleset.chains.insert(chain.clone(), rules);
    chain
}

fn affinity_set(chain: &str) -> String {
    chain.replacen("ep-", "aff-", 1)
}

fn chain_name(kind: &str, port: &ServicePort) -> String {
    let readable: String = port
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(80)
        .collect();
    format!("{kind}-{:08x}-{readable}", hash(port))
}

/// Keeps names apart that look alike once shortened. The fixed keys of `DefaultHasher::new` make it repeatable.
fn hash(port: &ServicePort) -> u32 {
    let mut hasher = DefaultHasher::new();
    (&port.name, port.protocol, port.port).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}
