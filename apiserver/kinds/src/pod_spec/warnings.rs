//! Warnings about pod specs that are valid but hardly meant so.

use mainstay_apiserver_machinery::validation::{At, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;
use std::collections::{HashMap, HashSet};

/// Volumes that nothing mounts any more, with what to say.
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about the pod template at `path`; they come when it changes, not with each new number of replicas.
pub(crate) fn template_warnings(
    new: &Value,
    old: Option<&Value>,
    path: &'static [&'static str],
) -> Vec<String> {
    if old.is_some_and(|old| old.path(path) == new.path(path)) {
        return Vec::new();
    }
    warnings(&At::root(new).dig(path).get("spec"))
}

/// Texts for `Warning` headers.
pub(crate) fn warnings(spec: &At<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for constraint in spec.get("topologySpreadConstraints").items() {
        let selector = constraint.get("labelSelector");
        if !selector.is_set() {
            out.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
        }
    }
    for volume in spec.get("volumes").items() {
        old_volumes(&volume, &mut out);
    }
    duplicates(&spec.get("hostAliases"), "ip", &mut out);
    let secrets = spec.get("imagePullSecrets");
    duplicates(&secrets, "name", &mut out);
    for secret in secrets.items().filter(|secret| secret.text_of("name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", secret.path.child("name")));
    }
    fractions(&spec.get("overhead"), &mut out);
    let mut ports = HashMap::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            let resources = container.get("resources");
            fractions(&resources.get("limits"), &mut out);
            fractions(&resources.get("requests"), &mut out);
            hidden_variables(&container.get("env"), &mut out);
            shared_ports(&container.get("ports"), &mut ports, &mut out);
        }
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
    out
}

/// A volume of a kind that nothing mounts any more.
pub(crate) fn old_volumes(volume: &At<'_>, out: &mut Vec<String>) {
    for (kind, text) in OLD_VOLUMES {
        // Upstream writes this one otherwise than the field is called.
        let field = if *kind == "storageOS" { "storageos" } else { kind };
        if volume.has(field) {
            out.push(format!("{}: {text}", volume.path.child(kind)));
        }
    }
}

fn duplicates(list: &At<'_>, field: &str, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let text = item.text_of(field);
        if !seen.insert(text) {
            out.push(format!("{}: duplicate {field} {text:?}", item.path.child(field)));
        }
    }
}

/// Bytes come in whole numbers.
fn fractions(resources: &At<'_>, out: &mut Vec<String>) {
    fractions_of(resources, &["memory", "ephemeral-storage"], out);
}

/// Amounts of these resources that are no whole numbers.
pub(crate) fn fractions_of(resources: &At<'_>, names: &[&str], out: &mut Vec<String>) {
    for name in names {
        let text = resources.text_of(name);
        if text.parse::<Quantity>().is_ok_and(|amount| !amount.is_whole()) {
            let path = resources.path.key(name);
            out.push(format!("{path}: fractional byte value {text:?} is invalid, must be an integer"));
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
            out.push(format!("{}: hides previous definition of {name:?}, {text}", variable.path));
        }
    }
}

type Known<'a> = HashMap<(i64, &'a str), Vec<(Path, &'a str, i64)>>;

/// Containers of a pod share its ports.
fn shared_ports<'a>(ports: &At<'a>, known: &mut Known<'a>, out: &mut Vec<String>) {
    for port in ports.items() {
        let number = |field: &str| port.get(field).int().unwrap_or_default();
        let (host_ip, host_port) = (port.text_of("hostIP"), number("hostPort"));
        let others = known.entry((number("containerPort"), port.text_of("protocol"))).or_default();
        for (other, other_ip, other_port) in others.iter() {
            if (host_ip, host_port) == (*other_ip, *other_port) {
                out.push(format!("{}: duplicate port definition with {other}", port.path));
            } else if host_port == 0 || *other_port == 0 {
                out.push(format!("{}: overlapping port definition with {other}", port.path));
            }
        }
        others.push((port.path, host_ip, host_port));
    }
}
