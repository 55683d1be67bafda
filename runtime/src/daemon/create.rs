//! Preparing a container: image, root file system, user, specification.

use super::records::{self, ContainerRecord, VERSION};
use super::runtime::{Container, Phase, Runtime, Sandbox, new_id};
use crate::config::namespace_pin;
use crate::failure::{Attempt, Failure, Result};
use crate::images::{Account, ImageConfig, ImageRecord, mount_overlay, resolve_user};
use crate::spec::{self, Device, Facts, Namespaces, PidNamespace};
use mainstay_proto_wire::cri::Code;
use mainstay_proto_wire::cri::v1::security_profile::ProfileType;
use mainstay_proto_wire::cri::v1::{self, NamespaceMode};
use parking_lot::Mutex;
use serde_json::Value;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const PROFILE_BYTES_MAX: u64 = 1 << 20;

impl Runtime {
    /// Makes a container that can be started. Whatever fails, nothing is left.
    pub(super) async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.ready() {
            return Err(Failure::precondition(format!("pod sandbox {} is not ready", sandbox.id())));
        }
        let _turn = sandbox.turn.lock().await;
        let container = {
            let sandbox = Arc::clone(&sandbox);
            self.blocking(move |me| me.prepare_container(&sandbox, config)).await?
        };
        let id = container.record.id.clone();
        self.containers.lock().insert(id.clone(), Arc::clone(&container));
        self.announce(&container, v1::ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    fn prepare_container(&self, sandbox: &Sandbox, config: v1::ContainerConfig) -> Result<Arc<Container>> {
        let metadata = config.metadata.clone().unwrap_or_default();
        if metadata.name.is_empty() {
            return Err(Failure::invalid("the container has no name"));
        }
        let twin = |other: &Arc<Container>| other.config.lock().metadata.as_ref() == Some(&metadata);
        if self.containers_of(&sandbox.id()).iter().any(twin) {
            return Err(Failure::new(Code::AlreadyExists, "a container of this name and attempt exists"));
        }
        let id = new_id();
        let built = self.build_container(&id, sandbox, &config);
        let record = match built {
            Ok(record) => record,
            Err(failure) => {
                self.erase_container(&id, None)?;
                return Err(failure.during(format!("creating container {:?}", metadata.name)));
            }
        };
        Ok(Arc::new(Container {
            record,
            config: Mutex::new(config),
            phase: watch::Sender::new(Phase::Created),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    fn build_container(
        &self,
        id: &str,
        sandbox: &Sandbox,
        config: &v1::ContainerConfig,
    ) -> Result<ContainerRecord> {
        let store = self.images.store();
        // Until the record names the layers, they must not be collected.
        let _hold = store.hold()?;
        let name = config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let image = store
            .find(name)?
            .ok_or_else(|| Failure::not_found(format!("image {name:?} is not on this node")))?;
        let image_config = store.config(&image)?;
        let (dir, bundle) = (self.paths.container(id), self.paths.bundle(id));
        for dir in [&dir, &bundle] {
            std::fs::create_dir_all(dir).attempt_with(|| format!("making {}", dir.display()))?;
        }
        let rootfs = bundle.join("rootfs");
        let layers: Vec<PathBuf> = image.layers.iter().map(|layer| store.layer_path(layer)).collect();
        mount_overlay(&layers, &dir.join("upper"), &dir.join("work"), &rootfs)?;
        let facts = self.facts(id, sandbox, config, &image_config)?;
        let spec = spec::build(config, &image_config, &facts)?;
        check_mounts(config)?;
        make_working_dir(&rootfs, &spec)?;
        let bytes = serde_json::to_vec(&spec).attempt("writing the specification")?;
        std::fs::write(bundle.join("config.json"), bytes).attempt("writing the specification")?;
        let record = record(id, sandbox, config, &image, &image_config, &facts)?;
        records::write_config(&dir, config)?;
        records::write(&dir, records::RECORD, &record)?;
        Ok(record)
    }

    /// Looks up on the node what the specification needs.
    fn facts(
        &self,
        id: &str,
        sandbox: &Sandbox,
        config: &v1::ContainerConfig,
        image: &ImageConfig,
    ) -> Result<Facts> {
        let empty = v1::LinuxContainerSecurityContext::default();
        let context =
            config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()).unwrap_or(&empty);
        let rootfs = self.paths.bundle(id).join("rootfs");
        let sandbox_record = sandbox.record.lock().clone();
        let (dir, run) = (self.paths.sandbox(&sandbox_record.id), self.paths.sandbox_run(&sandbox_record.id));
        let pin = |wanted: bool, kind: &str| wanted.then(|| namespace_pin(&run, kind).display().to_string());
        let file = |name: &str| dir.join(name).display().to_string();
        let shm =
            if sandbox_record.ipc { run.join("shm").display().to_string() } else { "/dev/shm".to_owned() };
        let hostname = std::fs::read_to_string(dir.join("hostname")).attempt("reading the host name")?;
        let cgroup = format!("{}/{id}", self.pod_group(&sandbox.config, &sandbox_record.id));
        let views =
            self.groups.views(&cgroup).into_iter().map(|(dir, target)| (dir.display().to_string(), target));
        Ok(Facts {
            rootfs: rootfs.display().to_string(),
            cgroup_views: views.collect(),
            cgroup,
            hostname: hostname.trim_end().to_owned(),
            namespaces: Namespaces {
                network: pin(sandbox_record.net, "net"),
                ipc: pin(sandbox_record.ipc, "ipc"),
                uts: pin(sandbox_record.uts, "uts"),
                pid: self.pid_namespace(context, &sandbox_record)?,
            },
            shm,
            sandbox_files: vec![
                (file("resolv.conf"), "/etc/resolv.conf".to_owned()),
                (file("hostname"), "/etc/hostname".to_owned()),
            ],
            account: account(&rootfs, context, image)?,
            privileged: context.privileged,
            readonly_rootfs: context.readonly_rootfs,
            devices: devices(config, context.privileged)?,
            seccomp: seccomp(context)?,
            unified_cgroups: self.groups.unified(),
            pids_max: self.config.pids_max,
            files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(u64::MAX),
            oom_score_min: oom_score_min()?,
        })
    }

    fn pid_namespace(
        &self,
        context: &v1::LinuxContainerSecurityContext,
        sandbox: &records::SandboxRecord,
    ) -> Result<PidNamespace> {
        let options = context.namespace_options.clone().unwrap_or_default();
        match options.pid() {
            NamespaceMode::Node => Ok(PidNamespace::Node),
            NamespaceMode::Pod if sandbox.shared_pid => {
                let pin = namespace_pin(&self.paths.sandbox_run(&sandbox.id), "pid");
                Ok(PidNamespace::Join(pin.display().to_string()))
            }
            // A sandbox without a shared process namespace has none to join.
            NamespaceMode::Pod | NamespaceMode::Container => Ok(PidNamespace::Own),
            NamespaceMode::Target => {
                let target = self.container(&options.target_id)?;
                if target.record.sandbox != sandbox.id {
                    return Err(Failure::invalid("the target container is in another pod"));
                }
                match target.phase() {
                    Phase::Running { pid, .. } => Ok(PidNamespace::Join(format!("/proc/{pid}/ns/pid"))),
                    _ => Err(Failure::precondition("the target container does not run")),
                }
            }
        }
    }
}

/// A node that is itself a container may lack the capability to protect processes from the OOM killer: then they
/// start with what we have.
fn oom_score_min() -> Result<i64> {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").attempt("reading our capabilities")?;
    let held =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    if held.unwrap_or(0) & CAP_SYS_RESOURCE != 0 {
        return Ok(-1000);
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").attempt("reading our OOM score")?;
    Ok(own.trim().parse().unwrap_or(0))
}

fn record(
    id: &str,
    sandbox: &Sandbox,
    config: &v1::ContainerConfig,
    image: &ImageRecord,
    image_config: &ImageConfig,
    facts: &Facts,
) -> Result<ContainerRecord> {
    let supplemental = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let mut groups = facts.account.groups.clone();
    for group in supplemental.map(|context| context.supplemental_groups.as_slice()).unwrap_or_default() {
        groups.extend(u32::try_from(*group).ok());
    }
    let log_path = if config.log_path.is_empty() || sandbox.config.log_directory.is_empty() {
        None
    } else {
        if Path::new(&config.log_path)
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            return Err(Failure::invalid(format!("the log path {:?} leaves its directory", config.log_path)));
        }
        Some(Path::new(&sandbox.config.log_directory).join(&config.log_path).display().to_string())
    };
    let created_at = crate::images::nanoseconds(time::OffsetDateTime::now_utc());
    Ok(ContainerRecord {
        version: VERSION,
        id: id.to_owned(),
        sandbox: sandbox.id(),
        created_at,
        image_id: image.id.clone(),
        image_ref: image.digests.first().unwrap_or(&image.id).clone(),
        layers: image.layers.clone(),
        uid: facts.account.uid,
        gid: facts.account.gid,
        groups,
        stop_signal: stop_signal(config, image_config),
        cgroup: facts.cgroup.clone(),
        log_path,
        foreign_processes: facts.namespaces.pid != PidNamespace::Own,
    })
}

/// The configuration's signal, else the image's, else SIGTERM.
fn stop_signal(config: &v1::ContainerConfig, image: &ImageConfig) -> i32 {
    let of_config = config.stop_signal();
    let name = if of_config == v1::Signal::RuntimeDefault {
        image.config.stop_signal.clone().unwrap_or_default()
    } else {
        of_config.as_str_name().to_owned()
    };
    signal_number(&name).unwrap_or(libc::SIGTERM)
}

/// `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`, and CRI's `SIGRTMINPLUS3`.
fn signal_number(name: &str) -> Option<i32> {
    let name = name.trim().to_ascii_uppercase().replace("PLUS", "+").replace("MINUS", "-");
    if let Ok(number) = name.parse::<i32>() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    if let Some(rest) = full.strip_prefix("SIGRTMIN") {
        return Some(libc::SIGRTMIN() + rest.trim_start_matches('+').parse().unwrap_or(0));
    }
    if let Some(rest) = full.strip_prefix("SIGRTMAX") {
        return Some(libc::SIGRTMAX() - rest.trim_start_matches('-').parse().unwrap_or(0));
    }
    full.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// Who the container runs as: the configuration's user, else the image's.
fn account(
    rootfs: &Path,
    context: &v1::LinuxContainerSecurityContext,
    image: &ImageConfig,
) -> Result<Account> {
    let wish = match (&context.run_as_user, context.run_as_username.as_str()) {
        (Some(uid), _) => uid.value.to_string(),
        (None, "") => image.config.user.clone().unwrap_or_default(),
        (None, name) => name.to_owned(),
    };
    if context.run_as_group.is_some() && context.run_as_user.is_none() && context.run_as_username.is_empty() {
        return Err(Failure::invalid("a group to run as needs a user to run as"));
    }
    let mut account = resolve_user(rootfs, &wish)?;
    if let Some(group) = &context.run_as_group {
        account.gid = u32::try_from(group.value)
            .map_err(|_range| Failure::invalid(format!("group {} is out of range", group.value)))?;
    }
    if context.supplemental_groups_policy() == v1::SupplementalGroupsPolicy::Strict {
        account.groups.clear();
    }
    Ok(account)
}

fn seccomp(context: &v1::LinuxContainerSecurityContext) -> Result<Option<Value>> {
    if context.privileged {
        return Ok(None);
    }
    // No profile at all means unconfined in CRI; the node agent decides what a pod gets by default.
    let Some(profile) = &context.seccomp else { return Ok(None) };
    match profile.profile_type() {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => {
            let capabilities = spec::capability_set(context.capabilities.as_ref(), false)?;
            Ok(Some(spec::default_profile(&capabilities)))
        }
        ProfileType::Localhost => {
            let path = Path::new(&profile.localhost_ref);
            if !path.is_absolute() {
                return Err(Failure::invalid("the seccomp profile's path is not absolute"));
            }
            let bytes = crate::durable::read(path, PROFILE_BYTES_MAX)
                .attempt_with(|| format!("reading the seccomp profile {}", path.display()))?
                .ok_or_else(|| {
                    Failure::not_found(format!("seccomp profile {} is not there", path.display()))
                })?;
            Ok(Some(spec::parse_profile(&bytes)?))
        }
    }
}

/// The devices asked for; all of the node's for a privileged container.
fn devices(config: &v1::ContainerConfig, privileged: bool) -> Result<Vec<Device>> {
    let mut list = Vec::new();
    for wish in &config.devices {
        let device = device(Path::new(&wish.host_path), &wish.container_path, &wish.permissions)?;
        list.push(device.ok_or_else(|| Failure::invalid(format!("{} is not a device", wish.host_path)))?);
    }
    if privileged {
        for entry in std::fs::read_dir("/dev").attempt("listing the node's devices")?.flatten() {
            let path = entry.path();
            let shown = path.display().to_string();
            if ["/dev/console", "/dev/ptmx", "/dev/tty"].contains(&shown.as_str()) {
                continue;
            }
            list.extend(device(&path, &shown, "rwm")?);
        }
    }
    Ok(list)
}

fn device(host: &Path, path: &str, access: &str) -> Result<Option<Device>> {
    let found = std::fs::metadata(host).attempt_with(|| format!("looking at device {}", host.display()))?;
    let kind = match found.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return Ok(None),
    };
    if !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(Failure::invalid(format!("device permissions {access:?} are not letters of rwm")));
    }
    Ok(Some(Device {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        access: if access.is_empty() { "rwm".to_owned() } else { access.to_owned() },
    }))
}

/// A source that is not there is an error with a name, not one from deep below.
fn check_mounts(config: &v1::ContainerConfig) -> Result<()> {
    for mount in &config.mounts {
        std::fs::metadata(&mount.host_path)
            .attempt_with(|| format!("mounting {} at {}", mount.host_path, mount.container_path))?;
    }
    Ok(())
}

/// The working directory is made when the image lacks it, inside the root file system whatever links are there.
fn make_working_dir(rootfs: &Path, spec: &Value) -> Result<()> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    let dir = spec.pointer("/process/cwd").and_then(Value::as_str).unwrap_or("/");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut current =
        rustix::fs::openat(CWD, rootfs, flags, Mode::empty()).attempt("opening the root file system")?;
    let root = rustix::io::fcntl_dupfd_cloexec(&current, 3).attempt("opening the root file system")?;
    let mut path = PathBuf::new();
    for part in Path::new(dir).components() {
        let std::path::Component::Normal(name) = part else { continue };
        path.push(name);
        let open = || rustix::fs::openat2(&root, &path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        current = match open() {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                    // A link that leads nowhere: libcontainer says what it thinks of it.
                    Err(rustix::io::Errno::EXIST) => return Ok(()),
                    made => made.attempt_with(|| format!("making the working directory {dir}"))?,
                }
                open().attempt_with(|| format!("making the working directory {dir}"))?
            }
            // A mount or a file in the way is for the start to find.
            Err(_) => return Ok(()),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_spelling() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("quit"), Some(3));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(signal_number("SIGRTMAXMINUS1"), Some(libc::SIGRTMAX() - 1));
        assert_eq!(signal_number("0"), None);
        assert_eq!(signal_number("nonsense"), None);
    }
}
