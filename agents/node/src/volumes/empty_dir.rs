//! `emptyDir`: a directory that lives as long as its pod, on disk or in memory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::error::VolumeError;
use super::ownership::Owner;
use crate::spec::quantity;

/// Makes the directory; keeps what is in it when it is there.
pub(super) fn set_up(dir: &Path, source: &EmptyDirVolumeSource, owner: Owner) -> Result<(), VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("creating", dir))?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            if !is_mount_point(dir)? {
                let options = match &source.size_limit {
                    Some(limit) => {
                        let bytes =
                            quantity::value(limit).map_err(|e| VolumeError::Quantity(e.to_string()))?;
                        format!("size={bytes}")
                    }
                    None => String::new(),
                };
                let options = std::ffi::CString::new(options).unwrap_or_default();
                mount("tmpfs", dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
                    .map_err(|e| VolumeError::io("mounting a tmpfs at", dir)(e.into()))?;
            }
        }
        other => return Err(VolumeError::Unsupported(format!("emptyDir.medium={other}"))),
    }
    let stated = source.mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o777);
    let current = fs::metadata(dir).map_err(VolumeError::io("reading", dir))?.permissions().mode() & 0o777;
    if current != stated {
        fs::set_permissions(dir, fs::Permissions::from_mode(stated))
            .map_err(VolumeError::io("setting the mode of", dir))?;
    }
    owner.apply(dir, true)
}

/// Takes away what is mounted at `dir`, every layer of it.
pub(super) fn unmount_all_at(dir: &Path) -> Result<(), VolumeError> {
    // Bounded: a mount point has few layers, and each round takes one.
    for _ in 0..64 {
        match unmount(dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(VolumeError::io("unmounting", dir)(error.into())),
        }
    }
    Ok(())
}

/// Whether something is mounted at `dir`.
fn is_mount_point(dir: &Path) -> Result<bool, VolumeError> {
    let own = fs::metadata(dir).map_err(VolumeError::io("reading", dir))?;
    let parent = dir.parent().unwrap_or(dir);
    let above = fs::metadata(parent).map_err(VolumeError::io("reading", parent))?;
    Ok(own.dev() != above.dev())
}
