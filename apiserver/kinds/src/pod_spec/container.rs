//! Checks of containers: regular, init and ephemeral ones.

use super::{env, mounts, probe, resources, security};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::{HashMap, HashSet};

/// What the checks of a container know about its pod.
pub(super) struct Scope<'a> {
    /// Volumes by name.
    pub(super) volumes: &'a HashMap<&'a str, At<'a>>,
    pub(super) grace_seconds: Option<i64>,
    pub(super) never_restarts: bool,
    pub(super) host_users: bool,
    /// Names of the pod's resource claims.
    pub(super) claims: HashSet<&'a str>,
    /// Whether the spec is a pod's own, and not that of a template.
    pub(super) is_pod: bool,
}

const EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
const INIT_ONLY_SIDECAR: &str = "may not be set for init containers without restartPolicy=Always";

pub(super) fn validate_containers(containers: &At<'_>, scope: &Scope<'_>, errors: &mut ErrorList) {
    if containers.is_empty() {
        errors.required(&containers.path, "");
        return;
    }
    let mut seen = HashSet::new();
    let mut host_ports = HashSet::new();
    for container in containers.items() {
        validate_any(&container, scope, errors);
        let name = container.get("name");
        if !seen.insert(name.text()) {
            errors.duplicate(&name.path, name.text());
        }
        probe::validate_lifecycle(&container, scope.grace_seconds, errors);
        probe::validate_probes(&container, scope.grace_seconds, errors);
        let restart = container.get("restartPolicy");
        if restart.is_set() {
            errors.forbidden(&restart.path, "may not be set for non-init containers");
        }
        validate_host_ports(&container, &mut host_ports, errors);
    }
}

pub(super) fn validate_init_containers(
    containers: &At<'_>,
    regular: &At<'_>,
    scope: &Scope<'_>,
    errors: &mut ErrorList,
) {
    let mut seen: HashSet<&str> = regular.items().map(|container| container.text_of("name")).collect();
    for container in containers.items() {
        validate_any(&container, scope, errors);
        let restart = container.get("restartPolicy");
        if restart.is_set() {
            restart.one_of(errors, &["Always"]);
        }
        let name = container.get("name");
        if !seen.insert(name.text()) && !name.is_empty() {
            errors.duplicate(&name.path, name.text());
        }
        validate_host_ports(&container, &mut HashSet::new(), errors);
        if restart.text() == "Always" {
            probe::validate_lifecycle(&container, scope.grace_seconds, errors);
            probe::validate_probes(&container, scope.grace_seconds, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                let field = container.get(field);
                if field.is_set() {
                    errors.forbidden(&field.path, INIT_ONLY_SIDECAR);
                }
            }
        }
    }
}

pub(super) fn validate_ephemeral(spec: &At<'_>, scope: &Scope<'_>, errors: &mut ErrorList) {
    let others: HashSet<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| spec.get(list).items())
        .map(|container| container.text_of("name"))
        .collect();
    let mut seen = others.clone();
    for container in spec.get("ephemeralContainers").items() {
        validate_any(&container, scope, errors);
        let name = container.get("name");
        if !seen.insert(name.text()) {
            errors.duplicate(&name.path, name.text());
        }
        let target = container.get("targetContainerName");
        if !target.is_empty() && !others.contains(target.text()) {
            errors.not_found(&target.path, target.text());
        }
        for field in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "restartPolicy",
            "resizePolicy",
        ] {
            let field = container.get(field);
            if field.is_set() && !(field.value.as_list().is_some_and(<[_]>::is_empty)) {
                errors.forbidden(&field.path, EPHEMERAL);
            }
        }
        let resources = container.get("resources");
        if resources.map().is_some_and(|map| map.values().any(|value| !value.is_empty())) {
            errors.forbidden(&resources.path, EPHEMERAL);
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                let field = mount.get(field);
                if !field.is_empty() {
                    errors.forbidden(&field.path, EPHEMERAL);
                }
            }
        }
    }
}

fn validate_any(container: &At<'_>, scope: &Scope<'_>, errors: &mut ErrorList) {
    let name = container.get("name");
    if name.require(errors, "") {
        name.invalid_each(errors, names::dns_label(name.text()));
    }
    let image = container.get("image");
    if image.require(errors, "") && scope.is_pod && image.text().trim() != image.text() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
    let policy = container.get("terminationMessagePolicy");
    if policy.require(errors, "") {
        policy.one_of(errors, &["File", "FallbackToLogsOnError"]);
    }
    validate_ports(&container.get("ports"), errors);
    env::validate_env(&container.get("env"), errors);
    env::validate_env_from(&container.get("envFrom"), errors);
    mounts::validate_mounts(container, scope.volumes, errors);
    mounts::validate_devices(container, scope.volumes, errors);
    let pull = container.get("imagePullPolicy");
    if pull.require(errors, "") {
        pull.one_of(errors, &["Always", "IfNotPresent", "Never"]);
    }
    resources::validate_container_resources(&container.get("resources"), &scope.claims, errors);
    validate_resize(&container.get("resizePolicy"), scope.never_restarts, errors);
    let rules = container.get("restartPolicyRules");
    if !rules.is_empty() {
        errors.forbidden(&rules.path, "restartPolicyRules is not supported by this server");
    }
    security::validate_container_security(&container.get("securityContext"), scope.host_users, errors);
}

fn validate_ports(ports: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let faults = names::port_name(name.text());
            if faults.is_empty() && !seen.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
            name.invalid_each(errors, faults);
        }
        let number = port.get("containerPort");
        match number.int().unwrap_or_default() {
            0 => errors.required(&number.path, ""),
            value => number.invalid_each(errors, names::port_number(value)),
        }
        let host = port.get("hostPort");
        if let Some(value) = host.int().filter(|value| *value != 0) {
            host.invalid_each(errors, names::port_number(value));
        }
        let protocol = port.get("protocol");
        if protocol.require(errors, "") {
            protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
        }
    }
}

fn validate_host_ports(container: &At<'_>, seen: &mut HashSet<String>, errors: &mut ErrorList) {
    for port in container.get("ports").items() {
        let host = port.get("hostPort");
        let Some(number) = host.int().filter(|number| *number != 0) else { continue };
        let key = format!("{}/{}/{number}", port.text_of("protocol"), port.text_of("hostIP"));
        if !seen.insert(key.clone()) {
            errors.duplicate(&host.path, key);
        }
    }
}

fn validate_resize(policies: &At<'_>, never_restarts: bool, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.text_of("resourceName"), policy.text_of("restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&policy.path, resource);
        }
        for (value, supported) in
            [(resource, &["cpu", "memory"]), (restart, &["NotRequired", "RestartContainer"])]
        {
            if value.is_empty() {
                errors.required(&policies.path, "");
            } else if !supported.contains(&value) {
                errors.not_supported(&policies.path, value, supported);
            }
        }
        if never_restarts && restart != "NotRequired" {
            errors.invalid(&policies.path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
