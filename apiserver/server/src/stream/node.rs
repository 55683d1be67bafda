//! Where a node agent listens, read from its Node object. Pure.

use mainstay_apiserver_machinery::value::Value;

/// The order in which addresses of a node are tried, as most clusters configure upstream.
const ADDRESS_TYPES: [&str; 5] = ["InternalIP", "InternalDNS", "Hostname", "ExternalIP", "ExternalDNS"];
/// The port of a node agent that publishes none.
const DEFAULT_PORT: u16 = 10250;

/// A node agent's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// An IP address or a host name.
    pub host: String,
    /// The port of the kubelet API.
    pub port: u16,
}

/// The address in `status.addresses` and the port in `status.daemonEndpoints`; none if the node has no address.
pub fn node_address(node: &Value) -> Option<NodeAddress> {
    let addresses = node.path_list(&["status", "addresses"]);
    let host = ADDRESS_TYPES.iter().find_map(|wanted| {
        let found = addresses.iter().find(|address| address.path_str(&["type"]) == Some(wanted))?;
        found.path_str(&["address"]).filter(|address| !address.is_empty())
    })?;
    let port = node
        .path_i64(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT);
    Some(NodeAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn the_internal_address_and_the_published_port_win() {
        let node = value!({"status": {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 41234}}
        }});
        assert_eq!(node_address(&node), Some(NodeAddress { host: "10.0.0.1".to_owned(), port: 41234 }));
        assert_eq!(node_address(&value!({"status": {}})), None);
    }
}
