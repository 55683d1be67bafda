//! The few system calls that the safe crates do not cover. The only file here that may say `unsafe`.
#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper; one per function, each with its argument"
)]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// An executable that nobody can change through the running process: the file on a detached read-only mount of its
/// own. A container that reaches `/proc/<pid>/exe` of our processes cannot open it for writing (CVE-2019-5736), and
/// no memory is spent on a copy.
pub(crate) fn sealed_executable(path: &Path) -> std::io::Result<File> {
    use rustix::mount::OpenTreeFlags;
    let real = std::fs::canonicalize(path)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree: OwnedFd = rustix::mount::open_tree(rustix::fs::CWD, &real, flags)?;
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the descriptor, the empty C string and the attributes live during the call, and the size is theirs.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(File::from(tree))
}

/// Undoes what Rust and the shim changed about signals, before another program runs: nothing blocked, SIGPIPE kills.
pub(crate) fn restore_signals() {
    unblock_signals();
    // SAFETY: the default action involves no code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Lets tokio tell when a descriptor is ready.
pub(crate) fn watch(fd: OwnedFd) -> std::io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as it lives, and tokio owns it.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(Into::into)
}

/// Children of this process are buried by the kernel.
pub(crate) fn ignore_children() {
    // SAFETY: ignoring involves no code of ours.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// Sends any signal, real-time ones too, to one process.
pub(crate) fn kill(pid: i32, signal: i32) -> std::io::Result<()> {
    if pid <= 0 {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not one process"));
    }
    // SAFETY: only numbers are passed.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Blocks no signal.
pub(crate) fn unblock_signals() {
    let _set = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Replaces this process. Returns only with an error.
pub(crate) fn exec(path: &CString, arguments: &[CString], environment: &[CString]) -> std::io::Error {
    match nix::unistd::execve(path, arguments, environment) {
        Ok(never) => match never {},
        Err(errno) => std::io::Error::from(errno),
    }
}
