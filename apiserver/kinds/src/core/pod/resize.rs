//! The `resize` subresource: changes cpu and memory of the containers of a running pod.

use crate::pod_spec::{Holder, qos_class, validate_spec};
use mainstay_apiserver_machinery::kind::restore;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;

/// Takes everything but the resources of containers from the stored pod.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let asked = std::mem::replace(new, old.clone());
    for list in ["containers", "initContainers"] {
        let wanted = asked.path_list(&["spec", list]);
        let containers = new.path_mut(&["spec", list]).and_then(Value::as_list_mut);
        for container in containers.into_iter().flatten() {
            let name = container.path_str(&["name"]);
            let Some(wanted) = wanted.iter().find(|wanted| wanted.path_str(&["name"]) == name) else {
                continue;
            };
            restore(container, wanted, "resources");
            restore(container, wanted, "resizePolicy");
        }
    }
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let spec = At::root(new).get("spec");
    validate_spec(&spec, Holder::Pod, errors);
    if spec.value.get("os").is_some_and(|os| os.path_str(&["name"]) == Some("windows")) {
        errors.forbidden(&spec.path, "windows pods cannot be resized");
    }
    let class = old.path_str(&["status", "qosClass"]).unwrap_or_default();
    if qos_class(spec.value) != class {
        errors.invalid(&spec.path, class, "Pod QOS Class may not change as a result of resizing");
    }
    for list in ["containers", "initContainers"] {
        let was: Vec<At<'_>> = At::root(old).dig(&["spec", list]).items().collect();
        for (container, was) in spec.get(list).items().zip(was) {
            for kind in ["limits", "requests"] {
                let (now, before) = (container.dig(&["resources", kind]), was.dig(&["resources", kind]));
                validate_amounts(kind, &now, &before, &spec.path, errors);
            }
        }
    }
}

fn validate_amounts(kind: &str, now: &At<'_>, before: &At<'_>, spec: &Path, errors: &mut ErrorList) {
    for (name, amount) in now.entries() {
        if before.value.get(name) != Some(amount.value) && !matches!(name, "cpu" | "memory") {
            errors.forbidden(spec, "only cpu and memory resources are mutable");
        }
    }
    if before.entries().any(|(name, _)| !now.has(name)) {
        errors.forbidden(&now.path, &format!("resource {kind} cannot be removed"));
    }
}
