//! The `ephemeralcontainers` subresource: adds containers for debugging to a running pod.

use super::resize::MIRROR;
use crate::pod_spec::validate_ephemeral_containers;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;

/// Takes everything but the ephemeral containers from the stored pod.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let wanted = new.path(&["spec", "ephemeralContainers"]).cloned();
    old.clone_into(new);
    match wanted {
        Some(wanted) => new.set_path(&["spec", "ephemeralContainers"], wanted),
        None => drop(new.remove_path(&["spec", "ephemeralContainers"])),
    }
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    if At::root(old).dig(&["metadata", "annotations"]).has(MIRROR) {
        errors.forbidden(&Path::root(), "static pods do not support ephemeral containers");
        return;
    }
    let spec = At::root(new).get("spec");
    validate_ephemeral_containers(&spec, errors);
    let containers = spec.get("ephemeralContainers");
    for was in At::root(old).dig(&["spec", "ephemeralContainers"]).items() {
        let name = was.text_of("name");
        match containers.items().find(|container| container.text_of("name") == name) {
            None => {
                let text = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(&containers.path, &text);
            }
            Some(now) if now.value != was.value => {
                let text = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.forbidden(&containers.path, &text);
            }
            Some(_) => {}
        }
    }
}
