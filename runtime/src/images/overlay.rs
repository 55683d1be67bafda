//! Overlay mounts: a container's root file system from the layers of its image and a writable directory.

use crate::failure::{Attempt, Failure, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Mounts `layers` (lowest first) below `upper` at `target`. `upper` and `work` are made.
///
/// The mount is `volatile`: unmounting does not wait for the disk. A writable layer is never mounted twice, so
/// nothing is lost by that.
pub(crate) fn mount(layers: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<()> {
    for dir in [upper, work, target] {
        std::fs::create_dir_all(dir).attempt_with(|| format!("making {}", dir.display()))?;
    }
    if layers.is_empty() {
        return Err(Failure::invalid("the image has no layers"));
    }
    match mount_by_parts(layers, upper, work, target) {
        // Before Linux 6.5 the layers cannot be given one by one.
        Err(rustix::io::Errno::INVAL) => mount_by_string(layers, upper, work, target),
        other => other.attempt("mounting the container's root file system"),
    }
}

fn mount_by_parts(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
) -> std::result::Result<(), rustix::io::Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    for layer in layers.iter().rev() {
        fsconfig_set_string(context, "lowerdir+", layer)?;
    }
    fsconfig_set_string(context, "upperdir", upper)?;
    fsconfig_set_string(context, "workdir", work)?;
    fsconfig_set_flag(context, "volatile")?;
    fsconfig_create(context)?;
    let mounted = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn mount_by_string(layers: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<()> {
    let lower: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    if options.len() >= 4096 {
        return Err(Failure::exhausted(
            "the image has more layers than this kernel can mount (Linux 6.5 can)",
        ));
    }
    let options = std::ffi::CString::new(options).attempt("writing the mount options")?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .attempt("mounting the container's root file system")
}

/// Takes away whatever is mounted at `target`; nothing mounted or no such path is fine.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).attempt_with(|| format!("unmounting {}", target.display())),
        }
    }
}
