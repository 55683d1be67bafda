//! Updates of a pod that may not be scheduled yet: it may narrow down where it goes, never widen it.

use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;

const REQUIRED: [&str; 3] = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
const ADDITIONS: &str = "only additions are allowed (no mutations or deletions)";

pub(super) fn validate(spec: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.get("nodeSelector");
    if old.get("nodeSelector").entries().any(|(key, value)| selector.value.get(key) != Some(value.value)) {
        selector
            .invalid(errors, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    let (required, was) = (spec.dig(&REQUIRED), old.dig(&REQUIRED));
    if !was.is_set() {
        return;
    }
    if !required.is_set() {
        required.invalid(errors, "no deletions to nodeAffinity are allowed");
        return;
    }
    let (terms, old_terms) = (required.get("nodeSelectorTerms"), was.get("nodeSelectorTerms"));
    if !old_terms.is_empty() && terms.len() != old_terms.len() {
        terms.invalid(errors, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        return;
    }
    for (term, was) in terms.items().zip(old_terms.items()) {
        if was.is_empty() && !term.is_empty() {
            term.invalid(errors, "no additions to an empty NodeSelectorTerm are allowed");
            continue;
        }
        for list in ["matchExpressions", "matchFields"] {
            let (now, before) = (term.get(list), was.get(list));
            let kept = now
                .value
                .as_list()
                .unwrap_or_default()
                .starts_with(before.value.as_list().unwrap_or_default());
            if !kept {
                now.invalid(errors, ADDITIONS);
            }
        }
    }
}

/// Gives the node affinity of `spec` the value that it has in `old`.
pub(super) fn restore_node_affinity(spec: &mut Value, old: &Value) {
    const PATH: &[&str] = &["affinity", "nodeAffinity"];
    match old.path(PATH) {
        Some(value) => spec.set_path(PATH, value.clone()),
        None => drop(spec.remove_path(PATH)),
    }
    let bare = spec.get("affinity").is_some_and(Value::is_empty);
    if bare && old.get("affinity").is_none() {
        spec.remove_path(&["affinity"]);
    }
}
