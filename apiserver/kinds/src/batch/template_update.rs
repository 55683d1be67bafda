//! What an update may change in the template of a job: nothing, unless the job waits and has no pods.

use super::job_status::has_condition;
use mainstay_apiserver_machinery::kind::restore;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;

const TEMPLATE: &[&str] = &["spec", "template"];
/// Fields of the pods' spec that say where they run.
const SCHEDULING: &[&str] = &["nodeSelector", "tolerations", "schedulingGates"];

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (template, before) = (At::root(new).dig(TEMPLATE), At::root(old).dig(TEMPLATE));
    if !waits(old) {
        template.unchanged(errors, &before);
        return;
    }
    // Upstream lets the metadata be, and puts both names into one step of the path.
    let spec = At::new(template.get("spec").value, template.path.child("spec"));
    let comparable = comparable(spec.value, before.get("spec").value);
    spec.unchanged(errors, &At::new(&comparable, before.path));
}

/// Whether the job is suspended and no pod of the old template is at work: it never started, or it says that all pods are
/// gone.
fn waits(job: &Value) -> bool {
    let never_started = job.path(&["status", "startTime"]).is_none_or(Value::is_null);
    job.path_bool(&["spec", "suspend"]) == Some(true)
        && job.path_i64(&["status", "active"]).unwrap_or_default() == 0
        && (never_started || has_condition(job, "Suspended"))
}

/// The old spec, with what may change taken from the new one: where the pods run, and what their containers ask for.
fn comparable(new: &Value, old: &Value) -> Value {
    let mut spec = old.clone();
    for field in SCHEDULING {
        restore(&mut spec, new, field);
    }
    take_node_affinity(&mut spec, new);
    for list in ["containers", "initContainers"] {
        let wanted = new.path_list(&[list]);
        let Some(own) = spec.path_mut(&[list]).and_then(Value::as_list_mut) else { continue };
        if own.len() != wanted.len() {
            continue;
        }
        for (container, wanted) in own.iter_mut().zip(wanted) {
            if container.path_str(&["name"]) == wanted.path_str(&["name"]) {
                restore(container, wanted, "resources");
            }
        }
    }
    spec
}

fn take_node_affinity(spec: &mut Value, wanted: &Value) {
    const PATH: &[&str] = &["affinity", "nodeAffinity"];
    match wanted.path(PATH) {
        Some(affinity) => spec.set_path(PATH, affinity.clone()),
        None => drop(spec.remove_path(PATH)),
    }
    if wanted.get("affinity").is_none() && spec.get("affinity").is_some_and(Value::is_empty) {
        spec.remove_path(&["affinity"]);
    }
}
