//! What a Service needs and holds, read from its object. Pure.

use std::net::IpAddr;

use mainstay_apiserver_machinery::value::Value;

use super::claims::Claim;

/// The value of `spec.clusterIP` of a Service without an address.
pub const NONE: &str = "None";

/// The `spec.type`, with its default.
pub fn service_type(service: &Value) -> &str {
    service.path_str(&["spec", "type"]).filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP")
}

/// Whether the Service has, or gets, a cluster address (or says that it wants none).
pub fn needs_cluster_ip(service: &Value) -> bool {
    matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether its ports have node ports.
pub fn needs_node_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service.path_bool(&["spec", "allocateLoadBalancerNodePorts"]).unwrap_or(true),
        _ => false,
    }
}

/// Whether it has a port for the health checks of load balancers.
pub fn needs_health_check_port(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && service.path_str(&["spec", "externalTrafficPolicy"]) == Some("Local")
}

/// Whether it says that it wants no cluster address.
pub fn is_headless(service: &Value) -> bool {
    cluster_ip(service) == NONE
}

/// `spec.clusterIP`, empty if there is none.
pub fn cluster_ip(service: &Value) -> &str {
    service.path_str(&["spec", "clusterIP"]).unwrap_or_default()
}

/// The cluster addresses that a Service names.
pub fn addresses(service: &Value) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let listed = service.path_list(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    for address in std::iter::once(cluster_ip(service)).chain(listed).filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The node port of one of `spec.ports`; none if it is absent or zero.
pub fn node_port(port: &Value) -> Option<u16> {
    port.get("nodePort")
        .and_then(Value::as_i64)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

/// The port for health checks; none if it is absent or zero.
pub fn health_check_port(service: &Value) -> Option<u16> {
    let port = service.path_i64(&["spec", "healthCheckNodePort"])?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Everything that a Service holds, each once.
pub fn claims(service: &Value) -> Vec<Claim> {
    let mut claims: Vec<Claim> = addresses(service).into_iter().map(Claim::Address).collect();
    let ports = service.path_list(&["spec", "ports"]).iter().filter_map(node_port);
    for port in ports.chain(health_check_port(service)).map(Claim::NodePort) {
        if !claims.contains(&port) {
            claims.push(port);
        }
    }
    claims
}

/// Carries values that a client leaves out of an update over from the stored Service, and drops those that belong
/// to the stored type only, as upstream does before it allocates.
pub fn carry_over(new: &mut Value, old: &Value) {
    carry_addresses(new, old);
    carry_node_ports(new, old);
    if needs_health_check_port(new) && needs_health_check_port(old) && health_check_port(new).is_none() {
        if let Some(port) = health_check_port(old) {
            new.set_path(&["spec", "healthCheckNodePort"], i64::from(port));
        }
    } else if needs_health_check_port(old)
        && !needs_health_check_port(new)
        && health_check_port(new) == health_check_port(old)
    {
        new.remove_path(&["spec", "healthCheckNodePort"]);
    }
}

fn carry_addresses(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if cluster_ip(new).is_empty() {
            copy(new, old, "clusterIP");
        }
        if new.path_list(&["spec", "clusterIPs"]).is_empty() && cluster_ip(new) == cluster_ip(old) {
            copy(new, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if new.path(&["spec", field]).is_none() {
                copy(new, old, field);
            }
        }
    } else if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        let unchanged = cluster_ip(new) == cluster_ip(old);
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if unchanged || field.starts_with("ipFamil") {
                new.remove_path(&["spec", field]);
            }
        }
    }
}

fn carry_node_ports(new: &mut Value, old: &Value) {
    let held = old.path_list(&["spec", "ports"]);
    if needs_node_ports(old) && needs_node_ports(new) {
        let mut taken: Vec<u16> = new.path_list(&["spec", "ports"]).iter().filter_map(node_port).collect();
        for port in ports_mut(new) {
            if node_port(port).is_some() {
                continue;
            }
            let known = held.iter().find(|old| same_port(old, port)).and_then(node_port);
            if let Some(known) = known.filter(|known| !taken.contains(known)) {
                taken.push(known);
                port.set_path(&["nodePort"], i64::from(known));
            }
        }
    } else if needs_node_ports(old) && !needs_node_ports(new) {
        let old_ports: Vec<u16> = held.iter().filter_map(node_port).collect();
        for port in ports_mut(new) {
            if node_port(port).is_some_and(|port| old_ports.contains(&port)) {
                port.remove_path(&["nodePort"]);
            }
        }
    }
}

fn same_port(a: &Value, b: &Value) -> bool {
    let protocol = |port: &Value| port.path_str(&["protocol"]).unwrap_or("TCP").to_owned();
    a.get("port").and_then(Value::as_i64) == b.get("port").and_then(Value::as_i64)
        && protocol(a) == protocol(b)
}

/// The ports of a Service, to change.
pub fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service.path_mut(&["spec", "ports"]).and_then(Value::as_list_mut).into_iter().flatten()
}

fn copy(new: &mut Value, old: &Value, field: &str) {
    if let Some(value) = old.path(&["spec", field]) {
        new.set_path(&["spec", field], value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn claims_are_named_once() {
        let service = value!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]
        }});
        assert_eq!(claims(&service), [Claim::Address("10.96.0.7".parse().unwrap()), Claim::NodePort(30053)]);
        assert!(claims(&value!({"spec": {"clusterIP": "None"}})).is_empty());
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let old = value!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "nodePort": 30080}]
        }});
        let mut new = value!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        carry_over(&mut new, &old);
        assert_eq!(cluster_ip(&new), "10.96.0.7");
        assert_eq!(
            new.path_list(&["spec", "ports"]).iter().map(node_port).collect::<Vec<_>>(),
            [Some(30080), None]
        );
    }

    #[test]
    fn a_change_of_type_drops_what_only_the_old_type_has() {
        let old = value!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "nodePort": 30080}]
        }});
        let mut new = old.clone();
        new.set_path(&["spec", "type"], "ClusterIP");
        carry_over(&mut new, &old);
        assert_eq!(claims(&new), [Claim::Address("10.96.0.7".parse().unwrap())]);
        let mut external = old.clone();
        external.set_path(&["spec", "type"], "ExternalName");
        carry_over(&mut external, &old);
        assert!(claims(&external).is_empty());
    }
}
