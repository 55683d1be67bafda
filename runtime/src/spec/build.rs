//! Puts the specification together.

use super::capabilities::capability_set;
use super::mounts::{mounts, root_propagation};
use crate::failure::{Failure, Result};
use crate::images::{Account, ImageConfig};
use mainstay_proto_wire::cri::v1::{ContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_PIDS_MAX: i64 = 4096;
const FILES_SOFT: u64 = 65_536;
const FILES_HARD: u64 = 1_048_576;

/// Paths that show or change the node: hidden unless the configuration lists its own.
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
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A namespace is made new, joined by its path, or shared with the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Namespaces {
    /// Path of the pinned network namespace; none is the node's.
    pub(crate) network: Option<String>,
    pub(crate) ipc: Option<String>,
    pub(crate) uts: Option<String>,
    pub(crate) pid: PidNamespace,
}

/// Whose processes a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum PidNamespace {
    /// Its own.
    #[default]
    Own,
    /// Those of the namespace at this path.
    Join(String),
    /// The node's.
    Node,
}

/// A device node of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: String,
    /// `c` or `b`.
    pub(crate) kind: char,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Letters of r, w, m.
    pub(crate) access: String,
}

/// What was looked up on the node for one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) rootfs: String,
    pub(crate) cgroup: String,
    pub(crate) hostname: String,
    pub(crate) namespaces: Namespaces,
    /// Source of /dev/shm.
    pub(crate) shm: String,
    /// Files of the sandbox and where they appear: resolv.conf, hostname.
    pub(crate) sandbox_files: Vec<(String, String)>,
    pub(crate) account: Account,
    pub(crate) privileged: bool,
    pub(crate) readonly_rootfs: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) seccomp: Option<Value>,
    /// Under version 1: directories of the container's groups and where they appear.
    pub(crate) cgroup_views: Vec<(String, String)>,
    /// Only version 2 of control groups is mounted.
    pub(crate) unified_cgroups: bool,
    pub(crate) pids_max: i64,
    /// Most open files that a limit may name.
    pub(crate) files_max: u64,
    /// Lowest OOM score adjustment that we may give.
    pub(crate) oom_score_min: i64,
}

/// The whole specification, as config.json wants it.
pub(crate) fn build(config: &ContainerConfig, image: &ImageConfig, facts: &Facts) -> Result<Value> {
    let empty = LinuxContainerSecurityContext::default();
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()).unwrap_or(&empty);
    let capabilities = capability_set(context.capabilities.as_ref(), facts.privileged)?;
    let ambient = context.capabilities.as_ref().map(|wish| wish.add_ambient_capabilities.as_slice());
    if ambient.is_some_and(|list| !list.is_empty()) {
        return Err(Failure::invalid("ambient capabilities are not supported"));
    }
    let process = process(config, image, facts, context, &capabilities)?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": facts.rootfs, "readonly": facts.readonly_rootfs},
        "mounts": mounts(facts, config)?,
        "linux": linux(config, facts, context)?,
    }))
}

fn process(
    config: &ContainerConfig,
    image: &ImageConfig,
    facts: &Facts,
    context: &LinuxContainerSecurityContext,
    capabilities: &BTreeSet<String>,
) -> Result<Value> {
    let account = &facts.account;
    let mut groups: BTreeSet<u32> = account.groups.iter().copied().collect();
    for group in &context.supplemental_groups {
        let group = u32::try_from(*group)
            .map_err(|_range| Failure::invalid(format!("supplemental group {group} is out of range")))?;
        groups.insert(group);
    }
    let names: Vec<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
    // A process that is not root starts with no effective capability, as everywhere.
    let held: &[String] = if account.uid == 0 { &names } else { &[] };
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": account.uid, "gid": account.gid, "additionalGids": groups},
        "args": arguments(config, image)?,
        "env": environment(config, image, facts)?,
        "cwd": working_dir(config, image)?,
        "capabilities": {
            "bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": [],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": FILES_SOFT.min(facts.files_max), "hard": FILES_HARD.min(facts.files_max)}],
    });
    let object = process.as_object_mut().ok_or_else(|| Failure::internal("the process is no object"))?;
    // Together with seccomp, libcontainer cannot take `false`: the field is there only when it is set.
    if context.no_new_privs {
        object.insert("noNewPrivileges".into(), json!(true));
    }
    let oom = resources_of(config).map_or(0, |resources| resources.oom_score_adj);
    object.insert("oomScoreAdj".into(), json!(oom.clamp(-1000, 1000).max(facts.oom_score_min)));
    Ok(process)
}

/// `command` replaces the image's entrypoint and with it the image's command; `args` replaces the image's command.
fn arguments(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>> {
    let image = &image.config;
    let mut arguments = config.command.clone();
    let mut rest = config.args.clone();
    if arguments.is_empty() {
        if rest.is_empty() {
            rest = image.cmd.clone().unwrap_or_default();
        }
        arguments = image.entrypoint.clone().unwrap_or_default();
    }
    arguments.extend(rest);
    match arguments.first() {
        None => Err(Failure::invalid("no command specified")),
        Some(first) if first.is_empty() => Err(Failure::invalid("the command is an empty string")),
        Some(_) if arguments.iter().any(|argument| argument.contains('\0')) => {
            Err(Failure::invalid("an argument has a NUL byte"))
        }
        Some(_) => Ok(arguments),
    }
}

fn environment(config: &ContainerConfig, image: &ImageConfig, facts: &Facts) -> Result<Vec<String>> {
    let mut pairs: Vec<(String, String)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("HOSTNAME".into(), facts.hostname.clone())];
    if config.tty {
        pairs.push(("TERM".into(), "xterm".into()));
    }
    let home = facts.account.home.clone().unwrap_or_else(|| "/".to_owned());
    pairs.push(("HOME".into(), home));
    let of_image = image.config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
    let of_config = config.envs.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()));
    for (key, value) in of_image.chain(of_config) {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(Failure::invalid(format!("environment variable {key:?} cannot be set")));
        }
        match pairs.iter_mut().find(|(known, _)| known == key) {
            Some(known) => value.clone_into(&mut known.1),
            None => pairs.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
}

fn working_dir(config: &ContainerConfig, image: &ImageConfig) -> Result<String> {
    let of_image = image.config.working_dir.as_deref().unwrap_or_default();
    let dir =
        [config.working_dir.as_str(), of_image, "/"].into_iter().find(|dir| !dir.is_empty()).unwrap_or("/");
    if dir.contains('\0') {
        return Err(Failure::invalid("the working directory has a NUL byte"));
    }
    // An image may say "app": it means "/app".
    Ok(if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") })
}

fn linux(config: &ContainerConfig, facts: &Facts, context: &LinuxContainerSecurityContext) -> Result<Value> {
    let mut linux = Map::new();
    linux.insert("cgroupsPath".into(), json!(facts.cgroup));
    linux.insert("namespaces".into(), namespaces(facts));
    linux.insert("resources".into(), resources(config, facts)?);
    let nodes: Vec<Value> = facts.devices.iter().map(device_node).collect();
    linux.insert("devices".into(), json!(nodes));
    if !facts.privileged {
        let or_default = |list: &[String], default: &[&str]| -> Vec<String> {
            if context.masked_paths.is_empty() && context.readonly_paths.is_empty() {
                default.iter().map(|path| (*path).to_owned()).collect()
            } else {
                list.to_vec()
            }
        };
        linux.insert("maskedPaths".into(), json!(or_default(&context.masked_paths, &MASKED)));
        let mut read_only = or_default(&context.readonly_paths, &READ_ONLY);
        if facts.unified_cgroups {
            read_only.push("/sys/fs/cgroup".to_owned());
        }
        linux.insert("readonlyPaths".into(), json!(read_only));
    }
    if let Some(propagation) = root_propagation(config) {
        linux.insert("rootfsPropagation".into(), json!(propagation));
    }
    if let Some(seccomp) = &facts.seccomp {
        linux.insert("seccomp".into(), seccomp.clone());
    }
    Ok(Value::Object(linux))
}

fn namespaces(facts: &Facts) -> Value {
    let mut list = vec![json!({"type": "mount"})];
    let spaces = &facts.namespaces;
    match &spaces.pid {
        PidNamespace::Own => list.push(json!({"type": "pid"})),
        PidNamespace::Join(path) => list.push(json!({"type": "pid", "path": path})),
        PidNamespace::Node => {}
    }
    for (kind, path) in [("network", &spaces.network), ("ipc", &spaces.ipc), ("uts", &spaces.uts)] {
        if let Some(path) = path {
            list.push(json!({"type": kind, "path": path}));
        }
    }
    if facts.unified_cgroups && !facts.privileged {
        list.push(json!({"type": "cgroup"}));
    }
    json!(list)
}

fn resources_of(config: &ContainerConfig) -> Option<&LinuxContainerResources> {
    config.linux.as_ref().and_then(|linux| linux.resources.as_ref())
}

fn resources(config: &ContainerConfig, facts: &Facts) -> Result<Value> {
    let empty = LinuxContainerResources::default();
    let wish = resources_of(config).unwrap_or(&empty);
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    if facts.privileged {
        devices = vec![json!({"allow": true, "access": "rwm"})];
    }
    for device in &facts.devices {
        devices.push(json!({"allow": true, "type": device.kind.to_string(), "major": device.major,
            "minor": device.minor, "access": device.access}));
    }
    let pids_max = if facts.pids_max == 0 { DEFAULT_PIDS_MAX } else { facts.pids_max };
    let mut resources = json!({"devices": devices, "pids": {"limit": pids_max}});
    let mut cpu = Map::new();
    let positive = |value: i64, what: &str| {
        u64::try_from(value).map_err(|_range| Failure::invalid(format!("{what} {value} is negative")))
    };
    if wish.cpu_shares != 0 {
        cpu.insert("shares".into(), json!(positive(wish.cpu_shares, "cpu shares")?));
    }
    if wish.cpu_quota != 0 {
        cpu.insert("quota".into(), json!(wish.cpu_quota));
    }
    if wish.cpu_period != 0 {
        cpu.insert("period".into(), json!(positive(wish.cpu_period, "cpu period")?));
    }
    for (key, value) in [("cpus", &wish.cpuset_cpus), ("mems", &wish.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.into(), json!(value));
        }
    }
    let object = resources.as_object_mut().ok_or_else(|| Failure::internal("the resources are no object"))?;
    if !cpu.is_empty() {
        object.insert("cpu".into(), Value::Object(cpu));
    }
    if wish.memory_limit_in_bytes != 0 {
        object.insert("memory".into(), json!({"limit": wish.memory_limit_in_bytes}));
    }
    if facts.unified_cgroups && !wish.unified.is_empty() {
        object.insert("unified".into(), json!(wish.unified));
    }
    Ok(resources)
}

fn device_node(device: &Device) -> Value {
    json!({"path": device.path, "type": device.kind.to_string(), "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid})
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
