//! rbac.authorization.k8s.io/v1 RoleBinding and ClusterRoleBinding.

use super::role::GROUP;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// rbac.authorization.k8s.io/v1 RoleBinding.
pub static ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    type_name: "rbac.authorization.k8s.io/v1.RoleBinding",
    list_kind: "RoleBindingList",
    rules: &Binding { roles: &["Role", "ClusterRole"], namespaced: true },
    storage: Some(Storage::new("rolebindings")),
    ..STORED
};

/// rbac.authorization.k8s.io/v1 ClusterRoleBinding.
pub static CLUSTER_ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    type_name: "rbac.authorization.k8s.io/v1.ClusterRoleBinding",
    list_kind: "ClusterRoleBindingList",
    rules: &Binding { roles: &["ClusterRole"], namespaced: false },
    storage: Some(Storage::new("clusterrolebindings")),
    ..STORED
};

struct Binding {
    /// Kinds of roles that may be bound.
    roles: &'static [&'static str],
    namespaced: bool,
}

impl Rules for Binding {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, object: &mut Value) {
        let empty = |value: &Value| value.path_str(&["apiGroup"]).unwrap_or_default().is_empty();
        if let Some(role) = object.get_mut("roleRef").filter(|role| empty(role)) {
            role.set_path(&["apiGroup"], GROUP);
        }
        let subjects = object.get_mut("subjects").and_then(Value::as_list_mut);
        for subject in subjects.into_iter().flatten().filter(|subject| empty(subject)) {
            if matches!(subject.path_str(&["kind"]), Some("User" | "Group")) {
                subject.set_path(&["apiGroup"], GROUP);
            }
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let binding = At::root(object);
        let role = binding.get("roleRef");
        role.get("apiGroup").one_of(errors, &[GROUP]);
        role.get("kind").one_of(errors, self.roles);
        let name = role.get("name");
        if name.require(errors, "") {
            name.invalid_each(errors, names::path_segment(name.text()));
        }
        for subject in binding.get("subjects").items() {
            validate_subject(&subject, self.namespaced, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let role = At::root(new).get("roleRef");
        if role.value != At::root(old).get("roleRef").value {
            role.invalid(errors, "cannot change roleRef");
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Role", "Kind and name of the role."),
            Column::new("Age", "Time since the object was created."),
            Column::new("Users", "Users that get the role.").wide(),
            Column::new("Groups", "Groups that get the role.").wide(),
            Column::new("ServiceAccounts", "Service accounts that get the role.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let role = |field: &str| object.path_str(&["roleRef", field]).unwrap_or_default();
        let subjects = |kind: &str| {
            let names = object
                .path_list(&["subjects"])
                .iter()
                .filter(|subject| subject.path_str(&["kind"]) == Some(kind));
            let shown: Vec<String> = names
                .map(|subject| {
                    let name = subject.path_str(&["name"]).unwrap_or_default();
                    match subject.path_str(&["namespace"]).filter(|_| kind == "ServiceAccount") {
                        Some(namespace) => format!("{namespace}/{name}"),
                        None => name.to_owned(),
                    }
                })
                .collect();
            Value::from(shown.join(", "))
        };
        vec![
            table::name(object),
            format!("{}/{}", role("kind"), role("name")).into(),
            table::age(object, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    }
}

fn validate_subject(subject: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let (name, group, kind) = (subject.get("name"), subject.get("apiGroup"), subject.get("kind"));
    name.require(errors, "");
    match kind.text() {
        "ServiceAccount" => {
            if !name.is_empty() {
                name.invalid_each(errors, names::dns_subdomain(name.text()));
            }
            if !group.is_empty() {
                errors.not_supported(&group.path, group.text(), &[""]);
            }
            // One without a namespace is of the binding's own.
            if !namespaced {
                subject.get("namespace").require(errors, "");
            }
        }
        "User" | "Group" => group.one_of(errors, &[GROUP]),
        other => errors.not_supported(&kind.path, other, &["ServiceAccount", "User", "Group"]),
    }
}
