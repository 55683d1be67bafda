//! The checks that the restricted level adds, by id: what a hardened pod must state.

use std::collections::BTreeSet;

use mainstay_apiserver_machinery::value::Value;

use super::baseline::{bad_seccomp, proc_mount, seccomp};
use super::check::{Check, Forbidden, Subject, containers, name, plural, quoted, setters};

/// The checks, by id.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "allowPrivilegeEscalation",
        versions: &[(8, privilege_escalation), (25, privilege_escalation_1_25)],
        overrides: &[],
    },
    Check {
        id: "capabilities_restricted",
        versions: &[(22, capabilities), (25, capabilities_1_25)],
        overrides: &["capabilities_baseline"],
    },
    Check { id: "procMount_restricted", versions: &[(35, proc_mount)], overrides: &["procMount"] },
    Check { id: "restrictedVolumes", versions: &[(0, volumes)], overrides: &["hostPathVolumes"] },
    Check { id: "runAsNonRoot", versions: &[(0, non_root), (35, non_root_1_35)], overrides: &[] },
    Check { id: "runAsUser", versions: &[(23, user), (35, user_1_35)], overrides: &[] },
    Check {
        id: "seccompProfile_restricted",
        versions: &[(19, seccomp_restricted), (25, seccomp_restricted_1_25)],
        overrides: &["seccompProfile_baseline"],
    },
];

/// Volume sources that hold nothing of the host.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Volume sources that are told by name when they are refused.
const OTHER_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn privilege_escalation(subject: Subject<'_>) -> Option<Forbidden> {
    let allows = |c: &&Value| c.path_bool(&["securityContext", "allowPrivilegeEscalation"]) != Some(false);
    let names: Vec<&str> = subject.containers().filter(allows).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    Forbidden::of("allowPrivilegeEscalation != false", detail)
}

fn privilege_escalation_1_25(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.is_windows() { None } else { privilege_escalation(subject) }
}

fn capabilities(subject: Subject<'_>) -> Option<Forbidden> {
    let (mut keeping, mut adding, mut added) = (Vec::new(), Vec::new(), BTreeSet::new());
    for container in subject.containers() {
        let list = |field: &str| {
            let list = container.path_list(&["securityContext", "capabilities", field]);
            list.iter().filter_map(Value::as_str)
        };
        if !list("drop").any(|capability| capability == "ALL") {
            keeping.push(name(container));
        }
        let forbidden: Vec<&str> =
            list("add").filter(|capability| *capability != "NET_BIND_SERVICE").collect();
        if !forbidden.is_empty() {
            adding.push(name(container));
            added.extend(forbidden);
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let who = containers(&adding);
        details.push(format!("{who} must not include {} in securityContext.capabilities.add", quoted(added)));
    }
    if details.is_empty() { None } else { Forbidden::of("unrestricted capabilities", details.join("; ")) }
}

fn capabilities_1_25(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.is_windows() { None } else { capabilities(subject) }
}

fn volumes(subject: Subject<'_>) -> Option<Forbidden> {
    let has = |volume: &Value, sources: &[&'static str]| {
        sources.iter().copied().find(|source| volume.get(source).is_some())
    };
    let volumes = subject.spec.path_list(&["volumes"]).iter().filter(|volume| has(volume, VOLUMES).is_none());
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in volumes {
        names.push(name(volume));
        kinds.insert(has(volume, OTHER_VOLUMES).unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(names.iter().copied()),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(kinds.iter().copied())
    );
    Forbidden::of("restricted volume types", detail)
}

fn non_root(subject: Subject<'_>) -> Option<Forbidden> {
    const REASON: &str = "runAsNonRoot != true";
    let of = |context: Option<&Value>| context.and_then(|context| context.path_bool(&["runAsNonRoot"]));
    let pod = of(subject.context());
    let with = |wanted: Option<bool>| {
        let found = subject.containers().filter(move |c| of(c.get("securityContext")) == wanted);
        found.map(name).collect::<Vec<_>>()
    };
    let explicit = with(Some(false));
    if pod == Some(false) || !explicit.is_empty() {
        let who = setters(pod == Some(false), &explicit);
        return Forbidden::of(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = if pod == Some(true) { Vec::new() } else { with(None) };
    if implicit.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit));
    Forbidden::of(REASON, detail)
}

fn non_root_1_35(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.has_own_users() { None } else { non_root(subject) }
}

fn user(subject: Subject<'_>) -> Option<Forbidden> {
    let root = |context: Option<&Value>| context.and_then(|c| c.path_i64(&["runAsUser"])) == Some(0);
    let pod = root(subject.context());
    let names: Vec<&str> =
        subject.containers().filter(|c| root(c.get("securityContext"))).map(name).collect();
    if !pod && names.is_empty() {
        return None;
    }
    Forbidden::of("runAsUser=0", format!("{} must not set runAsUser=0", setters(pod, &names)))
}

fn user_1_35(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.has_own_users() { None } else { user(subject) }
}

fn seccomp_restricted(subject: Subject<'_>) -> Option<Forbidden> {
    if let Some(forbidden) = seccomp(subject) {
        return Some(forbidden);
    }
    let set =
        |context: Option<&Value>| context.is_some_and(|context| context.get("seccompProfile").is_some());
    if set(subject.context()) && bad_seccomp(subject.context()).is_none() {
        return None;
    }
    let names: Vec<&str> =
        subject.containers().filter(|c| !set(c.get("securityContext"))).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&names)
    );
    Forbidden::of("seccompProfile", detail)
}

fn seccomp_restricted_1_25(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.is_windows() { None } else { seccomp_restricted(subject) }
}
