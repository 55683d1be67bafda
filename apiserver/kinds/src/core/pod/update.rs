//! What an update of a pod may change.

use super::gated;
use crate::pod_spec::validate_tolerations;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use std::fmt::Write as _;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
/// Changed fields that the error text shows.
const SHOWN_MAX: usize = 10;

pub(super) fn validate(spec: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    for list in ["containers", "initContainers"] {
        let (now, was) = (spec.get(list), old.get(list));
        if now.len() != was.len() {
            errors.forbidden(&now.path, "pod updates may not add or remove containers");
            return;
        }
        for container in now.items() {
            let image = container.get("image");
            if image.require(errors, "") && image.text().trim() != image.text() {
                image.invalid(errors, "must not have leading or trailing whitespace");
            }
        }
    }
    if !validate_deadline(spec, old, errors) {
        return;
    }
    let tolerations = spec.get("tolerations");
    if tolerations.value != old.get("tolerations").value {
        validate_added_tolerations(&tolerations, &old.get("tolerations"), errors);
    }
    validate_removed_gates(spec, old, errors);
    if !old.get("schedulingGates").is_empty() {
        gated::validate(spec, old, errors);
    }
    let restored = with_updatable_of(spec.value, old.value);
    if restored != *old.value {
        let mut diff = String::new();
        let mut shown = 0;
        list_differences(old.value, &restored, "spec", &mut diff, &mut shown);
        errors.forbidden(
            &spec.path,
            &format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"),
        );
    }
}

/// Checks the deadline; answers whether the rest is worth checking.
fn validate_deadline(spec: &At<'_>, old: &At<'_>, errors: &mut ErrorList) -> bool {
    let deadline = spec.get("activeDeadlineSeconds");
    let was = old.get("activeDeadlineSeconds").int();
    match (deadline.int(), was) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            deadline.in_range(errors, 0, i64::from(i32::MAX));
            false
        }
        (Some(now), Some(was)) if was < now => {
            deadline.invalid(errors, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            deadline.invalid(errors, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn validate_added_tolerations(now: &At<'_>, was: &At<'_>, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.remove_path(&["tolerationSeconds"]);
        toleration
    };
    let now_all: Vec<Value> = now.items().map(|toleration| without_seconds(toleration.value)).collect();
    if was.items().any(|old| !now_all.contains(&without_seconds(old.value))) {
        errors.forbidden(&now.path, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    validate_tolerations(now, errors);
}

fn validate_removed_gates(spec: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let was: Vec<&str> = old.get("schedulingGates").items().map(|gate| gate.text_of("name")).collect();
    for gate in spec.get("schedulingGates").items() {
        let name = gate.get("name");
        if !was.contains(&name.text()) {
            let text = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            errors.forbidden(&name.path, &text);
        }
    }
}

/// The new spec, with what may change taken from the old one.
fn with_updatable_of(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    let gated = !old.path_list(&["schedulingGates"]).is_empty();
    let mut restored = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if gated {
        // A pod that may not be scheduled yet may narrow down where it goes.
        restored.push("nodeSelector");
        gated::restore_node_affinity(&mut spec, old);
    }
    if old.path_i64(&["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0)
        && new.path_i64(&["terminationGracePeriodSeconds"]) == Some(1)
    {
        restored.push("terminationGracePeriodSeconds");
    }
    for field in restored {
        mainstay_apiserver_machinery::kind::restore(&mut spec, old, field);
    }
    for list in ["containers", "initContainers"] {
        let was = old.path_list(&[list]);
        let now = spec.get_mut(list).and_then(Value::as_list_mut);
        for (container, was) in now.into_iter().flatten().zip(was) {
            mainstay_apiserver_machinery::kind::restore(container, was, "image");
        }
    }
    spec
}

/// Writes the fields that differ, one on a line.
pub(crate) fn list_differences(old: &Value, new: &Value, path: &str, out: &mut String, shown: &mut usize) {
    if old == new || *shown >= SHOWN_MAX {
        return;
    }
    match (old, new) {
        (Value::Map(before), Value::Map(after)) => {
            let mut names: Vec<&str> =
                before.keys().chain(after.keys()).map(smol_str::SmolStr::as_str).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let get = |map: &mainstay_apiserver_machinery::value::Map| {
                    map.get(name).cloned().unwrap_or(Value::Null)
                };
                list_differences(&get(before), &get(after), &format!("{path}.{name}"), out, shown);
            }
        }
        (Value::List(before), Value::List(after)) if before.len() == after.len() => {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                list_differences(before, after, &format!("{path}[{i}]"), out, shown);
            }
        }
        _ => {
            *shown += 1;
            let text = |value: &Value| serde_json::to_string(value).unwrap_or_default();
            let written = writeln!(out, "  {path}: {} -> {}", text(old), text(new));
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }
}
