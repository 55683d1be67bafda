//! The first process of a shared process namespace: it does nothing but bury the dead.

use crate::failure::{Attempt, Result};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::process::{Command, ExitCode, Stdio};

/// The argument that makes a shim a pause process.
pub(super) const ARGUMENT: &str = "pause";

/// Starts the pause process in a new process namespace. Only for a process with one thread.
pub(super) fn spawn() -> Result<u32> {
    let own = File::open("/proc/self/ns/pid").attempt("opening our process namespace")?;
    unshare(CloneFlags::CLONE_NEWPID).attempt("making the pod's process namespace")?;
    let child = Command::new("/proc/self/exe")
        .args([super::SUBCOMMAND, ARGUMENT])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    setns(own, CloneFlags::CLONE_NEWPID).attempt("returning to our process namespace")?;
    Ok(child.attempt("starting the pause process")?.id())
}

/// Sleeps for ever; killed with its namespace. The kernel buries the children of a process that ignores their death.
pub(super) fn main() -> ExitCode {
    crate::sys::unblock_signals();
    crate::sys::ignore_children();
    // Without its shim the pod is lost anyway, and nobody else would end this.
    let _set = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    loop {
        nix::unistd::pause();
    }
}
