//! What is warned of in a pod or a pod template as a whole.

use super::{containers, paths, ports, volumes};
use crate::deprecated;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, names, quote};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Annotations that nothing reads any more, with what to say.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A pod.
    Pod,
    /// A template of pods.
    Template,
}

/// What is said of an object whose name becomes part of its pods' names and is no DNS label.
pub(crate) fn name_warning(object: &Value, used_in: &str) -> Option<String> {
    let faults = names::dns_label(Meta(object).name());
    let list = Some(faults).filter(|faults| !faults.is_empty())?.join(" ");
    Some(format!(
        "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is \
         recommended: [{list}]"
    ))
}

/// Whether a write wants something else than what is stored: a create does, and an update that counts the generation.
pub(crate) fn spec_changed(new: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| Meta(new).generation() != Meta(old).generation())
}

/// Warnings about the pod template at `path`, with each new generation. A create is also told of a bad name.
pub(crate) fn template_warnings(
    new: &Value,
    old: Option<&Value>,
    path: &'static [&'static str],
) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none() {
        out.extend(name_warning(new, "Pod names and hostnames"));
    }
    if spec_changed(new, old) {
        warnings(&At::root(new).dig(path), Subject::Template, &mut out);
    }
    out
}

/// Adds the texts for `Warning` headers about a pod, or a pod template.
pub(crate) fn warnings(pod: &At<'_>, subject: Subject, out: &mut Vec<String>) {
    let (spec, notes) = (pod.get("spec"), pod.get("metadata").get("annotations"));
    node_labels(&spec, out);
    for constraint in spec.get("topologySpreadConstraints").items() {
        let key = constraint.get("topologyKey");
        out.extend(
            deprecated::node_label(key.text()).map(|what| format!("{}: {} is {what}", key.path, key.text())),
        );
        null_selector(&constraint, out);
    }
    for (name, what) in OLD_ANNOTATIONS.iter().filter(|(name, _)| notes.has(name)) {
        out.push(format!("{}: {what}", notes.path.key(name)));
    }
    for volume in spec.get("volumes").items() {
        volumes::warn(&volume, out);
    }
    paths::overlaps(&spec.get("volumes"), out);
    let aliases = spec.get("hostAliases");
    duplicates(&aliases, "ip", out);
    let secrets = spec.get("imagePullSecrets");
    duplicates(&secrets, "name", out);
    for secret in secrets.items().filter(|secret| secret.text_of("name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", secret.path.child("name")));
    }
    containers::fractions_of(&spec.get("overhead"), &["memory", "ephemeral-storage"], out);
    containers::warn(&spec, &notes, subject, out);
    ports::warn(&spec, out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
    pod_affinities(&spec.get("affinity"), out);
    for server in spec.dig(&["dnsConfig", "nameservers"]).items() {
        deprecated::address(&server, out);
    }
    for alias in aliases.items() {
        deprecated::address(&alias.get("ip"), out);
    }
}

/// Old labels of nodes, and in what is only preferred also values that no label can have.
fn node_labels(spec: &At<'_>, out: &mut Vec<String>) {
    for (label, at) in spec.get("nodeSelector").entries() {
        out.extend(deprecated::node_label(label).map(|what| format!("{}: {what}", at.path)));
    }
    let affinity = spec.dig(&["affinity", "nodeAffinity"]);
    for term in affinity.get(REQUIRED).get("nodeSelectorTerms").items() {
        deprecated::expressions(&term.get("matchExpressions"), out);
    }
    for preferred in affinity.get(PREFERRED).items() {
        let expressions = preferred.get("preference").get("matchExpressions");
        deprecated::expressions(&expressions, out);
        for value in expressions.items().flat_map(|one| one.get("values").items()) {
            let faults = names::label_value(value.text());
            out.extend(
                faults.iter().map(|fault| format!("{}: {} is invalid, {fault}", value.path, value.text())),
            );
        }
    }
}

fn pod_affinities(affinity: &At<'_>, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.get(REQUIRED).items() {
            null_selector(&term, out);
        }
        for preferred in pods.get(PREFERRED).items() {
            null_selector(&preferred.get("podAffinityTerm"), out);
        }
    }
}

fn null_selector(term: &At<'_>, out: &mut Vec<String>) {
    let selector = term.get("labelSelector");
    if !selector.is_set() {
        out.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
    }
}

fn duplicates(list: &At<'_>, field: &str, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let text = item.text_of(field);
        if !seen.insert(text) {
            out.push(format!("{}: duplicate {field} {}", item.path.child(field), quote(text)));
        }
    }
}
