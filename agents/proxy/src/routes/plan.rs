//! Which routes there should be, and what that takes. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;

/// Pod ranges and the nodes that have them.
pub type Routes = BTreeMap<Ipv4Net, Ipv4Addr>;

/// The routes of the node `own`: one to each other node that has a range and an address. Of two nodes with one range the
/// first by name counts.
pub fn wanted<'a>(nodes: impl IntoIterator<Item = &'a Node>, own: &str, cluster_cidr: Ipv4Net) -> Routes {
    let mut routes = Routes::new();
    let mut mine = None;
    for node in nodes {
        let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()?.parse::<Ipv4Net>().ok());
        let Some(range) = range.filter(|range| cluster_cidr.contains(range)) else { continue };
        if node.metadata.name.as_deref() == Some(own) {
            mine = Some(range);
        } else if let Some(address) = address(node) {
            routes.entry(range).or_insert(address);
        }
    }
    routes.retain(|range, _| mine.is_none_or(|mine| !mine.contains(range) && !range.contains(&mine)));
    routes
}

fn address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_deref()?;
    let mut internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    internal.find_map(|address| address.address.parse().ok())
}

/// What is to be set (a route that exists is replaced) and what is to go.
pub fn plan(present: &Routes, wanted: &Routes) -> (Vec<(Ipv4Net, Ipv4Addr)>, Vec<Ipv4Net>) {
    let set = wanted.iter().filter(|(range, via)| present.get(range) != Some(via));
    let gone = present.keys().filter(|range| !wanted.contains_key(range));
    (set.map(|(range, via)| (*range, *via)).collect(), gone.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cidr: Option<&str>, ip: &str) -> Node {
        let object = json!({
            "metadata": {"name": name}, "spec": {"podCIDR": cidr},
            "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]}
        });
        serde_json::from_value(object).unwrap()
    }

    fn routes(list: &[(&str, &str)]) -> Routes {
        list.iter().map(|(range, via)| (range.parse().unwrap(), via.parse().unwrap())).collect()
    }

    #[test]
    fn each_other_node_has_a_route_and_nothing_else_does() {
        let nodes = [
            node("a", Some("10.42.0.0/24"), "192.0.2.1"),
            node("b", Some("10.42.1.0/24"), "192.0.2.2"),
            node("c", None, "192.0.2.3"),
            node("d", Some("10.42.3.0/24"), "2001:db8::1"),
            node("e", Some("10.99.0.0/24"), "192.0.2.5"),
            node("f", Some("10.42.0.0/24"), "192.0.2.6"),
        ];
        let found = wanted(&nodes, "a", "10.42.0.0/16".parse().unwrap());
        assert_eq!(found, routes(&[("10.42.1.0/24", "192.0.2.2")]));
    }

    #[test]
    fn only_what_differs_is_changed() {
        let present = routes(&[
            ("10.42.1.0/24", "192.0.2.2"),
            ("10.42.2.0/24", "192.0.2.3"),
            ("10.42.3.0/24", "192.0.2.4"),
        ]);
        let wanted = routes(&[
            ("10.42.1.0/24", "192.0.2.2"),
            ("10.42.2.0/24", "192.0.2.9"),
            ("10.42.5.0/24", "192.0.2.5"),
        ]);
        let (set, gone) = plan(&present, &wanted);
        assert_eq!(
            set,
            [
                ("10.42.2.0/24".parse().unwrap(), "192.0.2.9".parse().unwrap()),
                ("10.42.5.0/24".parse().unwrap(), "192.0.2.5".parse().unwrap())
            ]
        );
        assert_eq!(gone, ["10.42.3.0/24".parse().unwrap()]);
    }
}
