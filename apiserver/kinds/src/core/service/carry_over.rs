//! What an update keeps of the stored service: values that were allocated and left out, and, when the type changes,
//! the opposite: values of the old type that were not changed are dropped.

use super::cluster_ips::normalize;
use super::rules::{has_cluster_ip, has_health_check, has_node_ports, is_external};
use mainstay_apiserver_machinery::value::Value;

const EMPTY: Value = Value::Null;

/// Completes the new state of a service from the stored one. Doing it twice changes nothing.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    normalize(new, Some(old));
    let old_spec = old.get("spec").unwrap_or(&EMPTY);
    let Some(spec) = new.get_mut("spec") else { return };
    keep_allocated(spec, old_spec);
    drop_of_old_type(spec, old_spec);
}

fn kind(spec: &Value) -> &str {
    spec.path_str(&["type"]).unwrap_or_default()
}

fn keep_allocated(spec: &mut Value, old: &Value) {
    if has_cluster_ip(kind(old)) && has_cluster_ip(kind(spec)) {
        if spec.path_str(&["clusterIP"]).unwrap_or_default().is_empty() {
            copy(spec, old, "clusterIP");
        }
        if spec.path_list(&["clusterIPs"]).is_empty() && spec.get("clusterIP") == old.get("clusterIP") {
            copy(spec, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec.get(field).is_none_or(Value::is_empty) {
                copy(spec, old, field);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(spec) {
        keep_node_ports(spec, old);
    }
    let unset = spec.path_i64(&["healthCheckNodePort"]).unwrap_or_default() == 0;
    if has_health_check(old) && has_health_check(spec) && unset {
        copy(spec, old, "healthCheckNodePort");
    }
}

fn copy(spec: &mut Value, old: &Value, field: &str) {
    if let Some(value) = old.get(field) {
        spec.set_path(&[field], value.clone());
    }
}

fn keep_node_ports(spec: &mut Value, old: &Value) {
    let node_port = |port: &Value| port.path_i64(&["nodePort"]).filter(|number| *number != 0);
    let mut used: Vec<i64> = spec.path_list(&["ports"]).iter().filter_map(node_port).collect();
    let old_ports = old.path_list(&["ports"]);
    for port in spec.get_mut("ports").and_then(Value::as_list_mut).into_iter().flatten() {
        if node_port(port).is_some() {
            continue;
        }
        let same = |before: &&Value| {
            before.get("port") == port.get("port")
                && before.path_str(&["protocol"]) == port.path_str(&["protocol"])
        };
        let kept = old_ports.iter().find(same).and_then(node_port).filter(|number| !used.contains(number));
        if let Some(number) = kept {
            used.push(number);
            port.set_path(&["nodePort"], number);
        }
    }
}

fn drop_of_old_type(spec: &mut Value, old: &Value) {
    if kind(spec) == kind(old) {
        return;
    }
    let balanced = |spec: &Value| kind(spec) == "LoadBalancer";
    let changes = [
        (has_cluster_ip(kind(old)), has_cluster_ip(kind(spec)), &["clusterIP", "clusterIPs"][..]),
        (has_cluster_ip(kind(old)), has_cluster_ip(kind(spec)), &["ipFamilies", "ipFamilyPolicy"][..]),
        (has_health_check(old), has_health_check(spec), &["healthCheckNodePort"][..]),
        (balanced(old), balanced(spec), &["allocateLoadBalancerNodePorts"][..]),
        (balanced(old), balanced(spec), &["loadBalancerClass"][..]),
        (is_external(old), is_external(spec), &["externalTrafficPolicy"][..]),
    ];
    for (was, is, fields) in changes {
        if was && !is && fields.iter().all(|field| spec.get(field) == old.get(field)) {
            for field in fields {
                spec.remove_path(&[field]);
            }
        }
    }
    if has_node_ports(old) && !has_node_ports(spec) && node_ports(spec) == node_ports(old) {
        for port in spec.get_mut("ports").and_then(Value::as_list_mut).into_iter().flatten() {
            port.remove_path(&["nodePort"]);
        }
    }
}

fn node_ports(spec: &Value) -> Vec<i64> {
    let mut numbers: Vec<i64> = spec
        .path_list(&["ports"])
        .iter()
        .filter_map(|port| port.path_i64(&["nodePort"]))
        .filter(|number| *number != 0)
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn stored() -> Value {
        value!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}})
    }

    #[test]
    fn an_update_keeps_what_was_allocated() {
        let mut new = value!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP"}]}});
        carry_over(&mut new, &stored());
        assert_eq!(new, stored());
        let once = new.clone();
        carry_over(&mut new, &stored());
        assert_eq!(new, once);
    }

    #[test]
    fn another_type_drops_what_the_old_one_had() {
        let mut new = stored();
        new.set_path(&["spec", "type"], "ClusterIP");
        carry_over(&mut new, &stored());
        assert_eq!(new.path(&["spec", "ports"]), Some(&value!([{"port": 80, "protocol": "TCP"}])));
        assert_eq!(new.path(&["spec", "externalTrafficPolicy"]), None);
        assert_eq!(new.path_str(&["spec", "clusterIP"]), Some("10.0.0.1"));
        let mut new = stored();
        new.set_path(&["spec", "type"], "ExternalName");
        carry_over(&mut new, &stored());
        assert_eq!(new.path(&["spec", "clusterIP"]), None);
        assert_eq!(new.path(&["spec", "clusterIPs"]), None);
    }
}
