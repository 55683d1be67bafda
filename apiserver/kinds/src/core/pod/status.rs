//! What an update of a pod's status may change.

use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use std::collections::HashSet;

const ID_MAX: i64 = i32::MAX as i64;

pub(super) fn validate(
    new: &mainstay_apiserver_machinery::value::Value,
    old: &mainstay_apiserver_machinery::value::Value,
    errors: &mut ErrorList,
) {
    let (pod, before) = (At::root(new), At::root(old));
    let (status, was) = (pod.get("status"), before.get("status"));
    let node = pod.dig(&["spec", "nodeName"]);
    if node.value != before.dig(&["spec", "nodeName"]).value {
        errors.forbidden(&status.path.child("nodeName"), "may not be changed directly");
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.is_empty() && nominated.value != was.get("nominatedNodeName").value {
        nominated.invalid_each(errors, names::dns_subdomain(nominated.text()));
    }
    let class = was.get("qosClass");
    if class.is_set() {
        status.get("qosClass").unchanged(errors, &class);
    }
    validate_conditions(&status.get("conditions"), errors);
    validate_transitions(&pod, &before, errors);
    validate_claims(&pod, errors);
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for container in status.get(list).items() {
            validate_user(&container, errors);
        }
    }
    for (list, single) in [("podIPs", None), ("hostIPs", Some("hostIP"))] {
        validate_ips(&status.get(list), single.map(|field| status.text_of(field)), errors);
    }
}

/// Checks the names of conditions that others than the system set.
fn validate_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    for (i, condition) in conditions.items().enumerate() {
        let kind = condition.text_of("type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            // Upstream shows these in the metadata.
            let path = Path::new("metadata").child("conditions").index(i).child("Type");
            errors.invalid_each(&path, kind, names::qualified_name(kind));
        }
    }
}

/// A container that ended for good stays ended.
fn validate_transitions(pod: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let policy = pod.dig(&["spec", "restartPolicy"]).text();
    let sidecars: HashSet<&str> = pod
        .dig(&["spec", "initContainers"])
        .items()
        .filter(|container| container.text_of("restartPolicy") == "Always")
        .map(|container| container.text_of("name"))
        .collect();
    // What was put in for debugging is never started again.
    for (list, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        let statuses = pod.dig(&["status", list]);
        for (i, old) in before.dig(&["status", list]).items().enumerate() {
            let ended = old.dig(&["state", "terminated"]);
            let name = old.text_of("name");
            let code = ended.get("exitCode").int().unwrap_or_default();
            let may_restart = policy == "Always" || (policy == "OnFailure" && code != 0);
            let sidecar = list == "initContainerStatuses" && sidecars.contains(name);
            if !ended.is_set() || may_restart || sidecar {
                continue;
            }
            let revived =
                |new: At<'_>| new.text_of("name") == name && !new.dig(&["state", "terminated"]).is_set();
            if statuses.items().any(revived) {
                let path = statuses.path.index(i).child("state");
                errors.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

fn validate_claims(pod: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let wanted = pod.dig(&["spec", "resourceClaims"]);
    for status in pod.dig(&["status", "resourceClaimStatuses"]).items() {
        let name = status.get("name");
        if !wanted.items().any(|claim| claim.text_of("name") == name.text()) {
            name.invalid(errors, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name.text()) {
            errors.duplicate(&name.path, name.text());
        }
        let claim = status.get("resourceClaimName");
        if claim.is_set() {
            errors.invalid_each(&name.path, claim.text(), names::dns_subdomain(claim.text()));
        }
    }
}

fn validate_user(container: &At<'_>, errors: &mut ErrorList) {
    let user = At::new(container.dig(&["user", "linux"]).value, container.path.child("linux"));
    for field in ["uid", "gid"] {
        user.get(field).in_range(errors, 0, ID_MAX);
    }
    for group in user.get("supplementalGroups").items() {
        group.in_range(errors, 0, ID_MAX);
    }
}

fn validate_ips(list: &At<'_>, single: Option<&str>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let mut families = HashSet::new();
    for (i, entry) in list.items().enumerate() {
        let ip = entry.get("ip");
        if i == 0 && single.is_some_and(|single| single != ip.text()) {
            errors.invalid(&ip.path, ip.text(), "must be equal to `hostIP`");
        }
        errors.invalid_each(&entry.path, ip.text(), names::ip(ip.text()));
        if !seen.insert(ip.text()) {
            errors.duplicate(&entry.path, entry.value.clone());
        }
        families.insert(ip.text().contains(':'));
    }
    if list.len() > families.len() {
        list.invalid(errors, "may specify no more than one IP for each IP family");
    }
}
