//! The check of which requests a webhook or policy is asked about.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use std::collections::HashSet;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Operations whose objects can be changed.
const MUTABLE_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

pub(super) fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let operations = rule.get("operations");
    operations.require(errors, "");
    wildcard_alone(&operations, "operations", errors);
    for operation in operations.items() {
        operation.one_of(errors, OPERATIONS);
    }
    let groups = rule.get("apiGroups");
    groups.require(errors, "");
    wildcard_alone(&groups, "API groups", errors);
    let versions = rule.get("apiVersions");
    versions.require(errors, "");
    wildcard_alone(&versions, "API versions", errors);
    for version in versions.items() {
        version.require(errors, "");
    }
    validate_resources(&rule.get("resources"), errors);
    let scope = rule.get("scope");
    if scope.is_set() {
        scope.one_of(errors, &["*", "Cluster", "Namespaced"]);
    }
}

fn wildcard_alone(list: &At<'_>, what: &str, errors: &mut ErrorList) {
    if list.len() > 1 && list.items().any(|item| item.text() == "*") {
        list.invalid(errors, &format!("if '*' is present, must not specify other {what}"));
    }
}

fn validate_resources(resources: &At<'_>, errors: &mut ErrorList) {
    resources.require(errors, "");
    let (mut whole, mut everywhere) = (HashSet::new(), HashSet::new());
    let (mut plain, mut all, mut all_parts) = (false, false, false);
    for resource in resources.items() {
        let text = resource.text();
        if !resource.require(errors, "") {
            continue;
        }
        all |= text == "*";
        all_parts |= text == "*/*";
        let Some((name, part)) = text.split_once('/') else {
            // As upstream: the last one decides.
            plain = text != "*";
            continue;
        };
        if whole.contains(name) {
            resource.invalid(errors, &format!("if '{name}/*' is present, must not specify {text}"));
        }
        if everywhere.contains(part) {
            resource.invalid(errors, &format!("if '*/{part}' is present, must not specify {text}"));
        }
        if part == "*" {
            whole.insert(name);
        }
        if name == "*" {
            everywhere.insert(part);
        }
    }
    if resources.len() > 1 && all_parts {
        resources.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if all && plain {
        let text = "if '*' is present, must not specify other resources without subresources";
        resources.invalid(errors, text);
    }
}

/// Checks that the rules of a mutating policy, or of its binding, are about nothing that cannot be changed.
pub(super) fn validate_mutable(matching: &At<'_>, errors: &mut ErrorList) {
    let rules = matching.get("resourceRules");
    for operation in rules.items().flat_map(|rule| rule.get("operations").items()) {
        At::new(operation.value, rules.path.child("operations")).one_of(errors, MUTABLE_OPERATIONS);
    }
}

/// Checks the label selectors beside the rules.
pub(super) fn validate_selectors(holder: &At<'_>, errors: &mut ErrorList) {
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = holder.get(field);
        validate_label_selector(selector.value, true, &selector.path, errors);
    }
}

/// Checks the `MatchResources` of a policy or its binding.
pub(super) fn validate_match(matching: &At<'_>, errors: &mut ErrorList) {
    let policy = matching.get("matchPolicy");
    if policy.is_set() {
        policy.one_of(errors, &["Equivalent", "Exact"]);
    } else {
        errors.required(&policy.path, "");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = matching.get(field);
        if selector.is_set() {
            validate_label_selector(selector.value, true, &selector.path, errors);
        } else {
            errors.required(&selector.path, "");
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in matching.get(field).items() {
            let mut seen = HashSet::new();
            for name in rule.get("resourceNames").items() {
                name.invalid_each(errors, names::path_segment(name.text()));
                if !seen.insert(name.text()) {
                    errors.duplicate(&name.path, name.text());
                }
            }
            validate_rule(&rule, errors);
        }
    }
}
