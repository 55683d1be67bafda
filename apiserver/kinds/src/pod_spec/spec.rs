//! The check of a pod spec as a whole.

use super::container::{Scope, validate_containers, validate_ephemeral, validate_init_containers};
use super::{affinity, annotations, dns, resources, scheduling, security, volumes, windows};
use crate::formats::validate_length;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_annotations, validate_labels};
use std::collections::HashMap;

/// Longest `activeDeadlineSeconds`.
const SECONDS_MAX: i64 = i32::MAX as i64;

/// Longest `hostnameOverride`, as the kernel has it.
const HOSTNAME_BYTES_MAX: usize = 64;

/// What holds a pod spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder<'a> {
    /// A pod of this name; the name is empty while it is to be made.
    Pod {
        /// The pod's name.
        name: &'a str,
    },
    /// A pod template of a workload.
    Template,
}

/// Checks a pod template.
pub(crate) fn validate_template(template: &At<'_>, errors: &mut ErrorList) {
    let meta = template.get("metadata");
    // Upstream shows these errors beside the metadata, not in it.
    validate_labels(meta.get("labels").map(), &template.path.child("labels"), errors);
    let notes = At::new(meta.get("annotations").value, template.path.child("annotations"));
    validate_annotations(notes.map(), &notes.path, errors);
    let spec = template.get("spec");
    annotations::validate_pod_annotations(&notes, &spec, errors);
    validate_spec(&spec, Holder::Template, errors);
    annotations::validate_profiles_match(&notes, &spec, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.forbidden(&ephemeral.path, "ephemeral containers not allowed in pod template");
    }
}

fn scope<'a>(spec: &At<'a>, volumes: &'a HashMap<&'a str, At<'a>>, holder: Holder<'_>) -> Scope<'a> {
    Scope {
        volumes,
        grace_seconds: spec.get("terminationGracePeriodSeconds").int(),
        never_restarts: spec.text_of("restartPolicy") == "Never",
        host_users: spec.get("hostUsers").value.as_bool().unwrap_or(true),
        claims: spec.get("resourceClaims").items().map(|claim| claim.text_of("name")).collect(),
        is_pod: matches!(holder, Holder::Pod { .. }),
    }
}

/// Checks a pod spec.
pub(crate) fn validate_spec(spec: &At<'_>, holder: Holder<'_>, errors: &mut ErrorList) {
    let known = volumes::validate_volumes(&spec.get("volumes"), holder, errors);
    let scope = scope(spec, &known, holder);
    let (containers, init) = (spec.get("containers"), spec.get("initContainers"));
    validate_containers(&containers, &scope, errors);
    validate_init_containers(&init, &containers, &scope, errors);
    validate_ephemeral(spec, &scope, errors);
    validate_choices(spec, errors);
    dns::validate_dns(spec, errors);
    security::validate_pod_security(spec, errors);
    validate_host(spec, holder, errors);
    validate_hostname(spec, errors);
    affinity::validate_affinity(&spec.get("affinity"), errors);
    scheduling::validate_scheduling(spec, errors);
    validate_names(spec, errors);
    resources::validate_pod_resources(spec, errors);
    for gate in spec.get("readinessGates").items() {
        let kind = gate.get("conditionType");
        errors.invalid_each(&kind.path, kind.text(), names::qualified_name(kind.text()));
    }
    windows::validate_host_process(spec, errors);
    windows::validate_os(spec, errors);
}

/// Checks the ephemeral containers of a pod by themselves.
pub(crate) fn validate_ephemeral_containers(spec: &At<'_>, errors: &mut ErrorList) {
    let known = spec.get("volumes").items().map(|volume| (volume.text_of("name"), volume)).collect();
    validate_ephemeral(spec, &scope(spec, &known, Holder::Pod { name: "" }), errors);
}

fn validate_choices(spec: &At<'_>, errors: &mut ErrorList) {
    let restart = spec.get("restartPolicy");
    if restart.require(errors, "") {
        restart.one_of(errors, &["Always", "OnFailure", "Never"]);
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.required(&grace.path, "");
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if let Some(value) = deadline.int().filter(|value| !(1..=SECONDS_MAX).contains(value)) {
        errors.invalid(&deadline.path, value, &format!("must be between 1 and {SECONDS_MAX}, inclusive"));
    }
    let preemption = spec.get("preemptionPolicy");
    if preemption.is_set() && preemption.require(errors, "") {
        preemption.one_of(errors, &["PreemptLowerPriority", "Never"]);
    }
}

fn validate_host(spec: &At<'_>, holder: Holder<'_>, errors: &mut ErrorList) {
    if spec.get("hostNetwork").flag() {
        for port in spec.get("containers").items().flat_map(|container| container.get("ports").items()) {
            let (host, own) = (port.get("hostPort"), port.get("containerPort"));
            let number = host.int().unwrap_or_default();
            if (holder != Holder::Template || number != 0) && Some(number) != own.int() {
                errors.invalid(&host.path, number, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
    if spec.get("hostUsers").value.as_bool() == Some(false) {
        for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
        {
            if spec.get(field).flag() {
                errors.forbidden(&spec.path.child(shown), "when `pod.Spec.HostUsers` is false");
            }
        }
    }
    if spec.get("shareProcessNamespace").flag() && spec.get("hostPID").flag() {
        // Upstream keeps the field there.
        let path = spec.path.child("securityContext").child("shareProcessNamespace");
        errors.invalid(&path, true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
}

/// Checks the name that pods see as their own in place of the usual one.
fn validate_hostname(spec: &At<'_>, errors: &mut ErrorList) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    for other in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(other).flag() {
            errors.forbidden(&name.path, &format!("may not be specified when {other} is true"));
        }
    }
    validate_length(&name, HOSTNAME_BYTES_MAX, errors);
    name.invalid_each(errors, names::dns_subdomain(name.text()));
}

fn validate_names(spec: &At<'_>, errors: &mut ErrorList) {
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        let field = spec.get(field);
        if !field.is_empty() {
            field.invalid_each(errors, rule(field.text()));
        }
    }
    validate_labels(spec.get("nodeSelector").map(), &spec.path.child("nodeSelector"), errors);
    for secret in spec.get("imagePullSecrets").items() {
        if secret.map().is_some_and(|map| map.keys().any(|key| key != "name")) {
            secret.invalid(errors, "only name may be set");
        }
    }
    for alias in spec.get("hostAliases").items() {
        let ip = alias.get("ip");
        ip.invalid_each(errors, names::ip(ip.text()));
        for name in alias.get("hostnames").items() {
            name.invalid_each(errors, names::dns_subdomain(name.text()));
        }
    }
}
