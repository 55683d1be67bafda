//! The mounts of a container: the kernel's file systems, what the sandbox gives, and what the configuration asks for.

use super::build::Facts;
use crate::failure::{Failure, Result};
use mainstay_proto_wire::cri::v1::{ContainerConfig, Mount, MountPropagation};
use serde_json::{Value, json};

/// All mounts in order: a parent is mounted before what lies below it.
pub(crate) fn mounts(facts: &Facts, config: &ContainerConfig) -> Result<Vec<Value>> {
    let mut list = base(facts);
    for (source, target) in &facts.sandbox_files {
        if !config.mounts.iter().any(|mount| mount.container_path == *target) {
            let read_only = if facts.readonly_rootfs { "ro" } else { "rw" };
            list.push(bind(source, target, &["rbind", "rprivate", read_only]));
        }
    }
    let mut wanted: Vec<&Mount> = config.mounts.iter().collect();
    wanted.sort_by_key(|mount| mount.container_path.trim_end_matches('/').matches('/').count());
    for mount in wanted {
        list.retain(|known| known.get("destination").and_then(Value::as_str) != Some(&mount.container_path));
        list.push(configured(mount)?);
    }
    Ok(list)
}

/// How the root mount must propagate for what the configuration asks.
pub(crate) fn root_propagation(config: &ContainerConfig) -> Option<&'static str> {
    let has = |wanted: MountPropagation| config.mounts.iter().any(|mount| mount.propagation() == wanted);
    if has(MountPropagation::PropagationBidirectional) {
        Some("rshared")
    } else if has(MountPropagation::PropagationHostToContainer) {
        Some("rslave")
    } else {
        None
    }
}

fn base(facts: &Facts) -> Vec<Value> {
    let system = if facts.privileged { "rw" } else { "ro" };
    let plain = |kind: &str, target: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let mut list = vec![
        plain("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        plain("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        plain(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        plain("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        plain("sysfs", "/sys", &["nosuid", "noexec", "nodev", system]),
    ];
    if facts.privileged || facts.unified_cgroups {
        list.push(plain("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", system]));
    } else {
        // Under version 1 libcontainer leaves the hierarchies writable, and the container's root could lift its own
        // limits. So only what programs read to find their limits is there, and read-only.
        list.push(plain("tmpfs", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "mode=755", "size=64k"]));
        for (source, target) in &facts.cgroup_views {
            list.push(bind(source, target, &["bind", "rprivate", "ro", "nosuid", "noexec", "nodev"]));
        }
    }
    list.push(bind(&facts.shm, "/dev/shm", &["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"]));
    list
}

fn bind(source: &str, target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

fn configured(mount: &Mount) -> Result<Value> {
    let path = &mount.container_path;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Failure::invalid(format!("mount path {path:?} must be absolute, without \"..\"")));
    }
    if mount.image.is_some() {
        return Err(Failure::new(
            mainstay_proto_wire::cri::Code::Unimplemented,
            format!("mount {path}: image volumes are not supported"),
        ));
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Failure::new(
            mainstay_proto_wire::cri::Code::Unimplemented,
            format!("mount {path}: id-mapped mounts are not supported"),
        ));
    }
    if mount.recursive_read_only
        && (!mount.readonly || mount.propagation() != MountPropagation::PropagationPrivate)
    {
        return Err(Failure::invalid(format!(
            "mount {path}: recursive read-only needs readonly and private propagation"
        )));
    }
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let access = match (mount.recursive_read_only, mount.readonly) {
        (true, _) => "rro",
        (false, true) => "ro",
        (false, false) => "rw",
    };
    Ok(bind(&mount.host_path, path, &["rbind", propagation, access]))
}
