//! Security contexts: pod and container settings merged as upstream merges them, and what the runtime is told.

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use mainstay_proto_wire::cri::v1;

/// Why a container may not be created; the texts are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SecurityError {
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    RootUser { pod: String, container: String },
    #[error("container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})")]
    RootImage { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    NamedUser { user: String, pod: String, container: String },
    #[error("localhostProfile must be set if seccompProfile type is Localhost.")]
    NoLocalhostProfile,
    #[error("seccompProfile type \"{0}\" is not known")]
    Seccomp(String),
}

/// Paths the kernel exposes and a container should not see, as container runtimes mask them.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user an image runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub uid: Option<i64>,
    pub username: String,
}

/// Refuses containers that would run as root against `runAsNonRoot`.
pub(crate) fn check_non_root(
    pod: &Pod,
    container: &Container,
    user: &ImageUser,
) -> Result<(), SecurityError> {
    let own = container.security_context.as_ref();
    let shared = pod_context(pod);
    let wanted = own.and_then(|s| s.run_as_non_root).or_else(|| shared.and_then(|s| s.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let names = || (pod_label(pod), container.name.clone());
    let stated = own.and_then(|s| s.run_as_user).or_else(|| shared.and_then(|s| s.run_as_user));
    if let Some(uid) = stated {
        let (pod, container) = names();
        return if uid == 0 { Err(SecurityError::RootUser { pod, container }) } else { Ok(()) };
    }
    let (pod, container) = names();
    match user.uid {
        Some(0) => Err(SecurityError::RootImage { pod, container }),
        Some(_) => Ok(()),
        None if user.username.is_empty() => Err(SecurityError::RootImage { pod, container }),
        None => Err(SecurityError::NamedUser { user: user.username.clone(), pod, container }),
    }
}

/// `name_namespace(uid)`, upstream's short form of a pod in messages.
pub(crate) fn pod_label(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |o: &Option<String>| o.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}

fn pod_context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref().and_then(|s| s.security_context.as_ref())
}

/// What the runtime applies to one container. `target` is the container id whose processes it joins.
pub(crate) fn container_security(
    pod: &Pod,
    container: &Container,
    user: &ImageUser,
    target: Option<&str>,
) -> Result<v1::LinuxContainerSecurityContext, SecurityError> {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let shared = pod_context(pod);
    let uid = own.run_as_user.or_else(|| shared.and_then(|s| s.run_as_user));
    let gid = own.run_as_group.or_else(|| shared.and_then(|s| s.run_as_group));
    let privileged = own.privileged == Some(true);
    let (run_as_user, run_as_username) = match (uid, user.uid) {
        (Some(uid), _) | (None, Some(uid)) => (Some(v1::Int64Value { value: uid }), String::new()),
        (None, None) => (None, user.username.clone()),
    };
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(own)),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        run_as_user,
        run_as_group: gid.map(|value| v1::Int64Value { value }),
        run_as_username,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(shared),
        supplemental_groups_policy: groups_policy(shared),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READONLY),
        seccomp: Some(seccomp(own.seccomp_profile.as_ref(), shared, privileged)?),
        ..Default::default()
    })
}

/// What the runtime applies to the sandbox itself.
pub(crate) fn sandbox_security(pod: &Pod) -> Result<v1::LinuxSandboxSecurityContext, SecurityError> {
    let shared = pod_context(pod);
    let value = |v: Option<i64>| v.map(|value| v1::Int64Value { value });
    Ok(v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        run_as_user: value(shared.and_then(|s| s.run_as_user)),
        run_as_group: value(shared.and_then(|s| s.run_as_group)),
        supplemental_groups: supplemental_groups(shared),
        supplemental_groups_policy: groups_policy(shared),
        privileged: any_privileged(pod),
        seccomp: Some(seccomp(None, shared, false)?),
        ..Default::default()
    })
}

fn any_privileged(pod: &Pod) -> bool {
    super::containers::all(pod)
        .iter()
        .any(|c| c.container.security_context.as_ref().and_then(|s| s.privileged) == Some(true))
}

fn capabilities(own: &SecurityContext) -> v1::Capability {
    let listed = own.capabilities.as_ref();
    v1::Capability {
        add_capabilities: listed.and_then(|c| c.add.clone()).unwrap_or_default(),
        drop_capabilities: listed.and_then(|c| c.drop.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

fn supplemental_groups(shared: Option<&PodSecurityContext>) -> Vec<i64> {
    let Some(shared) = shared else { return Vec::new() };
    let mut groups: Vec<i64> = shared.fs_group.into_iter().collect();
    groups.extend(shared.supplemental_groups.iter().flatten());
    groups
}

fn groups_policy(shared: Option<&PodSecurityContext>) -> i32 {
    let strict = shared.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict");
    let policy =
        if strict { v1::SupplementalGroupsPolicy::Strict } else { v1::SupplementalGroupsPolicy::Merge };
    policy.into()
}

/// The container's profile, else the pod's, else the runtime's default. Privileged containers run unconfined.
fn seccomp(
    own: Option<&SeccompProfile>,
    shared: Option<&PodSecurityContext>,
    privileged: bool,
) -> Result<v1::SecurityProfile, SecurityError> {
    use v1::security_profile::ProfileType;
    let profile = |kind: ProfileType, path: String| v1::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: path,
    };
    if privileged {
        return Ok(profile(ProfileType::Unconfined, String::new()));
    }
    let Some(stated) = own.or_else(|| shared.and_then(|s| s.seccomp_profile.as_ref())) else {
        return Ok(profile(ProfileType::RuntimeDefault, String::new()));
    };
    match stated.type_.as_str() {
        "RuntimeDefault" => Ok(profile(ProfileType::RuntimeDefault, String::new())),
        "Unconfined" => Ok(profile(ProfileType::Unconfined, String::new())),
        "Localhost" => match stated.localhost_profile.as_deref() {
            Some(path) if !path.is_empty() => Ok(profile(ProfileType::Localhost, path.to_owned())),
            _ => Err(SecurityError::NoLocalhostProfile),
        },
        other => Err(SecurityError::Seccomp(other.to_owned())),
    }
}

fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let shared = |host: Option<bool>, or: v1::NamespaceMode| {
        if host == Some(true) { v1::NamespaceMode::Node } else { or }
    };
    let own_pid = if target.is_some() {
        v1::NamespaceMode::Target
    } else if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: shared(spec.host_network, v1::NamespaceMode::Pod).into(),
        pid: shared(spec.host_pid, own_pid).into(),
        ipc: shared(spec.host_ipc, v1::NamespaceMode::Pod).into(),
        target_id: target.unwrap_or_default().to_owned(),
        ..Default::default()
    }
}
