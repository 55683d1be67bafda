//! Nobody grants rights that they do not hold: the checks of writes to roles and bindings.
//!
//! Upstream has these in the storage of the RBAC kinds rather than in admission; they run last here as there.

use mainstay_apiserver_kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::authn::user::MASTERS;
use crate::authz::aggregation::is_aggregated;
use crate::authz::covers::{Coverage, PERMISSIONS_MAX, covers, describe, quoted};
use crate::authz::{Authorizer, PolicyRule, RoleRef};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Attributes, Authorize, Operation, UserInfo};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The step.
pub struct RbacEscalation {
    registry: Registry,
    authorizer: Authorizer,
}

impl RbacEscalation {
    /// The step over the cluster's policy.
    pub fn new(registry: Registry, authorizer: Authorizer) -> Self {
        Self { registry, authorizer }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || request.user.in_group(MASTERS) {
            return Ok(());
        }
        if request.old.as_ref().is_some_and(|old| only_frees(&request.object, old)) {
            return Ok(());
        }
        let kind = request.kind;
        if *kind == ROLE || *kind == CLUSTER_ROLE {
            self.check_role(request).await
        } else if *kind == ROLE_BINDING || *kind == CLUSTER_ROLE_BINDING {
            self.check_binding(request).await
        } else {
            Ok(())
        }
    }

    async fn check_role(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if self.may(request, "escalate", request.kind.plural, &request.name).await {
            return Ok(());
        }
        let rules = PolicyRule::list_from(&request.object);
        self.confirm(request, &rules).map_err(|why| refuse(request, &why))?;
        let aggregated = is_aggregated(&request.object) || request.old.as_ref().is_some_and(is_aggregated);
        if aggregated && self.confirm(request, &full_authority()).is_err() {
            return Err(refuse(request, "must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    async fn check_binding(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let role = RoleRef::from_binding(&request.object);
        let resource = if role.cluster { "clusterroles" } else { "roles" };
        if self.may(request, "bind", resource, &role.name).await {
            return Ok(());
        }
        let kind = if role.cluster { &CLUSTER_ROLE } else { &ROLE };
        let namespace = if role.cluster { "" } else { request.namespace.as_str() };
        let Some(found) = self.registry.get(kind, namespace, &role.name) else {
            return Err(Status::not_found(GROUP, resource, &role.name));
        };
        let rules = PolicyRule::list_from(&self.registry.decode_served(kind, &found)?);
        self.confirm(request, &rules).map_err(|why| refuse(request, &why))
    }

    async fn may(&self, request: &AdmissionRequest, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            verb: verb.into(),
            api_group: GROUP.into(),
            api_version: "*".into(),
            resource: resource.into(),
            namespace: request.namespace.clone(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        };
        let authorizer: &dyn Authorize = &self.authorizer;
        authorizer.authorize(&request.user, &attributes).await.is_allowed()
    }

    fn confirm(&self, request: &AdmissionRequest, rules: &[PolicyRule]) -> Result<(), String> {
        let (held, errors) = self.authorizer.index().rules_for(&request.user, &request.namespace);
        refusal(&request.user, &covers(&held, rules), &errors).map_or(Ok(()), Err)
    }
}

/// Upstream's text about what the user lacks.
fn refusal(user: &UserInfo, coverage: &Coverage, errors: &[String]) -> Option<String> {
    let missing = match coverage {
        Coverage::Covered => return None,
        Coverage::Missing(rules) => rules.iter().map(describe).collect::<Vec<_>>().join("\n"),
        Coverage::TooMany => format!("the rules hold more than {PERMISSIONS_MAX} permissions"),
    };
    let mut text = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{missing}",
        user.name.as_str(),
        quoted(&user.groups)
    );
    if !errors.is_empty() {
        text.extend(["; resolution errors: [", &errors.join(", "), "]"]);
    }
    Some(text)
}

fn full_authority() -> [PolicyRule; 2] {
    let all = || vec!["*".into()];
    [
        PolicyRule { api_groups: all(), resources: all(), verbs: all(), ..PolicyRule::default() },
        PolicyRule { non_resource_urls: all(), verbs: all(), ..PolicyRule::default() },
    ]
}

/// Whether an update changes only finalizers and owner references, which garbage collection must be able to.
fn only_frees(new: &Value, old: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion"] {
            object.remove_path(&["metadata", field]);
        }
        object
    };
    new != old && bare(new) == bare(old)
}

fn refuse(request: &AdmissionRequest, why: &str) -> Status {
    let name = Meta(&request.object).name();
    Status::forbidden(request.kind.group, request.kind.plural, name, why)
}

impl Step for RbacEscalation {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if request.kind.group == GROUP { Some(Box::pin(self.check(request))) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn the_refusal_names_user_groups_and_rules() {
        let rule = PolicyRule {
            api_groups: vec!["".into()],
            resources: vec!["secrets".into()],
            verbs: vec!["get".into()],
            ..PolicyRule::default()
        };
        let text = refusal(&UserInfo::new("jane", ["a", "b"]), &Coverage::Missing(vec![rule]), &[]).unwrap();
        assert_eq!(
            text,
            "user \"jane\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
        );
    }

    #[test]
    fn garbage_collection_may_free_a_role() {
        let old = value!({"metadata": {"name": "r", "finalizers": ["x"]}, "rules": [{"verbs": ["*"]}]});
        let mut new = old.clone();
        new.remove_path(&["metadata", "finalizers"]);
        assert!(only_frees(&new, &old));
        new.set_path(&["metadata", "labels"], value!({"aggregate-to-admin": "true"}));
        assert!(!only_frees(&new, &old));
        assert!(!only_frees(&old, &old));
    }
}
