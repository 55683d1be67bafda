//! What an update of a pod's status may change.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

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
    if !nominated.is_empty() {
        nominated.invalid_each(errors, names::dns_subdomain(nominated.text()));
    }
    let class = was.get("qosClass");
    if class.is_set() {
        status.get("qosClass").unchanged(errors, &class);
    }
    validate_transitions(&pod, &before, errors);
    for (list, single) in [("podIPs", None), ("hostIPs", Some("hostIP"))] {
        validate_ips(&status.get(list), single.map(|field| status.text_of(field)), errors);
    }
}

/// A container that ended for good stays ended.
fn validate_transitions(pod: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let policy = pod.dig(&["spec", "restartPolicy"]).text();
    if policy == "Always" {
        return;
    }
    let sidecars: HashSet<&str> = pod
        .dig(&["spec", "initContainers"])
        .items()
        .filter(|container| container.text_of("restartPolicy") == "Always")
        .map(|container| container.text_of("name"))
        .collect();
    for list in ["containerStatuses", "initContainerStatuses"] {
        let statuses = pod.dig(&["status", list]);
        for old in before.dig(&["status", list]).items() {
            let ended = old.dig(&["state", "terminated"]);
            let name = old.text_of("name");
            let code = ended.get("exitCode").int().unwrap_or_default();
            let may_restart = policy == "OnFailure" && code != 0;
            if !ended.is_set() || may_restart || sidecars.contains(name) {
                continue;
            }
            let revived = statuses
                .items()
                .find(|new| new.text_of("name") == name && !new.dig(&["state", "terminated"]).is_set());
            if let Some(revived) = revived {
                errors.forbidden(
                    &revived.path.child("state"),
                    "may not be transitioned to non-terminated state",
                );
            }
        }
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
