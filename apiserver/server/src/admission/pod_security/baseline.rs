//! The checks of the baseline level, by id: what lets a pod out of its container.

use std::collections::BTreeSet;

use mainstay_apiserver_machinery::value::Value;

use super::check::{Check, Forbidden, Subject, containers, name, plural, quoted, setters};

/// The checks, by id.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "appArmorProfile", versions: &[(0, app_armor)], overrides: &[] },
    Check { id: "capabilities_baseline", versions: &[(0, capabilities)], overrides: &[] },
    Check { id: "hostNamespaces", versions: &[(0, host_namespaces)], overrides: &[] },
    Check { id: "hostPathVolumes", versions: &[(0, host_paths)], overrides: &[] },
    Check { id: "hostPorts", versions: &[(0, host_ports)], overrides: &[] },
    Check { id: "hostProbesAndHostLifecycle", versions: &[(34, probe_hosts)], overrides: &[] },
    Check { id: "privileged", versions: &[(0, privileged)], overrides: &[] },
    Check { id: "procMount", versions: &[(0, proc_mount), (35, proc_mount_1_35)], overrides: &[] },
    Check { id: "seLinuxOptions", versions: &[(0, se_linux_1_0), (31, se_linux_1_31)], overrides: &[] },
    Check {
        id: "seccompProfile_baseline",
        versions: &[(0, seccomp_annotations), (19, seccomp)],
        overrides: &[],
    },
    Check {
        id: "sysctls",
        versions: &[
            (0, sysctls_1_0),
            (27, sysctls_1_27),
            (29, sysctls_1_29),
            (32, sysctls_1_32),
            (37, sysctls_1_37),
        ],
        overrides: &[],
    },
    Check { id: "windowsHostProcess", versions: &[(0, host_process)], overrides: &[] },
];

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Capabilities that containers have anyway.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Sysctls that touch nothing but the pod, by the minor version in which they joined.
const SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    value.path_str(path).unwrap_or_default()
}

/// The containers of which `bad` says so, by name.
fn bad_containers<'a>(subject: Subject<'a>, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
    subject.containers().filter(|container| bad(container)).map(name).collect()
}

fn app_armor(subject: Subject<'_>) -> Option<Forbidden> {
    let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let mut values: BTreeSet<String> = BTreeSet::new();
    let mut bad = |context: Option<&Value>| {
        let profile = context.and_then(|context| context.get("appArmorProfile"));
        let kind = profile.map(|profile| text(profile, &["type"])).filter(|kind| !allowed(kind));
        values.extend(kind.map(str::to_owned));
        kind.is_some()
    };
    let pod = bad(subject.context());
    let names = bad_containers(subject, |container| bad(container.get("securityContext")));
    let mut who: Vec<String> = Some(setters(pod, &names)).filter(|who| !who.is_empty()).into_iter().collect();
    let mut values: Vec<String> = values.into_iter().collect();
    let annotations: Vec<String> = subject
        .annotations()
        .filter(|(key, profile)| {
            key.starts_with(APP_ARMOR_ANNOTATION)
                && !(profile.is_empty() || *profile == "runtime/default" || profile.starts_with("localhost/"))
        })
        .map(|(key, profile)| format!("{key}={profile:?}"))
        .collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        who.join(" and "),
        quoted(values.iter().map(String::as_str))
    );
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    Forbidden::of(reason, detail)
}

fn capabilities(subject: Subject<'_>) -> Option<Forbidden> {
    let mut added = BTreeSet::new();
    let names = bad_containers(subject, |container| {
        let add = container.path_list(&["securityContext", "capabilities", "add"]);
        let bad: Vec<&str> =
            add.iter().filter_map(Value::as_str).filter(|name| !CAPABILITIES.contains(name)).collect();
        added.extend(bad.iter().copied());
        !bad.is_empty()
    });
    let detail = || {
        let added = quoted(added.iter().copied());
        format!("{} must not include {added} in securityContext.capabilities.add", containers(&names))
    };
    if names.is_empty() { None } else { Forbidden::of("non-default capabilities", detail()) }
}

fn host_namespaces(subject: Subject<'_>) -> Option<Forbidden> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"];
    let shared = shared.into_iter().filter(|field| subject.spec.path_bool(&[field]) == Some(true));
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() { None } else { Forbidden::of("host namespaces", shared.join(", ")) }
}

fn host_paths(subject: Subject<'_>) -> Option<Forbidden> {
    let volumes = subject.spec.path_list(&["volumes"]).iter();
    let names: Vec<&str> = volumes.filter(|volume| volume.get("hostPath").is_some()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(names.iter().copied()));
    Forbidden::of("hostPath volumes", detail)
}

fn host_ports(subject: Subject<'_>) -> Option<Forbidden> {
    // Sorted as texts, as upstream has it.
    let mut ports = BTreeSet::new();
    let names = bad_containers(subject, |container| {
        let used = container.path_list(&["ports"]).iter().filter_map(|port| port.path_i64(&["hostPort"]));
        let used: Vec<String> = used.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let bad = !used.is_empty();
        ports.extend(used);
        bad
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", ports.len()),
        ports.into_iter().collect::<Vec<_>>().join(", ")
    );
    Forbidden::of("hostPort", detail)
}

fn probe_hosts(subject: Subject<'_>) -> Option<Forbidden> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let mut hosts = BTreeSet::new();
    let names: BTreeSet<&str> = subject
        .containers()
        .filter(|container| {
            let handlers = HANDLERS.iter().filter_map(|path| container.path(path));
            let found = handlers
                .flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| text(handler, &[action, "host"])));
            let found: Vec<&str> = found.filter(|host| !host.is_empty()).collect();
            hosts.extend(found.iter().copied());
            !found.is_empty()
        })
        .map(name)
        .collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        quoted(hosts)
    );
    Forbidden::of("probe or lifecycle host", detail)
}

fn privileged(subject: Subject<'_>) -> Option<Forbidden> {
    let names = bad_containers(subject, |c| c.path_bool(&["securityContext", "privileged"]) == Some(true));
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", containers(&names));
    Forbidden::of("privileged", detail)
}

/// The masks over `/proc`.
pub(super) fn proc_mount(subject: Subject<'_>) -> Option<Forbidden> {
    let mut kinds = BTreeSet::new();
    let names = bad_containers(subject, |container| {
        let kind = container.path_str(&["securityContext", "procMount"]).filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(kinds));
    Forbidden::of("procMount", detail)
}

fn proc_mount_1_35(subject: Subject<'_>) -> Option<Forbidden> {
    if subject.has_own_users() { None } else { proc_mount(subject) }
}

fn se_linux_1_0(subject: Subject<'_>) -> Option<Forbidden> {
    se_linux(subject, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn se_linux_1_31(subject: Subject<'_>) -> Option<Forbidden> {
    se_linux(subject, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux(subject: Subject<'_>, allowed: &[&str]) -> Option<Forbidden> {
    let (mut kinds, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |context: Option<&Value>| {
        let Some(options) = context.and_then(|context| context.get("seLinuxOptions")) else { return false };
        let kind = Some(text(options, &["type"])).filter(|kind| !allowed.contains(kind));
        let (sets_user, sets_role) =
            (!text(options, &["user"]).is_empty(), !text(options, &["role"]).is_empty());
        kinds.extend(kind.map(str::to_owned));
        user |= sets_user;
        role |= sets_role;
        kind.is_some() || sets_user || sets_role
    };
    let pod = bad(subject.context());
    let names = bad_containers(subject, |container| bad(container.get("securityContext")));
    if !pod && names.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !kinds.is_empty() {
        let list = quoted(kinds.iter().map(String::as_str));
        data.push(format!("{} {list}", plural("type", "types", kinds.len())));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    let detail =
        format!("{} set forbidden securityContext.seLinuxOptions: {}", setters(pod, &names), data.join("; "));
    Forbidden::of("seLinuxOptions", detail)
}

fn seccomp_annotations(subject: Subject<'_>) -> Option<Forbidden> {
    let named: BTreeSet<String> =
        subject.containers().map(|c| format!("{SECCOMP_CONTAINER_ANNOTATION}{}", name(c))).collect();
    let allowed = |profile: &str| {
        matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/")
    };
    let bad = subject.annotations().filter(|(key, profile)| {
        (*key == SECCOMP_POD_ANNOTATION || named.contains(*key)) && !allowed(profile)
    });
    let bad: BTreeSet<String> = bad.map(|(key, profile)| format!("{key}={profile:?}")).collect();
    if bad.is_empty() {
        return None;
    }
    let count = plural("annotation", "annotations", bad.len());
    let list = bad.into_iter().collect::<Vec<_>>().join(", ");
    Forbidden::of("seccompProfile", format!("forbidden {count} {list}"))
}

/// A seccomp profile that is set and not allowed.
pub(super) fn bad_seccomp(context: Option<&Value>) -> Option<&str> {
    let profile = context?.get("seccompProfile")?;
    Some(text(profile, &["type"])).filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"))
}

/// Profiles that are set must be allowed ones.
pub(super) fn seccomp(subject: Subject<'_>) -> Option<Forbidden> {
    let pod = bad_seccomp(subject.context());
    let mut kinds: BTreeSet<&str> = pod.into_iter().collect();
    let names = bad_containers(subject, |container| {
        let kind = bad_seccomp(container.get("securityContext"));
        kinds.extend(kind);
        kind.is_some()
    });
    if pod.is_none() && names.is_empty() {
        return None;
    }
    let who = setters(pod.is_some(), &names);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(kinds));
    Forbidden::of("seccompProfile", detail)
}

fn sysctls(subject: Subject<'_>, minor: u32) -> Option<Forbidden> {
    let safe = |name: &str| SYSCTLS.iter().any(|(since, safe)| *since <= minor && *safe == name);
    let set = subject.spec.path_list(&["securityContext", "sysctls"]).iter().map(name);
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { Forbidden::of("forbidden sysctls", bad.join(", ")) }
}

fn sysctls_1_0(subject: Subject<'_>) -> Option<Forbidden> {
    sysctls(subject, 0)
}

fn sysctls_1_27(subject: Subject<'_>) -> Option<Forbidden> {
    sysctls(subject, 27)
}

fn sysctls_1_29(subject: Subject<'_>) -> Option<Forbidden> {
    sysctls(subject, 29)
}

fn sysctls_1_32(subject: Subject<'_>) -> Option<Forbidden> {
    sysctls(subject, 32)
}

fn sysctls_1_37(subject: Subject<'_>) -> Option<Forbidden> {
    sysctls(subject, 37)
}

fn host_process(subject: Subject<'_>) -> Option<Forbidden> {
    let set = |context: Option<&Value>| {
        context.and_then(|context| context.path_bool(&["windowsOptions", "hostProcess"])) == Some(true)
    };
    let pod = set(subject.context());
    let names = bad_containers(subject, |container| set(container.get("securityContext")));
    if !pod && names.is_empty() {
        return None;
    }
    let who = setters(pod, &names);
    Forbidden::of(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
