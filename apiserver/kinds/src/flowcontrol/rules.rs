//! The checks of which requests a flow schema is about.

use mainstay_apiserver_machinery::kind::restore_except;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Each kind of subject with the field that names it, in the order in which they are checked.
const SUBJECTS: &[(&str, &str)] =
    &[("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

/// What an update of a status cannot change: neither the spec nor anything of the metadata.
pub(super) fn prepare_status(new: &mut Value, old: &Value) {
    let fields = new.path(&["metadata", "managedFields"]).cloned();
    restore_except(new, old, &["apiVersion", "kind", "status"]);
    match fields {
        Some(fields) => new.set_path(&["metadata", "managedFields"], fields),
        None => drop(new.remove_path(&["metadata", "managedFields"])),
    }
}

/// The same as paths.
pub(super) fn reset_fields(target: Target<'_>) -> &'static [&'static [&'static str]] {
    match target {
        Target::Object => &[&["status"]],
        Target::Status => &[&["metadata"], &["spec"]],
        Target::Part(_) => &[],
    }
}

pub(super) fn validate(rule: &At<'_>, errors: &mut ErrorList) {
    let subjects = rule.get("subjects");
    subjects.require(errors, "subjects must contain at least one value");
    for subject in subjects.items() {
        validate_subject(&subject, errors);
    }
    let (resources, paths) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && paths.is_empty() {
        let text = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(&rule.path, text);
    }
    for resource in resources.items() {
        validate_resources(&resource, errors);
    }
    for path in paths.items() {
        validate_verbs(&path.get("verbs"), errors);
        validate_urls(&path.get("nonResourceURLs"), errors);
    }
}

fn validate_subject(subject: &At<'_>, errors: &mut ErrorList) {
    let kind = subject.get("kind");
    if !SUBJECTS.iter().any(|(name, _)| *name == kind.text()) {
        errors.not_supported(&kind.path, kind.text(), &["Group", "ServiceAccount", "User"]);
        return;
    }
    let is_own = |(name, _): &&(&str, &str)| *name == kind.text();
    for (name, field) in SUBJECTS.iter().filter(is_own) {
        let named = subject.get(field);
        if named.is_set() {
            validate_named(name, &named, errors);
        } else {
            errors.required(&named.path, &format!("{field} is required when subject kind is '{name}'"));
        }
    }
    for (name, field) in SUBJECTS.iter().filter(|one| !is_own(one)) {
        let named = subject.get(field);
        if named.is_set() {
            let text = format!("{field} is forbidden when subject kind is not '{name}'");
            errors.forbidden(&named.path, &text);
        }
    }
}

fn validate_named(kind: &str, named: &At<'_>, errors: &mut ErrorList) {
    let name = named.get("name");
    let given = name.require(errors, "");
    if kind != "ServiceAccount" {
        return;
    }
    if given && name.text() != "*" {
        name.invalid_each(errors, names::dns_subdomain(name.text()));
    }
    let namespace = named.get("namespace");
    if namespace.require(errors, "must specify namespace for service account") {
        namespace.invalid_each(errors, names::dns_label(namespace.text()));
    }
}

fn has_wildcard(list: &At<'_>) -> bool {
    list.items().any(|item| item.text() == "*")
}

/// Reports a wildcard beside other items. Answers whether the list has one.
fn wildcard_alone(list: &At<'_>, what: &str, errors: &mut ErrorList) -> bool {
    let wildcard = has_wildcard(list);
    if wildcard && list.len() > 1 {
        list.invalid(errors, &format!("if '*' is present, must not specify other {what}"));
    }
    wildcard
}

fn validate_verbs(verbs: &At<'_>, errors: &mut ErrorList) {
    if verbs.require(errors, "verbs must contain at least one value")
        && !wildcard_alone(verbs, "verbs", errors)
        && verbs.items().any(|verb| !VERBS.contains(&verb.text()))
    {
        errors.not_supported(&verbs.path, verbs.value.clone(), VERBS);
    }
}

fn validate_urls(urls: &At<'_>, errors: &mut ErrorList) {
    if !urls.require(errors, "nonResourceURLs must contain at least one value")
        || wildcard_alone(urls, "non-resource URLs", errors)
    {
        return;
    }
    for url in urls.items() {
        let text = url.text();
        if text.is_empty() {
            url.invalid(errors, "must not be empty");
        } else if text == "/" {
            // The root alone is fine.
        } else if !text.starts_with('/') {
            url.invalid(errors, "must start with slash");
        } else if text.contains(' ') {
            url.invalid(errors, "must not contain white-space");
        } else if text.contains("//") {
            url.invalid(errors, "must not contain double slash");
        } else if text.matches('*').count() > 1 || (text.contains('*') && !text.ends_with("/*")) {
            url.invalid(errors, "wildcard can only do suffix matching");
        }
    }
}

fn validate_resources(rule: &At<'_>, errors: &mut ErrorList) {
    validate_verbs(&rule.get("verbs"), errors);
    for (field, what, shown) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let list = rule.get(field);
        if list.require(errors, &format!("resource rules must supply at least one {what}")) {
            wildcard_alone(&list, shown, errors);
        }
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && rule.get("clusterScope").value.as_bool() != Some(true) {
        let text = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&namespaces.path, text);
    } else if !wildcard_alone(&namespaces, "namespaces", errors) {
        for namespace in namespaces.items() {
            for fault in names::dns_label(namespace.text()) {
                let text = format!("each member of this list must be '*' or a DNS-1123 label; {fault}");
                namespace.invalid(errors, &text);
            }
        }
    }
}

/// Checks the conditions in a status: each has a type, once.
pub(super) fn validate_conditions(object: &Value, errors: &mut ErrorList) {
    let mut seen = std::collections::HashSet::new();
    for condition in At::root(object).dig(&["status", "conditions"]).items() {
        let kind = condition.get("type");
        if !seen.insert(kind.text()) {
            errors.duplicate(&kind.path, kind.text());
        }
        kind.require(errors, "must not be empty");
    }
}
