//! What an object uses, in the names that quotas have for it.

use mainstay_apiserver_kinds::resource_names::COMPUTE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;
use smol_str::{SmolStr, format_smolstr};

use crate::admission::pod_amounts::{Amounts, Side, amounts, of_pod};

const STORAGE_CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Kinds of the core group that quotas also count by their bare name.
const BARE: &[&str] = &[
    "pods",
    "services",
    "secrets",
    "configmaps",
    "replicationcontrollers",
    "resourcequotas",
    "persistentvolumeclaims",
];

fn count(of: usize) -> Quantity {
    Quantity::from_milli(i64::try_from(of).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// The name under which any kind is counted: `count/deployments.apps`.
pub(super) fn count_name(kind: &Kind) -> SmolStr {
    if kind.group.is_empty() {
        format_smolstr!("count/{}", kind.plural)
    } else {
        format_smolstr!("count/{}.{}", kind.plural, kind.group)
    }
}

/// Everything that one object uses.
pub(super) fn usage(kind: &Kind, object: &Value) -> Amounts {
    let mut used = Amounts::new();
    used.insert(count_name(kind), count(1));
    if !kind.group.is_empty() {
        return used;
    }
    if kind.plural == "pods" {
        if !is_over(object) {
            used.insert(SmolStr::new_static("pods"), count(1));
            used.extend(of_compute(object));
        }
        return used;
    }
    if BARE.contains(&kind.plural) {
        used.insert(SmolStr::new_static(kind.plural), count(1));
    }
    match kind.plural {
        "services" => of_service(object, &mut used),
        "persistentvolumeclaims" => of_claim(object, &mut used),
        _ => {}
    }
    used
}

/// Whether a pod has ended, so that it uses nothing any more.
fn is_over(pod: &Value) -> bool {
    matches!(pod.path_str(&["status", "phase"]), Some("Succeeded" | "Failed"))
}

fn of_compute(pod: &Value) -> Amounts {
    pod.get("spec")
        .map(|spec| compute(&of_pod(spec, Side::Requests), &of_pod(spec, Side::Limits)))
        .unwrap_or_default()
}

/// Requests and limits under the names that quotas have for them.
pub(super) fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::new();
    for (name, amount) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || is_hugepages(name);
        if plain {
            used.insert(name.clone(), *amount);
        }
        if plain || is_extended(name) {
            used.insert(format_smolstr!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format_smolstr!("limits.{name}"), *amount);
        }
    }
    used
}

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Whether pods are counted under that name.
pub(super) fn concerns_pods(name: &str) -> bool {
    let requested = name.strip_prefix("requests.");
    matches!(name, "count/pods" | "pods")
        || COMPUTE.contains(&name)
        || is_hugepages(name)
        || requested.is_some_and(|rest| is_hugepages(rest) || is_extended(rest))
}

/// Whether objects of the kind are counted under that name.
pub(super) fn concerns(kind: &Kind, name: &str) -> bool {
    if name == count_name(kind) {
        return true;
    }
    if !kind.group.is_empty() {
        return false;
    }
    match kind.plural {
        "pods" => concerns_pods(name),
        "services" => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        "persistentvolumeclaims" => {
            matches!(name, "persistentvolumeclaims" | "requests.storage")
                || name.ends_with(&format!("{STORAGE_CLASS_SUFFIX}requests.storage"))
                || name.ends_with(&format!("{STORAGE_CLASS_SUFFIX}persistentvolumeclaims"))
        }
        plural => BARE.contains(&plural) && name == plural,
    }
}

fn of_service(service: &Value, used: &mut Amounts) {
    let ports = service.path_list(&["spec", "ports"]);
    let (nodeports, balancers) = match service.path_str(&["spec", "type"]) {
        Some("NodePort") => (ports.len(), 0),
        Some("LoadBalancer") => {
            let allocates = service.path_bool(&["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
            let set = ports.iter().filter(|port| port.path_i64(&["nodePort"]).is_some_and(|port| port != 0));
            (if allocates { ports.len() } else { set.count() }, 1)
        }
        _ => (0, 0),
    };
    used.insert(SmolStr::new_static("services.nodeports"), count(nodeports));
    used.insert(SmolStr::new_static("services.loadbalancers"), count(balancers));
}

fn of_claim(claim: &Value, used: &mut Amounts) {
    let annotation = claim.path_str(&["metadata", "annotations", CLASS_ANNOTATION]);
    let class = annotation.or_else(|| claim.path_str(&["spec", "storageClassName"])).unwrap_or_default();
    if !class.is_empty() {
        used.insert(format_smolstr!("{class}{STORAGE_CLASS_SUFFIX}persistentvolumeclaims"), count(1));
    }
    let requested = amounts(claim, &["spec", "resources", "requests"]);
    let Some(storage) = requested.get("storage") else { return };
    used.insert(SmolStr::new_static("requests.storage"), *storage);
    if !class.is_empty() {
        used.insert(format_smolstr!("{class}{STORAGE_CLASS_SUFFIX}requests.storage"), *storage);
    }
}
