//! Whether a hook is asked about a request, and in which version of the resource.

use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::label::{LabelSelector, Labels, Selector};
use smol_str::SmolStr;

use crate::cache::LabelSet;
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

/// Which requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) operations: Vec<SmolStr>,
    pub(super) groups: Vec<SmolStr>,
    pub(super) versions: Vec<SmolStr>,
    pub(super) resources: Vec<SmolStr>,
    /// Names of objects; empty for all.
    pub(super) names: Vec<SmolStr>,
    pub(super) scope: SmolStr,
}

/// Which requests a webhook, or a policy, is about.
#[derive(Debug, Clone)]
pub(in crate::admission) struct Criteria {
    pub(super) rules: Vec<Rule>,
    /// Whether having no rules means all requests (a binding that only selects).
    pub(super) any_without_rules: bool,
    pub(super) excluded: Vec<Rule>,
    /// Whether requests to other versions of a resource are asked about in the version of the rule.
    pub(super) equivalent: bool,
    pub(super) namespaces: Selector,
    pub(super) objects: Selector,
}

impl Criteria {
    /// The criteria of a webhook.
    ///
    /// # Errors
    /// Selectors that cannot be read.
    pub(super) fn of_hook(hook: &Value) -> Result<Self, String> {
        Ok(Self { rules: rules(hook, "rules"), any_without_rules: false, ..Self::read(hook)? })
    }

    /// The criteria of a policy or binding (`MatchResources`).
    ///
    /// # Errors
    /// Selectors that cannot be read.
    pub(in crate::admission) fn read(tree: &Value) -> Result<Self, String> {
        Ok(Self {
            rules: rules(tree, "resourceRules"),
            any_without_rules: true,
            excluded: rules(tree, "excludeResourceRules"),
            equivalent: tree.path_str(&["matchPolicy"]) != Some("Exact"),
            namespaces: selector(tree.get("namespaceSelector"))?,
            objects: selector(tree.get("objectSelector"))?,
        })
    }
}

fn rules(tree: &Value, name: &str) -> Vec<Rule> {
    tree.path_list(&[name]).iter().map(rule).collect()
}

fn rule(rule: &Value) -> Rule {
    let list = |name: &str| rule.path_list(&[name]).iter().filter_map(Value::as_smol).cloned().collect();
    Rule {
        operations: list("operations"),
        groups: list("apiGroups"),
        versions: list("apiVersions"),
        resources: list("resources"),
        names: list("resourceNames"),
        scope: rule.path_str(&["scope"]).unwrap_or("*").into(),
    }
}

fn selector(spec: Option<&Value>) -> Result<Selector, String> {
    let Some(spec) = spec else { return Ok(Selector::new(Vec::new())) };
    let spec: LabelSelector = value::from_value(spec).map_err(|error| error.to_string())?;
    Selector::from_spec(Some(&spec)).map_err(|error| error.to_string())
}

/// Whether no hook is ever asked about the request.
pub(in crate::admission) fn is_exempt(request: &AdmissionRequest) -> bool {
    request.kind.group == "admissionregistration.k8s.io" && EXEMPT.contains(&request.kind.plural)
}

/// Labels of an object in flight.
struct ObjectLabels<'a>(&'a Value);

impl Labels for ObjectLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        Meta(self.0).label(key)
    }
}

impl Criteria {
    /// The kind in whose form the request is to be seen; none when the criteria are not about it. `kinds` are all that
    /// are served, `namespace` gives the labels of the request's namespace, none when it is not there.
    ///
    /// # Errors
    /// The criteria are about the request, but the namespace is not there to select by.
    pub(in crate::admission) fn form(
        &self,
        request: &AdmissionRequest,
        kinds: &[&'static Kind],
        namespace: impl FnOnce() -> Option<LabelSet>,
    ) -> Result<Option<&'static Kind>, NoNamespace> {
        if !objects_match(&self.objects, request) || self.matching(&self.excluded, request, kinds).is_some() {
            return Ok(None);
        }
        let found = if self.rules.is_empty() && self.any_without_rules {
            Some(request.kind)
        } else {
            self.matching(&self.rules, request, kinds)
        };
        let Some(found) = found else { return Ok(None) };
        if self.namespaces.is_everything() {
            return Ok(Some(found));
        }
        let matches = if *request.kind == NAMESPACE {
            let object = if request.object.is_null() { request.old.as_ref() } else { Some(&request.object) };
            object.is_some_and(|object| self.namespaces.matches(&ObjectLabels(object)))
        } else if request.namespace.is_empty() {
            true
        } else {
            self.namespaces.matches(&*namespace().ok_or(NoNamespace)?)
        };
        Ok(matches.then_some(found))
    }

    /// The kind by which one of these rules is about the request.
    fn matching(
        &self,
        rules: &[Rule],
        request: &AdmissionRequest,
        kinds: &[&'static Kind],
    ) -> Option<&'static Kind> {
        if rules.iter().any(|rule| rule_matches(rule, request, request.kind)) {
            return Some(request.kind);
        }
        if !self.equivalent {
            return None;
        }
        rules.iter().find_map(|rule| {
            let mut others = kinds.iter().copied().filter(|kind| is_other_form(request.kind, kind));
            others.find(|kind| rule_matches(rule, request, kind))
        })
    }
}

/// The namespace that a selector is about is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admission) struct NoNamespace;

/// Whether two kinds are versions of the same stored objects.
fn is_other_form(kind: &'static Kind, other: &'static Kind) -> bool {
    kind != other && other.is_stored() && std::ptr::eq(kind.stored_kind(), other.stored_kind())
}

fn objects_match(objects: &Selector, request: &AdmissionRequest) -> bool {
    if objects.is_everything() {
        return true;
    }
    let matches = |object: &Value| object.get("metadata").is_some() && objects.matches(&ObjectLabels(object));
    matches(&request.object) || request.old.as_ref().is_some_and(matches)
}

fn rule_matches(rule: &Rule, request: &AdmissionRequest, kind: &Kind) -> bool {
    let any = |list: &[SmolStr], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    any(&rule.operations, request.operation.as_str())
        && any(&rule.groups, kind.group)
        && any(&rule.versions, kind.version)
        && rule.resources.iter().any(|resource| resource_matches(resource, kind.plural, &request.subresource))
        && (rule.names.is_empty() || rule.names.contains(&request.name))
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
