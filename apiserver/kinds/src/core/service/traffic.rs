//! Traffic policies, load balancers and health checks of a service.

use super::rules::{has_health_check, is_external};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

pub(super) fn validate(service: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let balanced = spec.text_of("type") == "LoadBalancer";
    let ranges = spec.get("loadBalancerSourceRanges");
    if ranges.is_empty() {
        validate_old_ranges(service, balanced, errors);
    } else {
        let path = spec.path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.forbidden(&path, BALANCER_ONLY);
        }
        for (i, range) in ranges.items().enumerate() {
            let text = range.text().trim();
            if text.parse::<ipnet::IpNet>().is_err() {
                errors.invalid(&path.index(i), text, CIDR);
            }
        }
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !balanced {
        errors.forbidden(&allocate.path, BALANCER_ONLY);
    }
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if balanced {
            class.invalid_each(errors, names::qualified_name(class.text()));
        } else {
            errors.forbidden(&class.path, BALANCER_ONLY);
        }
    }
    validate_policies(spec, errors);
    validate_topology(service, errors);
}

/// Ranges in the annotation that was there before the field.
fn validate_old_ranges(service: &At<'_>, balanced: bool, errors: &mut ErrorList) {
    let annotation = service.dig(&["metadata", "annotations"]);
    let Some(text) = annotation.value.get(RANGES).and_then(Value::as_str) else { return };
    let path = annotation.path.key(RANGES);
    if !balanced {
        errors.forbidden(&path, BALANCER_ONLY);
    }
    let ranges = text.trim().split(',').map(str::trim).filter(|_| !text.trim().is_empty());
    for range in ranges.filter(|range| range.parse::<ipnet::IpNet>().is_err()) {
        errors.invalid(&path, range, CIDR);
    }
}

fn validate_policies(spec: &At<'_>, errors: &mut ErrorList) {
    let external = spec.get("externalTrafficPolicy");
    match (is_external(spec.value), external.is_empty()) {
        (false, false) => external.invalid(errors, "may only be set for externally-accessible services"),
        (true, true) => errors.required(&external.path, ""),
        (true, false) => external.one_of(errors, &["Cluster", "Local"]),
        (false, true) => {}
    }
    let health = spec.get("healthCheckNodePort");
    let number = health.int().unwrap_or_default();
    match (has_health_check(spec.value), number) {
        (false, 0) => {}
        (false, _) => health.invalid(
            errors,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (true, 0) => errors.required(&health.path, ""),
        (true, number) => health.invalid_each(errors, names::port_number(number)),
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.is_set() {
        internal.one_of(errors, &["Cluster", "Local"]);
    } else if matches!(spec.text_of("type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        errors.required(&internal.path, "");
    }
    let distribution = spec.get("trafficDistribution");
    if distribution.is_set() {
        distribution.one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
    }
}

fn validate_topology(service: &At<'_>, errors: &mut ErrorList) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let annotations = service.dig(&["metadata", "annotations"]);
    if annotations.has(HINTS)
        && annotations.has(MODE)
        && annotations.text_of(HINTS) != annotations.text_of(MODE)
    {
        errors.invalid(
            &annotations.path.key(MODE),
            annotations.text_of(MODE),
            &format!("must match annotations[{HINTS}] when both are specified"),
        );
    }
}

pub(super) fn validate_update(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let health = new.get("healthCheckNodePort");
    if has_health_check(new.value)
        && has_health_check(old.value)
        && health.value != old.get("healthCheckNodePort").value
    {
        errors.forbidden(&health.path, "field is immutable");
    }
    let class = new.get("loadBalancerClass");
    let balanced = |spec: &At<'_>| spec.text_of("type") == "LoadBalancer";
    if balanced(new) && balanced(old) && class.value != old.get("loadBalancerClass").value {
        class.invalid(errors, "may not change once set");
    }
}

/// Checks the status of a load balancer.
pub(super) fn validate_load_balancer(service: &At<'_>, errors: &mut ErrorList) {
    let ingress = service.dig(&["status", "loadBalancer", "ingress"]);
    if !ingress.is_empty() && service.dig(&["spec", "type"]).text() != "LoadBalancer" {
        errors.forbidden(&ingress.path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for entry in ingress.items() {
        let ip = entry.get("ip");
        if !ip.is_empty() {
            ip.invalid_each(errors, names::ip(ip.text()));
            let mode = entry.get("ipMode");
            if mode.is_set() {
                mode.one_of(errors, &["Proxy", "VIP"]);
            } else {
                errors.required(&mode.path, "must be specified when `ip` is set");
            }
        } else if entry.value.get("ipMode").is_some_and(|mode| *mode != Value::Null) {
            errors.forbidden(&entry.path.child("ipMode"), "may not be specified when `ip` is not set");
        }
        let hostname = entry.get("hostname");
        if !hostname.is_empty() {
            hostname.invalid_each(errors, names::dns_subdomain(hostname.text()));
            if names::ip(hostname.text()).is_empty() {
                hostname.invalid(errors, "must be a DNS name, not an IP address");
            }
        }
    }
}
