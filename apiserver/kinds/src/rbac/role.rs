//! rbac.authorization.k8s.io/v1 Role and ClusterRole. Whether a user may grant what a role holds is a matter of
//! admission, not of these rules.

use crate::apps::template::parse;
use crate::shape::STORED;
use mainstay_apiserver_machinery::kind::{Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;

/// The group of these kinds, also of users, groups and roles in references.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// rbac.authorization.k8s.io/v1 Role.
pub static ROLE: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    type_name: "rbac.authorization.k8s.io/v1.Role",
    list_kind: "RoleList",
    rules: &Role { namespaced: true },
    storage: Some(Storage::new("roles")),
    ..STORED
};

/// rbac.authorization.k8s.io/v1 ClusterRole.
pub static CLUSTER_ROLE: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    type_name: "rbac.authorization.k8s.io/v1.ClusterRole",
    list_kind: "ClusterRoleList",
    rules: &Role { namespaced: false },
    storage: Some(Storage::new("clusterroles")),
    ..STORED
};

struct Role {
    namespaced: bool,
}

impl Rules for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let role = At::root(object);
        for rule in role.get("rules").items() {
            validate_rule(&rule, self.namespaced, errors);
        }
        let aggregation = role.get("aggregationRule");
        if aggregation.is_set() && !self.namespaced {
            let selectors = aggregation.get("clusterRoleSelectors");
            if selectors.is_empty() {
                errors.required(
                    &selectors.path,
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                );
            }
            for selector in selectors.items() {
                validate_label_selector(selector.value, true, &selector.path, errors);
                if parse(selector.value).is_none() {
                    errors.invalid(&selector.path, Value::Null, "invalid label selector.");
                }
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

fn validate_rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    rule.get("verbs").require(errors, "verbs must contain at least one value");
    let urls = rule.get("nonResourceURLs");
    let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
            urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    groups.require(errors, "resource rules must supply at least one api group");
    resources.require(errors, "resource rules must supply at least one resource");
}
