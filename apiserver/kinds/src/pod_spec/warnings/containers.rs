//! What is warned of in containers: profiles in annotations, amounts of bytes that are no whole numbers, variables
//! that hide others.

use super::Subject;
use crate::pod_spec::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, containers};
use mainstay_apiserver_machinery::validation::{At, quote};
use mainstay_proto_api::Quantity;
use std::collections::HashSet;

const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

pub(super) fn warn(spec: &At<'_>, notes: &At<'_>, subject: Subject, out: &mut Vec<String>) {
    let pod = spec.get("securityContext");
    if !pod.has("seccompProfile") && notes.has(SECCOMP_POD) {
        out.push(format!("{}: {SECCOMP}", notes.path.key(SECCOMP_POD)));
    }
    let app_armor = pod.get("appArmorProfile");
    for container in containers(spec) {
        let (name, own) = (container.text_of("name"), container.get("securityContext"));
        let key = format!("{SECCOMP_CONTAINER}{name}");
        if !own.has("seccompProfile") && notes.has(&key) {
            out.push(format!("{}: {SECCOMP}", notes.path.key(&key)));
        }
        let key = format!("{APP_ARMOR}{name}");
        // Those of pods become fields.
        let alone = subject == Subject::Template && !own.has("appArmorProfile") && notes.has(&key);
        if alone && !says(&app_armor, notes.text_of(&key)) {
            let what = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            out.push(format!("{}: {what}", notes.path.key(&key)));
        }
        let resources = container.get("resources");
        for amount in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                fractions_of(&resources.get(list), &[amount], out);
            }
        }
        hidden_variables(&container.get("env"), out);
    }
}

/// Whether an AppArmor profile is the one that an annotation names.
fn says(profile: &At<'_>, annotation: &str) -> bool {
    match profile.text_of("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default",
        "Localhost" => annotation
            .strip_prefix("localhost/")
            .is_some_and(|file| !file.is_empty() && file == profile.text_of("localhostProfile")),
        _ => false,
    }
}

/// Amounts of these resources that are no whole numbers.
pub(crate) fn fractions_of(resources: &At<'_>, names: &[&str], out: &mut Vec<String>) {
    for name in names {
        let text = resources.text_of(name);
        if text.parse::<Quantity>().is_ok_and(|amount| !amount.is_whole()) {
            let path = resources.path.key(name);
            out.push(format!("{path}: fractional byte value {} is invalid, must be an integer", quote(text)));
        }
    }
}

/// A later variable of the same name hides the earlier one, unless it is made from it.
fn hidden_variables(env: &At<'_>, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for variable in env.items() {
        let (name, value) = (variable.text_of("name"), variable.text_of("value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            let text = "which may be dropped when using apply";
            out.push(format!("{}: hides previous definition of {}, {text}", variable.path, quote(name)));
        }
    }
}
