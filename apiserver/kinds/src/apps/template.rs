//! What workloads that keep pods running share: the check of their selector against their pod template, and of the
//! counts in their status.

use crate::pod_spec::validate_template;
use mainstay_apiserver_machinery::validation::{At, ErrorList, validate_label_selector};
use mainstay_apiserver_machinery::value::{Value, from_value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use std::collections::BTreeMap;

/// Checks `spec.selector` and `spec.template` of a workload whose pods always restart.
pub(crate) fn validate_selector_and_template(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.get("selector");
    let template = spec.get("template");
    if selector.is_set() {
        validate_label_selector(selector.value, true, &selector.path, errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            selector.invalid(errors, "empty selector is invalid for deployment");
        }
    } else {
        errors.required(&selector.path, "");
    }
    match parse(selector.value) {
        Some(parsed) => {
            let labels = template.dig(&["metadata", "labels"]);
            if !parsed.is_everything() && !parsed.matches(&pairs(labels.value)) {
                labels.invalid(errors, "`selector` does not match template `labels`");
            }
            validate_template(&template, errors);
            validate_always_restarts(&template.get("spec"), "ReplicaSet", errors);
        }
        None => selector.invalid(errors, "invalid label selector"),
    }
}

/// Checks that the pods of a `kind` restart for ever.
pub(crate) fn validate_always_restarts(spec: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let policy = spec.get("restartPolicy");
    if policy.text() != "Always" {
        errors.not_supported(&policy.path, policy.text(), &["Always"]);
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.forbidden(&deadline.path, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// The LabelSelector in `selector`, where it is sound.
pub(crate) fn parse(selector: &Value) -> Option<Selector> {
    if selector.is_null() {
        return Selector::from_spec(None).ok();
    }
    let spec: LabelSelector = from_value(selector).ok()?;
    Selector::from_spec(Some(&spec)).ok()
}

/// Labels in a form that selectors read.
pub(crate) fn pairs(labels: &Value) -> BTreeMap<&str, &str> {
    labels
        .as_map()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// Reports a collision count in the status that went down.
pub(crate) fn validate_collisions(status: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let count = status.get("collisionCount");
    let now = count.int().unwrap_or_default();
    if before.get("collisionCount").int().is_some_and(|was| now < was) {
        errors.invalid(&count.path, now, "cannot be decremented");
    }
}

/// Checks the counts in `status`: none of `all` is negative, and those of `parts` are at most `replicas`.
pub(crate) fn validate_counts(status: &At<'_>, all: &[&str], parts: &[&str], errors: &mut ErrorList) {
    for field in all {
        status.get(field).non_negative(errors);
    }
    let count = |field: &str| status.value.path_i64(&[field]).unwrap_or_default();
    for field in parts {
        if count(field) > count("replicas") {
            errors.invalid(&status.path.child(field), count(field), "cannot be greater than status.replicas");
        }
    }
}

/// Reports more available replicas than ready ones, which the text calls `ready`.
pub(crate) fn validate_available(status: &At<'_>, ready: &str, errors: &mut ErrorList) {
    let available = status.get("availableReplicas");
    let count = available.int().unwrap_or_default();
    if count > status.get("readyReplicas").int().unwrap_or_default() {
        errors.invalid(&available.path, count, &format!("cannot be greater than {ready}"));
    }
}
