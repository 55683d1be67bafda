//! Namespaces that outlive the process that made them: pinned by a bind mount of their /proc file.

use crate::config::namespace_pin;
use crate::failure::{Attempt, Failure, Result};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a sandbox gets of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins {
    pub(crate) net: bool,
    pub(crate) ipc: bool,
    /// A uts namespace with this host name.
    pub(crate) hostname: Option<String>,
    pub(crate) sysctls: Vec<(String, String)>,
}

/// Makes and pins namespaces below `dir`. Blocking: uses a thread of its own, because a namespace is entered by a
/// thread, and that thread is then good for nothing else.
pub(crate) fn pin_namespaces(dir: &Path, pins: &Pins) -> Result<()> {
    let (dir, pins) = (dir.to_owned(), pins.clone());
    on_own_thread("pin", move || {
        let mut flags = CloneFlags::empty();
        let mut kinds = Vec::new();
        for (wanted, flag, kind) in [
            (pins.net, CloneFlags::CLONE_NEWNET, "net"),
            (pins.ipc, CloneFlags::CLONE_NEWIPC, "ipc"),
            (pins.hostname.is_some(), CloneFlags::CLONE_NEWUTS, "uts"),
        ] {
            if wanted {
                flags |= flag;
                kinds.push(kind);
            }
        }
        unshare(flags).attempt("making namespaces")?;
        if let Some(hostname) = &pins.hostname {
            nix::unistd::sethostname(hostname)
                .attempt_with(|| format!("setting the host name {hostname:?}"))?;
        }
        for (name, value) in &pins.sysctls {
            write_sysctl(name, value)?;
        }
        for kind in kinds {
            let pin = namespace_pin(&dir, kind);
            File::create(&pin).attempt("making the pin file")?;
            rustix::mount::mount_bind(format!("/proc/thread-self/ns/{kind}"), &pin)
                .attempt_with(|| format!("pinning the {kind} namespace"))?;
        }
        Ok(())
    })
}

/// `a.b.c` or `a/b/c`. Only settings of the namespaces that the sandbox owns: anything else is the node's.
fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let allowed = path.starts_with("net/")
        || path.starts_with("fs/mqueue/")
        || ["kernel/sem", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni"].contains(&path.as_str())
        || path.starts_with("kernel/shm");
    if !allowed || path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Failure::invalid(format!("sysctl {name:?} is not in a namespace of the pod")));
    }
    std::fs::write(Path::new("/proc/sys").join(&path), value)
        .attempt_with(|| format!("setting sysctl {name} to {value:?}"))
}

/// Removes a pin; absent is fine.
pub(crate) fn unpin(dir: &Path, kind: &str) -> Result<()> {
    let pin = namespace_pin(dir, kind);
    crate::images::unmount(&pin)?;
    crate::durable::remove_file(&pin).attempt_with(|| format!("removing {}", pin.display()))
}

/// Opens a pinned network namespace.
pub(crate) fn open_pin(dir: &Path) -> Result<File> {
    let pin = namespace_pin(dir, "net");
    File::open(&pin).attempt_with(|| format!("opening the network namespace {}", pin.display()))
}

/// Runs `work` inside the network namespace `netns`, on a thread of its own with a small tokio of its own. Blocking.
pub(crate) fn in_namespaces<T: Send + 'static, F>(
    netns: File,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    on_own_thread("netns", move || {
        setns(&netns, CloneFlags::CLONE_NEWNET).attempt("entering the network namespace")?;
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt("starting tokio in the network namespace")?;
        tokio.block_on(work())
    })
}

fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let thread =
        std::thread::Builder::new().name(name.to_owned()).spawn(work).attempt("starting a thread")?;
    thread.join().map_err(|_panic| Failure::internal("a namespace thread panicked"))?
}

/// The namespace file of the calling process.
pub(crate) fn own_netns() -> PathBuf {
    PathBuf::from("/proc/self/ns/net")
}
