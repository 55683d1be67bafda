//! The `resize` subresource: changes cpu and memory of the containers of a running pod.

use super::rules::holder;
use crate::pod_spec::{qos_class, validate_spec};
use mainstay_apiserver_machinery::kind::restore;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

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
    let shared = |pod: &Value| {
        let resources = At::root(pod).dig(&["spec", "resources"]);
        ["limits", "requests"].iter().any(|kind| !resources.get(kind).is_empty())
    };
    let never = if shared(new) || shared(old) {
        Some("pods with pod-level resources cannot be resized")
    } else if At::root(old).dig(&["metadata", "annotations"]).has(MIRROR) {
        Some("static pods cannot be resized")
    } else if spec.dig(&["os", "name"]).text() == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(why) = never {
        errors.forbidden(&Path::root(), why);
        return;
    }
    validate_spec(&spec, holder(new), errors);
    let class = old.path_str(&["status", "qosClass"]).unwrap_or_default();
    if qos_class(spec.value) != class {
        errors.invalid(&spec.path, class, "Pod QOS Class may not change as a result of resizing");
    }
    // A node whose agent tells no resources does not change them either.
    let running = |status: &At<'_>| status.dig(&["state", "running"]).is_set();
    let first = At::root(old).dig(&["status", "containerStatuses"]).items().find(running);
    if first.is_some_and(|status| !status.has("resources")) {
        errors.forbidden(&spec.path, "Pod running on node without support for resize");
    }
    for (list, whose) in [("containers", ""), ("initContainers", " for sidecar containers")] {
        let was: Vec<At<'_>> = At::root(old).dig(&["spec", list]).items().collect();
        for (container, was) in spec.get(list).items().zip(was) {
            if list == "initContainers" && was.text_of("restartPolicy") != "Always" {
                if container.value != was.value {
                    let text = "resources for non-sidecar init containers are immutable";
                    errors.forbidden(&spec.path, text);
                }
                continue;
            }
            for kind in ["limits", "requests"] {
                let (now, before) = (container.dig(&["resources", kind]), was.dig(&["resources", kind]));
                validate_kept(kind, &now, &before, errors);
                let other = |name: &str| !matches!(name, "cpu" | "memory");
                let changed = |(name, amount): (&str, At<'_>)| {
                    other(name) && before.value.get(name) != Some(amount.value)
                };
                if now.entries().any(changed) {
                    errors
                        .forbidden(&spec.path, &format!("only cpu and memory resources{whose} are mutable"));
                }
            }
        }
    }
}

fn validate_kept(kind: &str, now: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    if before.entries().any(|(name, _)| !now.has(name)) {
        errors.forbidden(&now.path, &format!("resource {kind} cannot be removed"));
    }
}
