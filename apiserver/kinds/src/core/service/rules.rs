//! The kind itself: defaults, checks and the order of its rules.

use super::carry_over::carry_over;
use super::{cluster_ips, row, traffic, warnings};
use crate::core::endpoints::validate_endpoint_ip;
use crate::pod_spec::validate_port;
use crate::shape::{Body, PROXY_VERBS, STORED};
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage, restore};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_labels};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};
use smol_str::SmolStr;
use std::collections::HashSet;
use time::OffsetDateTime;

const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// core/v1 Service.
pub static SERVICE: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    type_name: "core/v1.Service",
    list_kind: "ServiceList",
    subresources: &[
        Body::core("ServiceProxyOptions", "core/v1.ServiceProxyOptions").connect("proxy", PROXY_VERBS),
        Body::core("Service", "core/v1.Service").status(),
    ],
    rules: &Service,
    storage: Some(Storage::new("services/specs")),
    ..STORED
};

struct Service;

impl Rules for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, object: &mut Value) {
        default_spec(object.make_map().get_or_insert_map("spec"));
        if object.path_str(&["spec", "type"]) == Some("LoadBalancer") {
            let ingress =
                object.path_mut(&["status", "loadBalancer", "ingress"]).and_then(Value::as_list_mut);
            for entry in ingress.into_iter().flatten() {
                let has_ip = entry.path_str(&["ip"]).is_some_and(|ip| !ip.is_empty());
                if has_ip && entry.get("ipMode").is_none_or(Value::is_null) {
                    entry.set_path(&["ipMode"], "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["status"], value!({"loadBalancer": {}}));
        cluster_ips::normalize(object, None);
        cluster_ips::default_families(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "status");
        carry_over(new, old);
        cluster_ips::default_families(new);
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        validate_shape(&spec, errors);
        validate_ports(&spec, errors);
        validate_labels(spec.get("selector").map(), &spec.path.child("selector"), errors);
        validate_affinity(&spec, errors);
        cluster_ips::validate(&spec, errors);
        for ip in spec.get("externalIPs").items() {
            validate_endpoint_ip(&ip, errors);
        }
        traffic::validate(&At::root(object), &spec, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        cluster_ips::validate_update(&At::root(new).get("spec"), &At::root(old).get("spec"), errors);
        traffic::validate_update(&At::root(new).get("spec"), &At::root(old).get("spec"), errors);
        self.validate(new, errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        traffic::validate_load_balancer(&At::root(new), errors);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::warnings(new)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        row::COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        row::row(object, now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let text = |field: &str| SmolStr::new(object.path_str(&["spec", field]).unwrap_or_default());
        vec![("spec.clusterIP", text("clusterIP")), ("spec.type", text("type"))]
    }
}

/// Whether a type of service has a cluster address.
pub(super) fn has_cluster_ip(kind: &str) -> bool {
    matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether services of this form have node ports.
pub(super) fn has_node_ports(spec: &Value) -> bool {
    match spec.path_str(&["type"]) {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.path_bool(&["allocateLoadBalancerNodePorts"]) != Some(false),
        _ => false,
    }
}

/// Whether a service can be reached from outside of the cluster.
pub(super) fn is_external(spec: &Value) -> bool {
    match spec.path_str(&["type"]) {
        Some("NodePort" | "LoadBalancer") => true,
        Some("ClusterIP") => !spec.path_list(&["externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether a service has a port where load balancers ask for its health.
pub(super) fn has_health_check(spec: &Value) -> bool {
    spec.path_str(&["type"]) == Some("LoadBalancer")
        && spec.path_str(&["externalTrafficPolicy"]) == Some("Local")
}

/// Whether a service explicitly has no cluster address.
pub(super) fn is_headless(spec: &Value) -> bool {
    let first = spec.path_list(&["clusterIPs"]).first().and_then(Value::as_str);
    first.or_else(|| spec.path_str(&["clusterIP"])) == Some("None")
}

fn default_spec(spec: &mut Map) {
    let empty = |spec: &Map, field: &str| spec.get(field).is_none_or(Value::is_empty);
    for (field, value) in [("type", "ClusterIP"), ("sessionAffinity", "None")] {
        if empty(spec, field) {
            spec.insert(field, value);
        }
    }
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => drop(spec.remove("sessionAffinityConfig")),
        Some("ClientIP") => {
            let client = spec.get_or_insert_map("sessionAffinityConfig").get_or_insert_map("clientIP");
            if client.get("timeoutSeconds").is_none_or(Value::is_null) {
                client.insert("timeoutSeconds", AFFINITY_SECONDS);
            }
        }
        _ => {}
    }
    for port in spec.get_mut("ports").and_then(Value::as_list_mut).into_iter().flatten() {
        if port.path_str(&["protocol"]).unwrap_or_default().is_empty() {
            port.set_path(&["protocol"], "TCP");
        }
        let target = port.get("targetPort");
        let unset = target.is_none_or(|target| target.is_empty() || *target == Value::Int(0));
        if let Some(number) = port.get("port").cloned().filter(|_| unset) {
            port.set_path(&["targetPort"], number);
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let whole = Value::Map(std::mem::take(spec));
    let external = is_external(&whole);
    if let Value::Map(map) = whole {
        *spec = map;
    }
    if external && empty(spec, "externalTrafficPolicy") {
        spec.insert("externalTrafficPolicy", "Cluster");
    }
    if has_cluster_ip(&kind) && empty(spec, "internalTrafficPolicy") {
        spec.insert("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" && empty(spec, "allocateLoadBalancerNodePorts") {
        spec.insert("allocateLoadBalancerNodePorts", true);
    }
}

fn validate_shape(spec: &At<'_>, errors: &mut ErrorList) {
    let kind = spec.get("type");
    let headless = is_headless(spec.value);
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && kind.text() != "ExternalName" {
        errors.required(&ports.path, "");
    }
    match kind.text() {
        "" => errors.required(&kind.path, ""),
        "LoadBalancer" | "NodePort" if headless => {
            let text = format!("may not be set to 'None' for {} services", kind.text());
            errors.invalid(&spec.path.child("clusterIPs").index(0), "None", &text);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let field = spec.get(field);
                if !field.is_empty() {
                    errors.forbidden(&field.path, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            let text = name.text().strip_suffix('.').unwrap_or_else(|| name.text());
            if text.is_empty() {
                errors.required(&name.path, "");
            } else {
                errors.invalid_each(&name.path, text, names::dns_subdomain(text));
            }
        }
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        other => {
            errors.not_supported(
                &kind.path,
                other,
                &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
            );
        }
    }
}

fn validate_ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.get("ports");
    let several = ports.len() > 1;
    let internal = spec.text_of("type") == "ClusterIP";
    let (mut seen_names, mut node_ports, mut seen) = (HashSet::new(), HashSet::new(), HashSet::new());
    for port in ports.items() {
        let (name, number) = (port.get("name"), port.get("port"));
        if !name.is_empty() {
            name.invalid_each(errors, names::dns_label(name.text()));
            if !seen_names.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
        } else if several {
            errors.required(&name.path, "");
        }
        let value = number.int().unwrap_or_default();
        for fault in names::port_number(value) {
            errors.invalid(&number.path, value, &fault);
        }
        let protocol = port.get("protocol");
        if protocol.require(errors, "") {
            protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
        }
        validate_port(&port.get("targetPort"), errors);
        let application = port.get("appProtocol");
        if application.is_set() {
            application.invalid_each(errors, names::qualified_name(application.text()));
        }
        let node_port = port.get("nodePort");
        if let Some(value) = node_port.int().filter(|value| *value != 0) {
            if internal {
                errors.forbidden(&node_port.path, "may not be used when `type` is 'ClusterIP'");
            }
            if !node_ports.insert((protocol.text(), value)) {
                errors.duplicate(&node_port.path, value);
            }
        }
        if !seen.insert((protocol.text(), value)) {
            errors.duplicate(&port.path, value!({"port": value, "protocol": (protocol.text())}));
        }
    }
}

fn validate_affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let affinity = spec.get("sessionAffinity");
    let config = spec.get("sessionAffinityConfig");
    match affinity.text() {
        "" => errors.required(&affinity.path, ""),
        "None" if config.is_set() => {
            errors.forbidden(&config.path, "must not be set when session affinity is None");
        }
        "None" => {}
        "ClientIP" => {
            let seconds = config.dig(&["clientIP", "timeoutSeconds"]);
            match seconds.int() {
                None => errors.required(&seconds.path, "when session affinity type is ClientIP"),
                Some(value) if value <= 0 || value > AFFINITY_SECONDS_MAX => {
                    let text = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    seconds.invalid(errors, &text);
                }
                Some(_) => {}
            }
        }
        other => errors.not_supported(&affinity.path, other, &["ClientIP", "None"]),
    }
}
