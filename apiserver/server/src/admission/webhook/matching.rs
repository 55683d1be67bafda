//! Whether a hook is asked about a request, and in which version of the resource.

use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::label::Labels;
use smol_str::SmolStr;

use super::hook::{Hook, Rule};
use crate::types::AdmissionRequest;

/// Resources of the group that configures admission: nothing can keep an administrator from changing them.
const EXEMPT: &[&str] = &[
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

/// Whether no hook is ever asked about the request.
pub(super) fn is_exempt(request: &AdmissionRequest) -> bool {
    request.kind.group == "admissionregistration.k8s.io" && EXEMPT.contains(&request.kind.plural)
}

/// Labels of an object in flight.
struct ObjectLabels<'a>(&'a Value);

impl Labels for ObjectLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        Meta(self.0).label(key)
    }
}

/// The kind in whose form the hook wants to see the request; none when it is not asked. `kinds` are all that are served,
/// `namespace` gives the labels of the request's namespace, none when it is not there.
///
/// # Errors
/// The hook would be asked, but the namespace is not there to select by.
pub(super) fn asked(
    hook: &Hook,
    request: &AdmissionRequest,
    kinds: &[&'static Kind],
    namespace: impl FnOnce() -> Option<Box<[(SmolStr, SmolStr)]>>,
) -> Result<Option<&'static Kind>, NoNamespace> {
    if !objects_match(hook, request) {
        return Ok(None);
    }
    let exact = hook.rules.iter().any(|rule| rule_matches(rule, request, request.kind));
    let found = if exact {
        Some(request.kind)
    } else if hook.equivalent {
        hook.rules.iter().find_map(|rule| {
            let others = kinds.iter().copied().filter(|kind| is_other_form(request.kind, kind));
            let mut others = others;
            others.find(|kind| rule_matches(rule, request, kind))
        })
    } else {
        None
    };
    let Some(found) = found else { return Ok(None) };
    if hook.namespaces.is_everything() {
        return Ok(Some(found));
    }
    let matches = if *request.kind == NAMESPACE {
        let object = if request.object.is_null() { request.old.as_ref() } else { Some(&request.object) };
        object.is_some_and(|object| hook.namespaces.matches(&ObjectLabels(object)))
    } else if request.namespace.is_empty() {
        true
    } else {
        hook.namespaces.matches(&*namespace().ok_or(NoNamespace)?)
    };
    Ok(matches.then_some(found))
}

/// The namespace that a selector is about is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoNamespace;

/// Whether two kinds are versions of the same stored objects.
fn is_other_form(kind: &'static Kind, other: &'static Kind) -> bool {
    kind != other && other.is_stored() && std::ptr::eq(kind.stored_kind(), other.stored_kind())
}

fn objects_match(hook: &Hook, request: &AdmissionRequest) -> bool {
    if hook.objects.is_everything() {
        return true;
    }
    let matches =
        |object: &Value| object.get("metadata").is_some() && hook.objects.matches(&ObjectLabels(object));
    matches(&request.object) || request.old.as_ref().is_some_and(matches)
}

fn rule_matches(rule: &Rule, request: &AdmissionRequest, kind: &Kind) -> bool {
    let any = |list: &[SmolStr], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    any(&rule.operations, request.operation.as_str())
        && any(&rule.groups, kind.group)
        && any(&rule.versions, kind.version)
        && rule.resources.iter().any(|resource| resource_matches(resource, kind.plural, &request.subresource))
        && scope_matches(&rule.scope, request)
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`.
fn resource_matches(wanted: &str, plural: &str, subresource: &str) -> bool {
    let (resource, sub) = wanted.split_once('/').unwrap_or((wanted, ""));
    (resource == "*" || resource == plural) && (sub == "*" || sub == subresource)
}

fn scope_matches(scope: &str, request: &AdmissionRequest) -> bool {
    let in_namespace = !request.namespace.is_empty() && *request.kind != NAMESPACE;
    match scope {
        "Namespaced" => in_namespace,
        "Cluster" => !in_namespace,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_match_with_their_subresources() {
        for (wanted, plural, sub, matches) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*/scale", "deployments", "scale", true),
            ("*", "deployments", "scale", false),
            ("*/*", "deployments", "scale", true),
            ("*", "deployments", "", true),
        ] {
            assert_eq!(resource_matches(wanted, plural, sub), matches, "{wanted} {plural}/{sub}");
        }
    }
}
