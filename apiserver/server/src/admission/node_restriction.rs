//! `NodeRestriction`: a node agent writes only about its own node and the pods bound to it.
//!
//! What a node reads is limited by the Node authorizer.

use mainstay_apiserver_kinds::POD;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::service_account::MIRROR;
use super::step::{Step, Work, at_once, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Label prefixes in kubernetes.io that a node may set on itself.
const LABEL_PREFIXES: &[&str] = &["kubelet.kubernetes.io/", "node.kubernetes.io/"];
/// Labels in kubernetes.io and k8s.io that a node may set on itself.
const LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The step.
pub struct NodeRestriction {
    registry: Registry,
}

impl NodeRestriction {
    /// The step; bound pods are read from `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(node) = request.user.node_name() else { return Ok(()) };
        let verdict = match (request.kind.group, request.kind.plural, request.subresource.as_str()) {
            ("", "pods", "") => check_pod(request, node),
            ("", "pods", "status") => check_pod_status(request, node),
            ("", "pods", "eviction") => self.check_eviction(request, node),
            ("", "nodes", _) => check_node(request, node),
            ("", "serviceaccounts", "token") => self.check_token(request, node),
            ("coordination.k8s.io", "leases", _) => check_lease(request, node),
            _ => Ok(()),
        };
        verdict.map_err(|why| refuse(request, why))
    }

    fn live_pod(&self, namespace: &str, name: &str) -> Result<Option<Value>, String> {
        let Some(cached) = self.registry.get(&POD, namespace, name) else { return Ok(None) };
        self.registry.decode_served(&POD, &cached).map(Some).map_err(|status| status.message)
    }

    fn check_eviction(&self, request: &AdmissionRequest, node: &str) -> Result<(), String> {
        match self.live_pod(&request.namespace, &request.name)? {
            Some(pod) if bound_to(&pod) != node => {
                Err(format!("node {node:?} can only evict pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        }
    }

    fn check_token(&self, request: &AdmissionRequest, node: &str) -> Result<(), String> {
        let bound = |field| request.object.path_str(&["spec", "boundObjectRef", field]).unwrap_or_default();
        if bound("kind") != "Pod" || bound("apiVersion") != "v1" {
            return Err("node requested token not bound to a pod".to_owned());
        }
        if bound("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".to_owned());
        }
        let Some(pod) = self.live_pod(&request.namespace, bound("name"))? else {
            return Err(format!(
                "node requested token bound to a pod that does not exist: {:?}",
                bound("name")
            ));
        };
        if Meta(&pod).uid() != bound("uid") {
            return Err(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                bound("uid")
            ));
        }
        if bound_to(&pod) != node {
            return Err("node requested token bound to a pod scheduled on a different node".to_owned());
        }
        check_audiences(&pod, &request.object)
    }
}

fn bound_to(pod: &Value) -> &str {
    pod.path_str(&["spec", "nodeName"]).unwrap_or_default()
}

fn check_pod(request: &AdmissionRequest, node: &str) -> Result<(), String> {
    match request.operation {
        Operation::Create => check_mirror_pod(&request.object, node),
        Operation::Delete => match &request.old {
            Some(pod) if bound_to(pod) != node => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        },
        operation => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.as_str()
        )),
    }
}

fn check_mirror_pod(pod: &Value, node: &str) -> Result<(), String> {
    if Meta(pod).annotation(MIRROR).is_none() {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if bound_to(pod) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners: Vec<_> = Meta(pod).owner_references().collect();
    match owners.as_slice() {
        [owner] if owner.kind == "Node" && owner.name == node => {}
        _ => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
    }
    let account = |field| pod.path_str(&["spec", field]).unwrap_or_default();
    if !account("serviceAccountName").is_empty() || !account("serviceAccount").is_empty() {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    if let Some(what) = api_reference(pod) {
        return Err(format!("node {node:?} can not create pods that reference {what}"));
    }
    Ok(())
}

/// What API objects besides itself a pod refers to.
fn api_reference(pod: &Value) -> Option<&'static str> {
    for volume in pod.path_list(&["spec", "volumes"]) {
        if volume.get("persistentVolumeClaim").is_some() {
            return Some("persistentvolumeclaims");
        }
        let sources = std::iter::once(volume).chain(volume.path_list(&["projected", "sources"]));
        for source in sources {
            if source.get("secret").is_some() {
                return Some("secrets");
            }
            if source.get("configMap").is_some() {
                return Some("configmaps");
            }
            if source.get("serviceAccountToken").is_some() {
                return Some("serviceaccount tokens");
            }
        }
        if volume.get("ephemeral").is_some() {
            return Some("ephemeral volumes");
        }
    }
    if !pod.path_list(&["spec", "resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    if !pod.path_list(&["spec", "imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod.path_list(&["spec", list]))
        .find_map(container_reference)
}

fn container_reference(container: &Value) -> Option<&'static str> {
    let env = container.path_list(&["env"]).iter().filter_map(|var| var.get("valueFrom"));
    let from = container.path_list(&["envFrom"]).iter();
    for source in env.chain(from) {
        if source.get("secretKeyRef").is_some() || source.get("secretRef").is_some() {
            return Some("secrets");
        }
        if source.get("configMapKeyRef").is_some() || source.get("configMapRef").is_some() {
            return Some("configmaps");
        }
    }
    None
}

fn check_pod_status(request: &AdmissionRequest, node: &str) -> Result<(), String> {
    let Some(old) = &request.old else { return Ok(()) };
    if bound_to(old) != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if old.path(&["metadata", "labels"]) != request.object.path(&["metadata", "labels"]) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    Ok(())
}

fn check_node(request: &AdmissionRequest, node: &str) -> Result<(), String> {
    let name = match request.name.as_str() {
        "" => Meta(&request.object).name(),
        name => name,
    };
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    if request.operation == Operation::Delete {
        return Err(format!("node {node:?} is not allowed to delete node {name:?}"));
    }
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    if let Some(old) = &request.old
        && old.path(&["spec", "taints"]) != request.object.path(&["spec", "taints"])
    {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let mut forbidden: Vec<&str> = Meta(&request.object)
        .label_pairs()
        .filter(|(key, value)| request.old.as_ref().and_then(|old| Meta(old).label(key)) != Some(*value))
        .map(|(key, _)| key)
        .chain(removed_labels(request))
        .filter(|key| !may_set_label(key))
        .collect();
    forbidden.sort_unstable();
    if forbidden.is_empty() {
        return Ok(());
    }
    let action = if request.old.is_some() { "modify" } else { "set" };
    Err(format!("is not allowed to {action} the following labels: {}", forbidden.join(", ")))
}

fn removed_labels(request: &AdmissionRequest) -> impl Iterator<Item = &str> {
    let old = request.old.iter().flat_map(|old| Meta(old).label_pairs());
    old.map(|(key, _)| key).filter(|key| Meta(&request.object).label(key).is_none())
}

fn may_set_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    let subdomain = LABEL_PREFIXES.iter().any(|prefix| {
        let prefix = prefix.trim_end_matches('/');
        domain == prefix || domain.ends_with(&format!(".{prefix}"))
    });
    subdomain || LABELS.contains(&key)
}

fn check_lease(request: &AdmissionRequest, node: &str) -> Result<(), String> {
    if request.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    let name = match request.name.as_str() {
        "" => Meta(&request.object).name(),
        name => name,
    };
    if name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// Upstream's `ServiceAccountNodeAudienceRestriction`: only audiences that the pod's volumes ask for.
fn check_audiences(pod: &Value, token_request: &Value) -> Result<(), String> {
    let audiences = token_request.path_list(&["spec", "audiences"]);
    let wanted: Vec<&str> = audiences.iter().filter_map(Value::as_str).collect();
    let wanted = if wanted.is_empty() { vec![""] } else { wanted };
    let declared: Vec<&str> = pod
        .path_list(&["spec", "volumes"])
        .iter()
        .flat_map(|volume| volume.path_list(&["projected", "sources"]))
        .filter_map(|source| source.get("serviceAccountToken"))
        .map(|token| token.path_str(&["audience"]).unwrap_or_default())
        .collect();
    match wanted.iter().find(|audience| !declared.contains(audience)) {
        None => Ok(()),
        Some(audience) => Err(format!("audience {audience:?} not found in pod spec volume")),
    }
}

impl Step for NodeRestriction {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        at_once(self.check(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn only_plain_mirror_pods_of_the_own_node() {
        let good = value!({
            "metadata": {
                "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "u"}]
            },
            "spec": {"nodeName": "a", "containers": [{"name": "c"}]}
        });
        assert_eq!(check_mirror_pod(&good, "a"), Ok(()));
        let with = |path: &[&str], value: Value| {
            let mut pod = good.clone();
            pod.set_path(path, value);
            pod
        };
        for (what, pod) in [
            ("no mirror", with(&["metadata", "annotations"], value!({}))),
            ("other node", with(&["spec", "nodeName"], value!("b"))),
            ("no owner", with(&["metadata", "ownerReferences"], value!([]))),
            ("account", with(&["spec", "serviceAccountName"], value!("sa"))),
            (
                "secret volume",
                with(&["spec", "volumes"], value!([{"name": "v", "secret": {"secretName": "s"}}])),
            ),
            (
                "token",
                with(
                    &["spec", "volumes"],
                    value!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
                ),
            ),
            (
                "env",
                with(
                    &["spec", "containers"],
                    value!([{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]),
                ),
            ),
            ("claims", with(&["spec", "resourceClaims"], value!([{"name": "c"}]))),
        ] {
            assert!(check_mirror_pod(&pod, "a").is_err(), "{what}");
        }
    }

    #[test]
    fn labels_of_the_system_are_not_the_nodes_to_set() {
        for (label, allowed) in [
            ("mine", true),
            ("example.com/x", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/x", true),
            ("sub.node.kubernetes.io/x", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/x", false),
            ("k8s.io/x", false),
        ] {
            assert_eq!(may_set_label(label), allowed, "{label}");
        }
    }

    #[test]
    fn tokens_are_only_for_declared_audiences() {
        let pod = value!({"spec": {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]}});
        let ask = |audiences: Value| value!({"spec": {"audiences": audiences}});
        assert_eq!(check_audiences(&pod, &ask(value!(["vault"]))), Ok(()));
        assert!(check_audiences(&pod, &ask(value!(["other"]))).is_err());
        assert!(check_audiences(&pod, &ask(value!([]))).is_err());
    }
}
