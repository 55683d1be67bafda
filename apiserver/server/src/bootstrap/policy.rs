//! The default roles and bindings, as objects.

use std::sync::OnceLock;

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

use super::policy_text::{
    PolicyBinding, PolicyRole, PolicySubject, PolicyTextError, parse_bindings, parse_roles,
};

use crate::authz::PolicyRule;

/// Annotation by which an administrator keeps a default object from being reconciled.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Label of default objects.
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
const GROUP: &str = "rbac.authorization.k8s.io";
const CONTROLLER_PREFIX: &str = "system:controller:";
/// The identity that all controllers of this cluster share.
const CONTROLLER_USER: &str = "system:kube-controller-manager";
/// What the names of bindings that upstream does not have begin with.
const OWN_PREFIX: &str = "mainstay:kube-controller-manager:";

/// The default objects, each list in the order in which it is created.
#[derive(Debug, Clone, Default)]
pub struct DefaultPolicy {
    /// `ClusterRole` objects.
    pub cluster_roles: Vec<Value>,
    /// `ClusterRoleBinding` objects.
    pub cluster_role_bindings: Vec<Value>,
    /// `Role` objects.
    pub roles: Vec<Value>,
    /// `RoleBinding` objects.
    pub role_bindings: Vec<Value>,
}

/// The default policy, read once.
pub fn default_policy() -> Result<&'static DefaultPolicy, PolicyTextError> {
    static POLICY: OnceLock<Result<DefaultPolicy, PolicyTextError>> = OnceLock::new();
    POLICY.get_or_init(read).as_ref().map_err(Clone::clone)
}

/// The rules that node agents have, within the limits of the Node authorizer: those of role `system:node`.
pub fn node_rules() -> Result<Vec<PolicyRule>, PolicyTextError> {
    let roles = &default_policy()?.cluster_roles;
    let role = roles.iter().find(|role| Meta(role).name() == "system:node");
    Ok(role.map(PolicyRule::list_from).unwrap_or_default())
}

fn read() -> Result<DefaultPolicy, PolicyTextError> {
    let cluster = parse_roles(include_str!("policy/cluster-roles.policy"))?;
    let controllers = parse_roles(include_str!("policy/controller-roles.policy"))?;
    let bindings = parse_bindings(include_str!("policy/cluster-role-bindings.policy"))?;
    let namespaced = parse_roles(include_str!("policy/namespace-roles.policy"))?;
    let mut policy = DefaultPolicy {
        cluster_roles: cluster.roles.iter().map(|role| cluster_role(role, &role.name)).collect(),
        cluster_role_bindings: bindings
            .iter()
            .map(|binding| binding_object(binding, "ClusterRole"))
            .collect(),
        roles: namespaced.roles.iter().map(namespace_role).collect(),
        role_bindings: namespaced.bindings.iter().map(|binding| binding_object(binding, "Role")).collect(),
    };
    for role in &controllers.roles {
        let name = format!("{CONTROLLER_PREFIX}{}", role.name);
        policy.cluster_roles.push(cluster_role(&PolicyRole { mark: None, ..role.clone() }, &name));
        let account = PolicySubject::ServiceAccount("kube-system".to_owned(), role.name.clone());
        policy.cluster_role_bindings.push(controller_binding(&name, &name, account));
        if role.mark.as_deref() == Some("runs") {
            let user = PolicySubject::User(CONTROLLER_USER.to_owned());
            policy.cluster_role_bindings.push(controller_binding(
                &format!("{OWN_PREFIX}{}", role.name),
                &name,
                user,
            ));
        }
    }
    Ok(policy)
}

fn controller_binding(name: &str, role: &str, subject: PolicySubject) -> Value {
    let binding = PolicyBinding {
        namespace: String::new(),
        name: name.to_owned(),
        role: role.to_owned(),
        subjects: vec![subject],
    };
    binding_object(&binding, "ClusterRole")
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = value!({
        "annotations": {AUTOUPDATE: "true"},
        "labels": {BOOTSTRAPPING.0: BOOTSTRAPPING.1},
        "name": name,
    });
    if !namespace.is_empty() {
        metadata.set_path(&["namespace"], namespace);
    }
    metadata
}

fn cluster_role(role: &PolicyRole, name: &str) -> Value {
    let mut object = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
    });
    object.set_path(&["metadata"], metadata("", name));
    if let Some(mark) = &role.mark {
        let label = format!("{GROUP}/aggregate-to-{mark}");
        object.set_path(&["metadata", "labels", &label], "true");
    }
    match &role.aggregates {
        Some(label) => {
            let label = format!("{GROUP}/aggregate-to-{label}");
            let mut selector = value!({});
            selector.set_path(&["matchLabels", &label], "true");
            object.set_path(&["aggregationRule", "clusterRoleSelectors"], vec![selector]);
        }
        None => object.set_path(&["rules"], rules(role)),
    }
    object
}

fn namespace_role(role: &PolicyRole) -> Value {
    let mut object = value!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"});
    object.set_path(&["metadata"], metadata(&role.namespace, &role.name));
    object.set_path(&["rules"], rules(role));
    object
}

fn rules(role: &PolicyRole) -> Vec<Value> {
    role.rules.iter().map(PolicyRule::to_value).collect()
}

fn binding_object(binding: &PolicyBinding, role_kind: &str) -> Value {
    let kind = if binding.namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let subjects: Vec<Value> = binding.subjects.iter().map(subject).collect();
    let mut object = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": binding.role.as_str()},
    });
    object.set_path(&["metadata"], metadata(&binding.namespace, &binding.name));
    if !subjects.is_empty() {
        object.set_path(&["subjects"], subjects);
    }
    object
}

fn subject(subject: &PolicySubject) -> Value {
    match subject {
        PolicySubject::User(name) => value!({"apiGroup": GROUP, "kind": "User", "name": name.as_str()}),
        PolicySubject::Group(name) => value!({"apiGroup": GROUP, "kind": "Group", "name": name.as_str()}),
        PolicySubject::ServiceAccount(namespace, name) => {
            value!({"kind": "ServiceAccount", "name": name.as_str(), "namespace": namespace.as_str()})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_read_and_every_name_is_there_once() {
        let policy = default_policy().unwrap();
        let mut names: Vec<_> =
            policy.cluster_roles.iter().map(|role| Meta(role).name().to_owned()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for expected in [
            "cluster-admin",
            "admin",
            "edit",
            "view",
            "system:node",
            "system:controller:replicaset-controller",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected}");
        }
    }

    #[test]
    fn every_binding_names_a_role_of_the_policy() {
        let policy = default_policy().unwrap();
        for binding in &policy.cluster_role_bindings {
            let role = binding.path_str(&["roleRef", "name"]).unwrap();
            assert!(policy.cluster_roles.iter().any(|known| Meta(known).name() == role), "{role}");
        }
        for binding in &policy.role_bindings {
            let (role, namespace) =
                (binding.path_str(&["roleRef", "name"]).unwrap(), Meta(binding).namespace());
            let known = |known: &&Value| Meta(known).name() == role && Meta(known).namespace() == namespace;
            assert!(policy.roles.iter().any(|role| known(&role)), "{namespace}/{role}");
        }
    }
}
