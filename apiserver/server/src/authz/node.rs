//! The Node authorizer: a node reads only the Secrets and ConfigMaps of pods bound to it, asks tokens only for their
//! service accounts, and touches only its own lease. Everything else follows the rules of role `system:node`.
//!
//! What pods refer to is read from the cache at the moment of the question: a node that has just seen its pod is
//! never refused because an index is behind. Only pods of the namespace that are bound to the node are decoded, and
//! the first that fits ends the search.

use mainstay_apiserver_kinds::POD;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use tracing::error;

use super::rule::PolicyRule;
use crate::authn::user::NODES;
use crate::registry::Registry;
use crate::types::{Attributes, Decision, UserInfo};

/// Annotation of pods that a node made itself; they give it no rights.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What a pod can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Referent {
    Secret,
    ConfigMap,
    ServiceAccount,
}

/// Answers for node agents; has no opinion on others.
#[derive(Debug, Clone)]
pub struct NodeAuthorizer {
    registry: Registry,
    rules: Vec<PolicyRule>,
}

impl NodeAuthorizer {
    /// An authorizer over the cached pods; `rules` are those of role `system:node`.
    pub fn new(registry: Registry, rules: Vec<PolicyRule>) -> Self {
        Self { registry, rules }
    }

    /// The decision, with upstream's reasons.
    pub fn authorize(&self, user: &UserInfo, asked: &Attributes) -> Decision {
        let Some(node) = user.node_name() else {
            let reason = if user.in_group(NODES) { "unknown node for user" } else { "" };
            return Decision::NoOpinion(reason.to_owned());
        };
        if !asked.resource_request {
            return self.by_rules(asked);
        }
        let verdict = match (asked.api_group.as_str(), asked.resource.as_str()) {
            ("", "secrets") => self.read(node, asked, Referent::Secret),
            ("", "configmaps") => self.read(node, asked, Referent::ConfigMap),
            ("", "serviceaccounts") => self.token(node, asked),
            ("coordination.k8s.io", "leases") => lease(node, asked),
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("storage.k8s.io", "volumeattachments")
            | ("resource.k8s.io", "resourceclaims") => Err(unrelated(node)),
            _ => return self.by_rules(asked),
        };
        match verdict {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason),
        }
    }

    fn by_rules(&self, asked: &Attributes) -> Decision {
        if self.rules.iter().any(|rule| rule.allows(asked)) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }

    fn read(&self, node: &str, asked: &Attributes, referent: Referent) -> Result<(), String> {
        if !matches!(asked.verb.as_str(), "get" | "list" | "watch") {
            return Err("can only read resources of this type".to_owned());
        }
        if !asked.subresource.is_empty() {
            return Err("cannot read subresource".to_owned());
        }
        if asked.namespace.is_empty() {
            return Err("can only read namespaced object of this type".to_owned());
        }
        self.related(node, asked, referent)
    }

    fn token(&self, node: &str, asked: &Attributes) -> Result<(), String> {
        if asked.verb != "create" || asked.subresource != "token" {
            return Err("can only create tokens for individual service accounts".to_owned());
        }
        self.related(node, asked, Referent::ServiceAccount)
    }

    fn related(&self, node: &str, asked: &Attributes, referent: Referent) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let Some(pods) = self.registry.snapshot(&POD) else { return Err(unrelated(node)) };
        let bound =
            pods.namespace(&asked.namespace).filter(|pod| pod.header.field("spec.nodeName") == Some(node));
        for cached in bound {
            match cached.decode() {
                Ok(pod) if refers(&pod, referent, &asked.name) => return Ok(()),
                Ok(_) => {}
                Err(error) => error!(%error, "a pod cannot be read and gives its node no rights"),
            }
        }
        Err(unrelated(node))
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn lease(node: &str, asked: &Attributes) -> Result<(), String> {
    if !matches!(asked.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".to_owned());
    }
    if asked.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    if asked.verb != "create" && asked.name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// Whether a pod refers to the named object. Pure.
fn refers(pod: &Value, referent: Referent, name: &str) -> bool {
    if Meta(pod).annotation(MIRROR).is_some() {
        return false;
    }
    if referent == Referent::ServiceAccount {
        return pod.path_str(&["spec", "serviceAccountName"]) == Some(name);
    }
    let volumes =
        pod.path_list(&["spec", "volumes"]).iter().any(|volume| volume_refers(volume, referent, name));
    let containers = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod.path_list(&["spec", list]))
        .any(|container| container_refers(container, referent, name));
    let pull_secrets = pod.path_list(&["spec", "imagePullSecrets"]).iter();
    let pulls = referent == Referent::Secret
        && pull_secrets.into_iter().any(|secret| secret.path_str(&["name"]) == Some(name));
    volumes || containers || pulls
}

fn volume_refers(volume: &Value, referent: Referent, name: &str) -> bool {
    let is = |path: &[&str]| volume.path_str(path) == Some(name);
    let source = if referent == Referent::Secret { "secret" } else { "configMap" };
    let projected = volume.path_list(&["projected", "sources"]);
    if projected.iter().any(|part| part.path_str(&[source, "name"]) == Some(name)) {
        return true;
    }
    match referent {
        Referent::ConfigMap => is(&["configMap", "name"]),
        Referent::Secret => {
            is(&["secret", "secretName"])
                || is(&["azureFile", "secretName"])
                || is(&["csi", "nodePublishSecretRef", "name"])
                || ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"]
                    .into_iter()
                    .any(|kind| is(&[kind, "secretRef", "name"]))
        }
        Referent::ServiceAccount => false,
    }
}

fn container_refers(container: &Value, referent: Referent, name: &str) -> bool {
    let (key, whole) = match referent {
        Referent::Secret => ("secretKeyRef", "secretRef"),
        Referent::ConfigMap => ("configMapKeyRef", "configMapRef"),
        Referent::ServiceAccount => return false,
    };
    let mut env = container.path_list(&["env"]).iter();
    let mut from = container.path_list(&["envFrom"]).iter();
    env.any(|var| var.path_str(&["valueFrom", key, "name"]) == Some(name))
        || from.any(|source| source.path_str(&[whole, "name"]) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn pod() -> Value {
        value!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "vol"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "proj"}}]}}
            ],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "all"}}]}],
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]}]
        }})
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        for secret in ["pull", "vol", "proj", "env"] {
            assert!(refers(&pod(), Referent::Secret, secret), "{secret}");
            assert!(!refers(&pod(), Referent::ConfigMap, secret), "{secret}");
        }
        for map in ["kube-root-ca.crt", "all"] {
            assert!(refers(&pod(), Referent::ConfigMap, map), "{map}");
        }
        assert!(refers(&pod(), Referent::ServiceAccount, "bot"));
        assert!(!refers(&pod(), Referent::Secret, "other"));
    }

    #[test]
    fn a_mirror_pod_gives_its_node_nothing() {
        let mut mirror = pod();
        mirror.set_path(&["metadata", "annotations"], value!({"kubernetes.io/config.mirror": "x"}));
        assert!(!refers(&mirror, Referent::Secret, "vol"));
        assert!(!refers(&mirror, Referent::ServiceAccount, "bot"));
    }

    #[test]
    fn a_lease_is_the_nodes_own() {
        let ask = |verb: &str, namespace: &str, name: &str| Attributes {
            verb: verb.into(),
            namespace: namespace.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        };
        assert_eq!(lease("a", &ask("update", "kube-node-lease", "a")), Ok(()));
        assert_eq!(lease("a", &ask("create", "kube-node-lease", "")), Ok(()));
        assert!(lease("a", &ask("update", "kube-node-lease", "b")).is_err());
        assert!(lease("a", &ask("update", "kube-system", "a")).is_err());
        assert!(lease("a", &ask("watch", "kube-node-lease", "a")).is_err());
    }
}
