//! Checks of affinities: where a pod wants to be, by nodes and by other pods.

use super::scheduling::validate_keys_once;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate_affinity(affinity: &At<'_>, errors: &mut ErrorList) {
    let node = affinity.get("nodeAffinity");
    let required = node.get(REQUIRED);
    if required.is_set() {
        validate_node_selector(&required, errors);
    }
    for preferred in node.get(PREFERRED).items() {
        validate_weight(&preferred.get("weight"), errors);
        // Values of a preference may be anything: it can only fail to prefer.
        validate_term(&preferred.get("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.get(REQUIRED).items() {
            validate_pod_term(&term, errors);
        }
        for preferred in pods.get(PREFERRED).items() {
            validate_weight(&preferred.get("weight"), errors);
            validate_pod_term(&preferred.get("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(weight: &At<'_>, errors: &mut ErrorList) {
    let value = weight.int().unwrap_or_default();
    if !(1..=100).contains(&value) {
        errors.invalid(&weight.path, value, "must be in the range 1-100");
    }
}

/// Checks a selector of nodes.
pub(crate) fn validate_node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&terms.path, "must have at least one node selector term");
        return;
    }
    for term in terms.items() {
        validate_term(&term, true, errors);
    }
}

fn validate_term(term: &At<'_>, strict_values: bool, errors: &mut ErrorList) {
    for requirement in term.get("matchExpressions").items() {
        validate_requirement(&requirement, strict_values, errors);
    }
    for requirement in term.get("matchFields").items() {
        validate_field_requirement(&requirement, errors);
    }
}

fn validate_requirement(requirement: &At<'_>, strict_values: bool, errors: &mut ErrorList) {
    let (operator, values, key) =
        (requirement.get("operator"), requirement.get("values"), requirement.get("key"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values.path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(
                &values.path,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&values.path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&operator.path, other, "not a valid selector operator"),
    }
    errors.invalid_each(&key.path, key.text(), names::qualified_name(key.text()));
    for value in values.items().filter(|_| strict_values) {
        value.invalid_each(errors, names::label_value(value.text()));
    }
}

fn validate_field_requirement(requirement: &At<'_>, errors: &mut ErrorList) {
    let (operator, values, key) =
        (requirement.get("operator"), requirement.get("values"), requirement.get("key"));
    match operator.text() {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => errors.required(
            &values.path,
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        other => errors.invalid(&operator.path, other, "not a valid selector operator"),
    }
    if key.text() == "metadata.name" {
        for value in values.items() {
            value.invalid_each(errors, names::dns_subdomain(value.text()));
        }
    } else {
        errors.invalid(&key.path, key.text(), "not a valid field selector key");
    }
}

fn validate_pod_term(term: &At<'_>, errors: &mut ErrorList) {
    for field in ["labelSelector", "namespaceSelector"] {
        let selector = term.get(field);
        validate_label_selector(selector.value, true, &selector.path, errors);
    }
    for namespace in term.get("namespaces").items() {
        // Upstream shows these at the list.
        let path = term.path.child("namespace");
        errors.invalid_each(&path, namespace.text(), names::dns_label(namespace.text()));
    }
    validate_match_label_keys(term, errors);
    let topology = term.get("topologyKey");
    if topology.is_empty() {
        errors.required(&topology.path, "can not be empty");
    }
    errors.invalid_each(&topology.path, topology.text(), names::qualified_name(topology.text()));
}

fn validate_match_label_keys(term: &At<'_>, errors: &mut ErrorList) {
    let keys = [term.get("matchLabelKeys"), term.get("mismatchLabelKeys")];
    let selector = term.get("labelSelector");
    for list in &keys {
        if !list.is_empty() && !selector.is_set() {
            errors.forbidden(&list.path, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in list.items() {
            key.invalid_each(errors, names::qualified_name(key.text()));
        }
    }
    let [matching, mismatching] = keys;
    // Upstream leaves out the list in this path.
    validate_keys_once(&matching, &selector, &term.path, errors);
    for key in matching.items() {
        let other = mismatching.value.as_list().unwrap_or_default();
        if other.iter().filter_map(Value::as_str).any(|other| other == key.text()) {
            key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// Makes the keys that a new pod wants others to match by part of its selectors, with the values that its own labels
/// have; keys that it has no label for say nothing.
pub(crate) fn add_match_label_keys(pod: &mut Value) {
    let Some(labels) = pod.path_map(&["metadata", "labels"]).cloned() else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, inner) in [(REQUIRED, None), (PREFERRED, Some("podAffinityTerm"))] {
            let terms = pod.path_mut(&["spec", "affinity", kind, list]).and_then(Value::as_list_mut);
            for term in terms.into_iter().flatten() {
                let term = match inner {
                    Some(inner) => term.get_mut(inner),
                    None => Some(term),
                };
                let Some(term) = term else { continue };
                add_keys(term, "matchLabelKeys", "In", &labels);
                add_keys(term, "mismatchLabelKeys", "NotIn", &labels);
            }
        }
    }
    let constraints = pod.path_mut(&["spec", "topologySpreadConstraints"]).and_then(Value::as_list_mut);
    for constraint in constraints.into_iter().flatten() {
        add_keys(constraint, "matchLabelKeys", "In", &labels);
    }
}

fn add_keys(term: &mut Value, field: &str, operator: &'static str, labels: &Map) {
    let keys = term.path_list(&[field]).iter().filter_map(Value::as_str);
    let found: Vec<Value> = keys
        .filter_map(|key| {
            let value = labels.get(key)?.as_str()?;
            Some(value!({"key": key, "operator": operator, "values": [value]}))
        })
        .collect();
    if found.is_empty() {
        return;
    }
    let Some(selector) = term.get_mut("labelSelector").filter(|selector| !selector.is_null()) else { return };
    let mut all = selector.path_list(&["matchExpressions"]).to_vec();
    all.extend(found);
    selector.set_path(&["matchExpressions"], all);
}
