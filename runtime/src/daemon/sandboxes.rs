//! Sandboxes: made, stopped, removed.

use super::records::{self, SandboxRecord, VERSION};
use super::runtime::{Runtime, Sandbox, new_id};
use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use crate::network::{HostPort, Pins, pin_namespaces, unpin};
use crate::shim::{Client, Op};
use mainstay_proto_wire::cri::Code;
use mainstay_proto_wire::cri::v1::{self, NamespaceMode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

const SHM_OPTIONS: &std::ffi::CStr = c"mode=1777,size=67108864";

impl Runtime {
    /// Makes a sandbox and returns its name. Whatever fails, nothing is left.
    pub(super) async fn run_sandbox(&self, config: v1::PodSandboxConfig) -> Result<String> {
        let record = plan(&config, self.now())?;
        self.refuse_twin(&config)?;
        let id = record.id.clone();
        let sandbox = Arc::new(Sandbox {
            config,
            record: Mutex::new(record),
            shim: Mutex::new(None),
            execs: Mutex::new(HashMap::new()),
            turn: tokio::sync::Mutex::new(()),
        });
        let turn = sandbox.turn.lock().await;
        let guard = Rollback { runtime: self.me()?, sandbox: Arc::clone(&sandbox), armed: true };
        self.set_up(&sandbox).await.map_err(|failure| failure.during("running the pod sandbox"))?;
        drop(turn);
        self.sandboxes.lock().insert(id.clone(), Arc::clone(&sandbox));
        guard.disarm();
        self.announce_sandbox(&sandbox, v1::ContainerEventType::ContainerStartedEvent);
        tracing::info!(sandbox = id, "pod sandbox runs");
        Ok(id)
    }

    /// Two sandboxes of one pod attempt would fight.
    fn refuse_twin(&self, config: &v1::PodSandboxConfig) -> Result<()> {
        let sandboxes = self.sandboxes.lock();
        if sandboxes.values().any(|known| known.config.metadata == config.metadata) {
            return Err(Failure::new(Code::AlreadyExists, "a sandbox of this pod and attempt exists"));
        }
        Ok(())
    }

    async fn set_up(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let record = sandbox.record.lock().clone();
        let prepared = Arc::clone(sandbox);
        self.blocking(move |me| me.prepare_sandbox(&prepared)).await?;
        let run = self.paths.sandbox_run(&record.id);
        let connect = async {
            if !record.net {
                return Ok(None);
            }
            self.network.connect(&record.id, &run, &record.host_ports).await.map(Some)
        };
        let (address, shim) = tokio::join!(connect, self.spawn_shim(&run, record.shared_pid));
        shim?;
        sandbox.record.lock().address = address?;
        if !self.follow_shim(sandbox)? {
            return Err(Failure::internal("the shim is not there"));
        }
        let record = sandbox.record.lock().clone();
        records::write(&self.paths.sandbox(&record.id), records::RECORD, &record)
    }

    /// Directories, files, namespaces, cgroup. The record is written first: after a crash it leads to the rest.
    fn prepare_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let record = sandbox.record.lock().clone();
        let (dir, run) = (self.paths.sandbox(&record.id), self.paths.sandbox_run(&record.id));
        for dir in [&dir, &run] {
            std::fs::create_dir_all(dir).attempt_with(|| format!("making {}", dir.display()))?;
        }
        records::write_config(&dir, &sandbox.config)?;
        records::write(&dir, records::RECORD, &record)?;
        write_files(&dir, &sandbox.config)?;
        let linux = sandbox.config.linux.clone().unwrap_or_default();
        let pins = Pins {
            net: record.net,
            ipc: record.ipc,
            hostname: record.uts.then(|| sandbox.config.hostname.clone()),
            sysctls: sysctls(&record, &linux),
        };
        if pins.net || pins.ipc || pins.hostname.is_some() {
            pin_namespaces(&run, &pins)?;
        }
        if record.ipc {
            let shm = run.join("shm");
            std::fs::create_dir_all(&shm).attempt("making the shared memory directory")?;
            let flags = rustix::mount::MountFlags::NOSUID
                | rustix::mount::MountFlags::NODEV
                | rustix::mount::MountFlags::NOEXEC;
            rustix::mount::mount("shm", &shm, "tmpfs", flags, Some(SHM_OPTIONS))
                .attempt("mounting shared memory")?;
        }
        let group = self.pod_group(&sandbox.config, &record.id);
        self.groups.create(&group)?;
        if let Some(resources) = &linux.resources {
            self.groups.limit(&group, &crate::cgroup::Limits::from_cri(resources))?;
        }
        Ok(())
    }

    /// The pod's cgroup: always below this cluster's, so that nothing is lost sight of.
    pub(super) fn pod_group(&self, config: &v1::PodSandboxConfig, id: &str) -> String {
        let root = self.config.cgroup_root();
        let parent =
            config.linux.as_ref().map(|linux| linux.cgroup_parent.trim_matches('/')).unwrap_or_default();
        let parent = parent.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
        let parent = parent.collect::<Vec<_>>().join("/");
        if parent.is_empty() {
            format!("{root}/pods/{id}")
        } else if format!("/{parent}/").starts_with(&format!("{root}/")) {
            format!("/{parent}")
        } else {
            format!("{root}/{parent}")
        }
    }

    /// Ends everything in a sandbox and gives its network back. Unknown: nothing to do.
    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Some(sandbox) = self.find_sandbox(id) else { return Ok(()) };
        let _turn = sandbox.turn.lock().await;
        self.stop_locked(&sandbox)
            .await
            .map_err(|failure| failure.during(format!("stopping pod sandbox {id}")))
    }

    async fn stop_locked(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let id = sandbox.id();
        for container in self.containers_of(&id) {
            self.kill_container(&container).await?;
        }
        let record = sandbox.record.lock().clone();
        if record.stopped {
            return Ok(());
        }
        if record.net {
            self.network.disconnect(&id, record.address, &record.host_ports).await?;
        }
        sandbox.record.lock().stopped = true;
        let shim = sandbox.shim.lock().take();
        if let Some(shim) = shim {
            end_shim(&shim).await;
        }
        let stopped = Arc::clone(sandbox);
        self.blocking(move |me| {
            let record = stopped.record.lock().clone();
            release_run_dir(&me.paths.sandbox_run(&record.id))?;
            records::write(&me.paths.sandbox(&record.id), records::RECORD, &record)
        })
        .await?;
        self.announce_sandbox(sandbox, v1::ContainerEventType::ContainerStoppedEvent);
        Ok(())
    }

    /// Stops and forgets a sandbox with its containers. Unknown: nothing to do.
    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Some(sandbox) = self.find_sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove_container_by(&container).await?;
        }
        let _turn = sandbox.turn.lock().await;
        let gone = Arc::clone(&sandbox);
        self.blocking(move |me| me.erase_sandbox(&gone)).await?;
        self.sandboxes.lock().remove(id);
        self.announce_sandbox(&sandbox, v1::ContainerEventType::ContainerDeletedEvent);
        tracing::info!(sandbox = id, "pod sandbox removed");
        Ok(())
    }

    fn erase_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let id = sandbox.id();
        let run = self.paths.sandbox_run(&id);
        release_run_dir(&run)?;
        durable::remove_tree(&run).attempt("removing the sandbox's run directory")?;
        let group = self.pod_group(&sandbox.config, &id);
        let shared = self.sandboxes.lock().values().any(|other| {
            let other_id = other.id();
            other_id != id && self.pod_group(&other.config, &other_id) == group
        });
        if !shared {
            // A group that the node agent keeps something in stays.
            if let Err(failure) = self.groups.remove(&group) {
                tracing::debug!(group, error = failure.chain(), "the pod's cgroup stays");
            }
        }
        durable::remove_tree(&self.paths.sandbox(&id)).attempt("removing the sandbox's record")
    }
}

/// Undoes a half-made sandbox, also when the caller went away in the middle.
struct Rollback {
    runtime: Arc<Runtime>,
    sandbox: Arc<Sandbox>,
    armed: bool,
}

impl Rollback {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Rollback {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (runtime, sandbox) = (Arc::clone(&self.runtime), Arc::clone(&self.sandbox));
        self.runtime.tasks.spawn("undo sandbox", async move {
            let record = sandbox.record.lock().clone();
            if record.net {
                runtime.network.disconnect(&record.id, record.address, &record.host_ports).await?;
            }
            let shim = sandbox.shim.lock().take();
            if let Some(shim) = shim {
                end_shim(&shim).await;
            } else if let Some((shim, _)) =
                Client::connect(&runtime.paths.sandbox_run(&record.id), &runtime.tasks)?
            {
                end_shim(&shim).await;
            }
            runtime.blocking(move |me| me.erase_sandbox(&sandbox)).await
        });
    }
}

/// A shim that does not want to end is found and reported by the next start.
pub(super) async fn end_shim(shim: &Client) {
    if let Err(failure) = shim.call(Op::Shutdown, Vec::new()).await {
        tracing::warn!(error = failure.chain(), "a shim did not end when asked");
    }
}

/// Undoes the mounts of a sandbox's run directory.
pub(super) fn release_run_dir(run: &Path) -> Result<()> {
    for kind in ["net", "ipc", "uts", "pid"] {
        unpin(run, kind)?;
    }
    crate::images::unmount(&run.join("shm"))
}

/// Decides what the sandbox gets, and refuses what cannot be given.
fn plan(config: &v1::PodSandboxConfig, now: i64) -> Result<SandboxRecord> {
    let metadata = config.metadata.as_ref();
    if metadata.is_none_or(|metadata| metadata.name.is_empty() || metadata.namespace.is_empty()) {
        return Err(Failure::invalid("the pod sandbox has no name"));
    }
    let linux = config.linux.as_ref();
    let context = linux.and_then(|linux| linux.security_context.as_ref());
    let options = context.and_then(|context| context.namespace_options.clone()).unwrap_or_default();
    if options.userns_options.as_ref().is_some_and(|userns| userns.mode() == NamespaceMode::Pod) {
        return Err(Failure::new(Code::Unimplemented, "user namespaces for pods are not supported"));
    }
    let net = options.network() != NamespaceMode::Node;
    if net && config.hostname.is_empty() {
        return Err(Failure::invalid("the pod sandbox has no host name"));
    }
    if config.hostname.len() > 64 {
        return Err(Failure::invalid("the host name is longer than 64 characters"));
    }
    let host_ports = if net { host_ports(&config.port_mappings)? } else { Vec::new() };
    Ok(SandboxRecord {
        version: VERSION,
        id: new_id(),
        created_at: now,
        address: None,
        host_ports,
        net,
        ipc: options.ipc() != NamespaceMode::Node,
        uts: net,
        shared_pid: options.pid() == NamespaceMode::Pod,
        stopped: false,
    })
}

fn host_ports(mappings: &[v1::PortMapping]) -> Result<Vec<HostPort>> {
    let port = |value: i32| {
        u16::try_from(value)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Failure::invalid(format!("port {value} is out of range")))
    };
    let mut ports = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.host_port != 0) {
        let host_ip = match mapping.host_ip.as_str() {
            "" | "0.0.0.0" => None,
            text => Some(text.parse().attempt_with(|| format!("reading the host address {text:?}"))?),
        };
        ports.push(HostPort {
            protocol: mapping.protocol().as_str_name().to_ascii_lowercase(),
            host_ip,
            host_port: port(mapping.host_port)?,
            container_port: port(mapping.container_port)?,
        });
    }
    Ok(ports)
}

/// What the pod asks for; every pod with a network of its own may also bind low ports and ping without root.
fn sysctls(record: &SandboxRecord, linux: &v1::LinuxPodSandboxConfig) -> Vec<(String, String)> {
    let mut list = Vec::new();
    if record.net {
        list.push(("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()));
        list.push(("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned()));
    }
    list.extend(linux.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
    list
}

fn write_files(dir: &Path, config: &v1::PodSandboxConfig) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let hostname = if config.hostname.is_empty() {
        nix::unistd::gethostname().attempt("reading the host name")?.to_string_lossy().into_owned()
    } else {
        config.hostname.clone()
    };
    let resolv = match &config.dns_config {
        Some(dns) => render_resolv(dns)?,
        None => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    for (name, text) in [("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)] {
        let path = dir.join(name);
        std::fs::write(&path, text).attempt_with(|| format!("writing {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
            .attempt_with(|| format!("opening {} to readers", path.display()))?;
    }
    Ok(())
}

fn render_resolv(dns: &v1::DnsConfig) -> Result<String> {
    use std::fmt::Write;
    let words = dns.servers.iter().chain(&dns.searches).chain(&dns.options);
    if words.into_iter().any(|word| word.contains(['\n', '\0'])) {
        return Err(Failure::invalid("the DNS configuration has a line break"));
    }
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ok = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ok = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ok = writeln!(text, "options {}", dns.options.join(" "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_the_usual_lines() {
        let dns = v1::DnsConfig {
            servers: vec!["10.0.0.10".into()],
            searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        };
        let text =
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.10\noptions ndots:5\n";
        assert_eq!(render_resolv(&dns).unwrap(), text);
        let evil = v1::DnsConfig { options: vec!["a\nnameserver 6.6.6.6".into()], ..Default::default() };
        assert!(render_resolv(&evil).is_err());
    }
}
