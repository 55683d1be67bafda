//! Who writes a policy must be able to read all objects that may be its parameters, and who binds one those that are:
//! else a policy would tell what its author may not see.
//!
//! Upstream has these checks in the storage of the kinds, so that a refusal is a fault of the object (422).

use std::fmt::Write as _;
use std::sync::Arc;

use mainstay_apiserver_kinds::{
    MUTATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY_BINDING, VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use crate::admission::step::{Step, Work};
use crate::authn::user::MASTERS;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Attributes, Authorize, Operation, UserInfo};

const KIND: &[&str] = &["spec", "paramKind"];
const REFERENCE: &[&str] = &["spec", "paramRef"];
const POLICY: &[&str] = &["spec", "policyName"];

/// The step.
pub struct PolicyRights {
    registry: Registry,
    authorizer: Arc<dyn Authorize>,
}

/// What the parameters of a policy are; `*` where that is not known.
struct Parameters {
    group: SmolStr,
    version: SmolStr,
    resource: SmolStr,
    /// What kept the resource from being known.
    fault: Option<&'static str>,
}

impl PolicyRights {
    /// The step that asks `authorizer`.
    pub fn new(registry: Registry, authorizer: Arc<dyn Authorize>) -> Self {
        Self { registry, authorizer }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.user.in_group(MASTERS) {
            return Ok(());
        }
        let changed = |path: &[&str]| {
            request.old.as_ref().is_none_or(|old| old.path(path) != request.object.path(path))
        };
        let stated = |path: &[&str]| request.object.path(path).filter(|value| !value.is_null());
        let (field, refusal) = if is_policy(request.kind) {
            let Some(kind) = stated(KIND).filter(|_| changed(KIND)) else { return Ok(()) };
            ("paramKind", self.refuse_policy(request, kind).await)
        } else {
            let Some(reference) = stated(REFERENCE).filter(|_| changed(REFERENCE) || changed(POLICY)) else {
                return Ok(());
            };
            ("paramRef", self.refuse_binding(request, reference).await?)
        };
        let mut errors = ErrorList::new();
        if let Some(why) = refusal {
            errors.forbidden(&Path::new("spec").child(field), &why);
        }
        errors.into_result(request.kind.group, request.kind.kind, &request.name)
    }

    /// Why the author may not write a policy with parameters of this kind.
    async fn refuse_policy(&self, request: &AdmissionRequest, kind: &Value) -> Option<String> {
        let parameters = self.parameters(Some(kind));
        if self.may(&request.user, "get", &parameters, ("*", "*")).await {
            return None;
        }
        let text = |field: &str| kind.path_str(&[field]).unwrap_or_default();
        Some(format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            shown(&request.user),
            text("kind"),
            text("apiVersion"),
        ))
    }

    /// Why the author may not bind a policy to these parameters.
    async fn refuse_binding(
        &self,
        request: &AdmissionRequest,
        reference: &Value,
    ) -> Result<Option<String>, Status> {
        let mutates = *request.kind == MUTATING_ADMISSION_POLICY_BINDING;
        let policies = if mutates { &MUTATING_ADMISSION_POLICY } else { &VALIDATING_ADMISSION_POLICY };
        let name = request.object.path_str(POLICY).unwrap_or_default();
        let policy = match self.registry.get(policies, "", name) {
            Some(found) => self.registry.decode_served(policies, &found)?,
            None => Value::Null,
        };
        let kind = policy.path(KIND).filter(|kind| !kind.is_null());
        let parameters = self.parameters(kind);
        let text = |field: &str| reference.path_str(&[field]).unwrap_or_default();
        let verb = if text("name").is_empty() { "list" } else { "get" };
        if self.may(&request.user, verb, &parameters, (text("namespace"), text("name"))).await {
            return Ok(None);
        }
        let user = shown(&request.user);
        Ok(Some(match (parameters.fault, mutates) {
            // Upstream's words, turned round as they are there.
            (_, true) => {
                format!(
                    "user {verb} does not have \"{user}\" permission on the object referenced by paramRef"
                )
            }
            (None, false) => {
                format!(
                    "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
                )
            }
            (Some(fault), false) => {
                let text = |field: &str| kind.and_then(|kind| kind.path_str(&[field])).unwrap_or_default();
                format!(
                    "unable to {fault} paramKind &{{{} {}}} to determine minimum required permissions and user {user} \
                     does not have \"{verb}\" permission for all groups, versions and resources",
                    text("apiVersion"),
                    text("kind"),
                )
            }
        }))
    }

    /// What parameters of a kind are; of any resource where it is not known.
    fn parameters(&self, kind: Option<&Value>) -> Parameters {
        let any = |fault| {
            let all = || SmolStr::new_static("*");
            Parameters { group: all(), version: all(), resource: all(), fault }
        };
        let Some(kind) = kind else { return any(None) };
        let text = |field: &str| kind.path_str(&[field]).unwrap_or_default();
        let both = text("apiVersion");
        let (group, version) = both.split_once('/').unwrap_or(("", both));
        if version.contains('/') {
            return any(Some("parse"));
        }
        match self.registry.served().find_kind(group, version, text("kind")) {
            Some(found) => Parameters {
                group: group.into(),
                version: version.into(),
                resource: found.plural.into(),
                fault: None,
            },
            None => Parameters { group: group.into(), version: version.into(), ..any(Some("resolve")) },
        }
    }

    async fn may(
        &self,
        user: &UserInfo,
        verb: &str,
        parameters: &Parameters,
        (namespace, name): (&str, &str),
    ) -> bool {
        let attributes = Attributes {
            verb: verb.into(),
            api_group: parameters.group.clone(),
            api_version: parameters.version.clone(),
            resource: parameters.resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        };
        self.authorizer.authorize(user, &attributes).await.is_allowed()
    }
}

fn is_policy(kind: &Kind) -> bool {
    *kind == VALIDATING_ADMISSION_POLICY || *kind == MUTATING_ADMISSION_POLICY
}

fn is_binding(kind: &Kind) -> bool {
    *kind == VALIDATING_ADMISSION_POLICY_BINDING || *kind == MUTATING_ADMISSION_POLICY_BINDING
}

/// A user as Go prints what upstream has of it.
fn shown(user: &UserInfo) -> String {
    let mut extra = String::new();
    for (key, values) in &user.extra {
        let space = if extra.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let written = write!(extra, "{space}{key}:[{}]", values.join(" "));
        debug_assert!(written.is_ok());
    }
    format!("&{{{} {} [{}] map[{extra}]}}", user.name, user.uid, user.groups.join(" "))
}

impl Step for PolicyRights {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let is_its = request.subresource.is_empty() && (is_policy(request.kind) || is_binding(request.kind));
        if writes && is_its { Some(Box::pin(self.check(request))) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown_as_upstream_prints_them() {
        let mut user = UserInfo::new("jane", ["dev", "ops"]);
        assert_eq!(shown(&user), "&{jane  [dev ops] map[]}");
        user.uid = "7".into();
        user.extra.insert("a".into(), vec!["x".into(), "y".into()]);
        assert_eq!(shown(&user), "&{jane 7 [dev ops] map[a:[x y]]}");
    }
}
