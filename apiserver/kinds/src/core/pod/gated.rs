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
    let (terms, was) =
        (spec.dig(&REQUIRED).get("nodeSelectorTerms"), old.dig(&REQUIRED).get("nodeSelectorTerms"));
    if was.is_empty() {
        return;
    }
    if terms.len() != was.len() {
        terms.invalid(errors, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        return;
    }
    for (term, was) in terms.items().zip(was.items()) {
        let kept = ["matchExpressions", "matchFields"].iter().all(|list| {
            let (now, before) = (term.get(list).value.as_list(), was.get(list).value.as_list());
            now.unwrap_or_default().starts_with(before.unwrap_or_default())
        });
        // An empty term selects nothing: to add to it would widen where the pod goes.
        if !kept || (was.is_empty() && !term.is_empty()) {
            term.invalid(errors, ADDITIONS);
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
